/* priority.c - the Priority admission: a pod's class becomes its number, and only one class is the default. */
#include "cluster/apiserver/internal.h"
#include "kube/fields.h"

/* The class that pods without one get; of several, which a race may leave, the lowest. A reference or NULL. */
static struct store_obj *default_class(struct apiserver *a)
{
    struct store_list l;
    if (store_list(a->priority_classes, &(struct store_query){0}, &l, NULL) < 0)
        return NULL;
    struct store_obj *found = NULL;
    for (size_t i = 0; i < l.n; i++)
        if (priority_class_global_default(obj_root(l.v[i]), false) &&
            (!found || priority_class_value(obj_root(l.v[i]), 0) < priority_class_value(obj_root(found), 0)))
            found = l.v[i];
    store_obj_ref(found);
    store_list_free(&l);
    return found;
}

static int set_policy(struct op *op, struct jm *m, jval *pod, const char *policy, struct err *err)
{
    const char *given = pod_spec_preemption_policy(pod_spec(pod));
    if (given && strcmp(given, policy) != 0)
        return fail_forbidden(
            err, op->res, obj_name(pod),
            "the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed "
            "%s from the given PriorityClass name",
            given, policy);
    pod_spec_set_preemption_policy(m, pod_make_spec(m, jm_root(m)), policy);
    return 0;
}

int admit_priority(struct op *op, struct jm *m, struct err *err)
{
    JSON_REF(was) = jm_freeze(m);
    jval *pod = json_root(was), *spec = pod_spec(pod);
    const char *name = pod_spec_priority_class_name(spec);
    OBJ_REF(class) = str_empty(name) ? default_class(op->a) : store_get(op->a->priority_classes, name);
    if (!class && !str_empty(name))
        return fail_forbidden(err, op->res, obj_name(pod), "no PriorityClass with name %s was found", name);
    int64_t value = priority_class_value(obj_root(class), 0), given = pod_spec_priority(spec, value);
    const char *policy = class ? priority_class_preemption_policy(obj_root(class)) : "PreemptLowerPriority";
    if (given != value)
        return fail_forbidden(
            err, op->res, obj_name(pod),
            "the integer value of priority (%lld) must not be provided in pod spec; priority admission controller computed "
            "%lld from the given PriorityClass name",
            (long long)given, (long long)value);
    jmval *to = pod_make_spec(m, jm_root(m));
    pod_spec_set_priority(m, to, value);
    if (class)
        pod_spec_set_priority_class_name(m, to, obj_name(obj_root(class)));
    return policy ? set_policy(op, m, pod, policy, err) : 0;
}

int admit_priority_class(struct op *op, jval *old, jval *now, struct err *err)
{
    if (!priority_class_global_default(now, false))
        return 0;
    OBJ_REF(there) = default_class(op->a);
    if (!there || (old && str_eq(obj_name(obj_root(there)), obj_name(now))))
        return 0;
    return fail_forbidden(err, op->res, obj_name(now),
                          "PriorityClass %s is already marked as default. Only one default can exist", obj_name(obj_root(there)));
}
