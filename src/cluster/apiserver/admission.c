/* admission.c - the admission plugins that are built in (kube.md 11.1), in their order. */
#include <stdlib.h>

#include "base/id.h"
#include "base/timefmt.h"
#include "cluster/apiserver/internal.h"
#include "kube/fields.h"

#define TOKEN_MOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

/* ---- life of namespaces ---------------------------------------------------------------------------------------------- */

static int admit_namespace(struct op *op, struct jm *m, struct err *err)
{
    if (!res_of(op->res)->namespaced)
        return 0;
    OBJ_REF(ns) = store_get(op->a->namespaces, op->ns ? op->ns : "");
    if (!ns) {
        err_set(err, ERR_NOT_FOUND, "namespaces \"%s\" not found", op->ns);
        err_subject(err, "", "namespaces", op->ns);
        return -1;
    }
    if (!obj_deleting(obj_root(ns)))
        return 0;
    fail_forbidden(err, op->res, jmv_str(object_meta_mut_name(jmv_get(jm_root(m), "metadata"))),
                   "unable to create new content in namespace %s because it is being terminated", op->ns);
    err_cause(err, "NamespaceTerminating", "metadata.namespace", "namespace %s is being terminated", op->ns);
    return -1;
}

/* ---- service accounts ------------------------------------------------------------------------------------------------- */

/* The pod's word counts before that of the account. */
static bool wants_token(jval *spec, jval *account)
{
    return pod_spec_automount_service_account_token(spec, service_account_automount_service_account_token(account, true));
}

static jmval *obj_in(struct jm *m, jmval *list)
{
    jmval *o = jm_obj(m);
    jm_push(list, o);
    return o;
}

static void add_token_volume(struct jm *m, jmval *spec, const char *name)
{
    jmval *volume = obj_in(m, pod_spec_make_volumes(m, spec));
    volume_set_name(m, volume, name);
    jmval *projected = volume_make_projected(m, volume);
    jmval *sources = projected_volume_source_make_sources(m, projected);
    jmval *token = volume_projection_make_service_account_token(m, obj_in(m, sources));
    service_account_token_projection_set_expiration_seconds(m, token, 3607);
    service_account_token_projection_set_path(m, token, "token");
    jmval *ca = volume_projection_make_config_map(m, obj_in(m, sources));
    config_map_projection_set_name(m, ca, "kube-root-ca.crt");
    jmval *item = obj_in(m, config_map_projection_make_items(m, ca));
    key_to_path_set_key(m, item, "ca.crt");
    key_to_path_set_path(m, item, "ca.crt");
    jmval *down = volume_projection_make_downward_api(m, obj_in(m, sources));
    jmval *file = obj_in(m, downward_api_projection_make_items(m, down));
    downward_api_volume_file_set_path(m, file, "namespace");
    jmval *ref = downward_api_volume_file_make_field_ref(m, file);
    object_field_selector_set_api_version(m, ref, "v1");
    object_field_selector_set_field_path(m, ref, "metadata.namespace");
    projected_volume_source_set_default_mode(m, projected, 420);
}

static bool mounts_token(jmval *container)
{
    jmval *mounts = container_mut_volume_mounts(container);
    struct jmiter it = jmv_iter(mounts);
    jmval *x;
    while (jmv_next(&it, NULL, &x))
        if (str_eq(jmv_str(volume_mount_mut_mount_path(x)), TOKEN_MOUNT))
            return true;
    return false;
}

/* True when a container got the mount. */
static bool mount_token(struct jm *m, jmval *containers, const char *volume)
{
    bool any = false;
    struct jmiter it = jmv_iter(containers);
    jmval *c;
    while (jmv_next(&it, NULL, &c)) {
        if (mounts_token(c))
            continue;
        jmval *mount = obj_in(m, container_make_volume_mounts(m, c));
        volume_mount_set_name(m, mount, volume);
        volume_mount_set_read_only(m, mount, true);
        volume_mount_set_mount_path(m, mount, TOKEN_MOUNT);
        any = true;
    }
    return any;
}

static int admit_service_account(struct op *op, struct jm *m, struct err *err)
{
    jmval *spec = pod_make_spec(m, jm_root(m));
    JSON_REF(was) = jm_freeze(m);
    jval *pod = json_root(was), *given = pod_spec(pod);
    if (obj_annotation(pod, "kubernetes.io/config.mirror"))
        return 0;
    const char *name = pod_spec_service_account_name(given);
    name = str_empty(name) ? "default" : name;
    pod_spec_set_service_account_name(m, spec, name);
    pod_spec_set_service_account(m, spec, name);
    AUTOFREE char *key = obj_key_of(op->ns, name);
    OBJ_REF(account) = store_get(op->a->accounts, key);
    if (!account)
        return fail_forbidden(err, op->res, obj_name(pod), "error looking up service account %s: serviceaccount \"%s\" not found",
                              key, name);
    jval *pull = service_account_image_pull_secrets(obj_root(account));
    if (!jv_len(pod_spec_image_pull_secrets(given)) && jv_len(pull))
        pod_spec_set_image_pull_secrets(m, spec, jm_val(m, pull));
    if (!wants_token(given, obj_root(account)))
        return 0;
    char suffix[6];
    AUTOFREE char *volume = xasprintf("kube-api-access-%s", random_suffix(suffix, 5));
    bool any = mount_token(m, pod_spec_mut_init_containers(spec), volume);
    any |= mount_token(m, pod_spec_mut_containers(spec), volume);
    if (any)
        add_token_volume(m, spec, volume);
    return 0;
}

