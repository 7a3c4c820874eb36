/* touched.c - a ring of rowids, filled by SQLite's update hook. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "data/sql_internal.h"

struct db_touched {
    char *table;
    pthread_mutex_t lock; /* over what follows */
    int64_t *ring;        /* position p is at p % TOUCHED_KEPT */
    uint64_t end, settled;
};

struct db_touched *db_touched_new(const char *table)
{
    struct db_touched *t = xcalloc(1, sizeof *t);
    t->table = xstrdup(table);
    t->ring = xcalloc(TOUCHED_KEPT, sizeof *t->ring);
    ASSERT(pthread_mutex_init(&t->lock, NULL) == 0);
    return t;
}

void db_touched_free(struct db_touched *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t->ring);
    free(t->table);
    free(t);
}

static void note(void *self, int op, const char *schema, const char *table, sqlite3_int64 rowid)
{
    (void)op;
    (void)schema;
    struct db_touched *t = self;
    if (strcmp(table, t->table) != 0)
        return;
    LOCK_GUARD(&t->lock);
    t->ring[t->end++ % TOUCHED_KEPT] = rowid;
}

void db_watch_touched(struct db *db, struct db_touched *t)
{
    ASSERT(!db->touched && !db_in_transaction(db));
    db->touched = t;
    sqlite3_update_hook(db->h, note, t);
}

void sql_touched_settle(struct db_touched *t)
{
    LOCK_GUARD(&t->lock);
    t->settled = t->end;
}

uint64_t db_touched_settled(struct db_touched *t)
{
    LOCK_GUARD(&t->lock);
    return t->settled;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

bool db_touched_since(struct db_touched *t, uint64_t from, int64_t **rowids, size_t *n)
{
    *rowids = NULL;
    *n = 0;
    int64_t *v;
    size_t got = 0;
    {
        LOCK_GUARD(&t->lock);
        ASSERT(from <= t->end);
        if (t->end - from > TOUCHED_KEPT)
            return false;
        v = xcalloc(t->end - from + 1, sizeof *v);
        for (; from < t->end; from++)
            v[got++] = t->ring[from % TOUCHED_KEPT];
    }
    qsort(v, got, sizeof *v, by_number);
    for (size_t i = 0; i < got; i++) {
        if (i == 0 || v[i] != v[i - 1])
            v[(*n)++] = v[i];
    }
    *rowids = v;
    return true;
}
