/* eviction.c - pods/eviction: a delete that says why in the pod's conditions. Budgets for disruptions (PodDisruptionBudget) are
 * not served, so there is none that could stand against it. Source: kube.md 9, and what Kubernetes 1.34 answers. */
#include <stdio.h>

#include "cluster/apiserver/internal.h"
#include "kube/fields.h"

#define MARK_TRIES 8

/* What the delete is told: the eviction's own options, and dryRun of the request. */
static int options_of(struct op *op, jval *eviction, struct kube_opts *o, int64_t *grace, struct err *err)
{
    struct delete_words w = {0};
    struct op del = {0};
    jval *options = eviction_delete_options(eviction);
    if (jv_present(options))
        delete_words_of(options, &w, o, grace);
    if (delete_words_use(&del, &w, o, err) < 0)
        return -1;
    o->dry_run |= op->o->dry_run;
    return 0;
}

/* The condition tells whoever made the pod that nothing was wrong with it. *rv gets the revision of the pod that has it. */
static int mark(struct op *op, int64_t *rv, struct err *err)
{
    for (int i = 0; i < MARK_TRIES; i++) {
        OBJ_REF(cur) = sub_parent(op, err);
        if (!cur || delete_check_preconditions(op, obj_root(cur), err) < 0)
            return -1;
        *rv = cur->rv;
        JM(m, obj_root(cur));
        if (!obj_set_condition(m, jm_root(m), "DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting",
                               ctx_now_ns(op->ctx)))
            return 0;
        pod_conditions_complete(m);
        ERR(e);
        OBJ_REF(marked) = NULL;
        if (object_write(op, cur->key, cur->rv, m, false, false, &marked, &e) == 0) {
            *rv = marked->rv;
            return 0;
        }
        if (e.code != ERR_CONFLICT && e.code != ERR_NOT_FOUND)
            return err_move(err, &e);
    }
    return fail_conflict(err, op->res, op->name, MODIFIED_TEXT);
}

struct store_obj *sub_eviction(struct op *op, jval *eviction, struct err *err)
{
    struct kube_opts o = {0};
    int64_t grace, rv;
    if (!str_eq(obj_name(eviction), op->name)) {
        err_set(err, ERR_BAD_REQUEST, "name in URL does not match name in Eviction object");
        return NULL;
    }
    if (*obj_namespace(eviction) && !str_eq(obj_namespace(eviction), op->ns)) {
        err_set(err, ERR_BAD_REQUEST, "the namespace of the provided object does not match the namespace sent on the request");
        return NULL;
    }
    if (options_of(op, eviction, &o, &grace, err) < 0)
        return NULL;
    struct op del = *op;
    del.verb = "delete";
    del.sub = NULL;
    del.o = &o;
    char text[32];
    if (!o.dry_run) {
        if (mark(&del, &rv, err) < 0)
            return NULL;
        snprintf(text, sizeof text, "%lld", (long long)rv);
        if (o.precondition_rv) /* it was met; the mark has made another one of it */
            o.precondition_rv = text;
    }
    CLEANUP(deletion_free) struct deletion d = {0};
    return verb_delete(&del, &d, err) < 0 ? NULL : created_status();
}
