/* The tables of lists (spec 3), row by row: what every list is sorted and filtered by, pages, tokens, every operation with every
 * kind of value, scopes. */
#include "kit.h"

#include <strings.h>

#include "base/str.h"

#define BASE "/apis/v2beta1"
/* A document of one predicate. */
#define P(key, op, value) "{\"predicates\":[{\"key\":\"" key "\",\"operation\":" op "," value "}]}"

/* The answer to a list with this filter (NULL: none) and the rest of a query. */
static struct json *list(struct kit *k, const char *path, const char *query, const char *filter, int status)
{
    AUTOFREE char *encoded = url_encode(filter ? filter : "");
    AUTOFREE char *whole = xasprintf("%s?%s&filter=%s", path, query, encoded);
    return kit_call(k, HTTP_GET, whole, NULL, status);
}

/* This member of every item, joined with commas. Caller frees. */
static char *members(struct json *d, const char *key, const char *member)
{
    STRLIST(got);
    jval *v = jv_get(json_root(d), key);
    for (size_t i = 0; i < jv_len(v); i++)
        strlist_add(&got, jv_str_or(jv_get(jv_at(v, i), member), ""));
    return strlist_join(&got, ",");
}

static void shows(struct kit *k, const char *path, const char *key, const char *query, const char *filter, const char *want)
{
    JSON_REF(d) = list(k, path, query, filter, 200);
    AUTOFREE char *got = members(d, key, "display_name");
    if (strcmp(got, want) != 0)
        fail_msg("%s?%s %s: want %s, got %s", path, query, filter ? filter : "", want, got);
    assert_int_equal(jv_i64_or(jv_get(json_root(d), "total_size"), 0), jv_len(jv_get(json_root(d), key)));
}

static void add(struct kit *k, const char *path, const char *fmt, const char *name)
{
    const char *hole = strstr(fmt, "%s");
    AUTOFREE char *body = xasprintf("%.*s%s%s", (int)(hole - fmt), fmt, name, hole + 2);
    json_unref(kit_call(k, HTTP_POST, path, body, 200));
    clock_manual_advance(&k->clock, NS_PER_S);
}

/* ---- columns ---------------------------------------------------------------------------------------------------------- */

struct column_case {
    const char *path, *key, *id;
    const char *both, *sort_only, *filter_only, *neither; /* names, separated by blanks */
};

/* Ids in this order, in pages of this size. Caller frees. */
static char *ids(struct kit *k, const struct column_case *c, const char *sort, int size, bool backwards)
{
    STRLIST(got);
    AUTOFREE char *token = NULL;
    do {
        AUTOFREE char *encoded = url_encode(token ? token : "");
        AUTOFREE char *path = xasprintf("%s?sort_by=%s&page_size=%d&page_token=%s", c->path, sort, size, encoded);
        JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 200);
        jval *v = jv_get(json_root(d), c->key);
        for (size_t i = 0; i < jv_len(v); i++)
            strlist_add(&got, jv_str(jv_get(jv_at(v, i), c->id)));
        free(token);
        token = xstrdup(jv_str(jv_get(json_root(d), "next_page_token")));
    } while (token);
    for (size_t i = 0; backwards && i < got.n / 2; i++) {
        char *swap = got.v[i];
        got.v[i] = got.v[got.n - 1 - i];
        got.v[got.n - 1 - i] = swap;
    }
    return strlist_join(&got, ",");
}

/* The column really orders; ties go by id in the same direction, so that one way is the other one backwards, and pages do not
 * change it. */
