/* Rows of runs and tasks: who may change what, from which state. */
#include "unit.h"

#include "base/fs.h"
#include "base/id.h"
#include "metadata/schema.h"
#include "pipelines/store/store.h"

static char dir[40];
static struct db *db;
static struct clock_manual now;

static int open_db(void **state)
{
    ERR(e);
    strcpy(dir, "/tmp/tidemill-store-XXXXXX");
    assert_non_null(mkdtemp(dir));
    AUTOFREE char *path = fs_join(dir, "t.db");
    db = db_open(path, tidemill_migrations, n_tidemill_migrations, &e);
    clock_manual_init(&now, 1700000000LL * NS_PER_S);
    return db ? 0 : -1;
}

static int close_db(void **state)
{
    db_close(db);
    fs_rm_rf(dir, NULL);
    return 0;
}

static void insert(const char *id, const char *pipeline)
{
    ERR(e);
    RUN(r);
    char hash[65];
    assert_int_equal(spec_put(db, "{}", NULL, hash, &e), 0);
    r.run_id = xstrdup(id);
    r.spec_hash = xstrdup(hash);
    r.pipeline_name = xstrdup(pipeline);
    if (run_insert(db, &r, &now.clock, &e) < 0)
        fail_msg("%s", err_text(&e));
}

static struct run get(const char *id)
{
    ERR(e);
    struct run r = {0};
    assert_int_equal(run_get(db, id, &r, &e), 0);
    return r;
}

