#include "base/str.h"
#include "kube/fields.h"
#include "kube/rules/defaults_priv.h"

#define CORE       "io.k8s.api.core.v1."
#define RBAC       "io.k8s.api.rbac.v1."
#define RBAC_GROUP "rbac.authorization.k8s.io"

static void default_secret(struct jm *m, jmval *s) { DEFAULT_TEXT(m, s, secret, type, "Opaque"); }

static void default_namespace(struct jm *m, jmval *ns)
{
    jmval *meta = namespace_make_metadata(m, ns);
    const char *name = jmv_str(object_meta_mut_name(meta));
    if (!str_empty(name))
        jm_put(m, object_meta_make_labels(m, meta), "kubernetes.io/metadata.name", jm_str(m, name));
}

static void default_namespace_status(struct jm *m, jmval *s) { DEFAULT_TEXT(m, s, namespace_status, phase, "Active"); }

static void default_claim_status(struct jm *m, jmval *s) { DEFAULT_TEXT(m, s, persistent_volume_claim_status, phase, "Pending"); }

static void default_node_status(struct jm *m, jmval *s)
{
    jmval *capacity = node_status_mut_capacity(s);
    if (capacity && !node_status_mut_allocatable(s))
        node_status_set_allocatable(m, s, jm_dup(m, capacity));
}

static void default_role_ref(struct jm *m, jmval *r) { DEFAULT_TEXT(m, r, role_ref, api_group, RBAC_GROUP); }

static void default_subject(struct jm *m, jmval *s)
{
    const char *kind = jmv_str(subject_mut_kind(s));
    if (kind && (!strcmp(kind, "User") || !strcmp(kind, "Group")))
        DEFAULT_TEXT(m, s, subject, api_group, RBAC_GROUP);
}

static void default_token_request(struct jm *m, jmval *s) { DEFAULT_INT(m, s, token_request_spec, expiration_seconds, 3600); }

static void default_priority_class(struct jm *m, jmval *c)
{
    DEFAULT_TEXT(m, c, priority_class, preemption_policy, "PreemptLowerPriority");
}

static void fill_absent(struct jm *m, jmval *from, jmval *to)
{
    struct strmap members = jm_take_members(to);
    struct jmiter it = jmv_iter(from);
    const char *k;
    jmval *v;
    while (jmv_next(&it, &k, &v))
        if (!strmap_has(&members, k))
            strmap_put(&members, k, jm_dup(m, v));
    jm_put_members(m, to, &members);
}

/* What is not said of a container: at most what is allowed, and no less is asked for than what is given or must be asked for. */
static void default_limits(struct jm *m, jmval *l)
{
    if (!str_eq(jmv_str(limit_range_item_mut_type(l)), "Container"))
        return;
    jmval *limits = limit_range_item_make_default(m, l), *requests = limit_range_item_make_default_request(m, l);
    fill_absent(m, limit_range_item_mut_max(l), limits);
    fill_absent(m, limits, requests);
    fill_absent(m, limit_range_item_mut_min(l), requests);
    if (!jmv_len(limits))
        limit_range_item_del_default(l);
    if (!jmv_len(requests))
        limit_range_item_del_default_request(l);
}

const struct default_hook defaults_of_objects[] = {
    {CORE "LimitRangeItem", default_limits},
    {CORE "Secret", default_secret},
    {CORE "Namespace", default_namespace},
    {CORE "NamespaceStatus", default_namespace_status},
    {CORE "PersistentVolumeClaimStatus", default_claim_status},
    {CORE "NodeStatus", default_node_status},
    {RBAC "RoleRef", default_role_ref},
    {RBAC "Subject", default_subject},
    {"io.k8s.api.scheduling.v1.PriorityClass", default_priority_class},
    {"io.k8s.api.authentication.v1.TokenRequestSpec", default_token_request},
    {NULL, NULL},
};
