/* watch.c - watchers: a queue of shared events each, filled under the store's write lock, emptied by whoever reads the watch. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cluster/apiserver/store/internal.h"

static bool in_scope(const struct store_watch *w, const struct store_obj *o)
{
    if (w->exact)
        return strcmp(o->key, w->exact) == 0;
    if (w->prefix && !str_starts(o->key, w->prefix))
        return false;
    if (w->o.name) { /* one name in all namespaces */
        const char *slash = strchr(o->key, '/');
        return strcmp(slash ? slash + 1 : o->key, w->o.name) == 0;
    }
    return true;
}

static bool matches(const struct store_watch *w, const struct store_obj *o)
{
    return o && (!w->o.match || w->o.match(w->o.arg, o));
}

static void drop_queue(struct store_watch *w)
{
    while (w->q_n) {
        store_obj_unref(w->q[w->q_head].obj);
        w->q_head = (w->q_head + 1) & (w->q_cap - 1);
        w->q_n--;
    }
    while (w->initial_at < w->n_initial)
        store_obj_unref(w->initial[w->initial_at++]);
}

/* Under watch.lock. True when the reader must be told. */
static bool enqueue(struct store_watch *w, struct queued ev, bool live)
{
    if (w->over)
        return false;
    if (live && w->q_n >= w->q_limit) {
        drop_queue(w);
        w->over = true;
        return true;
    }
    if (w->q_n == w->q_cap) {
        size_t cap = w->q_cap ? w->q_cap * 2 : 8;
        struct queued *q = xcalloc(cap, sizeof(*q));
        for (size_t i = 0; i < w->q_n; i++)
            q[i] = w->q[(w->q_head + i) & (w->q_cap - 1)];
        free(w->q);
        w->q = q;
        w->q_cap = cap;
        w->q_head = 0;
    }
    store_obj_ref(ev.obj);
    w->q[(w->q_head + w->q_n) & (w->q_cap - 1)] = ev;
    w->q_n++;
    return w->q_n == 1;
}

/* What a change means to a watch: an object may enter or leave by the match function. False: nothing. */
static bool event_of(const struct store_watch *w, const struct change *c, struct queued *ev)
{
    if (c->rv <= w->o.from || !in_scope(w, c->obj))
        return false;
    bool was = matches(w, c->prev), is = !c->removed && matches(w, c->obj);
    if (c->prev_unknown) /* it may have matched: rather a change too many than one too few */
        was = true;
    ev->rv = c->rv;
    ev->obj = c->obj;
    if (is) {
        ev->type = was ? STORE_MODIFIED : STORE_ADDED;
    } else {
        if (!was)
            return false;
        ev->type = STORE_DELETED;
        if (!c->removed && c->prev)
            ev->obj = c->prev;
    }
    return true;
}

void watch_publish(struct store_coll *c, const struct change *ch)
{
    for (struct store_watch *w = c->watches; w; w = w->next) {
        struct queued ev;
        if (!event_of(w, ch, &ev))
            continue;
        LOCK_GUARD(&w->lock);
        if (enqueue(w, ev, true) && w->o.notify)
            w->o.notify(w->o.notify_arg);
    }
}

static void take_present(struct store_watch *w)
{
    size_t cap = 0;
    struct map_pos p = map_seek(&w->coll->map, w->prefix, false);
    for (struct store_obj *o = map_at(&w->coll->map, p); o; map_step(&w->coll->map, &p), o = map_at(&w->coll->map, p)) {
        if (w->prefix && !str_starts(o->key, w->prefix))
            break;
        if (!in_scope(w, o) || !matches(w, o))
            continue;
        if (w->n_initial == cap) {
            cap = cap ? cap * 2 : 16;
            w->initial = xreallocarray(w->initial, cap, sizeof(*w->initial));
        }
        w->initial[w->n_initial++] = store_obj_ref(o);
    }
    w->initial_end = true;
    w->initial_rv = atomic_load(&w->store->rev);
}

