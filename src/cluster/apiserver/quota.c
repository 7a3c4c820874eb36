/* quota.c - LimitRanges and ResourceQuotas at the door (kube.md 11.1). What is used is counted from what is stored, under one
 * lock with the write that it allows: nothing is ever given twice, and what was deleted is free at once. The status of a quota
 * only shows it; a controller keeps it right when objects go. */
#include "kube/rules/quota.h"

#include <stdlib.h>

#include "cluster/apiserver/internal.h"
#include "kube/fields.h"

/* Of one namespace. */
static bool all_of(struct store_coll *c, const char *ns, struct store_list *out)
{
    *out = (struct store_list){0};
    return ns && store_count(c) && store_list(c, &(struct store_query){.ns = ns}, out, NULL) == 0 && out->n > 0;
}

/* ---- limits -------------------------------------------------------------------------------------------------------- */

void limits_admit(struct op *op, struct jm *m)
{
    struct store_list ranges;
    if (!all_of(op->a->limit_ranges, op->ns, &ranges))
        return;
    bool filled = false;
    for (size_t i = 0; i < ranges.n; i++)
        filled |= limits_fill(obj_root(ranges.v[i]), m);
    store_list_free(&ranges);
    if (!filled)
        return;
    JSON_REF(now) = jm_freeze(m);
    pod_status_set_qos_class(m, pod_make_status(m, jm_root(m)), pod_qos_class(pod_spec(json_root(now))));
}

int limits_refuse(struct op *op, jval *now, struct err *err)
{
    struct store_list ranges;
    STRLIST(faults);
    bool pod = op->res->coll == op->a->pods && !strcmp(op->verb, "create"); /* what a pod asks for does not change later */
    if ((!pod && !str_eq(op->res->full, "persistentvolumeclaims")) || !all_of(op->a->limit_ranges, op->ns, &ranges))
        return 0;
    for (size_t i = 0; i < ranges.n && !faults.n; i++)
        limits_check(obj_root(ranges.v[i]), res_of(op->res), now, &faults);
    store_list_free(&ranges);
    if (!faults.n)
        return 0;
    AUTOFREE char *text = strlist_join(&faults, ", ");
    return fail_forbidden(err, op->res, obj_name(now), faults.n > 1 ? "[%s]" : "%s", text);
}

/* ---- quotas -------------------------------------------------------------------------------------------------------- */

/* One quota that a write has to do with. */
struct claim {
    jval *quota;
    struct strlist names; /* of its hard, that the write uses more of */
    struct amounts more, used, hard;
};

static void claim_free(struct claim *c)
{
    strlist_free(&c->names);
    amounts_free(&c->more);
    amounts_free(&c->used);
    amounts_free(&c->hard);
}

/* What is stored now. */
static void count_stored(struct op *op, jval *quota, struct amounts *used)
{
    struct store_list all;
    if (!all_of(op->res->coll, op->ns, &all))
        return;
    for (size_t i = 0; i < all.n; i++)
        if (quota_covers(quota, res_of(op->res), obj_root(all.v[i])))
            quota_usage(res_of(op->res), obj_root(all.v[i]), used);
    store_list_free(&all);
}

/* False: the quota has nothing to do with it. */
static bool claim_of(struct op *op, jval *old, jval *now, jval *quota, struct claim *c)
{
    const struct kube_res *res = res_of(op->res);
    CLEANUP(amounts_free) struct amounts before = {0};
    const char *name;
    jval *v;
    c->quota = quota;
    if (!quota_covers(quota, res, now))
        return false;
    quota_usage(res, now, &c->more);
    if (old && quota_covers(quota, res, old))
        quota_usage(res, old, &before);
    amounts_add(&c->more, &before, -1);
    amounts_add_map(&c->hard, resource_quota_spec_hard(resource_quota_spec(quota)));
    for (struct jiter it = jv_iter(resource_quota_spec_hard(resource_quota_spec(quota))); jv_next(&it, &name, &v);)
        if (quota_counts(res, name) && (!old || amounts_get(&c->more, name) > 0))
            strlist_add(&c->names, name);
    strlist_sort(&c->names);
    return c->names.n > 0;
}

static int check_said(struct op *op, jval *old, jval *now, jval *quota, struct err *err)
{
    BUF(missing);
    if (old || op->res->coll != op->a->pods || !quota_missing(quota, now, &missing))
        return 0;
    return fail_forbidden(err, op->res, obj_name(now), "failed quota: %s: must specify %s", obj_name(quota), buf_str(&missing));
}

