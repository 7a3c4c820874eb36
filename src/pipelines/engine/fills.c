/* fills.c - of the steps that want one set-up, one fills it and the others wait.
 *
 * Who fills is kept in memory, under the engine's lock; a process that starts finds it again in the directories being filled
 * (sweep.c). It is said by the attempt's name and not by an instance, for runs come and go in memory: the attempt loses it when
 * its state says that it cannot be filling any more, and whoever waits looks at the holder's row now and then, so that one that
 * is gone with its run, or whose run was given up, holds nobody up.
 *
 * Waiting has an end where it would be longer than what it saves: after several have failed, when it takes very long, when the
 * one that fills does not come to it (attempt.c), and for steps of a run that is being ended. Then each installs for itself, and
 * the first that is complete is kept. */
#include <stdlib.h>

#include "pipelines/engine/live.h"

#define CHECK_EVERY (2 * NS_PER_S)   /* whether the holder's row says that it still does */
#define WAIT_MAX    (600 * NS_PER_S) /* since it began */
#define FAILED_MAX  3                /* one after the other; from then on all at once */

struct fill {
    char *run_id, *task_id; /* the attempt that fills; run_id NULL: nobody does */
    int attempt;
    int64_t since_ns, checked_ns;
    unsigned failed;
    struct strlist waiting; /* ids of runs */
};

static void free_holder(struct fill *f)
{
    free(TAKE(f->run_id));
    free(TAKE(f->task_id));
}

static void free_fill(void *p)
{
    struct fill *f = p;
    free_holder(f);
    strlist_free(&f->waiting);
    free(f);
}

void fills_init(struct engine *e) { e->fills = STRMAP_INIT(free_fill); }

static bool is_holder(const struct fill *f, const struct task_row *t)
{
    return f->run_id && str_eq(f->task_id, t->task_id) && f->attempt == t->attempt;
}

static void hold(struct fill *f, const struct task_row *t, int64_t now)
{
    f->run_id = xstrdup(t->run_id);
    f->task_id = xstrdup(t->task_id);
    f->attempt = t->attempt;
    f->since_ns = f->checked_ns = now;
}

/* Under the lock. Nobody fills it now: those who wait decide anew. */
static void let_go(struct engine *e, const char *key, struct fill *f)
{
    free_holder(f);
    f->failed++;
    for (size_t k = 0; k < f->waiting.n; k++)
        engine_notify(e, f->waiting.v[k]);
    bool wanted = f->waiting.n > 0;
    strlist_free(&f->waiting);
    if (!wanted)
        strmap_del(&e->fills, key);
}

/* Whether an attempt may be filling something, by the rows. When they cannot be read it may. */
static bool is_at_work(struct engine *e, const char *run_id, const char *task_id, int attempt)
{
    ERR(err);
    RUN(run);
    struct task_row t = {0};
    struct db *db = db_reader_get(e->cfg.store->readers, &err);
    if (!db)
        return true;
    bool works = run_get(db, run_id, &run, &err) == 0 && !run_state_final(run.state) &&
                 task_get(db, run_id, task_id, &t, &err) == 0 && t.attempt == attempt &&
                 (t.state == TASK_STARTING || t.state == TASK_RUNNING);
    task_row_clear(&t);
    db_reader_put(e->cfg.store->readers, db);
    return works || (err.code && err.code != ERR_NOT_FOUND);
}

/* Asks the rows, when that was not done lately. */
static void check_holder(struct engine *e, const char *key, int64_t now)
{
    AUTOFREE char *run_id = NULL, *task_id = NULL;
    int attempt = 0;
    {
        LOCK_GUARD(&e->lock);
        struct fill *f = strmap_get(&e->fills, key);
        if (!f || !f->run_id || now < f->checked_ns + CHECK_EVERY)
            return;
        f->checked_ns = now;
        run_id = xstrdup(f->run_id);
        task_id = xstrdup(f->task_id);
        attempt = f->attempt;
    }
    if (is_at_work(e, run_id, task_id, attempt))
        return;
    LOCK_GUARD(&e->lock);
    struct fill *f = strmap_get(&e->fills, key);
    if (f && is_holder(f, &(struct task_row){.task_id = task_id, .attempt = attempt}))
        let_go(e, key, f);
}

/* Under the lock. Whether to wait for another attempt; notes that the run does. */
static bool must_wait(struct inst *i, struct fill *f, int64_t now)
{
    const struct live *l = i->live;
    if (!f || !f->run_id || is_holder(f, &i->row) || now >= f->since_ns + WAIT_MAX || l->cancelling || l->expired)
        return false;
    if (!strlist_has(&f->waiting, l->run.run_id))
        strlist_add(&f->waiting, l->run.run_id);
    live_wake_at(i->live, f->checked_ns + CHECK_EVERY);
    return true;
}

bool fills_is_held(struct inst *i)
{
    struct engine *e = i->live->e;
    int64_t now = engine_now(e);
    check_holder(e, i->waits_for, now);
    LOCK_GUARD(&e->lock);
    return must_wait(i, strmap_get(&e->fills, i->waits_for), now);
}

bool fills_take(struct inst *i, const char *key)
{
    struct engine *e = i->live->e;
    int64_t now = engine_now(e);
    free(TAKE(i->waits_for));
    check_holder(e, key, now);
    LOCK_GUARD(&e->lock);
    struct fill *f = strmap_get(&e->fills, key);
    if (must_wait(i, f, now)) {
        i->waits_for = xstrdup(key);
        return false;
    }
    if (!f) {
        f = xcalloc(1, sizeof *f);
        strmap_put(&e->fills, key, f);
    }
    bool mine = is_holder(f, &i->row);
    if (!f->run_id && f->failed < FAILED_MAX) {
        hold(f, &i->row, now);
        mine = true;
    }
    if (mine && !i->fills)
        i->fills = xstrdup(key);
    return true;
}

void fills_leave(struct inst *i)
{
    struct engine *e = i->live->e;
    free(TAKE(i->waits_for));
    if (!i->fills)
        return;
    AUTOFREE char *key = TAKE(i->fills);
    LOCK_GUARD(&e->lock);
    struct fill *f = strmap_get(&e->fills, key);
    if (f && is_holder(f, &i->row))
        let_go(e, key, f);
}

void fills_done(struct engine *e, const char *key)
{
    LOCK_GUARD(&e->lock);
    struct fill *f = strmap_get(&e->fills, key);
    if (f && !f->run_id)
        strmap_del(&e->fills, key);
}

void fills_restore(struct engine *e, const char *key, const struct task_row *t)
{
    LOCK_GUARD(&e->lock);
    if (strmap_get(&e->fills, key))
        return;
    struct fill *f = xcalloc(1, sizeof *f);
    hold(f, t, engine_now(e));
    strmap_put(&e->fills, key, f);
}
