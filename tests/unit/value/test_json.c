/* Unit tests of value/json.h. */
#include "unit.h"

#include "base/str.h"
#include "value/json.h"

static char dups[256];
static void on_dup(void *self, const char *path) { strcat(strcat(dups, path), ";"); }

static void assert_text(jval *v, int flags, const char *want)
{
    AUTOFREE char *t = jv_text(v, flags);
    assert_string_equal(t, want);
}

static void test_round_trip(void **state)
{
    static const char *const texts[] = {"{\"a\":1.10,\"b\":[1,2e5,-0,1152921504606846977],\"c\":{\"d\":null,\"e\":true}}", "[]",
                                        "{}", "\"x\\u0001\\n\"", "12345678901234567890.000001"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        ERR(e);
        JSON_REF(d) = json_parse_str(texts[i], &e);
        assert_non_null(d);
        AUTOFREE char *t = jv_text(json_root(d), 0);
        JSON_REF(d2) = json_parse_str(t, &e);
        assert_true(jv_equal(json_root(d), json_root(d2)));
        if (i < 3)
            assert_string_equal(t, texts[i]);
        JM(m, json_root(d));
        JSON_REF(d3) = jm_freeze(m);
        assert_text(json_root(d3), 0, t);
    }
}

static void test_reject(void **state)
{
    static const char *const bad[] = {"",         "{",        "{\"a\":1}x", "[1,]", "{'a':1}", "NaN",      "[01]",
                                      "\"\x01\"", "\"\xff\"", "nul",        "+1",   "1.",      "{\"a\" 1}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ERR(e);
        assert_null(json_parse_str(bad[i], &e));
        assert_int_equal(e.code, ERR_BAD_REQUEST);
    }
    ERR(e);
    assert_null(json_parse_str("{\n  \"a\": x}", &e));
    assert_non_null(strstr(err_text(&e), "line 2 column 8"));
}

static void test_depth(void **state)
{
    BUF(b);
    for (int i = 0; i < 100000; i++)
        buf_addc(&b, '[');
    ERR(e);
    assert_null(json_parse(b.data, b.len, NULL, &e));
    assert_non_null(strstr(err_text(&e), "512"));
    /* Brackets inside strings do not count. */
    BUF(s);
    buf_addc(&s, '"');
    buf_add(&s, b.data, 2000);
    buf_addc(&s, '"');
    JSON_REF(d) = json_parse(s.data, s.len, NULL, &e);
    assert_int_equal(jv_len(json_root(d)), 2000);
}

static void test_duplicates(void **state)
{
    struct json_opts o = {.on_duplicate = on_dup};
    dups[0] = '\0';
    const char *text = "{\"a\":1,\"b\":[{\"x\":1,\"y\":2,\"x\":3}],\"a\":2}";
    JSON_REF(d) = json_parse(text, strlen(text), &o, NULL);
    assert_string_equal(dups, "a;b[0].x;");
    assert_text(json_root(d), 0, "{\"a\":2,\"b\":[{\"x\":3,\"y\":2}]}");
}

static void test_nan(void **state)
{
    struct json_opts o = {.allow_nan = true};
    const char *text = "[NaN,-Infinity,1]";
    JSON_REF(d) = json_parse(text, strlen(text), &o, NULL);
    assert_int_equal(jv_type(jv_at(json_root(d), 0)), J_STRING);
    assert_int_equal(jv_type(jv_at(json_root(d), 1)), J_STRING);
    assert_text(json_root(d), 0, "[\"NaN\",\"-Infinity\",1]");
}

static void test_readers(void **state)
{
    JSON_REF(d) =
        json_parse_str("{\"s\":\"x\",\"n\":1e3,\"f\":1.5,\"big\":9223372036854775807,\"l\":[{\"k\":true}],\"z\":null}", NULL);
    jval *r = json_root(d);
    int64_t n;
    double f;
    assert_true(jv_i64(jv_get(r, "n"), &n) && n == 1000);
    assert_false(jv_i64(jv_get(r, "f"), &n));
    assert_true(jv_i64(jv_get(r, "big"), &n) && n == INT64_MAX);
    assert_true(jv_f64(jv_get(r, "f"), &f) && f == 1.5);
    assert_true(jv_bool(jv_path(r, "l", "0", "k", NULL), false));
    assert_null(jv_path(r, "l", "7", "k", NULL));
    assert_null(jv_get(NULL, "a"));
    assert_null(jv_str(jv_get(r, "n")));
    assert_string_equal(jv_str_or(jv_get(r, "none"), "d"), "d");
    assert_false(jv_present(jv_get(r, "z")));
    size_t count = 0;
    const char *k;
    jval *v;
    for (struct jiter it = jv_iter(r); jv_next(&it, &k, &v);)
        count += strlen(k);
    assert_int_equal(count, 8);
}

