/* quota.c - see quota.h. */
#include "cluster/controllers/quota.h"

#include <stdlib.h>

#include "base/str.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/rules/quota.h"

#define RECOUNT_NS (5 * NS_PER_S)

struct quota_controller {
    const struct controllers_config *cfg;
    struct informer *quotas;
    struct controller_run *run;
};

/* ---- counting -------------------------------------------------------------------------------------------------------- */

struct count {
    struct quota_controller *c;
    const struct ctx *ctx;
    jval *quota, *hard;
    struct amounts used;
    bool unwatched; /* something is counted of a kind that is not watched */
    bool failed;
    struct err *err;
};

static bool is_watched(const struct kube_res *res)
{
    return !*res->group &&
           (str_eq(res->plural, "pods") || str_eq(res->plural, "services") || str_eq(res->plural, "persistentvolumeclaims"));
}

/* Every name that the kind counts under is in the result, be it with nothing. */
static bool start_names(struct count *n, const struct kube_res *res)
{
    bool any = false;
    const char *name;
    jval *v;
    for (struct jiter it = jv_iter(n->hard); jv_next(&it, &name, &v);)
        if (quota_counts(res, name)) {
            amounts_add_one(&n->used, name, &(struct quantity){0});
            any = true;
        }
    return any;
}

static void count_kind(void *arg, const struct kube_res *res)
{
    struct count *n = arg;
    struct kube_list list = {0};
    if (!res->namespaced || n->failed || !start_names(n, res))
        return;
    n->unwatched |= !is_watched(res);
    if (kube_list(n->c->cfg->kube, n->ctx, res, obj_namespace(n->quota), NULL, &list, n->err) < 0) {
        n->failed = true;
        return;
    }
    for (size_t i = 0; i < list.n; i++) {
        CLEANUP(amounts_free) struct amounts one = {0};
        jval *o = json_root(list.items[i]);
        if (!quota_covers(n->quota, res, o))
            continue;
        quota_usage(res, o, &one);
        for (size_t k = 0; k < one.n; k++)
            if (jv_get(n->hard, one.v[k].name))
                amounts_add_one(&n->used, one.v[k].name, &one.v[k].q);
    }
    kube_list_free(&list);
}

static struct json *with_status(jval *quota, jval *hard, const struct amounts *used)
{
    JM(m, quota);
    jmval *status = resource_quota_make_status(m, jm_root(m));
    jm_clear(status);
    resource_quota_status_set_hard(m, status, jm_val(m, hard));
    jmval *to = resource_quota_status_make_used(m, status);
    for (size_t i = 0; i < used->n; i++) {
        char text[QUANTITY_TEXT_MAX];
        jm_put(m, to, used->v[i].name, jm_str(m, quantity_format(&used->v[i].q, text)));
    }
    return jm_freeze(m);
}

/* The quota is read first: an object that comes while others are counted changes its revision, and this is done again. */
static int reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct quota_controller *c = self;
    JSON_REF(cached) = informer_get(c->quotas, key);
    if (!cached)
        return 0;
    ERR(e);
    JSON_REF(quota) = kube_get(c->cfg->kube, ctx, &KUBE_RESOURCEQUOTAS, obj_namespace(json_root(cached)),
                               obj_name(json_root(cached)), NULL, &e);
    if (!quota)
        return e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
    jval *o = json_root(quota), *hard = resource_quota_spec_hard(resource_quota_spec(o));
    struct count n = {.c = c, .ctx = ctx, .quota = o, .hard = hard, .err = err};
    c->cfg->each_kind(c->cfg->self, count_kind, &n);
    JSON_REF(want) = n.failed ? NULL : with_status(o, hard, &n.used);
    amounts_free(&n.used);
    if (!want)
        return -1;
    res->again_after_ns = n.unwatched ? RECOUNT_NS : 0;
    if (jv_equal(o, json_root(want)))
        return 0;
    struct kube_opts opts = {.subresource = "status"};
    JSON_REF(now) =
        kube_update(c->cfg->kube, ctx, &KUBE_RESOURCEQUOTAS, obj_namespace(o), obj_name(o), json_root(want), &opts, &e);
    return now || e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
}

/* ---- wiring ------------------------------------------------------------------------------------------------------------ */

/* All quotas of the object's namespace. */
static void map(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    struct quota_controller *c = self;
    const char *ns = obj_namespace(json_root(now ? now : old));
    size_t n;
    struct json **all = informer_list(c->quotas, &n);
    for (size_t i = 0; i < n; i++) {
        if (str_eq(obj_namespace(json_root(all[i])), ns)) {
            AUTOFREE char *key = obj_key_of(ns, obj_name(json_root(all[i])));
            workqueue_add(q, key);
        }
        json_unref(all[i]);
    }
    free(all);
}

struct quota_controller *quota_controller_start(const struct controllers_config *cfg, struct informer *quotas,
                                                struct informer *pods, struct informer *services, struct informer *claims)
{
    struct quota_controller *c = xcalloc(1, sizeof *c);
    *c = (struct quota_controller){.cfg = cfg, .quotas = quotas};
    struct controller_source sources[] = {{.informer = quotas}, {pods, map}, {services, map}, {claims, map}};
    struct controller def = {
        .name = "resourcequota", .sources = sources, .n_sources = ARRAY_LEN(sources), .workers = 2, .reconcile = reconcile};
    c->run = controller_start(&def, c, cfg->clock, NS_PER_MS);
    return c;
}

void quota_controller_stop(struct quota_controller *c)
{
    if (!c)
        return;
    controller_stop(c->run);
    free(c);
}
