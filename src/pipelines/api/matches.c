/* matches.c - see matches.h. */
#include "pipelines/api/matches.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/thread.h"

enum { ROWID_MAX = 8 * (MATCHES_BYTES / 4) - 1 }; /* so that some sets fit beside each other */

struct match_set {
    char *key; /* the condition and its values */
    size_t key_len;
    unsigned users;   /* under the lock of all */
    uint64_t used_at; /* likewise */
    size_t bytes;     /* likewise: of bits, as of the last matches_put */
    UT_hash_handle hh;

    pthread_mutex_t lock; /* over what follows */
    bool filled;
    uint64_t have; /* position in the log: rows before it are right */
    uint64_t *bits;
    size_t words, count;
    char *order; /* see match_start */
    struct json *start;
};

struct matches {
    const struct row_table *table;
    struct db_touched *log;
    int64_t from_rows;
    bool packed;          /* the table has packed columns */
    pthread_mutex_t lock; /* over what follows */
    struct match_set *sets;
    size_t bytes; /* of all sets */
    uint64_t uses;
};

struct matches *matches_new(const struct row_table *table, struct db_touched *log, int64_t from_rows)
{
    ASSERT(table->counts);
    struct matches *m = xcalloc(1, sizeof *m);
    m->table = table;
    m->log = log;
    m->from_rows = from_rows;
    m->packed = table == &RUN_ROWS;
    ASSERT(pthread_mutex_init(&m->lock, NULL) == 0);
    return m;
}

static void drop(struct matches *m, struct match_set *s)
{
    ASSERT(s->users == 0);
    HASH_DEL(m->sets, s);
    m->bytes -= s->bytes;
    pthread_mutex_destroy(&s->lock);
    json_unref(s->start);
    free(s->order);
    free(s->bits);
    free(s->key);
    free(s);
}

