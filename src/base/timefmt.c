/* timefmt.c - see timefmt.h. Calendar arithmetic after the civil-day algorithms by Howard Hinnant (public domain paper). */
#include "base/timefmt.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/ctx.h"

int64_t days_from_civil(int y, unsigned m, unsigned d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

static void civil_from_days(int64_t z, int *y, unsigned *m, unsigned *d)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned doe = (unsigned)(z - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = (int)(yoe + era * 400) + (*m <= 2);
}

char *time_format(char *out, int64_t unix_ns, enum time_form form)
{
    int64_t s = unix_ns / NS_PER_S, ns = unix_ns % NS_PER_S;
    if (ns < 0) {
        ns += NS_PER_S;
        s--;
    }
    int64_t day = s / 86400, sod = s % 86400;
    if (sod < 0) {
        sod += 86400;
        day--;
    }
    int y;
    unsigned m, d;
    civil_from_days(day, &y, &m, &d);
    int n = snprintf(out, TIME_TEXT_MAX, "%04d-%02u-%02uT%02d:%02d:%02d", y, m, d, (int)(sod / 3600), (int)(sod / 60 % 60),
                     (int)(sod % 60));
    char *end = out + n;
    size_t left = TIME_TEXT_MAX - (size_t)n;
    if (form == TIME_MICROS)
        end += snprintf(end, left, ".%06d", (int)(ns / 1000));
    else if (form == TIME_MILLIS_TRIMMED && ns / NS_PER_MS)
        end += snprintf(end, left, ".%03d", (int)(ns / NS_PER_MS));
    else if (form == TIME_NANOS_TRIMMED && ns) {
        end += snprintf(end, left, ".%09d", (int)ns);
        while (end[-1] == '0')
            end--;
    }
    *end++ = 'Z';
    *end = '\0';
    return out;
}

static bool digits(const char **s, int n, int *out)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (!isdigit((unsigned char)**s))
            return false;
        v = v * 10 + (*(*s)++ - '0');
    }
    *out = v;
    return true;
}

static bool expect(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

bool time_parse(const char *s, int64_t *unix_ns)
{
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, mo, d, h, mi, sec, oh = 0, om = 0, sign = 0;
    int64_t frac = 0;
    if (!digits(&s, 4, &y) || !expect(&s, '-') || !digits(&s, 2, &mo) || !expect(&s, '-') || !digits(&s, 2, &d) ||
        !expect(&s, 'T') || !digits(&s, 2, &h) || !expect(&s, ':') || !digits(&s, 2, &mi) || !expect(&s, ':') ||
        !digits(&s, 2, &sec))
        return false;
    if (expect(&s, '.')) {
        int64_t unit = NS_PER_S / 10;
        if (!isdigit((unsigned char)*s))
            return false;
        for (; isdigit((unsigned char)*s); s++, unit /= 10) {
            if (!unit)
                return false;
            frac += (*s - '0') * unit;
        }
    }
    if (*s == '+' || *s == '-') {
        sign = *s++ == '+' ? 1 : -1;
        if (!digits(&s, 2, &oh) || !expect(&s, ':') || !digits(&s, 2, &om) || oh > 23 || om > 59)
            return false;
    } else if (!expect(&s, 'Z')) {
        return false;
    }
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    if (*s || mo < 1 || mo > 12 || d < 1 || d > month_days[mo - 1] + (mo == 2 && leap) || h > 23 || mi > 59 || sec > 59)
        return false;
    int64_t t = days_from_civil(y, (unsigned)mo, (unsigned)d) * 86400 + h * 3600 + mi * 60 + sec - sign * (oh * 3600 + om * 60);
    return !__builtin_mul_overflow(t, NS_PER_S, unix_ns) && !__builtin_add_overflow(*unix_ns, frac, unix_ns);
}

static const struct {
    const char *name;
    int64_t ns;
} units[] = {{"ns", 1},         {"us", 1000},    {"\xc2\xb5s", 1000},  {"\xce\xbcs", 1000},
             {"ms", NS_PER_MS}, {"s", NS_PER_S}, {"m", 60 * NS_PER_S}, {"h", 3600 * NS_PER_S}};

/* One "<digits>[.<digits>]<unit>". */
static bool duration_part(const char **s, int64_t *ns)
{
    int64_t whole = 0, frac = 0, scale = 1;
    bool any = false;
    for (; isdigit((unsigned char)**s); (*s)++, any = true)
        if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, **s - '0', &whole))
            return false;
    if (**s == '.')
        for ((*s)++; isdigit((unsigned char)**s); (*s)++, any = true)
            if (scale < NS_PER_S * 1000) {
                frac = frac * 10 + (**s - '0');
                scale *= 10;
            }
    if (!any)
        return false;
    size_t len = strcspn(*s, "0123456789.");
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strlen(units[i].name) != len || strncmp(units[i].name, *s, len) != 0)
            continue;
        *s += len;
        if (__builtin_mul_overflow(whole, units[i].ns, &whole))
            return false;
        int64_t part = (int64_t)((double)frac * ((double)units[i].ns / (double)scale));
        return !__builtin_add_overflow(whole, part, ns);
    }
    return false;
}

bool duration_parse(const char *s, int64_t *ns)
{
    bool neg = *s == '-';
    int64_t total = 0;
    if (*s == '-' || *s == '+')
        s++;
    if (strcmp(s, "0") == 0) {
        *ns = 0;
        return true;
    }
    if (!*s)
        return false;
    while (*s) {
        int64_t part;
        if (!duration_part(&s, &part) || __builtin_add_overflow(total, part, &total))
            return false;
    }
    *ns = neg ? -total : total;
    return true;
}

static char *fraction(char *out, size_t size, int64_t whole, int64_t frac, int digits_, const char *unit)
{
    int n = snprintf(out, size, "%lld", (long long)whole);
    if (frac) {
        n += snprintf(out + n, size - (size_t)n, ".%0*lld", digits_, (long long)frac);
        while (out[n - 1] == '0')
            n--;
    }
    snprintf(out + n, size - (size_t)n, "%s", unit);
    return out;
}

char *duration_format(char *out, int64_t ns)
{
    if (ns == 0)
        return strcpy(out, "0s");
    char *p = out;
    uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    if (ns < 0)
        *p++ = '-';
    size_t left = TIME_TEXT_MAX - 1;
    if (u < 1000)
        snprintf(p, left, "%lluns", (unsigned long long)u);
    else if (u < (uint64_t)NS_PER_MS)
        fraction(p, left, (int64_t)(u / 1000), (int64_t)(u % 1000), 3, "\xc2\xb5s");
    else if (u < (uint64_t)NS_PER_S)
        fraction(p, left, (int64_t)(u / (uint64_t)NS_PER_MS), (int64_t)(u % (uint64_t)NS_PER_MS), 6, "ms");
    else {
        uint64_t s = u / (uint64_t)NS_PER_S;
        if (s >= 3600)
            p += snprintf(p, left, "%lluh", (unsigned long long)(s / 3600));
        if (s >= 60)
            p += snprintf(p, left, "%llum", (unsigned long long)(s / 60 % 60));
        fraction(p, left - (size_t)(p - out), (int64_t)(s % 60), (int64_t)(u % (uint64_t)NS_PER_S), 9, "s");
    }
    return out;
}
