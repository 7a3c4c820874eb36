/* Values of CEL: making them, taking JSON apart, equality and order. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "value/cel_priv.h"

/* ---- making --------------------------------------------------------------------------------------------------- */

struct cel_value *cel_mk(struct cel_run *r, enum cel_kind kind)
{
    struct cel_value *v = ARENA_NEW(r->a, struct cel_value);
    v->kind = kind;
    return v;
}

const struct cel_value *cel_mk_bool(bool b)
{
    static const struct cel_value yes = {.kind = CEL_BOOL, .b = true}, no = {.kind = CEL_BOOL, .b = false};
    return b ? &yes : &no;
}

const struct cel_value *cel_null(void)
{
    static const struct cel_value null = {.kind = CEL_NULL};
    return &null;
}

const struct cel_value *cel_mk_int(struct cel_run *r, int64_t i)
{
    struct cel_value *v = cel_mk(r, CEL_INT);
    v->i = i;
    return v;
}

const struct cel_value *cel_mk_double(struct cel_run *r, double d)
{
    struct cel_value *v = cel_mk(r, CEL_DOUBLE);
    v->d = d;
    return v;
}

const struct cel_value *cel_mk_string(struct cel_run *r, const char *s, size_t n)
{
    struct cel_value *v = cel_mk(r, CEL_STRING);
    v->s = s;
    v->n = n;
    return v;
}

const struct cel_value *cel_mk_copy(struct cel_run *r, enum cel_kind kind, const char *s, size_t n)
{
    if (cel_charge_bytes(r, n) < 0)
        return NULL;
    char *copy = arena_alloc(r->a, n + 1);
    if (n)
        memcpy(copy, s, n);
    struct cel_value *v = cel_mk(r, kind);
    v->s = copy;
    v->n = n;
    return v;
}

const struct cel_value *cel_mk_list(struct cel_run *r, const struct cel_value **items, size_t n)
{
    struct cel_value *v = cel_mk(r, CEL_LIST);
    v->items = items;
    v->len = n;
    return v;
}

const struct cel_value *cel_mk_optional(struct cel_run *r, const struct cel_value *inner)
{
    struct cel_value *v = cel_mk(r, CEL_OPTIONAL);
    v->inner = inner;
    return v;
}

const struct cel_value *cel_mk_opaque(struct cel_run *r, const struct cel_opaque *type, const void *p)
{
    struct cel_value *v = cel_mk(r, CEL_OPAQUE);
    v->type = type;
    v->p = p;
    return v;
}

const char *cel_kind_name(enum cel_kind k)
{
    static const char *const names[] = {
        [CEL_NULL] = "null_type",
        [CEL_BOOL] = "bool",
        [CEL_INT] = "int",
        [CEL_UINT] = "uint",
        [CEL_DOUBLE] = "double",
        [CEL_STRING] = "string",
        [CEL_BYTES] = "bytes",
        [CEL_LIST] = "list",
        [CEL_MAP] = "map",
        [CEL_TIMESTAMP] = "google.protobuf.Timestamp",
        [CEL_DURATION] = "google.protobuf.Duration",
        [CEL_TYPE] = "type",
        [CEL_OPTIONAL] = "optional_type",
        [CEL_OPAQUE] = "opaque",
    };
    return names[k];
}

const struct cel_value *cel_mk_type(struct cel_run *r, const struct cel_value *of)
{
    struct cel_value *v = cel_mk(r, CEL_TYPE);
    v->s = of->kind == CEL_OPAQUE ? of->type->name : cel_kind_name(of->kind);
    v->n = strlen(v->s);
    return v;
}

/* Integers keep their 64 bits unless the environment has doubles only; what is written with a point or an exponent, or is
 * out of range, is a double. */
static const struct cel_value *number_from_json(struct cel_run *r, jval *j)
{
    const char *text = jv_num_text(j);
    int64_t i;
    double d = 0;
    if (!r->prog->numbers_as_double && !strpbrk(text, ".eE") && jv_i64(j, &i))
        return cel_mk_int(r, i);
    jv_f64(j, &d);
    return cel_mk_double(r, d);
}

const struct cel_value *cel_from_json(struct cel_run *r, jval *j)
{
    switch (jv_type(j)) {
    case J_BOOL:
        return cel_mk_bool(jv_bool(j, false));
    case J_NUMBER:
        return number_from_json(r, j);
    case J_STRING:
        return cel_mk_string(r, jv_str(j), jv_len(j));
    case J_ARRAY:
    case J_OBJECT: {
        struct cel_value *v = cel_mk(r, jv_type(j) == J_ARRAY ? CEL_LIST : CEL_MAP);
        v->j = j;
        v->len = jv_len(j);
        return v;
    }
    default:
        return cel_null();
    }
}

