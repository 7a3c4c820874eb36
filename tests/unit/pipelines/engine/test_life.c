/* Attempts, cancellation, deadlines, retries of runs, crashes. */
#include "kit.h"

#include "base/fs.h"
#include <unistd.h>

#include "base/id.h"
#include "pipelines/engine/live.h"

#define TASK(id, path, want) assert_int_equal(kit_task(&k, id, path), TASK_##want)
#define OPEN(...)                                                                                                                \
    struct kit k;                                                                                                                \
    static const struct script scripts[] = {__VA_ARGS__};                                                                        \
    kit_open(&k, scripts, ARRAY_LEN(scripts))
#define RETRY(n) ", retryPolicy: {maxRetryCount: " #n ", backoffDuration: 10s, backoffFactor: 2.0, backoffMaxDuration: 3600s}"

static void retries(void **state)
{
    OPEN({.task = "a", .fail_attempts = 2});
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") RETRY(2) END, STEP);
    int64_t before = k.clock.clock.wall_ns(&k.clock.clock);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 3);
    assert_true(k.clock.clock.wall_ns(&k.clock.clock) - before >= 30 * NS_PER_S); /* 10 s, then 20 s */
    struct task_row row = kit_row(&k, id, "root/a");
    assert_int_equal(row.attempt, 2);
    JSON_REF(pods) = json_parse_str(row.pods, NULL);
    assert_int_equal(jv_len(json_root(pods)), 3);
    assert_true(jv_bool(jv_get(jv_at(json_root(pods), 1), "failed"), false));
    assert_false(jv_bool(jv_get(jv_at(json_root(pods), 2), "failed"), false));
    task_row_clear(&row);
    kit_close(&k);
}

static void retries_run_out(void **state)
{
    OPEN({.task = "a", .fail_attempts = 9});
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") RETRY(1) END, STEP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    assert_int_equal(k.starts, 2);
    kit_close(&k);
}

/* A step that its node took down with itself starts again, with or without a retry policy, and that is no try. */
static void a_stopped_node_is_no_failure(void **state)
{
    OPEN({.task = "a", .fail_attempts = 2, .exit_code = 143, .reason = "Terminated"});
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END, STEP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 3);
    assert_int_equal(k.twice, 0);
    struct task_row row = kit_row(&k, id, "root/a");
    JSON_REF(pods) = json_parse_str(row.pods, NULL);
    assert_true(jv_bool(jv_get(jv_at(json_root(pods), 1), "interrupted"), false));
    task_row_clear(&row);
    kit_close(&k);
}

static void retries_are_inherited(void **state)
{
    OPEN({.task = "deep", .fail_attempts = 1});
    AUTOFREE char *y = kit_yaml(
        "", RUNS("outer", "mid") RETRY(3) END,
        STEP
        "  mid: {dag: {tasks: {m: {componentRef: {name: low}}}}}\n  low: {dag: {tasks: {deep: {componentRef: {name: step}}}}}\n");
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 2);
    kit_close(&k);
}

static void reasons(void **state)
{
    static const struct {
        struct script s;
        const char *text;
    } cases[] = {
        {{.task = "a", .fail_attempts = 1, .exit_code = 137, .reason = "OOMKilled"}, "set_memory_limit"},
        {{.task = "a", .hopeless = true}, "ErrImagePull: no such image"},
        {{.task = "a", .vanish = true, .fail_attempts = 1}, "is gone"},
        {{.task = "a", .params = {{"Other", "x"}}}, "failed to read output parameter name=\"Output\""},
        {{.task = "a", .executor_output = "{\"what\": 1}"}, "unknown field \"what\""},
        {{.task = "a", .executor_output = "{nonsense"}, "no JSON"},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        struct kit k;
        kit_open(&k, &cases[n].s, 1);
        AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END, STEP);
        AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
        struct task_row row = kit_row(&k, id, "root/a");
        if (!strstr(row.error_message, cases[n].text))
            fail_msg("%s: %s", cases[n].text, row.error_message);
        task_row_clear(&row);
        kit_close(&k);
    }
}