static void inserting(void **state)
{
    static const char *const cases[][2] = {
        {"My Pipeline", "my-pipeline-"}, {"namespace/n/pipeline/p.1", "p-1-"}, {"___", "run-"}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        char id[UUID_TEXT];
        insert(uuid4(id), cases[n][0]);
        struct run r = get(id);
        assert_true(str_starts(r.name, cases[n][1]));
        assert_int_equal(strlen(r.name), strlen(cases[n][1]) + 5);
        assert_int_equal(r.state, RUN_PENDING);
        assert_string_equal(r.state_history, "[{\"update_time\":\"2023-11-14T22:13:20Z\",\"state\":\"PENDING\"}]");
        run_clear(&r);
    }
    ERR(e);
    RUN(none);
    assert_int_equal(run_get(db, "nope", &none, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
}

static void a_turn_that_lost(void **state)
{
    ERR(e);
    bool changed = false;
    insert("a", "p");
    struct run r = get("a");
    assert_int_equal(run_update(db, &r, RUN_RUNNING, 1, &e), 0);
    assert_int_equal(run_terminate(db, "a", "jane", 2, &changed, &e), 0);
    assert_true(changed);
    /* Neither on nor to the end: memory has not seen the wish. */
    assert_int_equal(run_update(db, &r, RUN_RUNNING, 3, &e), -1);
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_int_equal(run_update(db, &r, RUN_SUCCEEDED, 3, &e), -1);
    run_clear(&r);
    r = get("a");
    assert_int_equal(r.state, RUN_CANCELING);
    assert_string_equal(r.terminated_by, "jane");
    assert_int_equal(run_update(db, &r, RUN_FAILED, 3, &e), 0);
    assert_non_null(strstr(r.state_history, "CANCELING"));
    run_clear(&r);
}

/* An entry for each change of state, with its error, and never two of one state in a row. */
static void history(void **state)
{
    static const struct {
        enum run_state state;
        int error_code;
        size_t entries;
    } steps[] = {{RUN_PENDING, 0, 1}, {RUN_RUNNING, 0, 2}, {RUN_RUNNING, 0, 2}, {RUN_FAILED, 13, 3}, {RUN_FAILED, 13, 3}};
    insert("a", "p");
    for (size_t n = 0; n < ARRAY_LEN(steps); n++) {
        ERR(e);
        struct run r = get("a");
        r.error_code = steps[n].error_code;
        free(r.error_message);
        r.error_message = steps[n].error_code ? xstrdup("why") : NULL;
        assert_int_equal(run_update(db, &r, steps[n].state, (1700000001LL + (int64_t)n) * NS_PER_S, &e), 0);
        run_clear(&r);
        r = get("a");
        JSON_REF(list) = json_parse_str(r.state_history, NULL);
        assert_int_equal(jv_len(json_root(list)), steps[n].entries);
        jval *last = jv_at(json_root(list), steps[n].entries - 1);
        assert_string_equal(jv_str(jv_get(last, "state")), run_state_name(steps[n].state));
        assert_int_equal(jv_i64_or(jv_path(last, "error", "code", NULL), 0), steps[n].error_code);
        run_clear(&r);
    }
}

static void terminating(void **state)
{
    ERR(e);
    bool changed = true;
    assert_int_equal(run_terminate(db, "none", "u", 1, &changed, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    insert("a", "p");
    assert_int_equal(run_terminate(db, "a", "u", 1, &changed, &e), 0);
    assert_true(changed);
    assert_int_equal(run_terminate(db, "a", "u", 1, &changed, &e), 0);
    assert_false(changed);
}

static void retrying(void **state)
{
    static const struct {
        enum run_state from;
        bool works;
    } cases[] = {{RUN_PENDING, false}, {RUN_RUNNING, false}, {RUN_SUCCEEDED, false}, {RUN_FAILED, true}, {RUN_CANCELED, true}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        char id[UUID_TEXT];
        insert(uuid4(id), "p");
        struct run r = get(id);
        r.finished_ns = 5;
        assert_int_equal(run_update(db, &r, cases[n].from, 1, &e), 0);
        run_clear(&r);
        assert_int_equal(run_retry(db, id, 2, &e), cases[n].works ? 0 : -1);
        r = get(id);
        assert_int_equal(r.state, cases[n].works ? RUN_PENDING : cases[n].from);
        assert_int_equal(r.generation, cases[n].works);
        assert_int_equal(r.finished_ns, cases[n].works ? 0 : 5);
        run_clear(&r);
        if (!cases[n].works)
            assert_int_equal(e.code, ERR_CONFLICT);
    }
}

static void live_and_gone(void **state)
{
    ERR(e);
    insert("a", "p");
    insert("b", "p");
    struct run r = get("b");
    assert_int_equal(run_update(db, &r, RUN_FAILED, 1, &e), 0);
    run_clear(&r);
    STRLIST(ids);
    assert_int_equal(runs_live(db, &ids, &e), 0);
    assert_int_equal(ids.n, 1);
    assert_string_equal(ids.v[0], "a");
    assert_int_equal(run_set_archived(db, "a", true, 5, &e), 0);
    assert_int_equal(run_set_archived(db, "z", true, 5, &e), -1);
    r = get("a");
    assert_true(r.archived);
    run_clear(&r);
    assert_int_equal(run_delete(db, "a", &e), 0);
    assert_int_equal(run_delete(db, "a", &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
}

static int count(void *self, struct task_row *t, struct err *err)
{
    ++*(int *)self;
    return 0;
}

static void tasks(void **state)
{
    ERR(e);
    insert("a", "p");
    struct task_row t = {.id = 1,
                         .task_id = (char[]){"t1"},
                         .run_id = (char[]){"a"},
                         .name = (char[]){"root"},
                         .path = (char[]){"root"},
                         .type = TASK_ROOT,
                         .iteration_index = -1,
                         .iteration_count = -1,
                         .created_ns = 1};
    assert_int_equal(task_put(db, &t, &e), 0);
    t.state = TASK_RUNNING;
    t.inputs = (char[]){"{}"};
    assert_int_equal(task_put(db, &t, &e), 0);
    int n = 0;
    assert_int_equal(tasks_each(db, "a", count, &n, &e), 0);
    assert_int_equal(n, 1);
    struct task_row back;
    assert_int_equal(task_get(db, "a", "t1", &back, &e), 0);
    assert_int_equal(back.state, TASK_RUNNING);
    assert_string_equal(back.inputs, "{}");
    task_row_clear(&back);
    assert_int_equal(task_get(db, "b", "t1", &back, &e), -1);
    /* One instance a path. */
    t.id = 2;
    t.task_id = (char[]){"t2"};
    assert_int_equal(task_put(db, &t, &e), -1);
    assert_int_equal(e.code, ERR_EXISTS);
}

static void words(void **state)
{
    enum run_state s;
    assert_true(run_state_parse("succeeded", &s) && s == RUN_SUCCEEDED);
    assert_false(run_state_parse("done", &s));
    assert_string_equal(run_state_name(RUN_CANCELING), "CANCELING");
    assert_int_equal(task_state_run(TASK_CACHED), RUN_SKIPPED);
    assert_string_equal(task_state_next(TASK_CACHED), "CACHED");
    assert_string_equal(task_state_next(TASK_CANCELED), "FAILED");
    assert_string_equal(task_type_name(TASK_LOOP), "LOOP");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_db, close_db)
TEST_GROUP(store, TEST(inserting), TEST(a_turn_that_lost), TEST(history), TEST(terminating), TEST(retrying), TEST(live_and_gone),
           TEST(tasks), cmocka_unit_test(words))
