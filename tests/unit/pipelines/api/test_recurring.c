/* Recurring runs: their calls, when their slots are, and that they start then, once. */
#include "kit.h"

#include <unistd.h>

#include "base/str.h"
#include "base/timefmt.h"
#include "pipelines/schedule/retention.h"
#include "pipelines/schedule/schedule.h"
#include "pipelines/store/catalog.h"
#include "pipelines/store/recurring.h"

#define PATH  "/apis/v2beta1/recurringruns"
#define START 1764072000LL /* 2025-11-25T12:00:00Z, where the kit's clock stands */

static char *body_with(const char *source, const char *rest)
{
    return xasprintf("{\"display_name\":\"j\",\"max_concurrency\":\"1\",%s,%s}", source, rest);
}

static char *inline_source(void) { return xasprintf("\"pipeline_spec\":%s", HELLO_IR); }

static struct json *make(struct kit *k, const char *source, const char *rest, int status)
{
    AUTOFREE char *own = source ? NULL : inline_source();
    AUTOFREE char *body = body_with(source ? source : own, rest);
    return kit_call(k, HTTP_POST, PATH, body, status);
}

/* ---- calls -------------------------------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    struct kit *k = *state;
    AUTOFREE char *src = inline_source();
    static const struct {
        const char *members, *says;
        int status;
    } cases[] = {
        {"\"max_concurrency\":1", "name cannot be empty", 400},
        {"\"display_name\":\"j\"", "Received 0", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":0", "Received 0", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":11", "Received 11", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":\"-1\"", "Received -1", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":\"x\"", "max_concurrency", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"trigger\":{\"cron_schedule\":{\"cron\":\"* * *\"}}", "3 fields", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"trigger\":{\"cron_schedule\":{}}", "0 fields", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"trigger\":{\"cron_schedule\":{\"cron\":\"0 0 0 * * "
         "*\",\"time_zone\":\"Mars/North\"}}",
         "unknown time zone", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"trigger\":{\"periodic_schedule\":{\"interval_second\":\"0\"}}",
         "interval 0", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"trigger\":{\"periodic_schedule\":{\"interval_second\":-5}}",
         "interval -5", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"trigger\":{\"periodic_schedule\":{}}", "interval 0", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"trigger\":{\"periodic_schedule\":{\"interval_second\":1},"
         "\"cron_schedule\":{\"cron\":\"@daily\"}}",
         "cron_schedule", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"mode\":7", "mode is invalid: 7", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"mode\":\"ON\"", "mode", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"runtime_config\":{\"parameters\":{\"x\":1}}", "x", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"runtime_config\":{\"parameters\":{\"n\":\"[[Index]]\"}}", "n", 400},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"experiment_id\":\"nowhere\"", "nowhere", 404},
        {"\"display_name\":\"j\",\"max_concurrency\":1,\"plugins_input\":{\"mlflow\":{\"x\":1}}", "unknown key", 400},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *body = xasprintf("{%s,%s}", cases[i].members, src);
        JSON_REF(d) = kit_call(k, HTTP_POST, PATH, body, cases[i].status);
        if (!strstr(jv_str_or(jv_get(json_root(d), "message"), ""), cases[i].says))
            fail_msg("%s: want \"%s\" in \"%s\"", cases[i].members, cases[i].says, jv_str(jv_get(json_root(d), "message")));
    }
    JSON_REF(none) = kit_call(k, HTTP_POST, PATH, "{\"display_name\":\"j\",\"max_concurrency\":1}", 400);
    JSON_REF(unknown) = make(k, "\"pipeline_version_reference\":{\"pipeline_id\":\"x\"}", "\"mode\":1", 404);
    JSON_REF(list) = kit_call(k, HTTP_GET, PATH, NULL, 200);
    assert_int_equal(jv_len(json_root(list)), 0); /* nothing of all this was stored */
    static const struct {
        enum http_method method;
        const char *path, *body;
        int status;
    } calls[] = {
        {HTTP_GET, PATH "/x", NULL, 404},
        {HTTP_POST, PATH "/x:enable", NULL, 404},
        {HTTP_POST, PATH "/x:disable", NULL, 404},
        {HTTP_GET, PATH "/x:next", NULL, 404},
        {HTTP_DELETE, PATH "/x", NULL, 404},
        {HTTP_PATCH, PATH "/x", "{}", 404},
        {HTTP_DELETE, PATH "/x?propagation_policy=SOMETIMES", NULL, 400},
        {HTTP_PUT, PATH "/x", "{}", 501},
        {HTTP_GET, PATH "?sort_by=cron", NULL, 400},
        {HTTP_GET, PATH "?experiment_id=x", NULL, 404},
    };
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        json_unref(kit_call(k, calls[i].method, calls[i].path, calls[i].body, calls[i].status));
}

