/* The door to the rules of built-in kinds, and the rules of the small ones. */
#include "kube/rules/validate.h"

#include <stdlib.h>

#include "kube/fields.h"
#include "kube/kind.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/rules/validate_priv.h"
#include "kube/wire/gotext.h"

enum { DATA_MAX = 1024 * 1024 };

bool validate_is_builtin(const struct kube_res *res) { return kind_by_gvk(res->group, res->version, res->kind) != NULL; }

void validate_enum(struct faults *f, const char *member, const char *value, const char *const *allowed)
{
    if (str_empty(value)) {
        fault_required(f, member, NULL);
        return;
    }
    for (size_t i = 0; allowed[i]; i++)
        if (str_eq(allowed[i], value))
            return;
    fault_unsupported(f, member, value, allowed);
}

void validate_not_negative(struct faults *f, const char *member, jval *value)
{
    int64_t n;
    if (jv_i64(value, &n) && n < 0)
        fault_invalid_i64(f, member, n, "must be greater than or equal to 0");
}

size_t validate_push_item(struct faults *f, const char *member, size_t i)
{
    size_t at = fault_push(f, member);
    fault_push_index(f, i);
    return at;
}

void validate_label_selector(struct faults *f, jval *selector)
{
    validate_labels(f, "matchLabels", label_selector_match_labels(selector));
    jval *list = label_selector_match_expressions(selector);
    for (size_t i = 0, n = jv_is(list, J_ARRAY) ? jv_len(list) : 0; i < n; i++) {
        jval *e = jv_at(list, i), *values = label_selector_requirement_values(e);
        const char *key = jv_str_or(jv_get(e, "key"), ""), *op = jv_str_or(jv_get(e, "operator"), "");
        size_t at = validate_push_item(f, "matchExpressions", i);
        if (str_eq(op, "In") || str_eq(op, "NotIn")) {
            if (jv_len(values) == 0)
                fault_required(f, "values", "must be specified when `operator` is 'In' or 'NotIn'");
        } else if (str_eq(op, "Exists") || str_eq(op, "DoesNotExist")) {
            if (jv_len(values) > 0)
                fault_forbidden(f, "values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        } else {
            fault_invalid_str(f, "operator", op, "not a valid selector operator");
        }
        validate_name(f, "key", key, name_qualified(key));
        for (size_t k = 0; k < jv_len(values); k++) {
            size_t vat = validate_push_item(f, "values", k);
            const char *value = jv_str_or(jv_at(values, k), "");
            validate_name(f, NULL, value, name_label_value(value));
            fault_pop(f, vat);
        }
        fault_pop(f, at);
    }
}

/* ---- ConfigMap and Secret
 * ------------------------------------------------------------------------------------------------------- */

static size_t check_keys(struct faults *f, const char *member, jval *data, jval *other)
{
    size_t total = 0;
    struct jiter it = jv_iter(jv_is(data, J_OBJECT) ? data : NULL);
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v)) {
        size_t at = fault_push(f, member);
        fault_push_key(f, k);
        validate_name(f, NULL, k, name_config_key(k));
        if (other && jv_get(other, k))
            fault_invalid_str(f, NULL, k, "duplicate of key present in binaryData");
        fault_pop(f, at);
        total += jv_len(v);
    }
    return total;
}

static void check_config_map(struct faults *f, jval *o)
{
    size_t total = check_keys(f, "data", config_map_data(o), config_map_binary_data(o));
    total += check_keys(f, "binaryData", config_map_binary_data(o), NULL) / 4 * 3;
    if (total > DATA_MAX)
        fault_too_long(f, "[]", DATA_MAX);
}

static void require_key(struct faults *f, jval *data, const char *key)
{
    if (jv_get(data, key))
        return;
    size_t at = fault_push(f, "data");
    fault_push_key(f, key);
    fault_required(f, NULL, NULL);
    fault_pop(f, at);
}

static void require_json(struct faults *f, jval *data, const char *key)
{
    jval *v = jv_get(data, key);
    unsigned char *text = NULL;
    size_t n = 0;
    if (!v) {
        require_key(f, data, key);
        return;
    }
    if (base64_decode(jv_str_or(v, ""), jv_len(v), &text, &n) < 0)
        return;
    BUF(fault);
    bool bad = gotext_json_fault((const char *)text, n, &fault);
    free(text);
    if (!bad)
        return;
    size_t at = fault_push(f, "data");
    fault_push_key(f, key);
    fault_invalid_str(f, NULL, "<secret contents redacted>", "%s", buf_str(&fault));
    fault_pop(f, at);
}

