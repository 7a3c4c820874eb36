/* Standard functions: size, type, conversions, and what strings have without extensions. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "value/cel_priv.h"

typedef const struct cel_value *val;

static val std_size(struct cel_call *c)
{
    val x = c->args[0];
    if (x->kind == CEL_STRING)
        return cel_charge_bytes(c->run, x->n) < 0 ? NULL : cel_mk_int(c->run, (int64_t)cel_utf8_len(x->s, x->n));
    return cel_mk_int(c->run, (int64_t)(x->kind == CEL_BYTES ? x->n : x->len));
}

static val std_type(struct cel_call *c) { return cel_mk_type(c->run, c->args[0]); }
static val std_dyn(struct cel_call *c) { return c->args[0]; }

/* ---- conversions ---------------------------------------------------------------------------------------------- */

static val bad_text(struct cel_call *c, const char *type)
{
    val x = c->args[0];
    return cel_error(c->run, "type conversion error: '%.*s' is no %s", (int)(x->n > 100 ? 100 : x->n), x->s, type);
}

static val range_error(struct cel_call *c)
{
    return cel_error(c->run, "range error converting %s with %s()", cel_kind_name(c->args[0]->kind), c->node->name);
}

/* The text of a string argument as a C string, or NULL when it is longer than any number or holds a NUL. */
static const char *number_text(val x, char out[400])
{
    if (x->n == 0 || x->n >= 400 || memchr(x->s, 0, x->n))
        return NULL;
    memcpy(out, x->s, x->n);
    out[x->n] = 0;
    return out;
}

static val std_int(struct cel_call *c)
{
    val x = c->args[0];
    char text[400];
    switch (x->kind) {
    case CEL_INT:
        return x;
    case CEL_UINT:
        return x->u > INT64_MAX ? range_error(c) : cel_mk_int(c->run, (int64_t)x->u);
    case CEL_DOUBLE:
        if (!(x->d > -9223372036854775809.0 && x->d < 9223372036854775808.0))
            return range_error(c);
        return cel_mk_int(c->run, (int64_t)x->d);
    case CEL_TIMESTAMP:
        return cel_mk_int(c->run, x->sec);
    default: {
        const char *s = number_text(x, text);
        char *end;
        errno = 0;
        if (!s || (!isdigit((unsigned char)s[0]) && !((s[0] == '-' || s[0] == '+') && isdigit((unsigned char)s[1]))))
            return bad_text(c, "int");
        long long v = strtoll(s, &end, 10);
        return errno || *end ? bad_text(c, "int") : cel_mk_int(c->run, v);
    }
    }
}

static val mk_uint(struct cel_call *c, uint64_t u)
{
    struct cel_value *v = cel_mk(c->run, CEL_UINT);
    v->u = u;
    return v;
}

static val std_uint(struct cel_call *c)
{
    val x = c->args[0];
    char text[400];
    switch (x->kind) {
    case CEL_UINT:
        return x;
    case CEL_INT:
        return x->i < 0 ? range_error(c) : mk_uint(c, (uint64_t)x->i);
    case CEL_DOUBLE:
        if (!(x->d >= 0 && x->d < 18446744073709551616.0))
            return range_error(c);
        return mk_uint(c, (uint64_t)x->d);
    default: {
        const char *s = number_text(x, text);
        char *end;
        errno = 0;
        if (!s || !isdigit((unsigned char)s[0]))
            return bad_text(c, "uint");
        unsigned long long v = strtoull(s, &end, 10);
        return errno || *end ? bad_text(c, "uint") : mk_uint(c, v);
    }
    }
}

