/* gc_graph.c - see gc_graph.h. */
#include "cluster/controllers/gc_graph.h"

#include <stdlib.h>

#include "base/thread.h"
#include "kube/fields.h"
#include "kube/object.h"

/* One served collection. Never freed before the graph: results point into it. */
struct gc_kind {
    struct gc_kind *next;
    struct gc_graph *graph;
    char *group, *version, *plural, *kind;
    struct kube_res res;
    struct informer *informer; /* NULL while the kind is not served */
    bool wanted;               /* refresh: still served */
};
struct gc_node {
    struct gc_kind *kind;
    char *key;             /* "ns/name" */
    struct strlist owners; /* uids */
};
struct gc_graph {
    const struct controllers_config *cfg;
    struct workqueue *q;
    pthread_mutex_t refresh_lock; /* one refresh at a time; taken before lock; guards stopped */
    bool stopped;
    pthread_mutex_t lock; /* everything below */
    struct gc_kind *kinds;
    struct strmap nodes;      /* uid -> struct gc_node */
    struct strmap dependents; /* owner uid -> struct strmap (set of uids) */
};

static void node_free(void *p)
{
    struct gc_node *n = p;
    free(n->key);
    strlist_free(&n->owners);
    free(n);
}

static void set_free(void *p)
{
    strmap_free(p);
    free(p);
}

/* ---- edges; all with the lock held ---- */

static void edge_add(struct gc_graph *g, const char *owner, const char *uid)
{
    struct strmap *set = strmap_get(&g->dependents, owner);
    if (!set) {
        set = xcalloc(1, sizeof *set);
        strmap_put(&g->dependents, owner, set);
    }
    strmap_put(set, uid, NULL);
}

static void edge_del(struct gc_graph *g, const char *owner, const char *uid)
{
    struct strmap *set = strmap_get(&g->dependents, owner);
    if (!set)
        return;
    strmap_del(set, uid);
    if (!strmap_count(set))
        strmap_del(&g->dependents, owner);
}

static void node_remove(struct gc_graph *g, const char *uid)
{
    struct gc_node *n = strmap_get(&g->nodes, uid);
    if (!n)
        return;
    for (size_t i = 0; i < n->owners.n; i++)
        edge_del(g, n->owners.v[i], uid);
    strmap_del(&g->nodes, uid);
}

static void node_put(struct gc_graph *g, struct gc_kind *k, jval *obj)
{
    const char *uid = obj_uid(obj);
    node_remove(g, uid);
    struct gc_node *n = xcalloc(1, sizeof *n);
    n->kind = k;
    n->key = obj_key(obj);
    jval *ref;
    for (struct jiter it = jv_iter(obj_owner_refs(obj)); jv_next(&it, NULL, &ref);) {
        const char *owner = owner_reference_uid(ref);
        if (str_empty(owner) || strlist_has(&n->owners, owner))
            continue;
        strlist_add(&n->owners, owner);
        edge_add(g, owner, uid);
    }
    strmap_put(&g->nodes, uid, n);
}

/* ---- changes ---- */

static void enqueue_set(struct gc_graph *g, const char *owner)
{
    struct strmap *set = strmap_get(&g->dependents, owner);
    for (struct strmap_entry *e = set ? strmap_first(set) : NULL; e; e = strmap_next(e))
        workqueue_add(g->q, e->key);
}

static bool held_by_us(jval *obj)
{
    return obj_deleting(obj) && (obj_has_finalizer(obj, FINALIZER_FOREGROUND) || obj_has_finalizer(obj, FINALIZER_ORPHAN));
}

static void object_gone(struct gc_graph *g, const char *uid)
{
    struct gc_node *n = strmap_get(&g->nodes, uid);
    for (size_t i = 0; n && i < n->owners.n; i++)
        workqueue_add(g->q, n->owners.v[i]);
    enqueue_set(g, uid);
    node_remove(g, uid);
}

static void changed(void *self, struct json *old, struct json *now)
{
    struct gc_kind *k = self;
    struct gc_graph *g = k->graph;
    LOCK_GUARD(&g->lock);
    /* Deleted and made anew under the same name between two looks. */
    if (old && (!now || strcmp(obj_uid(json_root(old)), obj_uid(json_root(now))) != 0))
        object_gone(g, obj_uid(json_root(old)));
    if (!now)
        return;
    jval *obj = json_root(now);
    /* An owner that it let go may have waited for it. */
    struct gc_node *was = strmap_get(&g->nodes, obj_uid(obj));
    for (size_t i = 0; was && !jv_equal(obj_owner_refs(json_root(old)), obj_owner_refs(obj)) && i < was->owners.n; i++)
        workqueue_add(g->q, was->owners.v[i]);
    node_put(g, k, obj);
    if (jv_len(obj_owner_refs(obj)) || held_by_us(obj))
        workqueue_add(g->q, obj_uid(obj));
}

/* ---- kinds ---- */

static struct gc_kind *kind_find(struct gc_graph *g, const struct kube_res *res)
{
    for (struct gc_kind *k = g->kinds; k; k = k->next)
        if (strcmp(k->group, res->group) == 0 && strcmp(k->version, res->version) == 0 && strcmp(k->plural, res->plural) == 0)
            return k;
    return NULL;
}

