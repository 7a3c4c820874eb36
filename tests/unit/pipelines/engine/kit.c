#include "kit.h"

#include "pipelines/engine/live.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "metadata/schema.h"

enum { MAKING, GOING, OVER };
struct fake_pod {
    char *name, *task, *dir;
    struct launch_task t;
    int attempt;
    int phase;
    bool ok, gone, stopped;
    char *reason;
};

static void free_pod(void *p)
{
    struct fake_pod *f = p;
    free(f->name);
    free(f->task);
    free(f->dir);
    free(f->reason);
    launch_task_clear(&f->t);
    free(f);
}

static const struct script *script_of(struct kit *k, const char *task)
{
    for (size_t i = 0; i < k->n_scripts; i++)
        if (str_eq(k->scripts[i].task, task))
            return &k->scripts[i];
    return NULL;
}

static int running(struct kit *k)
{
    int n = 0;
    for (struct strmap_entry *e = strmap_first(&k->pods); e; e = strmap_next(e)) {
        struct fake_pod *f = e->value;
        n += !f->gone && f->phase != OVER;
    }
    return n;
}

/* What the init container does, before the step. */
static void fill_setup(struct kit *k, const struct task_start *t)
{
    const struct script *s = script_of(k, t->task_name);
    free(k->last_fill);
    k->last_fill = t->fill_env ? jv_text(t->fill_env, JW_COMPACT) : t->setup ? xstrdup("complete") : NULL;
    k->fills += t->fill_env != NULL;
    if (!t->fill_env || !s || !s->fills)
        return;
    AUTOFREE char *mark = fs_join(t->setup, LAUNCH_SETUP_MARK), *file = fs_join(t->setup, "module.py"),
                  *planted = fs_join(t->setup, "planted");
    assert_int_equal(fs_write_atomic(mark, s->fills, strlen(s->fills), 0644, NULL), 0);
    assert_int_equal(fs_write_atomic(file, "x", 1, str_eq(s->plants, "setuid") ? 04755 : 0644, NULL), 0);
    if (str_eq(s->plants, "pipe"))
        assert_int_equal(mkfifo(planted, 0600), 0);
    if (str_eq(s->plants, "link"))
        assert_int_equal(symlink("/etc/passwd", planted), 0);
}

static int start(void *self, const struct ctx *ctx, const struct task_start *t, struct err *err)
{
    struct kit *k = self;
    if (strmap_has(&k->pods, t->pod_name)) {
        k->twice += !k->restart_every_turn;
        return 0;
    }
    struct fake_pod *f = calloc(1, sizeof *f);
    f->name = strdup(t->pod_name);
    f->task = strdup(t->task_name);
    f->dir = strdup(t->task_dir);
    f->attempt = t->attempt;
    assert_int_equal(launch_task_read(t->task_dir, &f->t, err), 0);
    strmap_put(&k->pods, f->name, f);
    k->starts++;
    strlist_add(&k->order, t->task_name);
    free(k->last_input);
    k->last_input = xstrdup(f->t.executor_input);
    strmap_put(&k->inputs, t->task_name, xstrdup(f->t.executor_input));
    free(k->last_argv);
    k->last_argv = strlist_join(&f->t.argv, "|");
    free(k->last_env);
    k->last_env = jv_text(t->env, JW_COMPACT);
    BUF(task);
    launch_task_text(t->task, &task);
    free(k->last_task);
    k->last_task = buf_steal(&task, NULL);
    free(k->last_secret);
    k->last_secret = t->n_secrets ? xasprintf("%s %s", t->secrets[0].name, t->secrets[0].path) : NULL;
    BUF(images);
    for (size_t n = 0; n < t->n_images; n++)
        buf_addf(&images, "%s %s\n", t->images[n].reference, t->images[n].path);
    free(k->last_images);
    k->last_images = xstrdup(buf_str(&images));
    free(k->last_kubernetes);
    k->last_kubernetes = t->kubernetes ? jv_text(t->kubernetes, JW_COMPACT | JW_SORTED) : NULL;
    fill_setup(k, t);
    strlist_free(&k->last_mounts);
    for (size_t m = 0; m < t->n_mounts; m++)
        strlist_add(&k->last_mounts, t->mounts[m].container_path);
    int n = running(k);
    k->most_running = n > k->most_running ? n : k->most_running;
    return 0;
}

