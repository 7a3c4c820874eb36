/* tz.c - see tz.h. */
#include "value/tz.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/timefmt.h"

enum { TZ_FILE_MAX = 1 << 20, TRANSITIONS_MAX = 20000, HEADER = 44, DAY_S = 86400 };

/* One of the two days of a POSIX rule: Jn, n, or Mm.w.d, and the second of that day. */
struct rule_day {
    char kind; /* 'J', 'N', 'M' */
    int month, week, day;
    int64_t second;
};
struct tz {
    int64_t *at; /* transitions, ascending */
    int32_t *offset;
    size_t n;
    int32_t first; /* before the first transition */
    bool has_rule, has_summer;
    int32_t winter_offset, summer_offset;
    struct rule_day to_summer, to_winter;
};

void tz_free(struct tz *tz)
{
    if (!tz)
        return;
    free(tz->at);
    free(tz->offset);
    free(tz);
}

/* ---- POSIX rules: "CET-1CEST,M3.5.0,M10.5.0/3" ---------------------------------------------------------------------- */

static bool rule_name(const char **p)
{
    const char *s = *p;
    if (*s == '<') {
        s = strchr(s, '>');
        if (!s)
            return false;
        *p = s + 1;
        return true;
    }
    while (isalpha((unsigned char)*s))
        s++;
    bool good = s - *p >= 3;
    *p = s;
    return good;
}

static bool rule_number(const char **p, int max, int *out)
{
    int n = 0;
    const char *s = *p;
    while (isdigit((unsigned char)*s) && s - *p < 4)
        n = n * 10 + (*s++ - '0');
    bool good = s > *p && n <= max;
    *p = s;
    *out = n;
    return good;
}

/* [+-]h[:m[:s]] as seconds. */
static bool rule_time(const char **p, int64_t *out)
{
    int sign = 1, h, m = 0, s = 0;
    if (**p == '+' || **p == '-')
        sign = *(*p)++ == '-' ? -1 : 1;
    if (!rule_number(p, 167, &h))
        return false;
    if (**p == ':' && ((*p)++, !rule_number(p, 59, &m)))
        return false;
    if (**p == ':' && ((*p)++, !rule_number(p, 59, &s)))
        return false;
    *out = sign * (h * 3600LL + m * 60 + s);
    return true;
}

static bool rule_day(const char **p, struct rule_day *d)
{
    if (*(*p)++ != ',')
        return false;
    d->kind = 'N';
    if (**p == 'J' || **p == 'M')
        d->kind = *(*p)++;
    bool good;
    if (d->kind == 'M') {
        good = rule_number(p, 12, &d->month) && d->month >= 1 && *(*p)++ == '.' && rule_number(p, 5, &d->week) && d->week >= 1 &&
               *(*p)++ == '.' && rule_number(p, 6, &d->day);
    } else {
        good = rule_number(p, 365, &d->day);
    }
    d->second = 7200;
    if (good && **p == '/') {
        (*p)++;
        good = rule_time(p, &d->second);
    }
    return good;
}

static bool parse_rule(struct tz *tz, const char *p)
{
    int64_t west;
    if (!*p)
        return true; /* none */
    if (!rule_name(&p) || !rule_time(&p, &west))
        return false;
    tz->has_rule = true;
    tz->winter_offset = (int32_t)-west;
    if (!*p)
        return true;
    if (!rule_name(&p))
        return false;
    tz->has_summer = true;
    tz->summer_offset = tz->winter_offset + 3600;
    if (*p && *p != ',') {
        if (!rule_time(&p, &west))
            return false;
        tz->summer_offset = (int32_t)-west;
    }
    return rule_day(&p, &tz->to_summer) && rule_day(&p, &tz->to_winter) && !*p;
}

static bool leap(int64_t y) { return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0; }

/* The local second of a rule in a year, as if local time were UTC. */
static int64_t rule_at(const struct rule_day *d, int y)
{
    if (d->kind != 'M') {
        int day = d->kind == 'J' ? d->day - 1 + (leap(y) && d->day >= 60) : d->day;
        return (days_from_civil(y, 1, 1) + day) * DAY_S + d->second;
    }
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int length = lengths[d->month - 1] + (d->month == 2 && leap(y));
    int64_t first = days_from_civil(y, (unsigned)d->month, 1);
    int weekday = (int)(((first + 4) % 7 + 7) % 7);
    int day = (d->day - weekday + 7) % 7 + (d->week - 1) * 7;
    if (day >= length)
        day -= 7;
    return (first + day) * DAY_S + d->second;
}

static int year_of(int64_t unix_s)
{
    int y = (int)(1970 + unix_s / 31556952);
    while (days_from_civil(y + 1, 1, 1) * DAY_S <= unix_s)
        y++;
    while (days_from_civil(y, 1, 1) * DAY_S > unix_s)
        y--;
    return y;
}

