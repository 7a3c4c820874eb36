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
    AUTOFREE char *vlist = xasprintf("%s/versions", pipeline);
    JSON_REF(versions) = kit_call(k, HTTP_GET, vlist, NULL, 200);
    const char *vid = jv_str(jv_get(jv_at(jv_get(json_root(versions), "pipeline_versions"), 0), "pipeline_version_id"));
    AUTOFREE char *version = xasprintf("%s/%s", vlist, vid);
    AUTOFREE char *first = with_name(job, "x", 1);
    JSON_REF(j) = kit_call(k, HTTP_POST, BASE "/recurringruns", first, 200);
    AUTOFREE char *jid = kit_get(j, "recurring_run_id");
    AUTOFREE char *recurring = xasprintf(BASE "/recurringruns/%s", jid);
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
        {HTTP_PATCH, pipeline, "{\"tags\":{\"k\":\"%s\"}}", "x", 63, 200},
        {HTTP_PATCH, pipeline, "{\"tags\":{\"k\":\"%s\"}}", "x", 64, 400},
        {HTTP_PATCH, version, "{\"display_name\":\"%s\"}", "x", 255, 200},
        {HTTP_PATCH, version, "{\"display_name\":\"%s\"}", "x", 256, 400},
        {HTTP_PATCH, version, "{\"tags\":{\"%s\":\"v\"}}", ".", 1, 400},
        {HTTP_PATCH, recurring, "{\"display_name\":\"%s\"}", "x", 255, 200},
        {HTTP_PATCH, recurring, "{\"display_name\":\"%s\"}", "x", 256, 400},
        {HTTP_POST, BASE "/recurringruns", job, "\xf0\x9f\x98\x80", 255, 200},
        {HTTP_POST, BASE "/experiments", "{\"display_name\":\"%s\"}", "\xf0\x9f\x98\x80", 32, 200}, /* bytes here */
        {HTTP_POST, BASE "/experiments", "{\"display_name\":\"%s\"}", "\xf0\x9f\x98\x81", 33, 400},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"%s\"}", "\xf0\x9f\x98\x80", 32, 200},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"%s\"}", "\xf0\x9f\x98\x81", 33, 400},
        {HTTP_POST, BASE "/experiments", "{\"display_name\":\"n63\",\"namespace\":\"%s\"}", "x", 63, 200},
        {HTTP_POST, BASE "/pipelines", "{\"name\":\"n63\",\"namespace\":\"%s\"}", "x", 63, 200},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *body = with_name(cases[i].body, cases[i].letter, cases[i].n);
        expect(k, cases[i].method, cases[i].path, body, cases[i].status);
    }
}