/* ---- tolerations ------------------------------------------------------------------------------------------- */

static bool tolerates(jval *spec, const char *key)
{
    struct jiter it = jv_iter(pod_spec_tolerations(spec));
    jval *t;
    while (jv_next(&it, NULL, &t)) {
        const char *k = toleration_key(t), *effect = toleration_effect(t);
        if ((str_empty(k) || strcmp(k, key) == 0) && (str_empty(effect) || strcmp(effect, "NoExecute") == 0))
            return true;
    }
    return false;
}

static void add_tolerations(struct jm *m)
{
    static const char *const keys[] = {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"};
    JSON_REF(was) = jm_freeze(m);
    jmval *spec = pod_make_spec(m, jm_root(m));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (tolerates(pod_spec(json_root(was)), keys[i]))
            continue;
        jmval *t = obj_in(m, pod_spec_make_tolerations(m, spec));
        toleration_set_key(m, t, keys[i]);
        toleration_set_operator(m, t, "Exists");
        toleration_set_effect(m, t, "NoExecute");
        toleration_set_toleration_seconds(m, t, 300);
    }
}

/* There are no RuntimeClasses here, so a pod that asks for one is refused. */
static int admit_runtime_class(struct op *op, struct jm *m, struct err *err)
{
    JSON_REF(was) = jm_freeze(m);
    jval *spec = pod_spec(json_root(was));
    const char *class = pod_spec_runtime_class_name(spec);
    if (class)
        return fail_forbidden(err, op->res, obj_name(json_root(was)), "pod rejected: RuntimeClass \"%s\" not found", class);
    if (jv_len(pod_spec_overhead(spec)))
        return fail_forbidden(err, op->res, obj_name(json_root(was)),
                              "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
    return 0;
}

/* ---- nodes --------------------------------------------------------------------------------------------------------------- */

static void taint_new_node(struct jm *m)
{
    jmval *taints = node_spec_make_taints(m, node_make_spec(m, jm_root(m)));
    jmval *x;
    for (struct jmiter it = jmv_iter(taints); jmv_next(&it, NULL, &x);)
        if (str_eq(jmv_str(taint_mut_key(x)), "node.kubernetes.io/not-ready"))
            return;
    jmval *t = obj_in(m, taints);
    taint_set_key(m, t, "node.kubernetes.io/not-ready");
    taint_set_effect(m, t, "NoSchedule");
}

static void drop_taint(struct jm *m, const char *key)
{
    jmval *spec = node_make_spec(m, jm_root(m)), *taints = node_spec_mut_taints(spec);
    jmval *kept = jm_arr(m), *t;
    for (struct jmiter it = jmv_iter(taints); jmv_next(&it, NULL, &t);)
        if (!str_eq(jmv_str(taint_mut_key(t)), key))
            jm_push(kept, t); /* out of the old list, which goes */
    if (jmv_len(kept))
        node_spec_set_taints(m, spec, kept);
    else
        node_spec_del_taints(spec);
}

static bool has_taint(jval *node, const char *key)
{
    struct jiter it = jv_iter(node_spec_taints(node_spec(node)));
    jval *t;
    while (jv_next(&it, NULL, &t))
        if (str_eq(taint_key(t), key))
            return true;
    return false;
}

/* A node that became ready loses its taint; one that is cordoned has one for it. */
static void taint_changed_node(struct op *op, struct jm *m)
{
    static const char not_ready[] = "node.kubernetes.io/not-ready", cordoned[] = "node.kubernetes.io/unschedulable";
    JSON_REF(d) = jm_freeze(m);
    jval *now = json_root(d);
    if (has_taint(now, not_ready) && obj_condition_is(now, "Ready", "True"))
        drop_taint(m, not_ready);
    bool wants = node_spec_unschedulable(node_spec(now), false);
    if (!wants && has_taint(now, cordoned)) {
        drop_taint(m, cordoned);
    } else if (wants && !has_taint(now, cordoned)) {
        jmval *t = obj_in(m, node_spec_make_taints(m, node_make_spec(m, jm_root(m))));
        char text[TIME_TEXT_MAX];
        taint_set_key(m, t, cordoned);
        taint_set_effect(m, t, "NoSchedule");
        taint_set_time_added(m, t, time_format(text, ctx_now_ns(op->ctx), TIME_SECONDS));
    }
}

/* ---- tokens in secrets --------------------------------------------------------------------------------------------------- */

/* A Secret of the token type gets a token of its account that lives as long as the secret does. */
static int fill_token_secret(struct op *op, struct jm *m, struct err *err)
{
    JSON_REF(d) = jm_freeze(m);
    jval *s = json_root(d);
    const char *name = obj_annotation(s, "kubernetes.io/service-account.name");
    if (!str_eq(secret_type(s), "kubernetes.io/service-account-token") || str_empty(name) || op->o->dry_run)
        return 0;
    AUTOFREE char *key = obj_key_of(op->ns, name);
    OBJ_REF(account) = store_get(op->a->accounts, key);
    if (!account || jv_get(secret_data(s), "token"))
        return 0;
    JM_NEW(c);
    jmval *claims = jm_obj(c);
    jm_set_root(c, claims);
    AUTOFREE char *token = token_for_secret(op, c, obj_root(account), s, err);
    if (!token)
        return -1;
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata"), *data = secret_make_data(m, jm_root(m));
    jm_put(m, object_meta_make_annotations(m, meta), "kubernetes.io/service-account.uid", jm_str(m, obj_uid(obj_root(account))));
    const char *const parts[][2] = {{"ca.crt", op->a->keys.ca_cert}, {"namespace", op->ns}, {"token", token}};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        AUTOFREE char *encoded = base64_encode(parts[i][1], strlen(parts[i][1]));
        jm_put(m, data, parts[i][0], jm_str(m, encoded));
    }
    return 0;
}

