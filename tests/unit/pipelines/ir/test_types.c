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
        {PT_STRING, "\t 1 \r\n", "\"\\t 1 \\r\\n\""},
        {PT_STRING, "{\"a\": 1}", "\"{\\\"a\\\": 1}\""},
        {PT_STRING, "\xc3\xbc", "\"\xc3\xbc\""},
        {PT_INTEGER, " 42\n", "42"},
        {PT_INTEGER, "\t0\r\n", "0"},
        {PT_INTEGER, "007", "7"},
        {PT_INTEGER, "9223372036854775807", "9223372036854775807"},
        {PT_INTEGER, "-9223372036854775808", "-9223372036854775808"},
        {PT_INTEGER, "-9223372036854775809", NULL},
        {PT_INTEGER, "3.0", NULL},
        {PT_INTEGER, "1e3", NULL},
        {PT_INTEGER, "0x10", NULL},
        {PT_INTEGER, "1_000", NULL},
        {PT_INTEGER, "1 2", NULL},
        {PT_INTEGER, "--1", NULL},
        {PT_INTEGER, "true", NULL},
        {PT_INTEGER, "-7", "-7"},
        {PT_INTEGER, "+7", "7"},
        {PT_INTEGER, "1.5", NULL},
        {PT_INTEGER, "9223372036854775808", NULL},
        {PT_INTEGER, "", NULL},
        {PT_INTEGER, "x", NULL},
        {PT_DOUBLE, "0.1", "0.1"},
        {PT_DOUBLE, " 1e3 ", "1000"},
        {PT_DOUBLE, "-2", "-2"},
        {PT_DOUBLE, "+.5\n", "0.5"},
        {PT_DOUBLE, "1E-7", "1e-7"},
        {PT_DOUBLE, "", NULL},
        {PT_DOUBLE, " ", NULL},
        {PT_DOUBLE, "1,5", NULL},
        {PT_DOUBLE, "1.5x", NULL},
        {PT_DOUBLE, "x", NULL},
        {PT_DOUBLE, "+-1", NULL},
        {PT_DOUBLE, "-inf", NULL},
        {PT_DOUBLE, "+Inf", NULL},
        {PT_DOUBLE, "Infinity", NULL},
        {PT_DOUBLE, "NaN", NULL},
        {PT_DOUBLE, "-1e999", NULL},
        {PT_DOUBLE, "inf", NULL},
        {PT_DOUBLE, "nan", NULL},
        {PT_DOUBLE, "1e999", NULL},
        {PT_BOOLEAN, "1", "true"},
        {PT_BOOLEAN, "t", "true"},
        {PT_BOOLEAN, "T\n", "true"},
        {PT_BOOLEAN, "TRUE", "true"},
        {PT_BOOLEAN, " true ", "true"},
        {PT_BOOLEAN, "True", "true"},
        {PT_BOOLEAN, "0", "false"},
        {PT_BOOLEAN, "f", "false"},
        {PT_BOOLEAN, "F", "false"},
        {PT_BOOLEAN, "FALSE", "false"},
        {PT_BOOLEAN, "\tfalse\n", "false"},
        {PT_BOOLEAN, "False", "false"},
        {PT_BOOLEAN, "tRUE", NULL},
        {PT_BOOLEAN, "fALSE", NULL},
        {PT_BOOLEAN, "yes", NULL},
        {PT_BOOLEAN, "no", NULL},
        {PT_BOOLEAN, "2", NULL},
        {PT_BOOLEAN, "", NULL},
        {PT_BOOLEAN, "\"true\"", NULL},
        {PT_LIST, " []\n", "[]"},
        {PT_LIST, "", NULL},
        {PT_LIST, "null", NULL},
        {PT_LIST, "\"[]\"", NULL},
        {PT_LIST, "[] []", NULL},
        {PT_LIST, "1, 2", NULL},
        {PT_STRUCT, "\n{\"b\": [null], \"a\": {}}\n", "{\"a\":{},\"b\":[null]}"},
        {PT_STRUCT, "", NULL},
        {PT_STRUCT, "null", NULL},
        {PT_STRUCT, "3", NULL},
        {PT_STRUCT, "{\"a\": 1", NULL},
        {PT_STRUCT, "{'a': 1}", NULL},
        {PT_STRUCT, "{} x", NULL},
        {PT_TASK_CONFIG, "{}", NULL},
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
        {"\"\"", ""},
        {"\" a\\n\"", " a\n"},
        {"\"q\\\"\"", "q\""},
        {"false", "false"},
        {"-3", "-3"},
        {"3e2", "300"},
        {"9007199254740993", "9007199254740993"},
        {"9223372036854775807", "9223372036854775807"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"2.50", "2.5"},
        {"5e-10", "0.0000000005"},
        {"[1.0, {\"a\": 2e2}, 0.5]", "[1,{\"a\":200},0.5]"},
        {"[]", "[]"},
        {"{}", "{}"},
        {"{\"state\": \"COMPLETE\", \"error\": {}, \"a\": [1.5, null, \"x y\"]}",
         "{\"a\":[1.5,null,\"x y\"],\"error\":{},\"state\":\"COMPLETE\"}"},
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
        {PT_STRING, "3", "\"3\""},
        {PT_STRING, "null", "\"\""},
        {PT_STRING, "[1]", "\"[1]\""},
        {PT_STRING, "true", "\"true\""},
        {PT_INTEGER, "2.5", "2.5"},
        {PT_DOUBLE, "2", "2"},
        {PT_INTEGER, "\"2\"", NULL},
        {PT_BOOLEAN, "1", NULL},
        {PT_LIST, "{}", NULL},
        {PT_STRUCT, "{}", "{}"},
        {PT_LIST, "null", NULL},
        {PT_STRING, "\" a\"", "\" a\""},
        {PT_STRING, "0.10", "\"0.1\""},
        {PT_STRING, "{\"b\": 1, \"a\": [true]}", "\"{\\\"a\\\":[true],\\\"b\\\":1}\""},
        {PT_INTEGER, "3", "3"},
        {PT_INTEGER, "true", NULL},
        {PT_INTEGER, "null", NULL},
        {PT_INTEGER, "[]", NULL},
        {PT_DOUBLE, "0.5", "0.5"},
        {PT_DOUBLE, "\"0.5\"", NULL},
        {PT_DOUBLE, "false", NULL},
        {PT_DOUBLE, "{}", NULL},
        {PT_BOOLEAN, "false", "false"},
        {PT_BOOLEAN, "\"true\"", NULL},
        {PT_BOOLEAN, "null", NULL},
        {PT_BOOLEAN, "[]", NULL},
        {PT_LIST, "[1,null]", "[1,null]"},
        {PT_LIST, "\"[]\"", NULL},
        {PT_LIST, "1", NULL},
        {PT_LIST, "false", NULL},
        {PT_STRUCT, "{\"a\":null}", "{\"a\":null}"},
        {PT_STRUCT, "[]", NULL},
        {PT_STRUCT, "\"{}\"", NULL},
        {PT_STRUCT, "null", NULL},
        {PT_TASK_FINAL_STATUS, "{\"state\":\"FAILED\"}", "{\"state\":\"FAILED\"}"},
        {PT_TASK_FINAL_STATUS, "\"FAILED\"", NULL},
        {PT_TASK_CONFIG, "{}", "{}"},
        {PT_TASK_CONFIG, "[]", NULL},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        JSON_REF(in) = json_parse_str(cases[n].v, NULL);
        JSON_REF(v) = value_fit(cases[n].type, "x", json_root(in), &e);
        AUTOFREE char *got = v ? jv_text(json_root(v), JW_COMPACT) : NULL;
        if (cases[n].want)
            assert_string_equal(got, cases[n].want);
        else {
            AUTOFREE char *said = xasprintf("input parameter \"x\" type mismatch: expect %s, got %s", ptype_name(cases[n].type),
                                            jtype_name(jv_type(json_root(in))));
            assert_null(got);
            assert_string_equal(err_text(&e), said);
        }
    }
}