/* Versions made by URL, whose file cannot be had here: it is the message that says what is wrong. */
static void test_version_names(void **state)
{
    struct kit *k = *state;
    JSON_REF(p) = kit_call(k, HTTP_POST, BASE "/pipelines", "{\"name\":\"p\"}", 200);
    AUTOFREE char *pid = kit_get(p, "pipeline_id");
    AUTOFREE char *path = xasprintf(BASE "/pipelines/%s/versions", pid);
#define URL "\"package_url\":{\"pipeline_url\":\"https://127.0.0.1/x\"}"
    static const struct {
        const char *body;
        int n;
        const char *says;
    } cases[] = {
        {"{\"name\":\"%s\"," URL "}", 0, "name is required"},
        {"{\"name\":\"%s\"," URL "}", 127, "URL"},
        {"{\"name\":\"%s\"," URL "}", 128, "length cannot exceed 127"},
        {"{\"display_name\":\"%s\"," URL "}", 128, "length cannot exceed 127"}, /* it is the name, too */
        {"{\"name\":\"v\",\"display_name\":\"%s\"," URL "}", 255, "URL"},
        {"{\"name\":\"v\",\"display_name\":\"%s\"," URL "}", 256, "256 letters"},
        {"{\"name\":\"v\",\"tags\":{\"%s\":\"x\"}," URL "}", 63, "URL"},
        {"{\"name\":\"v\",\"tags\":{\"%s\":\"x\"}," URL "}", 64, "maximum length of 63"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *body = with_name(cases[i].body, "x", cases[i].n);
        JSON_REF(d) = kit_call(k, HTTP_POST, path, body, 400);
        AUTOFREE char *message = kit_get(d, "message");
        if (!strstr(message, cases[i].says))
            fail_msg("case %zu: %s", i, message);
    }
}

/* So many tags, as JSON. Caller frees. */
static char *tags(int n)
{
    BUF(b);
    for (int i = 0; i < n; i++)
        buf_addf(&b, "%s\"k%d\":\"v\"", i ? "," : "{", i);
    buf_addc(&b, '}');
    return buf_steal(&b, NULL);
}

static void test_number_of_tags(void **state)
{
    struct kit *k = *state;
    for (int n = 20; n <= 21; n++) {
        int status = n == 20 ? 200 : 400;
        AUTOFREE char *json = tags(n);
        AUTOFREE char *body = xasprintf("{\"name\":\"p%d\",\"tags\":%s}", n, json);
        expect(k, HTTP_POST, BASE "/pipelines", body, status);
        AUTOFREE char *encoded = url_encode(json);
        AUTOFREE char *query = xasprintf("name=q%d&tags=%s", n, encoded);
        json_unref(kit_upload(k, "upload", query, "x.json", HELLO_IR, strlen(HELLO_IR), status));
        JSON_REF(d) = kit_call(k, HTTP_GET, BASE "/pipelines/names/p20", NULL, 200);
        AUTOFREE char *pid = kit_get(d, "pipeline_id");
        AUTOFREE char *of_version = xasprintf("name=v%d&tags=%s&pipelineid=%s", n, encoded, pid);
        json_unref(kit_upload(k, "upload_version", of_version, "x.json", HELLO_IR, strlen(HELLO_IR), status));
        AUTOFREE char *path = xasprintf(BASE "/pipelines/%s", pid);
        AUTOFREE char *edit = xasprintf("{\"tags\":%s}", json);
        expect(k, HTTP_PATCH, path, edit, status);
    }
}

/* ---- errors (2.3) ------------------------------------------------------------------------------------------------------ */

/* Each code with its HTTP status: message is the whole chain, the detail is what people read. */
static void test_codes(void **state)
{
    struct kit *k = *state;
    static const struct {
        enum err_code fault;
        int http, rpc;
        const char *kind;
    } cases[] = {
        {ERR_INVALID, 400, 3, "Invalid input error: "},
        {ERR_NOT_FOUND, 404, 5, "ResourceNotFoundError: "},
        {ERR_EXISTS, 409, 6, "Already exist error: "},
        {ERR_FORBIDDEN, 403, 7, "PermissionDenied: "},
        {ERR_PRECONDITION, 400, 9, "FailedPreconditionError: "},
        {ERR_CONFLICT, 409, 10, "BadRequestError: "},
        {ERR_UNIMPLEMENTED, 501, 12, ""},
        {ERR_INTERNAL, 500, 13, "InternalServerError: "},
        {ERR_IO, 500, 13, "InternalServerError: "},
        {ERR_UNAVAILABLE, 503, 14, "UnavailableError: "},
        {ERR_TIMEOUT, 503, 14, "UnavailableError: "},
        {ERR_UNAUTHENTICATED, 401, 16, "UnauthenticatedError: "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        k->fails = cases[i].fault;
        AUTOFREE char *chain = xasprintf("Failed to terminate a run: %sthe reason", cases[i].kind);
        JSON_REF(d) = kit_call(k, HTTP_POST, BASE "/runs/x:terminate", NULL, cases[i].http);
        jval *detail = jv_at(jv_get(json_root(d), "details"), 0);
        assert_int_equal(jv_i64_or(jv_get(json_root(d), "code"), 0), cases[i].rpc);
        assert_string_equal(jv_str_or(jv_get(json_root(d), "message"), ""), chain);
        assert_int_equal(jv_len(jv_get(json_root(d), "details")), 1);
        assert_int_equal(jv_i64_or(jv_get(detail, "code"), 0), cases[i].rpc);
        assert_string_equal(jv_str_or(jv_get(detail, "@type"), ""), "type.googleapis.com/google.rpc.Status");
        assert_string_equal(jv_str_or(jv_get(detail, "message"), ""),
                            cases[i].http == 500 ? "Internal Server Error" : "the reason");
        assert_false(jv_present(jv_get(json_root(d), "error_message")));
    }
}

static void test_challenge(void **state)
{
    struct kit *k = *state;
    ERR(e);
    struct ctx ctx = ctx_background();
    k->fails = ERR_UNAUTHENTICATED;
    AUTOFREE char *url = xasprintf("http://127.0.0.1:%d" BASE "/runs/x:terminate", k->port);
    const struct http_call call = {.method = HTTP_POST, .url = url};
    struct http_answer a = {0};
    assert_int_equal(http_fetch(k->client, &ctx, &call, &a, &e), 0);
    JSON_REF(d) = json_parse(buf_str(&a.body), a.body.len, NULL, &e);
    AUTOFREE char *message = kit_get(d, "message");
    assert_int_equal(a.status, 401);
    assert_string_equal(http_answer_header(&a, "www-authenticate"), message);
    assert_string_equal(http_answer_header(&a, "content-type"), "application/json");
    http_answer_free(&a);
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
    AUTOFREE char *nowhere = xasprintf("\"experiment_id\":\"nobody\",%s", good);
    const struct {
        const char *source;
        int status;
    } sources[] = {
        {nowhere, 404},
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
    JSON_REF(taken) = kit_upload(k, "upload", "name=taken", "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *pid = kit_get(taken, "pipeline_id");
    AUTOFREE char *mine = xasprintf("name=v&pipelineid=%s", pid);
    AUTOFREE char *mine_tags = xasprintf("%s&tags=%%7B%%22a%%22:1%%7D", mine);
    AUTOFREE char *mine_taken = xasprintf("name=taken&pipelineid=%s", pid);
    AUTOFREE char *two = xasprintf("%s\n---\n%s", HELLO_IR, HELLO_IR);
    static const char bad_name[] = "{\"pipelineInfo\":{\"name\":\"Hello\"},\"schemaVersion\":\"2.1.0\",\"root\":{\"dag\":{}}}";
    const struct {
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
        {"upload_version", mine, "x.yaml", "a: 1", 400},
        {"upload_version", mine, "x.zip", "PK\003\004 torn", 400},
        {"upload_version", mine_tags, "x.json", HELLO_IR, 400},
        {"upload_version", mine_taken, "x.json", HELLO_IR, 409},
        {"upload", "name=a", "x.json", bad_name, 400},
        {"upload", "name=a", "x.yaml", two, 400},
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

/* What does not come as one file of at most 32 MiB. */
static void test_no_file(void **state)
{
    struct kit *k = *state;
    static const struct {
        const char *type, *body;
    } cases[] = {
        {"application/json", "{}"},
        {"multipart/form-data; boundary=m", ""},
        {"multipart/form-data; boundary=m",
         "--m\r\nContent-Disposition: form-data; name=\"other\"; filename=\"x.json\"\r\n\r\n{}\r\n--m--"},
        {"multipart/form-data; boundary=m",
         "--m\r\nContent-Disposition: form-data; name=\"uploadfile\"; filename=\"x.json\"\r\n\r\n{"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(d) =
            kit_send(k, HTTP_POST, BASE "/pipelines/upload?name=p", cases[i].type, cases[i].body, strlen(cases[i].body), 400);
        assert_non_null(jv_get(json_root(d), "error_message"));
    }
    static const size_t sizes[] = {(32 << 20) + 1, 40 << 20}; /* the second one is refused before it was read */
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        AUTOFREE char *big = xcalloc(1, sizes[i]);
        memset(big, ' ', sizes[i]);
        JSON_REF(d) = kit_upload(k, "upload", "name=p", "x.json", big, sizes[i], 400);
        assert_int_equal(jv_i64_or(jv_get(json_root(d), "code"), 0), 3);
        assert_non_null(jv_get(json_root(d), "error_message"));
    }
    JSON_REF(list) = kit_call(k, HTTP_GET, BASE "/pipelines", NULL, 200);
    assert_int_equal(jv_len(json_root(list)), 0);
}

/* The first version of a pipeline that was just uploaded. */
static struct json *first_version(struct kit *k, struct json *pipeline)
{
    AUTOFREE char *id = kit_get(pipeline, "pipeline_id");
    AUTOFREE char *path = xasprintf(BASE "/pipelines/%s/versions", id);
    JSON_REF(list) = kit_call(k, HTTP_GET, path, NULL, 200);
    jval *v = jv_get(json_root(list), "pipeline_versions");
    assert_int_equal(jv_len(v), 1);
    AUTOFREE char *one = xasprintf("%s/%s", path, jv_str(jv_get(jv_at(v, 0), "pipeline_version_id")));
    return kit_call(k, HTTP_GET, one, NULL, 200);
}

static void has(struct json *d, const char *member, const char *want)
{
    const char *got = jv_str(jv_get(json_root(d), member));
    if (!str_eq(got, want))
        fail_msg("%s is %s, not %s", member, got ? got : "absent", want ? want : "absent");
}

/* The parameters of both uploads, and what becomes of each. */
static void test_upload_parameters(void **state)
{
    struct kit *k = *state;
    JSON_REF(parent) = kit_call(k, HTTP_POST, BASE "/pipelines", "{\"name\":\"parent\"}", 200);
    AUTOFREE char *pid = kit_get(parent, "pipeline_id");
    static const struct {
        const char *query, *name, *shown, *description, *source;
    } cases[] = {
        {"name=a", "a", "a", NULL, NULL},
        {"name=b&display_name=B", "b", "B", NULL, NULL},
        {"display_name=c", "c", "c", NULL, NULL},
        {"displayName=d", "d", "d", NULL, NULL},
        {"", "x.json", "x.json", NULL, NULL}, /* the file's name */
        {"name=&display_name=e", "e", "e", NULL, NULL},
        {"name=f&description=what%20it%20is", "f", "f", "what it is", NULL},
        {"name=g&code_source_url=https%3A%2F%2Fh%2Fx", "g", "g", NULL, "https://h/x"},
        {"name=h&namespace=elsewhere&unknown=1", "h", "h", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(p) = kit_upload(k, "upload", cases[i].query, "dir/x.json", HELLO_IR, strlen(HELLO_IR), 200);
        JSON_REF(v) = first_version(k, p);
        AUTOFREE char *query = xasprintf("%s&pipelineid=%s", cases[i].query, pid);
        JSON_REF(w) = kit_upload(k, "upload_version", query, "dir/x.json", HELLO_IR, strlen(HELLO_IR), 200);
        struct json *const all[] = {p, v, w};
        for (size_t n = 0; n < ARRAY_LEN(all); n++) {
            has(all[n], "name", cases[i].name);
            has(all[n], "display_name", cases[i].shown);
            has(all[n], "description", cases[i].description);
            has(all[n], "code_source_url", n ? cases[i].source : NULL); /* pipelines have none */
            has(all[n], "namespace", NULL);
            assert_int_equal(jv_present(jv_get(json_root(all[n]), "pipeline_spec")), n > 0);
        }
        has(w, "pipeline_id", pid);
    }
}

/* Tags: of the pipeline and not of its first version; of a version when one is uploaded. */
static void test_upload_tags(void **state)
{
    struct kit *k = *state;
    static const char query[] = "name=p&tags=%7B%22a%22:%22b%22%7D";
    JSON_REF(p) = kit_upload(k, "upload", query, "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    AUTOFREE char *pid = kit_get(p, "pipeline_id");
    JSON_REF(v) = first_version(k, p);
    AUTOFREE char *with = xasprintf("name=w&tags=%%7B%%22c%%22:%%22d%%22%%7D&pipelineid=%s", pid);
    JSON_REF(w) = kit_upload(k, "upload_version", with, "x.json", HELLO_IR, strlen(HELLO_IR), 200);
    assert_string_equal(jv_str_or(jv_path(json_root(p), "tags", "a", NULL), ""), "b");
    assert_false(jv_present(jv_get(json_root(v), "tags")));
    assert_string_equal(jv_str_or(jv_path(json_root(w), "tags", "c", NULL), ""), "d");
    AUTOFREE char *path = xasprintf(BASE "/pipelines/%s", pid);
    JSON_REF(now) = kit_call(k, HTTP_GET, path, NULL, 200);
    assert_true(jv_equal(jv_get(json_root(now), "tags"), jv_get(json_root(p), "tags")));
}

TEST_GROUP(tables, WITH_KIT(test_names), WITH_KIT(test_version_names), WITH_KIT(test_number_of_tags), WITH_KIT(test_codes),
           WITH_KIT(test_challenge), WITH_KIT(test_references), WITH_KIT(test_wrong_lists), WITH_KIT(test_wrong_uploads),
           WITH_KIT(test_no_file), WITH_KIT(test_upload_parameters), WITH_KIT(test_upload_tags))
