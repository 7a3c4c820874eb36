/* subresource.c - what is created under an object (binding, token), and the logs of pods. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/timefmt.h"
#include "cluster/apiserver/internal.h"
#include "kube/fields.h"
#include "kube/rules/validate.h"

#define BIND_TRIES     8
#define TOKEN_SECONDS  3600
#define TOKEN_MIN      600
#define TOKEN_MAX      (1LL << 32)
#define TOKEN_WARN_AGE 3607 /* what the projected volume asks for: valid for a year, to be renewed after this */
#define SECONDS_A_YEAR (365LL * 24 * 3600)

struct store_obj *sub_parent(struct op *op, struct err *err)
{
    AUTOFREE char *key = op_key(op);
    struct store_obj *o = store_get(op->res->coll, key);
    if (!o)
        fail_not_found(err, op->res, op->name);
    return o;
}

/* ---- binding -------------------------------------------------------------------------------------------------------- */

static int fail_binding(struct op *op, struct err *err, const char *fmt, const char *arg)
{
    AUTOFREE char *why = xasprintf(fmt, op->name, arg);
    err_set(err, ERR_CONFLICT, "Operation cannot be fulfilled on pods/binding \"%s\": %s", op->name, why);
    err_subject(err, "", "pods/binding", op->name);
    return -1;
}

static int may_bind(struct op *op, jval *pod, struct err *err)
{
    const char *node = pod_spec_node_name(pod_spec(pod));
    if (obj_deleting(pod))
        return fail_binding(op, err, "pod %s is being deleted, cannot be assigned to a host", NULL);
    if (!str_empty(node))
        return fail_binding(op, err, "pod %s is already assigned to node \"%s\"", node);
    if (jv_len(pod_spec_scheduling_gates(pod_spec(pod))))
        return fail_binding(op, err, "pod %s has non-empty .spec.schedulingGates", NULL);
    return 0;
}

static void bind_to(struct op *op, struct jm *m, jval *binding, const char *node)
{
    jmval *root = jm_root(m);
    pod_spec_set_node_name(m, pod_make_spec(m, root), node);
    if (jv_len(obj_annotations(binding))) {
        jmval *annotations = object_meta_make_annotations(m, jm_obj_at(m, root, "metadata"));
        struct strmap members = jm_take_members(annotations);
        struct jiter it = jv_iter(obj_annotations(binding));
        const char *key;
        jval *v;
        while (jv_next(&it, &key, &v))
            strmap_put(&members, key, jm_val(m, v));
        jm_put_members(m, annotations, &members);
    }
    obj_set_condition(m, root, "PodScheduled", "True", NULL, NULL, ctx_now_ns(op->ctx));
    jmval *conditions = pod_status_mut_conditions(pod_mut_status(root));
    jmval *c;
    for (struct jmiter it = jmv_iter(conditions); jmv_next(&it, NULL, &c);) /* of the scheduler's last look, which is no more */
        if (str_eq(jmv_str(pod_condition_mut_type(c)), "PodScheduled"))
            pod_condition_del_observed_generation(c);
    pod_conditions_complete(m);
}

struct store_obj *created_status(void)
{
    JSON_REF(d) = status_success(NULL);
    JM(m, json_root(d));
    jm_put(m, jm_root(m), "code", jm_i64(m, 201));
    return store_obj_new("", 0, jm_freeze(m));
}

static struct store_obj *sub_binding(struct op *op, jval *binding, struct err *err)
{
    jval *target = binding_target(binding);
    const char *kind = object_reference_kind(target), *node = object_reference_name(target);
    FAULTS(f);
    static const char *const kinds[] = {"Node", "<empty>", NULL};
    if (!str_empty(kind) && strcmp(kind, "Node") != 0)
        fault_unsupported(&f, "target.kind", kind, kinds);
    if (str_empty(node))
        fault_required(&f, "target.name", NULL);
    if (faults_any(&f)) { /* as it is in Kubernetes: no 422 */
        AUTOFREE char *all = strlist_join(&f.texts, ", ");
        fail_internal(err, f.texts.n > 1 ? "[%s]" : "%s", all);
        return NULL;
    }
    for (int i = 0; i < BIND_TRIES; i++) {
        OBJ_REF(cur) = sub_parent(op, err);
        if (!cur || may_bind(op, obj_root(cur), err) < 0)
            return NULL;
        const char *uid = obj_uid(binding);
        if (*uid && strcmp(uid, obj_uid(obj_root(cur))) != 0) {
            fail_binding(op, err, "the UID of pod %s is not %s", uid);
            return NULL;
        }
        JM(m, obj_root(cur));
        bind_to(op, m, binding, node);
        ERR(e);
        struct store_write w = {.coll = op->res->coll, .key = cur->key, .expect = cur->rv, .doc = m};
        if (op->o->dry_run || store_write(op->a->store, &w, NULL, &e) == 0)
            return created_status();
        if (e.code != ERR_CONFLICT && e.code != ERR_NOT_FOUND) {
            err_move(err, &e);
            return NULL;
        }
    }
    fail_conflict(err, op->res, op->name, MODIFIED_TEXT);
    return NULL;
}

