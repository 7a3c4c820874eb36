/* The tables of the specification, row by row: what is refused and with what (2.3), names and limits (2.4), lists (3), uploads
 * (4.3). */
#include "kit.h"

#include "base/str.h"

#define BASE "/apis/v2beta1"

/* A text of n times this letter, inside the body for which %s stands. */
static char *with_name(const char *body, const char *letter, int n)
{
    BUF(name);
    for (int i = 0; i < n; i++)
        buf_adds(&name, letter);
    const char *at = strstr(body, "%s");
    assert_non_null(at);
    return xasprintf("%.*s%s%s", (int)(at - body), body, buf_str(&name), at + 2);
}

static void expect(struct kit *k, enum http_method method, const char *path, const char *body, int status)
{
    JSON_REF(d) = kit_call(k, method, path, body, status);
    if (status >= 400)
        assert_true(jv_i64_or(jv_get(json_root(d), "code"), 0) > 0 && jv_len(jv_get(json_root(d), "details")) == 1);
}

static void test_names(void **state)
{
    struct kit *k = *state;
    JSON_REF(p) = kit_upload(k, "upload", "name=p", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *pid = kit_get(p, "pipeline_id");
    AUTOFREE char *pipeline = xasprintf(BASE "/pipelines/%s", pid);
    AUTOFREE char *run = xasprintf("{\"display_name\":\"%%s\",\"pipeline_version_reference\":{\"pipeline_id\":\"%s\"}}", pid);
    AUTOFREE char *job = xasprintf(
        "{\"display_name\":\"%%s\",\"max_concurrency\":1,\"pipeline_version_reference\":{\"pipeline_id\":\"%s\"}}", pid);
    const struct {
        enum http_method method;
        const char *path, *body, *letter;
        int n, status;
    } cases[] = {
        {HTTP_POST, BASE "/runs", run, "x", 0, 400},
        {HTTP_POST, BASE "/runs", run, "x", 255, 200},
        {HTTP_POST, BASE "/runs", run, "x", 256, 400},
        {HTTP_POST, BASE "/runs", run, "\xc3\xa9", 255, 200}, /* letters, not bytes */
        {HTTP_POST, BASE "/runs", run, "\xf0\x9f\x98\x80", 255, 200},
        {HTTP_POST, BASE "/runs", run, "\xf0\x9f\x98\x80", 256, 400},
        {HTTP_POST, BASE "/recurringruns", job, "x", 0, 400},
        {HTTP_POST, BASE "/recurringruns", job, "x", 255, 200},
        {HTTP_POST, BASE "/recurringruns", job, "x", 256, 400},
        {HTTP_POST, BASE "/experiments", "{\"display_name\":\"%s\"}", "x", 0, 400},
        {HTTP_POST, BASE "/experiments", "{\"display_name\":\"%s\"}", "x", 128, 200},
        {HTTP_POST, BASE "/experiments", "{\"display_name\":\"%s\"}", "x", 129, 400},
        {HTTP_POST, BASE "/experiments", "{\"display_name\":\"n\",\"namespace\":\"%s\"}", "x", 64, 400},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"%s\"}", "x", 0, 400},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"%s\"}", "x", 128, 200},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"%s\"}", "y", 129, 400},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"d1\",\"display_name\":\"%s\"}", "x", 255, 200},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"d2\",\"display_name\":\"%s\"}", "x", 256, 400},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"d3\",\"namespace\":\"%s\"}", "x", 64, 400},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"t1\",\"tags\":{\"k\":\"%s\"}}", "x", 63, 200},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"t2\",\"tags\":{\"k\":\"%s\"}}", "x", 64, 400},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"t3\",\"tags\":{\"%s\":\"v\"}}", "x", 63, 200},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"t4\",\"tags\":{\"%s\":\"v\"}}", "x", 64, 400},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"t5\",\"tags\":{\"%s\":\"v\"}}", ".", 1, 400},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"t6\",\"tags\":{\"%s\":\"v\"}}", "x", 0, 400},
        {HTTP_PATCH, pipeline, "{\"display_name\":\"%s\"}", "x", 255, 200},
        {HTTP_PATCH, pipeline, "{\"display_name\":\"%s\"}", "x", 256, 400},
        {HTTP_PATCH, pipeline, "{\"display_name\":\"%s\"}", "x", 0, 200}, /* unchanged */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *body = with_name(cases[i].body, cases[i].letter, cases[i].n);
        expect(k, cases[i].method, cases[i].path, body, cases[i].status);
    }
}

