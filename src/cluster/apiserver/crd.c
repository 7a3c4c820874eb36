/* crd.c - definitions of custom kinds: their rules at a write; and what follows from writes of definitions and roles. */
#include "cluster/apiserver/internal.h"
#include "kube/fields.h"

int crd_before_write(struct op *op, struct jm *m, jval *old, struct err *err)
{
    if (op->sub)
        return 0;
    crd_default(m, jm_root(m));
    crd_prepare_status(m, jm_root(m), old);
    JSON_REF(now) = jm_freeze(m);
    return crd_validate(json_root(now), old, err);
}

static void kinds_changed(struct apiserver *a)
{
    pthread_mutex_lock(&a->res_lock);
    void (*fn)(void *) = a->kinds_changed;
    void *arg = a->kinds_changed_arg;
    pthread_mutex_unlock(&a->res_lock);
    if (fn)
        fn(arg);
}

/* Watches of a kind whose definition changed end: their readers start again and see it by the new one. */
static void end_watches(struct apiserver *a, jval *old, jval *now)
{
    jval *spec = custom_resource_definition_spec(now);
    if (old && jv_equal(custom_resource_definition_spec(old), spec))
        return;
    const char *group = custom_resource_definition_spec_group(spec);
    const char *plural = custom_resource_definition_names_plural(custom_resource_definition_spec_names(spec));
    if (group && plural)
        store_watch_end_all(store_coll(a->store, group, plural));
}

void after_write(struct op *op, jval *old, jval *now)
{
    if (op->res->coll == op->a->crds) {
        end_watches(op->a, old, now);
        kinds_changed(op->a);
    } else if (op->res->coll == op->a->cluster_roles) {
        aggregate_roles(op->a);
    }
}

void apiserver_on_kinds_changed(struct apiserver *a, void (*fn)(void *arg), void *arg)
{
    LOCK_GUARD(&a->res_lock);
    a->kinds_changed = fn;
    a->kinds_changed_arg = arg;
}
