/* Kubernetes' regex library: find and findAll. */
#include <string.h>

#include "value/cel_priv.h"

typedef const struct cel_value *val;

/* Kubernetes takes a tenth of a microsecond for a unit. */
#define NS_PER_UNIT 100

int cel_regex_find(struct cel_call *c, const struct regex *re, size_t at, size_t *from, size_t *to)
{
    ERR(e);
    int64_t before = regex_spent_ns();
    int hit = regex_find(re, c->args[0]->s, c->args[0]->n, at, from, to, &e);
    int64_t spent = regex_spent_ns() - before;
    if (hit < 0)
        cel_error(c->run, "%s", err_text(&e));
    return cel_charge(c->run, (uint64_t)(spent / NS_PER_UNIT)) < 0 ? -1 : hit;
}

static val find(struct cel_call *c)
{
    struct regex *own;
    if (!cel_arg_is(c, 1, CEL_STRING))
        return cel_no_overload(c);
    const struct regex *re = cel_regex_arg(c, 1, &own);
    if (!re)
        return NULL;
    val s = c->args[0];
    size_t from = 0, to = 0;
    int hit = cel_regex_find(c, re, 0, &from, &to);
    regex_free(own);
    if (hit < 0)
        return NULL;
    return cel_mk_copy(c->run, CEL_STRING, hit ? s->s + from : "", hit ? to - from : 0);
}

/* As Go's FindAllString: matches do not overlap, and an empty one right behind another does not count. */
static bool collect(struct cel_call *c, const struct regex *re, int64_t limit, const struct cel_value ***items, size_t *n)
{
    val s = c->args[0];
    size_t at = 0, from, to, cap = 8, last_end = SIZE_MAX;
    *items = arena_alloc(c->run->a, cap * sizeof(val));
    while (limit != 0 && at <= s->n) {
        int hit = cel_regex_find(c, re, at, &from, &to);
        if (hit < 0 || cel_charge(c->run, 10) < 0)
            return false;
        if (!hit)
            return true;
        size_t one = cel_utf8_offset(s->s + to, s->n - to, 1);
        at = to > from ? to : to + (one ? one : 1);
        if (to == from && from == last_end)
            continue;
        last_end = to;
        if (*n == cap) {
            const struct cel_value **more = arena_alloc(c->run->a, cap * 2 * sizeof(val));
            memcpy(more, *items, cap * sizeof(val));
            *items = more;
            cap *= 2;
        }
        if (!((*items)[(*n)++] = cel_mk_copy(c->run, CEL_STRING, s->s + from, to - from)))
            return false;
        limit -= limit > 0;
    }
    return true;
}

static val find_all(struct cel_call *c)
{
    struct regex *own;
    if (!cel_arg_is(c, 1, CEL_STRING) || (c->n == 3 && !cel_arg_is(c, 2, CEL_INT)))
        return cel_no_overload(c);
    const struct regex *re = cel_regex_arg(c, 1, &own);
    if (!re)
        return NULL;
    const struct cel_value **items;
    size_t n = 0;
    bool ok = collect(c, re, c->n == 3 ? c->args[2]->i : -1, &items, &n);
    regex_free(own);
    return ok ? cel_mk_list(c->run, items, n) : NULL;
}

const struct cel_fn cel_lib_regex[] = {
    {"find", CEL_MEMBER, 2, 2, KIND(CEL_STRING), find},
    {"findAll", CEL_MEMBER, 2, 3, KIND(CEL_STRING), find_all},
    {0},
};
