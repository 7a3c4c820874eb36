/* schedule.c - see schedule.h. */
#include "pipelines/schedule/schedule.h"

#include <pthread.h>
#include <stdlib.h>

#define LOG_ROOM "schedule"
#include "base/fault.h"
#include "base/log.h"
#include "base/thread.h"
#include "kube/controller.h"
#include "pipelines/ir/ir.h"
#include "pipelines/store/catalog.h"
#include "pipelines/store/recurring.h"

enum { STARTS_MAX = 50 /* in one turn: others want their turn, too */, RPC_INVALID_ARGUMENT = 3 };
/* The wall clock may jump: nobody sleeps longer than this without looking at it. */
#define SLEEP_MAX (30 * NS_PER_S)
#define TRY_AGAIN (30 * NS_PER_S) /* when the slot that is due cannot be run */

struct schedule {
    struct schedule_config cfg;
    char *time_zone;
    struct controller_run *controller;
    pthread_mutex_t lock;
    struct strmap blocking; /* by run id: the recurring run that waits for it. Guarded by lock */
};

/* ---- waiting for runs to end ------------------------------------------------------------------------------------------ */

static void run_changed(void *self, const char *run_id)
{
    struct schedule *s = self;
    LOCK_GUARD(&s->lock);
    const char *id = strmap_get(&s->blocking, run_id);
    if (id)
        workqueue_add(controller_queue(s->controller), id);
}

static int wait_for(struct schedule *s, struct db *db, const char *id, struct err *err)
{
    static const char SQL[] = "SELECT run_id FROM runs WHERE recurring_run_id = ?1 AND recurring_run_id <> ''"
                              " AND state NOT IN (3, 4, 5, 7)";
    STMT(q, db, SQL, err);
    if (!q)
        return -1;
    stmt_bind_text(q, 1, id);
    int rc;
    LOCK_GUARD(&s->lock);
    while ((rc = stmt_step(q, err)) == 1)
        strmap_put(&s->blocking, stmt_text(q, 0), xstrdup(id));
    return rc;
}

static void wait_no_more(struct schedule *s, const char *id)
{
    STRLIST(runs);
    LOCK_GUARD(&s->lock);
    for (struct strmap_entry *e = strmap_first(&s->blocking); e; e = strmap_next(e)) {
        if (str_eq(e->value, id))
            strlist_add(&runs, e->key);
    }
    for (size_t i = 0; i < runs.n; i++)
        strmap_del(&s->blocking, runs.v[i]);
}

/* ---- one slot --------------------------------------------------------------------------------------------------------- */

/* What a run of now is made from. */
struct what {
    char *spec_hash, *version_id, *pipeline_name;
};
static void what_clear(struct what *w)
{
    free(w->spec_hash);
    free(w->version_id);
    free(w->pipeline_name);
}

static struct ir_pipeline *load_ir(struct db *db, const char *hash, struct err *err)
{
    AUTOFREE char *spec = NULL;
    AUTOFREE char *platform = NULL;
    if (spec_get(db, hash, &spec, &platform, err) < 0)
        return NULL;
    JSON_REF(s) = json_parse_str(spec, err);
    JSON_REF(p) = s && platform ? json_parse_str(platform, err) : NULL;
    return s && (p || !platform) ? ir_from_json(json_root(s), p ? json_root(p) : NULL, err) : NULL;
}

/* An open reference takes the version that is latest now; its parameters are checked again, for it may ask for others. */
static int find_what(struct db *db, const struct recurring *r, struct what *w, struct err *err)
{
    PIPELINE_VERSION(v);
    bool open = str_empty(r->spec_hash);
    if (open && version_latest(db, r->pipeline_id, &v, err) < 0)
        return -1;
    w->spec_hash = xstrdup(open ? v.spec_hash : r->spec_hash);
    w->version_id = xstrdup(open ? v.version_id : r->pipeline_version_id);
    IR_REF(ir) = load_ir(db, w->spec_hash, err);
    JSON_REF(given) = ir && r->parameters ? json_parse_str(r->parameters, err) : NULL;
    if (!ir || (r->parameters && !given) || ir_check_parameters(ir, given ? json_root(given) : NULL, err) < 0)
        return -1;
    w->pipeline_name = xstrdup(ir->name);
    return 0;
}

struct start {
    const struct recurring *r;
    const struct what *what;
    int64_t slot;
    const char *account;
    const struct clock *clock;
    char *run_id;
};

static int start_job(struct db *db, void *arg, struct err *err)
{
    struct start *st = arg;
    return recurring_start(db, st->r, st->slot, st->what->spec_hash, st->what->version_id, st->what->pipeline_name, st->account,
                           st->clock, &st->run_id, err);
}

struct error_job {
    const char *id, *message;
};

static int error_job(struct db *db, void *arg, struct err *err)
{
    const struct error_job *j = arg;
    return recurring_set_error(db, j->id, RPC_INVALID_ARGUMENT, j->message, err);
}

/* The slot stays due: a new version, or an edit, may put it right. */
static int cannot_run(struct schedule *s, const struct ctx *ctx, const struct recurring *r, const struct err *why, int64_t *again,
                      struct err *err)
{
    *again = TRY_AGAIN;
    if (str_eq(r->error_message, err_text(why)))
        return 0;
    log_warn("recurring run %s (%s) cannot start: %s", r->id, r->display_name, err_text(why));
    struct error_job j = {r->id, err_text(why)};
    return db_writer_run(s->cfg.store->writer, ctx, error_job, &j, err);
}

