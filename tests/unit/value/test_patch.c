/* The examples of RFC 6902 appendix A and RFC 7386 appendix A, and the corners that they leave. */
#include "unit.h"
#include "value/patch.h"

static struct json *parse(const char *text)
{
    ERR(e);
    struct json *d = json_parse_str(text, &e);
    if (!d)
        fail_msg("%s: %s", text, err_text(&e));
    return d;
}

static void check(struct json *got, const char *want, const char *what, const struct err *e)
{
    if (!got)
        fail_msg("%s: %s", what, err_text(e));
    JSON_REF(w) = parse(want);
    if (!jv_equal(json_root(got), json_root(w)))
        fail_msg("%s: gives %s", what, jv_text(json_root(got), 0));
}

static void json_patches(void **state)
{
    static const struct {
        const char *doc, *patch, *result;
    } cases[] = {
        {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]", "{\"baz\":\"qux\",\"foo\":\"bar\"}"},
        {"{\"foo\":[\"bar\",\"baz\"]}", "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":\"qux\"}]",
         "{\"foo\":[\"bar\",\"qux\",\"baz\"]}"},
        {"{\"baz\":\"qux\",\"foo\":\"bar\"}", "[{\"op\":\"remove\",\"path\":\"/baz\"}]", "{\"foo\":\"bar\"}"},
        {"{\"foo\":[\"bar\",\"qux\",\"baz\"]}", "[{\"op\":\"remove\",\"path\":\"/foo/1\"}]", "{\"foo\":[\"bar\",\"baz\"]}"},
        {"{\"baz\":\"qux\",\"foo\":\"bar\"}", "[{\"op\":\"replace\",\"path\":\"/baz\",\"value\":\"boo\"}]",
         "{\"baz\":\"boo\",\"foo\":\"bar\"}"},
        {"{\"foo\":{\"bar\":\"baz\",\"waldo\":\"fred\"},\"qux\":{\"corge\":\"grault\"}}",
         "[{\"op\":\"move\",\"from\":\"/foo/waldo\",\"path\":\"/qux/thud\"}]",
         "{\"foo\":{\"bar\":\"baz\"},\"qux\":{\"corge\":\"grault\",\"thud\":\"fred\"}}"},
        {"{\"foo\":[\"all\",\"grass\",\"cows\",\"eat\"]}", "[{\"op\":\"move\",\"from\":\"/foo/1\",\"path\":\"/foo/3\"}]",
         "{\"foo\":[\"all\",\"cows\",\"eat\",\"grass\"]}"},
        {"{\"baz\":\"qux\",\"foo\":[\"a\",2,\"c\"]}",
         "[{\"op\":\"test\",\"path\":\"/baz\",\"value\":\"qux\"},{\"op\":\"test\",\"path\":\"/foo/1\",\"value\":2}]",
         "{\"baz\":\"qux\",\"foo\":[\"a\",2,\"c\"]}"},
        {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/child\",\"value\":{\"grandchild\":{}}}]",
         "{\"foo\":\"bar\",\"child\":{\"grandchild\":{}}}"},
        {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\",\"xyz\":123}]",
         "{\"foo\":\"bar\",\"baz\":\"qux\"}"},
        {"{\"/\":9,\"~1\":10}", "[{\"op\":\"test\",\"path\":\"/~01\",\"value\":10}]", "{\"/\":9,\"~1\":10}"},
        {"{\"/\":9,\"~1\":10}", "[{\"op\":\"replace\",\"path\":\"/~1\",\"value\":1}]", "{\"/\":1,\"~1\":10}"},
        {"{\"foo\":[\"bar\"]}", "[{\"op\":\"add\",\"path\":\"/foo/-\",\"value\":[\"abc\",\"def\"]}]",
         "{\"foo\":[\"bar\",[\"abc\",\"def\"]]}"},
        {"{\"a\":1}", "[]", "{\"a\":1}"},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"\",\"value\":[1]}]", "[1]"},
        {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":null}]", "null"},
        {"{\"a\":1}", "[{\"op\":\"test\",\"path\":\"\",\"value\":{\"a\":1.0}}]", "{\"a\":1}"},
        {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/b\",\"value\":2}]", "{\"a\":1,\"b\":2}"},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b\"}]", "{\"a\":1,\"b\":null}"},
        {"{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/b\",\"value\":null}]", "{\"a\":1}"},
        {"{\"a\":{\"b\":1}}", "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/c\"}]", "{\"a\":{\"b\":1,\"c\":{\"b\":1}}}"},
        {"{\"a\":1}", "[{\"op\":\"copy\",\"from\":\"\",\"path\":\"/b\"}]", "{\"a\":1,\"b\":{\"a\":1}}"},
        {"{\"a\":1}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a\"}]", "{\"a\":1}"},
        {"{\"a\":{\"b\":1}}", "[{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"\"}]", "1"},
        {"{\"\":1}", "[{\"op\":\"remove\",\"path\":\"/\"}]", "{}"},
        {"{\"a\":1}", "[{\"op\":\"copy\",\"from\":\"/b\",\"path\":\"/c\"}]", "{\"a\":1,\"c\":null}"},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"x/b\",\"value\":2}]", "{\"a\":1,\"b\":2}"},
        {"[1,2]", "[{\"op\":\"add\",\"path\":\"/2\",\"value\":3}]", "[1,2,3]"},
        {"[[1]]", "[{\"op\":\"add\",\"path\":\"/0/0\",\"value\":0}]", "[[0,1]]"},
        {"[1,2]", "[{\"op\":\"replace\",\"path\":\"/0\",\"value\":\"x\"}]", "[\"x\",2]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        JSON_REF(doc) = parse(cases[i].doc);
        JSON_REF(patch) = parse(cases[i].patch);
        JSON_REF(got) = json_patch(json_root(doc), json_root(patch), 100, &e);
        check(got, cases[i].result, cases[i].patch, &e);
        JSON_REF(again) = parse(cases[i].doc);
        assert_true(jv_equal(json_root(doc), json_root(again)));
    }
}

