/* prepare.c - what the server owns: metadata, status outside its subresource, generation. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/timefmt.h"
#include "cluster/apiserver/managed.h"
#include "kube/amounts.h"
#include "kube/fields.h"

#define GENERATED_BASE 58

bool kind_has_generation(const struct resource *r)
{
    static const char *const without[] = {"configmaps",
                                          "secrets",
                                          "namespaces",
                                          "nodes",
                                          "events",
                                          "leases",
                                          "persistentvolumeclaims",
                                          "persistentvolumes",
                                          "services",
                                          "horizontalpodautoscalers",
                                          "serviceaccounts",
                                          "endpoints",
                                          "roles",
                                          "rolebindings",
                                          "clusterroles",
                                          "clusterrolebindings",
                                          "limitranges",
                                          "resourcequotas",
                                          "podtemplates",
                                          "controllerrevisions",
                                          "storageclasses",
                                          "priorityclasses",
                                          "ingressclasses",
                                          "runtimeclasses"};
    if (r->cv)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(without); i++)
        if (strcmp(res_of(r)->plural, without[i]) == 0)
            return strcmp(without[i], "priorityclasses") == 0 || strcmp(without[i], "ingressclasses") == 0;
    return true;
}

static bool is_coll(const struct op *op, struct store_coll *c) { return op->res->coll == c; }

/* ---- metadata ------------------------------------------------------------------------------------------------------ */

/* A name made of the prefix, cut so that the suffix fits. */
static void generate_name(struct jm *m, jmval *meta)
{
    const char *name = jmv_str(object_meta_mut_name(meta)), *prefix = jmv_str(object_meta_mut_generate_name(meta));
    if (!str_empty(name) || str_empty(prefix))
        return;
    char suffix[6];
    AUTOFREE char *made = xasprintf("%.*s%s", GENERATED_BASE, prefix, random_suffix(suffix, 5));
    object_meta_set_name(m, meta, made);
}

/* The members of metadata that the server writes, in the order in which Kubernetes writes them. */
static const char *const first[] = {"name",
                                    "generateName",
                                    "namespace",
                                    "selfLink",
                                    "uid",
                                    "resourceVersion",
                                    "generation",
                                    "creationTimestamp",
                                    "deletionTimestamp",
                                    "deletionGracePeriodSeconds"};

static bool is_first(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(first); i++)
        if (strcmp(key, first[i]) == 0)
            return true;
    return false;
}

/* They come first, null or not there in the same way; the others follow as they came. */
static void order_metadata(struct jm *m)
{
    JSON_REF(was) = jm_freeze_val(jm_obj_at(m, jm_root(m), "metadata"));
    jmval *meta = jm_obj(m);
    for (size_t i = 0; i < ARRAY_LEN(first); i++)
        if (jv_present(jv_get(json_root(was), first[i])))
            jm_add(m, meta, first[i], jm_val(m, jv_get(json_root(was), first[i])));
    struct jiter it = jv_iter(json_root(was));
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v))
        if (!is_first(key))
            jm_add(m, meta, key, jm_val(m, v));
    jm_put(m, jm_root(m), "metadata", meta);
}

static void metadata_of_new(struct op *op, struct jm *m)
{
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    object_meta_del_self_link(meta);
    object_meta_del_deletion_timestamp(meta);
    object_meta_del_deletion_grace_period_seconds(meta);
    generate_name(m, meta);
    if (res_of(op->res)->namespaced)
        object_meta_set_namespace(m, meta, op->ns ? op->ns : "");
    else
        object_meta_del_namespace(meta);
    char uid[UUID_TEXT], now[TIME_TEXT_MAX];
    object_meta_set_uid(m, meta, uuid4(uid));
    object_meta_set_resource_version(m, meta, ""); /* its place; the store fills it in */
    object_meta_set_creation_timestamp(m, meta, time_format(now, ctx_now_ns(op->ctx), TIME_SECONDS));
    if (kind_has_generation(op->res))
        object_meta_set_generation(m, meta, 1);
    order_metadata(m);
}

