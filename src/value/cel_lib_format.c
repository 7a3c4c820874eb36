/* "...%s...".format([args]) of the strings extension. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "value/cel_priv.h"

typedef const struct cel_value *val;

static bool add_any(struct cel_run *r, val x, struct buf *out);

static bool add_list(struct cel_run *r, val x, struct buf *out)
{
    const struct cel_value *const *items = cel_items(r, x);
    if (!items)
        return false;
    buf_addc(out, '[');
    for (size_t i = 0; i < x->len; i++) {
        if (i)
            buf_adds(out, ", ");
        if (!add_any(r, items[i], out))
            return false;
    }
    buf_addc(out, ']');
    return true;
}

/* Keys in the order of their text, so that the result does not depend on how the map came about. */
static bool add_map(struct cel_run *r, val x, struct buf *out)
{
    const struct cel_pair *pairs = cel_pairs(r, x);
    if (!pairs)
        return false;
    STRLIST(members);
    for (size_t i = 0; i < x->len; i++) {
        BUF(one);
        if (!add_any(r, pairs[i].key, &one))
            return false;
        buf_adds(&one, ": ");
        if (!add_any(r, pairs[i].val, &one))
            return false;
        strlist_take(&members, buf_steal(&one, NULL));
    }
    strlist_sort(&members);
    AUTOFREE char *text = strlist_join(&members, ", ");
    buf_addf(out, "{%s}", text);
    return true;
}

/* %s. Recursion is bounded by the depth of documents and of the expression. */
static bool add_any(struct cel_run *r, val x, struct buf *out)
{
    if (cel_charge(r, 1) < 0)
        return false;
    switch (x->kind) {
    case CEL_NULL:
        buf_adds(out, "null");
        return true;
    case CEL_BOOL:
        buf_adds(out, x->b ? "true" : "false");
        return true;
    case CEL_INT:
        buf_addf(out, "%" PRId64, x->i);
        return true;
    case CEL_UINT:
        buf_addf(out, "%" PRIu64, x->u);
        return true;
    case CEL_DOUBLE:
        if (isinf(x->d))
            buf_adds(out, x->d < 0 ? "-Infinity" : "Infinity");
        else
            cel_double_text(x->d, out);
        return true;
    case CEL_STRING:
    case CEL_BYTES:
    case CEL_TYPE:
        if (cel_charge_bytes(r, x->n) < 0)
            return false;
        buf_add(out, x->s, x->n);
        return true;
    case CEL_TIMESTAMP:
        cel_time_text(x->sec, x->nsec, out);
        return true;
    case CEL_DURATION:
        cel_duration_text(x->i, out);
        return true;
    case CEL_LIST:
        return add_list(r, x, out);
    case CEL_MAP:
        return add_map(r, x, out);
    default:
        cel_error(r, "error during formatting: %s cannot be written with %%s", cel_kind_name(x->kind));
        return false;
    }
}

static bool wrong(struct cel_run *r, char verb, val x)
{
    cel_error(r, "error during formatting: %%%c cannot write a value of type %s", verb, cel_kind_name(x->kind));
    return false;
}

static void add_binary(uint64_t v, struct buf *out)
{
    char text[65];
    size_t i = sizeof text;
    do {
        text[--i] = (char)('0' + (v & 1));
        v >>= 1;
    } while (v);
    buf_add(out, text + i, sizeof text - i);
}

/* %b, %o, %x, %X. */
static bool add_based(struct cel_run *r, char verb, val x, struct buf *out)
{
    if ((verb | 0x20) == 'x' && (x->kind == CEL_STRING || x->kind == CEL_BYTES)) {
        if (cel_charge_bytes(r, x->n * 2) < 0)
            return false;
        for (size_t i = 0; i < x->n; i++)
            buf_addf(out, verb == 'x' ? "%02x" : "%02X", (unsigned char)x->s[i]);
        return true;
    }
    if (x->kind == CEL_BOOL && verb == 'b') {
        buf_addc(out, x->b ? '1' : '0');
        return true;
    }
    if (x->kind != CEL_INT && x->kind != CEL_UINT)
        return wrong(r, verb, x);
    uint64_t v = x->u;
    if (x->kind == CEL_INT && x->i < 0) {
        buf_addc(out, '-');
        v = 0 - (uint64_t)x->i;
    }
    if (verb == 'b')
        add_binary(v, out);
    else
        buf_addf(out, verb == 'o' ? "%" PRIo64 : verb == 'x' ? "%" PRIx64 : "%" PRIX64, v);
    return true;
}

/* %d, %f, %e. */
static bool add_number(struct cel_run *r, char verb, int precision, val x, struct buf *out)
{
    bool finite = x->kind != CEL_DOUBLE || !(isnan(x->d) || isinf(x->d));
    if (!cel_is_number(x) || (verb == 'd' && x->kind == CEL_DOUBLE && finite))
        return wrong(r, verb, x);
    if (verb == 'd')
        return add_any(r, x, out);
    double d = x->kind == CEL_INT ? (double)x->i : x->kind == CEL_UINT ? (double)x->u : x->d;
    if (!finite)
        buf_adds(out, isnan(d) ? "NaN" : d < 0 ? "-Infinity" : "Infinity");
    else
        buf_addf(out, verb == 'f' ? "%.*f" : "%.*e", precision < 0 ? 6 : precision, d);
    return true;
}

static bool add_verb(struct cel_run *r, const char **s, const char *end, val x, struct buf *out)
{
    int precision = -1;
    if (*s < end && **s == '.') {
        precision = 0;
        for ((*s)++; *s < end && **s >= '0' && **s <= '9' && precision <= 1000; (*s)++)
            precision = precision * 10 + (**s - '0');
        if (precision > 1000) {
            cel_error(r, "error during formatting: the precision is above 1000");
            return false;
        }
    }
    char verb = *s < end ? *(*s)++ : 0;
    switch (verb) {
    case 's':
        return add_any(r, x, out);
    case 'd':
    case 'f':
    case 'e':
        return add_number(r, verb, precision, x, out);
    case 'b':
    case 'o':
    case 'x':
    case 'X':
        return add_based(r, verb, x, out);
    default:
        cel_error(r, "could not parse formatting clause: unrecognized formatting clause \"%c\"", verb ? verb : '%');
        return false;
    }
}

static val format(struct cel_call *c)
{
    if (!cel_arg_is(c, 1, CEL_LIST))
        return cel_no_overload(c);
    val f = c->args[0];
    const struct cel_value *const *items = cel_items(c->run, c->args[1]);
    if (!items || cel_charge_bytes(c->run, f->n) < 0)
        return NULL;
    BUF(out);
    size_t used = 0;
    for (const char *s = f->s, *end = f->s + f->n; s < end;) {
        if (*s != '%') {
            buf_addc(&out, *s++);
            continue;
        }
        s++;
        if (s < end && *s == '%') {
            buf_addc(&out, *s++);
            continue;
        }
        if (used >= c->args[1]->len)
            return cel_error(c->run, "error during formatting: index %zu out of range", used);
        if (!add_verb(c->run, &s, end, items[used++], &out))
            return NULL;
    }
    return cel_mk_copy(c->run, CEL_STRING, buf_str(&out), out.len);
}

const struct cel_fn cel_lib_format[] = {
    {"format", CEL_MEMBER, 2, 2, KIND(CEL_STRING), format},
    {0},
};
