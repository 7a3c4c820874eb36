/* Optional values. Field selection, optMap and the like are in the evaluator. */
#include "value/cel_priv.h"

typedef const struct cel_value *val;

static val opt_of(struct cel_call *c) { return cel_mk_optional(c->run, c->args[0]); }
static val opt_none(struct cel_call *c) { return cel_mk_optional(c->run, NULL); }

static bool is_zero(val x)
{
    switch (x->kind) {
    case CEL_NULL:
        return true;
    case CEL_BOOL:
        return !x->b;
    case CEL_INT:
    case CEL_DURATION:
        return x->i == 0;
    case CEL_UINT:
        return x->u == 0;
    case CEL_DOUBLE:
        return x->d == 0;
    case CEL_STRING:
    case CEL_BYTES:
        return x->n == 0;
    case CEL_LIST:
    case CEL_MAP:
        return x->len == 0;
    case CEL_OPTIONAL:
        return !x->inner;
    default:
        return false;
    }
}

static val opt_of_non_zero(struct cel_call *c) { return cel_mk_optional(c->run, is_zero(c->args[0]) ? NULL : c->args[0]); }
static val opt_has_value(struct cel_call *c) { return cel_mk_bool(c->args[0]->inner != NULL); }
static val opt_value(struct cel_call *c)
{
    return c->args[0]->inner ? c->args[0]->inner : cel_error(c->run, "optional.none() dereference");
}
static val opt_or_value(struct cel_call *c) { return c->args[0]->inner ? c->args[0]->inner : c->args[1]; }

static val opt_or(struct cel_call *c)
{
    if (!cel_arg_is(c, 1, CEL_OPTIONAL))
        return cel_no_overload(c);
    return c->args[0]->inner ? c->args[0] : c->args[1];
}

const struct cel_fn cel_lib_optional[] = {
    {"optional.of", CEL_GLOBAL, 1, 1, ANY_KIND, opt_of},
    {"optional.none", CEL_GLOBAL, 0, 0, ANY_KIND, opt_none},
    {"optional.ofNonZeroValue", CEL_GLOBAL, 1, 1, ANY_KIND, opt_of_non_zero},
    {"hasValue", CEL_MEMBER, 1, 1, KIND(CEL_OPTIONAL), opt_has_value},
    {"value", CEL_MEMBER, 1, 1, KIND(CEL_OPTIONAL), opt_value},
    {"or", CEL_MEMBER, 2, 2, KIND(CEL_OPTIONAL), opt_or},
    {"orValue", CEL_MEMBER, 2, 2, KIND(CEL_OPTIONAL), opt_or_value},
    {0},
};
