/* Timestamps (years 1 to 9999, nanoseconds, UTC) and durations. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/ctx.h"
#include "base/timefmt.h"
#include "value/cel_priv.h"

#define MIN_SEC (-62135596800LL) /* 0001-01-01T00:00:00Z */
#define MAX_SEC 253402300799LL   /* 9999-12-31T23:59:59Z */
#define DAY     86400LL

typedef const struct cel_value *val;

struct civil {
    int year;
    unsigned month, day, yday; /* from 1, from 1, from 0 */
    int hour, min, sec;
    unsigned wday; /* 0 is Sunday */
};

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* The date of a count of seconds since 1970. */
static struct civil civil_of(int64_t sec)
{
    int64_t days = floor_div(sec, DAY), rest = sec - days * DAY;
    struct civil c = {.hour = (int)(rest / 3600), .min = (int)(rest / 60 % 60), .sec = (int)(rest % 60)};
    c.wday = (unsigned)(((days % 7) + 11) % 7);                   /* 1970-01-01 was a Thursday */
    int year = 1970 + (int)floor_div(days, days < 0 ? 365 : 366); /* not after the right one, and at most a few before it */
    while (days_from_civil(year + 1, 1, 1) <= days)
        year++;
    c.year = year;
    c.yday = (unsigned)(days - days_from_civil(year, 1, 1));
    c.month = 1;
    while (c.month < 12 && days_from_civil(year, c.month + 1, 1) <= days)
        c.month++;
    c.day = (unsigned)(days - days_from_civil(year, c.month, 1)) + 1;
    return c;
}

const struct cel_value *cel_mk_time(struct cel_run *r, int64_t sec, int64_t nsec)
{
    sec += floor_div(nsec, NS_PER_S);
    nsec -= floor_div(nsec, NS_PER_S) * NS_PER_S;
    if (sec < MIN_SEC || sec > MAX_SEC)
        return cel_error(r, "timestamp overflow: years 1 to 9999 only");
    struct cel_value *v = cel_mk(r, CEL_TIMESTAMP);
    v->sec = sec;
    v->nsec = (int32_t)nsec;
    return v;
}

const struct cel_value *cel_mk_duration(struct cel_run *r, int64_t ns)
{
    struct cel_value *v = cel_mk(r, CEL_DURATION);
    v->i = ns;
    return v;
}

/* ---- text ----------------------------------------------------------------------------------------------------- */

/* n decimal digits. */
static bool digits(const char **s, const char *end, int n, int *out)
{
    *out = 0;
    for (int i = 0; i < n; i++, (*s)++) {
        if (*s >= end || !isdigit((unsigned char)**s))
            return false;
        *out = *out * 10 + (**s - '0');
    }
    return true;
}

static bool literal(const char **s, const char *end, char c)
{
    if (*s >= end || **s != c)
        return false;
    (*s)++;
    return true;
}

/* "Z" or "+01:30", as seconds east of UTC. */
static bool parse_offset(const char **s, const char *end, int *out)
{
    int h, m;
    *out = 0;
    if (literal(s, end, 'Z'))
        return true;
    if (*s >= end || (**s != '+' && **s != '-'))
        return false;
    int sign = *(*s)++ == '-' ? -1 : 1;
    if (!digits(s, end, 2, &h) || !literal(s, end, ':') || !digits(s, end, 2, &m) || h > 23 || m > 59)
        return false;
    *out = sign * (h * 3600 + m * 60);
    return true;
}

bool cel_time_parse(const char *s, size_t n, int64_t *sec, int32_t *nsec)
{
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const char *end = s + n;
    int y, mo, d, h, mi, se, off;
    if (!digits(&s, end, 4, &y) || !literal(&s, end, '-') || !digits(&s, end, 2, &mo) || !literal(&s, end, '-') ||
        !digits(&s, end, 2, &d) || !literal(&s, end, 'T') || !digits(&s, end, 2, &h) || !literal(&s, end, ':') ||
        !digits(&s, end, 2, &mi) || !literal(&s, end, ':') || !digits(&s, end, 2, &se))
        return false;
    *nsec = 0;
    if (literal(&s, end, '.')) {
        int32_t unit = 100000000;
        if (s >= end || !isdigit((unsigned char)*s))
            return false;
        for (; s < end && isdigit((unsigned char)*s); s++, unit /= 10)
            *nsec += unit * (*s - '0');
    }
    if (!parse_offset(&s, end, &off) || s != end || y < 1 || mo < 1 || mo > 12 || d < 1 || h > 23 || mi > 59 || se > 59)
        return false;
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    if (d > month_days[mo - 1] + (mo == 2 && leap))
        return false;
    *sec = days_from_civil(y, (unsigned)mo, (unsigned)d) * DAY + h * 3600 + mi * 60 + se - off;
    return *sec >= MIN_SEC && *sec <= MAX_SEC;
}

/* ".123" without trailing zeros, nothing for 0. */
static void add_fraction(struct buf *out, int32_t nsec)
{
    if (!nsec)
        return;
    char text[16];
    int n = snprintf(text, sizeof text, ".%09d", (int)nsec);
    while (text[n - 1] == '0')
        n--;
    buf_add(out, text, (size_t)n);
}

void cel_time_text(int64_t sec, int32_t nsec, struct buf *out)
{
    struct civil c = civil_of(sec);
    buf_addf(out, "%04d-%02u-%02uT%02d:%02d:%02d", c.year, c.month, c.day, c.hour, c.min, c.sec);
    add_fraction(out, nsec);
    buf_addc(out, 'Z');
}

