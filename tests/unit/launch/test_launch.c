#include "unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "launch/task.h"

static void task_round_trip(void **state)
{
    struct launch_task t, back;
    launch_task_init(&t);
    t.run_id = xstrdup("r");
    t.task_id = xstrdup("t");
    t.attempt = 2;
    strlist_add(&t.argv, "sh");
    strlist_add(&t.argv, "");
    strlist_add(&t.clean, "/tmp/x");
    strlist_add(&t.yield, "/tidemill/setup");
    strlist_add(&t.dirs, "/tmp");
    t.executor_input = xstrdup("{\"a\": \"\\u0001\"}");
    t.executor_input_at = 1;
    t.big_input = true;
    t.prelude_at = 1;
    strlist_add(&t.requirements, "kfp==2");
    t.executor_output_path = xstrdup("/o");
    launch_task_add_param(&t, "p", "/p");
    launch_task_add_artifact(&t, "a", "/a");
    JSON_REF(settings) = json_parse_str("{\"provider\": \"s3\", \"region\": \"eu\"}", NULL);
    assert_int_equal(launch_task_add_store(&t, json_root(settings), "/keys/a", "/keys/s", NULL), 0);
    assert_int_equal(launch_task_add_store(&t, json_root(settings), NULL, NULL, "/keys/t"), 1);
    launch_task_send_artifact(&t, "s3://b/a", 1);
    launch_task_add_download(&t, "s3://b/in", "/s3/b/in", 0);
    t.setup_dir = xstrdup("/tidemill/setup");
    t.log_path = xstrdup("/s3/b/log");
    t.log_uri = xstrdup("s3://b/log");
    t.log_store = 1;
    t.result_uri = xstrdup("s3://b/result");
    t.task_uri = xstrdup("s3://b/task");
    t.task_store = 1;
    BUF(b);
    ERR(e);
    launch_task_text(&t, &b);
    assert_int_equal(launch_task_parse(b.data, b.len, &back, &e), 0);
    BUF(again);
    launch_task_text(&back, &again);
    assert_string_equal(buf_str(&b), buf_str(&again));
    assert_string_equal(back.executor_input, t.executor_input);
    assert_int_equal(back.argv.n, 2);
    assert_string_equal(back.setup_dir, "/tidemill/setup");
    assert_int_equal(back.n_stores, 2);
    assert_string_equal(back.stores[0].secret_key_file, "/keys/s");
    assert_null(back.stores[1].access_key_file);
    assert_string_equal(back.artifacts[0].uri, "s3://b/a");
    assert_int_equal(back.artifacts[0].store, 1);
    assert_string_equal(back.downloads[0].path, "/s3/b/in");
    assert_int_equal(back.log_store, 1);
    assert_int_equal(back.result_store, 0);
    assert_string_equal(back.task_uri, "s3://b/task");
    assert_int_equal(back.task_store, 1);
    launch_task_clear(&t);
    launch_task_clear(&back);
}

static void task_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "[]",
        "{}",
        "{\"version\": 2, \"argv\": [\"a\"]}",
        "{\"version\": 1}",
        "{\"version\": 1, \"argv\": []}",
        "{\"version\": 1, \"taskUri\": \"s3://b/t\", \"taskStore\": 0}",
        "{\"version\": 1, \"argv\": [1]}",
        "{\"version\": 1, \"argv\": \"a\"}",
        "{\"version\": 1, \"argv\": [\"a\"], \"executorInputAt\": 1}",
        "{\"version\": 1, \"argv\": [\"a\"], \"executorInputAt\": 0}",
        "{\"version\": 1, \"argv\": [\"a\"], \"preludeAt\": 7}",
        "{\"version\": 1, \"argv\": [\"a\"], \"outputParameters\": [{\"key\": \"k\"}]}",
        "{\"version\": 1, \"argv\": [\"a\"], \"stores\": [{}]}",
        "{\"version\": 1, \"argv\": [\"a\"], \"logUri\": \"s3://b/l\", \"logStore\": 0}",
        "{\"version\": 1, \"argv\": [\"a\"], \"stores\": [{\"settings\": {}}], \"downloads\": [{\"uri\": \"s3://b/l\", "
        "\"store\": 0}]}",
        "{\"version\": 1, \"argv\": [\"a\"], \"outputArtifacts\": [{\"key\": \"k\", \"path\": \"/p\", \"uri\": \"s3://b\", "
        "\"store\": -1}]}",
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        struct launch_task t;
        if (launch_task_parse(cases[n], strlen(cases[n]), &t, &e) == 0)
            fail_msg("accepted: %s", cases[n]);
        assert_int_equal(e.code, ERR_BAD_REQUEST);
    }
}

