/* apply_merge.c - an applied configuration into an object, and away again. */
#include <stdlib.h>

#include "kube/apply/apply_priv.h"

/* ---- merge ----------------------------------------------------------------------------------------------------------------- */

static jmval *merge(struct jm *m, const struct ftype *type, jval *live, jval *config);

static jmval *merge_members(struct jm *m, const struct ftype *t, jval *live, jval *config)
{
    jmval *out = jm_obj(m);
    jval *const side[] = {live, config};
    JFINDER(in_live, live);
    JFINDER(in_config, config);
    for (int i = 0; i < 2; i++) {
        struct jiter it = jv_iter(side[i]);
        const char *key;
        jval *x;
        while (jv_is(side[i], J_OBJECT) && jv_next(&it, &key, &x)) {
            struct ftype of;
            if (i == 1 && jfind(&in_live, key))
                continue;
            ftype_member(t, key, &of);
            jm_add(m, out, key, merge(m, &of, i ? NULL : x, i ? x : jfind(&in_config, key)));
        }
    }
    return out;
}

/* One side of a list: its items in order, each with its step and where it is in the other side. */
struct side {
    struct item {
        char *step;
        jval *v;
        size_t other; /* index there; SIZE_MAX: it is not there */
    } * v;
    size_t n;
};

static void side_free(struct side *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->v[i].step);
    free(s->v);
}

static void side_fill(struct side *s, const struct ftype *t, jval *list, struct strmap *index)
{
    struct jiter it = jv_iter(list);
    jval *x;
    s->v = xcalloc(jv_len(list) + 1, sizeof(*s->v));
    while (jv_is(list, J_ARRAY) && jv_next(&it, NULL, &x)) {
        BUF(step);
        if (ftype_step(t, x, &step, NULL) < 0)
            buf_addf(&step, "i:%zu", s->n); /* stays as it is */
        strmap_put(index, buf_str(&step), (void *)(uintptr_t)(s->n + 1));
        s->v[s->n++] = (struct item){buf_steal(&step, NULL), x, SIZE_MAX};
    }
}

static void side_link(struct side *s, const struct strmap *index)
{
    for (size_t i = 0; i < s->n; i++) {
        uintptr_t at = (uintptr_t)strmap_get(index, s->v[i].step);
        if (at)
            s->v[i].other = at - 1;
    }
}

/* Items of both stand in the order of the configuration; those of the object alone stay behind the ones they stood behind. */
static jmval *merge_items(struct jm *m, const struct ftype *t, jval *live, jval *config)
{
    CLEANUP(strmap_free) struct strmap in_live = STRMAP_INIT(NULL);
    CLEANUP(strmap_free) struct strmap in_config = STRMAP_INIT(NULL);
    CLEANUP(side_free) struct side a = {0};
    CLEANUP(side_free) struct side b = {0};
    struct ftype of = ftype_element(t);
    jmval *out = jm_arr(m);
    side_fill(&a, t, live, &in_live);
    side_fill(&b, t, config, &in_config);
    side_link(&a, &in_config);
    side_link(&b, &in_live);
    size_t i = 0, k = 0;
    while (i < a.n || k < b.n) {
        if (i < a.n && a.v[i].other == SIZE_MAX) { /* only in the object */
            jm_push(out, jm_val(m, a.v[i++].v));
            continue;
        }
        /* Up to the next item of both, the configuration's own come first. */
        if (k < b.n) {
            size_t other = b.v[k].other;
            jm_push(out, merge(m, &of, other == SIZE_MAX ? NULL : a.v[other].v, b.v[k].v));
            k++;
            if (other != SIZE_MAX && i < a.n)
                i++; /* a place of a shared item is used up, whichever it was */
        } else {
            i++;
        }
    }
    return out;
}

static jmval *merge(struct jm *m, const struct ftype *type, jval *live, jval *config)
{
    if (!config)
        return jm_val(m, live);
    struct ftype t = ftype_for(type, config);
    if (!live || t.form == FT_SCALAR || t.atomic)
        return jm_val(m, config);
    bool objects = jv_is(live, J_OBJECT) || jv_is(config, J_OBJECT), lists = jv_is(live, J_ARRAY) || jv_is(config, J_ARRAY);
    if (objects == lists || ((jv_len(live) == 0 || jv_is(live, J_NULL)) && (jv_len(config) == 0 || jv_is(config, J_NULL))))
        return jm_val(m, config);
    return t.form == FT_LIST ? merge_items(m, &t, live, config) : merge_members(m, &t, live, config);
}