static val std_double(struct cel_call *c)
{
    val x = c->args[0];
    char text[400];
    switch (x->kind) {
    case CEL_DOUBLE:
        return x;
    case CEL_INT:
        return cel_mk_double(c->run, (double)x->i);
    case CEL_UINT:
        return cel_mk_double(c->run, (double)x->u);
    default: {
        const char *s = number_text(x, text);
        char *end;
        if (!s || isspace((unsigned char)s[0]) || strpbrk(s, "xX"))
            return bad_text(c, "double");
        double d = strtod(s, &end);
        return *end ? bad_text(c, "double") : cel_mk_double(c->run, d);
    }
    }
}

static val std_string(struct cel_call *c)
{
    val x = c->args[0];
    BUF(b);
    switch (x->kind) {
    case CEL_STRING:
        return x;
    case CEL_BOOL:
        buf_adds(&b, x->b ? "true" : "false");
        break;
    case CEL_INT:
        buf_addf(&b, "%lld", (long long)x->i);
        break;
    case CEL_UINT:
        buf_addf(&b, "%llu", (unsigned long long)x->u);
        break;
    case CEL_DOUBLE:
        cel_double_text(x->d, &b);
        break;
    case CEL_TIMESTAMP:
        cel_time_text(x->sec, x->nsec, &b);
        break;
    case CEL_DURATION:
        cel_duration_text(x->i, &b);
        break;
    default:
        if (!str_utf8_valid(x->s, x->n))
            return cel_error(c->run, "invalid UTF-8 in bytes, cannot convert to string");
        return cel_mk_copy(c->run, CEL_STRING, x->s, x->n);
    }
    return cel_mk_copy(c->run, CEL_STRING, b.data, b.len);
}

static val std_bytes(struct cel_call *c)
{
    val x = c->args[0];
    return x->kind == CEL_BYTES ? x : cel_mk_copy(c->run, CEL_BYTES, x->s, x->n);
}

static val std_bool(struct cel_call *c)
{
    static const char *const yes[] = {"1", "t", "true", "TRUE", "True"}, *const no[] = {"0", "f", "false", "FALSE", "False"};
    val x = c->args[0];
    if (x->kind == CEL_BOOL)
        return x;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strlen(yes[i]) == x->n && memcmp(yes[i], x->s, x->n) == 0)
            return cel_mk_bool(true);
        if (strlen(no[i]) == x->n && memcmp(no[i], x->s, x->n) == 0)
            return cel_mk_bool(false);
    }
    return bad_text(c, "bool");
}

/* ---- strings -------------------------------------------------------------------------------------------------- */

static bool two_strings(struct cel_call *c)
{
    if (cel_arg_is(c, 0, CEL_STRING) && cel_arg_is(c, 1, CEL_STRING))
        return cel_charge_bytes(c->run, c->args[0]->n) == 0;
    cel_no_overload(c);
    return false;
}

static val std_contains(struct cel_call *c)
{
    if (!two_strings(c))
        return NULL;
    return cel_mk_bool(memmem(c->args[0]->s, c->args[0]->n, c->args[1]->s, c->args[1]->n) != NULL);
}

static val std_starts_with(struct cel_call *c)
{
    if (!two_strings(c))
        return NULL;
    val x = c->args[0], y = c->args[1];
    return cel_mk_bool(x->n >= y->n && memcmp(x->s, y->s, y->n) == 0);
}

static val std_ends_with(struct cel_call *c)
{
    if (!two_strings(c))
        return NULL;
    val x = c->args[0], y = c->args[1];
    return cel_mk_bool(x->n >= y->n && memcmp(x->s + x->n - y->n, y->s, y->n) == 0);
}

static val std_matches(struct cel_call *c)
{
    if (!two_strings(c))
        return NULL;
    struct regex *own;
    const struct regex *re = cel_regex_arg(c, 1, &own);
    if (!re)
        return NULL;
    size_t from, to;
    int hit = cel_regex_find(c, re, 0, &from, &to);
    regex_free(own);
    return hit < 0 ? NULL : cel_mk_bool(hit);
}