void matches_free(struct matches *m)
{
    if (!m)
        return;
    struct match_set *s, *next;
    HASH_ITER(hh, m->sets, s, next) { drop(m, s); }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

const struct row_table *matches_table(const struct matches *m) { return m->table; }
uint64_t matches_mark(struct matches *m) { return db_touched_settled(m->log); }

/* ---- bits ----------------------------------------------------------------------------------------------------------- */

bool match_has(const struct match_set *s, int64_t rowid)
{
    size_t w = (size_t)rowid / 64;
    return rowid >= 0 && w < s->words && (s->bits[w] >> (rowid % 64) & 1);
}

size_t match_count(const struct match_set *s) { return s->count; }

const uint64_t *match_bits(const struct match_set *s, size_t *words)
{
    *words = s->words;
    return s->bits;
}

/* False when the rowid is none that a set can hold. */
static bool put_bit(struct match_set *s, int64_t rowid, bool on)
{
    if (rowid < 0 || rowid > ROWID_MAX)
        return !on;
    size_t w = (size_t)rowid / 64;
    if (on && w >= s->words) {
        size_t words = w + w / 8 + 64;
        s->bits = xreallocarray(s->bits, words, sizeof *s->bits);
        memset(s->bits + s->words, 0, (words - s->words) * sizeof *s->bits);
        s->words = words;
    }
    if (match_has(s, rowid) == on)
        return true;
    s->bits[w] ^= 1ULL << (rowid % 64);
    s->count += on ? 1 : (size_t)-1;
    return true;
}

struct json *match_start(const struct match_set *s, const char *order)
{
    return s->start && str_eq(s->order, order) ? json_ref(s->start) : NULL;
}

void match_keep_start(struct match_set *s, const char *order, struct json *token)
{
    json_unref(s->start);
    free(s->order);
    s->start = json_ref(token);
    s->order = xstrdup(order);
}

static void forget_start(struct match_set *s)
{
    json_unref(s->start);
    s->start = NULL;
}

void match_list(const struct match_set *s, struct buf *out)
{
    const char *comma = "[";
    for (size_t w = 0; w < s->words; w++) {
        for (uint64_t left = s->bits[w]; left; left &= left - 1) {
            buf_addf(out, "%s%zu", comma, w * 64 + (size_t)__builtin_ctzll(left));
            comma = ",";
        }
    }
    buf_adds(out, s->count ? "]" : "[]");
}

/* ---- filling and refreshing ----------------------------------------------------------------------------------------- */

/* 1, 0 when the set cannot hold a row or there are more than `most`, -1. */
static int fill(struct matches *m, struct db *db, const struct list_sql *cond, size_t most, struct match_set *s, struct err *err)
{
    AUTOFREE char *text =
        xasprintf("SELECT %s.rowid FROM %s %s WHERE %s", m->table->alias, m->table->table, m->table->alias, buf_str(&cond->text));
    STMT_DYNAMIC(rows, db, text, err);
    if (!rows)
        return -1;
    sql_bind_all(rows, 1, cond);
    if (s->words)
        memset(s->bits, 0, s->words * sizeof *s->bits);
    s->count = 0;
    int rc;
    while ((rc = stmt_step(rows, err)) == 1) {
        if (s->count == most || !put_bit(s, stmt_i64(rows, 0), true))
            return 0;
    }
    return rc < 0 ? -1 : 1;
}

/* Asks the filter about the rows that were written. 1, 0 when the set cannot hold a row, -1. */
static int look_again(struct matches *m, struct db *db, const struct list_sql *cond, struct match_set *s, const int64_t *rowids,
                      size_t n, struct err *err)
{
    BUF(list);
    for (size_t i = 0; i < n; i++) {
        buf_addf(&list, "%s%lld", i ? "," : "[", (long long)rowids[i]);
        put_bit(s, rowids[i], false);
    }
    buf_addc(&list, ']');
    AUTOFREE char *text = xasprintf("SELECT %s.rowid FROM json_each(?) j CROSS JOIN %s %s WHERE %s.rowid = j.value AND (%s)",
                                    m->table->alias, m->table->table, m->table->alias, m->table->alias, buf_str(&cond->text));
    STMT_DYNAMIC(rows, db, text, err);
    if (!rows)
        return -1;
    stmt_bind_text(rows, 1, buf_str(&list));
    sql_bind_all(rows, 2, cond);
    int rc;
    while ((rc = stmt_step(rows, err)) == 1) {
        if (!put_bit(s, stmt_i64(rows, 0), true))
            return 0;
    }
    return rc < 0 ? -1 : 1;
}

/* ---- packed columns ------------------------------------------------------------------------------------------------- */

/* Rows of blocks that are not packed: a part of the table. */
static int fill_part(struct matches *m, struct db *db, const struct list_sql *cond, size_t from, size_t to, struct match_set *s,
                     struct err *err)
{
    AUTOFREE char *text =
        xasprintf("SELECT %s.rowid FROM %s %s NOT INDEXED WHERE %s.rowid >= ? AND %s.rowid < ? AND (%s)", m->table->alias,
                  m->table->table, m->table->alias, m->table->alias, m->table->alias, buf_str(&cond->text));
    STMT_DYNAMIC(rows, db, text, err);
    if (!rows)
        return -1;
    stmt_bind_i64(rows, 1, (int64_t)from << PACKED_SHIFT);
    stmt_bind_i64(rows, 2, (int64_t)to << PACKED_SHIFT);
    sql_bind_all(rows, 3, cond);
    int rc;
    while ((rc = stmt_step(rows, err)) == 1) {
        if (!put_bit(s, stmt_i64(rows, 0), true))
            return 0;
    }
    return rc < 0 ? -1 : 1;
}

static int fill_parts(struct matches *m, struct db *db, const struct list_sql *cond, const struct packed_answer *a,
                      struct match_set *s, struct err *err)
{
    for (size_t from = 0; from < a->blocks; from++) {
        size_t to = from;
        while (to < a->blocks && !a->packed[to])
            to++;
        int rc = to > from ? fill_part(m, db, cond, from, to, s, err) : 1;
        if (rc != 1)
            return rc;
        from = to;
    }
    return 1;
}

static void take_bits(struct match_set *s, struct packed_answer *a)
{
    free(s->bits);
    s->bits = TAKE(a->bits);
    s->words = a->blocks * PACKED_WORDS;
    s->count = 0;
    for (size_t w = 0; w < s->words; w++)
        s->count += (size_t)__builtin_popcountll(s->bits[w]);
}

/* Asks the table about the rows that the tests chose. 1, 0 when they are too many, -1. */
static int check_bits(struct matches *m, struct db *db, const struct list_sql *cond, struct match_set *s, struct err *err)
{
    enum { CHECK_MAX = 1 << 15 };
    if (s->count == 0 || s->count > CHECK_MAX)
        return s->count == 0;
    AUTOFREE int64_t *rowids = xcalloc(s->count + 1, sizeof *rowids);
    size_t n = 0;
    for (size_t w = 0; w < s->words; w++) {
        for (uint64_t left = s->bits[w]; left; left &= left - 1)
            rowids[n++] = (int64_t)(w * 64) + __builtin_ctzll(left);
    }
    return look_again(m, db, cond, s, rowids, n, err);
}

static int fill_packed(struct matches *m, struct db *db, const struct list_sql *cond, const struct packed_tests *tests,
                       struct match_set *s, struct err *err)
{
    PACKED_ANSWER(a);
    int rc = tests ? packed_scan(db, tests, ROWID_MAX, &a, err) : 0;
    if (rc != 1)
        return rc;
    take_bits(s, &a);
    if (!a.exact)
        rc = check_bits(m, db, cond, s, err);
    return rc == 1 ? fill_parts(m, db, cond, &a, s, err) : rc;
}

/* Texts that are equal are found by an index, unless there are many of them. */
static bool index_serves(const struct packed_tests *tests)
{
    return tests && tests->exact && tests->n == 1 && tests->v[0].op == PACKED_EQ &&
           packed_type(tests->v[0].column) == PACKED_TEXT;
}

static int fill_first(struct matches *m, struct db *db, const struct list_sql *cond, const struct packed_tests *tests,
                      struct match_set *s, struct err *err)
{
    enum { FEW = 10000 };
    int rc = index_serves(tests) ? fill(m, db, cond, FEW, s, err) : 0;
    if (rc == 0)
        rc = fill_packed(m, db, cond, tests, s, err);
    return rc == 0 ? fill(m, db, cond, SIZE_MAX, s, err) : rc;
}

/* A set may have been filled from a newer snapshot than this one: what was settled when this one began is where both agree. */
static int refresh(struct matches *m, struct db *db, const struct list_sql *cond, const struct packed_tests *tests, uint64_t mark,
                   struct match_set *s, struct err *err)
{
    AUTOFREE int64_t *rowids = NULL;
    size_t n;
    bool fresh = s->filled && db_touched_since(m->log, s->have < mark ? s->have : mark, &rowids, &n);
    s->filled = false; /* unless all goes well */
    if (!fresh || n > 0)
        forget_start(s);
    int rc = 1;
    if (!fresh)
        rc = fill_first(m, db, cond, tests, s, err);
    else if (n > 0)
        rc = look_again(m, db, cond, s, rowids, n, err);
    s->filled = rc == 1;
    s->have = mark;
    return rc;
}

/* ---- all sets ------------------------------------------------------------------------------------------------------- */

static void make_key(const struct list_sql *cond, struct buf *key)
{
    buf_addf(key, "%s", buf_str(&cond->text));
    buf_addc(key, 0);
    for (size_t i = 0; i < cond->n; i++) {
        const struct list_bind *b = &cond->binds[i];
        if (b->type == BIND_TEXT)
            buf_addf(key, "t%zu:%s", strlen(b->text), b->text);
        else if (b->type == BIND_INT)
            buf_addf(key, "i%lld,", (long long)b->number);
        else
            buf_addf(key, "r%a,", b->real);
    }
}

static struct match_set *take_set(struct matches *m, const struct list_sql *cond)
{
    BUF(key);
    make_key(cond, &key);
    LOCK_GUARD(&m->lock);
    struct match_set *s;
    HASH_FIND(hh, m->sets, key.data, key.len, s);
    if (!s) {
        s = xcalloc(1, sizeof *s);
        ASSERT(pthread_mutex_init(&s->lock, NULL) == 0);
        s->key = buf_steal(&key, &s->key_len);
        s->bytes = sizeof *s + s->key_len;
        m->bytes += s->bytes;
        HASH_ADD_KEYPTR(hh, m->sets, s->key, s->key_len, s);
    }
    s->users++;
    s->used_at = ++m->uses;
    return s;
}

/* Called with the lock of all. */
static void make_room(struct matches *m)
{
    while (m->bytes > MATCHES_BYTES) {
        struct match_set *oldest = NULL;
        for (struct match_set *s = m->sets; s; s = s->hh.next) {
            if (s->users == 0 && (!oldest || s->used_at < oldest->used_at))
                oldest = s;
        }
        if (!oldest)
            return;
        drop(m, oldest);
    }
}

void matches_put(struct matches *m, struct match_set *s)
{
    if (!s)
        return;
    size_t bytes = sizeof *s + s->key_len + s->words * sizeof *s->bits;
    pthread_mutex_unlock(&s->lock);
    LOCK_GUARD(&m->lock);
    m->bytes += bytes - s->bytes;
    s->bytes = bytes;
    s->users--;
    make_room(m);
}

/* The number of rows, by the counts: an upper bound of what any filter chooses. */
static int64_t all_rows(struct matches *m, struct db *db, struct err *err)
{
    AUTOFREE char *text = xasprintf("SELECT coalesce(sum(n), 0) FROM %s", m->table->counts);
    STMT_DYNAMIC(s, db, text, err);
    return !s || stmt_step(s, err) < 0 ? -1 : stmt_i64(s, 0);
}

int matches_get(struct matches *m, struct db *db, const struct list_sql *cond, const struct packed_tests *tests, uint64_t mark,
                struct match_set **out, struct err *err)
{
    *out = NULL;
    int64_t rows = all_rows(m, db, err); /* opens the snapshot, before the log is read */
    if (rows < m->from_rows)
        return rows < 0 ? -1 : 0;
    struct match_set *s = take_set(m, cond);
    ASSERT(pthread_mutex_lock(&s->lock) == 0);
    int rc = refresh(m, db, cond, m->packed ? tests : NULL, mark, s, err);
    if (rc == 1)
        *out = s;
    else
        matches_put(m, s);
    return rc;
}
