#include "pipelines/engine/engine.h"

#include <dirent.h>
#include <stdlib.h>

#define LOG_ROOM "engine"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "kube/controller.h"
#include "kube/object.h"
#include "pipelines/engine/live.h"
#include "pipelines/engine/pods.h"
#include "pipelines/engine/podspec.h"

#define IRS_MAX    64              /* compiled pipelines kept for runs to come */
#define ROUNDS_MAX 64              /* of deciding and acting in one turn */
#define RETIRE_KEY "finished-pods" /* beside ids of runs */

int64_t engine_now(const struct engine *e) { return e->cfg.clock->wall_ns(e->cfg.clock); }

/* ---- leftovers ------------------------------------------------------------------------------------------------ */

static void remove_tree(void *path)
{
    ERR(e);
    if (fs_rm_rf(path, &e) < 0)
        log_warn("removing %s: %s", (char *)path, err_text(&e));
    free(path);
}

void engine_remove_later(struct engine *e, char *path)
{
    if (!pool_submit(e->cleaner, remove_tree, path))
        remove_tree(path);
}

/* ---- compiled pipelines --------------------------------------------------------------------------------------- */

static void free_ir(void *p) { ir_unref(p); }

struct ir_pipeline *engine_known_ir(struct engine *e, const char *hash)
{
    LOCK_GUARD(&e->lock);
    struct ir_pipeline *p = strmap_get(&e->irs, hash);
    return p ? ir_ref(p) : NULL;
}

void engine_keep_ir(struct engine *e, const char *hash, struct ir_pipeline *p)
{
    LOCK_GUARD(&e->lock);
    if (strmap_count(&e->irs) >= IRS_MAX) {
        AUTOFREE char *oldest = xstrdup(strmap_first(&e->irs)->key);
        strmap_del(&e->irs, oldest);
    }
    strmap_put(&e->irs, hash, ir_ref(p));
}

/* ---- runs between turns --------------------------------------------------------------------------------------- */

static struct live *take_live(struct engine *e, const char *run_id)
{
    LOCK_GUARD(&e->lock);
    return strmap_take(&e->runs, run_id);
}

static void keep_live(struct engine *e, struct live *l)
{
    LOCK_GUARD(&e->lock);
    strmap_put(&e->runs, l->run.run_id, l);
}

/* ---- the turn ------------------------------------------------------------------------------------------------- */

static void touch_all(struct inst *i)
{
    i->touched = true;
    for (int k = 0; k < i->n_kids; k++)
        if (i->kids[k])
            touch_all(i->kids[k]);
}

/* The pipeline root, the object stores and the account are fixed when the run starts. */
static int fix_places(struct live *l, const struct ctx *ctx, struct err *err)
{
    struct run *r = &l->run;
    if (live_fix_stores(l, ctx, err) < 0)
        return -1;
    if (str_empty(r->service_account)) {
        free(r->service_account);
        r->service_account = xstrdup(l->e->cfg.default_service_account ? l->e->cfg.default_service_account : "pipeline-runner");
    }
    return 0;
}

static int begin_run(struct live *l, const struct ctx *ctx, struct db *db, struct err *err)
{
    ERR(e);
    int64_t now = engine_now(l->e);
    l->run.started_ns = now;
    if (fix_places(l, ctx, &e) < 0) {
        if (e.code != ERR_INVALID && e.code != ERR_FORBIDDEN)
            return err_move(err, &e);
        l->run.finished_ns = now;
        live_want(l, RUN_FAILED, RPC_INVALID_ARGUMENT, err_text(&e));
        return 0;
    }
    if (!l->root && live_begin(l, ctx, db, err) < 0)
        return -1;
    live_want(l, RUN_RUNNING, 0, NULL);
    return 0;
}

