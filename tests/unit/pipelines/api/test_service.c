/* The calls themselves, and what their errors look like. */
#include "kit.h"

#include <pthread.h>

#include "base/str.h"
#include "pipelines/ir/types.h"

static const char *member(struct json *d, const char *key) { return jv_str_or(jv_get(json_root(d), key), ""); }

static void is_error(struct json *d, int code, const char *says)
{
    jval *root = json_root(d), *detail = jv_at(jv_get(root, "details"), 0);
    assert_int_equal(jv_i64_or(jv_get(root, "code"), 0), code);
    assert_int_equal(jv_i64_or(jv_get(detail, "code"), 0), code);
    assert_string_equal(jv_str_or(jv_get(detail, "@type"), ""), "type.googleapis.com/google.rpc.Status");
    if (!strstr(member(d, "message"), says) || !*jv_str_or(jv_get(detail, "message"), ""))
        fail_msg("%s lacks %s", member(d, "message"), says);
}

static void test_envelopes(void **state)
{
    struct kit *k = *state;
    static const struct {
        enum http_method method;
        const char *path, *body;
        int status, code;
        const char *says;
    } cases[] = {
        {HTTP_GET, "/apis/v2beta1/nope", NULL, 404, 5, "Not Found"},
        {HTTP_PUT, "/apis/v2beta1/runs", NULL, 501, 12, "Method Not Allowed"},
        {HTTP_GET, "/apis/v2beta1/runs/x", NULL, 404, 5, "Run x not found"},
        {HTTP_GET, "/apis/v2beta1/experiments/x", NULL, 404, 5, "Experiment x not found"},
        {HTTP_GET, "/apis/v2beta1/pipelines/x", NULL, 404, 5, "Pipeline x not found"},
        {HTTP_GET, "/apis/v2beta1/pipelines/x/versions", NULL, 404, 5, "Pipeline x not found"},
        {HTTP_GET, "/apis/v2beta1/pipelines/x/versions/y", NULL, 404, 5, "PipelineVersion y not found"},
        {HTTP_GET, "/apis/v2beta1/pipelines/names/x", NULL, 404, 5, "x not found"},
        {HTTP_GET, "/apis/v2beta1/runs?experiment_id=x", NULL, 404, 5, "Experiment x not found"},
        {HTTP_POST, "/apis/v2beta1/experiments", "{", 400, 3, ""},
        {HTTP_POST, "/apis/v2beta1/experiments", "{}", 400, 3, "non-empty name"},
        {HTTP_POST, "/apis/v2beta1/experiments", "{\"display_name\":\"Default\"}", 409, 6, "Please specify a new name"},
        {HTTP_POST, "/apis/v2beta1/runs", "{\"display_name\":\"r\"}", 400, 3, "source"},
        {HTTP_POST, "/apis/v2beta1/runs", "{\"display_name\":\"r\",\"pipeline_version_reference\":{\"pipeline_id\":\"x\"}}", 404,
         5, "Pipeline x not found"},
        {HTTP_POST, "/apis/v2beta1/runs", "{\"display_name\":\"r\",\"plugins_output\":{\"x\":{}},\"pipeline_spec\":{}}", 409, 10,
         "plugins_output"},
        {HTTP_POST, "/apis/v2beta1/runs/x:terminate", NULL, 404, 5, "Run x not found"},
        {HTTP_POST, "/apis/v2beta1/runs/x:freeze", NULL, 501, 12, "Method Not Allowed"},
        {HTTP_POST, "/apis/v2beta1/recurringruns", "{\"trigger\":{\"cron\":1}}", 400, 3, "cron"},
        {HTTP_POST, "/apis/v2beta1/workflows", "{}", 403, 7, "reports"},
        {HTTP_DELETE, "/apis/v2beta1/pipelines/x?cascade=maybe", NULL, 400, 3, "maybe"},
        {HTTP_GET, "/apis/v1beta1/auth", NULL, 400, 3, "Namespace is empty"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(d) = kit_call(k, cases[i].method, cases[i].path, cases[i].body, cases[i].status);
        is_error(d, cases[i].code, cases[i].says);
    }
    JSON_REF(hand) = kit_call(k, HTTP_GET, "/apis/v2beta1/pipelines/upload", NULL, 400);
    is_error(hand, 3, "multipart");
    assert_true(*member(hand, "error_message") && *member(hand, "error_details"));
}

static void test_healthz(void **state)
{
    struct kit *k = *state;
    JSON_REF(d) = kit_call(k, HTTP_GET, "/pipeline/apis/v2beta1/healthz", NULL, 200);
    assert_false(jv_bool(jv_get(json_root(d), "multi_user"), true));
    assert_string_equal(member(d, "pipeline_store"), "database");
}

static char *make_run(struct kit *k, const char *rest)
{
    AUTOFREE char *body = xasprintf("{\"display_name\":\"r\",\"pipeline_spec\":%s%s}", HELLO_IR, rest);
    JSON_REF(d) = kit_call(k, HTTP_POST, "/apis/v2beta1/runs", body, 200);
    assert_string_equal(member(d, "state"), "PENDING");
    assert_string_equal(member(d, "finished_at"), "1970-01-01T00:00:00Z");
    assert_string_equal(member(d, "service_account"), "pipeline-runner");
    return kit_get(d, "run_id");
}

static void test_run_life(void **state)
{
    struct kit *k = *state;
    AUTOFREE char *id = make_run(k, ",\"runtime_config\":{\"parameters\":{\"n\":9007199254740993}}");
    assert_string_equal(k->notified, id);
    AUTOFREE char *path = xasprintf("/apis/v2beta1/runs/%s", id);
    JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 200);
    assert_string_equal(jv_num_text(jv_path(json_root(d), "runtime_config", "parameters", "n", NULL)), "9007199254740993");
    JSON_REF(spec) = json_parse_str(HELLO_IR, NULL);
    assert_true(jv_equal(jv_get(json_root(d), "pipeline_spec"), json_root(spec)));
    assert_null(jv_get(json_root(d), "run_details"));
    static const struct {
        const char *verb;
        int status;
        const char *key, *value;
    } steps[] = {
        {"archive", 200, "storage_state", "ARCHIVED"},    {"archive", 200, "storage_state", "ARCHIVED"},
        {"unarchive", 200, "storage_state", "AVAILABLE"}, {"retry", 409, "state", "PENDING"},
        {"terminate", 200, "state", "CANCELING"},         {"terminate", 200, "state", "CANCELING"},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        AUTOFREE char *verb = xasprintf("%s:%s", path, steps[i].verb);
        json_unref(kit_call(k, HTTP_POST, verb, NULL, steps[i].status));
        JSON_REF(now) = kit_call(k, HTTP_GET, path, NULL, 200);
        assert_string_equal(member(now, steps[i].key), steps[i].value);
    }
    json_unref(kit_call(k, HTTP_DELETE, path, NULL, 200));
    json_unref(kit_call(k, HTTP_GET, path, NULL, 404));
    json_unref(kit_call(k, HTTP_DELETE, path, NULL, 404));
}

