/* Walking the tree. Every node costs one of the budget, and what reads or makes n bytes or elements costs in proportion, so the
 * budget bounds time and memory alike. Recursion is bounded by the height of the tree, which the parser limits. */
#include <math.h>
#include <string.h>

#include "value/cel_priv.h"

int cel_charge(struct cel_run *r, uint64_t cost)
{
    if (cost <= r->left) {
        r->left -= cost;
        return 0;
    }
    r->left = 0;
    r->fatal = true;
    return err_set(r->err, ERR_INVALID, "operation cancelled: actual cost limit exceeded");
}

const struct cel_value *cel_error(struct cel_run *r, const char *fmt, ...)
{
    if (r->fatal)
        return NULL;
    va_list ap;
    va_start(ap, fmt);
    err_setv(r->err, ERR_INVALID, fmt, ap);
    va_end(ap);
    return NULL;
}

const struct cel_value *cel_no_overload(struct cel_call *c)
{
    BUF(b);
    for (unsigned i = 0; i < c->n; i++)
        buf_addf(&b, "%s%s", i ? ", " : "", cel_kind_name(c->args[i]->kind));
    return cel_error(c->run, "no such overload: %s(%s)", c->node->name, buf_str(&b));
}

bool cel_arg_is(const struct cel_call *c, unsigned i, enum cel_kind kind) { return i < c->n && c->args[i]->kind == kind; }

const struct regex *cel_regex_arg(struct cel_call *c, unsigned i, struct regex **own)
{
    *own = NULL;
    if (c->node->re)
        return c->node->re;
    const struct cel_value *v = c->args[i];
    if (cel_charge(c->run, 50 + v->n) < 0)
        return NULL;
    if (memchr(v->s, 0, v->n))
        return cel_error(c->run, "regular expression holds a NUL character"), NULL;
    AUTOFREE char *text = xstrndup(v->s, v->n);
    ERR(e);
    *own = regex_compile(text, &e);
    if (!*own)
        cel_error(c->run, "%s", err_text(&e));
    return *own;
}

/* ---- fields and indexes --------------------------------------------------------------------------------------- */

/* x.name or x[key] on a plain value. *found tells a missing member from an error. */
static const struct cel_value *lookup(struct cel_run *r, const struct cel_value *x, const struct cel_value *key, bool *found)
{
    *found = true;
    if (x->kind == CEL_MAP) {
        if (cel_charge(r, x->len / 16) < 0)
            return NULL;
        const struct cel_value *v = cel_map_get(r, x, key);
        *found = v != NULL;
        return v;
    }
    if (x->kind != CEL_LIST)
        return cel_error(r, "no such overload: %s[%s]", cel_kind_name(x->kind), cel_kind_name(key->kind));
    if (!cel_is_number(key))
        return cel_error(r, "no such overload: list[%s]", cel_kind_name(key->kind));
    int64_t i = key->kind == CEL_DOUBLE ? (key->d >= 0 && key->d < 1e15 ? (int64_t)key->d : -1)
                : key->kind == CEL_UINT ? (key->u > INT64_MAX ? -1 : (int64_t)key->u)
                                        : key->i;
    if (key->kind == CEL_DOUBLE && (double)i != key->d)
        return cel_error(r, "index %g of a list is no integer", key->d);
    if (i < 0 || (uint64_t)i >= x->len) {
        *found = false;
        return NULL;
    }
    return x->j ? cel_from_json(r, jv_at(x->j, (size_t)i)) : x->items[i];
}

static const struct cel_value *missing(struct cel_run *r, const struct cel_value *x, const struct cel_value *key)
{
    BUF(b);
    if (key->kind == CEL_STRING)
        buf_add(&b, key->s, key->n > 200 ? 200 : key->n);
    else if (key->kind == CEL_INT)
        buf_addf(&b, "%lld", (long long)key->i);
    else if (key->kind == CEL_UINT)
        buf_addf(&b, "%llu", (unsigned long long)key->u);
    else if (key->kind == CEL_DOUBLE)
        cel_double_text(key->d, &b);
    else
        buf_adds(&b, key->kind == CEL_BOOL ? (key->b ? "true" : "false") : cel_kind_name(key->kind));
    return cel_error(r, x->kind == CEL_LIST ? "index out of bounds: %s" : "no such key: %s", buf_str(&b));
}

/* Selection that may be optional: through an optional value, and with .? and [?], the result is optional. */
static const struct cel_value *select_value(struct cel_run *r, const struct cel_value *x, const struct cel_value *key, bool opt)
{
    bool chained = x->kind == CEL_OPTIONAL, found;
    if (chained) {
        if (!x->inner)
            return x;
        x = x->inner;
    }
    const struct cel_value *v = lookup(r, x, key, &found);
    if (!found)
        return opt || chained ? cel_mk_optional(r, NULL) : missing(r, x, key);
    if (!v || (!opt && !chained))
        return v;
    return cel_mk_optional(r, v);
}

