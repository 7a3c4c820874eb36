#include "pipelines/store/macros.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/ctx.h"
#include "base/str.h"

enum { FORMAT_MAX = 200 }; /* of a layout; what is longer is no macro */

struct moment {
    struct tm tm;
    int64_t seconds, nanos;
};

static struct moment moment_of(int64_t ns)
{
    struct moment m = {.seconds = ns / NS_PER_S, .nanos = ns % NS_PER_S};
    if (m.nanos < 0) {
        m.nanos += NS_PER_S;
        m.seconds--;
    }
    time_t t = (time_t)m.seconds;
    gmtime_r(&t, &m.tm);
    return m;
}

/* ---- Go layouts --------------------------------------------------------------------------------------------------------- */

/* Pieces of Go's reference time and what strftime calls them, the longer ones first where one starts another. "" stands for what
 * has no such name: see put_piece. */
static const struct piece {
    const char *go, *c;
} PIECES[] = {
    {"January", "%B"}, {"Jan", "%b"},   {"Monday", "%A"}, {"Mon", "%a"}, {"MST", "UTC"},       {"2006", "%Y"},
    {"002", "%j"},     {"01", "%m"},    {"02", "%d"},     {"03", "%I"},  {"04", "%M"},         {"05", "%S"},
    {"06", "%y"},      {"15", "%H"},    {"PM", "%p"},     {"pm", ""},    {"-07:00", "+00:00"}, {"-0700", "+0000"},
    {"-07", "+00"},    {"Z07:00", "Z"}, {"Z0700", "Z"},   {"Z07", "Z"},  {"_2", "%e"},         {"1", ""},
    {"2", ""},         {"3", ""},       {"4", ""},        {"5", ""},
};

static void put_piece(const struct piece *p, const struct moment *m, struct buf *out)
{
    char text[64];
    if (*p->c) {
        buf_add(out, text, strftime(text, sizeof text, p->c, &m->tm));
        return;
    }
    int hour12 = m->tm.tm_hour % 12;
    switch (p->go[0]) {
    case '1':
        buf_addf(out, "%d", m->tm.tm_mon + 1);
        break;
    case '2':
        buf_addf(out, "%d", m->tm.tm_mday);
        break;
    case '3':
        buf_addf(out, "%d", hour12 ? hour12 : 12);
        break;
    case '4':
        buf_addf(out, "%d", m->tm.tm_min);
        break;
    case '5':
        buf_addf(out, "%d", m->tm.tm_sec);
        break;
    default:
        buf_adds(out, m->tm.tm_hour < 12 ? "am" : "pm");
    }
}

/* ".000" or ".999" (without trailing zeros), after a point or a comma, up to nine digits, not followed by a digit. Its length, or
 * 0. */
static size_t put_fraction(const char *layout, const struct moment *m, struct buf *out)
{
    if (*layout != '.' && *layout != ',')
        return 0;
    char digit = layout[1];
    size_t n = digit == '0' || digit == '9' ? strspn(layout + 1, digit == '0' ? "0" : "9") : 0;
    if (n == 0 || n > 9 || isdigit((unsigned char)layout[n + 1]))
        return 0;
    char text[16];
    snprintf(text, sizeof text, "%09lld", (long long)m->nanos);
    text[n] = '\0';
    for (size_t i = n; digit == '9' && i > 0 && text[i - 1] == '0'; i--)
        text[i - 1] = '\0';
    if (*text) {
        buf_addc(out, *layout);
        buf_adds(out, text);
    }
    return n + 1;
}

static void put_layout(const char *layout, const struct moment *m, struct buf *out)
{
    while (*layout) {
        size_t n = put_fraction(layout, m, out);
        for (size_t i = 0; n == 0 && i < ARRAY_LEN(PIECES); i++) {
            if (str_starts(layout, PIECES[i].go)) {
                put_piece(&PIECES[i], m, out);
                n = strlen(PIECES[i].go);
            }
        }
        if (n == 0) {
            buf_addc(out, *layout);
            n = 1;
        }
        layout += n;
    }
}

