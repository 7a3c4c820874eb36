/* Cron expressions and time zones. */
#include "unit.h"

#include "base/fs.h"
#include "base/str.h"
#include "base/timefmt.h"
#include "value/cron.h"

static int64_t at(const char *text)
{
    int64_t ns;
    if (!time_parse(text, &ns))
        fail_msg("%s is no time", text);
    return ns / 1000000000;
}

static void expect_time(const char *what, int64_t got, const char *want)
{
    char text[TIME_TEXT_MAX] = "never";
    if (got != INT64_MAX)
        time_format(text, got * 1000000000, TIME_SECONDS);
    if (strcmp(text, want) != 0)
        fail_msg("%s: want %s, got %s", what, want, text);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "0 fields"},
        {"* * * *", "4 fields"},
        {"* * * * * * *", "7 fields"},
        {"*$&%*(W&", "1 fields"},
        {"60 * * * * *", "second \"60\" is out of range: 0 to 59"},
        {"* 60 * * * *", "minute"},
        {"* * 24 * * *", "hour"},
        {"* * * 0 * *", "day of month \"0\" is out of range: 1 to 31"},
        {"* * * 32 * *", "day of month"},
        {"* * * * 13 *", "month"},
        {"* * * * FOO *", "no number"},
        {"* * * * * 7", "day of week \"7\" is out of range: 0 to 6"},
        {"-1 * * * * *", "no number"},
        {"5-3 * * * * *", "begins behind its end"},
        {"1-2-3 * * * * *", "too many hyphens"},
        {"*/0 * * * * *", "step of 1 or more"},
        {"*/x * * * * *", "step of 1 or more"},
        {"1/2/3 * * * * *", "too many slashes"},
        {", * * * * *", "is empty"},
        {"99999999999999999999 * * * * *", "no number"},
        {"@sometimes", "no descriptor"},
        {"@DAILY", "no descriptor"},
        {"@every", "no descriptor"},
        {"@every x", "no duration"},
        {"CRON_TZ=Nowhere/City 0 0 0 * * *", "unknown time zone"},
        {"CRON_TZ=../../etc/passwd 0 0 0 * * *", "unknown time zone"},
        {"TZ=/etc/localtime 0 0 0 * * *", "unknown time zone"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        if (cron_parse(cases[i].text, NULL, &e))
            fail_msg("\"%s\" was accepted", cases[i].text);
        assert_int_equal(e.code, ERR_INVALID);
        if (!strstr(err_text(&e), cases[i].says))
            fail_msg("\"%s\": want \"%s\", got \"%s\"", cases[i].text, cases[i].says, err_text(&e));
    }
    AUTOFREE char *many = xcalloc(1, 3000);
    memset(many, '*', 2999);
    assert_null(cron_parse(many, NULL, NULL));
}

