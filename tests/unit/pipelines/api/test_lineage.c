/* Tasks, artifacts and their bytes, and the stream of changes. */
#include <unistd.h>

#include "kit.h"

#include "base/str.h"

#define RUN_ID "8c0e6c3a-8d36-4f4f-9a59-0a6f5a7f1a11"
#define BASE   "/apis/v2beta1"

static int fill_job(struct db *db, void *arg, struct err *err)
{
    struct kit *k = arg;
    char hash[65];
    char text[] = "m", path0[] = "root", path1[] = "root/loop[3]/train", id0[] = "t-root", id1[] = "t-train", run[] = RUN_ID,
         e[] = "e1";
    char shown[] = "run", pipeline[] = "hello";
    if (spec_put(db, HELLO_IR, NULL, hash, err) < 0)
        return -1;
    struct run r = {.run_id = run,
                    .display_name = shown,
                    .pipeline_name = pipeline,
                    .spec_hash = hash,
                    .experiment_id = e,
                    .inline_spec = true};
    if (run_insert(db, &r, k->store.clock, err) < 0)
        return -1;
    free(r.name);
    free(r.state_history);
    struct task_row root = {.id = 1,
                            .task_id = id0,
                            .run_id = run,
                            .name = path0,
                            .display_name = path0,
                            .path = path0,
                            .type = TASK_ROOT,
                            .iteration_index = -1,
                            .iteration_count = -1,
                            .state = TASK_RUNNING,
                            .created_ns = 5 * NS_PER_S};
    char train[] = "train", pod[] = "pod-1", pods[] = "[{\"name\":\"pod-1\",\"uid\":\"u1\",\"attempt\":0}]", key[] = "fp1";
    char in[] = "{\"parameters\":{\"n\":3},\"artifacts\":{\"data\":[1]}}",
         out[] = "{\"parameters\":{},\"artifacts\":{\"model\":[2]}}";
    char io[] = "{\"n\":{\"io\":2,\"producer\":\"first\",\"iteration\":1}}";
    char history[] =
        "[{\"update_time\":\"2025-11-25T12:00:00Z\",\"state\":\"PENDING\"},{\"update_time\":\"2025-11-25T12:00:01Z\","
        "\"state\":\"SKIPPED\"}]";
    struct task_row t = {.id = 2,
                         .task_id = id1,
                         .run_id = run,
                         .parent = 1,
                         .name = train,
                         .display_name = train,
                         .path = path1,
                         .type = TASK_RUNTIME,
                         .iteration_index = 3,
                         .iteration_count = -1,
                         .state = TASK_CACHED,
                         .state_history = history,
                         .created_ns = 5 * NS_PER_S,
                         .pod_name = pod,
                         .pods = pods,
                         .inputs = in,
                         .outputs = out,
                         .io = io,
                         .cache_key = key};
    if (task_put(db, &root, err) < 0 || task_put(db, &t, err) < 0)
        return -1;
    static const char *const titles[] = {"system.Dataset", "system.Model", "system.Metrics"};
    for (int64_t i = 1; i <= 3; i++) {
        char uri[100], title[40], metadata[] = "{\"acc\":0.5}", name[20];
        snprintf(uri, sizeof uri, "minio://mlpipeline/a/%d", (int)i);
        snprintf(title, sizeof title, "%s", titles[i - 1]);
        snprintf(name, sizeof name, "%s%d", text, (int)i);
        struct md_artifact a = {.id = i,
                                .name = name,
                                .schema_title = title,
                                .uri = uri,
                                .metadata = metadata,
                                .run_id = run,
                                .task_id = 2,
                                .created_ns = i * NS_PER_S,
                                .size = 10};
        char k1[] = "model";
        struct md_link l = {.artifact_id = i,
                            .task_id = 2,
                            .run_id = run,
                            .io = i == 1 ? MD_IO_TASK_OUTPUT_INPUT : MD_IO_OUTPUT,
                            .key = k1,
                            .producer_iteration = -1};
        if (md_artifact_insert(db, &a, err) < 0 || md_link_insert(db, &l, err) < 0)
            return -1;
    }
    static const char CACHE[] = "INSERT INTO step_cache (key, namespace, pipeline, task_id, run_id, outputs, created_at) "
                                "VALUES ('fp1', '', '', 2, '" RUN_ID "', '{}', 1)";
    return db_exec(db, CACHE, err);
}