/* What came from outside since the last turn: the user's wish to end it, the run's own deadline. */
static void notice(struct live *l, const struct run *row)
{
    int64_t now = engine_now(l->e);
    if (row->state == RUN_CANCELING && !l->cancelling) {
        l->cancelling = true;
        l->cancel_ns = now;
        free(l->run.terminated_by);
        l->run.terminated_by = xstrdup(row->terminated_by);
        free(l->run.state_history);
        l->run.state_history = xstrdup(row->state_history);
        l->run.state = RUN_CANCELING;
        if (l->root)
            touch_all(l->root);
    }
    if (l->cancelling && l->root) {
        int64_t end = l->cancel_ns + l->e->cfg.exit_grace_s * NS_PER_S;
        if (now < end)
            live_wake_at(l, end);
        else if (!l->grace_over)
            touch_all(l->root);
        l->grace_over = now >= end;
    }
    if (l->ir->deadline_s > 0 && l->run.started_ns > 0 && !l->expired) {
        int64_t end = l->run.started_ns + l->ir->deadline_s * NS_PER_S;
        if (now < end) {
            live_wake_at(l, end);
        } else {
            l->expired = true;
            if (l->root)
                touch_all(l->root);
        }
    }
}

static void finish_run(struct live *l)
{
    const struct inst *root = l->root;
    l->run.finished_ns = engine_now(l->e);
    if (l->cancelling) {
        AUTOFREE char *message =
            xasprintf("Run was terminated by %s", str_empty(l->run.terminated_by) ? "the user" : l->run.terminated_by);
        live_want(l, l->e->cfg.terminated_canceled ? RUN_CANCELED : RUN_FAILED, RPC_CANCELLED, message);
    } else if (l->expired) {
        AUTOFREE char *message =
            xasprintf("DeadlineExceeded: the run did not end within %lld s (pipelineConfig.activeDeadlineSeconds)",
                      (long long)l->ir->deadline_s);
        live_want(l, RUN_FAILED, RPC_DEADLINE_EXCEEDED, message);
    } else if (root->row.state == TASK_SUCCEEDED) {
        live_want(l, RUN_SUCCEEDED, 0, NULL);
    } else {
        live_want(l, RUN_FAILED, root->row.error_code ? root->row.error_code : RPC_UNKNOWN, root->row.error_message);
    }
}

/* Decides and acts until nothing more follows from what is known. 1: the run is over. */
static int rounds(struct live *l, const struct ctx *ctx, struct db *db, struct err *err)
{
    bool again = true;
    for (int n = 0; again && n < ROUNDS_MAX; n++) {
        again = false;
        live_open_round(l);
        if (l->root && live_observe(l, ctx, err) < 0)
            return -1;
        bool unseen = l->cut; /* attempts whose pods may be there: they are not started before that is known */
        if (l->root && live_advance(l, ctx, db, err) < 0)
            return -1;
        bool over = run_state_final(l->want) || !l->root || task_settled(l->root->row.state);
        if (over && !run_state_final(l->want))
            finish_run(l);
        if (live_commit(l, ctx, err) < 0)
            return -1;
        if (over)
            return 1;
        if (!unseen && live_act(l, ctx, &again, err) < 0)
            return -1;
        again = again || l->cut;
    }
    if (again)
        live_wake_at(l, engine_now(l->e));
    return 0;
}

static int turn(struct engine *e, const struct ctx *ctx, struct db *db, const char *run_id, struct live **lp, struct run *row,
                struct err *err)
{
    if (*lp && (*lp)->run.generation != row->generation) {
        live_free(*lp);
        *lp = NULL;
    }
    if (!*lp) {
        struct run copy = {0};
        if (run_get(db, run_id, &copy, err) < 0)
            return -1;
        *lp = live_load(e, ctx, db, &copy, err);
        run_clear(&copy);
        if (!*lp)
            return -1;
    }
    struct live *l = *lp;
    l->wake_ns = 0;
    notice(l, row);
    if (row->state == RUN_PENDING && begin_run(l, ctx, db, err) < 0)
        return -1;
    return rounds(l, ctx, db, err);
}