/* A step that waits says why, for as long as it waits. */
static void waits_for_a_reason(void **state)
{
    struct kit k;
    static const struct script s = {
        .task = "a", .waits = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", .params = {{"Output", "x"}}};
    kit_open(&k, &s, 1);
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END, STEP);
    AUTOFREE char *id = kit_submit(&k, y, NULL);
    for (int n = 0; n < 4; n++)
        kit_turn(&k, id);
    struct task_row row = kit_row(&k, id, "root/a");
    assert_int_equal(row.state, TASK_STARTING);
    assert_string_equal(row.error_message, s.waits);
    task_row_clear(&row);
    k.released = true;
    kit_drive(&k, id);
    assert_int_equal(kit_state(&k, id, NULL), RUN_SUCCEEDED);
    row = kit_row(&k, id, "root/a");
    assert_int_equal(row.state, TASK_SUCCEEDED);
    assert_null(row.error_message);
    task_row_clear(&row);
    kit_close(&k);
}

static void terminate(struct kit *k, const char *id)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    assert_int_equal(engine_terminate(k->engine, &ctx, id, "jane", &e), 0);
}

static void cancel(void **state)
{
    OPEN({.task = "work", .hang = true});
    AUTOFREE char *y = kit_yaml(
        "", RUNS("body", "body") END RUNS("after", "step") AFTER("body") END RUNS("tell", "step") AFTER("body") ALWAYS END,
        STEP "  body: {dag: {tasks: {work: {componentRef: {name: step}}}}}\n");
    AUTOFREE char *id = kit_submit(&k, y, NULL);
    for (int n = 0; n < 4; n++)
        kit_turn(&k, id);
    TASK(id, "root/body/work", RUNNING);
    terminate(&k, id);
    assert_int_equal(kit_state(&k, id, NULL), RUN_CANCELING);
    kit_drive(&k, id);
    AUTOFREE char *message = NULL;
    assert_int_equal(kit_state(&k, id, &message), RUN_FAILED);
    assert_string_equal(message, "Run was terminated by jane");
    assert_int_equal(kit_count(&k, "SELECT error_code FROM runs WHERE run_id = ?1", id), 1);
    assert_int_equal(kit_count(&k,
                               "SELECT state_history ->> '$[#-2].state' = 'CANCELING' AND state_history ->> '$[#-1].state' = "
                               "'FAILED' FROM runs WHERE run_id = ?1",
                               id),
                     1);
    TASK(id, "root/body/work", CANCELED);
    TASK(id, "root/after", CANCELED);
    TASK(id, "root/tell", SUCCEEDED); /* exit tasks run */
    assert_int_equal(k.starts, 2);
    kit_close(&k);
}

static void cancel_before_start(void **state)
{
    OPEN({.task = "nobody"});
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END, STEP);
    AUTOFREE char *id = kit_submit(&k, y, NULL);
    terminate(&k, id);
    kit_drive(&k, id);
    assert_int_equal(kit_state(&k, id, NULL), RUN_FAILED);
    assert_int_equal(k.starts, 0);
    kit_close(&k);
}

static void exit_tasks_have_their_time(void **state)
{
    OPEN({.task = "work", .hang = true}, {.task = "tell", .hang = true});
    AUTOFREE char *y = kit_yaml("", RUNS("work", "step") END RUNS("tell", "step") AFTER("work") ALWAYS END, STEP);
    AUTOFREE char *id = kit_submit(&k, y, NULL);
    for (int n = 0; n < 4; n++)
        kit_turn(&k, id);
    terminate(&k, id);
    kit_drive(&k, id);
    assert_int_equal(kit_state(&k, id, NULL), RUN_FAILED);
    TASK(id, "root/tell", CANCELED);
    kit_close(&k);
}