static void metadata_of_changed(struct op *op, jval *old, struct jm *m)
{
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    jval *was = obj_meta(old);
    object_meta_del_self_link(meta);
    if (res_of(op->res)->namespaced)
        object_meta_set_namespace(m, meta, op->ns ? op->ns : "");
    else
        object_meta_del_namespace(meta);
    if (str_empty(jmv_str(object_meta_mut_uid(meta))))
        object_meta_set_uid(m, meta, obj_uid(old));
    object_meta_set_resource_version(m, meta, obj_rv_text(old));
    object_meta_set_creation_timestamp(m, meta, object_meta_creation_timestamp(was));
    if (obj_generation(old))
        object_meta_set_generation(m, meta, obj_generation(old));
    else
        object_meta_del_generation(meta);
    /* A deletion cannot be taken back; one that a client writes itself is refused by the rules of metadata. */
    if (obj_deleting(old)) {
        object_meta_set_deletion_timestamp(m, meta, obj_deletion_timestamp(old));
        object_meta_set_deletion_grace_period_seconds(m, meta, object_meta_deletion_grace_period_seconds(was, 0));
        if (is_coll(op, op->a->namespaces))
            object_meta_del_deletion_grace_period_seconds(meta);
    }
    order_metadata(m);
}

/* ---- status -------------------------------------------------------------------------------------------------------- */

/* The part of a built-in object that its type always writes, for a status that is as of nothing. */
static void reset_status(struct op *op, struct jm *m)
{
    jm_del(jm_root(m), "status");
    if (op->res->cv)
        return;
    JSON_REF(bare) = jm_freeze(m);
    JSON_REF(full) = decode_value(op->res->kind->type, json_root(bare), NULL, NULL);
    if (full && jv_get(json_root(full), "status"))
        jm_put(m, jm_root(m), "status", jm_val(m, jv_get(json_root(full), "status")));
}

static bool has_status_sub(const struct resource *r)
{
    const struct kube_sub *s = kind_sub(r->kind, "status");
    return s != NULL;
}

static void copy_member(struct jm *m, const char *name, jval *from)
{
    jval *v = jv_get(from, name);
    if (v)
        jm_put(m, jm_root(m), name, jm_val(m, v));
    else
        jm_del(jm_root(m), name);
}

/* ---- pods ---------------------------------------------------------------------------------------------------------- */

/* Kubernetes writes the time of the last probe of a pod's condition even when there was none. */
void pod_conditions_complete(struct jm *m)
{
    jmval *list = pod_status_mut_conditions(pod_mut_status(jm_root(m)));
    jmval *c;
    for (struct jmiter it = jmv_iter(list); jmv_next(&it, NULL, &c);)
        if (!pod_condition_mut_last_probe_time(c))
            jm_put(m, c, "lastProbeTime", jm_null(m));
}

static void new_pod(struct op *op, struct jm *m)
{
    JSON_REF(now) = jm_freeze(m);
    jmval *status = pod_make_status(m, jm_root(m));
    jm_clear(status);
    pod_status_set_phase(m, status, "Pending");
    if (jv_len(pod_spec_scheduling_gates(pod_spec(json_root(now)))))
        obj_set_condition(m, jm_root(m), "PodScheduled", "False", "SchedulingGated",
                          "Scheduling is blocked due to non-empty scheduling gates", ctx_now_ns(op->ctx));
    pod_conditions_complete(m);
    pod_status_set_qos_class(m, status, pod_qos_class(pod_spec(json_root(now))));
}

/* ---- namespaces ----------------------------------------------------------------------------------------------------- */

static bool list_has(jmval *list, const char *s)
{
    jmval *x;
    for (struct jmiter it = jmv_iter(list); jmv_next(&it, NULL, &x);)
        if (str_eq(jmv_str(x), s))
            return true;
    return false;
}