/* 1: a run was started; 0: not, the row has to be looked at again. */
static int start_slot(struct schedule *s, const struct ctx *ctx, const struct recurring *r, const struct what *w, int64_t slot,
                      struct err *err)
{
    const char *account = s->cfg.default_service_account ? s->cfg.default_service_account : "pipeline-runner";
    struct start st = {.r = r, .what = w, .slot = slot, .account = account, .clock = s->cfg.store->clock};
    FAULT("schedule.slot.before");
    if (db_writer_run(s->cfg.store->writer, ctx, start_job, &st, err) < 0)
        return -1;
    FAULT("schedule.slot.after");
    if (!st.run_id)
        return 0;
    log_info("recurring run %s (%s) starts run %s", r->id, r->display_name, st.run_id);
    s->cfg.started(s->cfg.self, st.run_id);
    if (s->cfg.moved)
        s->cfg.moved(s->cfg.self, r->id);
    free(st.run_id);
    return 1;
}

/* ---- the turn ----------------------------------------------------------------------------------------------------------- */

static bool hopeless(enum err_code c) { return c == ERR_INVALID || c == ERR_BAD_REQUEST || c == ERR_NOT_FOUND; }

enum step { STEP_DONE, STEP_MORE };

static int one_step(struct schedule *s, const struct ctx *ctx, struct db *db, const char *id, int64_t *again, struct err *err)
{
    RECURRING(r);
    CLEANUP(what_clear) struct what w = {0};
    ERR(e);
    int64_t now = s->cfg.store->clock->wall_ns(s->cfg.store->clock), slot, active;
    if (recurring_get(db, id, &r, &e) < 0)
        return e.code == ERR_NOT_FOUND ? STEP_DONE : err_move(err, &e);
    if (!r.enabled)
        return STEP_DONE;
    if (recurring_next(&r, s->time_zone, now / NS_PER_S, &slot, &e) < 0)
        return hopeless(e.code) ? cannot_run(s, ctx, &r, &e, again, err) : err_move(err, &e);
    if (slot == INT64_MAX)
        return STEP_DONE;
    if (slot * NS_PER_S > now) {
        *again = slot * NS_PER_S - now < SLEEP_MAX ? slot * NS_PER_S - now : SLEEP_MAX;
        return STEP_DONE;
    }
    if (recurring_active(db, id, &active, err) < 0)
        return -1;
    if (active >= r.max_concurrency) {
        /* A run that ended before it was waited for tells nobody any more: so they are counted once more. */
        if (wait_for(s, db, id, err) < 0 || recurring_active(db, id, &active, err) < 0)
            return -1;
        *again = active >= r.max_concurrency ? TRY_AGAIN : NS_PER_MS;
        return STEP_DONE;
    }
    if (find_what(db, &r, &w, &e) < 0)
        return hopeless(e.code) ? cannot_run(s, ctx, &r, &e, again, err) : err_move(err, &e);
    return start_slot(s, ctx, &r, &w, slot, err) < 0 ? -1 : STEP_MORE;
}

static int reconcile(void *self, const struct ctx *ctx, const char *id, struct reconcile_result *res, struct err *err)
{
    struct schedule *s = self;
    struct db *db = db_reader_get(s->cfg.store->readers, err);
    if (!db)
        return -1;
    wait_no_more(s, id);
    int rc = STEP_MORE;
    for (int i = 0; rc == STEP_MORE && i < STARTS_MAX; i++)
        rc = one_step(s, ctx, db, id, &res->again_after_ns, err);
    db_reader_put(s->cfg.store->readers, db);
    if (rc == STEP_MORE)
        res->again_after_ns = NS_PER_MS;
    return rc < 0 ? -1 : 0;
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */

static int queue_enabled(struct schedule *s, struct err *err)
{
    STRLIST(ids);
    struct db *db = db_reader_get(s->cfg.store->readers, err);
    if (!db)
        return -1;
    int rc = recurring_enabled_ids(db, &ids, err);
    db_reader_put(s->cfg.store->readers, db);
    for (size_t i = 0; i < ids.n; i++)
        schedule_notify(s, ids.v[i]);
    return rc;
}

struct schedule *schedule_start(const struct schedule_config *cfg, struct err *err)
{
    ASSERT(cfg->store && cfg->store->changes && cfg->started);
    struct schedule *s = xcalloc(1, sizeof *s);
    s->cfg = *cfg;
    s->time_zone = xstrdup(cfg->time_zone ? cfg->time_zone : "UTC");
    ASSERT(pthread_mutex_init(&s->lock, NULL) == 0);
    s->blocking = STRMAP_INIT(free);
    const struct controller c = {.name = "recurring-runs", .workers = 2, .reconcile = reconcile};
    s->controller = controller_start(&c, s, cfg->store->clock, cfg->base_delay_ns > 0 ? cfg->base_delay_ns : 5 * NS_PER_MS);
    changes_listen(cfg->store->changes, run_changed, s);
    if (queue_enabled(s, err) == 0)
        return s;
    schedule_stop(s);
    return NULL;
}

void schedule_halt(struct schedule *s)
{
    if (s)
        controller_halt(s->controller);
}

void schedule_stop(struct schedule *s)
{
    if (!s)
        return;
    changes_unlisten(s->cfg.store->changes, s);
    controller_stop(s->controller);
    strmap_free(&s->blocking);
    pthread_mutex_destroy(&s->lock);
    free(s->time_zone);
    free(s);
}

void schedule_notify(struct schedule *s, const char *id)
{
    if (s)
        workqueue_add(controller_queue(s->controller), id);
}
