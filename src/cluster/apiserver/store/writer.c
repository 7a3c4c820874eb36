/* writer.c - the one thread that changes anything: takes what is queued, checks it against memory, commits it as one
 * transaction, publishes, answers. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "cluster/apiserver/store/internal.h"

#define LOG_ROOM "store"
#include "base/log.h"

int store_write(struct store *s, const struct store_write *w, struct store_obj **out, struct err *err)
{
    struct write_req r = {.w = w};
    pthread_cond_init(&r.cond, NULL);
    pthread_mutex_lock(&s->queue_lock);
    if (s->stopping) {
        r.done = true;
        r.rc = err_set(&r.err, ERR_UNAVAILABLE, "the server is stopping");
    } else {
        *s->queue_tail = &r;
        s->queue_tail = &r.next;
        pthread_cond_signal(&s->queue_cond);
    }
    while (!r.done)
        pthread_cond_wait(&r.cond, &s->queue_lock);
    pthread_mutex_unlock(&s->queue_lock);
    pthread_cond_destroy(&r.cond);
    if (r.rc < 0)
        return err_move(err, &r.err);
    if (out)
        *out = r.out;
    else
        store_obj_unref(r.out);
    return 0;
}

struct batch {
    struct write_req *reqs[BATCH_MAX];
    size_t n_reqs;
    struct change *changes[BATCH_MAX]; /* of the requests that passed their check */
    size_t n;
    bool durable;
};

/* The state that a request meets: what an earlier request of the batch left, else what memory holds. The writer thread alone
 * changes the maps, so it reads them without the lock. */
static struct store_obj *current(const struct batch *b, struct store_coll *c, const char *key)
{
    for (size_t i = b->n; i-- > 0;)
        if (b->changes[i]->coll == c && strcmp(b->changes[i]->obj->key, key) == 0)
            return b->changes[i]->removed ? NULL : b->changes[i]->obj;
    return map_get(&c->map, key);
}

static int check(const struct store_write *w, const struct store_obj *cur, struct err *err)
{
    if (w->expect == 0)
        return cur ? err_set(err, ERR_EXISTS, "%s \"%s\" already exists", w->coll->plural, w->key) : 0;
    if (!cur)
        return err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", w->coll->plural, w->key);
    if (cur->rv != w->expect)
        return err_set(err, ERR_CONFLICT, "%s \"%s\" has revision %" PRId64 ", not %" PRId64, w->coll->plural, w->key, cur->rv,
                       w->expect);
    return 0;
}

static struct change *make_change(struct store *s, const struct store_write *w, struct store_obj *cur)
{
    struct change *c = xcalloc(1, sizeof(*c));
    c->rv = s->next_rv++;
    c->at_ns = s->clock->wall_ns(s->clock);
    c->coll = w->coll;
    c->removed = w->remove;
    c->soft = w->soft;
    jmval *meta = jm_obj_at(w->doc, jm_root(w->doc), "metadata");
    jm_put(w->doc, meta, "resourceVersion", jm_strf(w->doc, "%" PRId64, c->rv));
    c->obj = store_obj_new(w->key, c->rv, jm_freeze(w->doc));
    c->prev = store_obj_ref(cur);
    return c;
}

static void judge(struct store *s, struct batch *b)
{
    for (size_t i = 0; i < b->n_reqs; i++) {
        struct write_req *r = b->reqs[i];
        struct store_obj *cur = current(b, r->w->coll, r->w->key);
        r->rc = check(r->w, cur, &r->err);
        if (r->rc < 0)
            continue;
        r->change = make_change(s, r->w, cur);
        b->changes[b->n++] = r->change;
        /* A revision above the mark must not be seen before a higher mark is durable. And where the disk takes nothing, the list
         * of what waits for it ends: then soft writes fail too, as all others do. */
        if (!r->w->soft || r->change->rv > s->high_mark || s->n_soft + b->n > s->limits.soft)
            b->durable = true;
    }
    if (s->next_rv + MARK_MARGIN > s->high_mark)
        s->mark_wanted = s->next_rv + MARK_STEP;
}

