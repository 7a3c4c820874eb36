/* namespace.c - see namespace.h.
 *
 *   phase        what a reconcile does
 *   Active       makes sure that ServiceAccount default and ConfigMap kube-root-ca.crt are there, and as they should be
 *   Terminating  deletes what the namespace holds (content.c), says in conditions what is left, and takes the finalizer away when
 * nothing is
 *
 * Source: kube.md 13.1. */
#include "cluster/controllers/namespace.h"

#include <stdlib.h>

#include "base/str.h"
#include "base/timefmt.h"
#include "cluster/controllers/content.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define ROOT_CA    "kube-root-ca.crt"
#define CA_KEY     "ca.crt"
#define POLL_FIRST (50 * NS_PER_MS)
#define POLL_LATER (1 * NS_PER_S)

struct namespace_controller {
    const struct controllers_config *cfg;
    char *ca_pem;
    struct informer *namespaces, *accounts, *root_cas;
    struct controller_run *run;
};

/* ---- what an active namespace has ---- */

static struct json *new_object(const struct kube_res *res, const char *name, const char *ca_pem)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    if (ca_pem) {
        config_map_set_kind(m, o, res->kind);
        config_map_set_api_version(m, o, res->version);
        object_meta_set_name(m, config_map_make_metadata(m, o), name);
        jm_put(m, config_map_make_data(m, o), CA_KEY, jm_str(m, ca_pem));
    } else {
        service_account_set_kind(m, o, res->kind);
        service_account_set_api_version(m, o, res->version);
        object_meta_set_name(m, service_account_make_metadata(m, o), name);
    }
    return jm_freeze(m);
}

/* Somebody else may be quicker, and the namespace may begin to end meanwhile: neither is a failure of ours. */
static int create_in(struct namespace_controller *c, const struct ctx *ctx, const struct kube_res *res, const char *ns, jval *obj,
                     struct err *err)
{
    ERR(e);
    JSON_REF(made) = kube_create(c->cfg->kube, ctx, res, ns, obj, NULL, &e);
    return made || e.code == ERR_EXISTS || e.code == ERR_FORBIDDEN || e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
}

static int ensure_account(struct namespace_controller *c, const struct ctx *ctx, const char *ns, struct err *err)
{
    AUTOFREE char *key = obj_key_of(ns, "default");
    JSON_REF(have) = informer_get(c->accounts, key);
    if (have)
        return 0;
    JSON_REF(want) = new_object(&KUBE_SERVICEACCOUNTS, "default", NULL);
    return create_in(c, ctx, &KUBE_SERVICEACCOUNTS, ns, json_root(want), err);
}

static int ensure_root_ca(struct namespace_controller *c, const struct ctx *ctx, const char *ns, struct err *err)
{
    AUTOFREE char *key = obj_key_of(ns, ROOT_CA);
    JSON_REF(have) = informer_get(c->root_cas, key);
    if (have && str_eq(jv_str(jv_get(config_map_data(json_root(have)), CA_KEY)), c->ca_pem))
        return 0;
    JSON_REF(want) = new_object(&KUBE_CONFIGMAPS, ROOT_CA, c->ca_pem);
    if (!have)
        return create_in(c, ctx, &KUBE_CONFIGMAPS, ns, json_root(want), err);
    JSON_REF(now) = kube_patch(c->cfg->kube, ctx, &KUBE_CONFIGMAPS, ns, ROOT_CA, KUBE_PATCH_MERGE, json_root(want), NULL, err);
    return now ? 0 : -1;
}

/* ---- how one ends ---- */

static int write_conditions(struct namespace_controller *c, const struct ctx *ctx, jval *ns, const struct content_left *left,
                            struct err *err)
{
    JM(m, ns);
    jmval *o = jm_root(m);
    int64_t now = ctx_now_ns(ctx);
    bool changed = obj_set_condition(m, o, "NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered",
                                     "All resources successfully discovered", now);
    changed |= obj_set_condition(m, o, "NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions",
                                 "All legacy kube types successfully parsed", now);
    changed |= obj_set_condition(
        m, o, "NamespaceDeletionContentFailure", left->failed.len ? "True" : "False",
        left->failed.len ? "ContentDeletionFailed" : "ContentDeleted",
        left->failed.len ? buf_str(&left->failed) : "All content successfully deleted, may be waiting on finalization", now);
    changed |= obj_set_condition(m, o, "NamespaceContentRemaining", left->objects.len ? "True" : "False",
                                 left->objects.len ? "SomeResourcesRemain" : "ContentRemoved",
                                 left->objects.len ? buf_str(&left->objects) : "All content successfully removed", now);
    changed |=
        obj_set_condition(m, o, "NamespaceFinalizersRemaining", left->finalizers.len ? "True" : "False",
                          left->finalizers.len ? "SomeFinalizersRemain" : "ContentHasNoFinalizers",
                          left->finalizers.len ? buf_str(&left->finalizers) : "All content-preserving finalizers finished", now);
    if (!changed)
        return 0;
    struct kube_opts opts = {.subresource = "status"};
    JSON_REF(want) = jm_freeze(m);
    JSON_REF(now_obj) = kube_update(c->cfg->kube, ctx, &KUBE_NAMESPACES, NULL, obj_name(ns), json_root(want), &opts, err);
    return now_obj ? 0 : -1;
}

