/* cron.c - see cron.h. */
#include "value/cron.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/ctx.h"
#include "base/str.h"
#include "base/timefmt.h"

enum { TEXT_MAX = 1000, DAY_S = 86400, YEARS_MAX = 5, FIELDS = 6 };
enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY };
#define STAR (1ULL << 63)

struct cron {
    uint64_t bits[FIELDS];
    int64_t every_s; /* above 0: @every */
    struct tz *tz;
};

static const char *const MONTHS[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const DAYS[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};
static const struct bounds {
    const char *what;
    int min, max;
    const char *const *names; /* the first one is min */
} BOUNDS[FIELDS] = {
    {"second", 0, 59, NULL},       {"minute", 0, 59, NULL},  {"hour", 0, 23, NULL},
    {"day of month", 1, 31, NULL}, {"month", 1, 12, MONTHS}, {"day of week", 0, 6, DAYS},
};

void cron_free(struct cron *c)
{
    if (!c)
        return;
    tz_free(c->tz);
    free(c);
}

/* ---- parsing -------------------------------------------------------------------------------------------------------- */

static int wrong(const struct bounds *b, const char *part, const char *why, struct err *err)
{
    return err_set(err, ERR_INVALID, "the %s \"%.60s\" %s", b->what, part, why);
}

static int number(const struct bounds *b, const char *text, const char *part, int64_t *out, struct err *err)
{
    for (int i = 0; b->names && b->names[i]; i++) {
        if (strcasecmp(text, b->names[i]) == 0) {
            *out = b->min + i;
            return 0;
        }
    }
    if (!str_to_i64(text, out) || *out < 0)
        return wrong(b, part, "is no number", err);
    return 0;
}

/* "*", "n", "a-b", each with "/step"; part is taken apart. */
static int parse_range(const struct bounds *b, char *part, uint64_t *bits, struct err *err)
{
    AUTOFREE char *whole = xstrdup(part);
    int64_t from, to, step = 1;
    char *slash = strchr(part, '/');
    if (slash) {
        *slash++ = '\0';
        if (strchr(slash, '/'))
            return wrong(b, whole, "has too many slashes", err);
        if (!str_to_i64(slash, &step) || step < 1)
            return wrong(b, whole, "needs a step of 1 or more", err);
    }
    char *hyphen = strchr(part, '-');
    if (hyphen)
        *hyphen++ = '\0';
    uint64_t star = 0;
    if (strcmp(part, "*") == 0 || strcmp(part, "?") == 0) {
        from = b->min;
        to = b->max;
        star = STAR;
    } else {
        if (hyphen && strchr(hyphen, '-'))
            return wrong(b, whole, "has too many hyphens", err);
        if (number(b, part, whole, &from, err) < 0)
            return -1;
        to = hyphen ? 0 : slash ? b->max : from;
        if (hyphen && number(b, hyphen, whole, &to, err) < 0)
            return -1;
    }
    if (from < b->min || from > b->max || to > b->max)
        return err_set(err, ERR_INVALID, "the %s \"%.60s\" is out of range: %d to %d", b->what, whole, b->min, b->max);
    if (from > to)
        return wrong(b, whole, "begins behind its end", err);
    for (int64_t i = from; i <= to; i += step)
        *bits |= 1ULL << i;
    *bits |= star;
    return 0;
}

static int parse_field(const struct bounds *b, char *text, uint64_t *bits, struct err *err)
{
    char *save = NULL;
    for (char *part = strtok_r(text, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        if (parse_range(b, part, bits, err) < 0)
            return -1;
    }
    return *bits ? 0 : wrong(b, text, "is empty", err);
}

static int parse_fields(struct cron *c, const char *text, struct err *err)
{
    AUTOFREE char *copy = xstrdup(text);
    char *save = NULL, *field[FIELDS] = {0};
    int n = 0;
    for (char *p = strtok_r(copy, " \t\r\n\v\f", &save); p; p = strtok_r(NULL, " \t\r\n\v\f", &save), n++) {
        if (n < FIELDS)
            field[n] = p;
    }
    if (n < FIELDS - 1 || n > FIELDS)
        return err_set(err, ERR_INVALID, "there are %d fields: give 5 or 6, second minute hour day-of-month month [day-of-week]",
                       n);
    char any[] = "*";
    if (n == FIELDS - 1)
        field[WEEKDAY] = any;
    for (int i = 0; i < FIELDS; i++) {
        if (parse_field(&BOUNDS[i], field[i], &c->bits[i], err) < 0)
            return -1;
    }
    return 0;
}

static int parse_descriptor(struct cron *c, const char *text, struct err *err)
{
    static const struct {
        const char *name, *fields;
    } known[] = {
        {"@yearly", "0 0 0 1 1 *"}, {"@annually", "0 0 0 1 1 *"}, {"@monthly", "0 0 0 1 * *"}, {"@weekly", "0 0 0 * * 0"},
        {"@daily", "0 0 0 * * *"},  {"@midnight", "0 0 0 * * *"}, {"@hourly", "0 0 * * * *"},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(text, known[i].name) == 0)
            return parse_fields(c, known[i].fields, err);
    }
    int64_t ns;
    if (!str_starts(text, "@every "))
        return err_set(err, ERR_INVALID, "there is no descriptor \"%.60s\"", text);
    if (!duration_parse(text + 7, &ns))
        return err_set(err, ERR_INVALID, "\"%.60s\" is no duration: write it as 1h30m", text + 7);
    c->every_s = ns < NS_PER_S ? 1 : ns / NS_PER_S;
    return 0;
}

/* "TZ=Area/City rest": *text moves to the rest, and the zone is the caller's to free. */
static char *zone_prefix(const char **text)
{
    size_t n = str_starts(*text, "CRON_TZ=") ? 8 : str_starts(*text, "TZ=") ? 3 : 0;
    if (n == 0)
        return NULL;
    size_t len = strcspn(*text + n, " ");
    char *zone = xstrndup(*text + n, len);
    *text += n + len;
    *text += strspn(*text, " ");
    return zone;
}

struct cron *cron_parse(const char *text, const char *zone, struct err *err)
{
    struct cron *c = xcalloc(1, sizeof *c);
    const char *rest = text + strspn(text, " ");
    AUTOFREE char *own = zone_prefix(&rest);
    int rc = 0;
    if (strlen(text) > TEXT_MAX)
        rc = err_set(err, ERR_INVALID, "it has %zu characters, at most %d are allowed", strlen(text), TEXT_MAX);
    else if (!(c->tz = tz_load(own ? own : zone, err)))
        rc = -1;
    else
        rc = *rest == '@' ? parse_descriptor(c, rest, err) : parse_fields(c, rest, err);
    if (rc == 0)
        return c;
    cron_free(c);
    err_wrap(err, "cron expression \"%.200s\"", text);
    return NULL;
}

/* ---- matching ------------------------------------------------------------------------------------------------------- */

/* The civil date of a day since 1970. */
static void civil_from_days(int64_t days, int *y, int *m, int *d)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t of_era = days - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    *d = (int)(of_year - (153 * month + 2) / 5 + 1);
    *m = (int)(month < 10 ? month + 3 : month - 9);
    *y = (int)(year + era * 400 + (*m <= 2));
}

