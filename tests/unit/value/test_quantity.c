#include "unit.h"
#include "value/quantity.h"

static struct quantity q_of(const char *s)
{
    struct quantity q;
    ERR(e);
    if (quantity_parse(s, &q, &e) < 0)
        fail_msg("%s: %s", s, err_text(&e));
    return q;
}

static void canonical(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"0", "0"},
        {"0n", "0"},
        {"0Ki", "0"},
        {"0e3", "0"},
        {"-0", "0"},
        {"1", "1"},
        {"+1", "1"},
        {"-1", "-1"},
        {"0.5", "500m"},
        {"1000m", "1"},
        {"1024Mi", "1Gi"},
        {"1Gi", "1Gi"},
        {"1.5Gi", "1536Mi"},
        {"0.5Gi", "512Mi"},
        {"0.1Ki", "102400m"},
        {"100Ki", "100Ki"},
        {"1023", "1023"},
        {"1024", "1024"},
        {"1000", "1k"},
        {"1500", "1500"},
        {"1500000", "1500k"},
        {"1e3", "1e3"},
        {"1E3", "1e3"},
        {"1.5e3", "1500"},
        {"100e-3", "100e-3"},
        {"1e2", "100"},
        {"1e-10", "1e-9"},
        {"1E", "1E"},
        {"1Ei", "1Ei"},
        {"1n", "1n"},
        {"0.1n", "1n"},
        {"1.1n", "2n"},
        {"-0.1n", "-1n"},
        {"1u", "1u"},
        {"1000u", "1m"},
        {"1.", "1"},
        {".5", "500m"},
        {"00012", "12"},
        {"0.0000000001Ki", "103n"},
        {"8Ei", "9223372036854775807"},
        {"9223372036854775807", "9223372036854775807"},
        {"100E", "100E"},
        {"512", "512"},
        {"0.5Ki", "512"},
        {"-2Ki", "-2Ki"},
        {"-1Ki", "-1Ki"},
        {"1Ki", "1Ki"},
        {"1536Ki", "1536Ki"},
        {"1048576", "1048576"},
        {"12e6", "12e6"},
        {"3M", "3M"},
        {"3000k", "3M"},
        {"2500m", "2500m"},
        {"100m", "100m"},
        {"0.001", "1m"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quantity q = q_of(cases[i].in);
        char text[QUANTITY_TEXT_MAX];
        if (strcmp(quantity_format(&q, text), cases[i].out) != 0)
            fail_msg("%s gives %s, not %s", cases[i].in, text, cases[i].out);
        struct quantity back = q_of(text);
        assert_int_equal(quantity_cmp(&q, &back), 0);
    }
}

/* As a real API server stores them. */
static void text_kept(void **state)
{
    static const char *const kept[] = {"0",
                                       "010",
                                       "+5",
                                       "-5",
                                       "1.",
                                       "1500.",
                                       "0001",
                                       "2048",
                                       "1e3",
                                       "1E3",
                                       "1e+3",
                                       "1e03",
                                       "1Ki",
                                       "01Ki",
                                       "+1Ki",
                                       "010k",
                                       "+5m",
                                       "001.500",
                                       "1500m",

                                       "1n",
                                       "1Ti",
                                       "5e-3",
                                       "12345678901234567",
                                       "123456789012345678"};
    static const char *const canonical[] = {"512Mi",
                                            "-0",
                                            "00",
                                            "0.0",
                                            "+0",
                                            "0e3",
                                            "0Mi",
                                            "0m",
                                            "0.5",
                                            "1.0",
                                            "1.50",
                                            "1000m",
                                            "1024Mi",
                                            "8Mi",
                                            "0.5Gi",
                                            "1000k",
                                            "1000",
                                            ".5",
                                            "0.1",
                                            "1.2",
                                            "10.00",
                                            "+1.5",
                                            "010e2",
                                            "1e2",
                                            "1.5Gi",
                                            "1Ei",
                                            "100000000000000000000",
                                            "1234567890123456789",
                                            "0.0000000001"};
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (!quantity_text_kept(kept[i]))
            fail_msg("%s is not kept", kept[i]);
    for (size_t i = 0; i < ARRAY_LEN(canonical); i++)
        if (quantity_text_kept(canonical[i]))
            fail_msg("%s is kept", canonical[i]);
}

static void refused(void **state)
{
    static const char *const bad[] = {"",    "+",   "-",           ".",    "a",     "1a",   "1 ",    " 1",   "1KI", "1ki",
                                      "1K",  "1mi", "--1",         "1..2", "1e",    "1e+",  "1e1.5", "Ki",   "e3",  "1.2.3",
                                      "1EE", "0x1", "1e999999999", "1e30", "1_000", "1Kii", "inf",   "1e3Ki"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct quantity q;
        ERR(e);
        if (quantity_parse(bad[i], &q, &e) == 0)
            fail_msg("'%s' was read", bad[i]);
        assert_int_equal(e.code, ERR_INVALID);
    }
}

static void values(void **state)
{
    static const struct {
        const char *in;
        int64_t value, milli;
    } cases[] = {
        {"1", 1, 1000},
        {"0.5", 1, 500},
        {"-0.5", -1, -500},
        {"1n", 1, 1},
        {"1500m", 2, 1500},
        {"1Ki", 1024, 1024000},
        {"100E", INT64_MAX, INT64_MAX},
        {"-100E", INT64_MIN, INT64_MIN},
        {"0", 0, 0},
        {"1.0001", 2, 1001},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quantity q = q_of(cases[i].in);
        assert_int_equal(quantity_value(&q), cases[i].value);
        assert_int_equal(quantity_milli(&q), cases[i].milli);
    }
}

static void arithmetic(void **state)
{
    char text[QUANTITY_TEXT_MAX];
    struct quantity a = q_of("0"), b = q_of("1Gi"), c = q_of("512Mi");
    quantity_add(&a, &b);
    quantity_add(&a, &c);
    assert_string_equal(quantity_format(&a, text), "1536Mi");
    struct quantity one = q_of("1"), thousand = q_of("1000m"), more = q_of("1001m"), neg = q_of("-1");
    assert_int_equal(quantity_cmp(&one, &thousand), 0);
    assert_true(quantity_cmp(&one, &more) < 0);
    assert_true(quantity_cmp(&more, &one) > 0);
    assert_true(quantity_cmp(&neg, &one) < 0);
}

TEST_GROUP(quantity, cmocka_unit_test(canonical), cmocka_unit_test(text_kept), cmocka_unit_test(refused),
           cmocka_unit_test(values), cmocka_unit_test(arithmetic))