static int observe(void *self, const struct ctx *ctx, const char *ns, const char *name, struct attempt_view *v, struct err *err)
{
    struct kit *k = self;
    struct fake_pod *f = strmap_get(&k->pods, name);
    *v = (struct attempt_view){.exit_code = -1};
    if (!f || f->gone)
        return 0;
    v->pod_uid = xasprintf("uid-%s", name);
    v->phase = f->phase == MAKING ? ATTEMPT_PENDING : f->phase == GOING ? ATTEMPT_RUNNING : ATTEMPT_ENDED;
    v->succeeded = f->ok;
    v->exit_code = f->ok ? 0 : 1;
    v->reason = xstrdup(f->reason);
    const struct script *s = script_of(k, f->task);
    if (s && s->hopeless) {
        v->phase = ATTEMPT_PENDING;
        v->hopeless = true;
        v->reason = xstrdup("ErrImagePull");
        v->message = xstrdup("no such image");
    }
    if (s && s->waits && !k->released) {
        v->phase = ATTEMPT_PENDING;
        v->message = xstrdup(s->waits);
    }
    return 0;
}

static int stop(void *self, const struct ctx *ctx, const char *ns, const char *name, struct err *err)
{
    struct kit *k = self;
    struct fake_pod *f = strmap_get(&k->pods, name);
    if (f)
        f->stopped = true;
    return 0;
}

static int tail(void *self, const struct ctx *ctx, const char *ns, const char *name, int lines, struct buf *out, struct err *err)
{
    buf_adds(out, "the last line\n");
    return 0;
}

static int forget(void *self, const struct ctx *ctx, const char *run_id, struct err *err)
{
    struct kit *k = self;
    k->forgets++;
    int left = 0;
    for (struct strmap_entry *e = strmap_first(&k->pods); e; e = strmap_next(e)) {
        struct fake_pod *f = e->value;
        left += !f->gone && str_eq(f->t.run_id, run_id);
        f->stopped = true;
    }
    return left > 0;
}

/* ---- what pods do --------------------------------------------------------------------------------------------- */

static void write_result(struct kit *k, struct fake_pod *f, const struct script *s)
{
    struct launch_result r;
    launch_result_init(&r);
    r.attempt = f->attempt;
    bool fails = s && f->attempt < s->fail_attempts;
    r.exit_code = fails ? (s->exit_code ? s->exit_code : 1) : 0;
    r.log_tail = xstrdup("hello\nthe last line\n");
    r.params = xcalloc(f->t.n_params + 1, sizeof *r.params);
    for (size_t i = 0; i < f->t.n_params; i++) {
        struct launch_result_param *p = &r.params[r.n_params++];
        p->key = xstrdup(f->t.params[i].key);
        const char *text = NULL;
        bool any = false;
        for (size_t n = 0; s && n < 4 && s->params[n][0]; n++) {
            any = true;
            if (str_eq(s->params[n][0], p->key))
                text = s->params[n][1];
        }
        if (!any && !(s && s->executor_output))
            text = f->task; /* by default a step answers with its name */
        p->text = xstrdup(text);
        p->len = text ? strlen(text) : 0;
    }
    r.artifacts = xcalloc(f->t.n_artifacts + 1, sizeof *r.artifacts);
    for (size_t i = 0; i < f->t.n_artifacts; i++)
        r.artifacts[r.n_artifacts++] =
            (struct launch_result_artifact){.key = xstrdup(f->t.artifacts[i].key), .exists = s && s->artifacts};
    r.executor_output = s ? xstrdup(s->executor_output) : NULL;
    ERR(e);
    if (s && s->claims) {
        free(f->t.argv.v[2]);
        f->t.argv.v[2] = xstrdup(s->claims);
        if (launch_task_write(&f->t, f->dir, &e) < 0)
            fail_msg("%s", err_text(&e));
    }
    r.setup_stale = s && s->stale;
    r.has_log = f->t.log_path && s && s->logs;
    r.log_size = 7;
    if (launch_result_write(&r, f->dir, &e) < 0)
        fail_msg("%s", err_text(&e));
    f->ok = r.exit_code == 0;
    f->reason = s && fails ? xstrdup(s->reason) : NULL;
    launch_result_clear(&r);
}