static void test_edit(void **state)
{
    struct kit *k = *state;
    JSON_REF(made) = make(k, NULL, "\"mode\":1,\"trigger\":{\"cron_schedule\":{\"cron\":\"0 0 3 * * *\"}}", 200);
    AUTOFREE char *id = kit_get(made, "recurring_run_id");
    AUTOFREE char *path = xasprintf(PATH "/%s", id);
    AUTOFREE char *dry = xasprintf("%s?dry_run=true&count=2", path);
    static const char change[] = "{\"trigger\":{\"cron_schedule\":{\"cron\":\"0 0 3 * * MON\",\"time_zone\":\"Asia/Tokyo\"}}}";
    {
        JSON_REF(d) = kit_call(k, HTTP_PATCH, dry, change, 200);
        jval *next = jv_get(json_root(d), "next_scheduled_times");
        assert_int_equal(jv_len(next), 2);
        assert_string_equal(jv_str(jv_at(next, 0)), "2025-11-30T18:00:00Z");
        assert_string_equal(jv_str(jv_at(next, 1)), "2025-12-07T18:00:00Z");
    }
    {
        JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 200); /* nothing was changed by looking */
        assert_string_equal(jv_str(jv_path(json_root(d), "trigger", "cron_schedule", "cron", NULL)), "0 0 3 * * *");
    }
    JSON_REF(d) = kit_call(k, HTTP_PATCH, path, change, 200);
    assert_string_equal(jv_str(jv_path(json_root(d), "trigger", "cron_schedule", "time_zone", NULL)), "Asia/Tokyo");
    assert_string_equal(jv_str(jv_get(json_root(d), "mode")), "ENABLE");
    static const struct {
        const char *body, *member, *want;
    } edits[] = {
        {"{\"max_concurrency\":3}", "max_concurrency", "3"}, {"{\"display_name\":\"k\"}", "display_name", "k"},
        {"{\"display_name\":\"\"}", "display_name", "k"}, /* empty: unchanged */
        {"{\"description\":\"d\"}", "description", "d"},     {"{\"service_account\":\"robot\"}", "service_account", "robot"},
        {"{\"mode\":\"DISABLE\"}", "status", "DISABLED"},    {"{}", "status", "DISABLED"},
    };
    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        JSON_REF(e) = kit_call(k, HTTP_PATCH, path, edits[i].body, 200);
        AUTOFREE char *got = kit_get(e, edits[i].member);
        assert_string_equal(got, edits[i].want);
    }
    static const char *const bad[] = {"{\"max_concurrency\":0}", "{\"trigger\":{\"cron_schedule\":{\"cron\":\"x\"}}}",
                                      "{\"runtime_config\":{\"parameters\":{\"zzz\":1}}}", "{\"mode\":9}", "{\"nonsense\":1}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        json_unref(kit_call(k, HTTP_PATCH, path, bad[i], 400));
    json_unref(kit_call(k, HTTP_DELETE, path, NULL, 200));
    json_unref(kit_call(k, HTTP_GET, path, NULL, 404));
}

static void test_archive_disables(void **state)
{
    struct kit *k = *state;
    JSON_REF(e) = kit_call(k, HTTP_POST, "/apis/v2beta1/experiments", "{\"display_name\":\"e\"}", 200);
    AUTOFREE char *eid = kit_get(e, "experiment_id");
    AUTOFREE char *rest = xasprintf("\"mode\":1,\"experiment_id\":\"%s\"", eid);
    JSON_REF(made) = make(k, NULL, rest, 200);
    AUTOFREE char *id = kit_get(made, "recurring_run_id");
    AUTOFREE char *archive = xasprintf("/apis/v2beta1/experiments/%s:archive", eid);
    json_unref(kit_call(k, HTTP_POST, archive, NULL, 200));
    AUTOFREE char *path = xasprintf(PATH "/%s", id);
    JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 200);
    AUTOFREE char *status = kit_get(d, "status");
    assert_string_equal(status, "DISABLED");
}