/* A pipeline that cannot be compiled any more, or rows that make no sense, end the run rather than being tried for ever. */
static bool is_hopeless(enum err_code c) { return c == ERR_BAD_REQUEST || c == ERR_INVALID || c == ERR_NOT_FOUND; }

struct give_up {
    struct run *run;
    const char *message;
    int64_t now;
};

static int give_up_job(struct db *db, void *arg, struct err *err)
{
    struct give_up *g = arg;
    g->run->error_code = RPC_INTERNAL;
    free(g->run->error_message);
    g->run->error_message = xstrdup(g->message);
    g->run->finished_ns = g->now;
    return run_update(db, g->run, RUN_FAILED, g->now, err);
}

/* The directories of all generations of a run, and its workspace. */
static void remove_scratch(struct engine *e, const char *run_id)
{
    engine_remove_later(e, xasprintf("%s/workspaces/%s", e->cfg.data_dir, run_id));
    AUTOFREE char *top = fs_join(e->cfg.data_dir, "engine");
    DIR *d = opendir(top);
    const struct dirent *entry;
    size_t n = strlen(run_id);
    while (d && (entry = readdir(d)))
        if (strncmp(entry->d_name, run_id, n) == 0 && entry->d_name[n] == '.')
            engine_remove_later(e, fs_join(top, entry->d_name));
    if (d)
        closedir(d);
}

/* The run is not there: nothing of it may stay. */
static int forget_run(struct engine *e, const struct ctx *ctx, const char *run_id, int64_t *again, struct err *err)
{
    int rc = e->rt.forget(e->rt.self, ctx, run_id, err);
    if (rc < 0)
        return -1;
    if (rc > 0)
        *again = 200 * NS_PER_MS;
    remove_scratch(e, run_id);
    return rc > 0 ? 0 : engine_empty_trash(e, ctx, run_id, err);
}

static int run_turn(struct engine *e, const struct ctx *ctx, struct db *db, const char *run_id, int64_t *again, struct err *err)
{
    RUN(row);
    CLEANUP(strlist_free) struct strlist pods = touched_take(e, run_id);
    struct live *l = take_live(e, run_id);
    ERR(re);
    if (run_get(db, run_id, &row, &re) < 0) {
        live_free(l);
        if (re.code == ERR_NOT_FOUND && e->cfg.paused)
            return 0; /* pods of runs that we do not know may be those of an engine that is not paused */
        return re.code == ERR_NOT_FOUND ? forget_run(e, ctx, run_id, again, err) : err_move(err, &re);
    }
    if (run_state_final(row.state) || e->cfg.paused) {
        live_free(l);
        return 0;
    }
    bool known = l != NULL;
    if (known)
        live_touch(l, &pods);
    ERR(te);
    int rc = turn(e, ctx, db, run_id, &l, &row, &te);
    if (rc < 0) {
        live_free(l);
        if (!known && is_hopeless(te.code)) {
            log_error("run=%s cannot go on: %s", run_id, err_text(&te));
            struct give_up g = {&row, err_text(&te), engine_now(e)};
            return db_writer_run(e->cfg.store->writer, ctx, give_up_job, &g, err);
        }
        return err_move(err, &te);
    }
    if (rc > 0) {
        engine_remove_later(e, run_dir(l));
        log_info("run=%s name=%s state=%s", run_id, l->run.name, run_state_name(l->run.state));
        live_free(l);
        return 0;
    }
    if (l->wake_ns) {
        int64_t left = l->wake_ns - engine_now(e);
        *again = left > NS_PER_MS ? left : NS_PER_MS;
    }
    keep_live(e, l);
    return 0;
}

int engine_turn(struct engine *e, const struct ctx *ctx, const char *run_id, int64_t *again_after_ns, struct err *err)
{
    *again_after_ns = 0;
    struct db *db = db_reader_get(e->cfg.store->readers, err);
    if (!db)
        return -1;
    int rc = run_turn(e, ctx, db, run_id, again_after_ns, err);
    db_reader_put(e->cfg.store->readers, db);
    return rc;
}

