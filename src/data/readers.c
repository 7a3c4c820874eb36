/* readers.c - a pool of read-only connections; the one used last is used first, so that few stay warm. */
#include <stdlib.h>

#include "base/thread.h"
#include "data/writer.h"

struct db_readers {
    char *path;
    unsigned max;
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t freed;
    struct db **idle;
    unsigned n_idle, n_open;
};

struct db_readers *db_readers_new(const char *path, unsigned max)
{
    ASSERT(max > 0);
    struct db_readers *r = xcalloc(1, sizeof *r);
    r->path = xstrdup(path);
    r->max = max;
    r->idle = xcalloc(max, sizeof *r->idle);
    ASSERT(pthread_mutex_init(&r->lock, NULL) == 0);
    thread_cond_init(&r->freed);
    return r;
}

struct db *db_reader_get(struct db_readers *r, struct err *err)
{
    {
        LOCK_GUARD(&r->lock);
        while (r->n_idle == 0 && r->n_open == r->max)
            pthread_cond_wait(&r->freed, &r->lock);
        if (r->n_idle > 0)
            return r->idle[--r->n_idle];
        r->n_open++;
    }
    struct db *db = db_open_reader(r->path, err);
    if (!db) {
        LOCK_GUARD(&r->lock);
        r->n_open--;
        pthread_cond_signal(&r->freed);
    }
    return db;
}

void db_reader_put(struct db_readers *r, struct db *db)
{
    if (!db)
        return;
    if (db_in_transaction(db))
        db_rollback(db);
    LOCK_GUARD(&r->lock);
    r->idle[r->n_idle++] = db;
    pthread_cond_signal(&r->freed);
}

void db_readers_free(struct db_readers *r)
{
    if (!r)
        return;
    ASSERT(r->n_idle == r->n_open); /* everybody has put theirs back */
    for (unsigned i = 0; i < r->n_idle; i++)
        db_close(r->idle[i]);
    pthread_cond_destroy(&r->freed);
    pthread_mutex_destroy(&r->lock);
    free(r->idle);
    free(r->path);
    free(r);
}