static void deadline(void **state)
{
    OPEN({.task = "work", .hang = true});
    AUTOFREE char *one = kit_yaml("", RUNS("work", "step") END, STEP);
    AUTOFREE char *y = xasprintf("%s---\nplatforms: {kubernetes: {pipelineConfig: {activeDeadlineSeconds: '20'}}}\n", one);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    AUTOFREE char *message = NULL;
    kit_state(&k, id, &message);
    assert_non_null(strstr(message, "DeadlineExceeded"));
    kit_close(&k);
}

static void retry_of_a_run(void **state)
{
    struct script scripts[] = {{.task = "b", .fail_attempts = 1}, {.task = "in", .fail_attempts = 0}};
    struct kit k;
    kit_open(&k, scripts, 2);
    AUTOFREE char *y = kit_yaml("",
                                RUNS("a", "step") END RUNS("b", "step") FROM("a") END RUNS("c", "step") FROM("b")
                                    END RUNS("g", "body") END RUNS("exit", "step") AFTER("b") ALWAYS END,
                                STEP "  body: {dag: {tasks: {in: {componentRef: {name: step}}}}}\n");
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    assert_int_equal(k.starts, 4); /* a b g/in exit */
    ERR(e);
    struct ctx ctx = ctx_background();
    scripts[0].fail_attempts = 0;
    assert_int_equal(engine_retry(k.engine, &ctx, id, &e), 0);
    assert_int_equal(kit_state(&k, id, NULL), RUN_PENDING);
    assert_int_equal(engine_retry(k.engine, &ctx, id, &e), -1);
    assert_int_equal(e.code, ERR_CONFLICT);
    kit_drive(&k, id);
    AUTOFREE char *message = NULL;
    if (kit_state(&k, id, &message) != RUN_SUCCEEDED)
        fail_msg("%s", message);
    assert_int_equal(k.starts, 7); /* b c exit */
    TASK(id, "root/c", SUCCEEDED);
    kit_close(&k);
}

static void delete_a_live_run(void **state)
{
    OPEN({.task = "a", .hang = true});
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END, STEP);
    AUTOFREE char *id = kit_submit(&k, y, NULL);
    for (int n = 0; n < 4; n++)
        kit_turn(&k, id);
    ERR(e);
    struct ctx ctx = ctx_background();
    assert_int_equal(engine_delete(k.engine, &ctx, id, false, &e), 0);
    for (int n = 0; n < 4; n++)
        kit_turn(&k, id);
    int64_t again = 1;
    assert_int_equal(engine_turn(k.engine, &ctx, id, &again, &e), 0);
    assert_int_equal(again, 0);
    assert_int_equal(kit_count(&k, "SELECT count(*) FROM tasks WHERE run_id = ?1", id), 0);
    kit_close(&k);
}

static void paused(void **state)
{
    OPEN({.task = "nobody"});
    k.cfg.paused = true;
    kit_restart(&k);
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END, STEP);
    AUTOFREE char *id = kit_submit(&k, y, NULL);
    kit_drive(&k, id);
    assert_int_equal(kit_state(&k, id, NULL), RUN_PENDING);
    /* What belongs to another engine is let be. */
    int64_t again;
    ERR(e);
    struct ctx ctx = ctx_background();
    assert_int_equal(engine_turn(k.engine, &ctx, "8c0e1c5e-0000-4000-8000-000000000001", &again, &e), 0);
    assert_int_equal(k.forgets, 0);
    kit_close(&k);
}

/* The engine forgets everything between any two turns: same end, nothing twice. */
static void forgetful(void **state)
{
    OPEN({.task = "b", .fail_attempts = 1});
    k.restart_every_turn = true;
    AUTOFREE char *y = kit_yaml("",
                                RUNS("a", "step") END RUNS("b", "step") RETRY(2) FROM("a") END RUNS("c", "step") AFTER("b")
                                    END RUNS("d", "step") FROM("c") END RUNS("e", "step") AFTER("a") END,
                                STEP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 6);
    TASK(id, "root/d", SUCCEEDED);
    kit_close(&k);
}

