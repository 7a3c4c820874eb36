/* sets.contains, sets.equivalent, sets.intersects. */
#include "value/cel_priv.h"

typedef const struct cel_value *val;

/* Whether each of y (all) or one of y (!all) is in x: 1, 0, -1. */
static int within(struct cel_run *r, val x, val y, bool all)
{
    const struct cel_value *const *a = cel_items(r, x), *const *b = cel_items(r, y);
    if (!a || !b)
        return -1;
    for (size_t i = 0; i < y->len; i++) {
        int hit = 0;
        for (size_t k = 0; k < x->len && !hit; k++)
            hit = cel_equal(r, a[k], b[i]);
        if (hit < 0)
            return -1;
        if (hit != (int)all)
            return !all;
    }
    return all;
}

static val result(int rc) { return rc < 0 ? NULL : cel_mk_bool(rc); }

static val sets_contains(struct cel_call *c)
{
    return cel_arg_is(c, 1, CEL_LIST) ? result(within(c->run, c->args[0], c->args[1], true)) : cel_no_overload(c);
}

static val sets_intersects(struct cel_call *c)
{
    return cel_arg_is(c, 1, CEL_LIST) ? result(within(c->run, c->args[0], c->args[1], false)) : cel_no_overload(c);
}

static val sets_equivalent(struct cel_call *c)
{
    if (!cel_arg_is(c, 1, CEL_LIST))
        return cel_no_overload(c);
    int rc = within(c->run, c->args[0], c->args[1], true);
    return result(rc == 1 ? within(c->run, c->args[1], c->args[0], true) : rc);
}

const struct cel_fn cel_lib_sets[] = {
    {"sets.contains", CEL_GLOBAL, 2, 2, KIND(CEL_LIST), sets_contains},
    {"sets.intersects", CEL_GLOBAL, 2, 2, KIND(CEL_LIST), sets_intersects},
    {"sets.equivalent", CEL_GLOBAL, 2, 2, KIND(CEL_LIST), sets_equivalent},
    {0},
};
