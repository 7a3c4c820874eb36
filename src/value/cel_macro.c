/* The comprehensions: all, exists, exists_one, map, filter, and the forms with two variables. */
#include "value/cel_priv.h"

/* One step: the variables of the macro are set, and its last expression (predicate or transformation) says what becomes of it. */
struct loop {
    struct cel_run *run;
    const struct cel_node *n;
    const struct cel_pair *pairs;         /* of a map */
    const struct cel_value *const *items; /* of a list */
    size_t len;
};

static bool loop_start(struct loop *l, const struct cel_value *over)
{
    l->len = over->len;
    if (over->kind == CEL_LIST)
        return (l->items = cel_items(l->run, over)) != NULL;
    if (over->kind == CEL_MAP)
        return (l->pairs = cel_pairs(l->run, over)) != NULL;
    cel_error(l->run, "no such overload: a macro ranges over a list or a map, not over %s", cel_kind_name(over->kind));
    return false;
}

static void loop_bind(struct loop *l, size_t i)
{
    const struct cel_value **at = l->run->locals + l->n->slot;
    if (!l->n->two) {
        at[0] = l->items ? l->items[i] : l->pairs[i].key;
        return;
    }
    at[0] = l->items ? cel_mk_int(l->run, (int64_t)i) : l->pairs[i].key;
    at[1] = l->items ? l->items[i] : l->pairs[i].val;
}

/* A predicate: 1, 0, or -1 with an error. */
static int test(struct loop *l, const struct cel_node *pred)
{
    const struct cel_value *v = cel_run_node(l->run, pred);
    if (!v)
        return -1;
    if (v->kind == CEL_BOOL)
        return v->b;
    cel_error(l->run, "no such overload: the predicate of a macro gives %s, not bool", cel_kind_name(v->kind));
    return -1;
}

/* all and exists: as && and || over the elements, one that decides wins over errors of others. */
static const struct cel_value *run_quantifier(struct loop *l, bool decides)
{
    struct cel_run *r = l->run;
    ERR(first);
    bool failed = false;
    for (size_t i = 0; i < l->len; i++) {
        loop_bind(l, i);
        int t = test(l, l->n->args[1]);
        if (t == (int)decides) {
            err_clear(r->err);
            return cel_mk_bool(decides);
        }
        if (t >= 0)
            continue;
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

static const struct cel_value *run_exists_one(struct loop *l)
{
    size_t hits = 0;
    for (size_t i = 0; i < l->len; i++) {
        loop_bind(l, i);
        int t = test(l, l->n->args[1]);
        if (t < 0)
            return NULL;
        hits += (size_t)t;
    }
    return cel_mk_bool(hits == 1);
}

/* map, filter, transformList: a list. With two expressions the first one chooses. */
static const struct cel_value *run_to_list(struct loop *l)
{
    struct cel_run *r = l->run;
    const struct cel_node *n = l->n, *pred = n->sub == M_FILTER || n->n == 3 ? n->args[1] : NULL,
                          *make = n->sub == M_FILTER ? NULL : n->args[n->n - 1];
    const struct cel_value **out = arena_alloc(r->a, (l->len + 1) * sizeof(struct cel_value *));
    size_t len = 0;
    for (size_t i = 0; i < l->len; i++) {
        loop_bind(l, i);
        int keep = pred ? test(l, pred) : 1;
        if (keep < 0)
            return NULL;
        if (!keep)
            continue;
        const struct cel_value *v = make ? cel_run_node(r, make) : r->locals[n->slot];
        if (!v)
            return NULL;
        out[len++] = v;
    }
    return cel_mk_list(r, out, len);
}

static const struct cel_value *run_to_map(struct loop *l)
{
    struct cel_run *r = l->run;
    const struct cel_node *n = l->n;
    struct cel_pair *out = arena_alloc(r->a, (l->len + 1) * sizeof *out);
    struct cel_value *map = cel_mk(r, CEL_MAP);
    map->pairs = out;
    for (size_t i = 0; i < l->len; i++) {
        loop_bind(l, i);
        const struct cel_value *key = r->locals[n->slot];
        int keep = n->n == 3 ? test(l, n->args[1]) : 1;
        if (keep < 0)
            return NULL;
        const struct cel_value *v = keep ? cel_run_node(r, n->args[n->n - 1]) : NULL;
        if (keep && !v)
            return NULL;
        if (keep)
            out[map->len++] = (struct cel_pair){key, v};
    }
    return map;
}

const struct cel_value *cel_run_macro(struct cel_run *r, const struct cel_node *n)
{
    const struct cel_value *over = cel_run_node(r, n->args[0]);
    struct loop l = {.run = r, .n = n};
    if (!over || !loop_start(&l, over) || cel_charge(r, l.len) < 0)
        return NULL;
    switch ((enum cel_macro)n->sub) {
    case M_ALL:
        return run_quantifier(&l, false);
    case M_EXISTS:
        return run_quantifier(&l, true);
    case M_EXISTS_ONE:
        return run_exists_one(&l);
    case M_TRANSFORM_MAP:
        return run_to_map(&l);
    default:
        return run_to_list(&l);
    }
}
