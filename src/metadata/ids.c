#include "metadata/metadata.h"

#include <stdlib.h>

#include "base/thread.h"

/* Ids reserved in one transaction. Those not used when the process ends are lost: gaps are fine, doubles are not. */
#define BLOCK 1024

static const char *const names[MD_SEQ_COUNT] = {[MD_SEQ_ARTIFACT] = "artifact", [MD_SEQ_TASK] = "task", [MD_SEQ_LINK] = "link"};

struct md_ids {
    struct db_writer *writer;
    pthread_mutex_t lock; /* guards next and end */
    int64_t next[MD_SEQ_COUNT], end[MD_SEQ_COUNT];
};

struct md_ids *md_ids_new(struct db_writer *w)
{
    struct md_ids *ids = xcalloc(1, sizeof *ids);
    ids->writer = w;
    ASSERT(pthread_mutex_init(&ids->lock, NULL) == 0);
    return ids;
}

void md_ids_free(struct md_ids *ids)
{
    if (!ids)
        return;
    pthread_mutex_destroy(&ids->lock);
    free(ids);
}

int md_ids_take_tx(struct db *db, enum md_seq seq, int64_t n, int64_t *first, struct err *err)
{
    static const char SQL[] = "INSERT INTO sequences (name, next) VALUES (?1, 1 + ?2) "
                              "ON CONFLICT (name) DO UPDATE SET next = next + ?2 RETURNING next";
    ASSERT(seq < MD_SEQ_COUNT && n > 0);
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, names[seq]);
    stmt_bind_i64(s, 2, n);
    int rc = stmt_step(s, err);
    if (rc < 0)
        return -1;
    ASSERT(rc == 1);
    *first = stmt_i64(s, 0) - n;
    /* The row is only written once the statement ran to its end. */
    return stmt_step(s, err) < 0 ? -1 : 0;
}

struct take {
    enum md_seq seq;
    int64_t n, first;
};

static int take_job(struct db *db, void *arg, struct err *err)
{
    struct take *t = arg;
    return md_ids_take_tx(db, t->seq, t->n, &t->first, err);
}

int md_ids_take(struct md_ids *ids, const struct ctx *ctx, enum md_seq seq, int64_t n, int64_t *first, struct err *err)
{
    ASSERT(seq < MD_SEQ_COUNT && n > 0);
    LOCK_GUARD(&ids->lock);
    if (ids->end[seq] - ids->next[seq] < n) {
        struct take t = {.seq = seq, .n = n > BLOCK ? n : BLOCK};
        if (db_writer_run(ids->writer, ctx, take_job, &t, err) < 0)
            return -1;
        ids->next[seq] = t.first;
        ids->end[seq] = t.first + t.n;
    }
    *first = ids->next[seq];
    ids->next[seq] += n;
    return 0;
}
