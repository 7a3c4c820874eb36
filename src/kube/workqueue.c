/* The work queue: a set of keys in the order they came, each with at most one worker at a time.
 *
 * One item a key that is known for any reason: waiting in line, being worked on, waiting for a time, or having failed before.
 * An item that has none of these left is dropped. Takers move items whose time has come into the line; so there is no thread of
 * the queue's own, and an idle queue wakes nobody. Upstream's overall limit of ten retries a second is left out on purpose: the
 * API is in our process. */
#include "kube/controller.h"

#include <stdlib.h>

#include "base/str.h"
#include "base/thread.h"

enum { NOT_IN_HEAP = -1 };
#define MAX_DELAY_NS (1000 * NS_PER_S)

struct item {
    char *key;
    bool dirty;      /* wants to be worked on */
    bool processing; /* a worker has it */
    unsigned failures;
    int64_t due_ns;
    ptrdiff_t heap_at;
    bool own;          /* due_ns is only what its last reconcile asked for */
    struct item *next; /* in line */
};
struct workqueue {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t more;
    const struct clock *clock;
    int64_t base_delay_ns;
    struct strmap items; /* key -> struct item */
    struct item *head, **tail;
    struct item **heap; /* by due_ns, earliest first */
    size_t heap_n, heap_cap;
    bool shutdown;
};

static void item_free(void *p)
{
    struct item *it = p;
    free(it->key);
    free(it);
}

struct workqueue *workqueue_new(const struct clock *clock, int64_t base_delay_ns)
{
    struct workqueue *q = xcalloc(1, sizeof *q);
    pthread_mutex_init(&q->lock, NULL);
    thread_cond_init(&q->more);
    q->clock = clock;
    q->base_delay_ns = base_delay_ns > 0 ? base_delay_ns : 5 * NS_PER_MS;
    q->items = STRMAP_INIT(item_free);
    q->tail = &q->head;
    return q;
}