/* As the mirror of objects does it: a row with a given id and name in the object's namespace, edited, and taken away. */
static void test_apply(void **state)
{
    struct kit *k = *state;
    ERR(e);
    struct ctx ctx = ctx_background();
    AUTOFREE char *src = inline_source();
    AUTOFREE char *body = body_with(src, "\"mode\":2");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipelines_recurring_apply(k->api, &ctx, "an-id", "a-name", "team-a", body, &e), 0);
        JSON_REF(d) = kit_call(k, HTTP_GET, PATH "/an-id", NULL, 200);
        AUTOFREE char *ns = kit_get(d, "namespace");
        assert_string_equal(ns, "team-a");
    }
    assert_int_equal(pipelines_recurring_apply(k->api, &ctx, "an-id", "a-name", "team-a", "{\"max_concurrency\":99}", &e), -1);
    assert_int_equal(pipelines_recurring_delete(k->api, &ctx, "an-id", NULL), 0);
    assert_int_equal(pipelines_recurring_delete(k->api, &ctx, "an-id", NULL), 0); /* missing is fine */
    json_unref(kit_call(k, HTTP_GET, PATH "/an-id", NULL, 404));
}

/* ---- slots -------------------------------------------------------------------------------------------------------------- */

#define H 3600
#define M 60

