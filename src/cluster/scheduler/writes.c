#include "cluster/scheduler/writes.h"

#include "base/str.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

enum { CONFLICT_TRIES = 5 };

int bind_pod(struct kube *kube, const struct ctx *ctx, jval *pod, const char *node, struct err *err)
{
    struct kube_opts opts = {.subresource = "binding"};
    JM_NEW(m);
    jmval *b = jm_obj(m), *target = jm_obj(m), *meta = jm_obj(m);
    jm_set_root(m, b);
    jm_put(m, b, "apiVersion", jm_str(m, "v1"));
    jm_put(m, b, "kind", jm_str(m, "Binding"));
    jm_put(m, meta, "name", jm_str(m, obj_name(pod)));
    jm_put(m, meta, "uid", jm_str(m, obj_uid(pod)));
    binding_set_metadata(m, b, meta);
    jm_put(m, target, "kind", jm_str(m, "Node"));
    jm_put(m, target, "name", jm_str(m, node));
    jm_put(m, b, "target", target);
    JSON_REF(doc) = jm_freeze(m);
    JSON_REF(answer) = kube_create_sub(kube, ctx, &KUBE_PODS, obj_namespace(pod), obj_name(pod), json_root(doc), &opts, err);
    return answer ? 0 : -1;
}

/* m is a copy of the pod, and the condition speaks of this generation of it. */
static void set_condition(struct jm *m, jval *pod, const char *type, const char *status, const char *reason, const char *message,
                          int64_t now_ns)
{
    obj_set_condition(m, jm_root(m), type, status, reason, message, now_ns);
    jmval *list = pod_status_mut_conditions(pod_mut_status(jm_root(m)));
    for (size_t i = 0; obj_generation(pod) && i < jmv_len(list); i++)
        if (str_eq(jmv_str(jmv_get(jmv_at(list, i), "type")), type))
            pod_condition_set_observed_generation(m, jmv_at(list, i), obj_generation(pod));
}

int say_unscheduled(struct kube *kube, const struct ctx *ctx, struct json *seen, const char *reason, const char *message,
                    const char *nominated, struct err *err)
{
    struct kube_opts opts = {.subresource = "status"};
    jval *first = json_root(seen);
    JSON_REF(pod) = json_ref(seen);
    for (int i = 0;; i++) {
        jval *o = json_root(pod), *have = obj_condition(o, "PodScheduled");
        if (have && str_eq(pod_condition_status(have), "False") && str_eq(pod_condition_reason(have), reason) &&
            str_eq(pod_condition_message(have), message) &&
            (!nominated || str_eq(pod_status_nominated_node_name(pod_status(o)), nominated)))
            return 0;
        JM(m, o);
        set_condition(m, o, "PodScheduled", "False", reason, message, ctx_now_ns(ctx));
        if (nominated)
            pod_status_set_nominated_node_name(m, pod_make_status(m, jm_root(m)), nominated);
        JSON_REF(doc) = jm_freeze(m);
        ERR(e);
        JSON_REF(now) = kube_update(kube, ctx, &KUBE_PODS, obj_namespace(first), obj_name(first), json_root(doc), &opts, &e);
        if (now || e.code == ERR_NOT_FOUND)
            return 0;
        if (e.code != ERR_CONFLICT || i == CONFLICT_TRIES)
            return err_move(err, &e);
        struct json *newer = kube_get(kube, ctx, &KUBE_PODS, obj_namespace(first), obj_name(first), NULL, NULL);
        if (!newer || !str_eq(obj_uid(json_root(newer)), obj_uid(first)) ||
            !str_empty(pod_spec_node_name(pod_spec(json_root(newer))))) {
            json_unref(newer);
            return 0;
        }
        json_unref(pod);
        pod = newer;
    }
}

int preempt_pod(struct kube *kube, struct event_recorder *events, const struct ctx *ctx, jval *pod, jval *victim,
                const char *node, struct err *err)
{
    struct kube_opts status = {.subresource = "status"}, opts = {.precondition_uid = obj_uid(victim)};
    const char *ns = obj_namespace(victim), *name = obj_name(victim);
    ERR(e);
    JSON_REF(now) = kube_get(kube, ctx, &KUBE_PODS, ns, name, NULL, &e);
    if (now && !obj_deleting(json_root(now)) && str_eq(obj_uid(json_root(now)), obj_uid(victim))) {
        JM(m, json_root(now));
        set_condition(m, json_root(now), "DisruptionTarget", "True", "PreemptionByScheduler",
                      SCHEDULER_NAME ": preempting to accommodate a higher priority pod", ctx_now_ns(ctx));
        JSON_REF(doc) = jm_freeze(m);
        JSON_REF(told) = kube_update(kube, ctx, &KUBE_PODS, ns, name, json_root(doc), &status, &e);
        if (told && kube_delete(kube, ctx, &KUBE_PODS, ns, name, &opts, NULL, &e) == 0)
            event_record_action(events, victim, &KUBE_PODS, pod, "Preempting", "Normal", "Preempted",
                                "Preempted by pod %s on node %s", obj_uid(pod), node);
    }
    return e.code && e.code != ERR_NOT_FOUND ? err_move(err, &e) : 0;
}
