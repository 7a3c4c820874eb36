/* Informers: one thread each, blocked in the watch while nothing happens.
 *
 * The thread lists, puts the difference into the store as events, then watches from the list's revision; where the API server
 * streams lists, both are one watch. A watch that ends is started again where it ended; ERR_GONE means list again; other failures
 * wait a little longer each time. */
#include "kube/informer.h"

#include <stdlib.h>

#include "base/str.h"
#include "base/thread.h"
#include "kube/object.h"

#define LOG_ROOM "informer"
#include "base/log.h"

enum { PAGE = 500 };
#define BACKOFF_MIN_NS   (800 * NS_PER_MS)
#define BACKOFF_MAX_NS   (30 * NS_PER_S)
#define BACKOFF_RESET_NS (120 * NS_PER_S)
#define STREAM_QUIET_NS  (30 * NS_PER_S) /* a list that is streamed says something within that time */

struct informer {
    struct kube *kube;
    char *group, *version, *plural, *kind;
    struct kube_res res;
    char *ns, *label_selector, *field_selector;
    bool metadata_only;
    const struct clock *clock;
    struct cancel cancel;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* guards the rest but the handlers */
    pthread_cond_t changed;
    struct strmap store;    /* key -> struct json */
    struct strmap by_owner; /* owner uid -> struct strmap of keys */
    bool synced;
    int64_t rv; /* everything up to here is in the store */

    pthread_mutex_t handlers_lock; /* held while handlers run; taken without lock */
    struct informer_handler *handlers;
    size_t n_handlers;

    /* the thread's own */
    char *watch_rv;
    int64_t backoff_ns, last_failure_ns;
    unsigned short_watches; /* in a row */
    bool no_streams;        /* this collection's list was refused as a stream */
};

static int64_t mono(void) { return clock_system.mono_ns(&clock_system); }

static void json_unref_any(void *d) { json_unref(d); }

static void keys_free(void *p)
{
    strmap_free(p);
    free(p);
}

/* ---- the store: called with the lock held --------------------------------------------------------------------------------- */

static void index_owners(struct informer *i, const char *key, jval *obj, bool add)
{
    struct jiter it = jv_iter(obj_owner_refs(obj));
    jval *ref;
    while (jv_next(&it, NULL, &ref)) {
        const char *uid = jv_str_or(jv_get(ref, "uid"), "");
        struct strmap *keys = strmap_get(&i->by_owner, uid);
        if (add) {
            if (!keys) {
                keys = xmalloc(sizeof *keys);
                *keys = STRMAP_INIT(NULL);
                strmap_put(&i->by_owner, uid, keys);
            }
            strmap_put(keys, key, NULL);
        } else if (keys) {
            strmap_del(keys, key);
            if (strmap_count(keys) == 0)
                strmap_del(&i->by_owner, uid);
        }
    }
}

/* Puts now (NULL: removes) and gives a reference to what was there. */
static struct json *store_set(struct informer *i, const char *key, struct json *now)
{
    struct json *old = strmap_take(&i->store, key);
    if (old)
        index_owners(i, key, json_root(old), false);
    if (now) {
        strmap_put(&i->store, key, json_ref(now));
        index_owners(i, key, json_root(now), true);
    }
    return old;
}

static void advance(struct informer *i, int64_t rv)
{
    if (rv > i->rv)
        i->rv = rv;
    pthread_cond_broadcast(&i->changed);
}

/* ---- events ---------------------------------------------------------------------------------------------------------------- */

static void tell(struct informer *i, struct json *old, struct json *now)
{
    LOCK_GUARD(&i->handlers_lock);
    for (size_t h = 0; h < i->n_handlers; h++)
        i->handlers[h].changed(i->handlers[h].self, old, now);
}