static bool live_on(struct kit *k)
{
    bool moved = false;
    for (struct strmap_entry *e = strmap_first(&k->pods); e; e = strmap_next(e)) {
        struct fake_pod *f = e->value;
        const struct script *s = script_of(k, f->task);
        if (f->gone)
            continue;
        if (f->stopped) {
            f->gone = moved = true;
        } else if (f->phase == MAKING && s && s->pending) {
            continue;
        } else if (f->phase == MAKING) {
            f->phase = GOING;
            moved = true;
        } else if (f->phase == GOING && s && s->vanish && f->attempt < s->fail_attempts) {
            f->gone = moved = true;
        } else if (f->phase == GOING && !(s && (s->hang || s->hopeless))) {
            write_result(k, f, s);
            f->phase = OVER;
            moved = true;
        }
    }
    return moved;
}

/* ---- the kit -------------------------------------------------------------------------------------------------- */

static void die(struct err *e) { fail_msg("%s", err_text(e)); }

void kit_restart(struct kit *k)
{
    ERR(e);
    engine_free(k->engine);
    k->engine = engine_new(&k->cfg, &e);
    if (!k->engine)
        die(&e);
    if (k->sweeps)
        engine_sweep(k->engine);
}

void kit_open(struct kit *k, const struct script *scripts, size_t n)
{
    ERR(e);
    *k = (struct kit){.scripts = scripts, .n_scripts = n};
    snprintf(k->dir, sizeof k->dir, "%s/tidemill-engine-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(k->dir));
    clock_manual_init(&k->clock, 1700000000LL * NS_PER_S);
    AUTOFREE char *path = fs_join(k->dir, "tidemill.db");
    AUTOFREE char *blobs = fs_join(k->dir, "artifacts");
    struct db *db = db_open(path, tidemill_migrations, n_tidemill_migrations, &e);
    if (!db)
        die(&e);
    k->store.writer = db_writer_new(db, "test");
    k->store.readers = db_readers_new(path, 4);
    k->store.ids = md_ids_new(k->store.writer);
    k->store.clock = &k->clock.clock;
    k->blobs = blob_store_dir(blobs, &e);
    k->pods = STRMAP_INIT(free_pod);
    k->inputs = STRMAP_INIT(free);
    k->rt = (struct task_runtime){.self = k, .start = start, .observe = observe, .stop = stop, .tail = tail, .forget = forget};
    k->cfg = (struct engine_config){
        .store = &k->store, .blobs = k->blobs, .clock = &k->clock.clock, .data_dir = k->dir, .runtime = &k->rt};
    kit_restart(k);
}

void kit_close(struct kit *k)
{
    engine_free(k->engine);
    md_ids_free(k->store.ids);
    db_readers_free(k->store.readers);
    db_writer_stop(k->store.writer);
    blob_store_free(k->blobs);
    strmap_free(&k->pods);
    strmap_free(&k->inputs);
    strlist_free(&k->last_mounts);
    strlist_free(&k->order);
    free(k->last_input);
    free(k->last_argv);
    free(k->last_images);
    free(k->last_kubernetes);
    free(k->last_task);
    free(k->last_secret);
    free(k->last_fill);
    free(k->last_env);
    fs_rm_rf(k->dir, NULL);
}

struct submit {
    struct run r;
    char *spec, *platform;
    const struct clock *clock;
};

static int submit_job(struct db *db, void *arg, struct err *err)
{
    struct submit *s = arg;
    char hash[65];
    if (spec_put(db, s->spec, s->platform, hash, err) < 0)
        return -1;
    s->r.spec_hash = xstrdup(hash);
    return run_insert(db, &s->r, s->clock, err);
}

char *kit_submit(struct kit *k, const char *yaml, const char *parameters)
{
    ERR(e);
    IR_REF(p) = ir_parse(yaml, strlen(yaml), &e);
    if (!p)
        die(&e);
    char id[UUID_TEXT];
    uuid4(id);
    struct submit s = {.clock = &k->clock.clock};
    s.spec = jv_text(p->spec, JW_COMPACT);
    s.platform = p->platform ? jv_text(p->platform, JW_COMPACT) : NULL;
    s.r.run_id = xstrdup(id);
    s.r.display_name = xstrdup("a run");
    s.r.ns = xstrdup("kubeflow");
    s.r.pipeline_name = xstrdup(p->name);
    s.r.parameters = xstrdup(parameters);
    struct ctx ctx = ctx_background();
    if (db_writer_run(k->store.writer, &ctx, submit_job, &s, &e) < 0)
        die(&e);
    run_clear(&s.r);
    free(s.spec);
    free(s.platform);
    return xstrdup(id);
}

bool kit_turn(struct kit *k, const char *run_id)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    int64_t again = 0;
    if (k->restart_every_turn)
        kit_restart(k);
    if (engine_turn(k->engine, &ctx, run_id, &again, &e) < 0) {
        if (e.code != ERR_CONFLICT)
            die(&e);
        return true;
    }
    if (live_on(k))
        return true;
    if (again > 0)
        clock_manual_advance(&k->clock, again);
    return again > 0;
}

