/* gc.c - see gc.h. */
#include "cluster/controllers/gc.h"

#include <stdlib.h>

#include "cluster/controllers/gc_graph.h"
#include "kube/fields.h"
#include "kube/object.h"

struct gc {
    const struct controllers_config *cfg;
    struct event_recorder *events;
    struct controller_run *run;
    struct gc_graph *graph;
};

/* One object under examination. */
struct subject {
    struct gc *gc;
    const struct ctx *ctx;
    struct json *doc;
    jval *obj;
    struct kube_res res;
    const char *ns; /* NULL for cluster-scoped */
};

static int not_found_is_fine(struct err *e, struct err *err) { return e->code == ERR_NOT_FOUND ? 0 : err_move(err, e); }

/* ---- owners ---- */

/* 1: lives; 0: gone; -1: cannot tell. */
static int owner_lives(const struct subject *s, jval *ref, struct err *err)
{
    const char *uid = owner_reference_uid(ref);
    struct kube_res res;
    if (str_empty(uid))
        return 0;
    if (gc_graph_has(s->gc->graph, uid))
        return 1;
    /* A kind that is not served (any more): it may come back, so nothing is concluded. */
    const char *api_version = owner_reference_api_version(ref), *kind = owner_reference_kind(ref),
               *name = owner_reference_name(ref);
    if (!api_version || !kind || !name || !gc_graph_res(s->gc->graph, api_version, kind, &res))
        return 1;
    if (res.namespaced && !s->ns) {
        event_record(s->gc->events, s->obj, &s->res, "Warning", "OwnerRefInvalidNamespace",
                     "ownerRef [%s/%s, namespace: , name: %s, uid: %s] does not exist in namespace \"\"", api_version, kind, name,
                     uid);
        return 1;
    }
    ERR(e);
    JSON_REF(owner) = kube_get(s->gc->cfg->kube, s->ctx, &res, res.namespaced ? s->ns : NULL, name, NULL, &e);
    if (owner)
        return strcmp(obj_uid(json_root(owner)), uid) == 0;
    if (e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    if (res.namespaced)
        event_record(s->gc->events, s->obj, &s->res, "Warning", "OwnerRefInvalidNamespace",
                     "ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace \"%s\"", api_version, kind,
                     s->ns, name, uid, s->ns);
    return 0;
}

static int delete_object(struct gc *gc, const struct ctx *ctx, const struct kube_res *res, jval *obj, enum kube_propagation how,
                         struct err *err)
{
    struct kube_opts opts = {.propagation = how, .precondition_uid = obj_uid(obj), .precondition_rv = obj_rv_text(obj)};
    ERR(e);
    if (kube_delete(gc->cfg->kube, ctx, res, res->namespaced ? obj_namespace(obj) : NULL, obj_name(obj), &opts, NULL, &e) < 0)
        return not_found_is_fine(&e, err);
    return 0;
}

/* Writes a list of the object's metadata, where nobody has changed the object meanwhile: of objects only metadata is known here.
 */
static int write_meta(struct gc *gc, const struct ctx *ctx, const struct kube_res *res, jval *obj, struct jm *m,
                      void (*set)(struct jm *m, jmval *meta, jmval *list), jmval *list, struct err *err)
{
    jmval *meta = config_map_make_metadata(m, jm_root(m)); /* fields: any kind has metadata in the same place */
    set(m, meta, jmv_len(list) ? list : jm_null(m));
    object_meta_set_resource_version(m, meta, obj_rv_text(obj));
    JSON_REF(patch) = jm_freeze(m);
    ERR(e);
    JSON_REF(now) = kube_patch(gc->cfg->kube, ctx, res, res->namespaced ? obj_namespace(obj) : NULL, obj_name(obj),
                               KUBE_PATCH_MERGE, json_root(patch), NULL, &e);
    return now ? 0 : not_found_is_fine(&e, err);
}

/* Writes the object's owner references without those for which drop says so. */
static int write_refs(struct gc *gc, const struct ctx *ctx, const struct kube_res *res, jval *obj,
                      bool (*drop)(void *arg, jval *ref), void *arg, struct err *err)
{
    JM_NEW(m);
    jmval *list = jm_arr(m);
    jval *ref;
    jm_set_root(m, jm_obj(m));
    for (struct jiter it = jv_iter(obj_owner_refs(obj)); jv_next(&it, NULL, &ref);)
        if (!drop(arg, ref))
            jm_push(list, jm_val(m, ref));
    return write_meta(gc, ctx, res, obj, m, object_meta_set_owner_references, list, err);
}

static bool in_list(void *arg, jval *ref) { return strlist_has(arg, owner_reference_uid(ref) ? owner_reference_uid(ref) : ""); }

/* An owner that waits in the foreground for us. */
static bool waits_for(struct gc *gc, jval *ref)
{
    struct kube_res res;
    JSON_REF(owner) = gc_graph_object(gc->graph, owner_reference_uid(ref), &res);
    return owner && owner_reference_block_owner_deletion(ref, false) && obj_deleting(json_root(owner)) &&
           obj_has_finalizer(json_root(owner), FINALIZER_FOREGROUND);
}

/* An owner that waits wants what depends on us gone too; where nothing does, the shorter way is as good. */
static enum kube_propagation way_for_waiting(struct subject *s)
{
    STRLIST(deps);
    gc_graph_dependents(s->gc->graph, obj_uid(s->obj), &deps);
    return deps.n ? KUBE_FOREGROUND : KUBE_BACKGROUND;
}

static int check_owners(struct subject *s, struct err *err)
{
    STRLIST(gone);
    STRLIST(waiting);
    size_t solid = 0;
    jval *ref;
    if (obj_deleting(s->obj) && !obj_has_finalizer(s->obj, FINALIZER_FOREGROUND))
        return 0; /* it goes already */
    for (struct jiter it = jv_iter(obj_owner_refs(s->obj)); jv_next(&it, NULL, &ref);) {
        int lives = owner_lives(s, ref, err);
        if (lives < 0)
            return -1;
        if (!lives)
            strlist_add(&gone, owner_reference_uid(ref) ? owner_reference_uid(ref) : "");
        else if (waits_for(s->gc, ref))
            strlist_add(&waiting, owner_reference_uid(ref));
        else
            solid++;
    }
    if (solid) { /* it stays: who waits for its end need not, either */
        for (size_t i = 0; i < waiting.n; i++)
            strlist_add(&gone, waiting.v[i]);
        return gone.n ? write_refs(s->gc, s->ctx, &s->res, s->obj, in_list, &gone, err) : 0;
    }
    if (obj_deleting(s->obj))
        return 0;
    if (waiting.n)
        return delete_object(s->gc, s->ctx, &s->res, s->obj, way_for_waiting(s), err);
    if (gone.n)
        return delete_object(s->gc, s->ctx, &s->res, s->obj, KUBE_BACKGROUND, err);
    return 0;
}

/* ---- dependents ---- */

static int remove_finalizer(struct subject *s, const char *name, struct err *err)
{
    JM_NEW(m);
    jmval *list = jm_arr(m);
    jval *have;
    if (!obj_has_finalizer(s->obj, name))
        return 0;
    jm_set_root(m, jm_obj(m));
    for (struct jiter it = jv_iter(object_meta_finalizers(obj_meta(s->obj))); jv_next(&it, NULL, &have);)
        if (!str_eq(jv_str(have), name))
            jm_push(list, jm_val(m, have));
    return write_meta(s->gc, s->ctx, &s->res, s->obj, m, object_meta_set_finalizers, list, err);
}

static jval *ref_to(jval *obj, const char *uid)
{
    jval *ref;
    for (struct jiter it = jv_iter(obj_owner_refs(obj)); jv_next(&it, NULL, &ref);)
        if (str_eq(owner_reference_uid(ref), uid))
            return ref;
    return NULL;
}

/* Blocking dependents are deleted first; when none is left, the owner may go. It is looked at again whenever one of them is gone.
 */
static int foreground(struct subject *s, struct err *err)
{
    STRLIST(deps);
    size_t blocking = 0;
    gc_graph_dependents(s->gc->graph, obj_uid(s->obj), &deps);
    for (size_t i = 0; i < deps.n; i++) {
        struct kube_res res;
        JSON_REF(dep) = gc_graph_object(s->gc->graph, deps.v[i], &res);
        if (!dep || !owner_reference_block_owner_deletion(ref_to(json_root(dep), obj_uid(s->obj)), false))
            continue;
        blocking++;
        struct subject d = {.gc = s->gc,
                            .ctx = s->ctx,
                            .doc = dep,
                            .obj = json_root(dep),
                            .res = res,
                            .ns = res.namespaced ? obj_namespace(json_root(dep)) : NULL};
        if (check_owners(&d, err) < 0)
            return -1;
    }
    return blocking ? 0 : remove_finalizer(s, FINALIZER_FOREGROUND, err);
}

static int orphan(struct subject *s, struct err *err)
{
    STRLIST(deps);
    STRLIST(self);
    strlist_add(&self, obj_uid(s->obj));
    gc_graph_dependents(s->gc->graph, obj_uid(s->obj), &deps);
    for (size_t i = 0; i < deps.n; i++) {
        struct kube_res res;
        JSON_REF(dep) = gc_graph_object(s->gc->graph, deps.v[i], &res);
        if (dep && write_refs(s->gc, s->ctx, &res, json_root(dep), in_list, &self, err) < 0)
            return -1;
    }
    return remove_finalizer(s, FINALIZER_ORPHAN, err);
}

static int reconcile(void *self, const struct ctx *ctx, const char *uid, struct reconcile_result *result, struct err *err)
{
    struct gc *gc = self;
    struct subject s = {.gc = gc, .ctx = ctx};
    JSON_REF(doc) = gc_graph_object(gc->graph, uid, &s.res);
    if (!doc)
        return 0;
    s.doc = doc;
    s.obj = json_root(doc);
    s.ns = s.res.namespaced ? obj_namespace(s.obj) : NULL;
    if (obj_deleting(s.obj) && obj_has_finalizer(s.obj, FINALIZER_ORPHAN))
        return orphan(&s, err);
    if (obj_deleting(s.obj) && obj_has_finalizer(s.obj, FINALIZER_FOREGROUND))
        return foreground(&s, err);
    return jv_len(obj_owner_refs(s.obj)) ? check_owners(&s, err) : 0;
}

struct gc *gc_start(const struct controllers_config *cfg, struct event_recorder *events)
{
    struct gc *gc = xcalloc(1, sizeof *gc);
    struct controller def = {.name = "garbage-collector", .workers = 2, .reconcile = reconcile};
    gc->cfg = cfg;
    gc->events = events;
    gc->run = controller_start(&def, gc, cfg->clock, NS_PER_MS);
    gc->graph = gc_graph_new(cfg, controller_queue(gc->run));
    gc_graph_refresh(gc->graph);
    return gc;
}

void gc_refresh(struct gc *gc) { gc_graph_refresh(gc->graph); }

void gc_stop(struct gc *gc)
{
    if (!gc)
        return;
    gc_graph_stop(gc->graph);
    controller_stop(gc->run);
    gc_graph_free(gc->graph);
    free(gc);
}