static void check_secret(struct faults *f, jval *o)
{
    jval *data = secret_data(o);
    const char *type = jv_str_or(jv_get(o, "type"), "");
    if (check_keys(f, "data", data, NULL) / 4 * 3 > DATA_MAX)
        fault_too_long(f, "data", DATA_MAX);
    if (str_eq(type, "kubernetes.io/service-account-token") &&
        str_empty(obj_annotation(o, "kubernetes.io/service-account.name"))) {
        size_t at = fault_push(f, "metadata.annotations");
        fault_push_key(f, "kubernetes.io/service-account.name");
        fault_required(f, NULL, NULL);
        fault_pop(f, at);
    } else if (str_eq(type, "kubernetes.io/dockercfg")) {
        require_json(f, data, ".dockercfg");
    } else if (str_eq(type, "kubernetes.io/dockerconfigjson")) {
        require_json(f, data, ".dockerconfigjson");
    } else if (str_eq(type, "kubernetes.io/basic-auth") && !jv_get(data, "username") && !jv_get(data, "password")) {
        require_key(f, data, "username");
        require_key(f, data, "password");
    } else if (str_eq(type, "kubernetes.io/ssh-auth")) {
        require_key(f, data, "ssh-privatekey");
    } else if (str_eq(type, "kubernetes.io/tls")) {
        require_key(f, data, "tls.crt");
        require_key(f, data, "tls.key");
    }
}

/* What `immutable: true` fixes. */
static void check_frozen(struct faults *f, jval *old, jval *now)
{
    static const char *const members[] = {"data", "binaryData", "stringData"};
    if (!config_map_immutable(old, false))
        return;
    if (!config_map_immutable(now, false))
        fault_forbidden(f, "immutable", "field is immutable when `immutable` is set");
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        jval *a = jv_get(old, members[i]), *b = jv_get(now, members[i]);
        if ((jv_len(a) || jv_len(b)) && !(a && b && jv_equal(a, b)))
            fault_forbidden(f, members[i], "field is immutable when `immutable` is set");
    }
}

static void check_secret_update(struct faults *f, jval *old, jval *now)
{
    validate_immutable(f, "type", jv_get(old, "type"), jv_get(now, "type"));
    check_frozen(f, old, now);
}

/* ---- Namespace, Node, Lease
 * -------------------------------------------------------------------------------------------------------- */

static void check_namespace(struct faults *f, jval *o)
{
    jval *finalizers = namespace_spec_finalizers(namespace_spec(o));
    for (size_t i = 0, n = jv_is(finalizers, J_ARRAY) ? jv_len(finalizers) : 0; i < n; i++) {
        const char *name = jv_str_or(jv_at(finalizers, i), "");
        validate_name(f, "spec.finalizers", name, name_qualified(name));
    }
}

static void check_taints(struct faults *f, jval *taints)
{
    static const char *const effects[] = {"NoSchedule", "PreferNoSchedule", "NoExecute", NULL};
    struct strmap seen = STRMAP_INIT(NULL);
    for (size_t i = 0, n = jv_is(taints, J_ARRAY) ? jv_len(taints) : 0; i < n; i++) {
        jval *t = jv_at(taints, i);
        const char *key = jv_str_or(jv_get(t, "key"), ""), *value = jv_str_or(jv_get(t, "value"), ""),
                   *effect = jv_str_or(jv_get(t, "effect"), "");
        size_t at = validate_push_item(f, "metadata.taints", i);
        validate_name(f, "key", key, name_qualified(key));
        validate_name(f, "value", value, name_label_value(value));
        validate_enum(f, "effect", effect, effects);
        AUTOFREE char *pair = xasprintf("%s:%s", key, effect);
        if (strmap_has(&seen, pair)) {
            BUF(b); /* upstream prints the Go struct here */
            buf_addf(&b,
                     "Duplicate value: {\"Key\":\"%s\",\"Value\":\"%s\",\"Effect\":\"%s\",\"TimeAdded\":null}: taints must be "
                     "unique by key and effect pair",
                     key, value, effect);
            fault_add(f, "FieldValueDuplicate", NULL, buf_str(&b));
        }
        strmap_put(&seen, pair, NULL);
        fault_pop(f, at);
    }
    strmap_free(&seen);
}