static void result_round_trip(void **state)
{
    struct launch_result r, back;
    launch_result_init(&r);
    r.outcome = LAUNCH_SIGNALED;
    r.signal = 9;
    r.exit_code = 137;
    r.message = xstrdup("killed");
    r.log_tail = xstrdup("bad \xff bytes");
    r.executor_output = xstrdup("{}");
    r.params = xcalloc(3, sizeof *r.params);
    r.n_params = 3;
    r.params[0] = (struct launch_result_param){.key = xstrdup("nul"), .text = xmemdup("a\0b", 4), .len = 3};
    r.params[1] = (struct launch_result_param){.key = xstrdup("big"), .too_big = true, .len = 5000000};
    r.params[2] = (struct launch_result_param){.key = xstrdup("none")};
    r.artifacts = xcalloc(1, sizeof *r.artifacts);
    r.n_artifacts = 1;
    r.artifacts[0] = (struct launch_result_artifact){.key = xstrdup("a"), .exists = true, .is_dir = true, .size = 12};
    BUF(b);
    ERR(e);
    launch_result_text(&r, &b);
    assert_int_equal(launch_result_parse(b.data, b.len, &back, &e), 0);
    assert_int_equal(back.outcome, LAUNCH_SIGNALED);
    assert_int_equal(back.params[0].len, 3);
    assert_memory_equal(back.params[0].text, "a\0b", 4);
    assert_true(back.params[1].too_big);
    assert_int_equal(back.params[1].len, 5000000);
    assert_null(back.params[2].text);
    assert_string_equal(back.log_tail, "bad \xff bytes");
    assert_int_equal(back.artifacts[0].size, 12);
    launch_result_clear(&r);
    launch_result_clear(&back);
}

static void files(void **state)
{
    char dir[] = "/tmp/tidemill-launch-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct launch_result r;
    ERR(e);
    assert_int_equal(launch_result_read(dir, &r, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    launch_result_init(&r);
    assert_int_equal(launch_result_write(&r, dir, &e), 0);
    launch_result_clear(&r);
    assert_int_equal(launch_result_read(dir, &r, &e), 0);
    launch_result_clear(&r);
    fs_rm_rf(dir, NULL);
}

/* The directory belongs to the step: what it puts there neither stops the reader nor leads it elsewhere. */
static void hostile_files(void **state)
{
    char dir[] = "/tmp/tidemill-launch-XXXXXX", other[] = "/tmp/tidemill-launch-XXXXXX";
    assert_non_null(mkdtemp(dir));
    assert_non_null(mkdtemp(other));
    AUTOFREE char *path = fs_join(dir, LAUNCH_RESULT), *target = fs_join(other, LAUNCH_RESULT);
    struct launch_result r;
    struct launch_task t;
    ERR(e);
    launch_result_init(&r);
    assert_int_equal(launch_result_write(&r, other, &e), 0);
    launch_result_clear(&r);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(launch_result_read(dir, &r, &e), -1);
    assert_int_equal(e.code, ERR_BAD_REQUEST);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(launch_result_read(dir, &r, &e), -1);
    assert_int_equal(e.code, ERR_BAD_REQUEST);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(launch_result_read(dir, &r, &e), -1);
    assert_int_equal(e.code, ERR_BAD_REQUEST);
    /* And the writer: a link in the place of its temporary file is not written through. */
    AUTOFREE char *victim = fs_join(other, "victim"), *temp = fs_join(dir, LAUNCH_TASK ".new");
    assert_int_equal(symlink(victim, temp), 0);
    launch_task_init(&t);
    strlist_add(&t.argv, "true");
    assert_int_equal(launch_task_write(&t, dir, &e), 0);
    launch_task_clear(&t);
    assert_false(fs_exists(victim));
    assert_int_equal(launch_task_read(dir, &t, &e), 0);
    launch_task_clear(&t);
    fs_rm_rf(dir, NULL);
    fs_rm_rf(other, NULL);
}

TEST_GROUP(launch, cmocka_unit_test(task_round_trip), cmocka_unit_test(task_refused), cmocka_unit_test(result_round_trip),
           cmocka_unit_test(files), cmocka_unit_test(hostile_files))
