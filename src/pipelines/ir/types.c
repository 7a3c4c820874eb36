#include "pipelines/ir/types.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"

static const char *const names[] = {
    [PT_UNSET] = "PARAMETER_TYPE_ENUM_UNSPECIFIED",
    [PT_STRING] = "STRING",
    [PT_INTEGER] = "NUMBER_INTEGER",
    [PT_DOUBLE] = "NUMBER_DOUBLE",
    [PT_BOOLEAN] = "BOOLEAN",
    [PT_LIST] = "LIST",
    [PT_STRUCT] = "STRUCT",
    [PT_TASK_FINAL_STATUS] = "TASK_FINAL_STATUS",
    [PT_TASK_CONFIG] = "TASK_CONFIG",
};

const char *ptype_name(enum ptype t) { return names[(unsigned)t < ARRAY_LEN(names) ? t : PT_UNSET]; }

bool ptype_parse(const char *s, enum ptype *out)
{
    for (size_t i = 1; i < ARRAY_LEN(names); i++)
        if (str_eq(s, names[i])) {
            *out = (enum ptype)i;
            return true;
        }
    if (str_eq(s, "INT"))
        *out = PT_INTEGER;
    else if (str_eq(s, "DOUBLE"))
        *out = PT_DOUBLE;
    else
        return false;
    return true;
}

/* ---- numbers -------------------------------------------------------------------------------------------------- */

/* Writes "digits" with the decimal point after `point` of them ("5" at -2 is 0.005, at 3 is 500). */
static void put_decimal(struct buf *out, bool neg, const char *digits, int n, int point)
{
    if (neg)
        buf_addc(out, '-');
    if (point <= 0) {
        buf_adds(out, "0.");
        for (int i = point; i < 0; i++)
            buf_addc(out, '0');
        buf_add(out, digits, (size_t)n);
        return;
    }
    for (int i = 0; i < point || i < n; i++) {
        if (i == point)
            buf_addc(out, '.');
        buf_addc(out, i < n ? digits[i] : '0');
    }
}

/* Shortest decimal that reads back as the same double, without exponent: what Go's FormatFloat(v, 'f', -1, 64) gives. */
static void put_double(struct buf *out, double d)
{
    if (d == 0) {
        buf_adds(out, "0");
        return;
    }
    char t[40];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(t, sizeof t, "%.*e", precision - 1, d);
        if (strtod(t, NULL) == d)
            break;
    }
    char digits[24];
    int n = 0;
    const char *p = t;
    bool neg = *p == '-';
    for (; *p && *p != 'e'; p++)
        if (isdigit((unsigned char)*p))
            digits[n++] = *p;
    int point = atoi(p + 1) + 1;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    put_decimal(out, neg, digits, n, point);
}

static void number_as_text(jval *v, struct buf *out)
{
    int64_t i;
    double d;
    if (jv_i64(v, &i))
        buf_addf(out, "%lld", (long long)i);
    else if (jv_f64(v, &d) && isfinite(d))
        put_double(out, d);
    else
        buf_adds(out, jv_num_text(v));
}

jmval *plain_numbers(struct jm *m, jval *v)
{
    int64_t n;
    if (jv_is(v, J_NUMBER))
        return jv_i64(v, &n) ? jm_i64(m, n) : jm_val(m, v);
    if (!jv_is(v, J_ARRAY) && !jv_is(v, J_OBJECT))
        return jm_val(m, v);
    bool obj = jv_is(v, J_OBJECT);
    jmval *out = obj ? jm_obj(m) : jm_arr(m);
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) {
        if (obj)
            jm_add(m, out, key, plain_numbers(m, x));
        else
            jm_push(out, plain_numbers(m, x));
    }
    return out;
}

static void tree_as_text(jval *v, struct buf *out)
{
    JM_NEW(m);
    jmv_write(plain_numbers(m, v), JW_COMPACT | JW_SORTED, out);
}

void value_as_text(jval *v, struct buf *out)
{
    switch (jv_type(v)) {
    case J_NONE:
    case J_NULL:
        break;
    case J_STRING:
        buf_add(out, jv_str(v), jv_len(v));
        break;
    case J_NUMBER:
        number_as_text(v, out);
        break;
    case J_BOOL:
        buf_adds(out, jv_bool(v, false) ? "true" : "false");
        break;
    case J_ARRAY:
    case J_OBJECT:
        tree_as_text(v, out);
        break;
    }
}

/* ---- from an output file -------------------------------------------------------------------------------------- */

/* Names what was there, short enough for a message. */
static int expected(struct err *err, const char *what, const char *text, size_t len)
{
    return err_set(err, ERR_INVALID, "expected %s, got \"%.*s\"%s", what, (int)(len > 80 ? 80 : len), text,
                   len > 80 ? "..." : "");
}

static struct json *json_of_text(const char *text)
{
    BUF(b);
    json_quote(&b, text, strlen(text));
    return json_parse(b.data, b.len, NULL, NULL);
}

static struct json *string_value(const char *text, size_t len, struct err *err)
{
    if (!str_utf8_valid(text, len)) {
        err_set(err, ERR_INVALID, "the %zu bytes are not valid UTF-8 text; write binary data to an output artifact instead", len);
        return NULL;
    }
    JM_NEW(m);
    jm_set_root(m, jm_strn(m, text, len));
    return jm_freeze(m);
}