struct store_obj *binding_create(struct op *op, jval *binding, struct err *err)
{
    RESOURCES(table, op->a);
    struct op of_pod = *op;
    of_pod.res = resource_find(table, "", "v1", "pods");
    of_pod.name = obj_name(binding);
    of_pod.sub = "binding";
    return sub_binding(&of_pod, binding, err);
}

/* ---- tokens of service accounts --------------------------------------------------------------------------------------- */

static void put_ref(struct jm *m, jmval *to, const char *what, jval *o)
{
    jmval *r = jm_obj_at(m, to, what);
    jm_put(m, r, "name", jm_str(m, obj_name(o)));
    jm_put(m, r, "uid", jm_str(m, obj_uid(o)));
}

/* The object that a token is to be bound to goes into the claims. */
static int bind_token(struct op *op, struct jm *m, jmval *k8s, jval *ref, struct err *err)
{
    const char *kind = bound_object_reference_kind(ref), *name = bound_object_reference_name(ref),
               *uid = bound_object_reference_uid(ref);
    struct store_coll *coll = str_eq(kind, "Pod")      ? op->a->pods
                              : str_eq(kind, "Secret") ? op->a->secrets
                              : str_eq(kind, "Node")   ? op->a->nodes
                                                       : NULL;
    if (!coll)
        return err_set(err, ERR_BAD_REQUEST, "cannot bind token to object of type /%s, Kind=%s",
                       bound_object_reference_api_version(ref) ? bound_object_reference_api_version(ref) : "", kind ? kind : "");
    AUTOFREE char *key = obj_key_of(coll == op->a->nodes ? NULL : op->ns, name ? name : "");
    OBJ_REF(o) = store_get(coll, key);
    static const char *const plural[] = {"pods", "secrets", "nodes"}, *const lower[] = {"pod", "secret", "node"};
    int i = coll == op->a->pods ? 0 : coll == op->a->secrets ? 1 : 2;
    if (!o) {
        err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", plural[i], name ? name : "");
        err_subject(err, "", plural[i], name);
        return -1;
    }
    if (!str_empty(uid) && strcmp(uid, obj_uid(obj_root(o))) != 0) {
        err_set(err, ERR_CONFLICT,
                "Operation cannot be fulfilled on %s \"%s\": the UID in the bound object reference (%s) does not match the UID "
                "in record. The object might have been deleted and then recreated",
                plural[i], name, uid);
        err_subject(err, "", plural[i], name);
        return -1;
    }
    put_ref(m, k8s, lower[i], obj_root(o));
    if (i != 0)
        return 0;
    const char *account = pod_spec_service_account_name(pod_spec(obj_root(o))), *node = pod_spec_node_name(pod_spec(obj_root(o)));
    if (!str_eq(account, op->name))
        return err_set(err, ERR_BAD_REQUEST,
                       "cannot bind token for serviceaccount \"%s\" to pod running with different serviceaccount name.",
                       op->name);
    if (!str_empty(node)) {
        OBJ_REF(n) = store_get(op->a->nodes, node);
        if (n)
            put_ref(m, k8s, "node", obj_root(n));
    }
    return 0;
}

static int check_token_request(jval *spec, int64_t *seconds, struct err *err)
{
    *seconds = token_request_spec_expiration_seconds(spec, TOKEN_SECONDS);
    FAULTS(f);
    if (*seconds < TOKEN_MIN)
        fault_invalid_i64(&f, "spec.expirationSeconds", *seconds, "may not specify a duration less than 10 minutes");
    else if (*seconds > TOKEN_MAX)
        fault_invalid_i64(&f, "spec.expirationSeconds", *seconds, "may not specify a duration larger than 2^32 seconds");
    return faults_done(&f, "authentication.k8s.io", "TokenRequest", "", err);
}

