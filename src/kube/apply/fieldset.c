/* fieldset.c - see fieldset.h. */
#include <stdlib.h>

#include "kube/apply/fieldset.h"

struct fset *fset_new(void) { return xcalloc(1, sizeof(struct fset)); }

void fset_free(struct fset *s)
{
    for (size_t i = 0; s && i < s->n; i++) {
        free(s->v[i].step);
        fset_free(s->v[i].sub);
    }
    if (s) {
        free(s->v);
        strmap_free(&s->index);
    }
    free(s);
}

bool fset_empty(const struct fset *s)
{
    for (size_t i = 0; s && i < s->n; i++)
        if (s->v[i].member || !fset_empty(s->v[i].sub))
            return false;
    return true;
}

/* Fields, keys, values, indexes: the order in which Kubernetes writes them. */
static int step_cmp(const char *a, const char *b)
{
    static const char order[] = "fkvi";
    const char *x = strchr(order, a[0]), *y = strchr(order, b[0]);
    return x != y ? (x > y) - (x < y) : strcmp(a, b);
}

static int elem_cmp(const void *a, const void *b)
{
    return step_cmp((*(const struct felem *const *)a)->step, (*(const struct felem *const *)b)->step);
}

/* The elements in order; the caller frees the list. */
static const struct felem **sorted(const struct fset *s)
{
    size_t n = s ? s->n : 0;
    const struct felem **v = xcalloc(n + 1, sizeof(*v));
    for (size_t i = 0; i < n; i++)
        v[i] = &s->v[i];
    qsort(v, n, sizeof(*v), elem_cmp);
    return v;
}

#define LINEAR 16 /* elements that are looked through; more get an index */

static struct felem *find(const struct fset *s, const char *step)
{
    if (!s)
        return NULL;
    if (s->n > LINEAR) {
        uintptr_t at = (uintptr_t)strmap_get(&s->index, step);
        return at ? &s->v[at - 1] : NULL;
    }
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i].step, step) == 0)
            return &s->v[i];
    return NULL;
}

bool fset_has(const struct fset *s, const char *step)
{
    const struct felem *e = find(s, step);
    return e && e->member;
}

const struct fset *fset_sub(const struct fset *s, const char *step)
{
    const struct felem *e = find(s, step);
    return e ? e->sub : NULL;
}

struct felem *fset_at(struct fset *s, const char *step)
{
    struct felem *there = find(s, step);
    if (there)
        return there;
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4;
        s->v = xreallocarray(s->v, s->cap, sizeof(*s->v));
    }
    s->v[s->n++] = (struct felem){xstrdup(step), false, NULL};
    for (size_t i = s->n == LINEAR + 1 ? 0 : s->n - 1; s->n > LINEAR && i < s->n; i++)
        strmap_put(&s->index, s->v[i].step, (void *)(uintptr_t)(i + 1));
    return &s->v[s->n - 1];
}

void fset_insert(struct fset *s, const char *const *path, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct felem *e = fset_at(s, path[i]);
        if (i + 1 == n)
            e->member = true;
        else
            s = e->sub = e->sub ? e->sub : fset_new();
    }
}

bool fset_equal(const struct fset *a, const struct fset *b)
{
    FSET(left) = fset_minus(a, b);
    FSET(right) = fset_minus(b, a);
    return fset_empty(left) && fset_empty(right);
}

/* ---- new sets of two ---------------------------------------------------------------------------------------------------- */

/* Adds an element unless it says nothing. Takes sub. */
static void put(struct fset *out, const char *step, bool member, struct fset *sub)
{
    if (sub && fset_empty(sub)) {
        fset_free(sub);
        sub = NULL;
    }
    if (!member && !sub)
        return;
    struct felem *e = fset_at(out, step);
    e->member = member;
    e->sub = sub;
}

struct fset *fset_copy(const struct fset *s) { return fset_union(s, NULL); }

struct fset *fset_union(const struct fset *a, const struct fset *b)
{
    struct fset *out = fset_new();
    for (size_t i = 0; a && i < a->n; i++) {
        const struct felem *x = &a->v[i], *y = find(b, x->step);
        put(out, x->step, x->member || (y && y->member), fset_union(x->sub, y ? y->sub : NULL));
    }
    for (size_t i = 0; b && i < b->n; i++)
        if (!find(a, b->v[i].step))
            put(out, b->v[i].step, b->v[i].member, fset_union(b->v[i].sub, NULL));
    return out;
}