/* ---- wiring --------------------------------------------------------------------------------------------------- */

static const char *own(struct engine *e, int *n, const char *s)
{
    if (!s)
        return NULL;
    ASSERT(*n < (int)ARRAY_LEN(e->own_strings));
    return e->own_strings[(*n)++] = xstrdup(s);
}

static void free_live(void *p) { live_free(p); }

struct engine *engine_new(const struct engine_config *cfg, struct err *err)
{
    ASSERT(cfg->store && cfg->clock && cfg->data_dir);
    struct engine *e = xcalloc(1, sizeof *e);
    int n = 0;
    e->cfg = *cfg;
    e->cfg.data_dir = own(e, &n, cfg->data_dir);
    e->cfg.agent_path = own(e, &n, cfg->agent_path);
    e->cfg.agent_image = own(e, &n, cfg->agent_image);
    e->cfg.claim = own(e, &n, cfg->claim);
    e->cfg.default_root = own(e, &n, cfg->default_root);
    e->cfg.default_service_account = own(e, &n, cfg->default_service_account);
    e->cfg.final_status = own(e, &n, cfg->final_status);
    if (e->cfg.exit_grace_s <= 0)
        e->cfg.exit_grace_s = 60;
    if (e->cfg.max_iterations <= 0)
        e->cfg.max_iterations = 256;
    if (e->cfg.finished_pods == 0)
        e->cfg.finished_pods = 200;
    if (e->cfg.finished_pods_s == 0)
        e->cfg.finished_pods_s = 3600;
    if (e->cfg.image_patience_s <= 0)
        e->cfg.image_patience_s = 300;
    if (e->cfg.workers == 0)
        e->cfg.workers = 4;
    if (e->cfg.base_delay_ns <= 0)
        e->cfg.base_delay_ns = 5 * NS_PER_MS;
    ASSERT(pthread_mutex_init(&e->lock, NULL) == 0);
    e->cleaner = pool_new("engine-clean", 1, 4096);
    e->runs = STRMAP_INIT(free_live);
    e->irs = STRMAP_INIT(free_ir);
    touched_init(e);
    fills_init(e);
    e->stays = STRMAP_INIT(free);
    if (cfg->runtime) {
        e->rt = *cfg->runtime;
    } else {
        const struct pod_place place = {.agent_path = e->cfg.agent_path,
                                        .agent_image = e->cfg.agent_image,
                                        .claim = e->cfg.claim,
                                        .root = e->cfg.data_dir,
                                        .artifacts = cfg->blobs ? blob_root(cfg->blobs) : NULL,
                                        .image_patience_ns = e->cfg.image_patience_s * NS_PER_S};
        e->pods = pods_new(cfg->kube, cfg->clock, &place);
        e->rt = pods_runtime(e->pods);
    }
    AUTOFREE char *dir = fs_join(e->cfg.data_dir, "engine");
    if (fs_mkdir_p(dir, 0700, err) == 0)
        return e;
    engine_free(e);
    return NULL;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    strmap_free(&e->runs);
    strmap_free(&e->irs);
    pods_free(e->pods);
    strmap_free(&e->touched);
    strmap_free(&e->fills);
    strmap_free(&e->stays);
    pool_stop(e->cleaner);
    pthread_mutex_destroy(&e->lock);
    for (size_t k = 0; k < ARRAY_LEN(e->own_strings); k++)
        free(e->own_strings[k]);
    free(e);
}

/* ---- the controller ------------------------------------------------------------------------------------------- */

static int reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    if (str_eq(key, RETIRE_KEY))
        return engine_retire(self, ctx, &res->again_after_ns, err);
    return engine_turn(self, ctx, key, &res->again_after_ns, err);
}