/* An object came, changed, or (now NULL) went. rv is the event's revision. ordered: all that is older was applied before. */
static void apply(struct informer *i, const char *key, struct json *now, int64_t rv, bool ordered)
{
    JSON_REF(old) = NULL;
    {
        LOCK_GUARD(&i->lock);
        struct json *had = strmap_get(&i->store, key);
        if (had && obj_rv(json_root(had)) >= rv && rv > 0 && (now || obj_rv(json_root(had)) > rv))
            return; /* we have it, or something newer */
        old = store_set(i, key, now);
        advance(i, ordered ? rv : 0);
    }
    if (old || now)
        tell(i, old, now);
}

static void keep_rv(struct informer *i, const char *rv)
{
    free(i->watch_rv);
    i->watch_rv = xstrdup(rv);
}

/* ---- list --------------------------------------------------------------------------------------------------------------------
 */

static int list_pages(struct informer *i, const struct ctx *ctx, struct strmap *seen, char **rv, struct err *err)
{
    AUTOFREE char *token = NULL;
    do {
        struct kube_opts o = {.label_selector = i->label_selector,
                              .field_selector = i->field_selector,
                              .limit = PAGE,
                              .continue_token = token,
                              .metadata_only = i->metadata_only};
        struct kube_list page = {0};
        if (kube_list(i->kube, ctx, &i->res, i->ns, &o, &page, err) < 0)
            return -1;
        for (size_t n = 0; n < page.n; n++) {
            AUTOFREE char *key = obj_key(json_root(page.items[n]));
            strmap_put(seen, key, json_ref(page.items[n]));
        }
        free(*rv);
        *rv = xstrdup(page.resource_version ? page.resource_version : "");
        free(token);
        token = TAKE(page.continue_token);
        kube_list_free(&page);
    } while (token && *token);
    return 0;
}

/* Makes the store what the list said: the difference is told to the handlers as events, deletes included. */
static void replace(struct informer *i, const struct strmap *seen, const char *rv_text)
{
    STRLIST(gone);
    {
        LOCK_GUARD(&i->lock);
        for (struct strmap_entry *e = strmap_first(&i->store); e; e = strmap_next(e))
            if (!strmap_has(seen, e->key))
                strlist_add(&gone, e->key);
    }
    for (size_t n = 0; n < gone.n; n++)
        apply(i, gone.v[n], NULL, 0, false);
    for (struct strmap_entry *e = strmap_first(seen); e; e = strmap_next(e))
        apply(i, e->key, e->value, obj_rv(json_root(e->value)), false);
    int64_t rv = 0;
    str_to_i64(rv_text, &rv);
    LOCK_GUARD(&i->lock);
    i->synced = true;
    advance(i, rv);
}

static int relist(struct informer *i, const struct ctx *ctx, struct err *err)
{
    struct strmap seen = STRMAP_INIT(json_unref_any);
    AUTOFREE char *rv = NULL;
    int rc = list_pages(i, ctx, &seen, &rv, err);
    if (rc == 0) {
        replace(i, &seen, rv);
        keep_rv(i, rv);
    }
    strmap_free(&seen);
    return rc;
}

/* ---- watch -------------------------------------------------------------------------------------------------------------------
 */

static void on_event(struct informer *i, const struct kube_event *ev)
{
    jval *obj = json_root(ev->object);
    if (ev->type == KUBE_BOOKMARK) {
        LOCK_GUARD(&i->lock);
        advance(i, obj_rv(obj));
    } else {
        AUTOFREE char *key = obj_key(obj);
        apply(i, key, ev->type == KUBE_DELETED ? NULL : ev->object, obj_rv(obj), true);
    }
    if (*obj_rv_text(obj))
        keep_rv(i, obj_rv_text(obj));
}

static struct kube_watch *open_watch(struct informer *i, const struct ctx *ctx, bool initial, struct err *err)
{
    struct kube_opts o = {.label_selector = i->label_selector,
                          .field_selector = i->field_selector,
                          .resource_version = initial ? NULL : i->watch_rv,
                          .resource_version_match = initial ? "NotOlderThan" : NULL,
                          .send_initial_events = initial,
                          .bookmarks = true,
                          .metadata_only = i->metadata_only};
    return kube_watch(i->kube, ctx, &i->res, i->ns, &o, err);
}

