/* The tables of runs (spec 6), row by row: what an answer holds, what a caller cannot set, what may be done to a run in which
 * state, plugins. */
#include "kit.h"

#include "base/str.h"
#include "pipelines/store/store.h"

#define BASE "/apis/v2beta1"

static const char *text_at(struct json *d, const char *member) { return jv_str_or(jv_get(json_root(d), member), ""); }

static char *run_body(const char *source, const char *rest)
{
    AUTOFREE char *own = xasprintf("\"pipeline_spec\":%s", HELLO_IR);
    return xasprintf("{\"display_name\":\"r\",%s%s}", source ? source : own, rest);
}

static struct json *make(struct kit *k, const char *source, const char *rest, int status)
{
    AUTOFREE char *body = run_body(source, rest);
    return kit_call(k, HTTP_POST, BASE "/runs", body, status);
}

static char *path_of(struct json *run, const char *verb)
{
    AUTOFREE char *id = kit_get(run, "run_id");
    return xasprintf(BASE "/runs/%s%s", id, verb);
}

/* ---- answers ---------------------------------------------------------------------------------------------------------- */

/* What a caller sends, and what the answer and a later GET say of it. */
static void test_answers(void **state)
{
    struct kit *k = *state;
    static const struct {
        const char *rest, *member, *want; /* want: JSON; NULL: absent */
    } cases[] = {
        {"", "state", "\"PENDING\""},
        {"", "storage_state", "\"AVAILABLE\""},
        {"", "finished_at", "\"1970-01-01T00:00:00Z\""},
        {"", "created_at", "\"2025-11-25T12:00:00Z\""},
        {"", "scheduled_at", "\"2025-11-25T12:00:00Z\""},
        {"", "state_history", "[{\"update_time\":\"2025-11-25T12:00:00Z\",\"state\":\"PENDING\"}]"},
        {"", "service_account", "\"pipeline-runner\""},
        {",\"service_account\":\"\"", "service_account", "\"pipeline-runner\""},
        {",\"serviceAccount\":\"robot\"", "service_account", "\"robot\""},
        {"", "runtime_config", NULL},
        {",\"runtime_config\":{}", "runtime_config", NULL},
        {",\"runtime_config\":{\"parameters\":{},\"pipeline_root\":\"\"}", "runtime_config", NULL},
        {",\"runtime_config\":{\"parameters\":{\"n\":1},\"pipeline_root\":\"s3://b/p\"}", "runtime_config",
         "{\"parameters\":{\"n\":1},\"pipeline_root\":\"s3://b/p\"}"},
        {",\"runtime_config\":{\"parameters\":{\"n\":2.5}}", "runtime_config", "{\"parameters\":{\"n\":2.5}}"},
        {"", "pipeline_version_reference", NULL},
        {"", "description", NULL},
        {",\"description\":\"d\"", "description", "\"d\""},
        {"", "run_details", NULL},
        {"", "error", NULL},
        {"", "recurring_run_id", NULL},
        /* What only the server sets. */
        {",\"state\":\"SUCCEEDED\"", "state", "\"PENDING\""},
        {",\"storage_state\":\"ARCHIVED\"", "storage_state", "\"AVAILABLE\""},
        {",\"created_at\":\"2001-01-01T00:00:00Z\"", "created_at", "\"2025-11-25T12:00:00Z\""},
        {",\"scheduled_at\":\"2001-01-01T00:00:00Z\"", "scheduled_at", "\"2025-11-25T12:00:00Z\""},
        {",\"finished_at\":\"2001-01-01T00:00:00Z\"", "finished_at", "\"1970-01-01T00:00:00Z\""},
        {",\"state_history\":[{\"state\":\"FAILED\"}]", "state_history",
         "[{\"update_time\":\"2025-11-25T12:00:00Z\",\"state\":\"PENDING\"}]"},
        {",\"recurring_run_id\":\"x\"", "recurring_run_id", NULL},
        {",\"error\":{\"code\":5,\"message\":\"x\"}", "error", NULL},
        {",\"plugins_output\":{}", "plugins_output", NULL},
        {",\"plugins_input\":{\"mlflow\":{\"disabled\":true}}", "plugins_input", "{\"mlflow\":{\"disabled\":true}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(made) = make(k, NULL, cases[i].rest, 200);
        AUTOFREE char *path = path_of(made, "");
        JSON_REF(got) = kit_call(k, HTTP_GET, path, NULL, 200);
        JSON_REF(want) = cases[i].want ? json_parse_str(cases[i].want, NULL) : NULL;
        struct json *const both[] = {made, got};
        for (size_t n = 0; n < 2; n++) {
            jval *v = jv_get(json_root(both[n]), cases[i].member);
            AUTOFREE char *text = jv_text(v, 0);
            if (want ? !jv_equal(v, json_root(want)) : jv_present(v))
                fail_msg("%s: %s is %s, not %s", cases[i].rest, cases[i].member, text, cases[i].want ? cases[i].want : "absent");
        }
    }
    AUTOFREE char *body = run_body(NULL, "");
    json_unref(kit_call(k, HTTP_POST, BASE "/runs?experiment_id=nobody", body, 200)); /* deprecated, not looked at */
}

/* A run shows where it came from in one way: the spec that was sent, or the version that was named or found. */
static void test_sources(void **state)
{
    struct kit *k = *state;
    JSON_REF(p) = kit_upload(k, "upload", "name=p", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *pid = kit_get(p, "pipeline_id");
    AUTOFREE char *query = xasprintf("name=v2&pipelineid=%s", pid);
    JSON_REF(v) = kit_upload(k, "upload_version", query, "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *vid = kit_get(v, "pipeline_version_id");
    AUTOFREE char *open = xasprintf("\"pipeline_version_reference\":{\"pipeline_id\":\"%s\"}", pid);
    AUTOFREE char *both =
        xasprintf("\"pipeline_version_reference\":{\"pipeline_id\":\"%s\",\"pipeline_version_id\":\"%s\"}", pid, vid);
    AUTOFREE char *only = xasprintf("\"pipelineVersionReference\":{\"pipelineVersionId\":\"%s\"}", vid);
    AUTOFREE char *old = xasprintf("\"pipeline_version_id\":\"%s\"", vid);
    AUTOFREE char *bare = xasprintf("\"pipeline_spec\":%s", HELLO_IR);
    AUTOFREE char *pair =
        xasprintf("\"pipeline_spec\":{\"pipeline_spec\":%s,\"platform_spec\":{\"platforms\":{\"kubernetes\":{}}}}", HELLO_IR);
    const struct {
        const char *source;
        bool referring;
    } cases[] = {{open, true}, {both, true}, {only, true}, {old, true}, {bare, false}, {pair, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(d) = make(k, cases[i].source, "", 200);
        jval *ref = jv_get(json_root(d), "pipeline_version_reference"), *spec = jv_get(json_root(d), "pipeline_spec");
        assert_int_equal(jv_present(ref), cases[i].referring);
        assert_int_equal(jv_present(spec), !cases[i].referring);
        assert_false(jv_present(jv_get(json_root(d), "pipeline_version_id")));
        if (cases[i].referring) {
            assert_string_equal(jv_str_or(jv_get(ref, "pipeline_id"), ""), pid);
            assert_string_equal(jv_str_or(jv_get(ref, "pipeline_version_id"), ""), vid);
        }
        assert_int_equal(jv_present(jv_get(spec, "platform_spec")), cases[i].source == pair);
    }
    static const char *const two[] = {
        "\"pipeline_spec\":{},\"pipeline_version_id\":\"x\"",
        "\"pipeline_version_reference\":{\"pipeline_id\":\"x\"},\"pipeline_version_id\":\"x\"",
        "\"pipeline_spec\":{},\"pipelineVersionReference\":{\"pipeline_id\":\"x\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(two); i++)
        json_unref(make(k, two[i], "", 400));
    /* What was named goes, the run stays. */
    JSON_REF(d) = make(k, both, "", 200);
    AUTOFREE char *path = path_of(d, "");
    AUTOFREE char *gone = xasprintf(BASE "/pipelines/%s?cascade=true", pid);
    json_unref(kit_call(k, HTTP_DELETE, gone, NULL, 200));
    JSON_REF(still) = kit_call(k, HTTP_GET, path, NULL, 200);
    assert_string_equal(jv_str_or(jv_path(json_root(still), "pipeline_version_reference", "pipeline_version_id", NULL), ""), vid);
}

/* ---- experiments ------------------------------------------------------------------------------------------------------ */

static void test_experiments(void **state)
{
    struct kit *k = *state;
    JSON_REF(e) = kit_call(k, HTTP_POST, BASE "/experiments", "{\"display_name\":\"e\"}", 200);
    assert_string_equal(text_at(e, "last_run_created_at"), "1970-01-01T00:00:00Z");
    AUTOFREE char *eid = kit_get(e, "experiment_id");
    AUTOFREE char *epath = xasprintf(BASE "/experiments/%s", eid);
    AUTOFREE char *archive = xasprintf("%s:archive", epath);
    AUTOFREE char *in = xasprintf(",\"experiment_id\":\"%s\"", eid);
    json_unref(make(k, NULL, ",\"experiment_id\":\"nobody\"", 404));
    clock_manual_advance(&k->clock, 5 * NS_PER_S);
    JSON_REF(run) = make(k, NULL, in, 200);
    assert_string_equal(text_at(run, "experiment_id"), eid);
    JSON_REF(touched) = kit_call(k, HTTP_GET, epath, NULL, 200);
    assert_string_equal(text_at(touched, "last_run_created_at"), "2025-11-25T12:00:05Z");
    /* An archived one takes new runs, and they are not archived. */
    json_unref(kit_call(k, HTTP_POST, archive, NULL, 200));
    JSON_REF(late) = make(k, NULL, in, 200);
    assert_string_equal(text_at(late, "storage_state"), "AVAILABLE");
    /* Runs outlive it: they are shown, archived, restored and deleted as before. */
    json_unref(kit_call(k, HTTP_DELETE, epath, NULL, 200));
    static const char *const verbs[] = {":unarchive", ":archive", ":unarchive", ":terminate"};
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        AUTOFREE char *path = path_of(run, verbs[i]);
        json_unref(kit_call(k, HTTP_POST, path, NULL, 200));
    }
    AUTOFREE char *path = path_of(run, "");
    JSON_REF(still) = kit_call(k, HTTP_GET, path, NULL, 200);
    assert_string_equal(text_at(still, "experiment_id"), eid);
    assert_string_equal(text_at(still, "storage_state"), "AVAILABLE");
    json_unref(kit_call(k, HTTP_DELETE, path, NULL, 200));
    json_unref(kit_call(k, HTTP_GET, path, NULL, 404));
}

/* ---- what may be done in which state ----------------------------------------------------------------------------------- */

static void test_verbs(void **state)
{
    struct kit *k = *state;
    static const struct {
        enum run_state from;
        const char *verb;
        int status;
        const char *after;
    } cases[] = {
        {RUN_PENDING, ":terminate", 200, "CANCELING"},   {RUN_RUNNING, ":terminate", 200, "CANCELING"},
        {RUN_PAUSED, ":terminate", 200, "CANCELING"},    {RUN_STATE_UNSPECIFIED, ":terminate", 200, "CANCELING"},
        {RUN_CANCELING, ":terminate", 200, "CANCELING"}, /* from here on: no effect, no error */
        {RUN_SUCCEEDED, ":terminate", 200, "SUCCEEDED"}, {RUN_SKIPPED, ":terminate", 200, "SKIPPED"},
        {RUN_FAILED, ":terminate", 200, "FAILED"},       {RUN_CANCELED, ":terminate", 200, "CANCELED"},
        {RUN_PENDING, ":retry", 409, "PENDING"},         {RUN_RUNNING, ":retry", 409, "RUNNING"},
        {RUN_SUCCEEDED, ":retry", 409, "SUCCEEDED"},     {RUN_SKIPPED, ":retry", 409, "SKIPPED"},
        {RUN_CANCELING, ":retry", 409, "CANCELING"},     {RUN_PAUSED, ":retry", 409, "PAUSED"},
        {RUN_FAILED, ":retry", 200, "PENDING"},          {RUN_RUNNING, ":archive", 200, "RUNNING"},
        {RUN_CANCELING, ":archive", 200, "CANCELING"},   {RUN_FAILED, ":archive", 200, "FAILED"},
        {RUN_SUCCEEDED, ":archive", 200, "SUCCEEDED"},   {RUN_RUNNING, ":unarchive", 200, "RUNNING"}, /* it never was */
        {RUN_SUCCEEDED, ":unarchive", 200, "SUCCEEDED"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(made) = make(k, NULL, "", 200);
        AUTOFREE char *id = kit_get(made, "run_id");
        AUTOFREE char *sql =
            xasprintf("UPDATE runs SET state = %d, finished_at = 7000000000 WHERE run_id = '%s'", cases[i].from, id);
        kit_sql(k, sql);
        AUTOFREE char *verb = path_of(made, cases[i].verb);
        JSON_REF(d) = kit_call(k, HTTP_POST, verb, NULL, cases[i].status);
        if (cases[i].status == 200)
            assert_int_equal(jv_len(json_root(d)), 0); /* {} */
        else
            assert_int_equal(jv_i64_or(jv_get(json_root(d), "code"), 0), 10);
        AUTOFREE char *path = path_of(made, "");
        JSON_REF(now) = kit_call(k, HTTP_GET, path, NULL, 200);
        if (strcmp(text_at(now, "state"), cases[i].after) != 0)
            fail_msg("case %zu: %s", i, text_at(now, "state"));
        bool archived = str_eq(cases[i].verb, ":archive");
        assert_string_equal(text_at(now, "storage_state"), archived ? "ARCHIVED" : "AVAILABLE");
        bool again = str_eq(cases[i].verb, ":retry") && cases[i].status == 200;
        assert_string_equal(text_at(now, "finished_at"), again ? "1970-01-01T00:00:00Z" : "1970-01-01T00:00:07Z");
        AUTOFREE char *with_artifacts = path_of(made, "?delete_artifacts=true");
        json_unref(kit_call(k, HTTP_DELETE, i % 2 ? with_artifacts : path, NULL, 200)); /* in any state */
        json_unref(kit_call(k, HTTP_GET, path, NULL, 404));
    }
}

/* ---- plugins ---------------------------------------------------------------------------------------------------------- */

enum { KIB = 1024 };

/* An object of n keys, each with a text of this many letters, in so many objects. Caller frees. */
static char *plugins(int n, size_t letters, int depth)
{
    BUF(b);
    buf_adds(&b, ",\"plugins_input\":{");
    for (int i = 0; i < n; i++) {
        buf_addf(&b, "%s\"k%d\":", i ? "," : "", i);
        for (int d = 0; d < depth; d++)
            buf_adds(&b, "{\"a\":");
        buf_addc(&b, '"');
        for (size_t l = 0; l < letters; l++)
            buf_addc(&b, 'x');
        buf_addc(&b, '"');
        for (int d = 0; d < depth; d++)
            buf_addc(&b, '}');
    }
    buf_addc(&b, '}');
    return buf_steal(&b, NULL);
}

static void test_plugins(void **state)
{
    struct kit *k = *state;
    const size_t frame = strlen("{\"a\":\"\"}");
    const struct {
        int n;
        size_t letters;
        int depth, status;
    } sizes[] = {
        {16, 1, 1, 200},
        {17, 1, 1, 400},
        {1, 64 * KIB - frame, 1, 200},
        {1, 64 * KIB - frame + 1, 1, 400},
        {4, 64 * KIB - frame, 1, 200},
        {5, 64 * KIB - frame, 1, 400}, /* more than 256 KiB in all */
        {1, 1, 10, 200},
        {1, 1, 11, 400},
    };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        AUTOFREE char *rest = plugins(sizes[i].n, sizes[i].letters, sizes[i].depth);
        json_unref(make(k, NULL, rest, sizes[i].status));
    }
    static const struct {
        const char *rest;
        int status;
    } cases[] = {
        {",\"plugins_input\":{\"mlflow\":{\"experiment_name\":\"e\",\"experiment_id\":\"1\",\"disabled\":false}}", 200},
        {",\"plugins_input\":{\"mlflow\":{}}", 200},
        {",\"plugins_input\":{\"mlflow\":{\"run\":1}}", 400},
        {",\"plugins_input\":{\"other\":{\"run\":1}}", 200},
        {",\"plugins_input\":{\"other\":\"text\"}", 400},
        {",\"plugins_output\":{\"mlflow\":{\"state\":\"PLUGIN_RUNNING\"}}", 409},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        json_unref(make(k, NULL, cases[i].rest, cases[i].status));
}

TEST_GROUP(run_tables, WITH_KIT(test_answers), WITH_KIT(test_sources), WITH_KIT(test_experiments), WITH_KIT(test_verbs),
           WITH_KIT(test_plugins))