/* ---- lists and maps ------------------------------------------------------------------------------------------- */

const struct cel_value *const *cel_items(struct cel_run *r, const struct cel_value *list)
{
    static const struct cel_value *const empty[1];
    if (list->len == 0)
        return empty;
    if (!list->j)
        return list->items;
    if (cel_charge(r, list->len) < 0)
        return NULL;
    const struct cel_value **items = arena_alloc(r->a, list->len * sizeof(struct cel_value *));
    struct jiter it = jv_iter(list->j);
    jval *x;
    for (size_t i = 0; i < list->len && jv_next(&it, NULL, &x); i++)
        items[i] = cel_from_json(r, x);
    return items;
}

const struct cel_pair *cel_pairs(struct cel_run *r, const struct cel_value *map)
{
    static const struct cel_pair empty[1];
    if (map->len == 0)
        return empty;
    if (!map->j)
        return map->pairs;
    if (cel_charge(r, map->len) < 0)
        return NULL;
    struct cel_pair *pairs = arena_alloc(r->a, map->len * sizeof *pairs);
    struct jiter it = jv_iter(map->j);
    const char *k;
    jval *x;
    for (size_t i = 0; i < map->len && jv_next(&it, &k, &x); i++)
        pairs[i] = (struct cel_pair){cel_mk_string(r, k, strlen(k)), cel_from_json(r, x)};
    return pairs;
}

const struct cel_value *cel_map_get(struct cel_run *r, const struct cel_value *map, const struct cel_value *key)
{
    if (map->j) {
        jval *x = key->kind == CEL_STRING && !memchr(key->s, 0, key->n) ? jv_getn(map->j, key->s, key->n) : NULL;
        return x ? cel_from_json(r, x) : NULL;
    }
    for (size_t i = 0; i < map->len; i++)
        if (cel_compare(map->pairs[i].key, key) == 0)
            return map->pairs[i].val;
    return NULL;
}

/* ---- order and equality --------------------------------------------------------------------------------------- */

bool cel_is_number(const struct cel_value *v) { return v->kind == CEL_INT || v->kind == CEL_UINT || v->kind == CEL_DOUBLE; }

static int cmp_u64(uint64_t a, uint64_t b) { return (a > b) - (a < b); }
static int cmp_i64(int64_t a, int64_t b) { return (a > b) - (a < b); }

/* An integer against a double, as CEL's other implementations do it: within the range of the integer's type both are compared as
 * doubles, so that the last bits of large integers do not count. */
static int cmp_integer_double(__int128 a, double lowest, double highest, double d)
{
    if (isnan(d))
        return CEL_UNORDERED;
    if (d < lowest || d > highest)
        return d < lowest ? 1 : -1;
    double x = (double)a;
    return (x > d) - (x < d);
}

static int cmp_with_double(const struct cel_value *a, double d)
{
    return a->kind == CEL_INT ? cmp_integer_double(a->i, -0x1p63, 0x1p63, d) : cmp_integer_double((__int128)a->u, 0, 0x1p64, d);
}

static int compare_numbers(const struct cel_value *a, const struct cel_value *b)
{
    if (a->kind == CEL_DOUBLE && b->kind == CEL_DOUBLE)
        return isnan(a->d) || isnan(b->d) ? CEL_UNORDERED : (a->d > b->d) - (a->d < b->d);
    if (b->kind == CEL_DOUBLE)
        return cmp_with_double(a, b->d);
    if (a->kind == CEL_DOUBLE) {
        int c = cmp_with_double(b, a->d);
        return c == CEL_UNORDERED ? c : -c;
    }
    __int128 x = a->kind == CEL_INT ? (__int128)a->i : (__int128)a->u, y = b->kind == CEL_INT ? (__int128)b->i : (__int128)b->u;
    return (x > y) - (x < y);
}

static int cmp_bytes(const char *a, size_t na, const char *b, size_t nb)
{
    size_t n = na < nb ? na : nb;
    int c = n ? memcmp(a, b, n) : 0;
    return c ? (c > 0) - (c < 0) : cmp_u64(na, nb);
}

