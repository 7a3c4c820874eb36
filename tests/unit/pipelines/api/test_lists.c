/* Lists: pages, tokens, sorting, filters. */
#include "kit.h"

#include "base/str.h"

static char *filter_query(const char *filter)
{
    AUTOFREE char *enc = url_encode(filter);
    return xasprintf("filter=%s", enc);
}

static void add_experiments(struct kit *k, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        AUTOFREE char *body = xasprintf("{\"display_name\":\"%s\",\"description\":\"d%zu\"}", names[i], i % 2);
        json_unref(kit_call(k, HTTP_POST, "/apis/v2beta1/experiments", body, 200));
        clock_manual_advance(&k->clock, NS_PER_S);
    }
}

/* The names of a list in order, joined with commas, over all pages of the given size. Caller frees. */
static char *all_pages(struct kit *k, const char *query, int size)
{
    STRLIST(names);
    AUTOFREE char *token = NULL;
    for (int page = 0; page < 50; page++) {
        AUTOFREE char *enc = token ? url_encode(token) : xstrdup("");
        AUTOFREE char *path = xasprintf("/apis/v2beta1/experiments?page_size=%d&page_token=%s&%s", size, enc, query);
        JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 200);
        jval *list = jv_get(json_root(d), "experiments");
        assert_true(jv_len(list) <= (size_t)size);
        for (size_t i = 0; i < jv_len(list); i++)
            strlist_add(&names, jv_str(jv_get(jv_at(list, i), "display_name")));
        free(token);
        token = xstrdup(jv_str(jv_get(json_root(d), "next_page_token")));
        if (!token)
            break;
    }
    return strlist_join(&names, ",");
}

static void test_pages(void **state)
{
    struct kit *k = *state;
    static const char *const names[] = {"b", "B", "a", "d", "C", "\xc3\xa9"};
    add_experiments(k, names, ARRAY_LEN(names));
    static const struct {
        const char *query, *want;
    } cases[] = {
        {"", "Default,b,B,a,d,C,\xc3\xa9"},
        {"sort_by=created_at%20desc", "\xc3\xa9,C,d,a,B,b,Default"},
        {"sort_by=name", "a,B,b,C,d,Default,\xc3\xa9"}, /* without regard to case, ties by bytes */
        {"sortBy=NAME%20DESC", "\xc3\xa9,Default,d,C,b,B,a"},
        {"sort_by=last_run_created_at&filter=%7B%22predicates%22:%5B%7B%22key%22:%22description%22,%22operation%22:1,%"
         "22stringValue%22:%22d1%22%7D%5D%7D",
         NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *whole = all_pages(k, cases[i].query, 200);
        if (cases[i].want)
            assert_string_equal(whole, cases[i].want);
        for (int size = 1; size < 5; size++) {
            AUTOFREE char *paged = all_pages(k, cases[i].query, size);
            assert_string_equal(paged, whole);
        }
    }
}

/* Rows that come or go meanwhile do not shift what follows. */
static void test_pages_hold_still(void **state)
{
    struct kit *k = *state;
    static const char *const names[] = {"a", "c", "e"}, *const more[] = {"b", "d"};
    add_experiments(k, names, 3);
    JSON_REF(one) = kit_call(k, HTTP_GET, "/apis/v2beta1/experiments?sort_by=name&page_size=2", NULL, 200);
    AUTOFREE char *token = kit_get(one, "next_page_token");
    AUTOFREE char *enc = url_encode(token);
    add_experiments(k, more, 2);
    AUTOFREE char *path = xasprintf("/apis/v2beta1/experiments?page_token=%s&page_size=20", enc);
    JSON_REF(two) = kit_call(k, HTTP_GET, path, NULL, 200); /* the token alone carries the order */
    jval *list = jv_get(json_root(two), "experiments");
    assert_int_equal(jv_len(list), 2);
    assert_string_equal(jv_str(jv_get(jv_at(list, 0), "display_name")), "Default");
    assert_string_equal(jv_str(jv_get(jv_at(list, 1), "display_name")), "e");
    AUTOFREE char *other = xasprintf("/apis/v2beta1/experiments?page_token=%s&sort_by=name%%20desc", enc);
    JSON_REF(refused) = kit_call(k, HTTP_GET, other, NULL, 400);
    assert_non_null(strstr(jv_str(jv_get(json_root(refused), "message")), "page token does not match"));
    AUTOFREE char *elsewhere = xasprintf("/apis/v2beta1/runs?page_token=%s", enc);
    json_unref(kit_call(k, HTTP_GET, elsewhere, NULL, 400));
}

static void test_forged_tokens(void **state)
{
    struct kit *k = *state;
    static const char *const tokens[] = {
        "{}",
        "[]",
        "null",
        "not json",
        "{\"kind\":\"Experiment\",\"sort\":\"name; DROP TABLE runs\",\"key\":[\"a\",\"a\"],\"id\":\"x\"}",
        "{\"kind\":\"Experiment\",\"sort\":\"name\",\"key\":[\"a\"],\"id\":\"x\"}",
        "{\"kind\":\"Experiment\",\"sort\":\"name\",\"key\":[[],{}],\"id\":\"x\"}",
        "{\"kind\":\"Experiment\",\"sort\":\"name\",\"key\":[\"a\",\"a\"],\"id\":5}",
        "{\"kind\":\"Experiment\",\"sort\":\"metric\",\"key\":[0,0],\"id\":\"x\"}",
        "{\"kind\":\"Experiment\",\"sort\":\"name\",\"key\":[\"a\",\"a\"],\"id\":\"x\",\"filter\":\"{\\\"predicates\\\":5}\"}",
        "{\"kind\":\"Run\",\"sort\":\"name\",\"key\":[\"a\",\"a\"],\"id\":\"x\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        AUTOFREE char *b64 = base64_encode(tokens[i], strlen(tokens[i]));
        AUTOFREE char *enc = url_encode(b64);
        AUTOFREE char *path = xasprintf("/apis/v2beta1/experiments?page_token=%s", enc);
        json_unref(kit_call(k, HTTP_GET, path, NULL, 400));
    }
    json_unref(kit_call(k, HTTP_GET, "/apis/v2beta1/experiments?page_token=%25%25%25", NULL, 400));
}

static void test_queries_refused(void **state)
{
    struct kit *k = *state;
    static const char *const queries[] = {
        "page_size=-1",           "page_size=x",  "page_size=",        "page_size=99999999999",      "page_size=1&page_size=2",
        "page_size=1&pageSize=1", "sort_by=nope", "sort_by=name%20up", "sort_by=name%20desc%20desc", "sort_by=metric:x",
        "sort_by=tags.a",         "filter=x",     "filter=%7B",
    };
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        AUTOFREE char *path = xasprintf("/apis/v2beta1/experiments?%s", queries[i]);
        JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 400);
        assert_int_equal(jv_i64_or(jv_get(json_root(d), "code"), 0), 3);
    }
}

