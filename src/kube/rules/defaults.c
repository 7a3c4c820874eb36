#include "kube/rules/defaults.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kube/rules/defaults_priv.h"

/* Hooks by type, found once. Sorted by address. Written by resolve() only, before anybody reads. */
struct resolved {
    const struct ktype *type;
    void (*apply)(struct jm *m, jmval *v);
};
#define MAX_HOOKS 64
static struct resolved hooks[MAX_HOOKS];
static size_t n_hooks;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct resolved *)a)->type, y = (uintptr_t)((const struct resolved *)b)->type;
    return x < y ? -1 : x > y;
}

static void resolve_list(const struct default_hook *h)
{
    for (; h->schema; h++) {
        const struct ktype *t = ktype_find(h->schema);
        ASSERT(t && n_hooks < MAX_HOOKS);
        hooks[n_hooks++] = (struct resolved){t, h->apply};
    }
}

static void resolve(void)
{
    resolve_list(defaults_of_pods);
    resolve_list(defaults_of_objects);
    resolve_list(defaults_of_services);
    qsort(hooks, n_hooks, sizeof *hooks, by_address);
}

static void apply_hook(struct jm *m, const struct ktype *t, jmval *v)
{
    struct resolved key = {.type = t};
    const struct resolved *h = bsearch(&key, hooks, n_hooks, sizeof *hooks, by_address);
    if (h)
        h->apply(m, v);
}

/* A default of the table is JSON text of a scalar, in practice a string. */
static void apply_table_default(struct jm *m, const struct kfield *f, jmval *v)
{
    jmval *x = jmv_get(v, f->name);
    if (!f->dflt || (x && ((f->flags & KFIELD_POINTER) || jmv_len(x))))
        return;
    JSON_REF(d) = json_parse_str(f->dflt, NULL);
    ASSERT(d);
    jm_put(m, v, f->name, jm_val(m, json_root(d)));
}

static void walk(struct jm *m, const struct ktype *t, jmval *v)
{
    if (jmv_type(v) != J_OBJECT)
        return;
    apply_hook(m, t, v);
    for (size_t i = 0; i < t->n_fields; i++) {
        const struct kfield *f = &t->fields[i];
        apply_table_default(m, f, v);
        if (f->form != KFORM_STRUCT)
            continue;
        jmval *x = jmv_get(v, f->name);
        if (f->shape == KSHAPE_ONE) {
            walk(m, f->type, x);
            continue;
        }
        struct jmiter it = jmv_iter(x);
        jmval *e;
        while (jmv_next(&it, NULL, &e))
            walk(m, f->type, e);
    }
}

void defaults_apply(const struct kind *k, struct jm *m, jmval *obj)
{
    ASSERT(k->type);
    ASSERT(pthread_once(&once, resolve) == 0);
    walk(m, k->type, obj);
}