static void check_node(struct faults *f, jval *o)
{
    check_taints(f, node_spec_taints(node_spec(o)));
    jval *cidrs = node_spec_pod_cidrs(node_spec(o));
    const char *only = node_spec_pod_cidr(node_spec(o)); /* the first of podCIDRs, by its old name */
    size_t n = jv_is(cidrs, J_ARRAY) ? jv_len(cidrs) : 0;
    for (size_t i = 0; i < n || (i == 0 && !str_empty(only)); i++) {
        const char *text = n ? jv_str_or(jv_at(cidrs, i), "") : only;
        size_t at = validate_push_item(f, "spec.podCIDRs", i);
        if (!validate_is_cidr(text))
            fault_invalid_str(f, NULL, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        fault_pop(f, at);
    }
}

static void check_lease(struct faults *f, jval *o)
{
    jval *spec = lease_spec(o), *duration = jv_get(spec, "leaseDurationSeconds");
    int64_t n;
    if (jv_i64(duration, &n) && n <= 0)
        fault_invalid_i64(f, "spec.leaseDurationSeconds", n, "must be greater than 0");
    validate_not_negative(f, "spec.leaseTransitions", jv_get(spec, "leaseTransitions"));
}

static void check_event(struct faults *f, jval *o)
{
    jval *ref = event_involved_object(o);
    const char *about = jv_str_or(jv_get(ref, "namespace"), ""), *ns = obj_namespace(o);
    /* What is about a cluster-wide object lives in the namespace "default". */
    if (*about ? !str_eq(about, ns) : !str_eq(ns, "default"))
        fault_invalid_str(f, "involvedObject.namespace", about, "does not match event.namespace");
}

static void check_new_event(struct faults *f, jval *o)
{
    jval *ref = events_event_regarding(o);
    const char *about = jv_str_or(jv_get(ref, "namespace"), ""), *ns = obj_namespace(o), *type = jv_str_or(jv_get(o, "type"), "");
    const char *controller = jv_str_or(jv_get(o, "reportingController"), "");
    if (*about ? !str_eq(about, ns) : !str_eq(ns, "default"))
        fault_invalid_str(f, "involvedObject.namespace", about, "does not match event.namespace");
    if (!jv_present(jv_get(o, "eventTime")))
        fault_required(f, "eventTime", NULL);
    if (*controller)
        validate_name(f, "reportingController", controller, name_qualified(controller));
    if (!str_eq(type, "Normal") && !str_eq(type, "Warning"))
        fault_invalid_str(f, "type", "", "has invalid value: %s", type);
}

#define MAX_USER_PRIORITY 1000000000

/* NULL, or why a class may not have a name of the system's own. */
static char *bad_system_class(jval *o)
{
    static const struct {
        const char *name;
        int64_t value;
    } known[] = {{"system-node-critical", 2000001000}, {"system-cluster-critical", 2000000000}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (!str_eq(obj_name(o), known[i].name))
            continue;
        if (priority_class_value(o, 0) != known[i].value)
            return xasprintf("value of %s PriorityClass must be %lld", known[i].name, (long long)known[i].value);
        return priority_class_global_default(o, false)
                   ? xasprintf("globalDefault of %s PriorityClass must be false", known[i].name)
                   : NULL;
    }
    return xasprintf("%s is not a known system priority class", obj_name(o));
}

static void check_priority_class(struct faults *f, jval *o)
{
    static const char *const policies[] = {"PreemptLowerPriority", "Never", NULL};
    if (str_starts(obj_name(o), "system-")) {
        AUTOFREE char *why = bad_system_class(o);
        if (why)
            fault_forbidden(f, "metadata.name",
                            "priority class names with 'system-' prefix are reserved for system use only. error: %s", why);
    } else if (priority_class_value(o, 0) > MAX_USER_PRIORITY) {
        fault_forbidden(f, "value", "maximum allowed value of a user defined priority is %d", MAX_USER_PRIORITY);
    }
    if (priority_class_preemption_policy(o))
        validate_enum(f, "preemptionPolicy", priority_class_preemption_policy(o), policies);
}

static void check_priority_class_update(struct faults *f, jval *old, jval *now)
{
    if (priority_class_value(old, 0) != priority_class_value(now, 0))
        fault_forbidden(f, "value", "may not be changed in an update.");
    validate_immutable(f, "preemptionPolicy", jv_get(old, "preemptionPolicy"), jv_get(now, "preemptionPolicy"));
}

/* ---- dispatch
 * ------------------------------------------------------------------------------------------------------------------------ */

static void check_pod(struct faults *f, jval *o)
{
    size_t at = fault_push(f, "spec");
    validate_pod_spec(f, pod_spec(o));
    if (jv_len(pod_spec_ephemeral_containers(pod_spec(o)))) /* they come later, by a way of their own */
        fault_forbidden(f, "ephemeralContainers", "cannot be set on create");
    fault_pop(f, at);
}

static const struct rules {
    const char *group, *kind;
    void (*check)(struct faults *f, jval *obj); /* new state; NULL: metadata is all */
    void (*update)(struct faults *f, jval *old, jval *now);
} rules[] = {
    {"", "Pod", check_pod, validate_pod_update},
    {"", "ConfigMap", check_config_map, check_frozen},
    {"", "Secret", check_secret, check_secret_update},
    {"", "Namespace", check_namespace, NULL},
    {"", "Node", check_node, NULL},
    {"", "Event", check_event, NULL},
    {"events.k8s.io", "Event", check_new_event, NULL},
    {"coordination.k8s.io", "Lease", check_lease, NULL},
    {"", "PersistentVolumeClaim", validate_claim, validate_claim_update},
    {"", "PersistentVolume", validate_volume, validate_volume_update},
    {"storage.k8s.io", "StorageClass", validate_storage_class, validate_storage_class_update},
    {"", "ResourceQuota", validate_quota, validate_quota_update},
    {"", "LimitRange", validate_limit_range, NULL},
    {"", "Service", validate_service, validate_service_update},
    {"", "Endpoints", validate_endpoints, NULL},
    {"discovery.k8s.io", "EndpointSlice", validate_endpoint_slice, validate_endpoint_slice_update},
    {"scheduling.k8s.io", "PriorityClass", check_priority_class, check_priority_class_update},
    {"rbac.authorization.k8s.io", "Role", validate_rbac, NULL},
    {"rbac.authorization.k8s.io", "ClusterRole", validate_rbac, NULL},
    {"rbac.authorization.k8s.io", "RoleBinding", validate_rbac, validate_role_ref_update},
    {"rbac.authorization.k8s.io", "ClusterRoleBinding", validate_rbac, validate_role_ref_update},
};

static const struct rules *rules_of(const struct kube_res *res)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (str_eq(rules[i].group, res->group) && str_eq(rules[i].kind, res->kind))
            return &rules[i];
    return NULL;
}

