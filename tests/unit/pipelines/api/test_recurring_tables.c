/* The tables of recurring runs (spec 7), row by row: what an answer holds, what is allowed, and what a started run is called and
 * takes over. */
#include "kit.h"

#include <unistd.h>

#include "base/str.h"
#include "pipelines/schedule/schedule.h"

#define BASE "/apis/v2beta1"
#define PATH BASE "/recurringruns"

static struct json *make(struct kit *k, const char *source, const char *rest, int status)
{
    AUTOFREE char *own = xasprintf("\"pipeline_spec\":%s", HELLO_IR);
    AUTOFREE char *body = xasprintf("{\"display_name\":\"j\",\"max_concurrency\":1,%s%s}", source ? source : own, rest);
    return kit_call(k, HTTP_POST, PATH, body, status);
}

static char *path_of(struct json *job, const char *verb)
{
    AUTOFREE char *id = kit_get(job, "recurring_run_id");
    return xasprintf(PATH "/%s%s", id, verb);
}

/* ---- answers ---------------------------------------------------------------------------------------------------------- */

static void test_answers(void **state)
{
    struct kit *k = *state;
    JSON_REF(p) = kit_upload(k, "upload", "name=p", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *pid = kit_get(p, "pipeline_id");
    AUTOFREE char *query = xasprintf("name=v2&pipelineid=%s", pid);
    JSON_REF(v) = kit_upload(k, "upload_version", query, "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *vid = kit_get(v, "pipeline_version_id");
    AUTOFREE char *open_ref = xasprintf("{\"pipeline_id\":\"%s\"}", pid);
    AUTOFREE char *fixed_ref = xasprintf("{\"pipeline_id\":\"%s\",\"pipeline_version_id\":\"%s\"}", pid, vid);
    AUTOFREE char *open = xasprintf("\"pipeline_version_reference\":%s", open_ref);
    AUTOFREE char *fixed = xasprintf("\"pipeline_version_reference\":%s", fixed_ref);
    AUTOFREE char *old = xasprintf("\"pipeline_version_id\":\"%s\"", vid);
#define CRON(rest)     ",\"trigger\":{\"cron_schedule\":{" rest "}}"
#define PERIODIC(rest) ",\"trigger\":{\"periodic_schedule\":{" rest "}}"
    const struct {
        const char *source, *rest, *member, *want; /* want: JSON; NULL: absent */
    } cases[] = {
        {NULL, "", "trigger", "{}"}, /* neither: once */
        {NULL, ",\"trigger\":{}", "trigger", "{}"},
        {NULL, "", "mode", "\"DISABLE\""}, /* unspecified */
        {NULL, "", "status", "\"DISABLED\""},
        {NULL, ",\"mode\":\"MODE_UNSPECIFIED\"", "status", "\"DISABLED\""},
        {NULL, ",\"mode\":0", "mode", "\"DISABLE\""},
        {NULL, ",\"mode\":\"ENABLE\"", "mode", "\"ENABLE\""},
        {NULL, ",\"mode\":1", "status", "\"ENABLED\""},
        {NULL, ",\"mode\":2", "status", "\"DISABLED\""},
        {NULL, ",\"mode\":\"DISABLE\",\"status\":\"ENABLED\"", "status", "\"DISABLED\""}, /* mode alone counts */
        {NULL, ",\"status\":\"ENABLED\"", "mode", "\"DISABLE\""},
        {NULL, "", "namespace", "\"kubeflow\""},
        {NULL, ",\"namespace\":\"elsewhere\"", "namespace", "\"kubeflow\""},
        {NULL, "", "max_concurrency", "\"1\""},
        {NULL, "", "no_catchup", NULL}, /* false */
        {NULL, ",\"noCatchup\":true", "no_catchup", "true"},
        {NULL, "", "created_at", "\"2025-11-25T12:00:00Z\""},
        {NULL, ",\"created_at\":\"2001-01-01T00:00:00Z\"", "created_at", "\"2025-11-25T12:00:00Z\""},
        {NULL, "", "updated_at", "\"2025-11-25T12:00:00Z\""},
        {NULL, "", "runtime_config", NULL},
        {NULL, ",\"runtime_config\":{\"parameters\":{\"n\":1}}", "runtime_config", "{\"parameters\":{\"n\":1}}"},
        {NULL, "", "error", NULL},
        {NULL, "", "pipeline_version_reference", NULL},
        {NULL, "", "pipeline_spec", HELLO_IR},
        {NULL, "", "service_account", "\"pipeline-runner\""},
        {NULL, ",\"service_account\":\"robot\"", "service_account", "\"robot\""},
        {fixed, "", "service_account", "\"pipeline-runner\""},
        {open, "", "service_account", NULL},
        {open, ",\"service_account\":\"robot\"", "service_account", "\"robot\""},
        {open, "", "pipeline_version_reference", open_ref},
        {open, "", "pipeline_spec", NULL},
        {fixed, "", "pipeline_version_reference", fixed_ref},
        {old, "", "pipeline_version_reference", fixed_ref},
        {NULL, CRON("\"cron\":\"0 0 3 * * *\""), "trigger", "{\"cron_schedule\":{\"cron\":\"0 0 3 * * *\"}}"},
        {NULL, CRON("\"cron\":\"*/5 * * * *\""), "trigger", "{\"cron_schedule\":{\"cron\":\"*/5 * * * *\"}}"},
        {NULL, CRON("\"cron\":\"@every 1h30m\""), "trigger", "{\"cron_schedule\":{\"cron\":\"@every 1h30m\"}}"},
        {NULL, CRON("\"cron\":\"CRON_TZ=Asia/Tokyo 0 0 3 * * *\""), "trigger",
         "{\"cron_schedule\":{\"cron\":\"CRON_TZ=Asia/Tokyo 0 0 3 * * *\"}}"},
        {NULL, CRON("\"cron\":\"@daily\",\"start_time\":\"2026-01-02T00:00:00Z\",\"end_time\":\"2026-01-01T00:00:00Z\""),
         "trigger",
         "{\"cron_schedule\":{\"cron\":\"@daily\",\"start_time\":\"2026-01-02T00:00:00Z\",\"end_time\":\"2026-01-01T00:00:00Z\"}"
         "}"},
        {NULL, PERIODIC("\"interval_second\":\"1\""), "trigger", "{\"periodic_schedule\":{\"interval_second\":\"1\"}}"},
        {NULL, PERIODIC("\"intervalSecond\":3600,\"startTime\":\"2026-01-01T01:00:00+01:00\""), "trigger",
         "{\"periodic_schedule\":{\"interval_second\":\"3600\",\"start_time\":\"2026-01-01T00:00:00Z\"}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(made) = make(k, cases[i].source, cases[i].rest, 200);
        AUTOFREE char *path = path_of(made, "");
        JSON_REF(got) = kit_call(k, HTTP_GET, path, NULL, 200);
        JSON_REF(want) = cases[i].want ? json_parse_str(cases[i].want, NULL) : NULL;
        struct json *const both[] = {made, got};
        for (size_t n = 0; n < 2; n++) {
            jval *m = jv_get(json_root(both[n]), cases[i].member);
            AUTOFREE char *text = jv_text(m, 0);
            if (want ? !jv_equal(m, json_root(want)) : jv_present(m))
                fail_msg("case %zu %s: %s is %s, not %s", i, cases[i].rest, cases[i].member, text,
                         cases[i].want ? cases[i].want : "absent");
        }
    }
}

/* ---- calls ------------------------------------------------------------------------------------------------------------ */

static void test_limits(void **state)
{
    struct kit *k = *state;
    AUTOFREE char *source = xasprintf("\"pipeline_spec\":%s", HELLO_IR);
    static const struct {
        const char *concurrency;
        int status;
    } cases[] = {{"1", 200}, {"10", 200}, {"\"10\"", 200}, {"0", 400}, {"11", 400}, {"-1", 400}, {"1.5", 400}, {"null", 400}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *body = xasprintf("{\"display_name\":\"j\",\"max_concurrency\":%s,%s}", cases[i].concurrency, source);
        json_unref(kit_call(k, HTTP_POST, PATH, body, cases[i].status));
    }
    static const char *const two[] = {
        "\"pipeline_spec\":{},\"pipeline_version_id\":\"x\"",
        "\"pipeline_version_reference\":{\"pipeline_id\":\"x\"},\"pipeline_version_id\":\"x\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(two); i++)
        json_unref(make(k, two[i], "", 400));
    json_unref(make(k, "\"description\":\"no source\"", "", 400));
    json_unref(make(k, "\"pipeline_version_reference\":{\"pipeline_id\":\"x\",\"pipeline_version_id\":\"y\"}", "", 404));
}

static void test_delete(void **state)
{
    struct kit *k = *state;
    static const struct {
        const char *query;
        int status;
    } cases[] = {
        {"", 200},
        {"?propagation_policy=", 200},
        {"?propagation_policy=DELETE_PROPAGATION_POLICY_UNSPECIFIED", 200},
        {"?propagation_policy=FOREGROUND", 200},
        {"?propagationPolicy=BACKGROUND", 200},
        {"?propagation_policy=ORPHAN", 200},
        {"?propagation_policy=0", 200},
        {"?propagation_policy=3", 200},
        {"?propagation_policy=4", 400},
        {"?propagation_policy=background", 400},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(made) = make(k, NULL, "", 200);
        AUTOFREE char *path = path_of(made, "");
        AUTOFREE char *with = path_of(made, cases[i].query);
        json_unref(kit_call(k, HTTP_DELETE, with, NULL, cases[i].status));
        json_unref(kit_call(k, HTTP_GET, path, NULL, cases[i].status == 200 ? 404 : 200));
        json_unref(kit_call(k, HTTP_DELETE, path, NULL, cases[i].status == 200 ? 404 : 200));
    }
}

/* ---- starts ----------------------------------------------------------------------------------------------------------- */

/* The only run there is, once there is one. */
static struct json *only_run(struct kit *k)
{
    for (int i = 0; i < 4000; i++) {
        JSON_REF(d) = kit_call(k, HTTP_GET, BASE "/runs", NULL, 200);
        jval *run = jv_at(jv_get(json_root(d), "runs"), 0);
        if (run) {
            AUTOFREE char *path = xasprintf(BASE "/runs/%s", jv_str(jv_get(run, "run_id")));
            return kit_call(k, HTTP_GET, path, NULL, 200);
        }
        usleep(5000);
    }
    fail_msg("no run started");
    return NULL;
}

/* Its names are made of the object's and the number of the start, and nothing else: the same slot is the same run. */
static void test_started_run(void **state)
{
    struct kit *k = *state;
    ERR(e);
    struct ctx ctx = ctx_background();
    JSON_REF(x) = kit_call(k, HTTP_POST, BASE "/experiments", "{\"display_name\":\"e\"}", 200);
    AUTOFREE char *eid = kit_get(x, "experiment_id");
    AUTOFREE char *body = xasprintf(
        "{\"display_name\":\"Shown\",\"max_concurrency\":1,\"mode\":1,\"experiment_id\":\"%s\",\"service_account\":\"robot\","
        "\"runtime_config\":{\"parameters\":{\"n\":4},\"pipeline_root\":\"s3://b/p\"},\"plugins_input\":{\"x\":{\"y\":1}},"
        "\"trigger\":{\"periodic_schedule\":{\"interval_second\":60}},\"pipeline_spec\":%s}",
        eid, HELLO_IR);
    assert_int_equal(pipelines_recurring_apply(k->api, &ctx, "an-id", "a-name", "team-a", body, &e), 0);
    kit_schedule(k);
    clock_manual_advance(&k->clock, 60 * NS_PER_S);
    JSON_REF(run) = only_run(k);
    kit_schedule_stop(k);
    const struct {
        const char *member, *want; /* JSON */
    } cases[] = {
        /* FNV-1a of "a-name-1"; UUIDv5 of "an-id/a-name-1-341441210" */
        {"display_name", "\"a-name-1-341441210\""},
        {"run_id", "\"2e3b38f6-b9fe-5679-8935-5564de2ca944\""},
        {"recurring_run_id", "\"an-id\""},
        {"scheduled_at", "\"2025-11-25T12:01:00Z\""},
        {"state", "\"PENDING\""},
        {"storage_state", "\"AVAILABLE\""},
        {"service_account", "\"robot\""},
        {"runtime_config", "{\"parameters\":{\"n\":4},\"pipeline_root\":\"s3://b/p\"}"},
        {"plugins_input", "{\"x\":{\"y\":1}}"},
        {"pipeline_spec", HELLO_IR},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(want) = json_parse_str(cases[i].want, NULL);
        AUTOFREE char *text = jv_text(jv_get(json_root(run), cases[i].member), 0);
        if (!jv_equal(jv_get(json_root(run), cases[i].member), json_root(want)))
            fail_msg("%s is %s, not %s", cases[i].member, text, cases[i].want);
    }
    assert_string_equal(jv_str_or(jv_get(json_root(run), "experiment_id"), ""), eid);
    AUTOFREE char *epath = xasprintf(BASE "/experiments/%s", eid);
    JSON_REF(touched) = kit_call(k, HTTP_GET, epath, NULL, 200);
    AUTOFREE char *last = kit_get(touched, "last_run_created_at");
    assert_string_equal(last, "2025-11-25T12:01:00Z");
    /* Neither its going nor a pause touches the run. */
    json_unref(kit_call(k, HTTP_POST, PATH "/an-id:disable", NULL, 200));
    json_unref(kit_call(k, HTTP_DELETE, PATH "/an-id", NULL, 200));
    JSON_REF(still) = only_run(k);
    assert_true(jv_equal(json_root(still), json_root(run)));
}

/* An open reference leaves the account open; its run has one. */
static void test_account_of_open_reference(void **state)
{
    struct kit *k = *state;
    JSON_REF(p) = kit_upload(k, "upload", "name=p", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *pid = kit_get(p, "pipeline_id");
    AUTOFREE char *open = xasprintf("\"pipeline_version_reference\":{\"pipeline_id\":\"%s\"}", pid);
    JSON_REF(made) = make(k, open, ",\"mode\":1", 200);
    kit_schedule(k);
    JSON_REF(run) = only_run(k);
    kit_schedule_stop(k);
    AUTOFREE char *account = kit_get(run, "service_account");
    assert_string_equal(account, "pipeline-runner");
    assert_non_null(jv_str(jv_path(json_root(run), "pipeline_version_reference", "pipeline_version_id", NULL)));
}

/* The object's name: lower-case letters, digits and hyphens of the display name, 25 of them, and five that tell it apart. */
static void test_names(void **state)
{
    struct kit *k = *state;
    struct schedule *s = kit_schedule(k);
    static const struct {
        const char *shown, *stem;
    } cases[] = {
        {"Nightly Run #7", "nightlyrun7"},
        {"under_score-and-hyphen", "underscore-and-hyphen"},
        {"abcdefghijklmnopqrstuvwxyz0123", "abcdefghijklmnopqrstuvwxy"},
        {"\xc3\xa9\xc3\xa9", "job-"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *body = xasprintf("{\"display_name\":\"%s\",\"max_concurrency\":1,\"mode\":1,\"pipeline_spec\":%s}",
                                        cases[i].shown, HELLO_IR);
        JSON_REF(made) = kit_call(k, HTTP_POST, PATH, body, 200);
        AUTOFREE char *id = kit_get(made, "recurring_run_id");
        schedule_notify(s, id);
        JSON_REF(run) = only_run(k);
        const char *shown = jv_str_or(jv_get(json_root(run), "display_name"), "");
        size_t n = strlen(cases[i].stem);
        if (strncmp(shown, cases[i].stem, n) != 0 || !str_starts(shown + n + 5, "-1-"))
            fail_msg("%s: %s", cases[i].shown, shown);
        AUTOFREE char *path = xasprintf(BASE "/runs/%s", jv_str(jv_get(json_root(run), "run_id")));
        json_unref(kit_call(k, HTTP_DELETE, path, NULL, 200));
    }
    kit_schedule_stop(k);
}

TEST_GROUP(recurring_tables, WITH_KIT(test_answers), WITH_KIT(test_limits), WITH_KIT(test_delete), WITH_KIT(test_started_run),
           WITH_KIT(test_account_of_open_reference), WITH_KIT(test_names))