int cel_compare(const struct cel_value *a, const struct cel_value *b)
{
    if (cel_is_number(a) && cel_is_number(b))
        return compare_numbers(a, b);
    if (a->kind != b->kind)
        return CEL_NO_ORDER;
    switch (a->kind) {
    case CEL_BOOL:
        return a->b - b->b;
    case CEL_STRING:
    case CEL_BYTES:
        return cmp_bytes(a->s, a->n, b->s, b->n);
    case CEL_DURATION:
        return cmp_i64(a->i, b->i);
    case CEL_TIMESTAMP:
        return a->sec != b->sec ? cmp_i64(a->sec, b->sec) : cmp_i64(a->nsec, b->nsec);
    case CEL_OPAQUE:
        return a->type == b->type && a->type->compare ? a->type->compare(a->p, b->p) : CEL_NO_ORDER;
    default:
        return CEL_NO_ORDER;
    }
}

static int equal_lists(struct cel_run *r, const struct cel_value *a, const struct cel_value *b)
{
    if (a->len != b->len)
        return 0;
    const struct cel_value *const *x = cel_items(r, a), *const *y = cel_items(r, b);
    if (!x || !y)
        return -1;
    for (size_t i = 0; i < a->len; i++) {
        int eq = cel_equal(r, x[i], y[i]);
        if (eq != 1)
            return eq;
    }
    return 1;
}

static int equal_maps(struct cel_run *r, const struct cel_value *a, const struct cel_value *b)
{
    if (a->len != b->len)
        return 0;
    const struct cel_pair *x = cel_pairs(r, a);
    if (!x)
        return -1;
    for (size_t i = 0; i < a->len; i++) {
        if (cel_charge(r, b->len / 8) < 0) /* looking up is linear */
            return -1;
        const struct cel_value *other = cel_map_get(r, b, x[i].key);
        int eq = other ? cel_equal(r, x[i].val, other) : 0;
        if (eq != 1)
            return eq;
    }
    return 1;
}

/* Recursion is bounded by the depth of documents and of the expression. */
int cel_equal(struct cel_run *r, const struct cel_value *a, const struct cel_value *b)
{
    if (cel_charge(r, 1) < 0)
        return -1;
    if (a->kind != b->kind)
        return cel_is_number(a) && cel_is_number(b) && compare_numbers(a, b) == 0;
    switch (a->kind) {
    case CEL_NULL:
        return 1;
    case CEL_LIST:
        return equal_lists(r, a, b);
    case CEL_MAP:
        return equal_maps(r, a, b);
    case CEL_TYPE:
        return a->n == b->n && memcmp(a->s, b->s, a->n) == 0;
    case CEL_OPTIONAL:
        return !a->inner || !b->inner ? a->inner == b->inner : cel_equal(r, a->inner, b->inner);
    case CEL_OPAQUE:
        return a->type == b->type && a->type->equal(a->p, b->p);
    case CEL_STRING:
    case CEL_BYTES:
        return a->n != b->n ? 0 : cel_charge_bytes(r, a->n) < 0 ? -1 : memcmp(a->s, b->s, a->n) == 0;
    default:
        return cel_compare(a, b) == 0;
    }
}

/* ---- text ----------------------------------------------------------------------------------------------------- */

/* The shortest digits that read back, without an exponent. */
void cel_double_text(double d, struct buf *out)
{
    if (isnan(d)) {
        buf_adds(out, "NaN");
        return;
    }
    if (isinf(d)) {
        buf_adds(out, d < 0 ? "-Inf" : "+Inf");
        return;
    }
    char s[40];
    for (int prec = 0; prec < 17; prec++) {
        snprintf(s, sizeof s, "%.*e", prec, d);
        if (strtod(s, NULL) == d)
            break;
    }
    char *e = strchr(s, 'e');
    int exp = atoi(e + 1), n = 0;
    char digits[32];
    for (char *p = s; p < e; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    if (s[0] == '-')
        buf_addc(out, '-');
    for (int i = exp < 0 ? exp : 0; i <= (exp > n - 1 ? exp : n - 1); i++) {
        buf_addc(out, i >= 0 && i < n ? digits[i] : '0');
        if (i == exp && i < n - 1)
            buf_addc(out, '.');
        else if (exp < 0 && i == exp)
            buf_addc(out, '.');
    }
}

size_t cel_utf8_len(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)s[i] & 0xC0) != 0x80;
    return count;
}

size_t cel_utf8_offset(const char *s, size_t n, size_t codepoints)
{
    size_t i = 0;
    while (i < n && codepoints) {
        i++;
        while (i < n && ((unsigned char)s[i] & 0xC0) == 0x80)
            i++;
        codepoints--;
    }
    return i;
}