static void sorts(struct kit *k, const struct column_case *c, const char *name)
{
    AUTOFREE char *down = xasprintf("%s%%20desc", name);
    AUTOFREE char *one = ids(k, c, name, 200, false);
    AUTOFREE char *other = ids(k, c, down, 200, true);
    AUTOFREE char *paged = ids(k, c, name, 1, false);
    AUTOFREE char *paged_down = ids(k, c, down, 1, true);
    if (strcmp(one, other) != 0 || strcmp(one, paged) != 0 || strcmp(one, paged_down) != 0)
        fail_msg("%s by %s: %s; %s; %s; %s", c->path, name, one, other, paged, paged_down);
    AUTOFREE char *path = xasprintf("%s?sort_by=%s", c->path, name);
    JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 200);
    jval *v = jv_get(json_root(d), c->key);
    assert_true(jv_len(v) > 1);
    for (size_t i = 1; i < jv_len(v); i++) {
        jval *x = jv_at(v, i - 1), *y = jv_at(v, i);
        const char *a = jv_str_or(jv_get(x, name), ""), *b = jv_str_or(jv_get(y, name), "");
        bool same = *a && strcmp(a, b) == 0;
        if (strcasecmp(a, b) > 0 || (same && strcmp(jv_str(jv_get(x, c->id)), jv_str(jv_get(y, c->id))) > 0))
            fail_msg("%s by %s: %s before %s", c->path, name, a, b);
    }
}

static void refuses(struct kit *k, const struct column_case *c, const char *query)
{
    AUTOFREE char *path = xasprintf("%s?%s", c->path, query);
    JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 400);
    assert_int_equal(jv_i64_or(jv_get(json_root(d), "code"), 0), 3);
}

static void each_name(struct kit *k, const struct column_case *c, const char *names, bool may_sort, bool may_filter)
{
    AUTOFREE char *copy = xstrdup(names);
    char *save = NULL;
    for (char *name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
        AUTOFREE char *sort = xasprintf("sort_by=%s", name);
        AUTOFREE char *filter = xasprintf("{\"predicates\":[{\"key\":\"%s\",\"operation\":1,\"string_value\":\"none\"}]}", name);
        if (!may_sort)
            refuses(k, c, sort);
        else if (may_filter)
            sorts(k, c, name);
        else
            json_unref(list(k, c->path, sort, NULL, 200)); /* metrics have a test of their own: rows without one come last */
        JSON_REF(d) = list(k, c->path, "", filter, may_filter ? 200 : 400);
        if (may_filter)
            assert_int_equal(jv_len(json_root(d)), 0); /* nothing matches, and an empty page is {} */
    }
}

static void three_of_each(struct kit *k, char **pipeline, char **run)
{
    static const char *const names[] = {"b", "A", "c"};
    AUTOFREE char *of_run = xasprintf("{\"display_name\":\"%%s\",\"description\":\"same\",\"pipeline_spec\":%s}", HELLO_IR);
    AUTOFREE char *of_job = xasprintf("{\"display_name\":\"%%s\",\"max_concurrency\":1,\"pipeline_spec\":%s}", HELLO_IR);
    JSON_REF(p) = kit_upload(k, "upload", "name=p", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    *pipeline = kit_get(p, "pipeline_id");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        clock_manual_advance(&k->clock, NS_PER_S);
        add(k, BASE "/experiments", "{\"display_name\":\"%s\",\"description\":\"same\"}", names[i]);
        add(k, BASE "/pipelines", "{\"name\":\"%s\",\"description\":\"same\"}", names[i]);
        add(k, BASE "/runs", of_run, names[i]);
        add(k, BASE "/recurringruns", of_job, names[i]);
        AUTOFREE char *query = xasprintf("name=%s&pipelineid=%s", names[i], *pipeline);
        json_unref(kit_upload(k, "upload_version", query, "x.json", HELLO_IR, strlen(HELLO_IR), 200));
    }
    kit_sql(k, "UPDATE runs SET state = 3, storage_state = 1 WHERE display_name = 'A'");
    kit_sql(k, "UPDATE recurring_runs SET enabled = 1 WHERE display_name = 'A'");
    JSON_REF(runs) = kit_call(k, HTTP_GET, BASE "/runs?page_size=1", NULL, 200);
    *run = xstrdup(jv_str(jv_get(jv_at(jv_get(json_root(runs), "runs"), 0), "run_id")));
    AUTOFREE char *tasks =
        xasprintf("INSERT INTO tasks (id, task_id, run_id, parent, name, display_name, path, type, state, created_at) VALUES "
                  "(1, 't2', '%s', 0, 'root', 'z', 'root', 0, 2, 1000000000), (2, 't1', '%s', 1, 'step', 'y', 'root/step', 1, 2, "
                  "2000000000)",
                  *run, *run);
    kit_sql(k, tasks);
    kit_sql(
        k,
        "INSERT INTO artifacts (id, name, schema_title, uri, run_id, created_at) VALUES "
        "(1, 'n', 'system.Model', 'minio://b/2', 'r', 1000000000), (2, 'm', 'system.Dataset', 'minio://b/1', 'q', 2000000000)");
}

