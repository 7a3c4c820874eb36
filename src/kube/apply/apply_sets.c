/* apply_sets.c - sets of what an object says and of what two of them differ in. */
#include <stdlib.h>

#include "kube/apply/apply_priv.h"

/* ---- paths ------------------------------------------------------------------------------------------------------------- */

struct path {
    const char **v;
    size_t n, cap;
};
static void path_free(struct path *p) { free(p->v); }

static void push(struct path *p, const char *step)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->v = xreallocarray(p->v, p->cap, sizeof(*p->v));
    }
    p->v[p->n++] = step;
}

/* ---- what an object says --------------------------------------------------------------------------------------------------- */

static void say(const struct ftype *type, jval *v, struct path *p, struct fset *out);

static void say_members(const struct ftype *t, jval *v, struct path *p, struct fset *out)
{
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) {
        struct ftype of;
        AUTOFREE char *step = xasprintf("f:%s", key);
        bool known = ftype_member(t, key, &of);
        push(p, step);
        say(&of, x, p, out);
        if (!known || jv_is(x, J_NULL) || (jv_is(x, J_OBJECT) && jv_len(x) == 0))
            fset_insert(out, p->v, p->n);
        p->n--;
    }
}

static void say_items(const struct ftype *t, jval *v, struct path *p, struct fset *out)
{
    struct ftype of = ftype_element(t);
    struct jiter it = jv_iter(v);
    jval *x;
    while (jv_next(&it, NULL, &x)) {
        BUF(step);
        if (ftype_step(t, x, &step, NULL) < 0)
            continue;
        push(p, buf_str(&step));
        say(&of, x, p, out);
        fset_insert(out, p->v, p->n);
        p->n--;
    }
}

static void say(const struct ftype *type, jval *v, struct path *p, struct fset *out)
{
    struct ftype t = ftype_for(type, v);
    if (t.form == FT_SCALAR || t.atomic)
        fset_insert(out, p->v, p->n);
    else if (t.form == FT_LIST)
        say_items(&t, v, p, out);
    else if (jv_is(v, J_OBJECT))
        say_members(&t, v, p, out);
}

struct fset *apply_set(const struct ftype *t, jval *obj)
{
    CLEANUP(path_free) struct path p = {0};
    struct fset *out = fset_new();
    struct ftype root = ftype_for(t, obj);
    say_members(&root, obj, &p, out);
    return out;
}

/* ---- what two objects differ in ----------------------------------------------------------------------------------------------
 */

struct diff {
    struct path p;
    struct fset *changed, *removed;
};

static void compare(struct diff *d, const struct ftype *type, jval *old, jval *now);

static void leaf(struct diff *d, jval *old, jval *now)
{
    if (!now)
        fset_insert(d->removed, d->p.v, d->p.n);
    else if (!old || !jv_equal(old, now))
        fset_insert(d->changed, d->p.v, d->p.n);
}

static void compare_members(struct diff *d, const struct ftype *t, jval *old, jval *now)
{
    jval *const side[] = {old, now};
    JFINDER(in_old, old);
    JFINDER(in_now, now);
    for (int i = 0; i < 2; i++) {
        struct jiter it = jv_iter(side[i]);
        const char *key;
        jval *x;
        while (jv_is(side[i], J_OBJECT) && jv_next(&it, &key, &x)) {
            struct ftype of;
            jval *other = jfind(i ? &in_old : &in_now, key);
            if (i == 1 && other)
                continue; /* both were compared from the old side */
            AUTOFREE char *step = xasprintf("f:%s", key);
            ftype_member(t, key, &of);
            push(&d->p, step);
            compare(d, &of, i ? other : x, i ? x : other);
            d->p.n--;
        }
    }
}

/* The items of a list by their steps. Of two with one step the first counts; only writes that are no apply can make them. */
static void index_items(const struct ftype *t, jval *list, struct strmap *by_step)
{
    struct jiter it = jv_iter(list);
    jval *x;
    while (jv_is(list, J_ARRAY) && jv_next(&it, NULL, &x)) {
        BUF(step);
        if (ftype_step(t, x, &step, NULL) == 0 && !strmap_get(by_step, buf_str(&step)))
            strmap_put(by_step, buf_str(&step), (void *)(uintptr_t)x);
    }
}

static void compare_items(struct diff *d, const struct ftype *t, jval *old, jval *now)
{
    CLEANUP(strmap_free) struct strmap left = STRMAP_INIT(NULL);
    CLEANUP(strmap_free) struct strmap right = STRMAP_INIT(NULL);
    struct ftype of = ftype_element(t);
    index_items(t, old, &left);
    index_items(t, now, &right);
    for (struct strmap_entry *e = strmap_first(&left); e; e = strmap_next(e)) {
        push(&d->p, e->key);
        compare(d, &of, e->value, strmap_get(&right, e->key));
        d->p.n--;
    }
    for (struct strmap_entry *e = strmap_first(&right); e; e = strmap_next(e)) {
        if (strmap_get(&left, e->key))
            continue;
        push(&d->p, e->key);
        compare(d, &of, NULL, e->value);
        d->p.n--;
    }
}

static bool empty(jval *v) { return !v || jv_is(v, J_NULL) || ((jv_is(v, J_OBJECT) || jv_is(v, J_ARRAY)) && jv_len(v) == 0); }

static void compare(struct diff *d, const struct ftype *type, jval *old, jval *now)
{
    struct ftype t = ftype_for(type, now ? now : old), was = ftype_for(type, old ? old : now);
    if (t.form == FT_SCALAR || t.atomic || was.form != t.form || (empty(old) && empty(now))) {
        leaf(d, old, now);
        return;
    }
    if (t.form == FT_LIST)
        compare_items(d, &t, old, now);
    else
        compare_members(d, &t, old, now);
    if (!old)
        fset_insert(d->changed, d->p.v, d->p.n);
    else if (!now)
        fset_insert(d->removed, d->p.v, d->p.n);
}

void apply_compare(const struct ftype *t, jval *old, jval *now, struct fset *changed, struct fset *removed)
{
    struct diff d = {.changed = changed, .removed = removed};
    struct ftype root = ftype_for(t, now ? now : old);
    compare_members(&d, &root, old, now);
    path_free(&d.p);
}