/* ---- strftime ----------------------------------------------------------------------------------------------------------- */

/* Directive by directive: %s of strftime(3) would be in local time, and one that gives nothing is no error. */
static void put_strftime(const char *format, const struct moment *m, struct buf *out)
{
    for (; *format; format++) {
        if (*format != '%' || !format[1]) {
            buf_addc(out, *format);
            continue;
        }
        format++;
        char one[] = {'%', *format, '\0'}, text[128];
        if (*format == 's')
            buf_addf(out, "%lld", (long long)m->seconds);
        else if (strchr("aAbBcCdDeFgGhHIjmMnprRStTuUVwWxXyYzZ%", *format))
            buf_add(out, text, strftime(text, sizeof text, one, &m->tm));
        else
            buf_adds(out, one);
    }
}

/* ---- macros ------------------------------------------------------------------------------------------------------------- */

static const struct macro_time {
    const char *name, *method; /* in [[...]] and in {{$....}} */
} TIMES[] = {{"ScheduledTime", "$.scheduledTime.strftime('"}, {"CurrentTime", "$.currentTime.strftime('"}};

/* What stands between [[ and ]]. False: no macro of ours. */
static bool put_square(const char *name, const struct macro_values *v, struct buf *out)
{
    if (strcmp(name, "RunUUID") == 0) {
        buf_adds(out, v->run_id);
        return true;
    }
    if (strcmp(name, "Index") == 0 && v->index >= 0) {
        buf_addf(out, "%lld", (long long)v->index);
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(TIMES); i++) {
        size_t n = strlen(TIMES[i].name);
        if (strncmp(name, TIMES[i].name, n) != 0 || (name[n] && name[n] != '.'))
            continue;
        const struct moment m = moment_of(i == 0 ? v->scheduled_ns : v->current_ns);
        put_layout(name[n] ? name + n + 1 : "20060102150405", &m, out);
        return true;
    }
    return false;
}

/* What stands between {{ and }}. */
static bool put_curly(const char *text, const struct macro_values *v, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(TIMES); i++) {
        size_t n = strlen(TIMES[i].method), len = strlen(text);
        if (!str_starts(text, TIMES[i].method) || len < n + 2 || strcmp(text + len - 2, "')") != 0)
            continue;
        const struct moment m = moment_of(i == 0 ? v->scheduled_ns : v->current_ns);
        AUTOFREE char *format = xstrndup(text + n, len - n - 2);
        put_strftime(format, &m, out);
        return true;
    }
    return false;
}

/* Replaces the macro that text starts with. Its length, or 0. */
static size_t put_macro(const char *text, const struct macro_values *v, struct buf *out)
{
    bool square = str_starts(text, "[["), curly = str_starts(text, "{{$.");
    const char *end = square ? strstr(text, "]]") : curly ? strstr(text, "}}") : NULL;
    if (!end || end - text > FORMAT_MAX)
        return 0;
    AUTOFREE char *inside = xstrndup(text + 2, (size_t)(end - text) - 2);
    return (square ? put_square : put_curly)(inside, v, out) ? (size_t)(end - text) + 2 : 0;
}

char *macros_text(const char *text, const struct macro_values *v)
{
    BUF(out);
    while (*text) {
        size_t n = put_macro(text, v, &out);
        if (n == 0)
            buf_addc(&out, *text);
        text += n ? n : 1;
    }
    return buf_steal(&out, NULL);
}

struct json *macros_parameters(jval *parameters, const struct macro_values *v)
{
    JM(m, parameters);
    struct jiter it = jv_iter(parameters);
    const char *key;
    jval *value;
    while (jv_next(&it, &key, &value)) {
        const char *s = jv_str(value);
        if (!s || strlen(s) != jv_len(value) || (!strstr(s, "[[") && !strstr(s, "{{$.")))
            continue;
        AUTOFREE char *text = macros_text(s, v);
        jm_put(m, jm_root(m), key, jm_str(m, text));
    }
    return jm_freeze(m);
}
