#include "unit.h"

#include "base/str.h"
#include "pipelines/ir/types.h"

static void from_text(void **state)
{
    static const struct {
        enum ptype type;
        const char *text, *want; /* want: JSON, NULL: refused */
    } cases[] = {
        {PT_STRING, " a\n", "\" a\\n\""},
        {PT_STRING, "", "\"\""},
        {PT_STRING, "\xff", NULL},
        {PT_INTEGER, " 42\n", "42"},
        {PT_INTEGER, "-7", "-7"},
        {PT_INTEGER, "+7", "7"},
        {PT_INTEGER, "1.5", NULL},
        {PT_INTEGER, "9223372036854775808", NULL},
        {PT_INTEGER, "", NULL},
        {PT_INTEGER, "x", NULL},
        {PT_DOUBLE, "0.1", "0.1"},
        {PT_DOUBLE, " 1e3 ", "1000"},
        {PT_DOUBLE, "inf", NULL},
        {PT_DOUBLE, "nan", NULL},
        {PT_DOUBLE, "1e999", NULL},
        {PT_BOOLEAN, "1", "true"},
        {PT_BOOLEAN, "T\n", "true"},
        {PT_BOOLEAN, "False", "false"},
        {PT_BOOLEAN, "yes", NULL},
        {PT_LIST, "[1, \"a\"]", "[1,\"a\"]"},
        {PT_LIST, "{}", NULL},
        {PT_LIST, "[1", NULL},
        {PT_LIST, "[NaN]", "[\"NaN\"]"},
        {PT_STRUCT, "{\"a\": 1}", "{\"a\":1}"},
        {PT_STRUCT, "[]", NULL},
        {PT_TASK_FINAL_STATUS, "{}", NULL},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        JSON_REF(v) = value_from_text(cases[n].type, cases[n].text, strlen(cases[n].text), &e);
        AUTOFREE char *got = v ? jv_text(json_root(v), JW_COMPACT) : NULL;
        JSON_REF(want) = cases[n].want ? json_parse_str(cases[n].want, NULL) : NULL;
        if (!v != !want || (v && !jv_equal(json_root(v), json_root(want))))
            fail_msg("case %zu (%s): %s", n, cases[n].text, got ? got : err_text(&e));
        assert_int_equal(e.code, v ? ERR_OK : ERR_INVALID);
    }
}

static void as_text(void **state)
{
    static const char *const cases[][2] = {
        {"\"a b\"", "a b"},
        {"3", "3"},
        {"3.0", "3"},
        {"-0.5", "-0.5"},
        {"1e21", "1000000000000000000000"},
        {"1e-7", "0.0000001"},
        {"0.1", "0.1"},
        {"123456.789", "123456.789"},
        {"1.0e3", "1000"},
        {"true", "true"},
        {"null", ""},
        {"0", "0"},
        {"0.0", "0"},
        {"[1, {\"b\": 1, \"a\": [ ]}]", "[1,{\"a\":[],\"b\":1}]"},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        BUF(b);
        JSON_REF(v) = json_parse_str(cases[n][0], NULL);
        value_as_text(json_root(v), &b);
        assert_string_equal(buf_str(&b), cases[n][1]);
    }
}

static void fits(void **state)
{
    static const struct {
        enum ptype type;
        const char *v, *want;
    } cases[] = {
        {PT_STRING, "3", "\"3\""},  {PT_STRING, "null", "\"\""}, {PT_STRING, "[1]", "\"[1]\""}, {PT_STRING, "true", "\"true\""},
        {PT_INTEGER, "2.5", "2.5"}, {PT_DOUBLE, "2", "2"},       {PT_INTEGER, "\"2\"", NULL},   {PT_BOOLEAN, "1", NULL},
        {PT_LIST, "{}", NULL},      {PT_STRUCT, "{}", "{}"},     {PT_LIST, "null", NULL},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        JSON_REF(in) = json_parse_str(cases[n].v, NULL);
        JSON_REF(v) = value_fit(cases[n].type, "x", json_root(in), &e);
        AUTOFREE char *got = v ? jv_text(json_root(v), JW_COMPACT) : NULL;
        if (cases[n].want)
            assert_string_equal(got, cases[n].want);
        else
            assert_null(got);
    }
}

static void literals(void **state)
{
    JSON_REF(l) = json_parse_str("[\"a\", 1, {\"k\": [1]}]", NULL);
    static const struct {
        const char *v;
        int want;
    } cases[] = {{"\"a\"", 0}, {"1.0", 0}, {"{\"k\": [1]}", 0}, {"\"b\"", -1}, {"\"1\"", -1}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        JSON_REF(v) = json_parse_str(cases[n].v, NULL);
        assert_int_equal(value_in_literals(json_root(l), "x", json_root(v), NULL), cases[n].want);
    }
}

TEST_GROUP(types, cmocka_unit_test(from_text), cmocka_unit_test(as_text), cmocka_unit_test(fits), cmocka_unit_test(literals))