/* Until the watch ends, which closes it. Returns 0 when it ended cleanly, else -1. */
static int follow(struct informer *i, const struct ctx *ctx, struct kube_watch *w, struct err *err)
{
    int64_t started = mono();
    size_t events = 0;
    struct kube_event ev;
    int rc;
    while ((rc = kube_watch_next(i->kube, w, ctx, &ev, err)) == 1) {
        on_event(i, &ev);
        json_unref(ev.object);
        events++;
    }
    kube_watch_close(i->kube, w);
    /* One may end at once for a reason (a definition changed); a server that does so each time must not be asked without pause.
     */
    bool brief = rc == 0 && events == 0 && mono() - started < NS_PER_S;
    i->short_watches = brief ? i->short_watches + 1 : 0;
    if (i->short_watches > 3)
        return err_set(err, ERR_UNAVAILABLE, "the watch ended at once and without an event");
    return rc;
}

static int watch(struct informer *i, const struct ctx *ctx, struct err *err)
{
    struct kube_watch *w = open_watch(i, ctx, false, err);
    return w ? follow(i, ctx, w, err) : -1;
}

/* ---- a list as the beginning of a watch --------------------------------------------------------------------------------------
 */

/* Takes one event of the initial state. True at its end. */
static bool take_initial(struct strmap *seen, const struct kube_event *ev)
{
    jval *obj = json_root(ev->object);
    if (ev->type == KUBE_BOOKMARK)
        return str_eq(obj_annotation(obj, KUBE_INITIAL_END), "true");
    AUTOFREE char *key = obj_key(obj);
    if (ev->type == KUBE_DELETED)
        strmap_del(seen, key);
    else
        strmap_put(seen, key, json_ref(ev->object));
    return false;
}