static void test_edit(void **state)
{
    JSON_REF(d) = json_parse_str("{\"a\":1,\"b\":{\"c\":[1,2,3]},\"z\":9}", NULL);
    JM(m, json_root(d));
    jmval *r = jm_root(m);
    jm_put(m, r, "a", jm_str(m, "one"));
    jm_put(m, r, "z", jm_i64(m, 10));
    jm_put(m, r, "new", jm_bool(m, false));
    jmval *c = jmv_path(r, "b", "c", NULL);
    jm_remove(c, 0);
    jm_insert(c, 0, jm_f64(m, 0.1));
    jm_insert(c, 3, jm_null(m));
    jm_push(jm_arr_at(m, r, "list"), jm_strf(m, "%d", 5));
    jm_put(m, jm_obj_at(m, r, "o"), "k", jm_val(m, json_root(d)));
    assert_true(jm_del(r, "new"));
    assert_false(jm_del(r, "new"));
    JSON_REF(d2) = jm_freeze(m);
    assert_text(json_root(d2), 0,
                "{\"a\":\"one\",\"b\":{\"c\":[0.1,2,3,null]},\"z\":10,\"list\":[\"5\"],\"o\":{\"k\":{\"a\":1,\"b\":{\"c\":[1,2,3]"
                "},\"z\":9}}}");
    assert_text(json_root(d), 0, "{\"a\":1,\"b\":{\"c\":[1,2,3]},\"z\":9}");
    const char *k;
    jmval *v;
    BUF(keys);
    for (struct jmiter it = jmv_iter(r); jmv_next(&it, &k, &v);)
        buf_adds(&keys, k);
    assert_string_equal(buf_str(&keys), "abzlisto");
    assert_true(jmv_equal(jmv_get(r, "z"), jv_get(json_root(d2), "z")));
}

static void test_write(void **state)
{
    JSON_REF(d) = json_parse_str("{\"b\":1,\"a\":{\"z\":[],\"y\":{}}}", NULL);
    assert_text(json_root(d), JW_SORTED, "{\"a\":{\"y\":{},\"z\":[]},\"b\":1}");
    assert_text(json_root(d), JW_PRETTY, "{\n  \"b\": 1,\n  \"a\": {\n    \"z\": [],\n    \"y\": {}\n  }\n}");
    assert_text(NULL, 0, "null");
}

/* Walking a list by index takes steps, not steps squared, also when its items hold lists, and other documents come and go. */
static void test_long_lists(void **state)
{
    enum { N = 300000 };
    BUF(text);
    buf_addc(&text, '[');
    for (int i = 0; i < N; i++)
        buf_addf(&text, "%s{\"n\":%d}", i ? "," : "", i);
    buf_addc(&text, ']');
    for (int round = 0; round < 3; round++) { /* the next document is likely to lie where this one did */
        JSON_REF(d) = json_parse(text.data, text.len, NULL, NULL);
        assert_non_null(d);
        for (int i = 0; i < N - 1; i++) {
            JSON_REF(other) = json_parse_str("[{\"n\":1},{}]", NULL);
            if (jv_i64_or(jv_get(jv_at(json_root(d), (size_t)i), "n"), -1) != i)
                fail_msg("item %d is another", i);
        }
        assert_int_equal(jv_i64_or(jv_get(jv_at(json_root(d), 7), "n"), -1), 7);
        assert_null(jv_at(json_root(d), N));
    }
}

static void test_equal(void **state)
{
    static const struct {
        const char *a, *b;
        bool eq;
    } cases[] = {{"1", "1.0", true},           {"[1,2]", "[2,1]", false}, {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true},
                 {"\"1\"", "1", false},        {"null", "false", false},  {"9007199254740993", "9007199254740992", false},
                 {"{\"a\":null}", "{}", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(a) = json_parse_str(cases[i].a, NULL);
        JSON_REF(b) = json_parse_str(cases[i].b, NULL);
        assert_int_equal(jv_equal(json_root(a), json_root(b)), cases[i].eq);
        JM(m, json_root(a));
        assert_int_equal(jmv_equal(jm_root(m), json_root(b)), cases[i].eq);
    }
}

/* Members k0 to k<n - 1>, in order or turned round. */
static struct json *flat(int n, bool turned)
{
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    for (int i = 0; i < n; i++) {
        AUTOFREE char *key = xasprintf("k%d", turned ? n - 1 - i : i);
        jm_add(m, jm_root(m), key, jm_i64(m, turned ? n - 1 - i : i));
    }
    return jm_freeze(m);
}

static void test_many_members(void **state)
{
    (void)state;
    static const int sizes[] = {0, 1, 16, 17, 500};
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        const int n = sizes[s];
        JSON_REF(a) = flat(n, false);
        JSON_REF(b) = flat(n, true);
        assert_true(jv_equal(json_root(a), json_root(b)));
        JFINDER(there, json_root(a));
        for (int i = 0; i < n; i++) { /* now and then out of order */
            AUTOFREE char *key = xasprintf("k%d", i % 7 == 3 ? n - i : i);
            assert_ptr_equal(jfind(&there, key), jv_get(json_root(a), key));
        }
        assert_null(jfind(&there, "x"));
        JM(m, json_root(a));
        struct strmap members = jm_take_members(jm_root(m));
        assert_int_equal(jmv_len(jm_root(m)), 0);
        assert_int_equal(strmap_count(&members), n);
        strmap_del(&members, "k0");
        strmap_put(&members, "new", jm_null(m));
        jm_put_members(m, jm_root(m), &members);
        assert_int_equal(jmv_len(jm_root(m)), n ? n : 1);
        assert_null(jmv_get(jm_root(m), "k0"));
        assert_int_equal(jmv_type(jmv_get(jm_root(m), "new")), J_NULL);
    }
    JSON_REF(list) = json_parse_str("[1]", NULL);
    JFINDER(nothing, json_root(list));
    assert_null(jfind(&nothing, "0"));
    JFINDER(absent, NULL);
    assert_null(jfind(&absent, "a"));
}

TEST_GROUP(json, cmocka_unit_test(test_round_trip), cmocka_unit_test(test_reject), cmocka_unit_test(test_depth),
           cmocka_unit_test(test_duplicates), cmocka_unit_test(test_nan), cmocka_unit_test(test_readers),
           cmocka_unit_test(test_edit), cmocka_unit_test(test_write), cmocka_unit_test(test_equal),
           cmocka_unit_test(test_many_members), cmocka_unit_test(test_long_lists))