static void test_columns(void **state)
{
    struct kit *k = *state;
    AUTOFREE char *pipeline = NULL;
    AUTOFREE char *run = NULL;
    three_of_each(k, &pipeline, &run);
    AUTOFREE char *versions = xasprintf(BASE "/pipelines/%s/versions", pipeline);
    AUTOFREE char *tasks = xasprintf(BASE "/runs/%s/tasks", run);
    const struct column_case cases[] = {
        {BASE "/pipelines", "pipelines", "pipeline_id", "pipeline_id id name display_name created_at description namespace", "",
         "tags.a", "tags status storage_state spec_hash"},
        {versions, "pipeline_versions", "pipeline_version_id",
         "pipeline_version_id id name display_name created_at status description pipeline_spec", "", "tags.a",
         "tags spec_hash package_url storage_state"},
        {BASE "/experiments", "experiments", "experiment_id",
         "experiment_id id name display_name created_at last_run_created_at description namespace storage_state", "", "",
         "tags.a state metric:x"},
        {BASE "/runs", "runs", "run_id",
         "run_id id display_name name created_at finished_at scheduled_at description storage_state status state state_history "
         "namespace experiment_id recurring_run_id runtime_details",
         "metric:x", "", "tags.a kubernetes_name spec_hash generation terminated_by metric: metric:1x"},
        {BASE "/recurringruns", "recurringRuns", "recurring_run_id",
         "recurring_run_id id display_name name created_at updated_at description status", "", "",
         "storage_state cron enabled spec_hash last_index"},
        {tasks, "tasks", "task_id", "task_id run_id display_name name state create_time end_time parent_task_id fingerprint", "",
         "", "pod_name cache_parts"},
        {BASE "/artifacts", "artifacts", "artifact_id", "artifact_id name type uri created_at namespace run_id", "", "",
         "metadata pipeline custom_path"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        each_name(k, &cases[i], cases[i].both, true, true);
        each_name(k, &cases[i], cases[i].sort_only, true, false);
        each_name(k, &cases[i], cases[i].filter_only, false, true);
        each_name(k, &cases[i], cases[i].neither, false, false);
    }
}

static void test_sort_words(void **state)
{
    struct kit *k = *state;
    static const char *const names[] = {"b", "c", "a"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        add(k, BASE "/experiments", "{\"display_name\":\"%s\"}", names[i]);
    static const struct {
        const char *query, *want; /* NULL: refused */
    } cases[] = {
        {"sort_by=", "Default,b,c,a"},
        {"sort_by=%20%20", "Default,b,c,a"},
        {"sort_by=name", "a,b,c,Default"},
        {"sort_by=Name%20ASC", "a,b,c,Default"},
        {"sort_by=%20name%20%20%20desc%20", "Default,c,b,a"},
        {"sortBy=DISPLAY_NAME%09Desc", "Default,c,b,a"},
        {"sort_by=created_at%20DESC", "a,c,b,Default"},
        {"sort_by=name%20down", NULL},
        {"sort_by=name,desc", NULL},
        {"sort_by=desc", NULL},
        {"sort_by=name%20asc%20id", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].want)
            shows(k, BASE "/experiments", "experiments", cases[i].query, NULL, cases[i].want);
        else
            json_unref(list(k, BASE "/experiments", cases[i].query, NULL, 400));
    }
}

/* ---- pages ------------------------------------------------------------------------------------------------------------ */

static void test_page_sizes(void **state)
{
    struct kit *k = *state;
    kit_sql(k,
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 204) "
            "INSERT INTO experiments (experiment_id, name, created_at) SELECT printf('x%03d', i), printf('x%03d', i), i FROM n");
    static const struct {
        const char *query;
        size_t items;
    } cases[] = {
        {"", 20},
        {"page_size=0", 20},
        {"page_size=1", 1},
        {"pageSize=21", 21},
        {"page_size=200", 200},
        {"page_size=201", 200},
        {"page_size=2147483647", 200},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(d) = list(k, BASE "/experiments", cases[i].query, NULL, 200);
        assert_int_equal(jv_len(jv_get(json_root(d), "experiments")), cases[i].items);
        assert_int_equal(jv_i64_or(jv_get(json_root(d), "total_size"), 0), 205); /* of all pages */
        assert_non_null(jv_str(jv_get(json_root(d), "next_page_token")));
        AUTOFREE char *token = kit_get(d, "next_page_token");
        AUTOFREE char *encoded = url_encode(token);
        AUTOFREE char *rest = xasprintf("page_token=%s&page_size=200", encoded); /* another size than before */
        JSON_REF(next) = list(k, BASE "/experiments", rest, NULL, 200);
        bool last = cases[i].items >= 5;
        assert_int_equal(jv_len(jv_get(json_root(next), "experiments")), last ? 205 - cases[i].items : 200);
        assert_int_equal(jv_i64_or(jv_get(json_root(next), "total_size"), 0), 205);
        assert_int_equal(jv_present(jv_get(json_root(next), "next_page_token")), !last);
    }
}