/* Reads up to the bookmark that ends the initial state. */
static int read_initial(struct informer *i, const struct ctx *ctx, struct kube_watch *w, struct strmap *seen, char **rv,
                        struct err *err)
{
    for (;;) {
        struct ctx patient = ctx_with_timeout(ctx, STREAM_QUIET_NS);
        struct kube_event ev;
        int rc = kube_watch_next(i->kube, w, &patient, &ev, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return err_set(err, ERR_UNAVAILABLE, "the watch ended before the list of %s was whole", i->plural);
        bool end = take_initial(seen, &ev);
        if (end)
            *rv = xstrdup(obj_rv_text(json_root(ev.object)));
        json_unref(ev.object);
        if (end)
            return 0;
    }
}

/* The watch, with the initial state in the store; NULL with an error. */
static struct kube_watch *stream_list(struct informer *i, const struct ctx *ctx, struct err *err)
{
    struct strmap seen = STRMAP_INIT(json_unref_any);
    AUTOFREE char *rv = NULL;
    struct kube_watch *w = open_watch(i, ctx, true, err);
    if (w && read_initial(i, ctx, w, &seen, &rv, err) < 0) {
        kube_watch_close(i->kube, w);
        w = NULL;
    }
    if (w) {
        replace(i, &seen, rv);
        keep_rv(i, rv);
    }
    strmap_free(&seen);
    return w;
}

/* Lists, by a stream where that is served; *w gets the watch that the list has begun, else NULL. */
static int fill(struct informer *i, const struct ctx *ctx, struct kube_watch **w, struct err *err)
{
    *w = NULL;
    if (i->no_streams || !i->kube->ops->streams_lists || !i->kube->ops->streams_lists(i->kube, ctx))
        return relist(i, ctx, err);
    ERR(e);
    if ((*w = stream_list(i, ctx, &e)))
        return 0;
    /* Refused, or not understood (aggregated servers of an older kind): as it was always done. */
    if ((e.code != ERR_INVALID && e.code != ERR_TIMEOUT) || ctx_check(ctx, NULL) < 0)
        return err_move(err, &e);
    i->no_streams = true;
    return relist(i, ctx, err);
}

/* Sleeps longer after each failure in a row; cut short by informer_stop. */
static void back_off(struct informer *i)
{
    int64_t now = mono();
    if (i->backoff_ns == 0 || now - i->last_failure_ns > BACKOFF_RESET_NS)
        i->backoff_ns = BACKOFF_MIN_NS;
    i->last_failure_ns = now;
    int64_t until = now + i->backoff_ns + (int64_t)((double)i->backoff_ns * 0.5 * drand48());
    i->backoff_ns = i->backoff_ns * 2 < BACKOFF_MAX_NS ? i->backoff_ns * 2 : BACKOFF_MAX_NS;
    LOCK_GUARD(&i->lock);
    while (!atomic_load(&i->cancel.raised) && thread_cond_wait_until(&i->changed, &i->lock, until))
        ;
}

static void *run(void *arg)
{
    struct informer *i = arg;
    struct ctx ctx = {.clock = i->clock, .cancel = &i->cancel};
    bool must_list = true;
    while (!atomic_load(&i->cancel.raised)) {
        ERR(e);
        struct kube_watch *w = NULL;
        int rc = must_list ? fill(i, &ctx, &w, &e) : 0;
        if (rc == 0) {
            must_list = false;
            rc = w ? follow(i, &ctx, w, &e) : watch(i, &ctx, &e);
        }
        if (rc == 0 || atomic_load(&i->cancel.raised))
            continue;
        bool again_at_once = e.code == ERR_GONE && !must_list;
        must_list |= e.code == ERR_GONE;
        if (again_at_once)
            continue;
        if (e.code == ERR_NOT_FOUND) /* a custom kind that has just come or gone */
            log_debug("kind=%s: %s; trying again", i->kind, err_text(&e));
        else
            log_warn("kind=%s: %s; trying again", i->kind, err_text(&e));
        back_off(i);
    }
    return NULL;
}

/* ---- doors -------------------------------------------------------------------------------------------------------------------
 */

struct informer *informer_new(const struct informer_config *cfg)
{
    struct informer *i = xcalloc(1, sizeof *i);
    i->kube = cfg->kube;
    i->group = xstrdup(cfg->res->group);
    i->version = xstrdup(cfg->res->version);
    i->plural = xstrdup(cfg->res->plural);
    i->kind = xstrdup(cfg->res->kind);
    i->res = (struct kube_res){i->group, i->version, i->plural, i->kind, cfg->res->namespaced};
    i->ns = xstrdup(cfg->ns);
    i->label_selector = xstrdup(cfg->label_selector);
    i->field_selector = xstrdup(cfg->field_selector);
    i->metadata_only = cfg->metadata_only;
    i->clock = cfg->clock;
    pthread_mutex_init(&i->lock, NULL);
    pthread_mutex_init(&i->handlers_lock, NULL);
    thread_cond_init(&i->changed);
    i->store = STRMAP_INIT(json_unref_any);
    i->by_owner = STRMAP_INIT(keys_free);
    ERR(e);
    if (cancel_init(&i->cancel, &e) < 0) {
        log_warn("kind=%s: %s; stopping may take as long as a call does", i->kind, err_text(&e));
        i->cancel.fd = -1;
    }
    return i;
}

void informer_add_handler(struct informer *i, struct informer_handler h)
{
    LOCK_GUARD(&i->handlers_lock);
    i->handlers = xreallocarray(i->handlers, i->n_handlers + 1, sizeof *i->handlers);
    i->handlers[i->n_handlers++] = h;
    if (!i->started)
        return;
    size_t n;
    struct json **all = informer_list(i, &n);
    for (size_t k = 0; k < n; k++) {
        h.changed(h.self, NULL, all[k]);
        json_unref(all[k]);
    }
    free(all);
}

void informer_remove_handler(struct informer *i, void *self)
{
    LOCK_GUARD(&i->handlers_lock);
    size_t kept = 0;
    for (size_t h = 0; h < i->n_handlers; h++)
        if (i->handlers[h].self != self)
            i->handlers[kept++] = i->handlers[h];
    i->n_handlers = kept;
}

void informer_start(struct informer *i)
{
    AUTOFREE char *name = xasprintf("inf-%.11s", i->plural);
    i->thread = thread_start(name, run, i);
    i->started = true;
}

void informer_stop(struct informer *i)
{
    if (!i)
        return;
    {
        LOCK_GUARD(&i->lock);
        cancel_raise(&i->cancel);
        pthread_cond_broadcast(&i->changed);
    }
    if (i->started)
        pthread_join(i->thread, NULL);
    strmap_free(&i->store);
    strmap_free(&i->by_owner);
    cancel_close(&i->cancel);
    pthread_cond_destroy(&i->changed);
    pthread_mutex_destroy(&i->lock);
    pthread_mutex_destroy(&i->handlers_lock);
    free(i->handlers);
    free(i->group);
    free(i->version);
    free(i->plural);
    free(i->kind);
    free(i->ns);
    free(i->label_selector);
    free(i->field_selector);
    free(i->watch_rv);
    free(i);
}

/* Waits for a change of the store, called with the lock held. A raised cancel has no way to wake us, so it is looked at now and
 * then: such waits are short and rare. */
static int wait_changed(struct informer *i, const struct ctx *ctx, struct err *err)
{
    if (ctx_check(ctx, err) < 0)
        return -1;
    int64_t left = ctx_left_ns(ctx), slice = 20 * NS_PER_MS;
    thread_cond_wait_until(&i->changed, &i->lock, mono() + (left < slice ? left : slice));
    return 0;
}

int informer_wait_synced(struct informer *i, const struct ctx *ctx, struct err *err)
{
    LOCK_GUARD(&i->lock);
    while (!i->synced)
        if (wait_changed(i, ctx, err) < 0)
            return err_wrap(err, "waiting for the first list of %s", i->plural);
    return 0;
}

int informer_wait_rv(struct informer *i, const char *key, const char *rv_text, const struct ctx *ctx, struct err *err)
{
    int64_t rv;
    if (!str_to_i64(rv_text, &rv))
        return err_set(err, ERR_BAD_REQUEST, "resourceVersion \"%s\" is not a number", rv_text);
    LOCK_GUARD(&i->lock);
    for (;;) {
        struct json *d = strmap_get(&i->store, key);
        if (i->rv >= rv || (d && obj_rv(json_root(d)) >= rv))
            return 0;
        if (wait_changed(i, ctx, err) < 0)
            return err_wrap(err, "waiting for %s \"%s\" at revision %s", i->plural, key, rv_text);
    }
}

struct json *informer_get(struct informer *i, const char *key)
{
    LOCK_GUARD(&i->lock);
    return json_ref(strmap_get(&i->store, key));
}

struct json **informer_list(struct informer *i, size_t *n)
{
    LOCK_GUARD(&i->lock);
    struct json **out = xcalloc(strmap_count(&i->store) + 1, sizeof *out);
    *n = 0;
    for (struct strmap_entry *e = strmap_first(&i->store); e; e = strmap_next(e))
        out[(*n)++] = json_ref(e->value);
    return out;
}

struct json **informer_by_owner(struct informer *i, const char *uid, size_t *n)
{
    LOCK_GUARD(&i->lock);
    struct strmap *keys = strmap_get(&i->by_owner, uid);
    struct json **out = xcalloc((keys ? strmap_count(keys) : 0) + 1, sizeof *out);
    *n = 0;
    for (struct strmap_entry *e = keys ? strmap_first(keys) : NULL; e; e = strmap_next(e))
        out[(*n)++] = json_ref(strmap_get(&i->store, e->key));
    return out;
}