static void new_namespace(struct jm *m)
{
    jmval *root = jm_root(m);
    jmval *finalizers = namespace_spec_make_finalizers(m, namespace_make_spec(m, root));
    if (!list_has(finalizers, "kubernetes"))
        jm_push(finalizers, jm_str(m, "kubernetes"));
    jmval *status = namespace_make_status(m, root);
    jm_clear(status);
    namespace_status_set_phase(m, status, "Active");
}

static void label_namespace(struct jm *m)
{
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    const char *name = jmv_str(object_meta_mut_name(meta));
    jm_put(m, object_meta_make_labels(m, meta), "kubernetes.io/metadata.name", jm_str(m, name ? name : ""));
}

/* ---- secrets -------------------------------------------------------------------------------------------------------- */

/* stringData is a way to write data as text; it is not stored. */
static void merge_string_data(struct jm *m)
{
    jmval *text = secret_mut_string_data(jm_root(m));
    if (!jmv_len(text)) {
        secret_del_string_data(jm_root(m));
        return;
    }
    jmval *data = secret_make_data(m, jm_root(m));
    struct strmap members = jm_take_members(data);
    struct jmiter it = jmv_iter(text);
    const char *key;
    jmval *v;
    while (jmv_next(&it, &key, &v)) {
        const char *s = jmv_str(v);
        AUTOFREE char *encoded = base64_encode(s ? s : "", s ? jmv_len(v) : 0);
        strmap_put(&members, key, jm_str(m, encoded));
    }
    jm_put_members(m, data, &members);
    secret_del_string_data(jm_root(m));
}

/* ---- doors ---------------------------------------------------------------------------------------------------------- */

int prepare_create(struct op *op, struct jm *m, struct err *err)
{
    if (has_status_sub(op->res) && !is_coll(op, op->a->nodes) && jmv_get(jm_root(m), "status"))
        reset_status(op, m);
    if (is_coll(op, op->a->secrets))
        merge_string_data(m);
    if (object_default(op, m, err) < 0)
        return -1;
    metadata_of_new(op, m);
    if (is_coll(op, op->a->pods))
        new_pod(op, m);
    if (is_coll(op, op->a->namespaces)) {
        new_namespace(m);
        label_namespace(m);
    }
    services_normalize(op, NULL, m);
    managed_create(op, m);
    return 0;
}

static bool of_ephemeral(const struct op *op) { return is_coll(op, op->a->pods) && str_eq(op->sub, "ephemeralcontainers"); }

/* Of the pod only its ephemeral containers, and in its metadata what tells which pod is meant. */
static void keep_all_but_ephemeral(jval *old, struct jm *m)
{
    JSON_REF(sent) = jm_freeze(m);
    jval *list = pod_spec_ephemeral_containers(pod_spec(json_root(sent)));
    struct jiter it = jv_iter(old);
    const char *key;
    jval *v;
    jm_clear(jm_root(m));
    while (jv_next(&it, &key, &v))
        jm_put(m, jm_root(m), key, jm_val(m, v));
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata"), *spec = pod_make_spec(m, jm_root(m));
    object_meta_set_name(m, meta, obj_name(json_root(sent)));
    if (*obj_namespace(json_root(sent)))
        object_meta_set_namespace(m, meta, obj_namespace(json_root(sent)));
    pod_spec_del_ephemeral_containers(spec);
    if (jv_len(list))
        pod_spec_set_ephemeral_containers(m, spec, jm_val(m, list));
}