static const struct cel_value *run_field(struct cel_run *r, const struct cel_node *n)
{
    const struct cel_value *x = cel_run_node(r, n->args[0]);
    if (!x)
        return NULL;
    const struct cel_value *in = x->kind == CEL_OPTIONAL ? x->inner : x;
    if (in && in->kind != CEL_MAP)
        return cel_error(r, "no such overload: a %s has no field '%s'", cel_kind_name(in->kind), n->name);
    const struct cel_value key = {.kind = CEL_STRING, .s = n->name, .n = strlen(n->name)};
    if (n->op == N_FIELD)
        return select_value(r, x, &key, n->opt);
    if (!in)
        return cel_mk_bool(false);
    const struct cel_value *v = cel_map_get(r, in, &key);
    return cel_mk_bool(v != NULL);
}

static const struct cel_value *run_index(struct cel_run *r, const struct cel_node *n)
{
    const struct cel_value *x = cel_run_node(r, n->args[0]), *i = x ? cel_run_node(r, n->args[1]) : NULL;
    return i ? select_value(r, x, i, n->opt) : NULL;
}

/* ---- logic ---------------------------------------------------------------------------------------------------- */

/* && and || in any order: one operand that decides wins over errors of the others. */
static const struct cel_value *run_logic(struct cel_run *r, const struct cel_node *n)
{
    bool decides = n->op == N_OR;
    ERR(first);
    bool failed = false;
    for (unsigned i = 0; i < n->n; i++) {
        const struct cel_value *v = cel_run_node(r, n->args[i]);
        if (v && v->kind == CEL_BOOL && v->b == decides) {
            err_clear(r->err);
            return v;
        }
        if (v && v->kind == CEL_BOOL)
            continue;
        if (v)
            cel_error(r, "no such overload: %s %s", cel_kind_name(v->kind), decides ? "||" : "&&");
        if (r->fatal)
            return NULL;
        if (!failed)
            err_move(&first, r->err);
        else
            err_clear(r->err);
        failed = true;
    }
    if (!failed)
        return cel_mk_bool(!decides);
    err_move(r->err, &first);
    return NULL;
}

static const struct cel_value *run_cond(struct cel_run *r, const struct cel_node *n)
{
    const struct cel_value *c = cel_run_node(r, n->args[0]);
    if (!c)
        return NULL;
    if (c->kind != CEL_BOOL)
        return cel_error(r, "no such overload: %s ? :", cel_kind_name(c->kind));
    return cel_run_node(r, n->args[c->b ? 1 : 2]);
}

static const struct cel_value *run_unary(struct cel_run *r, const struct cel_node *n)
{
    const struct cel_value *x = cel_run_node(r, n->args[0]);
    if (!x)
        return NULL;
    if (n->op == N_NOT)
        return x->kind == CEL_BOOL ? cel_mk_bool(!x->b) : cel_error(r, "no such overload: !%s", cel_kind_name(x->kind));
    if (x->kind == CEL_DOUBLE)
        return cel_mk_double(r, -x->d);
    if (x->kind == CEL_DURATION && x->i != INT64_MIN)
        return cel_mk_duration(r, -x->i);
    if (x->kind != CEL_INT)
        return cel_error(r, "no such overload: -%s", cel_kind_name(x->kind));
    return x->i == INT64_MIN ? cel_error(r, "integer overflow") : cel_mk_int(r, -x->i);
}

static const struct cel_value *run_binary(struct cel_run *r, const struct cel_node *n)
{
    const struct cel_value *x = cel_run_node(r, n->args[0]), *y = x ? cel_run_node(r, n->args[1]) : NULL;
    return y ? cel_binary(r, n, x, y) : NULL;
}

/* ---- literals and calls --------------------------------------------------------------------------------------- */

static const struct cel_value *run_list(struct cel_run *r, const struct cel_node *n)
{
    const struct cel_value **items = arena_alloc(r->a, (n->n + 1) * sizeof(struct cel_value *));
    size_t len = 0;
    for (unsigned i = 0; i < n->n; i++) {
        const struct cel_value *v = cel_run_node(r, n->args[i]);
        if (!v)
            return NULL;
        if (n->args[i]->op == N_OPT_ELEM && !(v = v->inner))
            continue;
        items[len++] = v;
    }
    return cel_mk_list(r, items, len);
}

