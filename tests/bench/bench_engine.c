/* bench_engine.c - the engine alone: a fan-out of N tasks on a runtime that ends each step at once, every transition durable.
 *
 * A transition is one change of a task's stored state: starting, running, succeeded. Measured twice: all steps end at once, and
 * 20 at a time, as a node with a few cores would have it. Beside the numbers stands what the same database does with one
 * transaction for each single-row write, so that the ratio says what a turn's batching is worth. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "metadata/schema.h"
#include "pipelines/engine/engine.h"
#include "pipelines/ir/ir.h"

static struct strmap started; /* pod name -> task directory, "" once it was seen running */
static int at_once, left;     /* steps that may end in one turn, and in this one */

static int start(void *self, const struct ctx *ctx, const struct task_start *t, struct err *err)
{
    strmap_put(&started, t->pod_name, xstrdup(t->task_dir));
    return 0;
}

/* Seen running once, then over. */
static int observe(void *self, const struct ctx *ctx, const char *ns, const char *pod, struct attempt_view *v, struct err *err)
{
    *v = (struct attempt_view){.exit_code = -1};
    char *dir = strmap_get(&started, pod);
    if (!dir)
        return 0;
    v->pod_uid = xstrdup(pod);
    if (!*dir && left > 0) {
        left--;
        v->phase = ATTEMPT_ENDED;
        v->succeeded = true;
        return 0;
    }
    v->phase = ATTEMPT_RUNNING;
    if (!*dir)
        return 0;
    AUTOFREE char *path = fs_join(dir, LAUNCH_RESULT);
    static const char text[] =
        "{\"version\":1,\"outcome\":\"exited\",\"outputParameters\":[{\"key\":\"Output\",\"text\":\"1\"}]}";
    FILE *f = fopen(path, "w");
    if (!f || fwrite(text, 1, sizeof text - 1, f) != sizeof text - 1)
        exit(1);
    fclose(f);
    *dir = 0;
    return 0;
}

static int stop(void *self, const struct ctx *ctx, const char *ns, const char *pod, struct err *err) { return 0; }
static int tail(void *self, const struct ctx *ctx, const char *ns, const char *pod, int n, struct buf *out, struct err *err)
{
    return 0;
}
static int forget(void *self, const struct ctx *ctx, const char *run, struct err *err) { return 0; }

static void check(int rc, struct err *e)
{
    if (rc < 0) {
        fprintf(stderr, "bench_engine: %s\n", err_text(e));
        exit(1);
    }
}

static char *pipeline(int n)
{
    BUF(b);
    buf_adds(
        &b, "{\"pipelineInfo\":{\"name\":\"fan-out\"},\"schemaVersion\":\"2.1.0\",\"deploymentSpec\":{\"executors\":{\"e\":{"
            "\"container\":"
            "{\"image\":\"host\",\"command\":[\"true\"]}}}},\"components\":{\"c\":{\"executorLabel\":\"e\",\"outputDefinitions\":"
            "{\"parameters\":{\"Output\":{\"parameterType\":\"STRING\"}}}}},\"root\":{\"dag\":{\"tasks\":{");
    for (int k = 0; k < n; k++)
        buf_addf(&b, "%s\"t%05d\":{\"componentRef\":{\"name\":\"c\"}}", k ? "," : "", k);
    buf_adds(&b, "}}}}");
    return buf_steal(&b, NULL);
}

struct job {
    struct run r;
    const char *spec;
};

static int insert(struct db *db, void *arg, struct err *err)
{
    struct job *j = arg;
    char hash[65];
    if (spec_put(db, j->spec, NULL, hash, err) < 0)
        return -1;
    j->r.spec_hash = xstrdup(hash);
    return run_insert(db, &j->r, &clock_system, err);
}

static int one_row(struct db *db, void *arg, struct err *err)
{
    static const char SQL[] = "INSERT OR REPLACE INTO sequences (name, next) VALUES ('bench', ?1)";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, *(int *)arg);
    return stmt_run(s, err);
}

