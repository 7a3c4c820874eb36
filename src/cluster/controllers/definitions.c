/* definitions.c - see definitions.h.
 *
 *   state of the definition                what a reconcile does
 *   lives                                  writes accepted names and conditions, when they differ
 *   ends, has the cleanup finalizer        says so (Terminating), deletes all objects, takes the finalizer away when none is left
 */
#include "cluster/controllers/definitions.h"

#include <stdlib.h>

#include "base/str.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/schema/crd.h"

#define CLEANUP_FINALIZER "customresourcecleanup.apiextensions.k8s.io"
#define LOOK_AGAIN_NS     (50 * NS_PER_MS)

struct definition_controller {
    const struct controllers_config *cfg;
    struct informer *definitions;
    struct controller_run *run;
};

static int write_status(struct definition_controller *c, const struct ctx *ctx, const char *name, struct jm *m, struct err *err)
{
    struct kube_opts opts = {.subresource = "status"};
    JSON_REF(want) = jm_freeze(m);
    ERR(e);
    JSON_REF(now) = kube_update(c->cfg->kube, ctx, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, name, json_root(want), &opts, &e);
    return now || e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
}

static int accept(struct definition_controller *c, const struct ctx *ctx, jval *crd, struct err *err)
{
    size_t n;
    struct json **all = informer_list(c->definitions, &n);
    jval **roots = xcalloc(n ? n : 1, sizeof *roots);
    for (size_t i = 0; i < n; i++)
        roots[i] = json_root(all[i]);
    JM(m, crd);
    int rc = crd_accept(m, jm_root(m), roots, n, ctx_now_ns(ctx)) ? write_status(c, ctx, obj_name(crd), m, err) : 0;
    for (size_t i = 0; i < n; i++)
        json_unref(all[i]);
    free(all);
    free(roots);
    return rc;
}

/* ---- the end
 * -------------------------------------------------------------------------------------------------------------------- */

/* The version by which objects can be reached: one that is served, the storage version if it is. */
static const char *reachable_version(jval *spec)
{
    const char *found = NULL;
    struct jiter it = jv_iter(custom_resource_definition_spec_versions(spec));
    jval *v;
    while (jv_next(&it, NULL, &v))
        if (custom_resource_definition_version_served(v, false) &&
            (!found || custom_resource_definition_version_storage(v, false)))
            found = custom_resource_definition_version_name(v);
    return found;
}

/* Deletes what is not being deleted yet; *left gets how many objects are still there. */
static int delete_objects(struct definition_controller *c, const struct ctx *ctx, const struct kube_res *res, size_t *left,
                          struct err *err)
{
    struct kube_list l = {0};
    ERR(e);
    int rc = 0;
    *left = 0;
    if (kube_list(c->cfg->kube, ctx, res, NULL, NULL, &l, &e) < 0)
        return e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e); /* served no more: nothing can be there */
    for (size_t i = 0; i < l.n && rc == 0; i++) {
        jval *o = json_root(l.items[i]);
        struct kube_opts opts = {.propagation = KUBE_BACKGROUND, .precondition_uid = obj_uid(o)};
        ERR(de);
        if (obj_deleting(o) || kube_delete(c->cfg->kube, ctx, res, obj_namespace(o), obj_name(o), &opts, NULL, &de) == 0)
            *left += obj_has_finalizers(o) || obj_deleting(o);
        else if (de.code != ERR_NOT_FOUND && de.code != ERR_CONFLICT)
            rc = err_move(err, &de);
    }
    kube_list_free(&l);
    return rc;
}

static int say_terminating(struct definition_controller *c, const struct ctx *ctx, jval *crd, struct err *err)
{
    JM(m, crd);
    if (!obj_set_condition(m, jm_root(m), "Terminating", "True", "InstanceDeletionInProgress",
                           "CustomResource deletion is in progress", ctx_now_ns(ctx)))
        return 0;
    return write_status(c, ctx, obj_name(crd), m, err);
}

static int drop_finalizer(struct definition_controller *c, const struct ctx *ctx, const char *name, struct err *err)
{
    ERR(e);
    JSON_REF(fresh) = kube_get(c->cfg->kube, ctx, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, name, NULL, &e);
    if (!fresh)
        return e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
    JM(m, json_root(fresh));
    if (!obj_remove_finalizer(jm_root(m), CLEANUP_FINALIZER))
        return 0;
    JSON_REF(want) = jm_freeze(m);
    JSON_REF(now) = kube_update(c->cfg->kube, ctx, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, name, json_root(want), NULL, &e);
    return now || e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
}

static int terminate(struct definition_controller *c, const struct ctx *ctx, jval *crd, struct reconcile_result *res,
                     struct err *err)
{
    jval *spec = custom_resource_definition_spec(crd), *names = custom_resource_definition_spec_names(spec);
    size_t left = 0;
    if (!obj_has_finalizer(crd, CLEANUP_FINALIZER))
        return 0;
    if (say_terminating(c, ctx, crd, err) < 0)
        return -1;
    const char *version = reachable_version(spec);
    if (version) {
        struct kube_res objects = {
            .group = custom_resource_definition_spec_group(spec),
            .version = version,
            .plural = custom_resource_definition_names_plural(names),
            .kind = custom_resource_definition_names_kind(names),
            .namespaced = str_eq(custom_resource_definition_spec_scope(spec), "Namespaced"),
        };
        if (delete_objects(c, ctx, &objects, &left, err) < 0)
            return -1;
    }
    if (left == 0)
        return drop_finalizer(c, ctx, obj_name(crd), err);
    res->again_after_ns = LOOK_AGAIN_NS; /* whoever holds the objects by finalizers tells us nothing */
    return 0;
}

static int reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct definition_controller *c = self;
    ERR(e);
    /* Read again: what is written must be of the newest version. */
    JSON_REF(crd) = kube_get(c->cfg->kube, ctx, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, key, NULL, &e);
    if (!crd)
        return e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
    if (obj_deleting(json_root(crd)))
        return terminate(c, ctx, json_root(crd), res, err);
    return accept(c, ctx, json_root(crd), err);
}

/* Names that one definition gives up are free for another: when one changes its names or goes, all of its group are looked at. */
static void map(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    struct definition_controller *c = self;
    jval *a = json_root(old), *b = json_root(now);
    workqueue_add(q, obj_name(now ? b : a));
    jval *before = custom_resource_definition_status_accepted_names(custom_resource_definition_status(a));
    jval *after = custom_resource_definition_status_accepted_names(custom_resource_definition_status(b));
    if (!old || (now && (before == after || (before && after && jv_equal(before, after)))))
        return;
    size_t n;
    struct json **all = informer_list(c->definitions, &n);
    for (size_t i = 0; i < n; i++) {
        workqueue_add(q, obj_name(json_root(all[i])));
        json_unref(all[i]);
    }
    free(all);
}

struct definition_controller *definition_controller_start(const struct controllers_config *cfg, struct informer *definitions)
{
    struct definition_controller *c = xcalloc(1, sizeof *c);
    *c = (struct definition_controller){.cfg = cfg, .definitions = definitions};
    struct controller_source sources[] = {{.informer = definitions, .map = map}};
    struct controller def = {.name = "definitions", .sources = sources, .n_sources = 1, .workers = 1, .reconcile = reconcile};
    c->run = controller_start(&def, c, cfg->clock, NS_PER_MS);
    return c;
}

void definition_controller_stop(struct definition_controller *c)
{
    if (!c)
        return;
    controller_stop(c->run);
    free(c);
}