void cel_duration_text(int64_t ns, struct buf *out)
{
    uint64_t abs = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    buf_addf(out, "%s%llu", ns < 0 ? "-" : "", (unsigned long long)(abs / NS_PER_S));
    add_fraction(out, (int32_t)(abs % NS_PER_S));
    buf_addc(out, 's');
}

/* ---- functions ------------------------------------------------------------------------------------------------ */

static val fn_timestamp(struct cel_call *c)
{
    val x = c->args[0];
    int64_t sec;
    int32_t nsec;
    if (x->kind == CEL_TIMESTAMP)
        return x;
    if (x->kind == CEL_INT)
        return cel_mk_time(c->run, x->i, 0);
    if (!cel_time_parse(x->s, x->n, &sec, &nsec))
        return cel_error(c->run, "timestamp '%.*s' is not RFC 3339 within the years 1 to 9999", (int)(x->n > 60 ? 60 : x->n),
                         x->s);
    return cel_mk_time(c->run, sec, nsec);
}

static val fn_duration(struct cel_call *c)
{
    val x = c->args[0];
    int64_t ns;
    char text[128];
    if (x->kind == CEL_DURATION)
        return x;
    if (x->kind == CEL_INT)
        return __builtin_mul_overflow(x->i, NS_PER_S, &ns) ? cel_error(c->run, "duration overflow") : cel_mk_duration(c->run, ns);
    bool ok = x->n > 0 && x->n < sizeof text && !memchr(x->s, 0, x->n);
    if (ok) {
        memcpy(text, x->s, x->n);
        text[x->n] = 0;
        ok = duration_parse(text, &ns);
    }
    return ok ? cel_mk_duration(c->run, ns)
              : cel_error(c->run, "'%.*s' is no duration (as 1h30m)", (int)(x->n > 60 ? 60 : x->n), x->s);
}

/* The time zone argument: absent, "UTC" or a fixed offset. */
static bool zone(struct cel_call *c, int *out)
{
    *out = 0;
    if (c->n == 1)
        return true;
    if (!cel_arg_is(c, 1, CEL_STRING)) {
        cel_no_overload(c);
        return false;
    }
    val z = c->args[1];
    const char *s = z->s, *end = z->s + z->n;
    BUF(b);
    if (z->n == 0 || (z->n == 3 && memcmp(s, "UTC", 3) == 0))
        return true;
    if (isdigit((unsigned char)*s)) {
        buf_addc(&b, '+');
        buf_add(&b, s, z->n);
        s = b.data;
        end = s + b.len;
    }
    if (*s != 'Z' && parse_offset(&s, end, out) && s == end)
        return true;
    cel_error(c->run, "time zone '%.*s': only UTC and offsets like +02:00 are known here", (int)(z->n > 60 ? 60 : z->n), z->s);
    return false;
}

static val get_field(struct cel_call *c)
{
    static const char *const names[] = {"getFullYear",  "getMonth", "getDate",    "getDayOfMonth", "getDayOfWeek",
                                        "getDayOfYear", "getHours", "getMinutes", "getSeconds"};
    int off;
    if (!zone(c, &off))
        return NULL;
    struct civil v = civil_of(c->args[0]->sec + off);
    const int64_t fields[] = {v.year, v.month - 1, v.day, v.day - 1, v.wday, v.yday, v.hour, v.min, v.sec};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(names[i], c->node->name))
            return cel_mk_int(c->run, fields[i]);
    return cel_mk_int(c->run, c->args[0]->nsec / 1000000);
}

/* Of a duration: the whole of it in that unit. */
static val get_whole(struct cel_call *c)
{
    const char *name = c->node->name;
    int64_t unit = str_eq(name, "getHours")     ? 3600 * NS_PER_S
                   : str_eq(name, "getMinutes") ? 60 * NS_PER_S
                   : str_eq(name, "getSeconds") ? NS_PER_S
                                                : 1000000;
    return cel_mk_int(c->run, c->args[0]->i / unit);
}

#define TS KIND(CEL_TIMESTAMP)
const struct cel_fn cel_lib_time[] = {
    {"timestamp", CEL_GLOBAL, 1, 1, KIND(CEL_STRING) | KIND(CEL_INT) | TS, fn_timestamp},
    {"duration", CEL_GLOBAL, 1, 1, KIND(CEL_STRING) | KIND(CEL_INT) | KIND(CEL_DURATION), fn_duration},
    {"getFullYear", CEL_MEMBER, 1, 2, TS, get_field},
    {"getMonth", CEL_MEMBER, 1, 2, TS, get_field},
    {"getDate", CEL_MEMBER, 1, 2, TS, get_field},
    {"getDayOfMonth", CEL_MEMBER, 1, 2, TS, get_field},
    {"getDayOfWeek", CEL_MEMBER, 1, 2, TS, get_field},
    {"getDayOfYear", CEL_MEMBER, 1, 2, TS, get_field},
    {"getHours", CEL_MEMBER, 1, 2, TS, get_field},
    {"getMinutes", CEL_MEMBER, 1, 2, TS, get_field},
    {"getSeconds", CEL_MEMBER, 1, 2, TS, get_field},
    {"getMilliseconds", CEL_MEMBER, 1, 2, TS, get_field},
    {"getHours", CEL_MEMBER, 1, 1, KIND(CEL_DURATION), get_whole},
    {"getMinutes", CEL_MEMBER, 1, 1, KIND(CEL_DURATION), get_whole},
    {"getSeconds", CEL_MEMBER, 1, 1, KIND(CEL_DURATION), get_whole},
    {"getMilliseconds", CEL_MEMBER, 1, 1, KIND(CEL_DURATION), get_whole},
    {0},
};