static const struct cel_value *run_map(struct cel_run *r, const struct cel_node *n)
{
    struct cel_pair *pairs = arena_alloc(r->a, (n->n / 2 + 1) * sizeof *pairs);
    struct cel_value *map = cel_mk(r, CEL_MAP);
    map->pairs = pairs;
    for (unsigned i = 0; i + 1 < n->n; i += 2) {
        const struct cel_value *k = cel_run_node(r, n->args[i]), *v = k ? cel_run_node(r, n->args[i + 1]) : NULL;
        if (!v)
            return NULL;
        if (k->kind != CEL_STRING && k->kind != CEL_BOOL && k->kind != CEL_INT && k->kind != CEL_UINT)
            return cel_error(r, "unsupported key type: %s", cel_kind_name(k->kind));
        if (n->args[i + 1]->op == N_OPT_ELEM && !(v = v->inner))
            continue;
        if (cel_charge(r, map->len / 16) < 0)
            return NULL;
        if (cel_map_get(r, map, k))
            return cel_error(r, "Failed with repeated key");
        pairs[map->len++] = (struct cel_pair){k, v};
    }
    return map;
}

static const struct cel_value *run_opt_elem(struct cel_run *r, const struct cel_node *n)
{
    const struct cel_value *v = cel_run_node(r, n->args[0]);
    if (v && v->kind != CEL_OPTIONAL)
        return cel_error(r, "no such overload: an optional element needs an optional value, not %s", cel_kind_name(v->kind));
    return v;
}

static const struct cel_value *run_call(struct cel_run *r, const struct cel_node *n)
{
    const struct cel_value *args[8];
    for (unsigned i = 0; i < n->n; i++)
        if (!(args[i] = cel_run_node(r, n->args[i])))
            return NULL;
    struct cel_call c = {.run = r, .node = n, .args = args, .n = n->n};
    for (unsigned i = 0; i < CEL_OVERLOADS && n->fns[i]; i++)
        if (n->fns[i]->first == ANY_KIND || (c.n && n->fns[i]->first & KIND(args[0]->kind)))
            return n->fns[i]->fn(&c);
    return cel_no_overload(&c);
}

static const struct cel_value *run_with_local(struct cel_run *r, const struct cel_node *n, const struct cel_value *v)
{
    r->locals[n->slot] = v;
    return cel_run_node(r, n->args[1]);
}

static const struct cel_value *run_opt_map(struct cel_run *r, const struct cel_node *n)
{
    const struct cel_value *x = cel_run_node(r, n->args[0]);
    if (!x)
        return NULL;
    if (x->kind != CEL_OPTIONAL)
        return cel_error(r, "no such overload: optMap of %s", cel_kind_name(x->kind));
    if (!x->inner)
        return x;
    const struct cel_value *v = run_with_local(r, n, x->inner);
    if (!v || n->op == N_OPT_MAP)
        return v ? cel_mk_optional(r, v) : NULL;
    return v->kind == CEL_OPTIONAL ? v : cel_error(r, "optFlatMap needs an optional result, not %s", cel_kind_name(v->kind));
}

static const struct cel_value *run_var(struct cel_run *r, const struct cel_node *n)
{
    jval *j = r->vars ? r->vars[n->slot] : NULL;
    return j ? cel_from_json(r, j) : cel_error(r, "no such attribute(s): %s", n->name);
}

const struct cel_value *cel_run_node(struct cel_run *r, const struct cel_node *n)
{
    if (cel_charge(r, 1) < 0)
        return NULL;
    switch (n->op) {
    case N_CONST:
        return n->value;
    case N_VAR:
        return run_var(r, n);
    case N_LOCAL:
        return r->locals[n->slot];
    case N_FIELD:
        return run_field(r, n);
    case N_HAS:
        return run_field(r, n);
    case N_INDEX:
        return run_index(r, n);
    case N_CALL:
        return run_call(r, n);
    case N_BINARY:
        return run_binary(r, n);
    case N_NOT:
        return run_unary(r, n);
    case N_NEG:
        return run_unary(r, n);
    case N_AND:
        return run_logic(r, n);
    case N_OR:
        return run_logic(r, n);
    case N_COND:
        return run_cond(r, n);
    case N_LIST:
        return run_list(r, n);
    case N_MAP:
        return run_map(r, n);
    case N_OPT_ELEM:
        return run_opt_elem(r, n);
    case N_MACRO:
        return cel_run_macro(r, n);
    case N_OPT_MAP:
        return run_opt_map(r, n);
    case N_OPT_FLAT_MAP:
        return run_opt_map(r, n);
    case N_BIND: {
        const struct cel_value *v = cel_run_node(r, n->args[0]);
        return v ? run_with_local(r, n, v) : NULL;
    }
    }
    ASSERT(!"every kind of node is handled above");
    return NULL;
}