static void test_next(void **state)
{
    static const struct {
        const char *text, *zone, *after, *want;
    } cases[] = {
        /* Five fields begin with the second. */
        {"*/5 * * * *", NULL, "2026-11-25T10:00:00Z", "2026-11-25T10:00:05Z"},
        {"0 */5 * * * *", NULL, "2026-11-25T10:00:00Z", "2026-11-25T10:05:00Z"},
        {" 0 0 3 * * ", NULL, "2026-11-25T03:00:00Z", "2026-11-26T03:00:00Z"},
        {"* * * * * *", NULL, "2026-11-25T23:59:59Z", "2026-11-26T00:00:00Z"},
        {"0 30 8 * * ?", NULL, "2026-11-25T08:29:59Z", "2026-11-25T08:30:00Z"},
        {"0 0 0 1 JAN *", NULL, "2026-11-25T00:00:00Z", "2027-01-01T00:00:00Z"},
        {"0 0 0 29 2 *", NULL, "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"},
        {"0 0 0 30 2 *", NULL, "2026-03-01T00:00:00Z", "never"},
        {"0 0 0 31 * *", NULL, "2026-09-01T00:00:00Z", "2026-10-31T00:00:00Z"},
        {"0 15 10 * * mon-fri", NULL, "2026-11-27T10:15:00Z", "2026-11-30T10:15:00Z"},
        {"0 0 0 * * SUN", NULL, "2026-11-25T00:00:00Z", "2026-11-29T00:00:00Z"},
        {"0 0 0 * * 0", NULL, "2026-11-25T00:00:00Z", "2026-11-29T00:00:00Z"},
        /* Both days restricted: either. A star in one: both. */
        {"0 0 0 13 * fri", NULL, "2026-11-25T00:00:00Z", "2026-11-27T00:00:00Z"},
        {"0 0 0 26 * fri", NULL, "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"},
        {"0 0 0 */2 * fri", NULL, "2026-11-25T00:00:00Z", "2026-11-27T00:00:00Z"},
        {"0,30,45 1-3,50/5 * * * *", NULL, "2026-11-25T10:03:30Z", "2026-11-25T10:03:45Z"},
        {"0,30,45 1-3,50/5 * * * *", NULL, "2026-11-25T10:03:45Z", "2026-11-25T10:50:00Z"},
        {"0 0 1-10/4 * * *", NULL, "2026-11-25T05:00:00Z", "2026-11-25T09:00:00Z"},
        {"10/20 0 0 * * *", NULL, "2026-11-25T00:00:30Z", "2026-11-25T00:00:50Z"},
        {"0 0 0 1,,15 * *", NULL, "2026-11-25T00:00:00Z", "2026-12-01T00:00:00Z"},
        {"@yearly", NULL, "2026-11-25T00:00:00Z", "2027-01-01T00:00:00Z"},
        {"@annually", NULL, "2026-11-25T00:00:00Z", "2027-01-01T00:00:00Z"},
        {"@monthly", NULL, "2026-11-25T00:00:00Z", "2026-12-01T00:00:00Z"},
        {"@weekly", NULL, "2026-11-25T00:00:00Z", "2026-11-29T00:00:00Z"},
        {"@daily", NULL, "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"},
        {"@midnight", NULL, "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"},
        {"@hourly", NULL, "2026-11-25T00:30:00Z", "2026-11-25T01:00:00Z"},
        {"@every 1h30m", NULL, "2026-11-25T00:00:01Z", "2026-11-25T01:30:01Z"},
        {"@every 10ms", NULL, "2026-11-25T00:00:01Z", "2026-11-25T00:00:02Z"},
        {"@every -1h", NULL, "2026-11-25T00:00:01Z", "2026-11-25T00:00:02Z"},
        /* Before 1970, and across a year. */
        {"0 0 12 * * *", NULL, "1969-12-30T13:00:00Z", "1969-12-31T12:00:00Z"},
        {"59 59 23 31 12 *", NULL, "2026-12-31T23:59:59Z", "2027-12-31T23:59:59Z"},
        /* Time zones, by the schedule's default or by the expression. */
        {"0 0 3 * * *", "Asia/Tokyo", "2026-11-25T10:00:00Z", "2026-11-25T18:00:00Z"},
        {"0 0 3 * * *", "America/St_Johns", "2026-11-25T10:00:00Z", "2026-11-26T06:30:00Z"},
        {"CRON_TZ=Asia/Tokyo 0 0 3 * * *", "America/New_York", "2026-11-25T10:00:00Z", "2026-11-25T18:00:00Z"},
        {"TZ=UTC @daily", "America/New_York", "2026-11-25T10:00:00Z", "2026-11-26T00:00:00Z"},
        {"@daily", "America/New_York", "2026-11-25T10:00:00Z", "2026-11-26T05:00:00Z"},
        {"0 0 0 * * MON", "Pacific/Auckland", "2026-11-25T10:00:00Z", "2026-11-29T11:00:00Z"},
        /* Spring forward in New York, 2027-03-14 02:00 -> 03:00: 02:30 is not there that day. */
        {"0 30 2 * * *", "America/New_York", "2027-03-13T07:30:00Z", "2027-03-15T06:30:00Z"},
        {"0 0 * * * *", "America/New_York", "2027-03-14T06:00:00Z", "2027-03-14T07:00:00Z"},
        {"0 */30 * * * *", "America/New_York", "2027-03-14T06:30:00Z", "2027-03-14T07:00:00Z"},
        /* Fall back, 2026-11-01 02:00 -> 01:00: 01:30 comes twice and fires once, the first time. */
        {"0 30 1 * * *", "America/New_York", "2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z"},
        {"0 30 1 * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"},
        {"0 */15 * * * *", "America/New_York", "2026-11-01T05:45:00Z", "2026-11-01T07:00:00Z"},
        {"0 0 2 * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T07:00:00Z"},
        /* Far ahead, where only the rule at the end of the zone's file speaks; south of the equator. */
        {"0 0 12 1 7 *", "Europe/Paris", "2090-01-01T00:00:00Z", "2090-07-01T10:00:00Z"},
        {"0 0 12 1 1 *", "Europe/Paris", "2089-06-01T00:00:00Z", "2090-01-01T11:00:00Z"},
        {"0 0 12 1 1 *", "Australia/Sydney", "2089-06-01T00:00:00Z", "2090-01-01T01:00:00Z"},
        {"0 0 12 1 7 *", "Australia/Sydney", "2090-01-01T00:00:00Z", "2090-07-01T02:00:00Z"},
        /* Half an hour of summer time. */
        {"0 15 2 * * *", "Australia/Lord_Howe", "2026-10-02T16:00:00Z", "2026-10-04T15:15:00Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        struct cron *c = cron_parse(cases[i].text, cases[i].zone, &e);
        if (!c)
            fail_msg("%s", err_text(&e));
        AUTOFREE char *what = xasprintf("%s after %s", cases[i].text, cases[i].after);
        expect_time(what, cron_next(c, at(cases[i].after)), cases[i].want);
        cron_free(c);
    }
}

static void test_last(void **state)
{
    static const struct {
        const char *text, *after, *limit, *want;
    } cases[] = {
        {"0 * * * * *", "2026-11-25T10:20:00Z", "2026-11-25T10:20:30Z", "never"},
        {"0 * * * * *", "2026-11-25T10:20:00Z", "2026-11-25T10:21:00Z", "2026-11-25T10:21:00Z"},
        {"0 * * * * *", "2026-11-25T10:20:00Z", "2026-11-25T10:21:30Z", "2026-11-25T10:21:00Z"},
        {"0 * * * * *", "2026-11-25T10:20:00Z", "2026-11-25T10:30:00Z", "2026-11-25T10:30:00Z"},
        {"* * * * * *", "2020-11-25T10:20:00Z", "2026-11-25T10:30:07Z", "2026-11-25T10:30:07Z"},
        {"0 0 0 29 2 *", "2020-01-01T00:00:00Z", "2026-11-25T10:30:07Z", "2024-02-29T00:00:00Z"},
        {"@every 7s", "2026-11-25T10:20:00Z", "2026-11-25T10:20:20Z", "2026-11-25T10:20:14Z"},
        {"@every 7s", "2026-11-25T10:20:00Z", "2026-11-25T10:20:06Z", "never"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cron *c = cron_parse(cases[i].text, NULL, NULL);
        assert_non_null(c);
        expect_time(cases[i].text, cron_last(c, at(cases[i].after), at(cases[i].limit)), cases[i].want);
        cron_free(c);
    }
}

/* What a zone says must agree with going there second by second. */
static void test_zone_round_trip(void **state)
{
    static const char *const zones[] = {"Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC", ""};
    for (size_t z = 0; z < ARRAY_LEN(zones); z++) {
        ERR(e);
        struct tz *tz = tz_load(zones[z], &e);
        if (!tz)
            fail_msg("%s", err_text(&e));
        for (int64_t t = at("2019-12-31T00:00:00Z"); t < at("2021-01-02T00:00:00Z"); t += 1800) {
            int64_t back, local = t + tz_offset(tz, t);
            assert_true(tz_from_local(tz, local, &back));
            assert_true(back == t || (back < t && t - back <= 3600));
        }
        tz_free(tz);
    }
    assert_int_equal(tz_offset(NULL, 0), 0);
}

static void test_damaged_zone(void **state)
{
    BUF(b);
    ERR(e);
    if (fs_read("/usr/share/zoneinfo/Europe/Paris", 1 << 20, &b, &e) < 0)
        fail_msg("%s", err_text(&e));
    for (size_t n = 0; n < b.len; n++) { /* cut anywhere: refused, or a shorter zone, never beyond the bytes */
        char *copy = xmalloc(n ? n : 1);
        memcpy(copy, b.data, n);
        struct tz *tz = tz_parse(copy, n, NULL);
        if (tz)
            tz_offset(tz, 0);
        tz_free(tz);
        free(copy);
    }
}

TEST_GROUP(cron, cmocka_unit_test(test_refused), cmocka_unit_test(test_next), cmocka_unit_test(test_last),
           cmocka_unit_test(test_zone_round_trip), cmocka_unit_test(test_damaged_zone))
