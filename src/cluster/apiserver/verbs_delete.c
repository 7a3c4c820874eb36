/* verbs_delete.c - delete and deletecollection: grace, finalizers, propagation (kube.md 4.5). */
#include <inttypes.h>
#include <stdlib.h>

#include "base/timefmt.h"
#include "cluster/apiserver/internal.h"
#include "kube/fields.h"

#define DELETE_TRIES         8
#define FINALIZER_ORPHAN     "orphan"
#define FINALIZER_FOREGROUND "foregroundDeletion"
#define FINALIZER_CLEANUP    "customresourcecleanup.apiextensions.k8s.io"

void deletion_free(struct deletion *d)
{
    store_obj_unref(d->obj);
    json_unref(d->status);
    *d = (struct deletion){0};
}

int delete_check_preconditions(const struct op *op, jval *o, struct err *err)
{
    const char *uid = op->o->precondition_uid, *rv = op->o->precondition_rv;
    const char *what = NULL, *want = NULL, *have = NULL, *why = NULL;
    if (uid && strcmp(uid, obj_uid(o)) != 0) {
        what = "UID";
        want = uid;
        have = obj_uid(o);
        why = "deleted and then recreated";
    } else if (rv && strcmp(rv, obj_rv_text(o)) != 0) {
        what = "ResourceVersion";
        want = rv;
        have = obj_rv_text(o);
        why = "modified";
    }
    if (!what)
        return 0;
    const struct kube_res *k = res_of(op->res);
    err_set(
        err, ERR_CONFLICT,
        "Operation cannot be fulfilled on %s%s%s \"%s\": the %s in the precondition (%s) does not match the %s in record (%s). "
        "The object might have been %s",
        k->kind, *k->group ? "." : "", k->group, op->name, what, want, what, have, why);
    err_subject(err, k->group, k->kind, op->name);
    return -1;
}

/* ---- what the policy makes of the finalizers ------------------------------------------------------------------- */

static bool orphans_by_default(const struct kube_res *k)
{
    return (strcmp(k->group, "batch") == 0 && strcmp(k->plural, "jobs") == 0) ||
           (!*k->group && strcmp(k->plural, "replicationcontrollers") == 0);
}

static enum kube_propagation policy_of(struct op *op, jval *o)
{
    if (op->o->propagation != KUBE_DEFAULT_PROPAGATION)
        return op->o->propagation;
    if (obj_has_finalizer(o, FINALIZER_ORPHAN))
        return KUBE_ORPHAN;
    if (obj_has_finalizer(o, FINALIZER_FOREGROUND))
        return KUBE_FOREGROUND;
    return orphans_by_default(res_of(op->res)) ? KUBE_ORPHAN : KUBE_BACKGROUND;
}

/* True when the finalizers have changed. */
static bool set_policy_finalizers(struct jm *m, jval *old, enum kube_propagation policy)
{
    bool had_orphan = obj_has_finalizer(old, FINALIZER_ORPHAN), had_foreground = obj_has_finalizer(old, FINALIZER_FOREGROUND);
    bool orphan = policy == KUBE_ORPHAN, foreground = policy == KUBE_FOREGROUND;
    if (orphan == had_orphan && foreground == had_foreground)
        return false;
    jmval *o = jm_root(m);
    obj_remove_finalizer(o, FINALIZER_ORPHAN);
    obj_remove_finalizer(o, FINALIZER_FOREGROUND);
    if (orphan)
        obj_add_finalizer(m, o, FINALIZER_ORPHAN);
    if (foreground)
        obj_add_finalizer(m, o, FINALIZER_FOREGROUND);
    jmval *meta = jm_obj_at(m, o, "metadata");
    if (jmv_len(object_meta_mut_finalizers(meta)) == 0)
        object_meta_del_finalizers(meta);
    return true;
}

/* ---- grace ----------------------------------------------------------------------------------------------------- */

static bool is_pod(const struct op *op) { return op->res->coll == op->a->pods; }

static bool is_definition(const struct op *op)
{
    return str_eq(res_of(op->res)->plural, "customresourcedefinitions") && str_eq(res_of(op->res)->group, "apiextensions.k8s.io");
}