/* Name and namespace may be left out, but not be others. */
static int check_token_name(struct op *op, jval *request, struct err *err)
{
    FAULTS(f);
    if (*obj_name(request) && strcmp(obj_name(request), op->name) != 0)
        fault_invalid_str(&f, "metadata.name", obj_name(request), "must match the service account name if specified");
    if (*obj_namespace(request) && strcmp(obj_namespace(request), op->ns) != 0)
        fault_invalid_str(&f, "metadata.namespace", obj_namespace(request),
                          "must match the service account namespace if specified");
    return faults_done(&f, "authentication.k8s.io", "TokenRequest", op->name, err);
}

static void put_audiences(struct jm *m, jmval *to, const char *name, jval *audiences)
{
    jmval *list = jm_arr_at(m, to, name);
    struct jiter it = jv_iter(audiences);
    jval *v;
    while (jv_next(&it, NULL, &v))
        jm_push(list, jm_val(m, v));
    if (jmv_len(list) == 0)
        jm_push(list, jm_str(m, TOKEN_ISSUER));
}

static void put_claims(struct op *op, struct jm *m, jmval *claims, int64_t now, int64_t seconds)
{
    char id[UUID_TEXT];
    jm_put(m, claims, "exp", jm_i64(m, now + seconds));
    jm_put(m, claims, "iat", jm_i64(m, now));
    jm_put(m, claims, "iss", jm_str(m, TOKEN_ISSUER));
    jm_put(m, claims, "jti", jm_str(m, uuid4(id)));
    jm_put(m, claims, "nbf", jm_i64(m, now));
    jm_put(m, claims, "sub", jm_strf(m, "system:serviceaccount:%s:%s", op->ns, op->name));
}

static struct store_obj *sub_token(struct op *op, jval *request, struct err *err)
{
    OBJ_REF(account) = sub_parent(op, err);
    jval *spec = token_request_spec(request);
    int64_t seconds, now = ctx_now_ns(op->ctx) / NS_PER_S;
    if (!account || check_token_request(spec, &seconds, err) < 0 || check_token_name(op, request, err) < 0)
        return NULL;
    JM_NEW(m);
    jmval *claims = jm_obj(m);
    jm_set_root(m, claims);
    put_audiences(m, claims, "aud", token_request_spec_audiences(spec));
    jval *ref = token_request_spec_bound_object_ref(spec);
    /* As upstream: the volume's token lives for a year, so that programs that read it once go on; the pod's end ends it anyway.
     */
    int64_t life = jv_present(ref) && seconds == TOKEN_WARN_AGE ? SECONDS_A_YEAR : seconds;
    put_claims(op, m, claims, now, life);
    jmval *k8s = jm_obj_at(m, claims, "kubernetes.io");
    jm_put(m, k8s, "namespace", jm_str(m, op->ns));
    if (jv_present(ref) && bind_token(op, m, k8s, ref, err) < 0)
        return NULL;
    put_ref(m, k8s, "serviceaccount", obj_root(account));
    if (life != seconds)
        jm_put(m, k8s, "warnafter", jm_i64(m, now + seconds));
    AUTOFREE char *token = token_sign(op->a->signer, claims, err);
    if (!token)
        return NULL;
    CLEANUP(jm_freep) struct jm *answer = object_ordered(request);
    jmval *root = jm_root(answer), *meta = jm_obj_at(answer, root, "metadata");
    jm_put(answer, root, "kind", jm_str(answer, "TokenRequest"));
    jm_put(answer, root, "apiVersion", jm_str(answer, "authentication.k8s.io/v1"));
    char text[TIME_TEXT_MAX];
    object_meta_set_name(answer, meta, op->name);
    object_meta_set_namespace(answer, meta, op->ns);
    object_meta_set_uid(answer, meta, obj_uid(obj_root(account)));
    object_meta_set_creation_timestamp(answer, meta, time_format(text, now * NS_PER_S, TIME_SECONDS));
    jmval *out_spec = token_request_make_spec(answer, root);
    if (!jv_len(token_request_spec_audiences(spec)))
        put_audiences(answer, out_spec, "audiences", NULL);
    token_request_spec_set_expiration_seconds(answer, out_spec, seconds);
    if (!jv_present(ref))
        jm_put(answer, out_spec, "boundObjectRef", jm_null(answer));
    jmval *status = token_request_make_status(answer, root);
    token_request_status_set_token(answer, status, token);
    token_request_status_set_expiration_timestamp(answer, status, time_format(text, (now + seconds) * NS_PER_S, TIME_SECONDS));
    return object_virtual(answer);
}