void workqueue_free(struct workqueue *q)
{
    if (!q)
        return;
    strmap_free(&q->items);
    free(q->heap);
    pthread_cond_destroy(&q->more);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* ---- the heap of delayed items ------------------------------------------------------------------------------------------ */

static void heap_put(struct workqueue *q, size_t at, struct item *it)
{
    q->heap[at] = it;
    it->heap_at = (ptrdiff_t)at;
}

static void heap_up(struct workqueue *q, size_t at)
{
    struct item *it = q->heap[at];
    while (at > 0 && q->heap[(at - 1) / 2]->due_ns > it->due_ns) {
        heap_put(q, at, q->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(q, at, it);
}

static void heap_down(struct workqueue *q, size_t at)
{
    struct item *it = q->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= q->heap_n)
            break;
        if (child + 1 < q->heap_n && q->heap[child + 1]->due_ns < q->heap[child]->due_ns)
            child++;
        if (q->heap[child]->due_ns >= it->due_ns)
            break;
        heap_put(q, at, q->heap[child]);
        at = child;
    }
    heap_put(q, at, it);
}

static void heap_add(struct workqueue *q, struct item *it)
{
    if (q->heap_n == q->heap_cap) {
        q->heap_cap = q->heap_cap ? q->heap_cap * 2 : 16;
        q->heap = xreallocarray(q->heap, q->heap_cap, sizeof(struct item *));
    }
    q->heap[q->heap_n] = it;
    heap_up(q, q->heap_n++);
}

static void heap_remove(struct workqueue *q, struct item *it)
{
    size_t at = (size_t)it->heap_at;
    struct item *last = q->heap[--q->heap_n];
    if (last != it) {
        heap_put(q, at, last);
        heap_up(q, at);
        heap_down(q, (size_t)last->heap_at);
    }
    it->heap_at = NOT_IN_HEAP;
    it->own = false;
}

/* ---- items ---------------------------------------------------------------------------------------------------------------- */

static struct item *item_of(struct workqueue *q, const char *key)
{
    struct item *it = strmap_get(&q->items, key);
    if (!it) {
        it = xcalloc(1, sizeof *it);
        it->key = xstrdup(key);
        it->heap_at = NOT_IN_HEAP;
        strmap_put(&q->items, key, it);
    }
    return it;
}

static void drop_if_idle(struct workqueue *q, struct item *it)
{
    if (it->dirty || it->processing || it->failures || it->heap_at != NOT_IN_HEAP)
        return;
    AUTOFREE char *key = xstrdup(it->key); /* the map frees the item, and with it the key */
    strmap_del(&q->items, key);
}

static void put_in_line(struct workqueue *q, struct item *it)
{
    it->next = NULL;
    *q->tail = it;
    q->tail = &it->next;
    pthread_cond_signal(&q->more);
}

static void make_dirty(struct workqueue *q, struct item *it)
{
    if (it->dirty)
        return;
    it->dirty = true;
    if (!it->processing)
        put_in_line(q, it);
}

void workqueue_add(struct workqueue *q, const char *key)
{
    LOCK_GUARD(&q->lock);
    if (!q->shutdown)
        make_dirty(q, item_of(q, key));
}

static void add_after_locked(struct workqueue *q, struct item *it, int64_t ns)
{
    if (ns <= 0) {
        make_dirty(q, it);
        return;
    }
    int64_t now = q->clock->mono_ns(q->clock);
    int64_t due = ns > INT64_MAX - now ? INT64_MAX : now + ns;
    if (it->heap_at == NOT_IN_HEAP) {
        it->due_ns = due;
        heap_add(q, it);
    } else if (due < it->due_ns) {
        it->due_ns = due;
        heap_up(q, (size_t)it->heap_at);
    }
    if (q->heap[0] == it)
        pthread_cond_signal(&q->more); /* somebody must wait for a shorter time now */
}

void workqueue_add_after(struct workqueue *q, const char *key, int64_t ns)
{
    LOCK_GUARD(&q->lock);
    if (q->shutdown)
        return;
    struct item *it = item_of(q, key);
    it->own = false;
    add_after_locked(q, it, ns);
}

void workqueue_add_rate_limited(struct workqueue *q, const char *key) { workqueue_retry(q, key, 0); }

void workqueue_retry(struct workqueue *q, const char *key, int64_t at_least_ns)
{
    LOCK_GUARD(&q->lock);
    if (q->shutdown)
        return;
    struct item *it = item_of(q, key);
    bool alone = it->heap_at == NOT_IN_HEAP;
    int64_t delay = q->base_delay_ns;
    for (unsigned i = 0; i < it->failures && delay < MAX_DELAY_NS; i++)
        delay *= 2;
    it->failures++;
    delay = delay < MAX_DELAY_NS ? delay : MAX_DELAY_NS;
    add_after_locked(q, it, delay > at_least_ns ? delay : at_least_ns);
    it->own = alone && it->heap_at != NOT_IN_HEAP;
}

void workqueue_done(struct workqueue *q, const char *key, int64_t again_ns)
{
    LOCK_GUARD(&q->lock);
    struct item *it = strmap_get(&q->items, key);
    ASSERT(it && it->processing);
    it->failures = 0;
    if (it->own)
        heap_remove(q, it);
    if (again_ns <= 0 || q->shutdown)
        return;
    bool alone = it->heap_at == NOT_IN_HEAP;
    add_after_locked(q, it, again_ns);
    it->own = alone;
}

unsigned workqueue_failures(struct workqueue *q, const char *key)
{
    LOCK_GUARD(&q->lock);
    struct item *it = strmap_get(&q->items, key);
    return it ? it->failures : 0;
}

size_t workqueue_keys(struct workqueue *q)
{
    LOCK_GUARD(&q->lock);
    return strmap_count(&q->items);
}

/* ---- workers ----------------------------------------------------------------------------------------------------------------
 */

static void move_due(struct workqueue *q)
{
    if (q->heap_n == 0)
        return;
    int64_t now = q->clock->mono_ns(q->clock);
    while (q->heap_n > 0 && q->heap[0]->due_ns <= now) {
        struct item *it = q->heap[0];
        heap_remove(q, it);
        make_dirty(q, it);
    }
}

static void wait_for_more(struct workqueue *q)
{
    if (q->heap_n == 0)
        pthread_cond_wait(&q->more, &q->lock);
    else if (q->clock == &clock_system)
        thread_cond_wait_until(&q->more, &q->lock, q->heap[0]->due_ns);
    else /* a test's clock moves without telling anybody */
        thread_cond_wait_until(&q->more, &q->lock, clock_system.mono_ns(&clock_system) + NS_PER_MS);
}

char *workqueue_take(struct workqueue *q)
{
    LOCK_GUARD(&q->lock);
    for (;;) {
        if (q->shutdown)
            return NULL;
        move_due(q);
        if (q->head)
            break;
        wait_for_more(q);
    }
    struct item *it = q->head;
    q->head = it->next;
    if (!q->head)
        q->tail = &q->head;
    else
        pthread_cond_signal(&q->more); /* a signal may have gone to a taker that found the line empty */
    it->dirty = false;
    it->processing = true;
    if (!q->head && q->heap_n > 0)
        pthread_cond_signal(&q->more); /* another taker must watch the time from here on */
    return xstrdup(it->key);
}

void workqueue_finish(struct workqueue *q, const char *key)
{
    LOCK_GUARD(&q->lock);
    struct item *it = strmap_get(&q->items, key);
    ASSERT(it && it->processing);
    it->processing = false;
    if (it->dirty)
        put_in_line(q, it);
    else
        drop_if_idle(q, it);
}

void workqueue_shutdown(struct workqueue *q)
{
    LOCK_GUARD(&q->lock);
    q->shutdown = true;
    pthread_cond_broadcast(&q->more);
}
