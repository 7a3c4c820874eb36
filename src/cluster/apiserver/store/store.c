#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "cluster/apiserver/store/internal.h"

#define LOG_ROOM "store"
#include "base/log.h"

/* ---- objects -------------------------------------------------------------------------------------------------- */

struct store_obj *store_obj_ref(struct store_obj *o)
{
    if (o)
        atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
    return o;
}

void store_obj_unref(struct store_obj *o)
{
    if (!o || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
        return;
    json_unref(o->doc);
    free(o->bytes);
    free(o);
}

/* Length of `{"kind":"K","apiVersion":"V",` when the document starts so, else 1. */
static size_t tail_of(jval *root, const char *bytes, size_t len)
{
    struct jiter it = jv_iter(root);
    const char *key;
    jval *v;
    BUF(head);
    buf_addc(&head, '{');
    static const char *const names[] = {"kind", "apiVersion"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!jv_next(&it, &key, &v) || strcmp(key, names[i]) != 0)
            return 1;
        buf_addf(&head, "\"%s\":", key);
        jv_write(v, JW_COMPACT, &head);
        buf_addc(&head, ',');
    }
    return head.len < len && memcmp(head.data, bytes, head.len) == 0 ? head.len : 1;
}

struct store_obj *store_obj_new(const char *key, int64_t rv, struct json *take_doc)
{
    size_t kl = strlen(key) + 1;
    struct store_obj *o = xmalloc(sizeof(*o) + kl);
    BUF(b);
    jv_write(json_root(take_doc), JW_COMPACT, &b);
    atomic_init(&o->refs, 1);
    o->rv = rv;
    o->doc = take_doc;
    o->len = b.len;
    o->tail = tail_of(json_root(take_doc), b.data, b.len);
    o->mem = sizeof(*o) + kl + b.len + json_mem(take_doc);
    o->bytes = xrealloc(buf_steal(&b, NULL), o->len + 1);
    memcpy(o->key, key, kl);
    return o;
}

/* ---- the log -------------------------------------------------------------------------------------------------- */

void change_free(struct change *c)
{
    if (!c)
        return;
    store_obj_unref(c->obj);
    store_obj_unref(c->prev);
    free(c);
}

struct change *change_new(const struct change *from)
{
    struct change *c = xmemdup(from, sizeof(*from));
    store_obj_ref(c->obj);
    store_obj_ref(c->prev);
    return c;
}

/* What only the log keeps alive: the former state, and the last one of a removed object. */
static size_t change_mem(const struct change *c)
{
    return sizeof(*c) + (c->prev ? c->prev->mem : 0) + (c->removed ? c->obj->mem : 0);
}

void log_append(struct store *s, struct change *take)
{
    if (s->ring_n == s->ring_cap) {
        size_t cap = s->ring_cap ? s->ring_cap * 2 : 256;
        struct change **ring = xcalloc(cap, sizeof(*ring));
        for (size_t i = 0; i < s->ring_n; i++)
            ring[i] = log_at(s, i);
        free(s->ring);
        s->ring = ring;
        s->ring_cap = cap;
        s->ring_head = 0;
    }
    s->ring[(s->ring_head + s->ring_n) & (s->ring_cap - 1)] = take;
    s->ring_n++;
    s->ring_bytes += change_mem(take);
}

void log_trim(struct store *s, int64_t now_ns)
{
    while (s->ring_n) {
        struct change *c = log_at(s, 0);
        if (s->ring_n <= s->limits.log_entries && s->ring_bytes <= s->limits.log_bytes &&
            now_ns - c->at_ns <= s->limits.log_age_ns)
            return;
        s->floor = c->rv;
        s->ring_bytes -= change_mem(c);
        change_free(c);
        s->ring_head = (s->ring_head + 1) & (s->ring_cap - 1);
        s->ring_n--;
    }
}