static void take_log(struct store_watch *w)
{
    struct store *s = w->store;
    for (size_t i = log_after(s, w->o.from); i < s->ring_n; i++) {
        struct change *c = log_at(s, i);
        struct queued ev;
        if (c->coll == w->coll && event_of(w, c, &ev))
            enqueue(w, ev, false);
    }
}

static void watch_free(struct store_watch *w)
{
    drop_queue(w);
    free(w->initial);
    free(w->q);
    free(w->prefix);
    free(w->exact);
    free((char *)w->o.ns);
    free((char *)w->o.name);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

struct store_watch *store_watch(struct store_coll *c, const struct store_watch_opts *o, struct err *err)
{
    struct store *s = c->store;
    struct store_watch *w = xcalloc(1, sizeof(*w));
    w->store = s;
    w->coll = c;
    w->o = *o;
    w->o.ns = xstrdup(o->ns && *o->ns ? o->ns : NULL);
    w->o.name = xstrdup(o->name);
    if (w->o.ns)
        w->prefix = xasprintf("%s/", w->o.ns);
    if (w->o.name && w->o.ns)
        w->exact = xasprintf("%s/%s", w->o.ns, w->o.name);
    pthread_mutex_init(&w->lock, NULL);
    pthread_rwlock_wrlock(&s->lock);
    /* A revision that is not there yet is fine: what comes after it will be seen. */
    int rc = o->from < 0 || o->from > atomic_load(&s->rev) ? 0 : check_rev_locked(s, o->from, err);
    if (rc == 0) {
        if (o->from < 0)
            take_present(w);
        else
            take_log(w);
        w->q_limit = s->limits.queue + w->q_n;
        w->next = c->watches;
        w->prev_link = &c->watches;
        if (w->next)
            w->next->prev_link = &w->next;
        c->watches = w;
    }
    pthread_rwlock_unlock(&s->lock);
    if (rc < 0) {
        watch_free(w);
        return NULL;
    }
    return w;
}

enum store_next store_watch_next(struct store_watch *w, struct store_event *ev)
{
    /* Read before the queue: all that was published up to here has been queued. */
    int64_t rev = atomic_load(&w->store->rev);
    LOCK_GUARD(&w->lock);
    *ev = (struct store_event){0};
    if (w->over)
        return STORE_NEXT_OVER;
    if (w->initial_at < w->n_initial) {
        ev->type = STORE_ADDED;
        ev->obj = w->initial[w->initial_at++];
        ev->rv = ev->obj->rv;
        return STORE_NEXT_EVENT;
    }
    if (w->initial_end) {
        w->initial_end = false;
        ev->rv = w->initial_rv;
        return STORE_NEXT_INITIAL_END;
    }
    if (w->q_n) {
        struct queued *q = &w->q[w->q_head];
        *ev = (struct store_event){q->type, q->obj, q->rv};
        w->q_head = (w->q_head + 1) & (w->q_cap - 1);
        w->q_n--;
        return STORE_NEXT_EVENT;
    }
    ev->rv = rev;
    return STORE_NEXT_NONE;
}

void watch_end(struct store_watch *w)
{
    LOCK_GUARD(&w->lock);
    if (w->over)
        return;
    drop_queue(w);
    w->over = true;
    if (w->o.notify)
        w->o.notify(w->o.notify_arg);
}

void store_watch_close(struct store_watch *w)
{
    if (!w)
        return;
    pthread_rwlock_wrlock(&w->store->lock);
    *w->prev_link = w->next;
    if (w->next)
        w->next->prev_link = w->prev_link;
    pthread_rwlock_unlock(&w->store->lock);
    if (w->o.free_arg)
        w->o.free_arg(w->o.arg);
    watch_free(w);
}

void store_watch_end_all(struct store_coll *c)
{
    pthread_rwlock_wrlock(&c->store->lock);
    for (struct store_watch *w = c->watches; w; w = w->next)
        watch_end(w);
    pthread_rwlock_unlock(&c->store->lock);
}
