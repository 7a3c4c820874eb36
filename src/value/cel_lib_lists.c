/* Kubernetes' lists library, and those of newer CEL that rules use: distinct, flatten, reverse, slice, sort. */
#include <stdlib.h>
#include <string.h>

#include "value/cel_priv.h"

typedef const struct cel_value *val;

static val is_sorted(struct cel_call *c)
{
    val l = c->args[0];
    const struct cel_value *const *x = cel_items(c->run, l);
    for (size_t i = 1; x && i < l->len; i++) {
        int cmp = cel_compare(x[i - 1], x[i]);
        if (cmp == CEL_NO_ORDER)
            return cel_no_overload(c);
        if (cmp > 0)
            return cel_mk_bool(false);
    }
    return x ? cel_mk_bool(true) : NULL;
}

static val sum(struct cel_call *c)
{
    static const struct cel_node plus = {.op = N_BINARY, .sub = B_ADD};
    val l = c->args[0];
    const struct cel_value *const *x = cel_items(c->run, l);
    if (!x || l->len == 0)
        return x ? cel_mk_int(c->run, 0) : NULL;
    if (!cel_is_number(x[0]) && x[0]->kind != CEL_DURATION)
        return cel_no_overload(c);
    val total = x[0];
    for (size_t i = 1; total && i < l->len; i++)
        total = cel_binary(c->run, &plus, total, x[i]);
    return total;
}

static val extreme(struct cel_call *c, int sign)
{
    val l = c->args[0];
    const struct cel_value *const *x = cel_items(c->run, l);
    if (!x)
        return NULL;
    if (l->len == 0)
        return cel_error(c->run, "%s called on empty list", c->node->name);
    val best = x[0];
    for (size_t i = 0; i < l->len; i++) {
        int cmp = cel_compare(x[i], best);
        if (cmp == CEL_NO_ORDER)
            return cel_no_overload(c);
        if (cmp == sign)
            best = x[i];
    }
    return best;
}
static val min(struct cel_call *c) { return extreme(c, -1); }
static val max(struct cel_call *c) { return extreme(c, 1); }

static val find_index(struct cel_call *c, bool last)
{
    val l = c->args[0];
    const struct cel_value *const *x = cel_items(c->run, l);
    for (size_t k = 0; x && k < l->len; k++) {
        size_t i = last ? l->len - 1 - k : k;
        int eq = cel_equal(c->run, x[i], c->args[1]);
        if (eq)
            return eq < 0 ? NULL : cel_mk_int(c->run, (int64_t)i);
    }
    return x ? cel_mk_int(c->run, -1) : NULL;
}
static val index_of(struct cel_call *c) { return find_index(c, false); }
static val last_index_of(struct cel_call *c) { return find_index(c, true); }

static val distinct(struct cel_call *c)
{
    val l = c->args[0];
    const struct cel_value *const *x = cel_items(c->run, l);
    if (!x || cel_charge(c->run, l->len) < 0)
        return NULL;
    const struct cel_value **out = arena_alloc(c->run->a, (l->len + 1) * sizeof(val));
    size_t n = 0;
    for (size_t i = 0; i < l->len; i++) {
        int seen = 0;
        for (size_t k = 0; k < n && !seen; k++)
            seen = cel_equal(c->run, out[k], x[i]);
        if (seen < 0)
            return NULL;
        if (!seen)
            out[n++] = x[i];
    }
    return cel_mk_list(c->run, out, n);
}

static val reverse(struct cel_call *c)
{
    val l = c->args[0];
    const struct cel_value *const *x = cel_items(c->run, l);
    if (!x || cel_charge(c->run, l->len) < 0)
        return NULL;
    const struct cel_value **out = arena_alloc(c->run->a, (l->len + 1) * sizeof(val));
    for (size_t i = 0; i < l->len; i++)
        out[i] = x[l->len - 1 - i];
    return cel_mk_list(c->run, out, l->len);
}

static val slice(struct cel_call *c)
{
    if (!cel_arg_is(c, 1, CEL_INT) || !cel_arg_is(c, 2, CEL_INT))
        return cel_no_overload(c);
    val l = c->args[0];
    int64_t from = c->args[1]->i, to = c->args[2]->i;
    if (from < 0 || from > to || (uint64_t)to > l->len)
        return cel_error(c->run, "cannot slice(%lld, %lld), list is length %zu", (long long)from, (long long)to, l->len);
    const struct cel_value *const *x = cel_items(c->run, l);
    if (!x || cel_charge(c->run, (uint64_t)(to - from)) < 0)
        return NULL;
    const struct cel_value **out = arena_alloc(c->run->a, ((size_t)(to - from) + 1) * sizeof(val));
    memcpy(out, x + from, (size_t)(to - from) * sizeof(val));
    return cel_mk_list(c->run, out, (size_t)(to - from));
}

static int by_order(const void *a, const void *b) { return cel_compare(*(val const *)a, *(val const *)b); }

static val sort(struct cel_call *c)
{
    val l = c->args[0];
    const struct cel_value *const *x = cel_items(c->run, l);
    if (!x || cel_charge(c->run, l->len * 16) < 0)
        return NULL;
    for (size_t i = 0; i < l->len; i++) {
        int cmp = cel_compare(x[0], x[i]);
        if (cmp == CEL_NO_ORDER || cmp == CEL_UNORDERED || x[i]->kind != x[0]->kind)
            return cel_no_overload(c);
    }
    const struct cel_value **out = arena_alloc(c->run->a, (l->len + 1) * sizeof(val));
    memcpy(out, x, l->len * sizeof(val));
    qsort(out, l->len, sizeof(val), by_order);
    return cel_mk_list(c->run, out, l->len);
}

#define LIST KIND(CEL_LIST)
const struct cel_fn cel_lib_lists[] = {
    {"isSorted", CEL_MEMBER, 1, 1, LIST, is_sorted},
    {"sum", CEL_MEMBER, 1, 1, LIST, sum},
    {"min", CEL_MEMBER, 1, 1, LIST, min},
    {"max", CEL_MEMBER, 1, 1, LIST, max},
    {"indexOf", CEL_MEMBER, 2, 2, LIST, index_of},
    {"lastIndexOf", CEL_MEMBER, 2, 2, LIST, last_index_of},
    {"distinct", CEL_MEMBER, 1, 1, LIST, distinct},
    {"reverse", CEL_MEMBER, 1, 1, LIST, reverse},
    {"slice", CEL_MEMBER, 3, 3, LIST, slice},
    {"sort", CEL_MEMBER, 1, 1, LIST, sort},
    {0},
};