static void test_filters(void **state)
{
    struct kit *k = *state;
    static const char *const names[] = {"x_1", "xa1", "x%1", "it's", "b\\\\c"};
    add_experiments(k, names, ARRAY_LEN(names));
#define P(key, op, value) "{\"predicates\":[{\"key\":\"" key "\",\"operation\":\"" op "\"," value "}]}"
    static const struct {
        const char *filter, *want; /* NULL: refused */
    } cases[] = {
        {P("name", "EQUALS", "\"string_value\":\"it's\""), "it's"},
        {P("name", "EQUALS", "\"string_value\":\"IT'S\""), ""},
        {P("name", "IS_SUBSTRING", "\"string_value\":\"X_\""), "x_1"},
        {P("name", "IS_SUBSTRING", "\"string_value\":\"x%\""), "x%1"},
        {P("name", "IS_SUBSTRING", "\"string_value\":\"b\\\\\""), "b\\c"},
        {P("name", "IN", "\"string_values\":{\"values\":[\"it's\",\"xa1\",\"no\"]}"), "it's,xa1"},
        {P("name", "IN", "\"string_values\":{}"), ""},
        {P("name", "GREATER_THAN", "\"string_value\":\"x\""), "x%1,x_1,xa1"},
        {P("storage_state", "EQUALS", "\"string_value\":\"STORAGESTATE_ARCHIVED\""), ""},
        {P("storage_state", "NOT_EQUALS", "\"string_value\":\"archived\""), "b\\c,Default,it's,x%1,x_1,xa1"},
        {P("storage_state", "NOT_EQUALS", "\"string_value\":\"nonsense\""), "b\\c,Default,it's,x%1,x_1,xa1"},
        {P("created_at", "EQUALS", "\"timestamp_value\":\"2025-11-25T12:00:01Z\""), "xa1"},
        {P("created_at", "EQUALS", "\"timestamp_value\":\"2025-11-25T12:00:01.9Z\""), "xa1"},
        {P("created_at", "GREATER_THAN", "\"timestamp_value\":\"2025-11-25T12:00:03Z\""), "b\\c"},
        {P("created_at", "GREATER_THAN_EQUALS", "\"long_value\":\"1764072003\""), "b\\c,it's"},
        {P("created_at", "LESS_THAN", "\"int_value\":1764072001"), "Default,x_1"},
        {P("created_at", "LESS_THAN_EQUALS", "\"string_value\":\"2025-11-25T12:00:01Z\""), "Default,x_1,xa1"},
        {P("created_at", "GREATER_THAN", "\"long_value\":\"9223372036854775807\""), ""},
        {P("created_at", "LESS_THAN", "\"long_value\":\"-9223372036854775808\""), ""},
        {P("last_run_created_at", "EQUALS", "\"int_value\":0"), "b\\c,Default,it's,x%1,x_1,xa1"},
        {"{\"predicates\":[]}", "b\\c,Default,it's,x%1,x_1,xa1"},
        {P("uuid", "EQUALS", "\"string_value\":\"x\""), NULL},
        {P("", "EQUALS", "\"string_value\":\"x\""), NULL},
        {P("tags", "EQUALS", "\"string_value\":\"x\""), NULL},
        {P("name", "IN", "\"string_value\":\"x\""), NULL},
        {P("name", "EQUALS", "\"string_values\":{\"values\":[\"x\"]}"), NULL},
        {P("name", "IS_SUBSTRING", "\"int_value\":1"), NULL},
        {P("name", "OPERATION_UNSPECIFIED", "\"string_value\":\"x\""), NULL},
        {"{\"predicates\":[{\"key\":\"name\",\"operation\":4,\"string_value\":\"x\"}]}", NULL},
        {"{\"predicates\":[{\"key\":\"name\",\"operation\":1}]}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *query = filter_query(cases[i].filter);
        if (!cases[i].want) {
            AUTOFREE char *path = xasprintf("/apis/v2beta1/experiments?%s", query);
            json_unref(kit_call(k, HTTP_GET, path, NULL, 400));
            continue;
        }
        AUTOFREE char *sorted = xasprintf("sort_by=name&%s", query);
        AUTOFREE char *got = all_pages(k, sorted, 2);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s: want %s, got %s", cases[i].filter, cases[i].want, got);
    }
    /* Encoded twice, as the web UI does. */
    AUTOFREE char *once = url_encode(P("name", "EQUALS", "\"string_value\":\"xa1\""));
    AUTOFREE char *twice = filter_query(once);
    AUTOFREE char *got = all_pages(k, twice, 5);
    assert_string_equal(got, "xa1");
}

static void test_filter_sizes(void **state)
{
    struct kit *k = *state;
    BUF(b);
    buf_adds(&b, "{\"predicates\":[");
    for (int i = 0; i < 101; i++)
        buf_addf(&b, "%s{\"key\":\"name\",\"operation\":1,\"stringValue\":\"x\"}", i ? "," : "");
    buf_adds(&b, "]}");
    AUTOFREE char *query = filter_query(buf_str(&b));
    AUTOFREE char *path = xasprintf("/apis/v2beta1/experiments?%s", query);
    JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, 400);
    assert_non_null(strstr(jv_str(jv_get(json_root(d), "message")), "101 predicates"));
}

