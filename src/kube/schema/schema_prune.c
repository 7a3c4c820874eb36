/* What a request's object becomes before it is looked at: unknown fields go, defaults come. */
#include "kube/kind.h"
#include "kube/schema/schema_priv.h"

struct pruner {
    struct jm *m;
    struct buf path;
    struct strlist *unknown; /* may be NULL */
    bool changed;
};

static void prune(struct pruner *p, const struct schema_node *n, jmval *v);

static size_t enter(struct pruner *p, const char *member)
{
    size_t at = p->path.len;
    buf_addf(&p->path, "%s%s", at ? "." : "", member);
    return at;
}

static void leave(struct pruner *p, size_t at)
{
    p->path.len = at;
    if (p->path.data)
        p->path.data[at] = '\0';
}

/* Takes the named members away; they are in the object's order. */
static void drop(struct pruner *p, jmval *obj, const struct strlist *keys)
{
    if (!keys->n)
        return;
    struct strmap members = jm_take_members(obj);
    for (size_t i = 0; i < keys->n; i++) {
        if (p->unknown)
            strlist_addf(p->unknown, "%s%s%s", buf_str(&p->path), p->path.len ? "." : "", keys->v[i]);
        strmap_del(&members, keys->v[i]);
    }
    jm_put_members(p->m, obj, &members);
    p->changed = true;
}

/* Metadata has the fields of ObjectMeta, in custom objects and in objects within them. */
static void prune_metadata(struct pruner *p, jmval *meta)
{
    const struct ktype *type = ktype_find("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    STRLIST(unknown);
    struct jmiter it = jmv_iter(meta);
    const char *k;
    jmval *v;
    if (jmv_type(meta) != J_OBJECT || !type)
        return;
    while (jmv_next(&it, &k, &v))
        if (!ktype_field(type, k))
            strlist_add(&unknown, k);
    drop(p, meta, &unknown);
}

static void prune_object(struct pruner *p, const struct schema_node *n, jmval *v)
{
    STRLIST(unknown);
    struct jmiter it = jmv_iter(v);
    const char *k;
    jmval *x;
    while (jmv_next(&it, &k, &x)) {
        const struct schema_node *child = strmap_get(&n->props, k);
        size_t at = enter(p, k);
        if (n->embedded && str_eq(k, "metadata"))
            prune_metadata(p, x);
        else if (n->embedded && (str_eq(k, "apiVersion") || str_eq(k, "kind")))
            ; /* kept */
        else if (child)
            prune(p, child, x);
        else if (n->additional)
            prune(p, n->additional, x);
        else if (!n->preserve)
            strlist_add(&unknown, k);
        leave(p, at);
    }
    drop(p, v, &unknown);
}

static void prune(struct pruner *p, const struct schema_node *n, jmval *v)
{
    if (jmv_type(v) == J_OBJECT) {
        prune_object(p, n, v);
    } else if (jmv_type(v) == J_ARRAY && n->items) {
        struct jmiter it = jmv_iter(v);
        jmval *x;
        for (size_t i = 0; jmv_next(&it, NULL, &x); i++) {
            size_t at = p->path.len;
            buf_addf(&p->path, "[%zu]", i);
            prune(p, n->items, x);
            leave(p, at);
        }
    }
}

bool schema_prune(const struct schema *s, struct jm *m, jmval *obj, struct strlist *unknown)
{
    STRLIST(found);
    struct pruner p = {.m = m, .unknown = unknown ? &found : NULL};
    prune(&p, s->root, obj);
    buf_free(&p.path);
    strlist_sort(&found);
    for (size_t i = 0; unknown && i < found.n; i++)
        strlist_add(unknown, found.v[i]);
    return p.changed;
}

/* ---- defaults ------------------------------------------------------------------------------------------------------------ */

static bool bad_null(const struct schema_node *n, jmval *v) { return jmv_type(v) == J_NULL && !n->nullable; }

static bool fill(const struct schema_node *n, struct jm *m, jmval *v);

/* Adds the members that are not there and have a default. */
static bool add_absent(const struct schema_node *n, struct jm *m, jmval *v)
{
    CLEANUP(strmap_free) struct strmap there = STRMAP_INIT(NULL); /* of a large object; others are looked through */
    bool changed = false, large = jmv_len(v) > 16;
    struct jmiter it = jmv_iter(v);
    const char *k;
    jmval *x;
    while (large && jmv_next(&it, &k, &x))
        strmap_put(&there, k, x);
    for (struct strmap_entry *e = strmap_first(&n->props); e; e = strmap_next(e)) {
        const struct schema_node *child = e->value;
        if (!child->dflt || (large ? strmap_get(&there, e->key) : jmv_get(v, e->key)))
            continue;
        jm_add(m, v, e->key, jm_val(m, child->dflt));
        changed = true;
    }
    return changed;
}

static bool fill_object(const struct schema_node *n, struct jm *m, jmval *v)
{
    bool changed = add_absent(n, m, v);
    STRLIST(nulls); /* that may not be */
    struct jmiter it = jmv_iter(v);
    const char *k;
    jmval *x;
    while (jmv_next(&it, &k, &x)) {
        const struct schema_node *child = schema_child(n, k);
        if (child && bad_null(child, x))
            strlist_add(&nulls, k);
        else if (child)
            changed |= fill(child, m, x);
    }
    if (!nulls.n)
        return changed;
    struct strmap members = jm_take_members(v);
    for (size_t i = 0; i < nulls.n; i++) {
        const struct schema_node *child = schema_child(n, nulls.v[i]);
        jmval *dflt = child->dflt ? jm_val(m, child->dflt) : NULL;
        if (dflt) {
            fill(child, m, dflt);
            strmap_put(&members, nulls.v[i], dflt);
        } else {
            strmap_del(&members, nulls.v[i]);
        }
    }
    jm_put_members(m, v, &members);
    return true;
}

static bool replace_nulls(const struct schema_node *items, struct jm *m, jmval *v)
{
    size_t n = 0, n_nulls = 0;
    AUTOFREE jmval **all = xcalloc(jmv_len(v) + 1, sizeof *all);
    struct jmiter it = jmv_iter(v);
    while (jmv_next(&it, NULL, &all[n])) {
        n_nulls += bad_null(items, all[n]);
        n++;
    }
    if (!n_nulls)
        return false;
    jm_clear(v);
    for (size_t i = 0; i < n; i++)
        jm_push(v, bad_null(items, all[i]) ? jm_val(m, items->dflt) : all[i]);
    return true;
}

static bool fill(const struct schema_node *n, struct jm *m, jmval *v)
{
    if (jmv_type(v) == J_OBJECT)
        return fill_object(n, m, v);
    if (jmv_type(v) != J_ARRAY || !n->items)
        return false;
    bool changed = n->items->dflt && replace_nulls(n->items, m, v);
    struct jmiter it = jmv_iter(v);
    jmval *x;
    while (jmv_next(&it, NULL, &x))
        changed |= fill(n->items, m, x);
    return changed;
}

bool schema_default(const struct schema *s, struct jm *m, jmval *obj) { return fill(s->root, m, obj); }