size_t log_after(const struct store *s, int64_t rv)
{
    size_t lo = 0, hi = s->ring_n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (log_at(s, mid)->rv <= rv)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

int check_rev_locked(struct store *s, int64_t rev, struct err *err)
{
    int64_t now = atomic_load(&s->rev);
    if (rev > now)
        return err_set(err, ERR_TIMEOUT, "Too large resource version: %lld, current: %lld", (long long)rev, (long long)now);
    int64_t oldest = s->floor;
    for (size_t i = 0; i < s->n_lost; i++)
        if (rev > s->lost[i].from && rev <= s->lost[i].to)
            oldest = s->lost[i].to + 1;
    if (rev < oldest)
        return err_set(err, ERR_GONE, "too old resource version: %lld (%lld)", (long long)rev, (long long)oldest);
    return 0;
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

int64_t store_rev(struct store *s) { return atomic_load(&s->rev); }

struct store_obj *store_get(struct store_coll *c, const char *key)
{
    pthread_rwlock_rdlock(&c->store->lock);
    struct store_obj *o = store_obj_ref(map_get(&c->map, key));
    pthread_rwlock_unlock(&c->store->lock);
    return o;
}

size_t store_count(struct store_coll *c)
{
    pthread_rwlock_rdlock(&c->store->lock);
    size_t n = c->map.count;
    pthread_rwlock_unlock(&c->store->lock);
    return n;
}

void store_list_free(struct store_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        store_obj_unref(l->v[i]);
    free(l->v);
    *l = (struct store_list){0};
}

struct lister {
    const struct store_query *q;
    struct store_list *out;
    size_t cap, prefix_len;
    char *prefix;
};

/* False when the page is full: then the object was not looked at. */
static bool list_take(struct lister *l, struct store_obj *o)
{
    if (l->q->limit && l->out->n == l->q->limit) {
        l->out->more = true;
        return false;
    }
    if (l->q->match && !l->q->match(l->q->arg, o))
        return true;
    if (l->out->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->out->v = xreallocarray(l->out->v, l->cap, sizeof(*l->out->v));
    }
    l->out->v[l->out->n++] = store_obj_ref(o);
    return true;
}

static bool list_in_range(const struct lister *l, const struct store_obj *o)
{
    return o && (!l->prefix || strncmp(o->key, l->prefix, l->prefix_len) == 0);
}

static void list_now(struct store_coll *c, struct lister *l, const char *start, bool after)
{
    struct map_pos p = map_seek(&c->map, start, after);
    for (struct store_obj *o = map_at(&c->map, p); list_in_range(l, o); map_step(&c->map, &p), o = map_at(&c->map, p))
        if (!list_take(l, o))
            break;
    if (l->out->more && !l->q->match) {
        size_t end = c->map.count;
        if (l->prefix) {
            char *past = xstrdup(l->prefix);
            past[l->prefix_len - 1]++; /* '/' + 1 sorts right behind every key of the namespace */
            end = map_rank(&c->map, map_seek(&c->map, past, false));
            free(past);
        }
        l->out->remaining = (int64_t)(end - map_rank(&c->map, p));
    }
}

/* What a key was at an earlier revision, where that is not what it is now. */
struct past {
    const char *key;
    struct store_obj *obj; /* borrowed; NULL: it was not there */
    size_t order;
};

static int past_cmp(const void *a, const void *b)
{
    const struct past *x = a, *y = b;
    int d = strcmp(x->key, y->key);
    return d ? d : (x->order > y->order) - (x->order < y->order);
}

/* The states at a revision of all keys of a collection that changed after it, sorted by key. */
static int past_collect(struct store_coll *c, int64_t at, struct past **out, size_t *n_out, struct err *err)
{
    struct store *s = c->store;
    size_t n = 0, cap = 0;
    struct past *v = NULL;
    for (size_t i = log_after(s, at); i < s->ring_n; i++) {
        struct change *ch = log_at(s, i);
        if (ch->coll != c)
            continue;
        if (n == cap) {
            cap = cap ? cap * 2 : 32;
            v = xreallocarray(v, cap, sizeof(*v));
        }
        if (ch->prev_unknown) {
            /* Only the first change of a key matters, but which it is is known after sorting; such changes are rare. */
            free(v);
            return err_set(err, ERR_GONE, "too old resource version: %lld (%lld)", (long long)at, (long long)s->floor);
        }
        v[n] = (struct past){ch->obj->key, ch->prev, n};
        n++;
    }
    if (n)
        qsort(v, n, sizeof(*v), past_cmp);
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (k == 0 || strcmp(v[k - 1].key, v[i].key) != 0)
            v[k++] = v[i];
    *out = v;
    *n_out = k;
    return 0;
}

static int list_past(struct store_coll *c, struct lister *l, const char *start, bool after, struct err *err)
{
    AUTOFREE struct past *past = NULL;
    size_t n = 0, i = 0;
    if (past_collect(c, l->q->at, &past, &n, err) < 0)
        return -1;
    if (start)
        while (i < n && (after ? strcmp(past[i].key, start) <= 0 : strcmp(past[i].key, start) < 0))
            i++;
    struct map_pos p = map_seek(&c->map, start, after);
    for (;;) {
        struct store_obj *now = map_at(&c->map, p);
        int d = !now ? 1 : i >= n ? -1 : strcmp(now->key, past[i].key);
        if (!now && i >= n)
            break;
        struct store_obj *o = d < 0 ? now : past[i].obj;
        if (d <= 0)
            map_step(&c->map, &p);
        if (d >= 0)
            i++;
        if (!o)
            continue;
        if (!list_in_range(l, o)) {
            if (strcmp(o->key, l->prefix) > 0)
                break;
            continue;
        }
        if (l->out->more)
            l->out->remaining++;
        else if (!list_take(l, o))
            l->out->remaining = 1;
    }
    return 0;
}

int store_list(struct store_coll *c, const struct store_query *q, struct store_list *out, struct err *err)
{
    struct store *s = c->store;
    struct lister l = {.q = q, .out = out};
    AUTOFREE char *prefix = q->ns && *q->ns ? xasprintf("%s/", q->ns) : NULL;
    l.prefix = prefix;
    l.prefix_len = prefix ? strlen(prefix) : 0;
    const char *start = prefix;
    bool after = false;
    if (q->after && (!start || strcmp(q->after, start) > 0)) {
        start = q->after;
        after = true;
    }
    *out = (struct store_list){0};
    int rc = 0;
    pthread_rwlock_rdlock(&s->lock);
    out->rv = atomic_load(&s->rev);
    if (q->at && q->at != out->rv) {
        out->rv = q->at;
        rc = check_rev_locked(s, q->at, err);
        if (rc == 0)
            rc = list_past(c, &l, start, after, err);
    } else {
        list_now(c, &l, start, after);
    }
    pthread_rwlock_unlock(&s->lock);
    if (rc < 0)
        store_list_free(out);
    return rc;
}

/* ---- collections, opening and closing ------------------------------------------------------------------------- */

int64_t store_coll_rev(struct store_coll *c) { return atomic_load(&c->rev); }

static struct store_coll *coll_find(struct store *s, const char *group, const char *plural)
{
    for (struct store_coll *c = s->colls; c; c = c->next)
        if (strcmp(c->plural, plural) == 0 && strcmp(c->group, group) == 0)
            return c;
    return NULL;
}

struct store_coll *store_coll(struct store *s, const char *group, const char *plural)
{
    pthread_rwlock_rdlock(&s->lock);
    struct store_coll *c = coll_find(s, group, plural);
    pthread_rwlock_unlock(&s->lock);
    if (c)
        return c;
    pthread_rwlock_wrlock(&s->lock);
    c = coll_find(s, group, plural);
    if (!c) {
        c = xcalloc(1, sizeof(*c));
        c->store = s;
        c->group = xstrdup(group);
        c->plural = xstrdup(plural);
        c->prefix = xasprintf("%s/%s/", group, plural);
        c->next = s->colls;
        s->colls = c;
    }
    pthread_rwlock_unlock(&s->lock);
    return c;
}

static void store_free(struct store *s)
{
    while (s->ring_n) {
        change_free(log_at(s, 0));
        s->ring_head = (s->ring_head + 1) & (s->ring_cap - 1);
        s->ring_n--;
    }
    free(s->ring);
    for (size_t i = 0; i < s->n_soft; i++)
        change_free(s->soft[i]);
    free(s->soft);
    free(s->lost);
    while (s->colls) {
        struct store_coll *c = s->colls;
        s->colls = c->next;
        map_free(&c->map);
        free(c->group);
        free(c->plural);
        free(c->prefix);
        free(c);
    }
    if (s->db)
        db_close(s->db);
    pthread_rwlock_destroy(&s->lock);
    pthread_mutex_destroy(&s->queue_lock);
    pthread_cond_destroy(&s->queue_cond);
    free(s);
}

struct store *store_open(const char *path, const struct clock *clock, const struct store_limits *limits, struct err *err)
{
    struct store *s = xcalloc(1, sizeof(*s));
    s->clock = clock ? clock : &clock_system;
    if (limits)
        s->limits = *limits;
    if (!s->limits.log_entries)
        s->limits.log_entries = 100000;
    if (!s->limits.log_age_ns)
        s->limits.log_age_ns = 600 * NS_PER_S;
    if (!s->limits.soft)
        s->limits.soft = 10000;
    if (!s->limits.log_bytes)
        s->limits.log_bytes = 32u << 20;
    if (!s->limits.queue)
        s->limits.queue = 1000;
    /* Readers come and go all the time: without this they would keep the writer out. */
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&s->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&s->queue_lock, NULL);
    thread_cond_init(&s->queue_cond);
    s->queue_tail = &s->queue;
    s->db = db_open(path, journal_migrations, journal_n_migrations, err);
    if (!s->db || journal_load(s, err) < 0) {
        store_free(s);
        return NULL;
    }
    s->writer = thread_start("store-writer", writer_main, s);
    s->writer_runs = true;
    return s;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (s->writer_runs) {
        pthread_mutex_lock(&s->queue_lock);
        s->stopping = true;
        pthread_cond_signal(&s->queue_cond);
        pthread_mutex_unlock(&s->queue_lock);
        pthread_join(s->writer, NULL);
    }
    for (struct store_coll *c = s->colls; c; c = c->next)
        store_watch_end_all(c);
    ERR(e);
    if (journal_close(s, &e) < 0)
        log_error("closing the journal: %s", err_text(&e));
    store_free(s);
}
