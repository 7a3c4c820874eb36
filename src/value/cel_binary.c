/* Binary operators on values. */
#include <math.h>
#include <string.h>

#include "value/cel_priv.h"

static const char *const symbols[] = {"+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in"};

static const struct cel_value *no_overload(struct cel_run *r, unsigned op, const struct cel_value *x, const struct cel_value *y)
{
    return cel_error(r, "no such overload: %s %s %s", cel_kind_name(x->kind), symbols[op], cel_kind_name(y->kind));
}

static const struct cel_value *int_op(struct cel_run *r, unsigned op, int64_t x, int64_t y)
{
    int64_t v = 0;
    bool over = false;
    if ((op == B_DIV || op == B_MOD) && y == 0)
        return cel_error(r, op == B_DIV ? "division by zero" : "modulus by zero");
    switch (op) {
    case B_ADD:
        over = __builtin_add_overflow(x, y, &v);
        break;
    case B_SUB:
        over = __builtin_sub_overflow(x, y, &v);
        break;
    case B_MUL:
        over = __builtin_mul_overflow(x, y, &v);
        break;
    default:
        over = x == INT64_MIN && y == -1;
        if (!over)
            v = op == B_DIV ? x / y : x % y;
    }
    return over ? cel_error(r, "integer overflow") : cel_mk_int(r, v);
}

static const struct cel_value *uint_op(struct cel_run *r, unsigned op, uint64_t x, uint64_t y)
{
    uint64_t v = 0;
    bool over = false;
    if ((op == B_DIV || op == B_MOD) && y == 0)
        return cel_error(r, op == B_DIV ? "division by zero" : "modulus by zero");
    switch (op) {
    case B_ADD:
        over = __builtin_add_overflow(x, y, &v);
        break;
    case B_SUB:
        over = __builtin_sub_overflow(x, y, &v);
        break;
    case B_MUL:
        over = __builtin_mul_overflow(x, y, &v);
        break;
    default:
        v = op == B_DIV ? x / y : x % y;
    }
    if (over)
        return cel_error(r, "unsigned integer overflow");
    struct cel_value *out = cel_mk(r, CEL_UINT);
    out->u = v;
    return out;
}

static const struct cel_value *double_op(struct cel_run *r, unsigned op, double x, double y)
{
    switch (op) {
    case B_ADD:
        return cel_mk_double(r, x + y);
    case B_SUB:
        return cel_mk_double(r, x - y);
    case B_MUL:
        return cel_mk_double(r, x * y);
    case B_DIV:
        return cel_mk_double(r, x / y);
    default:
        return cel_error(r, "no such overload: double %% double");
    }
}

static const struct cel_value *concat(struct cel_run *r, const struct cel_value *x, const struct cel_value *y)
{
    if (x->kind == CEL_LIST) {
        const struct cel_value *const *a = cel_items(r, x), *const *b = cel_items(r, y);
        if (!a || !b || cel_charge(r, x->len + y->len) < 0)
            return NULL;
        const struct cel_value **items = arena_alloc(r->a, (x->len + y->len + 1) * sizeof(struct cel_value *));
        memcpy(items, a, x->len * sizeof *items);
        memcpy(items + x->len, b, y->len * sizeof *items);
        return cel_mk_list(r, items, x->len + y->len);
    }
    if (cel_charge_bytes(r, x->n + y->n) < 0)
        return NULL;
    char *s = arena_alloc(r->a, x->n + y->n + 1);
    memcpy(s, x->s, x->n);
    memcpy(s + x->n, y->s, y->n);
    struct cel_value *v = cel_mk(r, x->kind);
    v->s = s;
    v->n = x->n + y->n;
    return v;
}

static const struct cel_value *time_plus(struct cel_run *r, const struct cel_value *t, int64_t ns)
{
    return cel_mk_time(r, t->sec + ns / 1000000000, t->nsec + ns % 1000000000);
}