static void test_slots(void **state)
{
    enum { NONE = -1 };
    static const struct {
        int trigger;
        const char *cron;
        int64_t interval, start, end, last, created, now;
        bool no_catchup;
        int64_t want;
    } cases[] = {
        /* Periodic: from the start, else from the creation, else from the last. */
        {TRIGGER_PERIODIC, NULL, M, 10 * H, 11 * H, 0, 5 * H, 0, false, 10 * H + M},
        {TRIGGER_PERIODIC, NULL, M, 0, 0, 0, 5 * H, 0, false, 5 * H + M},
        {TRIGGER_PERIODIC, NULL, M, 10 * H, 11 * H, 10 * H + 5 * M, 5 * H, 0, false, 10 * H + 6 * M},
        {TRIGGER_PERIODIC, NULL, M, 10 * H, 11 * H, 9 * H, 5 * H, 0, false, 10 * H}, /* the start lies ahead */
        {TRIGGER_PERIODIC, NULL, M, 10 * H, 11 * H, 11 * H, 5 * H, 0, false, NONE},
        {TRIGGER_PERIODIC, NULL, M, 12 * H, 11 * H, 0, 5 * H, 0, false, NONE}, /* ends before it starts */
        {TRIGGER_PERIODIC, NULL, 1, 0, 0, 0, 7, 7, false, 8},
        /* Without catch-up one run of a backlog. */
        {TRIGGER_PERIODIC, NULL, M, 10 * H, 11 * H, 10 * H, 5 * H, 10 * H + 30, true, 10 * H + M},
        {TRIGGER_PERIODIC, NULL, M, 10 * H, 11 * H, 10 * H, 5 * H, 10 * H + M, true, 10 * H + M},
        {TRIGGER_PERIODIC, NULL, M, 10 * H, 11 * H, 10 * H, 5 * H, 10 * H + 90, true, 10 * H + M},
        {TRIGGER_PERIODIC, NULL, M, 10 * H, 11 * H, 10 * H, 5 * H, 10 * H + 2 * M, true, 10 * H + 2 * M},
        {TRIGGER_PERIODIC, NULL, M, 10 * H, 11 * H, 10 * H, 5 * H, 12 * H, true, 11 * H},
        /* Cron, "* * * * *" of upstream's tables written with its seconds. */
        {TRIGGER_CRON, "0 * * * * ", 0, 10 * H, 11 * H, 0, 5 * H, 0, false, 10 * H + M},
        {TRIGGER_CRON, "0 * * * * ", 0, 10 * H, 11 * H, 10 * H + 5 * M, 5 * H, 0, false, 10 * H + 6 * M},
        {TRIGGER_CRON, "0 * * * * ", 0, 10 * H, 11 * H, 13 * H, 5 * H, 0, false, NONE},
        {TRIGGER_CRON, "0 * * * * ", 0, 0, 0, 10 * H, 5 * H, 0, false, 10 * H + M},
        {TRIGGER_CRON, "0 * * * * ", 0, 0, 11 * H, 0, 10 * H + 15 * M, 0, false, 10 * H + 16 * M},
        {TRIGGER_CRON, "0 * * * * ", 0, 10 * H, 11 * H, 10 * H + 20 * M, 0, 10 * H + 20 * M + 30, true, 10 * H + 21 * M},
        {TRIGGER_CRON, "0 * * * * ", 0, 10 * H, 11 * H, 10 * H + 20 * M, 0, 10 * H + 21 * M, true, 10 * H + 21 * M},
        {TRIGGER_CRON, "0 * * * * ", 0, 10 * H, 11 * H, 10 * H + 20 * M, 0, 10 * H + 21 * M + 30, true, 10 * H + 21 * M},
        {TRIGGER_CRON, "0 * * * * ", 0, 10 * H, 11 * H, 10 * H + 20 * M, 0, 10 * H + 30 * M, true, 10 * H + 30 * M},
        {TRIGGER_CRON, "0 * * * * ", 0, 10 * H, 11 * H, 10 * H + 20 * M, 0, 12 * H, true, 11 * H},
        {TRIGGER_CRON, "0 * * * * ", 0, 10 * H + 10 * M, 11 * H, 0, 0, 0, true, 10 * H + 11 * M},
        {TRIGGER_CRON, "@every 1h", 0, 0, 0, 0, 10 * H + 7, 13 * H, false, 11 * H + 7},
        {TRIGGER_CRON, "@every 1h", 0, 0, 0, 0, 10 * H + 7, 13 * H, true, 12 * H + 7},
        /* Once. */
        {TRIGGER_ONCE, NULL, 0, 0, 0, 0, 10 * H, 0, false, 10 * H},
        {TRIGGER_ONCE, NULL, 0, 0, 0, 10 * H, 10 * H, 0, false, NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        int64_t slot;
        char cron[100] = "";
        if (cases[i].cron)
            strcpy(cron, cases[i].cron);
        const struct recurring r = {.trigger = cases[i].trigger,
                                    .cron = cron,
                                    .interval_s = cases[i].interval,
                                    .start_ns = cases[i].start * NS_PER_S,
                                    .end_ns = cases[i].end * NS_PER_S,
                                    .last_ns = cases[i].last * NS_PER_S,
                                    .created_ns = cases[i].created * NS_PER_S,
                                    .no_catchup = cases[i].no_catchup};
        assert_int_equal(recurring_next(&r, NULL, cases[i].now, &slot, &e), 0);
        int64_t want = cases[i].want == NONE ? INT64_MAX : cases[i].want;
        if (slot != want)
            fail_msg("case %zu: want %lld, got %lld", i, (long long)want, (long long)slot);
    }
}

/* ---- starting ----------------------------------------------------------------------------------------------------------- */

static int64_t count_runs(struct kit *k)
{
    static const char SQL[] = "SELECT count(*) FROM runs";
    struct db *db = db_reader_get(k->store.readers, NULL);
    int64_t n;
    {
        STMT(s, db, SQL, NULL);
        assert_int_equal(stmt_step(s, NULL), 1);
        n = stmt_i64(s, 0);
    }
    db_reader_put(k->store.readers, db);
    return n;
}

/* Waits until there are so many runs, then long enough to see one too many. */
static void expect_runs(struct kit *k, int64_t want)
{
    for (int i = 0; i < 12000 && count_runs(k) < want; i++)
        usleep(5000);
    usleep(30000);
    assert_int_equal(count_runs(k), want);
}

static void advance(struct kit *k, int64_t seconds) { clock_manual_advance(&k->clock, seconds * NS_PER_S); }

static int finish_job(struct db *db, void *arg, struct err *err)
{
    return db_exec(db, "UPDATE runs SET state = 3 WHERE state = 1", err);
}

static void finish_runs(struct kit *k)
{
    STRLIST(ids);
    struct ctx ctx = ctx_background();
    struct db *db = db_reader_get(k->store.readers, NULL);
    assert_int_equal(runs_live(db, &ids, NULL), 0);
    db_reader_put(k->store.readers, db);
    assert_int_equal(db_writer_run(k->store.writer, &ctx, finish_job, NULL, NULL), 0);
    for (size_t i = 0; i < ids.n; i++)
        changes_tell(k->store.changes, ids.v[i]);
}

static void test_periodic(void **state)
{
    struct kit *k = *state;
    struct schedule *s = kit_schedule(k);
    JSON_REF(made) = make(k, NULL,
                          "\"mode\":1,\"trigger\":{\"periodic_schedule\":{\"interval_second\":60}},\"runtime_config\":{"
                          "\"pipeline_root\":\"s3://b/r\"}",
                          200);
    AUTOFREE char *id = kit_get(made, "recurring_run_id");
    schedule_notify(s, id);
    expect_runs(k, 0);
    advance(k, 60);
    expect_runs(k, 1);
    advance(k, 60); /* max_concurrency 1: the second slot waits */
    expect_runs(k, 1);
    finish_runs(k);
    expect_runs(k, 2);
    JSON_REF(list) = kit_call(k, HTTP_GET, "/apis/v2beta1/runs?sort_by=scheduled_at", NULL, 200);
    jval *runs = jv_get(json_root(list), "runs");
    assert_string_equal(jv_str(jv_get(jv_at(runs, 0), "scheduled_at")), "2025-11-25T12:01:00Z");
    assert_string_equal(jv_str(jv_get(jv_at(runs, 1), "scheduled_at")), "2025-11-25T12:02:00Z");
    assert_string_equal(jv_str(jv_get(jv_at(runs, 1), "recurring_run_id")), id);
    assert_string_equal(jv_str(jv_path(jv_at(runs, 1), "runtime_config", "pipeline_root", NULL)), "s3://b/r");
    assert_true(str_starts(jv_str(jv_get(jv_at(runs, 1), "display_name")), "j"));
    assert_non_null(strstr(jv_str(jv_get(jv_at(runs, 1), "display_name")), "-2-"));
    kit_schedule_stop(k);
}

/* A pause: every slot with catch-up, one without, none when they are skipped. */
static void test_catch_up(void **state)
{
    static const struct {
        const char *no_catchup, *query;
        int64_t want;
    } cases[] = {{"false", "", 3}, {"true", "", 1}, {"false", "?skip_missed=true", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kit *k = kit_new(NULL);
        struct schedule *s = kit_schedule(k);
        AUTOFREE char *src = inline_source();
        AUTOFREE char *body = xasprintf("{\"display_name\":\"j\",\"max_concurrency\":10,\"no_catchup\":%s,\"trigger\":{\"cron_"
                                        "schedule\":{\"cron\":\"0 * * * * *\"}},%s}",
                                        cases[i].no_catchup, src);
        JSON_REF(made) = kit_call(k, HTTP_POST, PATH, body, 200);
        AUTOFREE char *id = kit_get(made, "recurring_run_id");
        advance(k, 190);
        schedule_notify(s, id);
        expect_runs(k, 0); /* disabled */
        AUTOFREE char *path = xasprintf(PATH "/%s:enable%s", id, cases[i].query);
        json_unref(kit_call(k, HTTP_POST, path, NULL, 200));
        schedule_notify(s, id);
        expect_runs(k, cases[i].want);
        advance(k, 60);
        expect_runs(k, cases[i].want + 1);
        kit_schedule_stop(k);
        kit_free(k);
    }
}

static const char NEEDS_IR[] =
    "{\"pipelineInfo\":{\"name\":\"needs\"},\"schemaVersion\":\"2.1.0\",\"components\":{\"c\":{\"executorLabel\":\"e\"}},"
    "\"deploymentSpec\":{\"executors\":{\"e\":{\"container\":{\"image\":\"x\"}}}},\"root\":{\"dag\":{\"tasks\":{\"t\":{"
    "\"componentRef\":{\"name\":\"c\"},\"taskInfo\":{\"name\":\"t\"}}}},\"inputDefinitions\":{\"parameters\":{\"who\":{"
    "\"parameterType\":\"STRING\"}}}}}";

/* An open reference takes the latest version, and says so when that one cannot be run. */
static void test_latest_version(void **state)
{
    struct kit *k = *state;
    struct schedule *s = kit_schedule(k);
    JSON_REF(p) = kit_upload(k, "upload", "name=p", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *pid = kit_get(p, "pipeline_id");
    AUTOFREE char *src = xasprintf("\"pipeline_version_reference\":{\"pipeline_id\":\"%s\"}", pid);
    JSON_REF(made) = make(k, src, "\"mode\":1,\"trigger\":{\"periodic_schedule\":{\"interval_second\":60}}", 200);
    AUTOFREE char *id = kit_get(made, "recurring_run_id");
    schedule_notify(s, id);
    advance(k, 60);
    expect_runs(k, 1);
    finish_runs(k);
    AUTOFREE char *query = xasprintf("name=v2&pipelineid=%s", pid);
    JSON_REF(v2) = kit_upload(k, "upload_version", query, "x.json", NEEDS_IR, strlen(NEEDS_IR), 200);
    advance(k, 60);
    expect_runs(k, 1);
    AUTOFREE char *path = xasprintf(PATH "/%s", id);
    bool told = false;
    for (int i = 0; i < 1000 && !told; i++) {
        JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 200);
        const char *why = jv_str(jv_path(json_root(d), "error", "message", NULL));
        told = why && strstr(why, "who");
        usleep(told ? 0 : 5000);
    }
    assert_true(told);
    json_unref(kit_call(k, HTTP_PATCH, path, "{\"runtime_config\":{\"parameters\":{\"who\":\"[[Index]]\"}}}", 200));
    schedule_notify(s, id);
    expect_runs(k, 2);
    JSON_REF(list) = kit_call(k, HTTP_GET, "/apis/v2beta1/runs?sort_by=scheduled_at%20desc", NULL, 200);
    jval *run = jv_at(jv_get(json_root(list), "runs"), 0);
    AUTOFREE char *vid = kit_get(v2, "pipeline_version_id");
    assert_string_equal(jv_str(jv_path(run, "pipeline_version_reference", "pipeline_version_id", NULL)), vid);
    JSON_REF(now) = kit_call(k, HTTP_GET, path, NULL, 200);
    assert_null(jv_get(json_root(now), "error"));
    kit_schedule_stop(k);
}

static void test_once(void **state)
{
    struct kit *k = *state;
    struct schedule *s = kit_schedule(k);
    JSON_REF(made) = make(k, NULL, "\"mode\":1", 200);
    AUTOFREE char *id = kit_get(made, "recurring_run_id");
    schedule_notify(s, id);
    expect_runs(k, 1);
    finish_runs(k);
    advance(k, 100000);
    schedule_notify(s, id);
    expect_runs(k, 1);
    kit_schedule_stop(k);
    s = kit_schedule(k); /* after a restart, too */
    expect_runs(k, 1);
    kit_schedule_stop(k);
}

/* Two that want to run the same slot: what one of them read is stale by then. */
struct twice {
    struct kit *k;
    struct recurring *r;
    char *first, *second, *third;
};
static int twice_job(struct db *db, void *arg, struct err *err)
{
    struct twice *t = arg;
    const struct clock *clock = t->k->store.clock;
    char hash[65];
    if (spec_put(db, HELLO_IR, NULL, hash, err) < 0 ||
        recurring_start(db, t->r, START + 60, hash, "", "hello", "runner", clock, &t->first, err) < 0 ||
        recurring_start(db, t->r, START + 60, hash, "", "hello", "runner", clock, &t->second, err) < 0)
        return -1;
    /* Even when the row was set back by hand, the slot has its run. */
    RECURRING(now);
    if (recurring_get(db, t->r->id, &now, err) < 0)
        return -1;
    now.last_ns = 0;
    if (recurring_put(db, &now, err) < 0)
        return -1;
    return recurring_start(db, &now, START + 60, hash, "", "hello", "runner", clock, &t->third, err);
}

static void test_never_twice(void **state)
{
    struct kit *k = *state;
    ERR(e);
    struct ctx ctx = ctx_background();
    AUTOFREE char *src = inline_source();
    AUTOFREE char *body = xasprintf("{\"display_name\":\"j\",\"max_concurrency\":10,\"mode\":1,%s}", src);
    JSON_REF(made) = kit_call(k, HTTP_POST, PATH, body, 200);
    AUTOFREE char *id = kit_get(made, "recurring_run_id");
    RECURRING(r);
    struct db *db = db_reader_get(k->store.readers, NULL);
    assert_int_equal(recurring_get(db, id, &r, &e), 0);
    db_reader_put(k->store.readers, db);
    struct twice t = {k, &r, NULL, NULL, NULL};
    if (db_writer_run(k->store.writer, &ctx, twice_job, &t, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_non_null(t.first);
    assert_null(t.second);
    assert_null(t.third);
    assert_int_equal(count_runs(k), 1);
    free(t.first);
}

/* ---- retention ---------------------------------------------------------------------------------------------------------- */

static int old_runs_job(struct db *db, void *arg, struct err *err)
{
    static const char *const changes[] = {
        "UPDATE runs SET state = 3, finished_at = created_at WHERE display_name <> 'live'",
        "UPDATE runs SET storage_state = 1, archived_at = created_at WHERE display_name = 'archived'",
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        if (db_exec(db, changes[i], err) < 0)
            return -1;
    }
    return 0;
}

static int remove_job(struct db *db, void *arg, struct err *err) { return run_delete(db, arg, err); }
static int remove_run(void *self, const struct ctx *ctx, const char *id, struct err *err)
{
    AUTOFREE char *copy = xstrdup(id);
    return db_writer_run(((struct kit *)self)->store.writer, ctx, remove_job, copy, err);
}

static void expect_states(struct kit *k, const char *want)
{
    BUF(got);
    for (int i = 0; i < 4000; i++) {
        JSON_REF(d) = kit_call(k, HTTP_GET, "/apis/v2beta1/runs?sort_by=name", NULL, 200);
        jval *runs = jv_get(json_root(d), "runs");
        buf_reset(&got);
        for (size_t n = 0; n < jv_len(runs); n++)
            buf_addf(&got, "%s=%s ", jv_str(jv_get(jv_at(runs, n), "display_name")),
                     jv_str(jv_get(jv_at(runs, n), "storage_state")));
        if (strcmp(buf_str(&got), want) == 0)
            return;
        usleep(5000);
    }
    fail_msg("want %s, got %s", want, buf_str(&got));
}

static void test_retention(void **state)
{
    struct kit *k = *state;
    ERR(e);
    struct ctx ctx = ctx_background();
    static const char *const names[] = {"archived", "done", "live"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        AUTOFREE char *body = xasprintf("{\"display_name\":\"%s\",\"pipeline_spec\":%s}", names[i], HELLO_IR);
        json_unref(kit_call(k, HTTP_POST, "/apis/v2beta1/runs", body, 200));
    }
    assert_int_equal(db_writer_run(k->store.writer, &ctx, old_runs_job, NULL, &e), 0);
    const struct retention_config cfg = {.store = &k->store,
                                         .finished_ns = 100 * NS_PER_S,
                                         .archived_ns = 300 * NS_PER_S,
                                         .interval_ns = 10 * NS_PER_S,
                                         .batch = 1,
                                         .self = k,
                                         .remove = remove_run};
    struct retention *r = retention_start(&cfg);
    assert_non_null(r);
    expect_states(k, "archived=ARCHIVED done=AVAILABLE live=AVAILABLE ");
    advance(k, 101);
    expect_states(k, "archived=ARCHIVED done=ARCHIVED live=AVAILABLE ");
    advance(k, 205);
    expect_states(k, "done=ARCHIVED live=AVAILABLE ");
    advance(k, 310); /* its archiving is old now, too */
    expect_states(k, "live=AVAILABLE ");
    retention_stop(r);
    const struct retention_config none = {.store = &k->store};
    assert_null(retention_start(&none));
}

static void test_retention_settings(void **state)
{
    static const struct {
        const char *name, *value;
        bool good;
    } cases[] = {
        {"RUNS_RETENTION_TIME", "720h", true},
        {"RUNS_RETENTION_TIME", "", true},
        {"RUNS_RETENTION_TIME", "30 days", false},
        {"RUNS_RETENTION_TIME", "-1h", false},
        {"ARCHIVED_RUNS_RETENTION_TIME", "x", false},
        {"RUNS_GC_INTERVAL", "0s", false},
        {"RUNS_GC_BATCH_SIZE", "5", true},
        {"RUNS_GC_BATCH_SIZE", "0", false},
        {"RUNS_GC_BATCH_SIZE", "many", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct retention_config cfg = {0};
        ERR(e);
        setenv(cases[i].name, cases[i].value, 1);
        assert_int_equal(retention_from_env(&cfg, &e) == 0, cases[i].good);
        if (!cases[i].good)
            assert_non_null(strstr(err_text(&e), cases[i].name));
        unsetenv(cases[i].name);
    }
}

TEST_GROUP(recurring, WITH_KIT(test_refused), WITH_KIT(test_edit), WITH_KIT(test_apply), WITH_KIT(test_archive_disables),
           cmocka_unit_test(test_slots), WITH_KIT(test_periodic), cmocka_unit_test(test_catch_up), WITH_KIT(test_latest_version),
           WITH_KIT(test_once), WITH_KIT(test_never_twice), WITH_KIT(test_retention), cmocka_unit_test(test_retention_settings))
