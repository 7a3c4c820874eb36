/* The resolution of YAML scalars: the rules of go-yaml v2 (which Kubernetes reads with), less y and n, which PyYAML keeps
 * as strings, and less sexagesimal numbers, which only PyYAML knows. */
#include "value/yaml_scalar.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define TAG_PREFIX "tag:yaml.org,2002:"

static const struct word {
    const char *text;
    int kind;
    const char *json;
} words[] = {
    {"", YS_NULL, "null"},
    {"~", YS_NULL, "null"},
    {"null", YS_NULL, "null"},
    {"Null", YS_NULL, "null"},
    {"NULL", YS_NULL, "null"},
    {"true", YS_BOOL, "true"},
    {"True", YS_BOOL, "true"},
    {"TRUE", YS_BOOL, "true"},
    {"yes", YS_BOOL, "true"},
    {"Yes", YS_BOOL, "true"},
    {"YES", YS_BOOL, "true"},
    {"on", YS_BOOL, "true"},
    {"On", YS_BOOL, "true"},
    {"ON", YS_BOOL, "true"},
    {"false", YS_BOOL, "false"},
    {"False", YS_BOOL, "false"},
    {"FALSE", YS_BOOL, "false"},
    {"no", YS_BOOL, "false"},
    {"No", YS_BOOL, "false"},
    {"NO", YS_BOOL, "false"},
    {"off", YS_BOOL, "false"},
    {"Off", YS_BOOL, "false"},
    {"OFF", YS_BOOL, "false"},
    {".nan", YS_NONFINITE, "NaN"},
    {".NaN", YS_NONFINITE, "NaN"},
    {".NAN", YS_NONFINITE, "NaN"},
    {".inf", YS_NONFINITE, "Infinity"},
    {".Inf", YS_NONFINITE, "Infinity"},
    {".INF", YS_NONFINITE, "Infinity"},
    {"+.inf", YS_NONFINITE, "Infinity"},
    {"+.Inf", YS_NONFINITE, "Infinity"},
    {"+.INF", YS_NONFINITE, "Infinity"},
    {"-.inf", YS_NONFINITE, "-Infinity"},
    {"-.Inf", YS_NONFINITE, "-Infinity"},
    {"-.INF", YS_NONFINITE, "-Infinity"},
};

static const struct word *word_of(const char *s, size_t n)
{
    if (n > 6)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strlen(words[i].text) == n && memcmp(words[i].text, s, n) == 0)
            return &words[i];
    return NULL;
}

/* The base of an integer's digits by its prefix, which is skipped. */
static int int_base(const char **s)
{
    if ((*s)[0] != '0' || !(*s)[1])
        return 10;
    switch ((*s)[1]) {
    case 'x':
    case 'X':
        *s += 2;
        return 16;
    case 'b':
    case 'B':
        *s += 2;
        return 2;
    case 'o':
    case 'O':
        *s += 2;
        return 8;
    default:
        *s += 1;
        return 8;
    }
}

/* Integers in all of YAML 1.1's bases, as decimal text. False when s (without underscores) is none, or above 64 bits. */
static bool to_int(const char *s, struct buf *out)
{
    bool neg = *s == '-';
    if (*s == '-' || *s == '+')
        s++;
    if (!isdigit((unsigned char)*s))
        return false;
    int base = int_base(&s);
    if (!isalnum((unsigned char)*s))
        return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, base);
    if (errno || *end || (neg && v > (1ULL << 63)))
        return false;
    buf_addf(out, "%s%llu", neg && v ? "-" : "", v);
    return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?, written as a JSON number that keeps the digits. */
static bool to_float(const char *s, struct buf *out)
{
    if (*s == '-')
        buf_addc(out, '-');
    if (*s == '-' || *s == '+')
        s++;
    size_t whole = strspn(s, "0123456789");
    const char *w = s;
    s += whole;
    size_t frac = 0;
    const char *f = NULL;
    if (*s == '.') {
        f = ++s;
        frac = strspn(s, "0123456789");
        s += frac;
    }
    if (whole + frac == 0)
        return false;
    while (whole > 1 && *w == '0') {
        w++;
        whole--;
    }
    buf_add(out, whole ? w : "0", whole ? whole : 1);
    if (f) {
        buf_addc(out, '.');
        buf_add(out, frac ? f : "0", frac ? frac : 1);
    }
    if (*s == 'e' || *s == 'E') {
        const char *e = s++;
        if (*s == '-' || *s == '+')
            s++;
        size_t digits = strspn(s, "0123456789");
        if (!digits)
            return false;
        s += digits;
        buf_add(out, e, (size_t)(s - e));
    }
    return *s == 0;
}