static void test_references(void **state)
{
    struct kit *k = *state;
    JSON_REF(p) = kit_upload(k, "upload", "name=p", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *pid = kit_get(p, "pipeline_id");
    JSON_REF(other) = kit_upload(k, "upload", "name=q", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *qid = kit_get(other, "pipeline_id");
    AUTOFREE char *list = xasprintf(BASE "/pipelines/%s/versions", pid);
    JSON_REF(versions) = kit_call(k, HTTP_GET, list, NULL, 200);
    const char *vid = jv_str(jv_get(jv_at(jv_get(json_root(versions), "pipeline_versions"), 0), "pipeline_version_id"));
    JSON_REF(empty) = kit_call(k, HTTP_POST, BASE "/pipelines", "{\"name\":\"empty\"}", 200);
    AUTOFREE char *eid = kit_get(empty, "pipeline_id");
    AUTOFREE char *of_other =
        xasprintf("\"pipeline_version_reference\":{\"pipeline_id\":\"%s\",\"pipeline_version_id\":\"%s\"}", qid, vid);
    AUTOFREE char *without = xasprintf("\"pipeline_version_reference\":{\"pipeline_id\":\"%s\"}", eid);
    AUTOFREE char *good = xasprintf("\"pipeline_version_reference\":{\"pipeline_id\":\"%s\"}", pid);
    AUTOFREE char *old_field = xasprintf("\"pipeline_version_id\":\"%s\"", vid);
    const struct {
        const char *source;
        int status;
    } sources[] = {
        {"\"description\":\"no source\"", 400},
        {"\"pipeline_version_reference\":{}", 400},
        {"\"pipeline_version_reference\":{\"pipeline_id\":\"x\"}", 404},
        {"\"pipeline_version_reference\":{\"pipeline_version_id\":\"x\"}", 404},
        {of_other, 400},
        {without, 404},
        {"\"pipeline_spec\":{}", 400},
        {"\"pipeline_spec\":{\"pipelineInfo\":{\"name\":\"x\"},\"root\":{},\"schemaVersion\":\"1.0.0\"}", 400},
        {"\"pipeline_spec\":{\"pipelineInfo\":{\"name\":\"X\"},\"root\":{},\"schemaVersion\":\"2.1.0\"}", 400},
        {good, 200},
        {old_field, 200},
    };
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        AUTOFREE char *run = xasprintf("{\"display_name\":\"r\",%s}", sources[i].source);
        AUTOFREE char *job = xasprintf("{\"display_name\":\"j\",\"max_concurrency\":1,%s}", sources[i].source);
        expect(k, HTTP_POST, BASE "/runs", run, sources[i].status);
        expect(k, HTTP_POST, BASE "/recurringruns", job, sources[i].status);
    }
    AUTOFREE char *ignored = xasprintf("{\"display_name\":\"r\",\"recurring_run_id\":\"nobody\",%s}", good);
    JSON_REF(run) = kit_call(k, HTTP_POST, BASE "/runs", ignored, 200);
    assert_null(jv_get(json_root(run), "recurring_run_id"));
    AUTOFREE char *rid = kit_get(run, "run_id");
    AUTOFREE char *again = xasprintf("{\"display_name\":\"r\",\"run_id\":\"%s\",%s}", rid, good);
    expect(k, HTTP_POST, BASE "/runs", again, 409);
    const struct {
        enum http_method method;
        const char *path, *body;
        int status;
    } unknown[] = {
        {HTTP_POST, BASE "/runs",
         "{\"display_name\":\"r\",\"experiment_id\":\"x\",\"pipeline_version_reference\":{\"pipeline_id\":\"x\"}}", 404},
        {HTTP_POST, BASE "/pipelines/x/versions", "{\"name\":\"v\",\"package_url\":{\"pipeline_url\":\"https://github.com/x\"}}",
         404},
        {HTTP_POST, BASE "/experiments/x:archive", NULL, 404},
        {HTTP_POST, BASE "/experiments/x:unarchive", NULL, 404},
        {HTTP_DELETE, BASE "/experiments/x", NULL, 404},
        {HTTP_POST, BASE "/runs/x:archive", NULL, 404},
        {HTTP_POST, BASE "/runs/x:unarchive", NULL, 404},
        {HTTP_POST, BASE "/runs/x:retry", NULL, 404},
        {HTTP_DELETE, BASE "/runs/x", NULL, 404},
        {HTTP_GET, BASE "/runs/x/nodes/y/log", NULL, 404},
        {HTTP_GET, "/apis/v1alpha1/runs/x/nodes/y/log", NULL, 404},
        {HTTP_GET, BASE "/runs/x/nodes/y/artifacts/z:read", NULL, 404},
        {HTTP_PATCH, BASE "/pipelines/x", "{}", 404},
        {HTTP_DELETE, BASE "/pipelines/x", NULL, 404},
        {HTTP_GET, BASE "/visualizations/ns", NULL, 404},
        {HTTP_POST, BASE "/scheduledworkflows", "{}", 403},
    };
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        expect(k, unknown[i].method, unknown[i].path, unknown[i].body, unknown[i].status);
}

/* Every list, with everything that a list can be asked wrongly. */
static void test_wrong_lists(void **state)
{
    struct kit *k = *state;
    JSON_REF(p) = kit_upload(k, "upload", "name=p", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *pid = kit_get(p, "pipeline_id");
    AUTOFREE char *versions = xasprintf(BASE "/pipelines/%s/versions", pid);
    for (int i = 0; i < 3; i++) {
        AUTOFREE char *body = xasprintf("{\"display_name\":\"e%d\"}", i);
        json_unref(kit_call(k, HTTP_POST, BASE "/experiments", body, 200));
    }
    JSON_REF(page) = kit_call(k, HTTP_GET, BASE "/experiments?page_size=1", NULL, 200);
    AUTOFREE char *token = kit_get(page, "next_page_token");
    AUTOFREE char *encoded = url_encode(token);
    AUTOFREE char *elsewhere = xasprintf("page_token=%s", encoded);
    const char *const lists[] = {BASE "/pipelines",     versions,         BASE "/experiments", BASE "/runs",
                                 BASE "/recurringruns", BASE "/artifacts"};
    const char *const wrong[] = {
        "page_size=-1",
        "page_size=x",
        "page_size=",
        "page_size=99999999999",
        "page_size=1&page_size=2",
        "sort_by=nonsense",
        "sort_by=name%20sideways",
        "sort_by=name%20asc%20desc",
        "sort_by=created_at;drop%20table%20runs",
        "sort_by=tags.x",
        "page_token=x",
        "page_token=e30%3D",       /* {} */
        "page_token=bnVsbA%3D%3D", /* null */
        "filter=x",
        "filter=%7B",
        "filter=%5B%5D",
        "filter=null",
        "filter=%7B%22predicates%22:%7B%7D%7D",
        "filter=%7B%22predicates%22:%5B%7B%22key%22:%22%22,%22operation%22:1,%22stringValue%22:%22x%22%7D%5D%7D",
        "filter=%7B%22predicates%22:%5B%7B%22key%22:%22nonsense%22,%22operation%22:1,%22stringValue%22:%22x%22%7D%5D%7D",
        "filter=%7B%22predicates%22:%5B%7B%22key%22:%22name%22,%22stringValue%22:%22x%22%7D%5D%7D",
        "filter=%7B%22predicates%22:%5B%7B%22key%22:%22name%22,%22operation%22:1%7D%5D%7D",
        "filter=%7B%22predicates%22:%5B%7B%22key%22:%22name%22,%22operation%22:4,%22stringValue%22:%22x%22%7D%5D%7D",
        "filter=%7B%22predicates%22:%5B%7B%22key%22:%22name%22,%22operation%22:8,%22stringValue%22:%22x%22%7D%5D%7D",
        "filter=%7B%22predicates%22:%5B%7B%22key%22:%22name%22,%22operation%22:9,%22intValue%22:1%7D%5D%7D",
        "filter=%7B%22predicates%22:%5B%7B%22key%22:%22name%22,%22operation%22:1,%22stringValues%22:%7B%22values%22:%5B%5D%7D%7D%"
        "5D%7D",
    };
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        for (size_t w = 0; w < ARRAY_LEN(wrong); w++) {
            AUTOFREE char *path = xasprintf("%s?%s", lists[l], wrong[w]);
            expect(k, HTTP_GET, path, NULL, 400);
        }
        /* A token of another list. */
        AUTOFREE char *path = xasprintf("%s?%s", lists[l], elsewhere);
        expect(k, HTTP_GET, path, NULL, strcmp(lists[l], BASE "/experiments") == 0 ? 200 : 400);
    }
    /* The same token with other wishes. */
    AUTOFREE char *other_sort = xasprintf(BASE "/experiments?%s&sort_by=name", elsewhere);
    expect(k, HTTP_GET, other_sort, NULL, 400);
    AUTOFREE char *same_sort = xasprintf(BASE "/experiments?%s&sort_by=created_at%%20asc", elsewhere);
    expect(k, HTTP_GET, same_sort, NULL, 200);
}

static void test_wrong_uploads(void **state)
{
    struct kit *k = *state;
    json_unref(kit_upload(k, "upload", "name=taken", "x.json", HELLO_IR, strlen(HELLO_IR), 200));
    static const struct {
        const char *endpoint, *query, *file, *content;
        int status;
    } cases[] = {
        {"upload", "name=a", "x.yaml", "", 400},
        {"upload", "name=a", "x.txt", HELLO_IR, 400}, /* neither a name nor a beginning that says what it is */
        {"upload", "name=a", "x.zip", "PK\003\004 torn", 400},
        {"upload", "name=a", "x.tgz", "\037\213 torn", 400},
        {"upload", "name=a", "x.yaml", "a: [", 400},
        {"upload", "name=a", "x.yaml", "a: 1", 400},
        {"upload", "name=a&tags=x", "x.json", HELLO_IR, 400},
        {"upload", "name=a&tags=%5B%5D", "x.json", HELLO_IR, 400},
        {"upload", "name=a&tags=%7B%22a.b%22:%22c%22%7D", "x.json", HELLO_IR, 400},
        {"upload", "name=taken", "x.json", HELLO_IR, 409},
        {"upload_version", "name=v", "x.json", HELLO_IR, 400},
        {"upload_version", "name=v&pipelineid=x", "x.json", HELLO_IR, 400},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(d) = kit_upload(k, cases[i].endpoint, cases[i].query, cases[i].file, cases[i].content, strlen(cases[i].content),
                                 cases[i].status);
        assert_non_null(jv_get(json_root(d), "error_message"));
    }
    static const int lengths[][2] = {{127, 200}, {128, 400}, {129, 400}};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        AUTOFREE char *query = with_name("name=%s", "n", lengths[i][0]);
        json_unref(kit_upload(k, "upload", query, "x.json", HELLO_IR, strlen(HELLO_IR), lengths[i][1]));
    }
    JSON_REF(list) = kit_call(k, HTTP_GET, BASE "/pipelines", NULL, 200);
    assert_int_equal(jv_len(jv_get(json_root(list), "pipelines")), 2);
}

TEST_GROUP(tables, WITH_KIT(test_names), WITH_KIT(test_references), WITH_KIT(test_wrong_lists), WITH_KIT(test_wrong_uploads))