struct fset *fset_minus(const struct fset *a, const struct fset *b)
{
    struct fset *out = fset_new();
    for (size_t i = 0; a && i < a->n; i++) {
        const struct felem *x = &a->v[i], *y = find(b, x->step);
        put(out, x->step, x->member && !(y && y->member), fset_minus(x->sub, y ? y->sub : NULL));
    }
    return out;
}

struct fset *fset_without(const struct fset *a, const struct fset *b)
{
    struct fset *out = fset_new();
    for (size_t i = 0; a && i < a->n; i++) {
        const struct felem *x = &a->v[i], *y = find(b, x->step);
        if (!(y && y->member))
            put(out, x->step, x->member, fset_without(x->sub, y ? y->sub : NULL));
    }
    return out;
}

struct fset *fset_and(const struct fset *a, const struct fset *b)
{
    struct fset *out = fset_new();
    for (size_t i = 0; a && i < a->n; i++) {
        const struct felem *x = &a->v[i], *y = find(b, x->step);
        if (y)
            put(out, x->step, x->member && y->member, fset_and(x->sub, y->sub));
    }
    return out;
}

/* ---- FieldsV1 ------------------------------------------------------------------------------------------------------------- */

static bool good_step(const char *s) { return s[0] && strchr("fkvi", s[0]) && s[1] == ':'; }

/* An empty object is the element itself; otherwise "." says whether it is one. */
struct fset *fset_parse(jval *v)
{
    FSET(out) = fset_new();
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    if (!jv_is(v, J_OBJECT))
        return NULL;
    while (jv_next(&it, &key, &x)) {
        if (strcmp(key, ".") == 0)
            continue; /* the parent has looked at it */
        if (!good_step(key) || !jv_is(x, J_OBJECT))
            return NULL;
        struct fset *sub = fset_parse(x);
        if (!sub)
            return NULL;
        put(out, key, jv_len(x) == 0 || jv_get(x, "."), sub);
    }
    return TAKE(out);
}

static void write_into(const struct fset *s, struct jm *m, jmval *o)
{
    AUTOFREE const struct felem **v = sorted(s);
    for (size_t i = 0; v[i]; i++) {
        const struct felem *e = v[i];
        bool more = !fset_empty(e->sub);
        if (!more && !e->member)
            continue;
        jmval *below = jm_obj(m);
        if (more && e->member)
            jm_add(m, below, ".", jm_obj(m));
        write_into(e->sub, m, below);
        jm_add(m, o, e->step, below);
    }
}

jmval *fset_write(const struct fset *s, struct jm *m)
{
    jmval *o = jm_obj(m);
    write_into(s, m, o);
    return o;
}

/* ---- for people --------------------------------------------------------------------------------------------------------------
 */

void fset_step_text(const char *step, struct buf *out)
{
    const char *rest = step + 2;
    if (step[0] == 'f') {
        buf_addf(out, ".%s", rest);
    } else if (step[0] == 'i') {
        buf_addf(out, "[%s]", rest);
    } else if (step[0] == 'v') {
        buf_addf(out, "[=%s]", rest);
    } else {
        JSON_REF(d) = json_parse_str(rest, NULL);
        struct jiter it = jv_iter(json_root(d));
        const char *key;
        jval *v;
        buf_addc(out, '[');
        for (bool first = true; jv_is(json_root(d), J_OBJECT) && jv_next(&it, &key, &v); first = false) {
            buf_addf(out, "%s%s=", first ? "" : ",", key);
            jv_write(v, JW_COMPACT, out);
        }
        buf_addc(out, ']');
    }
}

static void paths(const struct fset *s, struct buf *at, struct strlist *out)
{
    AUTOFREE const struct felem **v = sorted(s);
    for (int below = 0; below < 2; below++)
        for (size_t i = 0; v[i]; i++) {
            size_t len = at->len;
            fset_step_text(v[i]->step, at);
            if (below)
                paths(v[i]->sub, at, out);
            else if (v[i]->member)
                strlist_add(out, buf_str(at));
            at->data[at->len = len] = '\0';
        }
}

void fset_paths(const struct fset *s, struct strlist *out)
{
    BUF(at);
    paths(s, &at, out);
}