/* Four MiB are a value; one byte more is not, and the message says how much there was. */
static void largest_value(void **state)
{
    AUTOFREE char *text = xcalloc(1, PARAM_VALUE_MAX + 2);
    memset(text, 'a', PARAM_VALUE_MAX + 1);
    for (int more = 0; more < 2; more++) {
        ERR(e);
        JSON_REF(v) = value_from_text(PT_STRING, text, PARAM_VALUE_MAX + (size_t)more, &e);
        assert_int_equal(!v, more);
        if (more)
            assert_non_null(strstr(err_text(&e), "4194305 bytes"));
    }
}

static void literals(void **state)
{
    JSON_REF(l) = json_parse_str("[\"a\", 1, {\"k\": [1]}]", NULL);
    static const struct {
        const char *v;
        int want;
    } cases[] = {{"\"a\"", 0},
                 {"1.0", 0},
                 {"{\"k\": [1]}", 0},
                 {"\"b\"", -1},
                 {"\"1\"", -1},
                 {"\"a \"", -1},
                 {"{\"k\": [1.0]}", 0},
                 {"{\"k\": [1, 2]}", -1},
                 {"{\"k\": [1], \"l\": 0}", -1},
                 {"null", -1},
                 {"true", -1}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        JSON_REF(v) = json_parse_str(cases[n].v, NULL);
        assert_int_equal(value_in_literals(json_root(l), "x", json_root(v), NULL), cases[n].want);
    }
}

TEST_GROUP(types, cmocka_unit_test(from_text), cmocka_unit_test(as_text), cmocka_unit_test(fits), cmocka_unit_test(literals),
           cmocka_unit_test(largest_value))