struct json *apply_merge(const struct ftype *t, jval *live, jval *config)
{
    JM_NEW(m);
    struct ftype root = ftype_for(t, config);
    jm_set_root(m, merge_members(m, &root, live, config));
    return jm_freeze(m);
}

/* ---- removal --------------------------------------------------------------------------------------------------------------- */

/* The set, with the members of structs that lie on the way: what a manager says inside of one it says of the one. */
static struct fset *with_structs(const struct fset *s, const struct ftype *type)
{
    struct fset *out = fset_new();
    for (size_t i = 0; s && i < s->n; i++) {
        const struct felem *e = &s->v[i];
        struct ftype of = {.form = FT_ANY};
        bool known = e->step[0] == 'f' ? ftype_member(type, e->step + 2, &of) : false;
        if (e->step[0] != 'f')
            of = ftype_element(type);
        struct felem *to = fset_at(out, e->step);
        to->member = e->member || (known && !fset_empty(e->sub));
        to->sub = with_structs(e->sub, &of);
    }
    return out;
}

static jmval *strip(struct jm *m, const struct ftype *type, jval *v, const struct fset *gone);

static jmval *strip_items(struct jm *m, const struct ftype *t, jval *v, const struct fset *gone)
{
    struct ftype of = ftype_element(t);
    jmval *out = jm_arr(m);
    struct jiter it = jv_iter(v);
    jval *x;
    while (jv_next(&it, NULL, &x)) {
        BUF(step);
        bool stepped = ftype_step(t, x, &step, NULL) == 0;
        if (stepped && fset_has(gone, buf_str(&step)))
            continue;
        jm_push(out, strip(m, &of, x, stepped ? fset_sub(gone, buf_str(&step)) : NULL));
    }
    return out;
}

static jmval *strip_members(struct jm *m, const struct ftype *t, jval *v, const struct fset *gone)
{
    jmval *out = jm_obj(m);
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) {
        AUTOFREE char *step = xasprintf("f:%s", key);
        struct ftype of;
        ftype_member(t, key, &of);
        if (!fset_has(gone, step))
            jm_add(m, out, key, strip(m, &of, x, fset_sub(gone, step)));
    }
    return out;
}

/* What is left empty by it becomes null, which a decoder takes for absent. */
static jmval *strip(struct jm *m, const struct ftype *type, jval *v, const struct fset *gone)
{
    struct ftype t = ftype_for(type, v);
    if (fset_empty(gone) || t.form == FT_SCALAR || t.atomic || jv_len(v) == 0)
        return jm_val(m, v);
    jmval *out = jv_is(v, J_ARRAY) ? strip_items(m, &t, v, gone) : strip_members(m, &t, v, gone);
    return jmv_len(out) ? out : jm_null(m);
}

static struct json *strip_root(const struct ftype *t, jval *obj, const struct fset *gone)
{
    JM_NEW(m);
    struct ftype root = ftype_for(t, obj);
    jm_set_root(m, strip_members(m, &root, obj, gone));
    return jm_freeze(m);
}

/* All that the object says, with the structs on the way. */
static struct fset *whole(const struct ftype *t, jval *obj)
{
    FSET(s) = apply_set(t, obj);
    return with_structs(s, t);
}

struct json *apply_prune(const struct ftype *t, jval *merged, const struct fset *last, const struct fset *owned)
{
    if (fset_empty(last))
        return json_from(merged);
    FSET(gone) = with_structs(last, t);
    FSET(held) = with_structs(owned, t);
    JSON_REF(bare) = strip_root(t, merged, gone);
    FSET(before) = whole(t, merged);
    FSET(after) = whole(t, json_root(bare));
    FSET(went) = fset_minus(before, after);
    FSET(free_now) = fset_minus(went, held); /* nobody else's */
    JSON_REF(without) = strip_root(t, merged, free_now);
    FSET(left) = whole(t, json_root(without));
    FSET(dropped) = fset_minus(before, left);
    FSET(said) = fset_and(dropped, gone); /* and was said by the last apply, or is what that stood in */
    return strip_root(t, merged, said);
}