static void test_run_parameters(void **state)
{
    struct kit *k = *state;
    static const struct {
        const char *parameters;
        int status;
        const char *says;
    } cases[] = {
        {"{\"n\":3}", 200, ""},
        {"{\"n\":\"3\"}", 400, "n"},
        {"{\"nope\":3}", 400, "nope"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *body = xasprintf("{\"display_name\":\"r\",\"pipeline_spec\":%s,\"runtime_config\":{\"parameters\":%s}}",
                                        HELLO_IR, cases[i].parameters);
        JSON_REF(d) = kit_call(k, HTTP_POST, "/apis/v2beta1/runs", body, cases[i].status);
        if (cases[i].status != 200)
            is_error(d, 3, cases[i].says);
    }
    JSON_REF(list) = kit_call(k, HTTP_GET, "/apis/v2beta1/runs", NULL, 200);
    assert_int_equal(jv_i64_or(jv_get(json_root(list), "total_size"), 0), 1); /* what was refused left nothing */
}

static void test_run_id_given(void **state)
{
    struct kit *k = *state;
    AUTOFREE char *id = make_run(k, ",\"run_id\":\"0b5e3a1c-2d4f-4a9d-8e6b-4c8a9f7d0b5e\"");
    assert_string_equal(id, "0b5e3a1c-2d4f-4a9d-8e6b-4c8a9f7d0b5e");
    AUTOFREE char *body = xasprintf("{\"display_name\":\"r\",\"run_id\":\"%s\",\"pipeline_spec\":%s}", id, HELLO_IR);
    JSON_REF(d) = kit_call(k, HTTP_POST, "/apis/v2beta1/runs", body, 409);
    is_error(d, 6, id);
    AUTOFREE char *other = make_run(k, ",\"run_id\":\"any text\"");
    assert_string_not_equal(other, "any text");
}

static void test_versions(void **state)
{
    struct kit *k = *state;
    JSON_REF(up) = kit_upload(k, "upload", "name=p&tags=%7B%22a%22:%22b%22%7D", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *p = kit_get(up, "pipeline_id");
    assert_string_equal(jv_str_or(jv_path(json_root(up), "tags", "a", NULL), ""), "b");
    AUTOFREE char *query = xasprintf("name=v2&pipelineid=%s", p);
    JSON_REF(v2) = kit_upload(k, "upload_version", query, "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *v = kit_get(v2, "pipeline_version_id");
    json_unref(kit_upload(k, "upload_version", query, "x.json", HELLO_IR, strlen(HELLO_IR), 409));
    json_unref(kit_upload(k, "upload", "name=p", "x.json", HELLO_IR, strlen(HELLO_IR), 409));

    /* A reference without a version is the latest one, now and for good. */
    AUTOFREE char *body = xasprintf("{\"display_name\":\"r\",\"pipeline_version_reference\":{\"pipeline_id\":\"%s\"}}", p);
    JSON_REF(run) = kit_call(k, HTTP_POST, "/apis/v2beta1/runs", body, 200);
    assert_string_equal(jv_str_or(jv_path(json_root(run), "pipeline_version_reference", "pipeline_version_id", NULL), ""), v);
    AUTOFREE char *run_path = xasprintf("/apis/v2beta1/runs/%s", member(run, "run_id"));

    AUTOFREE char *path = xasprintf("/apis/v2beta1/pipelines/%s", p);
    AUTOFREE char *cascade = xasprintf("%s?cascade=true", path);
    JSON_REF(refused) = kit_call(k, HTTP_DELETE, path, NULL, 400);
    is_error(refused, 3, "cascade=true");
    json_unref(kit_call(k, HTTP_DELETE, run_path, NULL, 200)); /* the spec stays: versions have it too */
    AUTOFREE char *v_path = xasprintf("%s/versions/%s", path, v);
    JSON_REF(still) = kit_call(k, HTTP_GET, v_path, NULL, 200);
    assert_non_null(jv_get(json_root(still), "pipeline_spec"));
    json_unref(kit_call(k, HTTP_DELETE, cascade, NULL, 200));
    json_unref(kit_call(k, HTTP_GET, v_path, NULL, 404));
}

#define IR_HEAD "pipelineInfo: {name: p}\nschemaVersion: 2.1.0\n"
#define IR_ROOT "root: {dag: {tasks: {a: {componentRef: {name: c}}}}}\n"

static void test_uploads_refused(void **state)
{
    struct kit *k = *state;
    static const struct {
        const char *query, *file, *text, *says;
    } cases[] = {
        {"name=p", "x.yaml", "", "empty"},
        {"name=p", "x.yaml", "a: [", "unable to decode yaml document"},
        {"name=p", "x.yaml", "a: 1", "no pipeline spec is provided"},
        {"name=p", "x.yaml", IR_HEAD IR_ROOT "---\n" IR_HEAD IR_ROOT, "multiple pipeline specs provided"},
        {"name=p", "x.yaml", IR_HEAD IR_ROOT "---\nplatforms: {kubernetes: {}}\n---\nplatforms: {kubernetes: {}}\n",
         "multiple platform specs provided"},
        {"name=p", "x.yaml", IR_HEAD IR_ROOT "surprise: 1\n", "invalid v2 pipeline spec: surprise"},
        {"name=p", "x.yaml", IR_HEAD "root: {dag: {tasks: []}}\n",
         "invalid v2 pipeline spec: root.dag.tasks: expected an object"},
        {"name=p", "x.yaml", "pipelineInfo: {name: p}\nschemaVersion: 2.2.0\n" IR_ROOT,
         "KFP only supports schema version 2.1.0, but the pipeline spec has version 2.2.0"},
        {"name=p", "x.yaml", IR_HEAD, "no pipeline spec is provided"},
        {"name=p", "x.yaml", "schemaVersion: 2.1.0\n" IR_ROOT, "no pipeline spec is provided"},
        {"name=p", "x.yaml", "pipelineInfo: {name: P_Q}\nschemaVersion: 2.1.0\n" IR_ROOT, "name should consist of lower case"},
        {"name=p", "x.yaml", IR_HEAD IR_ROOT, "\"a\" of \"root\" refers to component \"c\""},
        {"name=p", "x.yaml", "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", "V1 pipeline specs are not allowed"},
        {"name=p", "x.yaml", "name: c\nimplementation: {container: {image: i}}\n", "this is a component"},
        {"name=p", "x.bin", "a: 1", "format"},
        {"name=p&tags=%7B", "x.json", HELLO_IR, "tags"},
        {"name=p&tags=%7B%22a.b%22:%22c%22%7D", "x.json", HELLO_IR, "a.b"},
        {"name=p&name=q", "x.json", HELLO_IR, "name"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(d) = kit_upload(k, "upload", cases[i].query, cases[i].file, cases[i].text, strlen(cases[i].text), 400);
        is_error(d, 3, cases[i].says);
        assert_true(*member(d, "error_message"));
    }
    JSON_REF(list) = kit_call(k, HTTP_GET, "/apis/v2beta1/pipelines", NULL, 200);
    assert_int_equal(jv_len(json_root(list)), 0);
}

/* What a run may be given; too much is as wrong as the wrong type. */
static void test_parameters_refused(void **state)
{
    struct kit *k = *state;
    AUTOFREE char *long_text = xcalloc(1, PARAM_VALUE_MAX + 2);
    memset(long_text, 'a', PARAM_VALUE_MAX + 1);
    AUTOFREE char *too_long = xasprintf("{\"t\":\"%s\"}", long_text);
    const struct {
        const char *given, *says;
    } cases[] = {
        {"{}", "parameter t is not optional"},
        {"{\"t\":1}", "requires type string"},
        {"{\"t\":\"x\",\"n\":\"1\"}", "requires type double or integer"},
        {"{\"t\":\"x\",\"b\":1,\"a\":2}", "parameter(s) provided are not required by pipeline: a, b"},
        {"{\"t\":\"x\",\"c\":\"blue\"}", "must be one of [\"red\"]"},
        {"{\"t\":\"x\",\"s\":{}}", "TASK_FINAL_STATUS"},
        {too_long, "input parameter \"t\" has 4194305 bytes; at most 4194304 are allowed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *body =
            xasprintf("{\"display_name\":\"r\",\"pipeline_spec\":{\"pipelineInfo\":{\"name\":\"p\"},\"schemaVersion\":\"2.1.0\","
                      "\"components\":{"
                      "\"c\":{\"executorLabel\":\"e\"}},\"deploymentSpec\":{\"executors\":{\"e\":{\"container\":{\"image\":\"i\"}"
                      "}}},\"root\":{\"dag\":"
                      "{\"tasks\":{\"a\":{\"componentRef\":{\"name\":\"c\"}}}},\"inputDefinitions\":{\"parameters\":{\"t\":{"
                      "\"parameterType\":\"STRING\"},"
                      "\"n\":{\"parameterType\":\"NUMBER_INTEGER\",\"isOptional\":true},\"c\":{\"parameterType\":\"STRING\","
                      "\"isOptional\":true,"
                      "\"literals\":[\"red\"]},\"s\":{\"parameterType\":\"TASK_FINAL_STATUS\",\"isOptional\":true}}}}},"
                      "\"runtime_config\":{\"parameters\":%s}}",
                      cases[i].given);
        JSON_REF(d) = kit_call(k, HTTP_POST, "/apis/v2beta1/runs", body, 400);
        is_error(d, 3, cases[i].says);
    }
}

static void test_experiment_archive(void **state)
{
    struct kit *k = *state;
    AUTOFREE char *id = make_run(k, "");
    AUTOFREE char *path = xasprintf("/apis/v2beta1/runs/%s", id);
    JSON_REF(run) = kit_call(k, HTTP_GET, path, NULL, 200);
    AUTOFREE char *e = xasprintf("/apis/v2beta1/experiments/%s", member(run, "experiment_id"));
    AUTOFREE char *archive = xasprintf("%s:archive", e), *unarchive = NULL;
    unarchive = xasprintf("%s:unarchive", path);
    json_unref(kit_call(k, HTTP_POST, archive, NULL, 200));
    JSON_REF(now) = kit_call(k, HTTP_GET, path, NULL, 200);
    assert_string_equal(member(now, "storage_state"), "ARCHIVED");
    JSON_REF(refused) = kit_call(k, HTTP_POST, unarchive, NULL, 400);
    is_error(refused, 9, "must be un-archived first");
    JSON_REF(gone) = kit_call(k, HTTP_DELETE, e, NULL, 409); /* the default one */
    is_error(gone, 10, "default experiment");
}

/* With every host allowed, the addresses alone decide. */
static void test_url_addresses(void **state)
{
    const struct pipelines_url_rules rules = {.domains = "*", .allow_http = true};
    struct kit *k = kit_new(&rules);
    static const char *const urls[] = {
        "https://127.0.0.1/a.yaml",
        "http://127.0.0.1/a.yaml",
        "https://10.0.0.1/a",
        "https://169.254.169.254/latest",
        "https://[::1]/a",
        "https://0.0.0.0/a",
        "https://[::ffff:10.0.0.1]/a",
        "https://[fd00::1]/a",
        "https://[fe80::1]/a",
        "https://100.64.0.1/a",
        "https://u:p@127.0.0.1/a",
        "https://127.0.0.1:8443/a",
        "file:///etc/passwd",
        "https://",
        "::",
        "ftp://x/y",
        "gopher://127.0.0.1/",
        "https://[::1/a",
    };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        AUTOFREE char *body = xasprintf(
            "{\"pipeline\":{\"name\":\"p\"},\"pipeline_version\":{\"package_url\":{\"pipeline_url\":\"%s\"}}}", urls[i]);
        JSON_REF(d) = kit_call(k, HTTP_POST, "/apis/v2beta1/pipelines/create", body, 400);
        is_error(d, 3, "URL");
    }
    kit_free(k);
}

static void test_url_open(void **state)
{
    const struct pipelines_url_rules rules = {.open = true};
    struct kit *k = kit_new(&rules);
    AUTOFREE char *body = xasprintf("{\"pipeline\":{\"name\":\"p\"},\"pipeline_version\":{\"package_url\":{\"pipeline_url\":"
                                    "\"http://127.0.0.1:%d/apis/v2beta1/nope.json\"}}}",
                                    k->port);
    JSON_REF(d) = kit_call(k, HTTP_POST, "/apis/v2beta1/pipelines/create", body, 400);
    is_error(d, 3, "returned 404");
    kit_free(k);
}

/* ---- tasks and what they made ---------------------------------------------------------------------------------------- */

/* Rows own their texts; those here are only read. */
#define TEXT(s) ((char *)(s))

/* A root with one step that ran twice and left an artifact. */
static int two_tasks_job(struct db *db, void *arg, struct err *err)
{
    struct task_row root = {.id = 1,
                            .task_id = TEXT("t-root"),
                            .name = TEXT("root"),
                            .display_name = TEXT("root"),
                            .path = TEXT("root"),
                            .type = TASK_ROOT,
                            .state = TASK_RUNNING};
    struct task_row step = {
        .id = 2,
        .task_id = TEXT("t-say"),
        .parent = 1,
        .name = TEXT("say"),
        .display_name = TEXT("say it"),
        .path = TEXT("root/say"),
        .type = TASK_RUNTIME,
        .state = TASK_FAILED,
        .error_code = 13,
        .error_message = TEXT("exit code 1"),
        .created_ns = 1764072000LL * NS_PER_S,
        .finished_ns = 1764072001500LL * NS_PER_MS,
        .pod_name = TEXT("p-1"),
        .pods = TEXT("[{\"name\":\"p-0\",\"failed\":true},{\"name\":\"p-1\",\"failed\":true}]"),
        .state_history = TEXT("[{\"state\":\"RUNNING\",\"update_time\":\"2025-11-25T12:00:00Z\"}]"),
        .outputs = TEXT("{\"parameters\":{\"x\":1},\"artifacts\":{\"model\":[9]}}"),
    };
    root.run_id = step.run_id = arg;
    const struct md_artifact a = {.id = 9,
                                  .name = TEXT("model"),
                                  .schema_title = TEXT("system.Model"),
                                  .uri = TEXT("minio://mlpipeline/v2/model"),
                                  .metadata = TEXT("{}"),
                                  .task_id = 2,
                                  .size = -1};
    const struct md_link l = {.artifact_id = 9,
                              .task_id = 2,
                              .run_id = arg,
                              .io = MD_IO_OUTPUT,
                              .key = TEXT("model"),
                              .producer = TEXT(""),
                              .producer_iteration = -1};
    return task_put(db, &root, err) < 0 || task_put(db, &step, err) < 0 || md_artifact_insert(db, &a, err) < 0
               ? -1
               : md_link_insert(db, &l, err);
}

static void test_tasks(void **state)
{
    struct kit *k = *state;
    AUTOFREE char *id = make_run(k, "");
    struct ctx ctx = ctx_background();
    ERR(e);
    if (db_writer_run(k->store.writer, &ctx, two_tasks_job, id, &e) < 0)
        fail_msg("%s", err_text(&e));
    AUTOFREE char *path = xasprintf("/apis/v2beta1/runs/%s", id);
    JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 200);
    jval *tasks = jv_path(json_root(d), "run_details", "task_details", NULL), *root = jv_at(tasks, 0), *say = jv_at(tasks, 1);
    assert_int_equal(jv_len(tasks), 2);
    assert_string_equal(jv_str_or(jv_path(root, "child_tasks", "0", "task_id", NULL), ""), "t-say");
    assert_string_equal(jv_str_or(jv_get(root, "end_time"), ""), "1970-01-01T00:00:00Z");
    static const struct {
        const char *key, *value;
    } want[] = {{"display_name", "say it"},
                {"state", "FAILED"},
                {"execution_id", "2"},
                {"parent_task_id", "t-root"},
                {"pod_name", "p-1"},
                {"create_time", "2025-11-25T12:00:00Z"},
                {"end_time", "2025-11-25T12:00:01.500Z"}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_string_equal(jv_str_or(jv_get(say, want[i].key), ""), want[i].value);
    assert_string_equal(jv_str_or(jv_path(say, "outputs", "model", "artifact_ids", "0", NULL), ""), "9");
    assert_string_equal(jv_str_or(jv_path(say, "executor_detail", "failed_main_jobs", "0", NULL), ""), "p-0");
    assert_string_equal(jv_str_or(jv_path(say, "error", "message", NULL), ""), "exit code 1");

    assert_int_equal(blob_write(k->blobs, &ctx, "mlpipeline", "v2/model", "hello", 5, &e), 0);
    static const char *const nodes[] = {"say", "t-say", "p-1", "say%20it"};
    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        AUTOFREE char *read = xasprintf("%s/nodes/%s/artifacts/model:read", path, nodes[i]);
        JSON_REF(bytes) = kit_call(k, HTTP_GET, read, NULL, 200);
        assert_string_equal(member(bytes, "data"), "aGVsbG8=");
    }
    static const struct {
        const char *rest;
        int status;
    } refused[] = {{"nodes/say/artifacts/none:read", 404},
                   {"nodes/none/artifacts/model:read", 404},
                   {"nodes/root/log", 404},
                   {"nodes/say/log", 501}};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        AUTOFREE char *read = xasprintf("%s/%s", path, refused[i].rest);
        JSON_REF(no) = kit_call(k, HTTP_GET, read, NULL, refused[i].status);
        assert_true(*member(no, "error_message"));
    }
    JSON_REF(list) = kit_call(k, HTTP_GET, "/apis/v2beta1/runs", NULL, 200);
    assert_null(jv_get(jv_at(jv_get(json_root(list), "runs"), 0), "run_details")); /* large: only where one run is asked for */
}

/* ---- many at once ------------------------------------------------------------------------------------------------------ */

enum { THREADS = 6, EACH = 20 };

static void *many_main(void *arg)
{
    struct kit *k = arg;
    for (int i = 0; i < EACH; i++) {
        AUTOFREE char *id = make_run(k, "");
        AUTOFREE char *path = xasprintf("/apis/v2beta1/runs/%s", id);
        json_unref(kit_call(k, HTTP_GET, path, NULL, 200)); /* what was answered is there, whoever asks */
        json_unref(kit_call(k, HTTP_GET, "/apis/v2beta1/runs?page_size=5&sort_by=name", NULL, 200));
        if (i % 4 == 0)
            json_unref(kit_call(k, HTTP_DELETE, path, NULL, 200));
    }
    return NULL;
}

static void test_many_at_once(void **state)
{
    struct kit *k = *state;
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, many_main, k), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    /* The clock stands still: still no two were created at the same time. */
    struct db *db = db_reader_get(k->store.readers, NULL);
    struct stmt *s = db_prepare_dynamic(db, "SELECT count(*), count(DISTINCT created_at), count(DISTINCT name) FROM runs", NULL);
    assert_int_equal(stmt_step(s, NULL), 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(stmt_i64(s, i), THREADS * EACH * 3 / 4);
    stmt_done(s);
    db_reader_put(k->store.readers, db);
}

TEST_GROUP(service, WITH_KIT(test_envelopes), WITH_KIT(test_healthz), WITH_KIT(test_run_life), WITH_KIT(test_run_parameters),
           WITH_KIT(test_run_id_given), WITH_KIT(test_versions), WITH_KIT(test_uploads_refused),
           WITH_KIT(test_parameters_refused), WITH_KIT(test_experiment_archive), WITH_KIT(test_tasks),
           WITH_KIT(test_many_at_once), cmocka_unit_test(test_url_addresses), cmocka_unit_test(test_url_open))