static int64_t pod_grace(const struct op *op, jval *pod)
{
    int64_t s = op->o->grace_seconds ? *op->o->grace_seconds : pod_spec_termination_grace_period_seconds(pod_spec(pod), 0);
    const char *phase = pod_status_phase(pod_status(pod));
    if (str_empty(pod_spec_node_name(pod_spec(pod))) || str_eq(phase, "Succeeded") || str_eq(phase, "Failed"))
        return 0;
    return s < 0 ? 1 : s;
}

static void mark_deleting(const struct op *op, struct jm *m, int64_t at_ns, int64_t grace)
{
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    int64_t generation;
    bool first = !object_meta_mut_deletion_timestamp(meta);
    if (first && jmv_i64(object_meta_mut_generation(meta), &generation) && generation > 0)
        object_meta_set_generation(m, meta, generation + 1);
    char text[TIME_TEXT_MAX];
    object_meta_set_deletion_timestamp(m, meta, time_format(text, at_ns, TIME_SECONDS));
    if (op->res->coll != op->a->namespaces)
        object_meta_set_deletion_grace_period_seconds(m, meta, grace);
    else if (first)
        namespace_status_set_phase(m, namespace_make_status(m, jm_root(m)), "Terminating");
}

/* MARK_AND_REMOVE: watchers of pods see the deletion marked before they see it done. */
enum plan { PLAN_KEEP, PLAN_UPDATE, PLAN_REMOVE, PLAN_MARK_AND_REMOVE };

/* A pod that is being deleted already: the grace may only be shortened. */
static enum plan plan_pending_pod(const struct op *op, jval *old, struct jm *m)
{
    jval *meta = obj_meta(old);
    int64_t had = object_meta_deletion_grace_period_seconds(meta, 0), at = 0;
    if (had == 0 && !obj_has_finalizers(old)) /* we died between the mark and the removal */
        return PLAN_REMOVE;
    if (!op->o->grace_seconds)
        return PLAN_KEEP;
    int64_t want = *op->o->grace_seconds < 0 ? 1 : *op->o->grace_seconds;
    if (want >= had && had > 0)
        return PLAN_KEEP;
    time_parse(obj_deletion_timestamp(old), &at);
    mark_deleting(op, m, at + (want - had) * NS_PER_S, want);
    return want == 0 && !obj_has_finalizers(old) ? PLAN_MARK_AND_REMOVE : had == want ? PLAN_KEEP : PLAN_UPDATE;
}