static void json_patches_refused(void **state)
{
    static const struct {
        const char *doc, *patch;
        enum err_code code;
        const char *part;
    } cases[] = {
        {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz/bat\",\"value\":\"qux\"}]", ERR_INVALID,
         "operation 0 (add /baz/bat): 'baz'"},
        {"{\"baz\":\"qux\"}", "[{\"op\":\"test\",\"path\":\"/baz\",\"value\":\"bar\"}]", ERR_INVALID, "another"},
        {"{\"/\":9,\"~1\":10}", "[{\"op\":\"test\",\"path\":\"/~01\",\"value\":\"10\"}]", ERR_INVALID, "another"},
        {"{\"a\":1}", "{\"op\":\"add\"}", ERR_BAD_REQUEST, "not a"},
        {"{\"a\":1}", "[1]", ERR_BAD_REQUEST, "operation 0"},
        {"{\"a\":1}", "[{\"path\":\"/a\"}]", ERR_INVALID, "'op' is missing"},
        {"{\"a\":1}", "[{\"op\":\"remove\"}]", ERR_INVALID, "'path' is missing"},
        {"{\"a\":1}", "[{\"op\":\"zap\",\"path\":\"/a\"}]", ERR_INVALID, "unknown operation"},
        {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b\"}]", ERR_INVALID, "does not exist"},
        {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"\"}]", ERR_INVALID, "whole document"},
        {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"a\"}]", ERR_INVALID, "begins with '/'"},
        {"[1]", "[{\"op\":\"copy\",\"from\":\"/7\",\"path\":\"/0\"}]", ERR_INVALID, "'7' does not exist"},
        {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/~2\"}]", ERR_INVALID, "~0"},
        {"{\"a\":1}", "[{\"op\":\"move\",\"path\":\"/b\"}]", ERR_INVALID, "'from'"},
        {"{\"a\":1}", "[{\"op\":\"move\",\"from\":\"/x\",\"path\":\"/b\"}]", ERR_INVALID, "'x' does not exist"},
        {"{\"a\":{}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b\"}]", ERR_INVALID, "into itself"},
        {"{\"a\":{}}", "[{\"op\":\"move\",\"from\":\"\",\"path\":\"/a\"}]", ERR_INVALID, "into itself"},
        {"[1]", "[{\"op\":\"add\",\"path\":\"/2\",\"value\":1}]", ERR_INVALID, "no index"},
        {"[1]", "[{\"op\":\"add\",\"path\":\"/01\",\"value\":1}]", ERR_INVALID, "no index"},
        {"[1]", "[{\"op\":\"add\",\"path\":\"/-1\",\"value\":1}]", ERR_INVALID, "no index"},
        {"[1]", "[{\"op\":\"replace\",\"path\":\"/-\",\"value\":1}]", ERR_INVALID, "no index"},
        {"[1]", "[{\"op\":\"remove\",\"path\":\"/1\"}]", ERR_INVALID, "no index"},
        {"[1]", "[{\"op\":\"test\",\"path\":\"/1\",\"value\":null}]", ERR_INVALID, "another"},
        {"1", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":1}]", ERR_INVALID, "neither"},
        {"[1]",
         "[{\"op\":\"add\",\"path\":\"/-\",\"value\":1},{\"op\":\"add\",\"path\":\"/"
         "-\",\"value\":1},{\"op\":\"remove\",\"path\":\"/9\"}]",
         ERR_INVALID, "operation 2"},
        {"[1]", "[{},{},{},{},{}]", ERR_TOO_LARGE, "5 operations"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        JSON_REF(doc) = parse(cases[i].doc);
        JSON_REF(patch) = parse(cases[i].patch);
        JSON_REF(got) = json_patch(json_root(doc), json_root(patch), 4, &e);
        if (got)
            fail_msg("%s: gives %s", cases[i].patch, jv_text(json_root(got), 0));
        if (e.code != cases[i].code || !strstr(err_text(&e), cases[i].part))
            fail_msg("%s: %d %s", cases[i].patch, e.code, err_text(&e));
    }
}

/* Each copy doubles the document: 2^60 would be the end of memory. */
static void copies_are_bounded(void **state)
{
    BUF(b);
    buf_adds(&b, "[");
    for (int i = 0; i < 60; i++)
        buf_addf(&b, "%s{\"op\":\"copy\",\"from\":\"\",\"path\":\"/k%d\"}", i ? "," : "", i);
    buf_adds(&b, "]");
    ERR(e);
    JSON_REF(doc) = parse("{\"a\":\"0123456789\"}");
    JSON_REF(patch) = parse(b.data);
    JSON_REF(got) = json_patch(json_root(doc), json_root(patch), 10000, &e);
    assert_null(got);
    assert_int_equal(e.code, ERR_TOO_LARGE);
}

static void merge_patches(void **state)
{
    static const struct {
        const char *doc, *patch, *result;
    } cases[] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        {"{\"a\":1}", "{\"a\":{\"x\":null,\"y\":2}}", "{\"a\":{\"y\":2}}"},
        {"{\"a\":1}", "{\"l\":[null,{\"k\":null}]}", "{\"a\":1,\"l\":[null,{\"k\":null}]}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        JSON_REF(doc) = parse(cases[i].doc);
        JSON_REF(patch) = parse(cases[i].patch);
        JSON_REF(got) = json_merge_patch(json_root(doc), json_root(patch), &e);
        check(got, cases[i].result, cases[i].patch, &e);
    }
    ERR(e);
    JSON_REF(none) = json_merge_patch(NULL, NULL, &e);
    assert_null(none);
}

/* Runs of operations on one object, after which others look at it, give what single ones give. */
static void runs(void **state)
{
    (void)state;
    for (int before = 0; before < 40; before += 13) {
        BUF(ops);
        buf_addc(&ops, '[');
        for (int i = 0; i < before; i++)
            buf_addf(&ops, "{\"op\":\"add\",\"path\":\"/d/a%d\",\"value\":[%d]},", i, i);
        for (int i = 0; i < before; i += 2)
            buf_addf(&ops, "{\"op\":\"remove\",\"path\":\"/d/a%d\"},", i);
        for (int i = 1; i < before; i += 2)
            buf_addf(&ops, "{\"op\":\"test\",\"path\":\"/d/a%d\",\"value\":[%d]},", i, i);
        for (int i = 1; i < before; i += 2)
            buf_addf(&ops, "{\"op\":\"replace\",\"path\":\"/d/a%d\",\"value\":0},", i);
        for (int i = 3; i < before; i += 2)
            buf_addf(&ops, "{\"op\":\"remove\",\"path\":\"/d/a%d\"},", i);
        buf_adds(&ops, "{\"op\":\"copy\",\"from\":\"/d\",\"path\":\"/e\"},{\"op\":\"remove\",\"path\":\"/d/x\"}]");
        ERR(e);
        JSON_REF(doc) = parse("{\"d\":{\"x\":1,\"y~/\":2}}");
        JSON_REF(patch) = parse(buf_str(&ops));
        JSON_REF(got) = json_patch(json_root(doc), json_root(patch), 1000, &e);
        check(got,
              before ? "{\"d\":{\"y~/\":2,\"a1\":0},\"e\":{\"x\":1,\"y~/\":2,\"a1\":0}}"
                     : "{\"d\":{\"y~/\":2},\"e\":{\"x\":1,\"y~/\":2}}",
              buf_str(&ops), &e);
    }
    BUF(ops); /* what is removed twice is not there, in a run as well */
    buf_addc(&ops, '[');
    for (int i = 0; i < 20; i++)
        buf_addf(&ops, "{\"op\":\"add\",\"path\":\"/%d\",\"value\":1},", i);
    buf_adds(&ops, "{\"op\":\"remove\",\"path\":\"/7\"},{\"op\":\"remove\",\"path\":\"/7\"}]");
    ERR(e);
    JSON_REF(doc) = parse("{}");
    JSON_REF(patch) = parse(buf_str(&ops));
    assert_null(json_patch(json_root(doc), json_root(patch), 1000, &e));
    assert_non_null(strstr(err_text(&e), "'7' does not exist"));
}

TEST_GROUP(patch, cmocka_unit_test(runs), cmocka_unit_test(json_patches), cmocka_unit_test(json_patches_refused),
           cmocka_unit_test(copies_are_bounded), cmocka_unit_test(merge_patches))