static void pod_changed(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    jval *pod = json_root(now ? now : old);
    const char *run = obj_label(pod, RUN_LABEL);
    if (str_empty(run))
        return;
    engine_pod_changed(self, run, obj_name(pod));
    workqueue_add(q, run);
}

static int queue_live_runs(struct engine *e, struct err *err)
{
    STRLIST(ids);
    struct db *db = db_reader_get(e->cfg.store->readers, err);
    if (!db)
        return -1;
    int rc = runs_live(db, &ids, err);
    if (rc == 0)
        rc = trash_runs(db, &ids, err);
    db_reader_put(e->cfg.store->readers, db);
    for (size_t k = 0; k < ids.n; k++)
        engine_notify(e, ids.v[k]);
    return rc;
}

struct engine *engine_start(const struct engine_config *cfg, struct err *err)
{
    struct engine *e = engine_new(cfg, err);
    if (!e)
        return NULL;
    if (!e->cfg.paused)
        engine_sweep(e);
    struct controller_source source = {0};
    struct controller c = {.name = "pipelines", .workers = e->cfg.workers, .reconcile = reconcile};
    if (e->pods) {
        source = (struct controller_source){.informer = pods_informer(e->pods), .map = pod_changed};
        c.sources = &source;
        c.n_sources = 1;
    }
    e->controller = controller_start(&c, e, e->cfg.clock, e->cfg.base_delay_ns);
    /* Until the pods are known, a pod that is not there cannot be told from one not heard of: runs are taken up after the first
     * list. */
    struct ctx ctx = ctx_background();
    if ((e->pods && pods_start(e->pods, &ctx, err) < 0) || queue_live_runs(e, err) < 0) {
        engine_stop(e);
        return NULL;
    }
    if (e->pods && !e->cfg.paused)
        workqueue_add(controller_queue(e->controller), RETIRE_KEY);
    return e;
}

void engine_stop(struct engine *e)
{
    if (!e)
        return;
    if (e->controller)
        controller_stop(e->controller);
    engine_free(e);
}

void engine_notify(struct engine *e, const char *run_id)
{
    if (e && e->controller)
        workqueue_add(controller_queue(e->controller), run_id);
}

/* ---- what the API asks ---------------------------------------------------------------------------------------- */

struct change {
    const char *run_id, *user;
    int64_t now;
    bool artifacts, changed;
};

static int terminate_job(struct db *db, void *arg, struct err *err)
{
    struct change *c = arg;
    return run_terminate(db, c->run_id, c->user, c->now, &c->changed, err);
}

static int retry_job(struct db *db, void *arg, struct err *err)
{
    struct change *c = arg;
    return run_retry(db, c->run_id, c->now, err);
}

static int delete_job(struct db *db, void *arg, struct err *err)
{
    struct change *c = arg;
    if (c->artifacts && run_trash(db, c->run_id, err) < 0)
        return -1;
    return run_delete(db, c->run_id, err);
}

static int change(struct engine *e, const struct ctx *ctx, struct change c, db_job_fn *job, struct err *err)
{
    c.now = engine_now(e);
    if (db_writer_run(e->cfg.store->writer, ctx, job, &c, err) < 0)
        return -1;
    changes_tell(e->cfg.store->changes, c.run_id);
    engine_notify(e, c.run_id);
    return 0;
}

int engine_terminate(struct engine *e, const struct ctx *ctx, const char *run_id, const char *user, struct err *err)
{
    return change(e, ctx, (struct change){.run_id = run_id, .user = user}, terminate_job, err);
}

int engine_retry(struct engine *e, const struct ctx *ctx, const char *run_id, struct err *err)
{
    return change(e, ctx, (struct change){.run_id = run_id}, retry_job, err);
}

int engine_delete(struct engine *e, const struct ctx *ctx, const char *run_id, bool artifacts, struct err *err)
{
    return change(e, ctx, (struct change){.run_id = run_id, .artifacts = artifacts}, delete_job, err);
}