static enum plan plan_delete(struct op *op, jval *old, struct jm *m)
{
    int64_t now = ctx_now_ns(op->ctx);
    if (is_pod(op) && obj_deleting(old))
        return plan_pending_pod(op, old, m);
    bool changed = set_policy_finalizers(m, old, policy_of(op, old));
    if (is_definition(op) && !obj_deleting(old)) /* its objects go first: a controller sees to that */
        changed |= obj_add_finalizer(m, jm_root(m), FINALIZER_CLEANUP);
    bool held = jmv_len(object_meta_mut_finalizers(jmv_get(jm_root(m), "metadata"))) > 0;
    if (op->res->coll == op->a->namespaces)
        held = held || jv_len(namespace_spec_finalizers(namespace_spec(old))) > 0;
    int64_t grace = is_pod(op) ? pod_grace(op, old) : 0;
    bool stays = grace > 0 || held;
    if (!obj_deleting(old) && (stays || is_pod(op)))
        mark_deleting(op, m, now + grace * NS_PER_S, grace);
    if (stays)
        return obj_deleting(old) && !changed ? PLAN_KEEP : PLAN_UPDATE;
    return is_pod(op) ? PLAN_MARK_AND_REMOVE : PLAN_REMOVE;
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static bool answers_object(const struct kube_res *k)
{
    static const char *const core[] = {
        "pods", "persistentvolumeclaims", "persistentvolumes", "services", "serviceaccounts", "resourcequotas", "podtemplates"};
    if (strcmp(k->group, "storage.k8s.io") == 0)
        return strcmp(k->plural, "storageclasses") == 0;
    for (size_t i = 0; !*k->group && i < ARRAY_LEN(core); i++)
        if (strcmp(core[i], k->plural) == 0)
            return true;
    return false;
}

static void answer_removed(const struct op *op, struct store_obj *last, struct deletion *out)
{
    const struct kube_res *k = res_of(op->res);
    if (answers_object(k)) {
        out->obj = store_obj_ref(last);
        return;
    }
    JM_NEW(m);
    jmval *d = jm_obj(m);
    jm_set_root(m, d);
    jm_put(m, d, "name", jm_str(m, op->name));
    if (*k->group)
        jm_put(m, d, "group", jm_str(m, k->group));
    jm_put(m, d, "kind", jm_str(m, k->plural));
    jm_put(m, d, "uid", jm_str(m, obj_uid(obj_root(last))));
    out->status = status_success(m);
}

/* Writes what the plan says. *last gets the state that is answered. */
static int carry_out(struct op *op, enum plan plan, const char *key, int64_t rv, struct jm *m, struct store_obj **last,
                     struct err *err)
{
    if (op->o->dry_run) {
        *last = store_obj_new(key, rv, jm_freeze(m));
        return 0;
    }
    OBJ_REF(marked) = NULL;
    if (plan == PLAN_MARK_AND_REMOVE) {
        /* Soft: it becomes durable with the removal, which follows at once. */
        if (object_write(op, key, rv, m, false, true, &marked, err) < 0)
            return -1;
        rv = marked->rv;
    }
    ERR(e);
    if (object_write(op, key, rv, m, plan != PLAN_UPDATE, false, last, &e) == 0)
        return 0;
    if (!marked || e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    /* Somebody wrote to what we had marked, which removes it: it is done. */
    *last = TAKE(marked);
    return 0;
}

/* 1: done; 0: somebody else was faster; -1. */
static int delete_once(struct op *op, const char *key, struct deletion *out, struct err *err)
{
    OBJ_REF(cur) = store_get(op->res->coll, key);
    if (!cur)
        return fail_not_found(err, op->res, op->name);
    OBJ_REF(shown) = object_as(op->res, cur);
    jval *old = obj_root(shown);
    if (delete_check_preconditions(op, old, err) < 0 || admit_delete(op, old, err) < 0)
        return -1;
    JM(m, old);
    enum plan plan = plan_delete(op, old, m);
    if (plan == PLAN_KEEP) {
        out->obj = TAKE(shown);
        return 1;
    }
    OBJ_REF(last) = NULL;
    ERR(e);
    if (carry_out(op, plan, key, cur->rv, m, &last, &e) < 0)
        return e.code == ERR_CONFLICT ? 0 : e.code == ERR_NOT_FOUND ? fail_not_found(err, op->res, op->name) : err_move(err, &e);
    if (!op->o->dry_run)
        after_write(op, plan == PLAN_UPDATE ? old : NULL, obj_root(last));
    if (plan == PLAN_UPDATE)
        out->obj = TAKE(last);
    else
        answer_removed(op, last, out);
    return 1;
}

static void warn_of_orphans(struct op *op)
{
    if (strcmp(res_of(op->res)->plural, "jobs") == 0 && orphans_by_default(res_of(op->res)) &&
        op->o->propagation == KUBE_DEFAULT_PROPAGATION)
        op_warn(
            op,
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
            "propagationPolicy=Orphan to suppress this warning");
}

int verb_delete(struct op *op, struct deletion *out, struct err *err)
{
    *out = (struct deletion){0};
    AUTOFREE char *key = op_key(op);
    warn_of_orphans(op);
    for (int i = 0; i < DELETE_TRIES; i++) {
        int rc = delete_once(op, key, out, err);
        if (rc < 0)
            return -1;
        if (rc > 0) {
            out->accepted = op->orphan_refused && out->obj && obj_has_finalizers(obj_root(out->obj));
            return 0;
        }
    }
    return fail_conflict(err, op->res, op->name, MODIFIED_TEXT);
}

/* Deletes each object of the list; the list is the answer. Objects that went meanwhile are no error. */
int verb_delete_collection(struct op *op, struct listing *out, struct err *err)
{
    if (verb_list(op, out, err) < 0)
        return -1;
    for (size_t i = 0; i < out->list.n; i++) {
        struct op one = *op;
        jval *o = obj_root(out->list.v[i]);
        one.ns = *obj_namespace(o) ? obj_namespace(o) : NULL;
        one.name = obj_name(o);
        CLEANUP(deletion_free) struct deletion d = {0};
        ERR(e);
        if (verb_delete(&one, &d, &e) < 0 && e.code != ERR_NOT_FOUND)
            return err_move(err, &e);
    }
    return 0;
}
