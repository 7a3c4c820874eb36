#include "unit.h"
#include "value/jsonpath.h"

static bool collect(void *self, jval *v)
{
    struct buf *b = self;
    if (b->len)
        buf_addc(b, ' ');
    jv_write(v, JW_COMPACT, b);
    return true;
}

static void finds(void **state)
{
    ERR(e);
    JSON_REF(d) = json_parse_str(
        "{\"spec\":{\"n\":3,\"l\":[1,2,3]},\"metadata\":{\"annotations\":{\"a.b/c\":\"x\",\"it's\":1}},\"null\":null,"
        "\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"n\":1},{\"type\":\"Other\",\"status\":\"False\","
        "\"n\":5}]}}",
        &e);
    static const struct {
        const char *path, *found;
    } cases[] = {
        {".spec.n", "3"},
        {"{.spec.n}", "3"},
        {"$.spec.n", "3"},
        {"{$.spec.n}", "3"},
        {"spec.n", "3"},
        {".spec['n']", "3"},
        {".spec[\"n\"]", "3"},
        {".spec.l", "[1,2,3]"},
        {".spec.l[0]", "1"},
        {".spec.l[-1]", "3"},
        {".spec.l[3]", ""},
        {".spec.l[-4]", ""},
        {".spec.l[*]", "1 2 3"},
        {".spec.*", "3 [1,2,3]"},
        {".spec.zz", ""},
        {".spec.n.x", ""},
        {".spec.n[0]", ""},
        {".metadata.annotations['a.b/c']", "\"x\""},
        {".metadata.annotations.a\\.b/c", "\"x\""},
        {".metadata.annotations['it\\'s']", "1"},
        {".status.conditions[?(@.type==\"Ready\")].status", "\"True\""},
        {".status.conditions[?(@.type=='Ready')].status", "\"True\""},
        {".status.conditions[?( @.type != 'Ready' )].status", "\"False\""},
        {".status.conditions[*].type", "\"Ready\" \"Other\""},
        {".status.conditions[?(@.n>1)].type", "\"Other\""},
        {".status.conditions[?(@.n>=1)].type", "\"Ready\" \"Other\""},
        {".status.conditions[?(@.n<5)].n", "1"},
        {".status.conditions[?(@.n<=0)].n", ""},
        {".status.conditions[?(@.n==5.0)].n", "5"},
        {".status.conditions[?(@.zz)].n", ""},
        {".status.conditions[?(@.n)].n", "1 5"},
        {".spec.l[?(@>1)]", "2 3"},
        {".status.conditions[?(@.type<'P')].n", "5"},
        {".null", "null"},
        {"{}", NULL},
        {".status.conditions[?(@['type']=='Ready')].n", "1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jsonpath *p = jsonpath_compile(cases[i].path, &e);
        if (!p)
            fail_msg("%s: %s", cases[i].path, err_text(&e));
        BUF(b);
        jsonpath_eval(p, json_root(d), collect, &b);
        if (cases[i].found && strcmp(buf_str(&b), cases[i].found) != 0)
            fail_msg("%s finds '%s', not '%s'", cases[i].path, buf_str(&b), cases[i].found);
        if (!cases[i].found) /* the whole document */
            assert_ptr_equal(jsonpath_first(p, json_root(d)), json_root(d));
        jsonpath_free(p);
    }
    struct jsonpath *p = jsonpath_compile(".spec.l[*]", &e);
    assert_int_equal(jv_i64_or(jsonpath_first(p, json_root(d)), 0), 1);
    assert_null(jsonpath_first(p, NULL));
    jsonpath_free(p);
}

static void refuses(void **state)
{
    static const char *const bad[] = {"",
                                      ".",
                                      "..a",
                                      ".a..b",
                                      ".a[",
                                      ".a[]",
                                      ".a[x]",
                                      ".a[0",
                                      ".a['x]",
                                      ".a[0:1]",
                                      ".a[0,1]",
                                      "{.a",
                                      "{.a}}",
                                      ".a b",
                                      ".a[?(@.b==)]",
                                      ".a[?(@.b=='x']",
                                      ".a[?@.b]",
                                      ".a[?(.b=='x')]",
                                      ".a[?(@.b=='x' && @.c)]",
                                      ".a[?(@.b[?(@.c)])]",
                                      ".a[99999999999999999999]",
                                      ".a}",
                                      ".a[?(@.b==nope)]"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ERR(e);
        struct jsonpath *p = jsonpath_compile(bad[i], &e);
        if (p)
            fail_msg("'%s' was taken", bad[i]);
        assert_int_equal(e.code, ERR_INVALID);
    }
    BUF(b);
    for (int i = 0; i < 100; i++)
        buf_adds(&b, ".a");
    ERR(e);
    assert_null(jsonpath_compile(b.data, &e));
}

TEST_GROUP(jsonpath, cmocka_unit_test(finds), cmocka_unit_test(refuses))