/* Takes our finalizer away: the API removes the namespace in the same write. */
static int finalize(struct namespace_controller *c, const struct ctx *ctx, jval *ns, struct err *err)
{
    JM(m, ns);
    jmval *finalizers = namespace_spec_mut_finalizers(namespace_make_spec(m, jm_root(m)));
    for (size_t i = jmv_len(finalizers); i-- > 0;)
        if (str_eq(jmv_str(jmv_at(finalizers, i)), "kubernetes"))
            jm_remove(finalizers, i);
    struct kube_opts opts = {.subresource = "finalize"};
    JSON_REF(want) = jm_freeze(m);
    ERR(e);
    JSON_REF(now) = kube_update(c->cfg->kube, ctx, &KUBE_NAMESPACES, NULL, obj_name(ns), json_root(want), &opts, &e);
    return now || e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
}

static int terminate(struct namespace_controller *c, const struct ctx *ctx, jval *ns, struct reconcile_result *res,
                     struct err *err)
{
    CONTENT_LEFT(left);
    if (!jv_len(namespace_spec_finalizers(namespace_spec(ns))))
        return 0; /* done by somebody: only metadata finalizers hold it now */
    if (content_delete(c->cfg, ctx, obj_name(ns), &left, err) < 0)
        return -1;
    if (!left.objects.len && !left.failed.len)
        return finalize(c, ctx, ns, err);
    if (write_conditions(c, ctx, ns, &left, err) < 0)
        return -1;
    /* What is left goes when pods have ended or finalizers are taken away; while it is young that is soon. */
    int64_t since = 0;
    bool young = time_parse(obj_deletion_timestamp(ns), &since) && ctx_now_ns(ctx) - since < 5 * NS_PER_S;
    res->again_after_ns = young ? POLL_FIRST : POLL_LATER;
    return 0;
}

static int reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct namespace_controller *c = self;
    JSON_REF(ns) = informer_get(c->namespaces, key);
    if (!ns)
        return 0;
    if (!obj_deleting(json_root(ns)))
        return ensure_account(c, ctx, key, err) < 0 ? -1 : ensure_root_ca(c, ctx, key, err);
    /* Read again: the status that we write must be of the newest version. */
    ERR(e);
    JSON_REF(fresh) = kube_get(c->cfg->kube, ctx, &KUBE_NAMESPACES, NULL, key, NULL, &e);
    if (!fresh)
        return e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
    return terminate(c, ctx, json_root(fresh), res, err);
}

/* A change of something inside: its namespace is looked at. */
static void map_to_namespace(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    workqueue_add(q, obj_namespace(json_root(now ? now : old)));
}

struct namespace_controller *namespace_controller_start(const struct controllers_config *cfg, struct informer *namespaces,
                                                        struct informer *accounts, struct informer *root_cas)
{
    struct namespace_controller *c = xcalloc(1, sizeof *c);
    *c = (struct namespace_controller){
        .cfg = cfg, .ca_pem = xstrdup(cfg->ca_pem), .namespaces = namespaces, .accounts = accounts, .root_cas = root_cas};
    struct controller_source sources[] = {{.informer = namespaces},
                                          {.informer = accounts, .map = map_to_namespace},
                                          {.informer = root_cas, .map = map_to_namespace}};
    struct controller def = {
        .name = "namespace", .sources = sources, .n_sources = ARRAY_LEN(sources), .workers = 2, .reconcile = reconcile};
    c->run = controller_start(&def, c, cfg->clock, NS_PER_MS);
    return c;
}

void namespace_controller_stop(struct namespace_controller *c)
{
    if (!c)
        return;
    controller_stop(c->run);
    free(c->ca_pem);
    free(c);
}
