/* retention.c - see retention.h. */
#include "pipelines/schedule/retention.h"

#include <stdlib.h>

#define LOG_ROOM "retention"
#include "base/fault.h"
#include "base/log.h"
#include "base/timefmt.h"
#include "kube/controller.h"

enum { BATCH_DEFAULT = 100, BATCH_MAX = 1000 };
#define INTERVAL_DEFAULT (6 * 3600 * NS_PER_S)
#define PAUSE            (100 * NS_PER_MS) /* between batches */

struct retention {
    struct retention_config cfg;
    struct controller_run *controller;
};

/* ---- settings --------------------------------------------------------------------------------------------------------- */

static int env_duration(const char *name, int64_t *out, struct err *err)
{
    const char *v = getenv(name);
    if (str_empty(v))
        return 0;
    if (!duration_parse(v, out) || *out <= 0)
        return err_set(err, ERR_INVALID, "%s=%s: give a duration such as 720h", name, v);
    return 0;
}

int retention_from_env(struct retention_config *cfg, struct err *err)
{
    const char *batch = getenv("RUNS_GC_BATCH_SIZE");
    int64_t n = 0;
    if (env_duration("RUNS_RETENTION_TIME", &cfg->finished_ns, err) < 0 ||
        env_duration("ARCHIVED_RUNS_RETENTION_TIME", &cfg->archived_ns, err) < 0 ||
        env_duration("RUNS_GC_INTERVAL", &cfg->interval_ns, err) < 0)
        return -1;
    if (!str_empty(batch) && (!str_to_i64(batch, &n) || n < 1))
        return err_set(err, ERR_INVALID, "RUNS_GC_BATCH_SIZE=%s: give a number from 1 to %d", batch, BATCH_MAX);
    cfg->batch = (int)(n > BATCH_MAX ? BATCH_MAX : n);
    return 0;
}

/* ---- archiving -------------------------------------------------------------------------------------------------------- */

struct archive {
    int64_t before, now;
    int batch;
    int64_t done;
};

static int archive_job(struct db *db, void *arg, struct err *err)
{
    static const char SQL[] =
        "UPDATE runs SET storage_state = 1, archived_at = ?2 WHERE run_id IN (SELECT run_id FROM runs WHERE finished_at > 0"
        " AND finished_at < ?1 AND storage_state = 0 AND state IN (3, 4, 5, 7) ORDER BY finished_at LIMIT ?3)";
    struct archive *a = arg;
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, a->before);
    stmt_bind_i64(s, 2, a->now);
    stmt_bind_i64(s, 3, a->batch);
    FAULT("retention.archive.inside");
    if (stmt_run(s, err) < 0)
        return -1;
    a->done = db_changes(db);
    return 0;
}

/* ---- deleting --------------------------------------------------------------------------------------------------------- */

static int find_old(struct retention *r, int64_t before, struct strlist *ids, struct err *err)
{
    static const char SQL[] = "SELECT run_id FROM runs WHERE finished_at > 0 AND finished_at < ?1 AND storage_state = 1"
                              " AND archived_at < ?1 AND state IN (3, 4, 5, 7) ORDER BY finished_at LIMIT ?2";
    struct db *db = db_reader_get(r->cfg.store->readers, err);
    int rc = -1;
    if (!db)
        return -1;
    {
        STMT(s, db, SQL, err);
        if (s) {
            stmt_bind_i64(s, 1, before);
            stmt_bind_i64(s, 2, r->cfg.batch);
            rc = stmt_texts(s, ids, err);
        }
    }
    db_reader_put(r->cfg.store->readers, db);
    return rc;
}

static int delete_old(struct retention *r, const struct ctx *ctx, int64_t now, size_t *done, struct err *err)
{
    STRLIST(ids);
    if (find_old(r, now - r->cfg.archived_ns, &ids, err) < 0)
        return -1;
    for (size_t i = 0; i < ids.n; i++) {
        ERR(e);
        if (ctx_check(ctx, err) < 0)
            return -1;
        if (r->cfg.remove(r->cfg.self, ctx, ids.v[i], &e) < 0 && e.code != ERR_NOT_FOUND)
            return err_move(err, &e);
    }
    *done = ids.n;
    return 0;
}

/* ---- a pass ------------------------------------------------------------------------------------------------------------- */

static int reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct retention *r = self;
    int64_t now = r->cfg.store->clock->wall_ns(r->cfg.store->clock);
    struct archive a = {.before = now - r->cfg.finished_ns, .now = now, .batch = r->cfg.batch};
    size_t deleted = 0;
    if (r->cfg.finished_ns > 0 && db_writer_run(r->cfg.store->writer, ctx, archive_job, &a, err) < 0)
        return err_wrap(err, "archiving old runs");
    if (r->cfg.archived_ns > 0 && delete_old(r, ctx, now, &deleted, err) < 0)
        return err_wrap(err, "deleting old runs");
    if (a.done > 0 || deleted > 0)
        log_info("archived=%lld deleted=%zu runs that were old", (long long)a.done, deleted);
    bool more = a.done == r->cfg.batch || deleted == (size_t)r->cfg.batch;
    res->again_after_ns = more ? PAUSE : r->cfg.interval_ns;
    return 0;
}

struct retention *retention_start(const struct retention_config *cfg)
{
    if (cfg->finished_ns <= 0 && cfg->archived_ns <= 0)
        return NULL;
    struct retention *r = xcalloc(1, sizeof *r);
    r->cfg = *cfg;
    if (r->cfg.interval_ns <= 0)
        r->cfg.interval_ns = INTERVAL_DEFAULT;
    if (r->cfg.batch <= 0)
        r->cfg.batch = BATCH_DEFAULT;
    const struct controller c = {.name = "retention", .workers = 1, .reconcile = reconcile};
    r->controller = controller_start(&c, r, cfg->store->clock, NS_PER_S);
    workqueue_add(controller_queue(r->controller), "runs");
    return r;
}

void retention_stop(struct retention *r)
{
    if (!r)
        return;
    controller_stop(r->controller);
    free(r);
}