#define SIZED   (KIND(CEL_STRING) | KIND(CEL_BYTES) | KIND(CEL_LIST) | KIND(CEL_MAP))
#define NUMBERS (KIND(CEL_INT) | KIND(CEL_UINT) | KIND(CEL_DOUBLE))
const struct cel_fn cel_lib_std[] = {
    {"size", CEL_BOTH, 1, 1, SIZED, std_size},
    {"type", CEL_GLOBAL, 1, 1, ANY_KIND, std_type},
    {"dyn", CEL_GLOBAL, 1, 1, ANY_KIND, std_dyn},
    {"int", CEL_GLOBAL, 1, 1, NUMBERS | KIND(CEL_STRING) | KIND(CEL_TIMESTAMP), std_int},
    {"uint", CEL_GLOBAL, 1, 1, NUMBERS | KIND(CEL_STRING), std_uint},
    {"double", CEL_GLOBAL, 1, 1, NUMBERS | KIND(CEL_STRING), std_double},
    {"string", CEL_GLOBAL, 1, 1,
     NUMBERS | KIND(CEL_STRING) | KIND(CEL_BYTES) | KIND(CEL_BOOL) | KIND(CEL_TIMESTAMP) | KIND(CEL_DURATION), std_string},
    {"bytes", CEL_GLOBAL, 1, 1, KIND(CEL_STRING) | KIND(CEL_BYTES), std_bytes},
    {"bool", CEL_GLOBAL, 1, 1, KIND(CEL_STRING) | KIND(CEL_BOOL), std_bool},
    {"contains", CEL_MEMBER, 2, 2, KIND(CEL_STRING), std_contains},
    {"startsWith", CEL_MEMBER, 2, 2, KIND(CEL_STRING), std_starts_with},
    {"endsWith", CEL_MEMBER, 2, 2, KIND(CEL_STRING), std_ends_with},
    {"matches", CEL_BOTH, 2, 2, KIND(CEL_STRING), std_matches},
    {0},
};

/* ---- pipelines ------------------------------------------------------------------------------------------------ */

/* A copy of a JSON value in the arena: the document that it comes from does not outlive the call. */
static val deep_copy(struct cel_run *r, jval *j)
{
    if (cel_charge(r, 1) < 0)
        return NULL;
    val v = cel_from_json(r, j);
    if (v->kind == CEL_STRING)
        return cel_mk_copy(r, CEL_STRING, v->s, v->n);
    if (v->kind != CEL_LIST && v->kind != CEL_MAP)
        return v;
    struct cel_value *out = cel_mk(r, v->kind);
    out->len = v->len;
    struct cel_pair *pairs = v->kind == CEL_MAP ? arena_alloc(r->a, (v->len + 1) * sizeof *pairs) : NULL;
    const struct cel_value **items = pairs ? NULL : arena_alloc(r->a, (v->len + 1) * sizeof(val));
    struct jiter it = jv_iter(j);
    const char *k;
    jval *x;
    for (size_t i = 0; i < v->len && jv_next(&it, &k, &x); i++) {
        val copy = deep_copy(r, x);
        if (!copy)
            return NULL;
        if (!pairs) {
            items[i] = copy;
            continue;
        }
        pairs[i] = (struct cel_pair){cel_mk_copy(r, CEL_STRING, k, strlen(k)), copy};
        if (!pairs[i].key)
            return NULL;
    }
    if (pairs)
        out->pairs = pairs;
    else
        out->items = items;
    return out;
}

static val parse_json(struct cel_call *c)
{
    val x = c->args[0];
    if (cel_charge_bytes(c->run, x->n) < 0)
        return NULL;
    ERR(e);
    JSON_REF(d) = json_parse(x->s, x->n, NULL, &e);
    if (!d)
        return cel_error(c->run, "parseJson: %s", err_text(&e));
    return deep_copy(c->run, json_root(d));
}

const struct cel_fn cel_lib_pipelines[] = {
    {"parseJson", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), parse_json},
    {0},
};
