/* Macros in string parameters. */
#include "unit.h"

#include "base/ctx.h"
#include "pipelines/store/macros.h"

static void test_texts(void **state)
{
    /* 2026-02-03 04:05:06.0708 UTC, a Tuesday; scheduled a day before, in the afternoon */
    const struct macro_values v = {
        .run_id = "r-1", .current_ns = 1770091506070800000LL, .scheduled_ns = 1770041106000000000LL, .index = -1};
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"plain [x] {y} [[", "plain [x] {y} [["},
        {"[[RunUUID]]", "r-1"},
        {"a[[RunUUID]]b[[RunUUID]]", "ar-1br-1"},
        {"[[CurrentTime]]", "20260203040506"},
        {"[[ScheduledTime]]", "20260202140506"},
        {"[[CurrentTime.2006-01-02T15-04-05]]", "2026-02-03T04-05-06"},
        {"[[ScheduledTime.3:04PM 3:04pm]]", "2:05PM 2:05pm"},
        {"[[CurrentTime.Mon Monday Jan January 06 1 2 _2 002]]", "Tue Tuesday Feb February 26 2 3  3 034"},
        {"[[CurrentTime..000 .999999 ,00 MST -0700 -07:00 Z07:00]]", ".070 .0708 ,07 UTC +0000 +00:00 Z"},
        {"[[ScheduledTime.05.999]]", "06"},
        {"{{$.currentTime.strftime('%Y-%m-%d %s %%')}}", "2026-02-03 1770091506 %"},
        {"{{$.scheduledTime.strftime('%H%Q')}}", "14%Q"},
        {"{{$.currentTime.strftime('')}}", ""},
        {"{{$.currentTime}} {{$.x}} {{$.currentTime.strftime(}}", "{{$.currentTime}} {{$.x}} {{$.currentTime.strftime(}}"},
        {"[[Index]] [[Other]] [[CurrentTimes]]", "[[Index]] [[Other]] [[CurrentTimes]]"},
        {"[[[RunUUID]]]", "[r-1]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *got = macros_text(cases[i].in, &v);
        assert_string_equal(got, cases[i].out);
    }
    const struct macro_values recurring = {.run_id = "r", .index = 7};
    AUTOFREE char *index = macros_text("n[[Index]]", &recurring);
    assert_string_equal(index, "n7");
}

static void test_parameters(void **state)
{
    const struct macro_values v = {.run_id = "r-1", .index = -1};
    JSON_REF(in) = json_parse_str(
        "{\"a\":\"[[RunUUID]]\",\"n\":9007199254740993,\"l\":[\"[[RunUUID]]\"],\"b\":\"x\",\"u\":\"[[RunUUID]]\\u0000\"}", NULL);
    JSON_REF(want) = json_parse_str(
        "{\"a\":\"r-1\",\"n\":9007199254740993,\"l\":[\"[[RunUUID]]\"],\"b\":\"x\",\"u\":\"[[RunUUID]]\\u0000\"}", NULL);
    JSON_REF(got) = macros_parameters(json_root(in), &v);
    assert_true(jv_equal(json_root(got), json_root(want)));
}

TEST_GROUP(macros, cmocka_unit_test(test_texts), cmocka_unit_test(test_parameters))
