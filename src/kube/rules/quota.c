#include "kube/rules/quota.h"

#include <stdlib.h>
#include <string.h>

#include "kube/fields.h"
#include "kube/object.h"

#define CLASS_INFIX ".storageclass.storage.k8s.io/"

static bool is_core(const struct kube_res *res, const char *plural) { return !*res->group && str_eq(res->plural, plural); }

static char *count_name(const struct kube_res *res)
{
    return xasprintf("count/%s%s%s", res->plural, *res->group ? "." : "", res->group);
}

/* ---- names ----------------------------------------------------------------------------------------------------------- */

static bool pod_name(const char *name)
{
    static const char *const plain[] = {"pods", "cpu", "memory", "ephemeral-storage"};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (str_eq(plain[i], name))
            return true;
    return str_starts(name, "hugepages-") || str_starts(name, "limits.") ||
           (str_starts(name, "requests.") && !str_eq(name, "requests.storage"));
}

static bool claim_name(const char *name)
{
    const char *of_class = strstr(name, CLASS_INFIX);
    name = of_class ? of_class + strlen(CLASS_INFIX) : name;
    return str_eq(name, "persistentvolumeclaims") || str_eq(name, "requests.storage");
}

bool quota_counts(const struct kube_res *res, const char *name)
{
    static const char *const plain[] = {"configmaps", "secrets", "replicationcontrollers", "resourcequotas"};
    AUTOFREE char *count = count_name(res);
    if (str_eq(name, count))
        return true;
    if (is_core(res, "pods"))
        return pod_name(name);
    if (is_core(res, "services"))
        return str_eq(name, "services") || str_eq(name, "services.nodeports") || str_eq(name, "services.loadbalancers");
    if (is_core(res, "persistentvolumeclaims"))
        return claim_name(name);
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (is_core(res, plain[i]))
            return str_eq(name, plain[i]);
    return false;
}

/* ---- usage ------------------------------------------------------------------------------------------------------------ */

static void put(struct amounts *out, const char *name, int64_t n)
{
    struct quantity q = {.nano = (__int128)n * 1000000000};
    amounts_add_one(out, name, &q);
}

static bool is_compute(const char *name)
{
    return str_eq(name, "cpu") || str_eq(name, "memory") || str_eq(name, "ephemeral-storage");
}

static bool is_extended(const char *name) { return strchr(name, '/') && !strstr(name, "kubernetes.io/"); }

static bool ended(jval *pod)
{
    const char *phase = pod_status_phase(pod_status(pod));
    return str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
}

static void use_pod(jval *pod, struct amounts *out)
{
    if (ended(pod))
        return;
    CLEANUP(amounts_free) struct amounts requests = {0}, limits = {0};
    put(out, "pods", 1);
    pod_requests(pod, &requests);
    pod_limits_sum(pod, &limits);
    for (size_t i = 0; i < requests.n; i++) {
        const struct amount *a = &requests.v[i];
        AUTOFREE char *name = xasprintf("requests.%s", a->name);
        bool huge = str_starts(a->name, "hugepages-");
        if (is_compute(a->name) || huge)
            amounts_add_one(out, a->name, &a->q);
        if (is_compute(a->name) || huge || is_extended(a->name))
            amounts_add_one(out, name, &a->q);
    }
    for (size_t i = 0; i < limits.n; i++) {
        AUTOFREE char *name = xasprintf("limits.%s", limits.v[i].name);
        if (is_compute(limits.v[i].name))
            amounts_add_one(out, name, &limits.v[i].q);
    }
}

static void use_service(jval *o, struct amounts *out)
{
    jval *spec = service_spec(o), *ports = service_spec_ports(spec);
    const char *type = service_spec_type(spec);
    bool balanced = str_eq(type, "LoadBalancer");
    int64_t n = 0;
    put(out, "services", 1);
    for (size_t i = 0; i < jv_len(ports); i++)
        if (str_eq(type, "NodePort") || (balanced && (service_spec_allocate_load_balancer_node_ports(spec, true) ||
                                                      service_port_node_port(jv_at(ports, i), 0) > 0)))
            n++;
    put(out, "services.nodeports", n);
    put(out, "services.loadbalancers", balanced);
}

static const char *class_of(jval *claim)
{
    const char *old = obj_annotation(claim, "volume.beta.kubernetes.io/storage-class");
    return old ? old : persistent_volume_claim_spec_storage_class_name(persistent_volume_claim_spec(claim));
}

static void use_claim(jval *o, struct amounts *out)
{
    struct quantity size = {0};
    const char *class = class_of(o);
    amount_of(volume_resource_requirements_requests(persistent_volume_claim_spec_resources(persistent_volume_claim_spec(o))),
              "storage", &size);
    put(out, "persistentvolumeclaims", 1);
    amounts_add_one(out, "requests.storage", &size);
    if (str_empty(class))
        return;
    AUTOFREE char *n = xasprintf("%s" CLASS_INFIX "persistentvolumeclaims", class);
    AUTOFREE char *bytes = xasprintf("%s" CLASS_INFIX "requests.storage", class);
    put(out, n, 1);
    amounts_add_one(out, bytes, &size);
}

void quota_usage(const struct kube_res *res, jval *obj, struct amounts *out)
{
    AUTOFREE char *count = count_name(res);
    put(out, count, 1);
    if (is_core(res, "pods"))
        use_pod(obj, out);
    else if (is_core(res, "services"))
        use_service(obj, out);
    else if (is_core(res, "persistentvolumeclaims"))
        use_claim(obj, out);
    else if (quota_counts(res, res->plural))
        put(out, res->plural, 1);
}

/* ---- scopes ------------------------------------------------------------------------------------------------------------ */