static void want_kind(void *arg, const struct kube_res *res)
{
    struct gc_graph *g = arg;
    /* Events are many, own nothing and are owned by nothing. */
    if (strcmp(res->plural, "events") == 0)
        return;
    LOCK_GUARD(&g->lock);
    struct gc_kind *k = kind_find(g, res);
    if (!k) {
        k = xcalloc(1, sizeof *k);
        k->graph = g;
        k->group = xstrdup(res->group);
        k->version = xstrdup(res->version);
        k->plural = xstrdup(res->plural);
        k->kind = xstrdup(res->kind);
        k->res = (struct kube_res){k->group, k->version, k->plural, k->kind, res->namespaced};
        k->next = g->kinds;
        g->kinds = k;
    }
    k->wanted = true;
}

/* Kinds are only ever put at the front, so the list can be walked without the lock. */
void gc_graph_refresh(struct gc_graph *g)
{
    LOCK_GUARD(&g->refresh_lock);
    if (g->stopped)
        return;
    pthread_mutex_lock(&g->lock);
    struct gc_kind *all = g->kinds;
    for (struct gc_kind *k = all; k; k = k->next)
        k->wanted = false;
    pthread_mutex_unlock(&g->lock);
    g->cfg->each_kind(g->cfg->self, want_kind, g);
    pthread_mutex_lock(&g->lock);
    all = g->kinds;
    pthread_mutex_unlock(&g->lock);
    for (struct gc_kind *k = all; k; k = k->next) {
        struct informer *start = NULL, *stop = NULL;
        pthread_mutex_lock(&g->lock);
        if (k->wanted && !k->informer) {
            struct informer_config ic = {.kube = g->cfg->kube, .res = &k->res, .clock = g->cfg->clock, .metadata_only = true};
            k->informer = start = informer_new(&ic);
        } else if (!k->wanted && k->informer) {
            stop = k->informer;
            k->informer = NULL;
        }
        pthread_mutex_unlock(&g->lock);
        if (start) {
            informer_add_handler(start, (struct informer_handler){.changed = changed, .self = k});
            informer_start(start);
        }
        if (stop)
            informer_stop(stop);
    }
}

struct gc_graph *gc_graph_new(const struct controllers_config *cfg, struct workqueue *q)
{
    struct gc_graph *g = xcalloc(1, sizeof *g);
    g->cfg = cfg;
    g->q = q;
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->refresh_lock, NULL);
    g->nodes = STRMAP_INIT(node_free);
    g->dependents = STRMAP_INIT(set_free);
    return g;
}

void gc_graph_stop(struct gc_graph *g)
{
    LOCK_GUARD(&g->refresh_lock);
    g->stopped = true;
    for (struct gc_kind *k = g->kinds; k; k = k->next) {
        /* Taken away under the lock first: a reconcile that runs meanwhile finds nothing. */
        pthread_mutex_lock(&g->lock);
        struct informer *i = k->informer;
        k->informer = NULL;
        pthread_mutex_unlock(&g->lock);
        if (i)
            informer_stop(i);
    }
}

void gc_graph_free(struct gc_graph *g)
{
    if (!g)
        return;
    while (g->kinds) {
        struct gc_kind *k = g->kinds;
        g->kinds = k->next;
        free(k->group);
        free(k->version);
        free(k->plural);
        free(k->kind);
        free(k);
    }
    strmap_free(&g->nodes);
    strmap_free(&g->dependents);
    pthread_mutex_destroy(&g->lock);
    pthread_mutex_destroy(&g->refresh_lock);
    free(g);
}

/* ---- questions ---- */

bool gc_graph_has(struct gc_graph *g, const char *uid)
{
    LOCK_GUARD(&g->lock);
    return strmap_has(&g->nodes, uid);
}

struct json *gc_graph_object(struct gc_graph *g, const char *uid, struct kube_res *res)
{
    LOCK_GUARD(&g->lock);
    struct gc_node *n = strmap_get(&g->nodes, uid);
    if (!n || !n->kind->informer)
        return NULL;
    *res = n->kind->res;
    struct json *d = informer_get(n->kind->informer, n->key);
    if (d && strcmp(obj_uid(json_root(d)), uid) != 0) {
        json_unref(d);
        return NULL;
    }
    return d;
}

void gc_graph_dependents(struct gc_graph *g, const char *uid, struct strlist *out)
{
    LOCK_GUARD(&g->lock);
    struct strmap *set = strmap_get(&g->dependents, uid);
    for (struct strmap_entry *e = set ? strmap_first(set) : NULL; e; e = strmap_next(e))
        strlist_add(out, e->key);
}

bool gc_graph_res(struct gc_graph *g, const char *api_version, const char *kind, struct kube_res *res)
{
    const char *slash = strchr(api_version, '/');
    AUTOFREE char *group = slash ? xstrndup(api_version, (size_t)(slash - api_version)) : xstrdup("");
    LOCK_GUARD(&g->lock);
    /* Any served version of the kind will do: an owner is found by name and known by uid. */
    for (struct gc_kind *k = g->kinds; k; k = k->next)
        if (k->informer && strcmp(k->group, group) == 0 && strcmp(k->kind, kind) == 0) {
            *res = k->res;
            return true;
        }
    return false;
}
