/* boot.c - see boot.h. */
#include "cli/boot.h"

#include <stdlib.h>

#include "kube/fields.h"
#include "kube/kind.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "net/server.h"
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

static void *alloc_of_request(void *req, size_t n) { return http_alloc(req, n); }

int boot_review_token(struct reviews *r, struct ctx *ctx, struct http_req *req, const char *token, struct err *err)
{
    char source[PEER_SOURCE_TEXT];
    JSON_REF(user) = reviews_token(r, ctx, token, peer_source(req->peer, source), err);
    if (!user)
        return -1;
    ctx->who = reviews_identity(json_root(user), alloc_of_request, req);
    return 0;
}

int boot_review_access(struct reviews *r, const struct ctx *ctx, const char *ns, const struct perm *p, struct err *err)
{
    const struct review what = {.ns = ns, .verb = p->verb, .group = p->group, .resource = p->resource};
    int may = reviews_access(r, ctx, ctx->who, &what, err);
    if (may)
        return may < 0 ? -1 : 0;
    return err_set(err, ERR_FORBIDDEN, "user %s may not %s %s.%s in namespace %s: a role there has to say so", ctx->who->user,
                   p->verb, p->resource, p->group, ns);
}
