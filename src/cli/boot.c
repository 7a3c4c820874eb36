/* boot.c - see boot.h. */
#include "cli/boot.h"

#include <stdlib.h>

#include "kube/fields.h"
#include "kube/kind.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "value/yaml.h"

/* deploy/base, made by tools/embed.py. */
extern const char deploy_base_yaml[];
extern const size_t deploy_base_yaml_len;
/* crds/kubeflow.yaml */
extern const char crds_kubeflow_yaml[];
extern const size_t crds_kubeflow_yaml_len;
/* deploy/embedded */
extern const char deploy_embedded_yaml[];
extern const size_t deploy_embedded_yaml_len;

/* Creates an object, or (if not once) brings an existing one to the same content. */
static int ensure(struct kube *k, const struct ctx *ctx, jval *obj, bool once, struct err *err)
{
    const struct kind *kind = kind_by_api_version(obj_api_version(obj), obj_kind(obj));
    const struct kube_res *res = kind ? &kind->res : NULL;
    if (!kind || !kind->served)
        return err_set(err, ERR_INTERNAL, "deploy/base holds an object of a kind that is not served: %s",
                       jv_str_or(jv_get(obj, "kind"), "?"));
    const char *ns = res->namespaced ? obj_namespace(obj) : NULL, *name = obj_name(obj);
    ERR(e);
    JSON_REF(have) = kube_get(k, ctx, res, ns, name, NULL, &e);
    if (!have && e.code == ERR_NOT_FOUND) {
        JSON_REF(made) = kube_create(k, ctx, res, ns, obj, NULL, err);
        return made ? 0 : -1;
    }
    if (!have)
        return err_move(err, &e);
    if (once)
        return 0;
    /* A patch with what we want leaves what others added; an equal object is not written again. */
    JSON_REF(same) = kube_patch(k, ctx, res, ns, name, KUBE_PATCH_MERGE, obj, NULL, err);
    return same ? 0 : -1;
}

static int ensure_all(struct kube *k, const struct ctx *ctx, const char *yaml, size_t len, bool once, struct err *err)
{
    struct json **docs;
    size_t n;
    if (yaml_parse(yaml, len, NULL, &docs, &n, err) < 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        if (rc == 0 && jv_is(json_root(docs[i]), J_OBJECT) && (rc = ensure(k, ctx, json_root(docs[i]), once, err)) < 0)
            err_wrap(err, "making %s %s", jv_str_or(jv_get(json_root(docs[i]), "kind"), "?"), obj_name(json_root(docs[i])));
        json_unref(docs[i]);
    }
    free(docs);
    return rc;
}

int boot_objects(struct kube *k, const struct ctx *ctx, bool own_node, struct err *err)
{
    if (ensure_all(k, ctx, deploy_base_yaml, deploy_base_yaml_len, false, err) < 0)
        return err_wrap(err, "deploy/base");
    if (ensure_all(k, ctx, crds_kubeflow_yaml, crds_kubeflow_yaml_len, false, err) < 0)
        return err_wrap(err, "crds");
    if (own_node && ensure_all(k, ctx, deploy_embedded_yaml, deploy_embedded_yaml_len, true, err) < 0)
        return err_wrap(err, "deploy/embedded");
    return 0;
}

char *address_with_port(const char *address, int port)
{
    const char *colon = strrchr(address, ':');
    return xasprintf("%.*s:%d", colon ? (int)(colon - address) : (int)strlen(address), address, port);
}

bool address_is_loopback(const char *a)
{
    return str_starts(a, "127.") || str_starts(a, "localhost:") || str_starts(a, "[::1]:") || str_starts(a, "unix:");
}

static const char *const *copy_list(struct http_req *req, jval *list)
{
    const char **out = http_alloc(req, (jv_len(list) + 1) * sizeof *out);
    size_t n = 0;
    jval *v;
    for (struct jiter it = jv_iter(list); jv_next(&it, NULL, &v);)
        if (jv_str(v))
            out[n++] = http_strdup(req, jv_str(v));
    return out;
}

static int review_identity(jval *review, struct ctx *ctx, struct http_req *req, struct err *err)
{
    jval *status = jv_get(review, "status"), *user = jv_get(status, "user");
    if (!jv_bool(jv_get(status, "authenticated"), false) || !jv_str(jv_get(user, "username")))
        return err_set(err, ERR_UNAUTHENTICATED, "the bearer token is not valid: %s",
                       jv_str_or(jv_get(status, "error"), "unknown token"));
    struct identity *who = http_alloc(req, sizeof *who);
    who->user = http_strdup(req, jv_str(jv_get(user, "username")));
    who->uid = http_strdup(req, jv_str_or(jv_get(user, "uid"), ""));
    who->groups = copy_list(req, jv_get(user, "groups"));
    ctx->who = who;
    return 0;
}

int boot_review_token(struct kube *k, struct ctx *ctx, struct http_req *req, const char *token, struct err *err)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    jm_put(m, o, "apiVersion", jm_str(m, "authentication.k8s.io/v1"));
    jm_put(m, o, "kind", jm_str(m, "TokenReview"));
    jm_put(m, jm_obj_at(m, o, "spec"), "token", jm_str(m, token));
    JSON_REF(ask) = jm_freeze(m);
    JSON_REF(answer) = kube_create(k, ctx, &KUBE_TOKENREVIEWS, NULL, json_root(ask), NULL, err);
    return answer ? review_identity(json_root(answer), ctx, req, err) : -1;
}

int boot_review_access(struct kube *k, const struct ctx *ctx, const char *ns, const struct perm *p, struct err *err)
{
    const struct identity *who = ctx->who;
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    subject_access_review_set_api_version(m, o, "authorization.k8s.io/v1");
    subject_access_review_set_kind(m, o, "SubjectAccessReview");
    jmval *spec = subject_access_review_make_spec(m, o);
    subject_access_review_spec_set_user(m, spec, who->user);
    subject_access_review_spec_set_uid(m, spec, who->uid ? who->uid : "");
    jmval *groups = subject_access_review_spec_make_groups(m, spec);
    for (const char *const *g = who->groups; g && *g; g++)
        jm_push(groups, jm_str(m, *g));
    jmval *what = subject_access_review_spec_make_resource_attributes(m, spec);
    resource_attributes_set_namespace(m, what, ns);
    resource_attributes_set_verb(m, what, p->verb);
    resource_attributes_set_group(m, what, p->group);
    resource_attributes_set_resource(m, what, p->resource);
    JSON_REF(ask) = jm_freeze(m);
    JSON_REF(answer) = kube_create(k, ctx, &KUBE_SUBJECTACCESSREVIEWS, NULL, json_root(ask), NULL, err);
    if (!answer)
        return err_wrap(err, "asking the cluster whether user %s may %s %s", who->user, p->verb, p->resource);
    if (subject_access_review_status_allowed(subject_access_review_status(json_root(answer)), false))
        return 0;
    return err_set(err, ERR_FORBIDDEN, "user %s may not %s %s.%s in namespace %s: a role there has to say so", who->user, p->verb,
                   p->resource, p->group, ns);
}