static void write_all(struct kit *k, db_job_fn *job)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    if (db_writer_run(k->store.writer, &ctx, job, k, &e) < 0)
        fail_msg("%s", err_text(&e));
}

/* The texts at the end of a list of paths, joined. */
static void expect_at(struct json *d, const char *list, const char *member, const char *want)
{
    STRLIST(got);
    jval *v = jv_get(json_root(d), list);
    for (size_t i = 0; i < jv_len(v); i++)
        strlist_add(&got, jv_str_or(jv_get(jv_at(v, i), member), "-"));
    AUTOFREE char *text = strlist_join(&got, ",");
    assert_string_equal(text, want);
}

static void test_lists(void **state)
{
    struct kit *k = *state;
    write_all(k, fill_job);
    static const struct {
        const char *path, *list, *member, *want;
    } cases[] = {
        {BASE "/runs/" RUN_ID "/tasks", "tasks", "task_id", "t-root,t-train"},
        {BASE "/runs/" RUN_ID "/tasks?sort_by=created_at%20desc", "tasks", "task_id", "t-train,t-root"},
        {BASE "/runs/" RUN_ID "/tasks?order_by=name%20desc", "tasks", "name", "train,root"},
        {BASE "/runs/" RUN_ID "/tasks?parent_id=t-root", "tasks", "task_id", "t-train"},
        {BASE "/runs/" RUN_ID "/tasks?parent_id=none", "tasks", "task_id", ""},
        {BASE "/runs/" RUN_ID "/tasks?filter=%7B%22predicates%22:%5B%7B%22key%22:%22state%22,%22operation%22:1,%22stringValue%22:"
              "%22RUNNING%22%7D%5D%7D",
         "tasks", "task_id", "t-root"},
        {BASE "/runs/" RUN_ID "/tasks?filter=%7B%22predicates%22:%5B%7B%22key%22:%22state%22,%22operation%22:2,%22stringValue%22:"
              "%22RUNNING%22%7D%5D%7D",
         "tasks", "state", "CACHED"},
        {BASE "/runs/" RUN_ID "?view=FULL", "tasks", "type", "ROOT,RUNTIME"},
        {BASE "/artifacts", "artifacts", "artifact_id", "1,2,3"},
        {BASE "/artifacts?sort_by=id%20desc&page_size=2", "artifacts", "artifact_id", "3,2"},
        {BASE "/artifacts?sort_by=type", "artifacts", "type", "Dataset,Metric,Model"},
        {BASE "/artifacts?filter=%7B%22predicates%22:%5B%7B%22key%22:%22type%22,%22operation%22:1,%22stringValue%22:%22Model%22%"
              "7D%5D%7D",
         "artifacts", "name", "m2"},
        {BASE "/artifact_tasks?task_ids=t-train", "artifact_tasks", "artifact_id", "1,2,3"},
        {BASE "/artifact_tasks?run_ids=" RUN_ID "&type=OUTPUT", "artifact_tasks", "artifact_id", "2,3"},
        {BASE "/artifact_tasks?artifact_ids=1&artifact_ids=2,9", "artifact_tasks", "type", "TASK_OUTPUT_INPUT,OUTPUT"},
        {BASE "/runs/" RUN_ID "/metrics", "metrics", "name", "acc"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(d) = kit_call(k, HTTP_GET, cases[i].path, NULL, 200);
        expect_at(d, cases[i].list, cases[i].member, cases[i].want);
    }
    static const struct {
        const char *path;
        int status;
    } bad[] = {
        {BASE "/runs/x/tasks", 404},
        {BASE "/runs/" RUN_ID "/tasks/x", 404},
        {BASE "/runs/" RUN_ID "/tasks?sort_by=path", 400},
        {BASE "/runs/" RUN_ID "/tasks?page_token=zzz", 400},
        {BASE "/artifacts/99", 404},
        {BASE "/artifacts/x", 404},
        {BASE "/artifacts?sort_by=metadata", 400},
        {BASE "/artifact_tasks", 400},
        {BASE "/artifact_tasks?run_ids=x&type=NOTHING", 400},
        {BASE "/runs/x/metrics", 404},
        {BASE "/runs/x/spec", 404},
        {BASE "/runs/x:watch", 404},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        json_unref(kit_call(k, HTTP_GET, bad[i].path, NULL, bad[i].status));
}

static void test_task_shape(void **state)
{
    struct kit *k = *state;
    write_all(k, fill_job);
    JSON_REF(d) = kit_call(k, HTTP_GET, BASE "/runs/" RUN_ID "/tasks/t-train", NULL, 200);
    jval *t = json_root(d);
    assert_string_equal(jv_str(jv_get(t, "scope_path")), "root.loop.3.train");
    assert_string_equal(jv_str(jv_get(t, "parent_task_id")), "t-root");
    assert_string_equal(jv_str(jv_get(t, "state")), "CACHED");
    assert_string_equal(jv_str(jv_get(t, "cache_fingerprint")), "fp1");
    assert_string_equal(jv_str(jv_get(t, "end_time")), "1970-01-01T00:00:00Z");
    assert_string_equal(jv_str(jv_path(t, "type_attributes", "iteration_index", NULL)), "3");
    assert_string_equal(jv_str(jv_get(jv_at(jv_get(t, "pods"), 0), "uid")), "u1");
    assert_int_equal(jv_len(jv_get(t, "state_history")), 1);
    assert_string_equal(jv_str(jv_get(jv_at(jv_get(t, "state_history"), 0), "state")), "CACHED");
    jval *n = jv_at(jv_path(t, "inputs", "parameters", NULL), 0);
    assert_int_equal(jv_i64_or(jv_get(n, "value"), 0), 3);
    assert_string_equal(jv_str(jv_get(n, "type")), "TASK_OUTPUT_INPUT");
    assert_string_equal(jv_str(jv_path(n, "producer", "task_name", NULL)), "first");
    assert_string_equal(jv_str(jv_path(n, "producer", "iteration", NULL)), "1");
    jval *model = jv_at(jv_path(t, "outputs", "artifacts", NULL), 0);
    assert_string_equal(jv_str(jv_get(model, "artifact_key")), "model");
    assert_string_equal(jv_str(jv_get(jv_at(jv_get(model, "artifacts"), 0), "type")), "Model");
    JSON_REF(root) = kit_call(k, HTTP_GET, BASE "/runs/" RUN_ID "/tasks/t-root", NULL, 200);
    expect_at(root, "child_tasks", "name", "train");
    JSON_REF(cached) = kit_call(k, HTTP_POST, BASE "/tasks:findCached", "{\"cache_fingerprint\":\"fp1\"}", 200);
    assert_string_equal(jv_str(jv_get(json_root(cached), "task_id")), "t-train");
    JSON_REF(none) = kit_call(k, HTTP_POST, BASE "/tasks:findCached", "{\"cacheFingerprint\":\"fp2\"}", 200);
    assert_int_equal(jv_len(json_root(none)), 0);
    json_unref(kit_call(k, HTTP_POST, BASE "/tasks:findCached", "{}", 400));
    JSON_REF(metric) = kit_call(k, HTTP_GET, BASE "/artifacts/3", NULL, 200);
    double value = 0;
    assert_true(jv_f64(jv_get(json_root(metric), "number_value"), &value) && value == 0.5);
    JSON_REF(spec) = kit_call(k, HTTP_GET, BASE "/runs/" RUN_ID "/spec", NULL, 200);
    assert_non_null(jv_path(json_root(spec), "pipeline_spec", "root", NULL));
}

/* ---- bytes ---------------------------------------------------------------------------------------------------------------- */

static void fetch(struct kit *k, const char *path, const char *range, int status, const char *want)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    AUTOFREE char *url = xasprintf("http://127.0.0.1:%d%s", k->port, path);
    const struct http_header header = {"range", range ? range : ""};
    const struct http_call call = {.method = HTTP_GET, .url = url, .headers = &header, .n_headers = range ? 1 : 0};
    struct http_answer a = {0};
    if (http_fetch(k->client, &ctx, &call, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    if (a.status != status || (want && strcmp(buf_str(&a.body), want) != 0))
        fail_msg("%s %s: want %d \"%s\", got %d \"%s\"", path, range, status, want, a.status, buf_str(&a.body));
    http_answer_free(&a);
}

static void test_bytes(void **state)
{
    struct kit *k = *state;
    ERR(e);
    struct ctx ctx = ctx_background();
    write_all(k, fill_job);
    assert_int_equal(blob_write(k->blobs, &ctx, "mlpipeline", "a/2", "0123456789", 10, &e), 0);
    assert_int_equal(blob_write(k->blobs, &ctx, "mlpipeline", "a/3/x", "x", 1, &e), 0);
    static const struct {
        const char *path, *range;
        int status;
        const char *want;
    } cases[] = {
        {BASE "/artifacts/2:download", NULL, 200, "0123456789"},
        {BASE "/artifacts/2:download", "bytes=2-4", 206, "234"},
        {BASE "/artifacts/2:download", "bytes=7-", 206, "789"},
        {BASE "/artifacts/2:download", "bytes=7-1000", 206, "789"},
        {BASE "/artifacts/2:download", "bytes=-3", 206, "789"},
        {BASE "/artifacts/2:download", "bytes=-100", 206, "0123456789"},
        {BASE "/artifacts/2:download", "bytes=10-", 416, NULL},
        {BASE "/artifacts/2:download", "bytes=-0", 416, NULL},
        {BASE "/artifacts/2:download", "bytes=4-2", 200, "0123456789"}, /* no range */
        {BASE "/artifacts/2:download", "bytes=0-1,3-4", 200, "0123456789"},
        {BASE "/artifacts/2:download", "bytes=x-", 200, "0123456789"},
        {BASE "/artifacts/2:download", "lines=1-2", 200, "0123456789"},
        {BASE "/artifacts/2:preview?bytes=4", NULL, 200, "0123"},
        {BASE "/artifacts/2:preview", NULL, 200, "0123456789"},
        {BASE "/artifacts/2:preview?bytes=-1", NULL, 400, NULL},
        {BASE "/artifacts/2:signed", NULL, 403, NULL},
        {BASE "/artifacts/2:signed?expires=9999999999&signature=0000000000000000000000000000000000000000000000000000000000000000",
         NULL, 403, NULL},
        {BASE "/artifacts/1:download", NULL, 404, NULL}, /* the row is there, the bytes are not */
        {BASE "/artifacts/3:download", NULL, 400, NULL}, /* a directory */
        {BASE "/artifacts/9:download", NULL, 404, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        fetch(k, cases[i].path, cases[i].range, cases[i].status, cases[i].want);
    JSON_REF(d) = kit_call(k, HTTP_GET, BASE "/artifacts/2?view=DOWNLOAD", NULL, 200);
    AUTOFREE char *url = kit_get(d, "download_url");
    fetch(k, url, NULL, 200, "0123456789");
    fetch(k, url, "bytes=0-0", 206, "0");
    AUTOFREE char *other = xstrdup(url);
    strstr(other, "artifacts/2")[10] = '1'; /* good for this artifact only */
    fetch(k, other, NULL, 403, NULL);
    AUTOFREE char *longer = xstrdup(url);
    strstr(longer, "expires=")[8] = '9'; /* and for this time */
    fetch(k, longer, NULL, 403, NULL);
}

static int elsewhere_job(struct db *db, void *arg, struct err *err)
{
    char text[] = "executor-logs-0", title[] = "system.Artifact", uri[] = "s3://bucket/logs/4", run[] = RUN_ID, metadata[] = "{}";
    struct md_artifact a = {.id = 4,
                            .name = text,
                            .schema_title = title,
                            .uri = uri,
                            .metadata = metadata,
                            .run_id = run,
                            .task_id = 2,
                            .created_ns = 9 * NS_PER_S,
                            .size = 10};
    struct md_link l = {.artifact_id = 4, .task_id = 2, .run_id = run, .io = MD_IO_OUTPUT, .key = text, .producer_iteration = -1};
    return md_artifact_insert(db, &a, err) < 0 ? -1 : md_link_insert(db, &l, err);
}

/* Logs of pods that are gone, and what lies in a store that only the run knows. */
static void test_elsewhere(void **state)
{
    struct kit *k = *state;
    ERR(e);
    struct ctx ctx = ctx_background();
    AUTOFREE char *dir = xasprintf("%s/elsewhere", k->dir);
    struct blob_store *s = blob_store_dir(dir, &e);
    write_all(k, fill_job);
    fetch(k, BASE "/runs/" RUN_ID "/nodes/t-train/log", NULL, 501, NULL); /* none was stored, and there are no pods here */
    write_all(k, elsewhere_job);
    fetch(k, BASE "/runs/" RUN_ID "/nodes/t-train/log", NULL, 501, NULL); /* it was, and is lost */
    assert_int_equal(blob_write(s, &ctx, "bucket", "logs/4", "one\ntwo\n\nthree\n", 15, &e), 0);
    static const struct {
        const char *path, *range;
        int status;
        const char *want;
    } cases[] = {
        {BASE "/runs/" RUN_ID "/nodes/t-train/log", NULL, 200, "one\ntwo\n\nthree\n"},
        {BASE "/runs/" RUN_ID "/nodes/pod-1/log", NULL, 200, "one\ntwo\n\nthree\n"},
        {BASE "/runs/" RUN_ID "/nodes/train/log?container=main&tail=1", NULL, 200, "three\n"},
        {BASE "/runs/" RUN_ID "/nodes/train/log?tail=2", NULL, 200, "\nthree\n"},
        {BASE "/runs/" RUN_ID "/nodes/train/log?tail=4", NULL, 200, "one\ntwo\n\nthree\n"},
        {BASE "/runs/" RUN_ID "/nodes/train/log?tail=100", NULL, 200, "one\ntwo\n\nthree\n"},
        {BASE "/runs/" RUN_ID "/nodes/train/log?container=sidecar", NULL, 501, NULL},
        {BASE "/runs/" RUN_ID "/nodes/pod-2/log", NULL, 404, NULL},
        {BASE "/artifacts/4:download", NULL, 200, "one\ntwo\n\nthree\n"},
        {BASE "/artifacts/4:download", "bytes=4-6", 206, "two"},
        {BASE "/artifacts/4:preview?bytes=3", NULL, 200, "one"},
        {BASE "/runs/" RUN_ID "/nodes/train/artifacts/executor-logs-0:read", NULL, 200, "{\"data\":\"b25lCnR3bwoKdGhyZWUK\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        fetch(k, cases[i].path, cases[i].range, cases[i].status, cases[i].want);
    blob_store_free(s);
}

/* ---- the stream ------------------------------------------------------------------------------------------------------------ */

static int end_job(struct db *db, void *arg, struct err *err)
{
    RUN(r);
    if (run_get(db, RUN_ID, &r, err) < 0)
        return -1;
    return run_update(db, &r, RUN_SUCCEEDED, 7 * NS_PER_S, err);
}

static char *watch(struct kit *k, const char *query)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    AUTOFREE char *url = xasprintf("http://127.0.0.1:%d" BASE "/runs/" RUN_ID ":watch%s", k->port, query);
    const struct http_call call = {.method = HTTP_GET, .url = url};
    struct http_answer a = {0};
    if (http_fetch(k->client, &ctx, &call, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(a.status, 200);
    char *text = xstrdup(buf_str(&a.body));
    http_answer_free(&a);
    return text;
}

/* Watches a run that ends once its first state was told. */
static char *watch_to_the_end(struct kit *k)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    AUTOFREE char *url = xasprintf("http://127.0.0.1:%d" BASE "/runs/" RUN_ID ":watch", k->port);
    struct http_answer head = {0};
    struct http_body *b = http_open(k->client, &ctx, &(struct http_call){.method = HTTP_GET, .url = url}, &head, &e);
    if (!b)
        fail_msg("%s", err_text(&e));
    assert_int_equal(head.status, 200);
    http_answer_free(&head);
    BUF(text);
    char piece[4096];
    ssize_t n;
    bool ended = false;
    while ((n = http_body_read(b, &ctx, piece, sizeof piece, &e)) > 0) {
        buf_add(&text, piece, (size_t)n);
        if (ended || !strstr(buf_str(&text), "event: run\n") || !str_ends(buf_str(&text), "\n\n"))
            continue;
        ended = true;
        write_all(k, end_job);
        changes_tell(k->store.changes, RUN_ID);
    }
    if (n < 0)
        fail_msg("%s", err_text(&e));
    http_body_close(b);
    return xstrdup(buf_str(&text));
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

static void test_watch(void **state)
{
    struct kit *k = *state;
    write_all(k, fill_job);
    AUTOFREE char *live = watch_to_the_end(k);
    assert_int_equal(count(live, "event: task\n"), 2);
    assert_int_equal(count(live, "event: run\n"), 2);
    assert_int_equal(count(live, "event: end\n"), 1);
    assert_true(strstr(live, "\"PENDING\"") < strstr(live, "\"SUCCEEDED\""));
    /* Again from the middle: only what came after that event. */
    const char *second = strstr(strstr(live, "event: task\n") + 1, "id: ");
    AUTOFREE char *id = xstrndup(second + 4, strcspn(second + 4, "\n"));
    AUTOFREE char *query = xasprintf("?last_event_id=%s", id);
    AUTOFREE char *rest = watch(k, query);
    assert_int_equal(count(rest, "event: task\n"), 0);
    assert_int_equal(count(rest, "event: run\n"), 1);
    assert_non_null(strstr(rest, "\"SUCCEEDED\""));
    /* What is no id of ours starts from the beginning. */
    AUTOFREE char *all = watch(k, "?last_event_id=zzz");
    assert_int_equal(count(all, "event: task\n"), 2);
}

static int many_job(struct db *db, void *arg, struct err *err)
{
    for (int i = 0; i < 1234; i++) {
        char id[20], path[20], run[] = RUN_ID;
        snprintf(id, sizeof id, "m-%d", i);
        snprintf(path, sizeof path, "root/%d", i);
        struct task_row t = {.id = 100 + i,
                             .task_id = id,
                             .run_id = run,
                             .name = path,
                             .display_name = path,
                             .path = path,
                             .type = TASK_RUNTIME,
                             .iteration_index = -1,
                             .iteration_count = -1,
                             .state = TASK_SUCCEEDED,
                             .created_ns = 5};
        if (task_put(db, &t, err) < 0)
            return -1;
    }
    return end_job(db, arg, err);
}

/* More than a page: each task once, in the order of their changes. */
static void test_watch_many(void **state)
{
    struct kit *k = *state;
    write_all(k, fill_job);
    write_all(k, many_job);
    AUTOFREE char *all = watch(k, "");
    assert_int_equal(count(all, "event: task\n"), 1236);
    assert_int_equal(count(all, "event: run\n"), 1);
    int64_t last = 0, id;
    for (const char *p = all; (p = strstr(p, "id: ")); p++) {
        AUTOFREE char *text = xstrndup(p + 4, strcspn(p + 4, "\n"));
        assert_true(str_to_i64(text, &id) && id > last);
        last = id;
    }
}

TEST_GROUP(lineage, WITH_KIT(test_lists), WITH_KIT(test_task_shape), WITH_KIT(test_bytes), WITH_KIT(test_elsewhere),
           WITH_KIT(test_watch), WITH_KIT(test_watch_many))