/* On a subresource only its part comes from the client. */
static void keep_rest(struct op *op, jval *old, struct jm *m)
{
    if (of_ephemeral(op)) {
        keep_all_but_ephemeral(old, m);
        return;
    }
    static const char *const header[] = {"kind", "apiVersion", "metadata"};
    JSON_REF(sent) = jm_freeze(m);
    jval *now = json_root(sent);
    bool finalize = str_eq(op->sub, "finalize");
    jm_clear(jm_root(m));
    for (size_t i = 0; i < ARRAY_LEN(header); i++)
        copy_member(m, header[i], i == 2 && !op->res->cv ? now : old);
    struct jiter it = jv_iter(old);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v))
        if (strcmp(key, "kind") != 0 && strcmp(key, "apiVersion") != 0 && strcmp(key, "metadata") != 0 &&
            strcmp(key, "status") != 0)
            jm_add(m, jm_root(m), key, jm_val(m, v));
    copy_member(m, "status", finalize ? old : now);
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    if (finalize) {
        jmval *spec = namespace_make_spec(m, jm_root(m));
        jval *f = namespace_spec_finalizers(namespace_spec(now));
        if (jv_len(f))
            namespace_spec_set_finalizers(m, spec, jm_val(m, f));
        else
            namespace_spec_del_finalizers(spec);
    }
    if (op->res->cv)
        return;
    if (is_coll(op, op->a->pods)) {
        if (jv_present(obj_owner_refs(old)))
            object_meta_set_owner_references(m, meta, jm_val(m, obj_owner_refs(old)));
        else
            object_meta_del_owner_references(meta);
        jmval *status = pod_make_status(m, jm_root(m));
        const char *qos = pod_status_qos_class(pod_status(old));
        if (!pod_status_mut_qos_class(status) && qos)
            pod_status_set_qos_class(m, status, qos);
    } else if (obj_labels(old)) {
        object_meta_set_labels(m, meta, jm_val(m, obj_labels(old)));
    } else {
        object_meta_del_labels(meta);
    }
}

static bool same_but(jval *a, jmval *b, bool status_too)
{
    JSON_REF(now) = jm_freeze_val(b);
    jval *const docs[] = {a, json_root(now)};
    for (int side = 0; side < 2; side++) {
        struct jiter it = jv_iter(docs[side]);
        const char *key;
        jval *v;
        while (jv_next(&it, &key, &v))
            if (strcmp(key, "metadata") != 0 && (status_too || strcmp(key, "status") != 0) &&
                !jv_equal(v, jv_get(docs[!side], key)))
                return false;
    }
    return true;
}

static void bump_generation(struct op *op, jval *old, struct jm *m)
{
    if ((op->sub && !of_ephemeral(op)) || !kind_has_generation(op->res) || !obj_generation(old))
        return;
    const struct kube_res *k = res_of(op->res);
    bool status_counts = op->res->cv && !op->res->cv->status_subresource;
    bool same = same_but(old, jm_root(m), status_counts);
    if (same && strcmp(k->plural, "deployments") == 0) {
        JSON_REF(now) = jm_freeze(m);
        same = jv_equal(obj_annotations(old), obj_annotations(json_root(now)));
    }
    if (!same)
        object_meta_set_generation(m, jm_obj_at(m, jm_root(m), "metadata"), obj_generation(old) + 1);
}

int prepare_update(struct op *op, jval *old, struct jm *m, struct err *err)
{
    if (op->sub)
        keep_rest(op, old, m);
    else if (has_status_sub(op->res))
        copy_member(m, "status", old);
    if (is_coll(op, op->a->secrets))
        merge_string_data(m);
    if (object_default(op, m, err) < 0)
        return -1;
    metadata_of_changed(op, old, m);
    if (is_coll(op, op->a->namespaces)) {
        label_namespace(m);
        jval *f = namespace_spec_finalizers(namespace_spec(old));
        if (!op->sub && jv_len(f))
            namespace_spec_set_finalizers(m, namespace_make_spec(m, jm_root(m)), jm_val(m, f));
    }
    services_normalize(op, old, m);
    bump_generation(op, old, m);
    managed_update(op, old, m);
    return 0;
}