/* A token carries sort and filter: alone it is enough, and beside it they must be the same. */
static void test_token_criteria(void **state)
{
    struct kit *k = *state;
    static const char *const names[] = {"a1", "a2", "a3", "b1"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        add(k, BASE "/experiments", "{\"display_name\":\"%s\"}", names[i]);
    static const char filter[] = P("name", "9", "\"string_value\":\"a\""), other[] = P("name", "9", "\"string_value\":\"b\"");
    static const char spaced[] = P("name", " 9 ", " \"string_value\" : \"a\"");
    JSON_REF(first) = list(k, BASE "/experiments", "sort_by=name%20desc&page_size=1", filter, 200);
    AUTOFREE char *token = kit_get(first, "next_page_token");
    AUTOFREE char *encoded = url_encode(token);
    const struct {
        const char *query, *filter, *want; /* NULL: refused */
    } cases[] = {
        {"", NULL, "a3,a2,a1"},
        {"&sort_by=name%20desc", NULL, "a3,a2,a1"},
        {"&sort_by=NAME%20DESC", filter, "a3,a2,a1"},
        {"&sort_by=display_name%20desc", filter, "a3,a2,a1"}, /* the same column */
        {"", spaced, "a3,a2,a1"},
        {"", other, NULL},
        {"&sort_by=name", NULL, NULL},
        {"&sort_by=created_at%20desc", filter, NULL},
        {"&sort_by=name%20desc", other, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *query = xasprintf("page_token=%s%s", encoded, cases[i].query);
        JSON_REF(d) = list(k, BASE "/experiments", query, cases[i].filter, cases[i].want ? 200 : 400);
        AUTOFREE char *got = members(d, "experiments", "display_name");
        if (cases[i].want)
            assert_string_equal(got, cases[i].want);
        else
            assert_non_null(strstr(jv_str(jv_get(json_root(d), "message")), "page token does not match"));
    }
}

/* ---- filters ---------------------------------------------------------------------------------------------------------- */

/* Every operation, by its name and by its number. */
static void test_operations(void **state)
{
    struct kit *k = *state;
    static const char *const names[] = {"aa", "ab", "b"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        add(k, BASE "/experiments", "{\"display_name\":\"%s\"}", names[i]);
    static const struct {
        const char *name;
        int number;
        const char *value, *want; /* NULL: refused */
    } cases[] = {
        {"OPERATION_UNSPECIFIED", 0, "\"string_value\":\"ab\"", NULL},
        {"EQUALS", 1, "\"string_value\":\"ab\"", "ab"},
        {"NOT_EQUALS", 2, "\"string_value\":\"ab\"", "aa,b,Default"},
        {"GREATER_THAN", 3, "\"string_value\":\"ab\"", "b"},
        {"GREATER_THAN_EQUALS", 5, "\"string_value\":\"ab\"", "ab,b"},
        {"LESS_THAN", 6, "\"string_value\":\"ab\"", "aa,Default"},
        {"LESS_THAN_EQUALS", 7, "\"string_value\":\"ab\"", "aa,ab,Default"},
        {"IN", 8, "\"string_values\":{\"values\":[\"b\",\"aa\"]}", "aa,b"},
        {"IN", 8, "\"stringValues\":{\"values\":[]}", ""},
        {"IS_SUBSTRING", 9, "\"stringValue\":\"A\"", "aa,ab,Default"},
        {"MAYBE", 10, "\"string_value\":\"ab\"", NULL},
        {"IN", 8, "\"string_value\":\"ab\"", NULL},
        {"IN", 8, "\"long_value\":1", NULL},
        {"EQUALS", 1, "\"int_values\":{\"values\":[1]}", NULL},
        {"GREATER_THAN", 3, "\"long_values\":{\"values\":[1]}", NULL},
        {"IS_SUBSTRING", 9, "\"string_values\":{\"values\":[\"a\"]}", NULL},
        {"IS_SUBSTRING", 9, "\"timestamp_value\":\"2025-11-25T12:00:00Z\"", NULL},
        {"IS_SUBSTRING", 9, "\"long_value\":1", NULL},
        {"EQUALS", 1, "\"string_value\":\"ab\",\"int_value\":1", NULL}, /* exactly one value */
        {"EQUALS", 1, "\"string_value\":\"ab\",\"stringValues\":{\"values\":[\"ab\"]}", NULL},
        {"EQUALS", 1, "\"op\":1", NULL}, /* the name of v1beta1 */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *named = xasprintf(P("name", "\"%s\"", "%s"), cases[i].name, cases[i].value);
        AUTOFREE char *numbered = xasprintf(P("name", "%d", "%s"), cases[i].number, cases[i].value);
        if (cases[i].want) {
            shows(k, BASE "/experiments", "experiments", "sort_by=name", named, cases[i].want);
            shows(k, BASE "/experiments", "experiments", "sort_by=name", numbered, cases[i].want);
        } else {
            json_unref(list(k, BASE "/experiments", "", named, 400));
            json_unref(list(k, BASE "/experiments", "", numbered, 400));
        }
    }
}

/* Every kind of value on a time column; times compare as whole seconds. */
static void test_values(void **state)
{
    struct kit *k = *state;
    clock_manual_advance(&k->clock, NS_PER_S + NS_PER_S / 2); /* what follows was made in the middle of seconds */
    static const char *const names[] = {"one", "p+q%20r", "three"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        add(k, BASE "/experiments", "{\"display_name\":\"%s\"}", names[i]);
    static const struct {
        const char *filter, *want; /* NULL: refused */
    } cases[] = {
        {P("created_at", "1", "\"timestamp_value\":\"2025-11-25T12:00:01Z\""), "one"},
        {P("created_at", "1", "\"timestampValue\":\"2025-11-25T13:00:01+01:00\""), "one"},
        {P("created_at", "3", "\"timestamp_value\":\"2025-11-25T12:00:02Z\""), "three"}, /* 12:00:02.5 is not later */
        {P("created_at", "7", "\"timestamp_value\":\"2025-11-25T12:00:01Z\""), "Default,one"},
        {P("created_at", "2", "\"timestamp_value\":\"2025-11-25T12:00:01Z\""), "Default,p+q%20r,three"},
        {P("created_at", "1", "\"int_value\":1764072001"), "one"},
        {P("created_at", "1", "\"intValue\":\"1764072001\""), "one"},
        {P("created_at", "1", "\"longValue\":\"1764072001\""), "one"},
        {P("created_at", "8", "\"int_values\":{\"values\":[1764072001,1764072003]}"), "one,three"},
        {P("created_at", "8", "\"longValues\":{\"values\":[\"1764072001\",5]}"), "one"},
        {P("created_at", "8", "\"long_values\":{}"), ""},
        {P("created_at", "8", "\"string_values\":{\"values\":[\"2025-11-25T12:00:03Z\"]}"), "three"},
        {P("created_at", "3", "\"string_value\":\"2000-01-01T00:00:00Z\""), "Default,one,p+q%20r,three"},
        {P("created_at", "3", "\"string_value\":\"not a time\""), ""}, /* as text, and digits come before letters */
        {P("created_at", "6", "\"string_value\":\"not a time\""), "Default,one,p+q%20r,three"},
        {P("created_at", "1", "\"timestamp_value\":\"soon\""), NULL},
        {P("created_at", "1", "\"int_value\":\"x\""), NULL},
        {P("created_at", "1", "\"int_value\":2147483648"), NULL},
        {P("last_run_created_at", "1", "\"timestamp_value\":\"1970-01-01T00:00:00Z\""), "Default,one,p+q%20r,three"},
        {P("name", "1", "\"string_value\":\"p+q%20r\""), "p+q%20r"}, /* decoded once */
        {"{\"predicates\":[{\"key\":\"name\",\"operation\":5,\"string_value\":\"one\"},"
         "{\"key\":\"name\",\"operation\":6,\"string_value\":\"three\"},"
         "{\"key\":\"created_at\",\"operation\":3,\"int_value\":1764072001}]}",
         "p+q%20r"}, /* several, on one key too: all of them */
        {"{}", "Default,one,p+q%20r,three"},
        {"{\"predicates\":[{\"operation\":1,\"string_value\":\"x\"}]}", NULL},
        {"{\"predicates\":[{\"key\":\"name\",\"operation\":1,\"string_value\":\"x\",\"or\":[]}]}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].want)
            shows(k, BASE "/experiments", "experiments", "", cases[i].filter, cases[i].want);
        else
            json_unref(list(k, BASE "/experiments", "", cases[i].filter, 400));
    }
}

/* Words of states are compared in any case and in either API's spelling. */
static void test_words(void **state)
{
    struct kit *k = *state;
    static const char *const names[] = {"done", "waits", "ends"};
    AUTOFREE char *body = xasprintf("{\"display_name\":\"%%s\",\"pipeline_spec\":%s}", HELLO_IR);
    AUTOFREE char *job = xasprintf("{\"display_name\":\"%%s\",\"max_concurrency\":1,\"pipeline_spec\":%s}", HELLO_IR);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        add(k, BASE "/runs", body, names[i]);
        add(k, BASE "/recurringruns", job, names[i]);
    }
    kit_sql(k, "UPDATE runs SET state = 3, storage_state = 1 WHERE display_name = 'done'");
    kit_sql(k, "UPDATE runs SET state = 6 WHERE display_name = 'ends'");
    kit_sql(k, "UPDATE recurring_runs SET enabled = 1 WHERE display_name = 'done'");
    static const struct {
        const char *path, *key, *filter, *want;
    } cases[] = {
        {BASE "/runs", "runs", P("state", "1", "\"string_value\":\"SUCCEEDED\""), "done"},
        {BASE "/runs", "runs", P("state", "1", "\"string_value\":\"succeeded\""), "done"},
        {BASE "/runs", "runs", P("status", "1", "\"string_value\":\"Succeeded\""), "done"},
        {BASE "/runs", "runs", P("status", "1", "\"string_value\":\"Terminating\""), "ends"},
        {BASE "/runs", "runs", P("state", "1", "\"string_value\":\"Pending\""), "waits"},
        {BASE "/runs", "runs", P("state", "1", "\"string_value\":\"PAUSED\""), ""},
        {BASE "/runs", "runs", P("state", "1", "\"string_value\":\"RUNTIME_STATE_UNSPECIFIED\""), ""},
        {BASE "/runs", "runs", P("state", "2", "\"string_value\":\"canceling\""), "done,waits"},
        {BASE "/runs", "runs", P("state", "8", "\"string_values\":{\"values\":[\"PENDING\",\"Canceling\",\"x\"]}"), "waits,ends"},
        {BASE "/runs", "runs", P("state", "9", "\"string_value\":\"cance\""), "ends"},
        {BASE "/runs", "runs", P("storage_state", "1", "\"string_value\":\"STORAGESTATE_ARCHIVED\""), "done"},
        {BASE "/runs", "runs", P("storage_state", "1", "\"string_value\":\"Archived\""), "done"},
        {BASE "/runs", "runs", P("storage_state", "1", "\"string_value\":\"AVAILABLE\""), "waits,ends"},
        {BASE "/runs", "runs", P("storage_state", "2", "\"string_value\":\"STORAGESTATE_ARCHIVED\""), "waits,ends"},
        {BASE "/runs", "runs", P("display_name", "1", "\"string_value\":\"Done\""), ""}, /* text is exact */
        {BASE "/recurringruns", "recurringRuns", P("status", "1", "\"string_value\":\"Enabled\""), "done"},
        {BASE "/recurringruns", "recurringRuns", P("status", "1", "\"string_value\":\"DISABLED\""), "waits,ends"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        shows(k, cases[i].path, cases[i].key, "", cases[i].filter, cases[i].want);
}

/* Tags of versions as those of pipelines; several must all be there. */
static void test_version_tags(void **state)
{
    struct kit *k = *state;
    JSON_REF(p) = kit_upload(k, "upload", "name=p", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *id = kit_get(p, "pipeline_id");
    static const char *const queries[] = {"name=v1&tags=%7B%22a%22:%221%22,%22b%22:%222%22%7D",
                                          "name=v2&tags=%7B%22a%22:%221%22%7D"};
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        AUTOFREE char *query = xasprintf("%s&pipelineid=%s", queries[i], id);
        json_unref(kit_upload(k, "upload_version", query, "x.json", HELLO_IR, strlen(HELLO_IR), 200));
    }
    AUTOFREE char *versions = xasprintf(BASE "/pipelines/%s/versions", id);
    static const struct {
        const char *filter, *want; /* NULL: refused */
    } cases[] = {
        {P("tags.a", "1", "\"string_value\":\"1\""), "v1,v2"},
        {P("tags.b", "\"EQUALS\"", "\"stringValue\":\"2\""), "v1"},
        {P("tags.b", "1", "\"string_value\":\"1\""), ""},
        {"{\"predicates\":[{\"key\":\"tags.a\",\"operation\":1,\"string_value\":\"1\"},"
         "{\"key\":\"tags.b\",\"operation\":1,\"string_value\":\"2\"}]}",
         "v1"},
        {P("tags.a", "9", "\"string_value\":\"1\""), NULL},
        {P("tags.a", "3", "\"string_value\":\"1\""), NULL},
        {P("tags.a", "1", "\"long_value\":1"), NULL},
        {P("tags.a", "1", "\"timestamp_value\":\"2025-11-25T12:00:01Z\""), NULL},
        {P("tags", "1", "\"string_value\":\"1\""), NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].want)
            shows(k, versions, "pipeline_versions", "", cases[i].filter, cases[i].want);
        else
            json_unref(list(k, versions, "", cases[i].filter, 400));
    }
    static const char *const others[] = {BASE "/experiments", BASE "/runs", BASE "/recurringruns", BASE "/artifacts"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        json_unref(list(k, others[i], "", cases[0].filter, 400));
}

/* ---- scope ------------------------------------------------------------------------------------------------------------ */

static void test_scopes(void **state)
{
    struct kit *k = *state;
    JSON_REF(e) = kit_call(k, HTTP_POST, BASE "/experiments", "{\"display_name\":\"e\",\"namespace\":\"kubeflow\"}", 200);
    AUTOFREE char *eid = kit_get(e, "experiment_id");
    AUTOFREE char *in = xasprintf("{\"display_name\":\"%%s\",\"experiment_id\":\"%s\",\"pipeline_spec\":%s}", eid, HELLO_IR);
    AUTOFREE char *job = xasprintf("{\"display_name\":\"%%s\",\"max_concurrency\":1,\"namespace\":\"kubeflow\",\"experiment_id\":"
                                   "\"%s\",\"pipeline_spec\":%s}",
                                   eid, HELLO_IR);
    AUTOFREE char *out = xasprintf("{\"display_name\":\"%%s\",\"max_concurrency\":1,\"pipeline_spec\":%s}", HELLO_IR);
    AUTOFREE char *out_run = xasprintf("{\"display_name\":\"%%s\",\"pipeline_spec\":%s}", HELLO_IR);
    add(k, BASE "/runs", in, "in");
    add(k, BASE "/runs", out_run, "out");
    add(k, BASE "/recurringruns", job, "in");
    add(k, BASE "/recurringruns", out, "out");
    AUTOFREE char *one = xasprintf("experiment_id=%s", eid);
    AUTOFREE char *camel = xasprintf("experimentId=%s", eid);
    AUTOFREE char *wins = xasprintf("namespace=elsewhere&experiment_id=%s", eid);
    static const char *const lists[][2] = {{BASE "/runs", "runs"}, {BASE "/recurringruns", "recurringRuns"}};
    const char *const only[] = {one, camel, wins};
    static const char *const all[] = {"", "namespace=", "namespace=kubeflow", "namespace=elsewhere", "experiment_id="};
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        for (size_t i = 0; i < ARRAY_LEN(only); i++)
            shows(k, lists[l][0], lists[l][1], only[i], NULL, "in");
        for (size_t i = 0; i < ARRAY_LEN(all); i++)
            shows(k, lists[l][0], lists[l][1], all[i], NULL, "in,out");
    }
    shows(k, BASE "/experiments", "experiments", "namespace=elsewhere", NULL, "Default,e");
    AUTOFREE char *path = xasprintf(BASE "/experiments/%s", eid);
    json_unref(kit_call(k, HTTP_DELETE, path, NULL, 200));
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        json_unref(list(k, lists[l][0], one, NULL, 404)); /* deleted */
        json_unref(list(k, lists[l][0], "experiment_id=nobody", NULL, 404));
        shows(k, lists[l][0], lists[l][1], "", NULL, "in,out"); /* they outlive it */
    }
}

TEST_GROUP(list_tables, WITH_KIT(test_columns), WITH_KIT(test_sort_words), WITH_KIT(test_page_sizes),
           WITH_KIT(test_token_criteria), WITH_KIT(test_operations), WITH_KIT(test_values), WITH_KIT(test_words),
           WITH_KIT(test_version_tags), WITH_KIT(test_scopes))