static void publish(struct store *s, struct batch *b)
{
    if (!b->n)
        return;
    pthread_rwlock_wrlock(&s->lock);
    for (size_t i = 0; i < b->n; i++) {
        struct change *c = b->changes[i];
        if (c->removed)
            store_obj_unref(map_del(&c->coll->map, c->obj->key));
        else
            store_obj_unref(map_put(&c->coll->map, store_obj_ref(c->obj)));
        atomic_store(&c->coll->rev, c->rv);
        watch_publish(c->coll, c);
        log_append(s, c);
    }
    atomic_store(&s->rev, b->changes[b->n - 1]->rv);
    log_trim(s, b->changes[b->n - 1]->at_ns);
    pthread_rwlock_unlock(&s->lock);
    FAULT("store.publish.after");
}

static void keep_soft(struct store *s, struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        if (s->n_soft == s->cap_soft) {
            s->cap_soft = s->cap_soft ? s->cap_soft * 2 : 64;
            s->soft = xreallocarray(s->soft, s->cap_soft, sizeof(*s->soft));
        }
        if (s->n_soft == 0)
            s->soft_deadline = s->clock->mono_ns(s->clock) + SOFT_DELAY_NS;
        s->soft[s->n_soft++] = change_new(b->changes[i]);
    }
}

static void answer(struct store *s, struct batch *b)
{
    pthread_mutex_lock(&s->queue_lock);
    for (size_t i = 0; i < b->n_reqs; i++) {
        b->reqs[i]->done = true;
        pthread_cond_signal(&b->reqs[i]->cond);
    }
    pthread_mutex_unlock(&s->queue_lock);
}

static void fail_batch(struct batch *b, const struct err *e)
{
    log_error("%s", err_text(e));
    for (size_t i = 0; i < b->n_reqs; i++) {
        struct write_req *r = b->reqs[i];
        if (!r->change)
            continue;
        r->change = NULL;
        r->rc = -1;
        err_copy(&r->err, e);
    }
    for (size_t i = 0; i < b->n; i++)
        change_free(b->changes[i]);
    b->n = 0;
}

static void run_batch(struct store *s, struct batch *b)
{
    judge(s, b);
    ERR(e);
    if (b->durable && journal_commit(s, b->changes, b->n, true, &e) < 0)
        fail_batch(b, &e);
    else if (!b->durable)
        keep_soft(s, b);
    for (size_t i = 0; i < b->n_reqs; i++)
        if (b->reqs[i]->change)
            b->reqs[i]->out = store_obj_ref(b->reqs[i]->change->obj);
    publish(s, b);
    answer(s, b);
}

/* Waits for requests, or for the moment at which soft changes are due. False when there will be no more. */
static bool take_batch(struct store *s, struct batch *b)
{
    pthread_mutex_lock(&s->queue_lock);
    while (!s->queue && !s->stopping) {
        if (!s->n_soft)
            pthread_cond_wait(&s->queue_cond, &s->queue_lock);
        else if (!thread_cond_wait_until(&s->queue_cond, &s->queue_lock, s->soft_deadline))
            break;
    }
    while (s->queue && b->n_reqs < BATCH_MAX) {
        b->reqs[b->n_reqs++] = s->queue;
        s->queue = s->queue->next;
    }
    if (!s->queue)
        s->queue_tail = &s->queue;
    bool more = b->n_reqs || !s->stopping;
    pthread_mutex_unlock(&s->queue_lock);
    return more;
}

static bool queue_empty(struct store *s)
{
    LOCK_GUARD(&s->queue_lock);
    return !s->queue && !s->stopping;
}

void *writer_main(void *arg)
{
    struct store *s = arg;
    for (;;) {
        struct batch b = {0};
        if (!take_batch(s, &b))
            return NULL;
        if (b.n_reqs)
            run_batch(s, &b);
        if (s->n_soft && (b.n_reqs == 0 || s->clock->mono_ns(s->clock) >= s->soft_deadline)) {
            ERR(e);
            if (journal_commit(s, NULL, 0, false, &e) < 0) {
                log_error("%s", err_text(&e));
                s->soft_deadline = s->clock->mono_ns(s->clock) + NS_PER_S;
            }
        }
        while (queue_empty(s) && journal_compact(s))
            ;
    }
}