static int64_t rule_offset(const struct tz *tz, int64_t unix_s)
{
    if (!tz->has_summer)
        return tz->winter_offset;
    int y = year_of(unix_s + tz->winter_offset);
    int64_t begin = rule_at(&tz->to_summer, y) - tz->winter_offset, end = rule_at(&tz->to_winter, y) - tz->summer_offset;
    bool summer = begin < end ? unix_s >= begin && unix_s < end : !(unix_s >= end && unix_s < begin);
    return summer ? tz->summer_offset : tz->winter_offset;
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

static int64_t big(const unsigned char *p, int n)
{
    uint64_t v = (n == 4 && (p[0] & 0x80)) ? ~0ULL << 32 : 0;
    uint64_t x = 0;
    for (int i = 0; i < n; i++)
        x = x << 8 | p[i];
    return (int64_t)(v | x);
}

struct counts {
    size_t isut, isstd, leap, time, type, chars;
};

static bool read_counts(const unsigned char *p, size_t n, struct counts *c)
{
    if (n < HEADER || memcmp(p, "TZif", 4) != 0)
        return false;
    size_t *const out[] = {&c->isut, &c->isstd, &c->leap, &c->time, &c->type, &c->chars};
    for (size_t i = 0; i < ARRAY_LEN(out); i++) {
        int64_t v = big(p + 20 + i * 4, 4);
        if (v < 0 || v > TRANSITIONS_MAX)
            return false;
        *out[i] = (size_t)v;
    }
    return c->type > 0;
}

static size_t block_size(const struct counts *c, size_t time_size)
{
    return c->time * (time_size + 1) + c->type * 6 + c->chars + c->leap * (time_size + 4) + c->isstd + c->isut;
}

static bool read_block(struct tz *tz, const unsigned char *p, const struct counts *c, size_t time_size)
{
    const unsigned char *kinds = p + c->time * time_size, *types = kinds + c->time;
    tz->n = c->time;
    tz->at = xcalloc(tz->n ? tz->n : 1, sizeof *tz->at);
    tz->offset = xcalloc(tz->n ? tz->n : 1, sizeof *tz->offset);
    tz->first = (int32_t)big(types, 4);
    for (size_t i = 0; i < tz->n; i++) {
        tz->at[i] = big(p + i * time_size, (int)time_size);
        if (kinds[i] >= c->type || (i > 0 && tz->at[i] <= tz->at[i - 1]))
            return false;
        tz->offset[i] = (int32_t)big(types + kinds[i] * 6, 4);
    }
    return true;
}

static bool parse_file(struct tz *tz, const unsigned char *p, size_t n)
{
    struct counts c;
    if (!read_counts(p, n, &c))
        return false;
    size_t first = HEADER + block_size(&c, 4);
    if (n < first)
        return false;
    if (p[4] < '2') /* version 1: 32-bit times, no rule */
        return read_block(tz, p + HEADER, &c, 4);
    p += first;
    n -= first;
    if (!read_counts(p, n, &c) || n < HEADER + block_size(&c, 8) || !read_block(tz, p + HEADER, &c, 8))
        return false;
    p += HEADER + block_size(&c, 8);
    n -= HEADER + block_size(&c, 8);
    if (n < 2 || p[0] != '\n' || p[n - 1] != '\n')
        return false;
    AUTOFREE char *rule = xstrndup((const char *)p + 1, n - 2);
    return parse_rule(tz, rule);
}

struct tz *tz_parse(const void *p, size_t n, struct err *err)
{
    struct tz *tz = xcalloc(1, sizeof *tz);
    if (parse_file(tz, p, n))
        return tz;
    tz_free(tz);
    err_set(err, ERR_INTERNAL, "the time zone's file is damaged");
    return NULL;
}

static bool name_good(const char *name)
{
    if (!isalpha((unsigned char)name[0]) || strlen(name) > 60 || strstr(name, "..") || str_ends(name, "/"))
        return false;
    for (const char *p = name; *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr("/_+-", *p))
            return false;
    }
    return true;
}

struct tz *tz_load(const char *name, struct err *err)
{
    if (str_empty(name) || str_eq(name, "UTC")) {
        struct tz *utc = xcalloc(1, sizeof *utc);
        utc->at = xcalloc(1, sizeof *utc->at);
        utc->offset = xcalloc(1, sizeof *utc->offset);
        return utc;
    }
    const char *dir = getenv("TZDIR");
    AUTOFREE char *path = NULL;
    BUF(text);
    ERR(e);
    if (str_eq(name, "Local"))
        path = xstrdup("/etc/localtime");
    else if (name_good(name))
        path = xasprintf("%s/%s", str_empty(dir) ? "/usr/share/zoneinfo" : dir, name);
    if (!path || fs_read(path, TZ_FILE_MAX, &text, &e) < 0) {
        err_set(err, ERR_INVALID, "unknown time zone \"%.80s\": use a name such as Europe/Paris or UTC%s", name,
                path && !fs_exists("/usr/share/zoneinfo") ? " (this machine has no time zones: install the package tzdata)" : "");
        return NULL;
    }
    struct tz *tz = tz_parse(text.data, text.len, err);
    if (!tz)
        err_wrap(err, "time zone %s", name);
    return tz;
}

/* ---- asking --------------------------------------------------------------------------------------------------------- */

int64_t tz_offset(const struct tz *tz, int64_t unix_s)
{
    if (!tz)
        return 0;
    if (tz->n == 0 || unix_s < tz->at[0])
        return tz->n == 0 && tz->has_rule ? rule_offset(tz, unix_s) : tz->first;
    if (unix_s >= tz->at[tz->n - 1] && tz->has_rule)
        return rule_offset(tz, unix_s);
    size_t lo = 0, hi = tz->n; /* at[lo] <= unix_s < at[hi] */
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (tz->at[mid] <= unix_s)
            lo = mid;
        else
            hi = mid;
    }
    return tz->offset[lo];
}

bool tz_from_local(const struct tz *tz, int64_t local_s, int64_t *unix_s)
{
    /* A change is never larger than a day: the offsets of a day before and after are the ones that can be meant. */
    const int64_t offsets[] = {tz_offset(tz, local_s - DAY_S), tz_offset(tz, local_s + DAY_S), tz_offset(tz, local_s)};
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
        int64_t t = local_s - offsets[i];
        if (tz_offset(tz, t) == offsets[i] && (!found || t < *unix_s)) {
            *unix_s = t;
            found = true;
        }
    }
    return found;
}