static void test_tags(void **state)
{
    struct kit *k = *state;
    json_unref(
        kit_call(k, HTTP_POST, "/apis/v2beta1/pipelines", "{\"name\":\"a\",\"tags\":{\"team\":\"ml\",\"q\\\"t\":\"1\"}}", 200));
    json_unref(kit_call(k, HTTP_POST, "/apis/v2beta1/pipelines", "{\"name\":\"b\",\"tags\":{\"team\":\"web\"}}", 200));
    json_unref(kit_call(k, HTTP_POST, "/apis/v2beta1/pipelines", "{\"name\":\"c\"}", 200));
    static const struct {
        const char *filter;
        int status, total;
    } cases[] = {
        {P("tags.team", "EQUALS", "\"string_value\":\"ml\""), 200, 1},
        {P("tags.q\\\"t", "EQUALS", "\"string_value\":\"1\""), 200, 1},
        {P("tags.team", "EQUALS", "\"string_value\":\"ML\""), 200, 0},
        {P("tags.nope", "EQUALS", "\"string_value\":\"ml\""), 200, 0},
        {P("tags.team", "NOT_EQUALS", "\"string_value\":\"ml\""), 400, 0},
        {P("tags.team", "EQUALS", "\"int_value\":1"), 400, 0},
        {P("tags.team", "IN", "\"string_values\":{\"values\":[\"ml\"]}"), 400, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *query = filter_query(cases[i].filter);
        AUTOFREE char *path = xasprintf("/apis/v2beta1/pipelines?%s", query);
        JSON_REF(d) = kit_call(k, HTTP_GET, path, NULL, cases[i].status);
        assert_int_equal(jv_i64_or(jv_get(json_root(d), "total_size"), 0), cases[i].total);
    }
}

TEST_GROUP(lists, WITH_KIT(test_pages), WITH_KIT(test_pages_hold_still), WITH_KIT(test_forged_tokens),
           WITH_KIT(test_queries_refused), WITH_KIT(test_filters), WITH_KIT(test_filter_sizes), WITH_KIT(test_tags))