/* A term of affinity that names other namespaces. */
static bool term_crosses(jval *term)
{
    return jv_len(pod_affinity_term_namespaces(term)) > 0 || jv_present(pod_affinity_term_namespace_selector(term));
}

static bool terms_cross(jval *required, jval *preferred)
{
    for (size_t i = 0; i < jv_len(required); i++)
        if (term_crosses(jv_at(required, i)))
            return true;
    for (size_t i = 0; i < jv_len(preferred); i++)
        if (term_crosses(weighted_pod_affinity_term_pod_affinity_term(jv_at(preferred, i))))
            return true;
    return false;
}

static bool crosses(jval *spec)
{
    jval *with = affinity_pod_affinity(pod_spec_affinity(spec)), *away = affinity_pod_anti_affinity(pod_spec_affinity(spec));
    return terms_cross(pod_affinity_required_during_scheduling_ignored_during_execution(with),
                       pod_affinity_preferred_during_scheduling_ignored_during_execution(with)) ||
           terms_cross(pod_anti_affinity_required_during_scheduling_ignored_during_execution(away),
                       pod_anti_affinity_preferred_during_scheduling_ignored_during_execution(away));
}

static bool one_of(jval *values, const char *s)
{
    for (size_t i = 0; i < jv_len(values); i++)
        if (str_eq(jv_str(jv_at(values, i)), s))
            return true;
    return false;
}

/* An empty word is an absent one. */
static bool word_matches(const char *word, const char *op, jval *values)
{
    bool there = !str_empty(word);
    if (str_eq(op, "In"))
        return there && one_of(values, word);
    if (str_eq(op, "NotIn"))
        return !there || !one_of(values, word);
    return str_eq(op, "DoesNotExist") ? !there : there;
}

static bool pod_in_scope(jval *pod, const char *scope, const char *op, jval *values)
{
    jval *spec = pod_spec(pod);
    bool ends = jv_present(jv_get(spec, "activeDeadlineSeconds"));
    bool best_effort = str_eq(pod_qos_class(spec), "BestEffort");
    if (str_eq(scope, "Terminating"))
        return ends;
    if (str_eq(scope, "NotTerminating"))
        return !ends;
    if (str_eq(scope, "BestEffort"))
        return best_effort;
    if (str_eq(scope, "NotBestEffort"))
        return !best_effort;
    if (str_eq(scope, "CrossNamespacePodAffinity"))
        return crosses(spec);
    return str_eq(scope, "PriorityClass") && word_matches(pod_spec_priority_class_name(spec), op, values);
}

static bool in_scope(const struct kube_res *res, jval *obj, const char *scope, const char *op, jval *values)
{
    if (is_core(res, "pods"))
        return pod_in_scope(obj, scope, op, values);
    return is_core(res, "persistentvolumeclaims") && str_eq(scope, "VolumeAttributesClass") &&
           word_matches(persistent_volume_claim_spec_volume_attributes_class_name(persistent_volume_claim_spec(obj)), op, values);
}

bool quota_covers(jval *quota, const struct kube_res *res, jval *obj)
{
    jval *spec = resource_quota_spec(quota), *scopes = resource_quota_spec_scopes(spec);
    jval *more = scope_selector_match_expressions(resource_quota_spec_scope_selector(spec));
    for (size_t i = 0; i < jv_len(scopes); i++)
        if (!in_scope(res, obj, jv_str(jv_at(scopes, i)), "Exists", NULL))
            return false;
    for (size_t i = 0; i < jv_len(more); i++) {
        jval *x = jv_at(more, i);
        if (!in_scope(res, obj, scoped_resource_selector_requirement_scope_name(x),
                      scoped_resource_selector_requirement_operator(x), scoped_resource_selector_requirement_values(x)))
            return false;
    }
    return true;
}

/* ---- what must be said --------------------------------------------------------------------------------------------------- */

static bool says(jval *container, const char *name)
{
    jval *resources = container_resources(container);
    bool limit = str_starts(name, "limits.");
    const char *dot = strchr(name, '.');
    return jv_get(limit ? resource_requirements_limits(resources) : resource_requirements_requests(resources),
                  dot ? dot + 1 : name) != NULL;
}

static void silent_containers(jval *list, const char *name, struct strlist *out)
{
    for (size_t i = 0; i < jv_len(list); i++)
        if (!says(jv_at(list, i), name))
            strlist_add(out, jv_str_or(jv_get(jv_at(list, i), "name"), ""));
}

bool quota_missing(jval *quota, jval *pod, struct buf *out)
{
    static const char *const asked[] = {"cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"};
    jval *hard = resource_quota_spec_hard(resource_quota_spec(quota)), *spec = pod_spec(pod);
    if (jv_len(pod_spec_resources(spec)))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        STRLIST(names);
        if (!jv_get(hard, asked[i]))
            continue;
        silent_containers(pod_spec_containers(spec), asked[i], &names);
        silent_containers(pod_spec_init_containers(spec), asked[i], &names);
        if (!names.n)
            continue;
        strlist_sort(&names);
        AUTOFREE char *text = strlist_join(&names, ",");
        buf_addf(out, "%s%s for: %s", out->len ? "; " : "", asked[i], text);
    }
    return out->len > 0;
}

void quota_text(const struct amounts *a, const struct strlist *only, struct buf *out)
{
    char text[QUANTITY_TEXT_MAX];
    size_t from = out->len;
    for (size_t i = 0; i < only->n; i++) {
        const struct quantity *q = amounts_find(a, only->v[i]);
        buf_addf(out, "%s%s=%s", out->len > from ? "," : "", only->v[i], quantity_format(q ? q : &(struct quantity){0}, text));
    }
}