/* ---- checks of those who serve a kind -------------------------------------------------------------------------------------- */

static int admit_checked(struct op *op, jval *old, jval *now, struct err *err)
{
    const struct kube_res *r = res_of(op->res);
    for (size_t i = 0; i < op->a->n_checks && !op->sub; i++) {
        const struct apiserver_check *c = &op->a->checks[i];
        if (str_eq(c->group, r->group) && str_eq(c->plural, r->plural) && c->check(c->self, op->ctx, op->who, old, now, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- doors ----------------------------------------------------------------------------------------------------------------- */

/* A kind whose definition is going gets no new objects. */
static int admit_custom(struct op *op, struct err *err)
{
    if (!op->res->cv)
        return 0;
    OBJ_REF(crd) = store_get(op->a->crds, op->res->full);
    if (crd && obj_deleting(obj_root(crd)))
        return fail_forbidden(err, op->res, NULL, "create not allowed while custom resource definition is terminating");
    return 0;
}

int admit_create(struct op *op, struct jm *m, struct err *err)
{
    if (admit_namespace(op, m, err) < 0 || admit_custom(op, err) < 0)
        return -1;
    if (op->res->coll == op->a->pods) {
        limits_admit(op, m);
        if (admit_service_account(op, m, err) < 0)
            return -1;
        add_tolerations(m);
        if (admit_priority(op, m, err) < 0 || admit_runtime_class(op, m, err) < 0)
            return -1;
    }
    if (op->res->coll == op->a->nodes)
        taint_new_node(m);
    storage_admit_create(op, m);
    if (op->res->coll == op->a->secrets && fill_token_secret(op, m, err) < 0)
        return -1;
    JSON_REF(now) = jm_freeze(m);
    if (op->res->coll == op->a->priority_classes && admit_priority_class(op, NULL, json_root(now), err) < 0)
        return -1;
    if (admit_pod_security(op, NULL, json_root(now), err) < 0 || admit_checked(op, NULL, json_root(now), err) < 0)
        return -1;
    return rbac_check_escalation(op, NULL, json_root(now), err);
}

int admit_update(struct op *op, jval *old, struct jm *m, struct err *err)
{
    if (op->res->coll == op->a->nodes)
        taint_changed_node(op, m);
    JSON_REF(now) = jm_freeze(m);
    if (jv_equal(old, json_root(now)))
        return 0;
    if (storage_admit_update(op, old, json_root(now), err) < 0)
        return -1;
    if (op->res->coll == op->a->priority_classes && admit_priority_class(op, old, json_root(now), err) < 0)
        return -1;
    if (admit_pod_security(op, old, json_root(now), err) < 0 || admit_checked(op, old, json_root(now), err) < 0)
        return -1;
    return rbac_check_escalation(op, old, json_root(now), err);
}

int admit_delete(struct op *op, jval *old, struct err *err)
{
    static const char *const kept[] = {"default", "kube-system", "kube-public"};
    if (op->res->coll != op->a->namespaces)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (strcmp(obj_name(old), kept[i]) == 0)
            return fail_forbidden(err, op->res, obj_name(old), "this namespace may not be deleted");
    return 0;
}