char *token_for_secret(struct op *op, struct jm *m, jval *account, jval *secret, struct err *err)
{
    jmval *claims = jm_root(m);
    jm_push(jm_arr_at(m, claims, "aud"), jm_str(m, TOKEN_ISSUER));
    struct op of = *op;
    of.name = obj_name(account);
    /* A hundred years: it ends with the secret. */
    put_claims(&of, m, claims, ctx_now_ns(op->ctx) / NS_PER_S, 100 * SECONDS_A_YEAR);
    jmval *k8s = jm_obj_at(m, claims, "kubernetes.io");
    jm_put(m, k8s, "namespace", jm_str(m, op->ns));
    put_ref(m, k8s, "serviceaccount", account);
    put_ref(m, k8s, "secret", secret);
    return token_sign(op->a->signer, claims, err);
}

struct store_obj *sub_create(struct op *op, jval *body, struct err *err)
{
    if (op->res->coll == op->a->pods && strcmp(op->sub, "binding") == 0)
        return sub_binding(op, body, err);
    if (op->res->coll == op->a->pods && strcmp(op->sub, "eviction") == 0)
        return sub_eviction(op, body, err);
    if (op->res->coll == op->a->accounts && strcmp(op->sub, "token") == 0)
        return sub_token(op, body, err);
    err_set(err, ERR_METHOD, "the server does not allow this method on the requested resource");
    return NULL;
}

/* ---- logs ---------------------------------------------------------------------------------------------------------------- */

static void list_names(jval *containers, struct strlist *out)
{
    struct jiter it = jv_iter(containers);
    jval *c;
    while (jv_next(&it, NULL, &c))
        strlist_add(out, container_name(c) ? container_name(c) : "");
}

int sub_container(struct op *op, jval *pod, const char *asked, char **out, struct err *err)
{
    jval *spec = pod_spec(pod);
    STRLIST(init);
    STRLIST(main);
    STRLIST(all);
    list_names(pod_spec_init_containers(spec), &init);
    list_names(pod_spec_containers(spec), &main);
    list_names(pod_spec_containers(spec), &all);
    list_names(pod_spec_init_containers(spec), &all);
    list_names(pod_spec_ephemeral_containers(spec), &all);
    if (!str_empty(asked)) {
        if (!strlist_has(&all, asked))
            return err_set(err, ERR_BAD_REQUEST, "container %s is not valid for pod %s", asked, op->name);
        *out = xstrdup(asked);
        return 0;
    }
    if (main.n == 1) {
        *out = xstrdup(main.v[0]);
        return 0;
    }
    AUTOFREE char *names = strlist_join(&main, " "), *inits = strlist_join(&init, " ");
    if (init.n)
        return err_set(err, ERR_BAD_REQUEST,
                       "a container name must be specified for pod %s, choose one of: [%s] or one of the init containers: [%s]",
                       op->name, names, inits);
    return err_set(err, ERR_BAD_REQUEST, "a container name must be specified for pod %s, choose one of: [%s]", op->name, names);
}

/* Options with the container filled in, and the pod. *pod is NULL afterwards when it is on no node yet: the log is empty. */
int sub_log_options(struct op *op, const struct kube_log_opts *in, struct kube_log_opts *out, struct store_obj **pod,
                    char **container, struct err *err)
{
    OBJ_REF(p) = sub_parent(op, err);
    if (!p || sub_container(op, obj_root(p), in->container, container, err) < 0)
        return -1;
    *out = *in;
    out->container = *container;
    *pod = str_empty(pod_spec_node_name(pod_spec(obj_root(p)))) ? NULL : TAKE(p);
    return 0;
}

int sub_log_read(struct op *op, const struct kube_log_opts *lo, size_t max, struct buf *out, struct err *err)
{
    OBJ_REF(pod) = NULL;
    AUTOFREE char *container = NULL;
    struct kube_log_opts opts;
    if (sub_log_options(op, lo, &opts, &pod, &container, err) < 0)
        return -1;
    opts.follow = false;
    if (!pod)
        return 0;
    const struct node_api *node = &op->a->node_door;
    struct node_log *log = node->log_open(node->self, op->ctx, obj_root(pod), &opts, NULL, NULL, err);
    if (!log)
        return -1;
    int rc = 1;
    size_t start = out->len;
    while (rc == 1 && out->len - start < max)
        rc = log->read(log, max - (out->len - start), out, err);
    log->close(log);
    return rc < 0 ? -1 : 0;
}