/* One run from its first turn to its last; seconds. */
static double one_run(const struct engine_config *cfg, const char *spec, int *turns)
{
    ERR(e);
    char id[UUID_TEXT];
    struct engine *engine = engine_new(cfg, &e);
    check(engine ? 0 : -1, &e);
    struct job j = {.r = {.run_id = xstrdup(uuid4(id)), .pipeline_name = xstrdup("fan-out"), .ns = xstrdup("x")}, .spec = spec};
    struct ctx ctx = ctx_background();
    check(db_writer_run(cfg->store->writer, &ctx, insert, &j, &e), &e);
    int64_t began = ctx_mono_ns(&ctx), again = 0;
    *turns = 0;
    for (bool over = false; !over; ++*turns) {
        left = at_once;
        check(engine_turn(engine, &ctx, id, &again, &e), &e);
        RUN(r);
        struct db *reader = db_reader_get(cfg->store->readers, &e);
        check(run_get(reader, id, &r, &e), &e);
        db_reader_put(cfg->store->readers, reader);
        over = run_state_final(r.state);
        if (over && r.state != RUN_SUCCEEDED) {
            fprintf(stderr, "bench_engine: the run ended %s: %s\n", run_state_name(r.state), r.error_message);
            exit(1);
        }
    }
    double s = (double)(ctx_mono_ns(&ctx) - began) / 1e9;
    run_clear(&j.r);
    engine_free(engine);
    return s;
}

/* Transactions of one row each, a second. */
static double single_rows(struct db_writer *w)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    int64_t began = ctx_mono_ns(&ctx);
    int writes = 200;
    for (int k = 0; k < writes; k++)
        check(db_writer_run(w, &ctx, one_row, &k, &e), &e);
    return writes / ((double)(ctx_mono_ns(&ctx) - began) / 1e9);
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 1000;
    const char *base = argc > 2 ? argv[2] : getenv("TMPDIR");
    log_threshold = LOG_ERROR;
    AUTOFREE char *dir = xasprintf("%s/tidemill-bench-XXXXXX", base ? base : "/var/tmp");
    ERR(e);
    if (n < 1 || n > IR_TASKS_MAX || !mkdtemp(dir)) {
        fprintf(stderr, "usage: bench_engine [TASKS] [DIRECTORY]\n");
        return 2;
    }
    AUTOFREE char *path = fs_join(dir, "t.db");
    AUTOFREE char *blobs = fs_join(dir, "artifacts");
    struct db *db = db_open(path, tidemill_migrations, n_tidemill_migrations, &e);
    check(db ? 0 : -1, &e);
    struct store store = {.writer = db_writer_new(db, "bench"), .readers = db_readers_new(path, 4), .clock = &clock_system};
    store.ids = md_ids_new(store.writer);
    started = STRMAP_INIT(free);
    const struct task_runtime rt = {.start = start, .observe = observe, .stop = stop, .tail = tail, .forget = forget};
    const struct engine_config cfg = {
        .store = &store, .blobs = blob_store_dir(blobs, &e), .clock = &clock_system, .data_dir = dir, .runtime = &rt};
    AUTOFREE char *spec = pipeline(n);
    double single = single_rows(store.writer);
    const int batches[] = {n, 20};
    for (size_t k = 0; k < ARRAY_LEN(batches); k++) {
        int turns;
        at_once = batches[k];
        double s = one_run(&cfg, spec, &turns), rate = 3.0 * n / s;
        printf("engine: %d tasks, %d ending at once, %d turns, %.3f s: %.0f durable transitions/s (aim: 5000); single-row "
               "transactions: %.0f/s, ratio %.2f\n",
               n, at_once, turns, s, rate, single, rate / single);
    }
    md_ids_free(store.ids);
    db_readers_free(store.readers);
    db_writer_stop(store.writer);
    blob_store_free(cfg.blobs);
    strmap_free(&started);
    fs_rm_rf(dir, NULL);
    return 0;
}