static struct json *number_value(enum ptype type, const char *t, size_t len, struct err *err)
{
    JM_NEW(m);
    int64_t i;
    double d;
    const char *digits = *t == '+' ? t + 1 : t; /* Go's ParseInt and ParseFloat take a plus sign */
    if (*t == '+' && !isdigit((unsigned char)t[1]) && t[1] != '.')
        digits = t;
    if (type == PT_INTEGER) {
        if (!str_to_i64(digits, &i)) {
            expected(err, "a whole number", t, len);
            return NULL;
        }
        jm_set_root(m, jm_i64(m, i));
    } else {
        if (!str_to_f64(digits, &d) || !isfinite(d)) {
            expected(err, "a finite number", t, len);
            return NULL;
        }
        jm_set_root(m, jm_f64(m, d));
    }
    return jm_freeze(m);
}

static struct json *bool_value(const char *t, size_t len, struct err *err)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"}, *const no[] = {"0",     "f",     "F",
                                                                                             "FALSE", "false", "False"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (str_eq(t, yes[i]))
            return json_parse_str("true", NULL);
        if (str_eq(t, no[i]))
            return json_parse_str("false", NULL);
    }
    expected(err, "true or false", t, len);
    return NULL;
}

static struct json *tree_value(enum ptype type, const char *text, size_t len, struct err *err)
{
    const char *what = type == PT_LIST ? "a JSON list" : "a JSON object";
    ERR(e);
    struct json_opts opts = {.allow_nan = true};
    struct json *d = json_parse(text, len, &opts, &e);
    if (!d) {
        expected(err, what, text, len);
        err_wrap(err, "%s", err_text(&e));
        return NULL;
    }
    if (!jv_is(json_root(d), type == PT_LIST ? J_ARRAY : J_OBJECT)) {
        json_unref(d);
        expected(err, what, text, len);
        return NULL;
    }
    return d;
}

struct json *value_from_text(enum ptype type, const char *text, size_t len, struct err *err)
{
    if (len > PARAM_VALUE_MAX) {
        err_set(err, ERR_INVALID, "the value has %zu bytes; at most %u are allowed, write larger data to an output artifact", len,
                PARAM_VALUE_MAX);
        return NULL;
    }
    if (type == PT_STRING || type == PT_UNSET)
        return string_value(text, len, err);
    if (type == PT_LIST || type == PT_STRUCT)
        return tree_value(type, text, len, err);
    const char *a = text, *z = text + len;
    while (a < z && isspace((unsigned char)*a))
        a++;
    while (z > a && isspace((unsigned char)z[-1]))
        z--;
    AUTOFREE char *t = xstrndup(a, (size_t)(z - a));
    size_t n = (size_t)(z - a);
    switch (type) {
    case PT_INTEGER:
    case PT_DOUBLE:
        return number_value(type, t, n, err);
    case PT_BOOLEAN:
        return bool_value(t, n, err);
    default:
        err_set(err, ERR_INVALID, "type %s cannot be an output", ptype_name(type));
        return NULL;
    }
}

/* ---- fitting -------------------------------------------------------------------------------------------------- */

bool value_is(enum ptype type, jval *v)
{
    switch (type) {
    case PT_UNSET:
        return jv_type(v) != J_NONE;
    case PT_STRING:
        return jv_is(v, J_STRING);
    case PT_INTEGER:
    case PT_DOUBLE:
        return jv_is(v, J_NUMBER);
    case PT_BOOLEAN:
        return jv_is(v, J_BOOL);
    case PT_LIST:
        return jv_is(v, J_ARRAY);
    case PT_STRUCT:
    case PT_TASK_FINAL_STATUS:
    case PT_TASK_CONFIG:
        return jv_is(v, J_OBJECT);
    }
    return false;
}

struct json *value_fit(enum ptype type, const char *key, jval *v, struct err *err)
{
    if (value_is(type, v))
        return json_from(v);
    if (type != PT_STRING) {
        err_set(err, ERR_INVALID, "input parameter \"%s\" type mismatch: expect %s, got %s", key, ptype_name(type),
                jtype_name(jv_type(v)));
        return NULL;
    }
    BUF(b);
    value_as_text(v, &b);
    return json_of_text(buf_str(&b));
}

int value_bounded(const char *side, const char *key, jval *v, struct err *err)
{
    size_t n = jv_len(v);
    if (!jv_is(v, J_STRING)) {
        BUF(b);
        value_as_text(v, &b);
        n = b.len;
    }
    if (n <= PARAM_VALUE_MAX)
        return 0;
    return err_set(err, ERR_INVALID, "%s parameter \"%s\" has %zu bytes; at most %u are allowed, pass larger data as artifacts",
                   side, key, n, PARAM_VALUE_MAX);
}

int value_in_literals(jval *literals, const char *key, jval *v, struct err *err)
{
    if (!literals || jv_len(literals) == 0)
        return 0;
    struct jiter it = jv_iter(literals);
    jval *x;
    while (jv_next(&it, NULL, &x))
        if (jv_equal(x, v))
            return 0;
    AUTOFREE char *got = jv_text(v, JW_COMPACT), *all = jv_text(literals, JW_COMPACT);
    return err_set(err, ERR_INVALID, "input parameter \"%s\" must be one of %s, got %.200s", key, all, got);
}