/* Events answer with their first name, whichever face they were sent to. */
static int done(struct faults *f, const struct kube_res *res, jval *obj, struct err *err)
{
    return faults_done(f, str_eq(res->kind, "Event") && str_eq(res->group, "events.k8s.io") ? "" : res->group, res->kind,
                       obj_name(obj), err);
}

int validate_create(const struct kube_res *res, jval *obj, struct err *err)
{
    FAULTS(f);
    const struct rules *r = rules_of(res);
    validate_metadata_create(&f, res, obj);
    if (r && r->check)
        r->check(&f, obj);
    return done(&f, res, obj, err);
}

int validate_update(const struct kube_res *res, const char *subresource, jval *old, jval *now, struct err *err)
{
    FAULTS(f);
    const struct rules *r = rules_of(res);
    bool main_path = str_empty(subresource);
    validate_metadata_update(&f, old, now); /* twice, as Kubernetes does: its causes list each fault of metadata two times */
    validate_metadata_update(&f, old, now);
    if (r && main_path && r->update)
        r->update(&f, old, now);
    /* An update of a pod is judged by what it changes; its spec was judged when it came. */
    if (r && main_path && r->check && r->check != check_pod)
        r->check(&f, now);
    if (str_eq(subresource, "status") && str_eq(res->kind, "Pod") && !*res->group)
        validate_pod_status_update(&f, old, now);
    if (str_eq(subresource, "ephemeralcontainers") && str_eq(res->kind, "Pod") && !*res->group)
        validate_pod_ephemeral_update(&f, old, now);
    return done(&f, res, now, err);
}
