/* What a request's object becomes before it is looked at: unknown fields go, defaults come. */
#include "kube/kind.h"
#include "kube/schema/schema_priv.h"

struct pruner {
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

static void drop(struct pruner *p, jmval *obj, const struct strlist *keys)
{
    for (size_t i = 0; i < keys->n; i++) {
        if (p->unknown)
            strlist_addf(p->unknown, "%s%s%s", buf_str(&p->path), p->path.len ? "." : "", keys->v[i]);
        jm_del(obj, keys->v[i]);
        p->changed = true;
    }
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

bool schema_prune(const struct schema *s, jmval *obj, struct strlist *unknown)
{
    STRLIST(found);
    struct pruner p = {.unknown = unknown ? &found : NULL};
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

static bool fill_object(const struct schema_node *n, struct jm *m, jmval *v)
{
    bool changed = false;
    for (struct strmap_entry *e = strmap_first(&n->props); e; e = strmap_next(e)) {
        const struct schema_node *child = e->value;
        jmval *x = jmv_get(v, e->key);
        if (child->dflt && (!x || bad_null(child, x))) {
            jm_put(m, v, e->key, jm_val(m, child->dflt));
            changed = true;
        }
    }
    STRLIST(nulls);
    STRLIST(replaced);
    struct jmiter it = jmv_iter(v);
    const char *k;
    jmval *x;
    while (jmv_next(&it, &k, &x)) {
        const struct schema_node *child = strmap_get(&n->props, k);
        if (!child)
            child = n->additional;
        if (!child)
            continue;
        if (bad_null(child, x))
            strlist_add(child->dflt ? &replaced : &nulls, k);
        else
            changed |= fill(child, m, x);
    }
    for (size_t i = 0; i < nulls.n; i++)
        jm_del(v, nulls.v[i]);
    for (size_t i = 0; i < replaced.n; i++) /* of additionalProperties */
        jm_put(m, v, replaced.v[i], jm_val(m, n->additional->dflt));
    return changed || nulls.n > 0 || replaced.n > 0;
}

static bool fill(const struct schema_node *n, struct jm *m, jmval *v)
{
    bool changed = false;
    if (jmv_type(v) == J_OBJECT)
        return fill_object(n, m, v);
    if (jmv_type(v) != J_ARRAY || !n->items)
        return false;
    struct jmiter it = jmv_iter(v);
    jmval *x;
    AUTOFREE size_t *nulls =
        xcalloc(n->items->dflt ? jmv_len(v) : 1, sizeof *nulls); /* the list must not change while it is walked */
    size_t n_nulls = 0;
    for (size_t i = 0; n->items->dflt && jmv_next(&it, NULL, &x); i++)
        if (bad_null(n->items, x))
            nulls[n_nulls++] = i;
    for (size_t i = 0; i < n_nulls; i++)
        jm_replace(v, nulls[i], jm_val(m, n->items->dflt));
    changed = n_nulls > 0;
    it = jmv_iter(v);
    while (jmv_next(&it, NULL, &x))
        changed |= fill(n->items, m, x);
    return changed;
}

bool schema_default(const struct schema *s, struct jm *m, jmval *obj) { return fill(s->root, m, obj); }