/* A number's JSON text in out, or false. */
static bool to_number(const char *s, size_t n, struct buf *out)
{
    if (!n || n > 4096 || memchr(s, 0, n) || (!isdigit((unsigned char)s[0]) && !strchr("+-.", s[0])))
        return false;
    if (s[0] == '.' && memchr(s, '_', n)) /* underscores are for what begins with a digit or a sign */
        return false;
    BUF(plain);
    for (size_t i = 0; i < n; i++)
        if (s[i] != '_')
            buf_addc(&plain, s[i]);
    buf_reset(out);
    if (to_int(buf_str(&plain), out))
        return true;
    buf_reset(out);
    return to_float(buf_str(&plain), out);
}

/* What a plain scalar is when no tag says so. */
static void resolve_plain(const char *s, size_t n, struct yaml_scalar *out, struct buf *scratch)
{
    const struct word *w = word_of(s, n);
    if (w) {
        *out = (struct yaml_scalar){.kind = w->kind, .text = w->json, .len = strlen(w->json)};
        return;
    }
    if (to_number(s, n, scratch)) {
        *out = (struct yaml_scalar){.kind = YS_NUMBER, .text = scratch->data, .len = scratch->len};
        return;
    }
    *out = (struct yaml_scalar){.kind = YS_STRING, .text = s, .len = n};
}

static int resolve_binary(const char *s, size_t n, struct yaml_scalar *out, struct buf *scratch, struct err *err)
{
    BUF(packed);
    for (size_t i = 0; i < n; i++)
        if (!isspace((unsigned char)s[i]))
            buf_addc(&packed, s[i]);
    unsigned char *bytes;
    size_t len;
    if (base64_decode(buf_str(&packed), packed.len, &bytes, &len) < 0)
        return err_set(err, ERR_BAD_REQUEST, "!!binary value contains invalid base64 data");
    buf_reset(scratch);
    buf_add(scratch, bytes, len);
    free(bytes);
    if (!str_utf8_valid(buf_str(scratch), len))
        return err_set(err, ERR_BAD_REQUEST, "!!binary value is no UTF-8 text, which JSON cannot hold");
    *out = (struct yaml_scalar){.kind = YS_STRING, .text = buf_str(scratch), .len = len};
    return 0;
}

/* A tag that asks for a type: the text must have it. */
static int resolve_tagged(const char *s, size_t n, const char *type, struct yaml_scalar *out, struct buf *scratch,
                          struct err *err)
{
    static const struct {
        const char *name;
        int kind;
    } types[] = {{"null", YS_NULL}, {"bool", YS_BOOL}, {"int", YS_NUMBER}, {"float", YS_NUMBER}};
    if (str_eq(type, "binary"))
        return resolve_binary(s, n, out, scratch, err);
    resolve_plain(s, n, out, scratch);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!str_eq(type, types[i].name))
            continue;
        bool ok = (int)out->kind == types[i].kind || (str_eq(type, "float") && out->kind == YS_NONFINITE);
        if (ok && str_eq(type, "int"))
            ok = !memchr(out->text, '.', out->len) && !memchr(out->text, 'e', out->len) && !memchr(out->text, 'E', out->len);
        return ok ? 0 : err_set(err, ERR_BAD_REQUEST, "cannot read '%.*s' as !!%s", (int)(n > 60 ? 60 : n), s, type);
    }
    *out = (struct yaml_scalar){.kind = YS_STRING, .text = s, .len = n};
    return 0;
}

int yaml_scalar_resolve(const char *s, size_t n, const char *tag, bool plain, struct yaml_scalar *out, struct buf *scratch,
                        struct err *err)
{
    if (tag && str_starts(tag, TAG_PREFIX))
        return resolve_tagged(s, n, tag + strlen(TAG_PREFIX), out, scratch, err);
    if (tag || !plain)
        *out = (struct yaml_scalar){.kind = YS_STRING, .text = s, .len = n};
    else
        resolve_plain(s, n, out, scratch);
    return 0;
}

bool yaml_plain_is_string(const char *s, size_t n)
{
    BUF(scratch);
    struct yaml_scalar r;
    resolve_plain(s, n, &r, &scratch);
    if (r.kind != YS_STRING)
        return false;
    if (n == 1 && strchr("yYnN=", s[0]))
        return false;
    /* Sexagesimals and timestamps: whatever begins like a number and has only their characters. */
    if (!isdigit((unsigned char)s[0]) && !strchr("+-.", s[0]))
        return true;
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)s[i]) && !strchr("+-.:_ TtZzeEoOxXbB", s[i]))
            return true;
    return false;
}