static bool day_matches(const struct cron *c, int64_t day)
{
    int y, m, d, weekday = (int)(((day + 4) % 7 + 7) % 7);
    civil_from_days(day, &y, &m, &d);
    if (!(c->bits[MONTH] >> m & 1))
        return false;
    bool by_day = c->bits[DAY] >> d & 1, by_weekday = c->bits[WEEKDAY] >> weekday & 1;
    return (c->bits[DAY] | c->bits[WEEKDAY]) & STAR ? by_day && by_weekday : by_day || by_weekday;
}

/* The first bit at or above n, below 60; -1. */
static int bit_from(uint64_t bits, int n)
{
    bits &= ~STAR;
    for (; n < 60; n++) {
        if (bits >> n & 1)
            return n;
    }
    return -1;
}

/* The first second of a matching day at or after this one; -1. */
static int64_t second_from(const struct cron *c, int64_t at)
{
    int h0 = (int)(at / 3600), m0 = (int)(at / 60 % 60), s0 = (int)(at % 60);
    for (int h = bit_from(c->bits[HOUR], h0); h >= 0; h = bit_from(c->bits[HOUR], h + 1)) {
        int from = h == h0 ? m0 : 0;
        for (int m = bit_from(c->bits[MINUTE], from); m >= 0; m = bit_from(c->bits[MINUTE], m + 1)) {
            int s = bit_from(c->bits[SECOND], h == h0 && m == m0 ? s0 : 0);
            if (s >= 0)
                return h * 3600LL + m * 60 + s;
        }
    }
    return -1;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

int64_t cron_next(const struct cron *c, int64_t after)
{
    if (c->every_s > 0)
        return after > INT64_MAX - c->every_s ? INT64_MAX : after + c->every_s;
    int64_t local = after + tz_offset(c->tz, after) + 1;
    int64_t day = floor_div(local, DAY_S), second = local - day * DAY_S, t;
    int64_t end = day + YEARS_MAX * 366;
    while (day <= end) {
        int64_t s = second < DAY_S && day_matches(c, day) ? second_from(c, second) : -1;
        if (s < 0) {
            day++;
            second = 0;
        } else if (tz_from_local(c->tz, day * DAY_S + s, &t) && t > after) {
            return t;
        } else {
            second = s + 1; /* skipped by a change of the clocks, or the second time round */
        }
    }
    return INT64_MAX;
}

int64_t cron_last(const struct cron *c, int64_t after, int64_t limit)
{
    int64_t first = cron_next(c, after);
    if (first == INT64_MAX || first > limit)
        return INT64_MAX;
    if (c->every_s > 0)
        return first + (limit - first) / c->every_s * c->every_s;
    /* next() never falls: the last time from which it still reaches a match within the limit is the one before that match. */
    int64_t lo = after, hi = limit; /* next(lo) <= limit < next(hi) */
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        if (cron_next(c, mid) <= limit)
            lo = mid;
        else
            hi = mid;
    }
    return cron_next(c, lo);
}
