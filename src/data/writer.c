/* writer.c - the writer's thread: jobs that wait together are committed together. */
#include <errno.h>
#include <stdlib.h>

#define LOG_ROOM "data"
#include "base/fault.h"
#include "base/log.h"
#include "base/thread.h"
#include "data/writer.h"

/* Bounds what one commit makes everybody wait for. */
enum { BATCH_MAX = 512 };

/* Lives on the stack of the thread that waits in db_writer_run. queued -> running -> done; a queued one may be withdrawn. */
struct job {
    db_job_fn *fn;
    void *arg;
    enum { JOB_QUEUED, JOB_RUNNING, JOB_DONE } state; /* under the writer's lock */
    int rc;                                           /* rc and err: the writer's until done, then the waiter's */
    struct err err;
    pthread_cond_t done;
    struct job *prev, *next;
};

struct db_writer {
    struct db *db; /* the thread's alone */
    pthread_t thread;
    pthread_mutex_t lock; /* over head, tail, stopping and the jobs' states */
    pthread_cond_t work;
    struct job *head, *tail;
    bool stopping;
};

static void unlink_job(struct db_writer *w, struct job *j)
{
    *(j->prev ? &j->prev->next : &w->head) = j->next;
    *(j->next ? &j->next->prev : &w->tail) = j->prev;
    j->prev = j->next = NULL;
}

/* ---- the thread ----------------------------------------------------------------------------------------------- */

/* Runs one job in a savepoint. False when the transaction as a whole is lost. */
static bool run_job(struct db *db, struct job *j)
{
    if (db_savepoint(db, &j->err) < 0) {
        j->rc = -1;
        return db_in_transaction(db);
    }
    j->rc = j->fn(db, j->arg, &j->err);
    if (j->rc < 0)
        ASSERT(j->err.code != ERR_OK); /* a job that fails says why */
    if (!db_in_transaction(db))
        return false;
    ERR(e);
    if (db_savepoint_end(db, j->rc >= 0, &e) < 0) {
        j->rc = -1;
        err_move(&j->err, &e);
        return false;
    }
    return true;
}

static void fail_rest(struct job **batch, size_t n, const struct err *why)
{
    for (size_t i = 0; i < n; i++) {
        if (batch[i]->rc < 0)
            continue; /* has an error of its own */
        batch[i]->rc = -1;
        err_copy(&batch[i]->err, why);
    }
}

/* One transaction. Afterwards each job has its result. */
static void run_batch(struct db *db, struct job **batch, size_t n)
{
    ERR(e);
    if (db_begin(db, &e) < 0) {
        fail_rest(batch, n, &e);
        return;
    }
    size_t good = 0;
    for (size_t i = 0; i < n; i++) {
        if (!run_job(db, batch[i])) {
            /* The database gave the transaction up (a full disk does that): nothing of this batch is there. */
            err_copy(&e, &batch[i]->err);
            if (e.code == ERR_OK)
                err_set(&e, ERR_UNAVAILABLE, "the transaction was given up by the database");
            db_rollback(db);
            fail_rest(batch, n, &e);
            return;
        }
        good += batch[i]->rc >= 0;
    }
    if (good == 0)
        db_rollback(db);
    else if (db_commit(db, &e) < 0)
        fail_rest(batch, n, &e);
}

static size_t take_batch(struct db_writer *w, struct job **batch)
{
    LOCK_GUARD(&w->lock);
    while (!w->head && !w->stopping)
        pthread_cond_wait(&w->work, &w->lock);
    size_t n = 0;
    for (; w->head && n < BATCH_MAX; n++) {
        batch[n] = w->head;
        unlink_job(w, w->head);
        batch[n]->state = JOB_RUNNING;
    }
    return n;
}

static void *writer_main(void *arg)
{
    struct db_writer *w = arg;
    struct job *batch[BATCH_MAX];
    for (size_t n; (n = take_batch(w, batch)) > 0;) {
        run_batch(w->db, batch, n);
        FAULT("writer.committed");
        LOCK_GUARD(&w->lock);
        for (size_t i = 0; i < n; i++) {
            batch[i]->state = JOB_DONE;
            pthread_cond_signal(&batch[i]->done); /* under the lock: the waiter's stack may go right after it */
        }
    }
    return NULL;
}

/* ---- the callers ---------------------------------------------------------------------------------------------- */

struct db_writer *db_writer_new(struct db *db, const char *name)
{
    struct db_writer *w = xcalloc(1, sizeof *w);
    w->db = db;
    ASSERT(pthread_mutex_init(&w->lock, NULL) == 0);
    thread_cond_init(&w->work);
    w->thread = thread_start(name, writer_main, w);
    return w;
}

void db_writer_stop(struct db_writer *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    db_close(w->db);
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* Waits until the job is done; withdraws it when the context ends before it was started. Called with the lock held. */
static int await(struct db_writer *w, const struct ctx *ctx, struct job *j, struct err *err)
{
    while (j->state != JOB_DONE) {
        if (j->state == JOB_RUNNING || (!ctx->cancel && ctx_left_ns(ctx) == INT64_MAX)) {
            pthread_cond_wait(&j->done, &w->lock);
            continue;
        }
        if (ctx_check(ctx, err) < 0) {
            unlink_job(w, j);
            return err_wrap(err, "waiting for the database");
        }
        /* The context may follow a clock that a test turns, or be cancelled from outside: look again soon. */
        int64_t left = ctx_left_ns(ctx), look = 50 * NS_PER_MS;
        thread_cond_wait_until(&j->done, &w->lock, clock_system.mono_ns(&clock_system) + (left < look ? left : look));
    }
    return 0;
}

int db_writer_run(struct db_writer *w, const struct ctx *ctx, db_job_fn *fn, void *arg, struct err *err)
{
    ASSERT(!pthread_equal(pthread_self(), w->thread));
    if (ctx_check(ctx, err) < 0)
        return -1;
    struct job j = {.fn = fn, .arg = arg, .state = JOB_QUEUED};
    thread_cond_init(&j.done);
    int rc = 0;
    {
        LOCK_GUARD(&w->lock);
        if (w->stopping) {
            rc = err_set(err, ERR_UNAVAILABLE, "the database is being closed");
        } else {
            j.prev = w->tail;
            *(w->tail ? &w->tail->next : &w->head) = &j;
            w->tail = &j;
            pthread_cond_signal(&w->work);
            rc = await(w, ctx, &j, err);
        }
    }
    pthread_cond_destroy(&j.done);
    if (rc < 0)
        return -1;
    if (j.rc < 0)
        return err_move(err, &j.err);
    err_clear(&j.err);
    return j.rc;
}