static bool has(struct kit *k, const char *fmt, const char *id)
{
    AUTOFREE char *name = xasprintf(fmt, id), *path = fs_join(k->dir, name);
    return fs_exists(path);
}

static void make(struct kit *k, const char *fmt, const char *id)
{
    AUTOFREE char *name = xasprintf(fmt, id), *path = fs_join(k->dir, name);
    assert_int_equal(fs_mkdir_p(path, 0755, NULL), 0);
}

/* Killed between the commit that makes a directory needless and its removal. */
static void what_an_earlier_life_left(void **state)
{
    static const char gone[] = "8c0e1c5e-0000-4000-8000-000000000001";
    OPEN({.task = "slow", .hang = true});
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END, STEP), *z = kit_yaml("", RUNS("slow", "step") END, STEP);
    AUTOFREE char *over = kit_run(&k, y, NULL, RUN_SUCCEEDED), *live = kit_submit(&k, z, NULL);
    kit_drive(&k, live);
    struct task_row done = kit_row(&k, over, "root/a"), runs = kit_row(&k, live, "root/slow");
    for (size_t n = 0; n < 3; n++)
        make(&k, "engine/%s.0", ((const char *[]){gone, over, live})[n]);
    for (size_t n = 0; n < 3; n++)
        make(&k, "workspaces/%s", ((const char *[]){gone, over, live})[n]);
    make(&k, "setup/.%s.0.0", done.task_id);
    make(&k, "setup/.%s.0.0", runs.task_id);
    make(&k, "setup/%s", "1234567890123456789012345678901234567890123456789012345678901234");
    make(&k, "engine/%s", "something");
    engine_sweep(k.engine);
    for (int tries = 0; tries < 6000 && (has(&k, "engine/%s.0", gone) || has(&k, "setup/.%s.0.0", done.task_id)); tries++)
        usleep(10000);
    const struct {
        const char *fmt, *id;
        bool stays;
    } want[] = {{"engine/%s.0", gone, false},          {"engine/%s.0", over, false},           {"engine/%s.0", live, true},
                {"workspaces/%s", gone, false},        {"workspaces/%s", over, true},          {"workspaces/%s", live, true},
                {"setup/.%s.0.0", runs.task_id, true}, {"setup/.%s.0.0", done.task_id, false}, {"engine/%s", "something", true}};
    for (size_t n = 0; n < ARRAY_LEN(want); n++)
        assert_int_equal(has(&k, want[n].fmt, want[n].id), want[n].stays);
    assert_true(has(&k, "setup/%s", "1234567890123456789012345678901234567890123456789012345678901234"));
    task_row_clear(&done);
    task_row_clear(&runs);
    kit_close(&k);
}

static void bad_root(void **state)
{
    OPEN({.task = "nobody"});
    AUTOFREE char *one = kit_yaml("", RUNS("a", "step") END, STEP);
    AUTOFREE char *y = xasprintf("%sdefaultPipelineRoot: azblob://bucket/x\n", one);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    AUTOFREE char *message = NULL;
    kit_state(&k, id, &message);
    assert_non_null(strstr(message, "unsupported Cloud bucket"));
    kit_close(&k);
}

TEST_GROUP(life, cmocka_unit_test(waits_for_a_reason), cmocka_unit_test(retries), cmocka_unit_test(retries_run_out),
           cmocka_unit_test(a_stopped_node_is_no_failure), cmocka_unit_test(retries_are_inherited), cmocka_unit_test(reasons),
           cmocka_unit_test(cancel), cmocka_unit_test(cancel_before_start), cmocka_unit_test(exit_tasks_have_their_time),
           cmocka_unit_test(deadline), cmocka_unit_test(retry_of_a_run), cmocka_unit_test(delete_a_live_run),
           cmocka_unit_test(paused), cmocka_unit_test(forgetful), cmocka_unit_test(what_an_earlier_life_left),
           cmocka_unit_test(bad_root))