static int check_room(struct op *op, jval *now, struct claim *c, struct err *err)
{
    STRLIST(over);
    for (size_t i = 0; i < c->names.n; i++) {
        const char *name = c->names.v[i];
        __int128 more = amounts_get(&c->more, name);
        if (more > 0 && amounts_get(&c->used, name) + more > amounts_get(&c->hard, name))
            strlist_add(&over, name);
    }
    if (!over.n)
        return 0;
    BUF(requested);
    BUF(used);
    BUF(limited);
    quota_text(&c->more, &over, &requested);
    quota_text(&c->used, &over, &used);
    quota_text(&c->hard, &over, &limited);
    return fail_forbidden(err, op->res, obj_name(now), "exceeded quota: %s, requested: %s, used: %s, limited: %s",
                          obj_name(c->quota), buf_str(&requested), buf_str(&used), buf_str(&limited));
}

/* Remembers what the status is to show. */
static void hold_claim(struct quota_hold *h, struct store_obj *quota, const struct claim *c)
{
    h->quotas[h->n] = store_obj_ref(quota);
    for (size_t i = 0; i < c->names.n; i++) {
        const char *name = c->names.v[i];
        const struct quantity *used = amounts_find(&c->used, name), *more = amounts_find(&c->more, name);
        amounts_add_one(&h->used[h->n], name, used ? used : &(struct quantity){0});
        if (more)
            amounts_add_one(&h->used[h->n], name, more);
    }
    h->n++;
}

static int take_one(struct op *op, jval *old, jval *now, struct store_obj *quota, struct quota_hold *h, struct err *err)
{
    CLEANUP(claim_free) struct claim c = {0};
    if (!claim_of(op, old, now, obj_root(quota), &c))
        return 0;
    if (check_said(op, old, now, c.quota, err) < 0)
        return -1;
    count_stored(op, c.quota, &c.used);
    if (check_room(op, now, &c, err) < 0)
        return -1;
    hold_claim(h, quota, &c);
    return 0;
}

int quota_take(struct op *op, jval *old, jval *now, struct quota_hold *h, struct err *err)
{
    struct store_list quotas;
    *h = (struct quota_hold){0};
    if (op->sub || !res_of(op->res)->namespaced || !all_of(op->a->quotas, op->ns, &quotas))
        return 0;
    pthread_mutex_lock(&op->a->quota_lock);
    h->locked = true;
    h->quotas = xcalloc(quotas.n, sizeof(*h->quotas));
    h->used = xcalloc(quotas.n, sizeof(*h->used));
    int rc = 0;
    for (size_t i = 0; i < quotas.n && rc == 0; i++)
        rc = take_one(op, old, now, quotas.v[i], h, err);
    store_list_free(&quotas);
    if (rc < 0)
        quota_settle(op, h, false);
    return rc;
}

/* One try; false: somebody else wrote it meanwhile. A status that the controller has not made yet is left to it. */
static bool show(struct op *op, const char *key, const struct amounts *used)
{
    OBJ_REF(cur) = store_get(op->a->quotas, key);
    if (!cur || !jv_len(resource_quota_status_hard(resource_quota_status(obj_root(cur)))))
        return true;
    JM(m, obj_root(cur));
    jmval *to = resource_quota_status_make_used(m, resource_quota_make_status(m, jm_root(m)));
    for (size_t i = 0; i < used->n; i++) {
        char text[QUANTITY_TEXT_MAX];
        jm_put(m, to, used->v[i].name, jm_str(m, quantity_format(&used->v[i].q, text)));
    }
    struct store_write w = {.coll = op->a->quotas, .key = cur->key, .expect = cur->rv, .doc = m, .soft = true};
    ERR(e);
    return store_write(op->a->store, &w, NULL, &e) == 0 || e.code != ERR_CONFLICT;
}

void quota_settle(struct op *op, struct quota_hold *h, bool stored)
{
    if (!h->locked)
        return;
    for (size_t i = 0; i < h->n; i++) {
        for (int try = 0; stored && try < 5 && !show(op, h->quotas[i]->key, &h->used[i]);)
            try++;
        store_obj_unref(h->quotas[i]);
        amounts_free(&h->used[i]);
    }
    free(h->quotas);
    free(h->used);
    *h = (struct quota_hold){0};
    pthread_mutex_unlock(&op->a->quota_lock);
}