void kit_drive(struct kit *k, const char *run_id)
{
    for (int n = 0; n < 3000; n++) {
        bool more = kit_turn(k, run_id);
        if (!more || run_state_final(kit_state(k, run_id, NULL)))
            return;
    }
    fail_msg("the run goes on for ever");
}

char *kit_run(struct kit *k, const char *yaml, const char *parameters, enum run_state want)
{
    char *id = kit_submit(k, yaml, parameters);
    kit_drive(k, id);
    AUTOFREE char *message = NULL;
    enum run_state got = kit_state(k, id, &message);
    if (got != want)
        fail_msg("the run ended %s, not %s: %s", run_state_name(got), run_state_name(want), message ? message : "");
    assert_int_equal(k->twice, 0);
    return id;
}

enum run_state kit_state(struct kit *k, const char *run_id, char **message)
{
    ERR(e);
    RUN(r);
    struct db *db = db_reader_get(k->store.readers, &e);
    if (run_get(db, run_id, &r, &e) < 0)
        r.state = RUN_STATE_UNSPECIFIED;
    db_reader_put(k->store.readers, db);
    if (message)
        *message = xstrdup(r.error_message);
    return r.state;
}

struct find {
    const char *path;
    struct task_row row;
    bool found;
};

static int match(void *self, struct task_row *t, struct err *err)
{
    struct find *f = self;
    if (!f->found && str_eq(t->path, f->path)) {
        f->row = *t;
        *t = (struct task_row){0};
        f->found = true;
    }
    return 0;
}

struct task_row kit_row(struct kit *k, const char *run_id, const char *path)
{
    ERR(e);
    struct find f = {.path = path};
    struct db *db = db_reader_get(k->store.readers, &e);
    if (tasks_each(db, run_id, match, &f, &e) < 0)
        die(&e);
    db_reader_put(k->store.readers, db);
    if (!f.found)
        fail_msg("no task %s", path);
    return f.row;
}

int kit_task(struct kit *k, const char *run_id, const char *path)
{
    ERR(e);
    struct find f = {.path = path};
    struct db *db = db_reader_get(k->store.readers, &e);
    if (tasks_each(db, run_id, match, &f, &e) < 0)
        die(&e);
    db_reader_put(k->store.readers, db);
    int state = f.found ? (int)f.row.state : -1;
    task_row_clear(&f.row);
    return state;
}

int kit_count(struct kit *k, const char *sql, const char *run_id)
{
    ERR(e);
    struct db *db = db_reader_get(k->store.readers, &e);
    int n = -1;
    {
        STMT(s, db, sql, &e);
        if (!s)
            die(&e);
        stmt_bind_text(s, 1, run_id);
        if (stmt_step(s, &e) == 1)
            n = (int)stmt_i64(s, 0);
    }
    db_reader_put(k->store.readers, db);
    return n;
}

char *kit_yaml(const char *root_inputs, const char *tasks, const char *components)
{
    return xasprintf(
        "pipelineInfo: {name: test-pipeline}\n"
        "schemaVersion: 2.1.0\n"
        "sdkVersion: kfp-2.17.0\n"
        "deploymentSpec:\n"
        "  executors:\n"
        "    e: {container: {image: host, command: [sh, -c, 'echo'], args: ['{{$}}', \"{{$.inputs.parameters['x']}}\"]}}\n"
        "    py: {container: {image: host, command: [python3, -m, kfp.dsl.executor_main], args: [--executor_input, '{{$}}']}}\n"
        "    imp: {importer: {artifactUri: {constant: 'gs://b/data.csv'}, typeSchema: {schemaTitle: system.Dataset}}}\n"
        "components:\n%s"
        "root:\n"
        "  inputDefinitions: {parameters: {%s}}\n"
        "  dag:\n"
        "    tasks:\n%s",
        components, root_inputs, tasks);
}
