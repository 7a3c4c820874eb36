/* content.c - see content.h. */
#include "cluster/controllers/content.h"

#include <stdlib.h>

#include "base/str.h"
#include "kube/kinds.h"
#include "kube/object.h"

struct collection {
    char *group, *version, *plural, *kind;
};
struct collections {
    struct collection *v;
    size_t n;
};

static void add_collection(void *arg, const struct kube_res *res)
{
    struct collections *all = arg;
    if (!res->namespaced)
        return;
    all->v = xreallocarray(all->v, all->n + 1, sizeof *all->v);
    all->v[all->n++] = (struct collection){xstrdup(res->group), xstrdup(res->version), xstrdup(res->plural), xstrdup(res->kind)};
}

static void collections_clear(struct collections *all)
{
    for (size_t i = 0; i < all->n; i++) {
        free(all->v[i].group);
        free(all->v[i].version);
        free(all->v[i].plural);
        free(all->v[i].kind);
    }
    free(all->v);
}

/* How many objects hold each finalizer. */
static void count_finalizers(jval *obj, struct strmap *counts)
{
    jval *f;
    for (struct jiter it = jv_iter(jv_get(obj_meta(obj), "finalizers")); jv_next(&it, NULL, &f);) { /* fields: any kind */
        const char *name = jv_str_or(f, "");
        strmap_put(counts, name, (void *)((uintptr_t)strmap_get(counts, name) + 1));
    }
}

static void delete_one(const struct controllers_config *cfg, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                       jval *obj, struct content_left *left)
{
    ERR(e);
    struct kube_opts opts = {.propagation = KUBE_BACKGROUND, .precondition_uid = obj_uid(obj)};
    if (obj_deleting(obj))
        return;
    if (kube_delete(cfg->kube, ctx, res, ns, obj_name(obj), &opts, NULL, &e) < 0 && e.code != ERR_NOT_FOUND &&
        e.code != ERR_CONFLICT && !left->failed.len)
        buf_addf(&left->failed, "Failed to delete %s %s: %s", res->plural, obj_name(obj), err_text(&e));
}

static int delete_all_of(const struct controllers_config *cfg, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                         struct content_left *left, struct strmap *finalizers, struct err *err)
{
    struct kube_list before = {0}, after = {0};
    ERR(e);
    if (ctx_check(ctx, err) < 0)
        return -1;
    if (kube_list(cfg->kube, ctx, res, ns, NULL, &before, &e) < 0) {
        if (e.code != ERR_NOT_FOUND && !left->failed.len)
            buf_addf(&left->failed, "Failed to list %s: %s", res->plural, err_text(&e));
        return 0;
    }
    for (size_t i = 0; i < before.n; i++)
        delete_one(cfg, ctx, res, ns, json_root(before.items[i]), left);
    if (before.n && kube_list(cfg->kube, ctx, res, ns, NULL, &after, &e) == 0 && after.n) {
        buf_addf(&left->objects, "%s%s.%s has %zu resource instances",
                 left->objects.len ? ", " : "Some resources are remaining: ", res->plural, res->group, after.n);
        for (size_t i = 0; i < after.n; i++)
            count_finalizers(json_root(after.items[i]), finalizers);
    }
    kube_list_free(&before);
    kube_list_free(&after);
    return 0;
}

int content_delete(const struct controllers_config *cfg, const struct ctx *ctx, const char *ns, struct content_left *left,
                   struct err *err)
{
    struct collections all = {0};
    struct strmap finalizers = STRMAP_INIT(NULL);
    cfg->each_kind(cfg->self, add_collection, &all);
    /* Pods first, so that their grace runs while the rest goes. */
    int rc = delete_all_of(cfg, ctx, &KUBE_PODS, ns, left, &finalizers, err);
    for (size_t i = 0; rc == 0 && i < all.n; i++) {
        const struct collection *c = &all.v[i];
        struct kube_res res = {
            .group = c->group, .version = c->version, .plural = c->plural, .kind = c->kind, .namespaced = true};
        if (strcmp(c->plural, "pods") != 0 || *c->group)
            rc = delete_all_of(cfg, ctx, &res, ns, left, &finalizers, err);
    }
    for (struct strmap_entry *e = strmap_first(&finalizers); e; e = strmap_next(e))
        buf_addf(&left->finalizers, "%s%s in %zu resource instances",
                 left->finalizers.len ? ", " : "Some content in the namespace has finalizers remaining: ", e->key,
                 (size_t)(uintptr_t)e->value);
    strmap_free(&finalizers);
    collections_clear(&all);
    return rc;
}
