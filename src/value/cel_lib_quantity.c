/* Kubernetes' quantity library. */
#include <string.h>

#include "value/cel_priv.h"
#include "value/quantity.h"

typedef const struct cel_value *val;

static bool equal(const void *a, const void *b) { return quantity_cmp(a, b) == 0; }
static int compare(const void *a, const void *b) { return quantity_cmp(a, b); }
static const struct cel_opaque type = {.name = "kubernetes.Quantity", .equal = equal, .compare = compare};

static bool parse(val s, struct quantity *q, struct err *e)
{
    char text[128];
    if (s->n >= sizeof text || memchr(s->s, 0, s->n)) {
        err_set(e, ERR_INVALID, "quantity is longer than any quantity");
        return false;
    }
    memcpy(text, s->s, s->n);
    text[s->n] = 0;
    return quantity_parse(text, q, e) == 0;
}

static val wrap(struct cel_call *c, struct quantity q)
{
    struct quantity *p = ARENA_NEW(c->run->a, struct quantity);
    *p = q;
    return cel_mk_opaque(c->run, &type, p);
}

static val make(struct cel_call *c)
{
    struct quantity q;
    ERR(e);
    return parse(c->args[0], &q, &e) ? wrap(c, q) : cel_error(c->run, "%s", err_text(&e));
}

static val is_quantity(struct cel_call *c)
{
    struct quantity q;
    return cel_mk_bool(parse(c->args[0], &q, NULL));
}

static const struct quantity *arg(struct cel_call *c, unsigned i)
{
    return c->args[i]->kind == CEL_OPAQUE && c->args[i]->type == &type ? c->args[i]->p : NULL;
}

/* Of all types that have an order: functions are found by kind, and all of these are CEL_OPAQUE. */
static val compare_to(struct cel_call *c)
{
    val a = c->args[0], b = c->args[1];
    if (b->kind != CEL_OPAQUE || a->type != b->type || !a->type->compare)
        return cel_no_overload(c);
    int cmp = a->type->compare(a->p, b->p);
    if (str_eq(c->node->name, "compareTo"))
        return cel_mk_int(c->run, cmp);
    return cel_mk_bool(str_eq(c->node->name, "isLessThan") ? cmp < 0 : cmp > 0);
}

/* add and sub, with a quantity or an int. */
static val add(struct cel_call *c)
{
    const struct quantity *a = arg(c, 0), *b = arg(c, 1);
    struct quantity other;
    if (!a || (!b && c->args[1]->kind != CEL_INT))
        return cel_no_overload(c);
    other = b ? *b : (struct quantity){.nano = (__int128)c->args[1]->i * 1000000000, .form = a->form};
    if (str_eq(c->node->name, "sub"))
        other.nano = -other.nano;
    struct quantity out = *a;
    quantity_add(&out, &other);
    return wrap(c, out);
}

static val inspect(struct cel_call *c)
{
    const struct quantity *q = arg(c, 0);
    const char *name = c->node->name;
    if (!q)
        return cel_no_overload(c);
    if (str_eq(name, "sign"))
        return cel_mk_int(c->run, (q->nano > 0) - (q->nano < 0));
    if (str_eq(name, "asApproximateFloat"))
        return cel_mk_double(c->run, (double)q->nano / 1e9);
    bool whole = q->nano % 1000000000 == 0 && q->nano / 1000000000 <= INT64_MAX && q->nano / 1000000000 >= INT64_MIN;
    if (str_eq(name, "isInteger"))
        return cel_mk_bool(whole);
    return whole ? cel_mk_int(c->run, quantity_value(q)) : cel_error(c->run, "cannot convert value to integer");
}

#define Q KIND(CEL_OPAQUE)
const struct cel_fn cel_lib_quantity[] = {
    {"quantity", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), make},
    {"isQuantity", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), is_quantity},
    {"compareTo", CEL_MEMBER, 2, 2, Q, compare_to},
    {"isLessThan", CEL_MEMBER, 2, 2, Q, compare_to},
    {"isGreaterThan", CEL_MEMBER, 2, 2, Q, compare_to},
    {"add", CEL_MEMBER, 2, 2, Q, add},
    {"sub", CEL_MEMBER, 2, 2, Q, add},
    {"sign", CEL_MEMBER, 1, 1, Q, inspect},
    {"isInteger", CEL_MEMBER, 1, 1, Q, inspect},
    {"asInteger", CEL_MEMBER, 1, 1, Q, inspect},
    {"asApproximateFloat", CEL_MEMBER, 1, 1, Q, inspect},
    {0},
};