/* + and - on times and durations; NULL without an error when the kinds do not fit. */
static const struct cel_value *time_op(struct cel_run *r, unsigned op, const struct cel_value *x, const struct cel_value *y,
                                       bool *fits)
{
    int64_t v;
    *fits = true;
    bool xt = x->kind == CEL_TIMESTAMP, yt = y->kind == CEL_TIMESTAMP, xd = x->kind == CEL_DURATION, yd = y->kind == CEL_DURATION;
    if (op == B_ADD && xt && yd)
        return time_plus(r, x, y->i);
    if (op == B_ADD && xd && yt)
        return time_plus(r, y, x->i);
    if (op == B_SUB && xt && yd && y->i != INT64_MIN)
        return time_plus(r, x, -y->i);
    if (xd && yd && (op == B_ADD || op == B_SUB)) {
        bool over = op == B_ADD ? __builtin_add_overflow(x->i, y->i, &v) : __builtin_sub_overflow(x->i, y->i, &v);
        return over ? cel_error(r, "duration overflow") : cel_mk_duration(r, v);
    }
    if (op == B_SUB && xt && yt) {
        bool over = __builtin_mul_overflow(x->sec - y->sec, (int64_t)1000000000, &v) ||
                    __builtin_add_overflow(v, (int64_t)(x->nsec - y->nsec), &v);
        return over ? cel_error(r, "duration overflow") : cel_mk_duration(r, v);
    }
    *fits = false;
    return NULL;
}

static const struct cel_value *arithmetic(struct cel_run *r, unsigned op, const struct cel_value *x, const struct cel_value *y)
{
    if (x->kind == y->kind) {
        switch (x->kind) {
        case CEL_INT:
            return int_op(r, op, x->i, y->i);
        case CEL_UINT:
            return uint_op(r, op, x->u, y->u);
        case CEL_DOUBLE:
            return double_op(r, op, x->d, y->d);
        case CEL_STRING:
        case CEL_BYTES:
        case CEL_LIST:
            if (op == B_ADD)
                return concat(r, x, y);
            break;
        default:
            break;
        }
    }
    bool fits;
    const struct cel_value *v = time_op(r, op, x, y, &fits);
    return fits ? v : no_overload(r, op, x, y);
}

static const struct cel_value *order(struct cel_run *r, unsigned op, const struct cel_value *x, const struct cel_value *y)
{
    if ((x->kind == CEL_STRING || x->kind == CEL_BYTES) && cel_charge_bytes(r, x->n) < 0)
        return NULL;
    int c = cel_compare(x, y);
    if (c == CEL_NO_ORDER)
        return no_overload(r, op, x, y);
    if (c == CEL_UNORDERED)
        return cel_mk_bool(false);
    return cel_mk_bool(op == B_LT ? c < 0 : op == B_LE ? c <= 0 : op == B_GT ? c > 0 : c >= 0);
}

static const struct cel_value *membership(struct cel_run *r, const struct cel_value *x, const struct cel_value *in)
{
    if (in->kind == CEL_MAP)
        return cel_charge(r, in->len / 16) < 0 ? NULL : cel_mk_bool(cel_map_get(r, in, x) != NULL);
    if (in->kind != CEL_LIST)
        return no_overload(r, B_IN, x, in);
    const struct cel_value *const *items = cel_items(r, in);
    if (!items)
        return NULL;
    for (size_t i = 0; i < in->len; i++) {
        int eq = cel_equal(r, x, items[i]);
        if (eq)
            return eq < 0 ? NULL : cel_mk_bool(true);
    }
    return cel_mk_bool(false);
}

const struct cel_value *cel_binary(struct cel_run *r, const struct cel_node *n, const struct cel_value *x,
                                   const struct cel_value *y)
{
    int eq;
    switch ((enum cel_binary)n->sub) {
    case B_EQ:
    case B_NE:
        eq = cel_equal(r, x, y);
        return eq < 0 ? NULL : cel_mk_bool(n->sub == B_EQ ? eq : !eq);
    case B_LT:
    case B_LE:
    case B_GT:
    case B_GE:
        return order(r, n->sub, x, y);
    case B_IN:
        return membership(r, x, y);
    default:
        return arithmetic(r, n->sub, x, y);
    }
}
