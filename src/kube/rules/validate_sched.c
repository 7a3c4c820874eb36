/* Where a pod may go: affinity, tolerations, spreading. */
#include "kube/fields.h"
#include "kube/rules/validate_priv.h"

static void check_node_requirement(struct faults *f, jval *r)
{
    static const char *const ops[] = {"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"};
    const char *key = jv_str_or(jv_get(r, "key"), ""), *op = jv_str_or(jv_get(r, "operator"), "");
    size_t values = jv_len(node_selector_requirement_values(r));
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        known |= str_eq(ops[i], op);
    if ((str_eq(op, "In") || str_eq(op, "NotIn")) && values == 0)
        fault_required(f, "values", "must be specified when `operator` is 'In' or 'NotIn'");
    else if ((str_eq(op, "Exists") || str_eq(op, "DoesNotExist")) && values > 0)
        fault_forbidden(f, "values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    else if ((str_eq(op, "Gt") || str_eq(op, "Lt")) && values != 1)
        fault_required(f, "values", "must be specified single value when `operator` is 'Lt' or 'Gt'");
    else if (!known)
        fault_invalid_str(f, "operator", op, "not a valid selector operator");
    validate_name(f, "key", key, name_qualified(key));
}

static void check_field_requirement(struct faults *f, jval *r)
{
    const char *key = jv_str_or(jv_get(r, "key"), ""), *op = jv_str_or(jv_get(r, "operator"), "");
    jval *values = node_selector_requirement_values(r);
    if (!str_eq(op, "In") && !str_eq(op, "NotIn"))
        fault_invalid_str(f, "operator", op, "not a valid selector operator");
    else if (jv_len(values) != 1)
        fault_required(f, "values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
    if (!str_eq(key, "metadata.name")) {
        fault_invalid_str(f, "key", key, "not a valid field selector key");
        return;
    }
    for (size_t i = 0; i < jv_len(values); i++) {
        const char *v = jv_str_or(jv_at(values, i), "");
        size_t at = validate_push_item(f, "values", i);
        validate_name(f, NULL, v, name_dns1123_subdomain(v));
        fault_pop(f, at);
    }
}

static void check_term(struct faults *f, jval *term)
{
    jval *expressions = node_selector_term_match_expressions(term), *fields = node_selector_term_match_fields(term);
    for (size_t i = 0; i < jv_len(expressions); i++) {
        size_t at = validate_push_item(f, "matchExpressions", i);
        check_node_requirement(f, jv_at(expressions, i));
        fault_pop(f, at);
    }
    for (size_t i = 0; i < jv_len(fields); i++) {
        size_t at = validate_push_item(f, "matchFields", i);
        check_field_requirement(f, jv_at(fields, i));
        fault_pop(f, at);
    }
}

static void check_weight(struct faults *f, int64_t weight)
{
    if (weight < 1 || weight > 100)
        fault_invalid_i64(f, "weight", weight, "must be in the range 1-100");
}

static void check_node_affinity(struct faults *f, jval *a)
{
    jval *required = node_affinity_required_during_scheduling_ignored_during_execution(a);
    jval *preferred = node_affinity_preferred_during_scheduling_ignored_during_execution(a),
         *terms = node_selector_node_selector_terms(required);
    if (jv_is(required, J_OBJECT)) {
        size_t at = fault_push(f, "requiredDuringSchedulingIgnoredDuringExecution");
        if (jv_len(terms) == 0)
            fault_required(f, "nodeSelectorTerms", "must have at least one node selector term");
        for (size_t i = 0; i < jv_len(terms); i++) {
            size_t tat = validate_push_item(f, "nodeSelectorTerms", i);
            check_term(f, jv_at(terms, i));
            fault_pop(f, tat);
        }
        fault_pop(f, at);
    }
    for (size_t i = 0; i < jv_len(preferred); i++) {
        size_t at = validate_push_item(f, "preferredDuringSchedulingIgnoredDuringExecution", i);
        check_weight(f, preferred_scheduling_term_weight(jv_at(preferred, i), 0));
        size_t pat = fault_push(f, "preference");
        check_term(f, preferred_scheduling_term_preference(jv_at(preferred, i)));
        fault_pop(f, pat);
        fault_pop(f, at);
    }
}

static void check_pod_term(struct faults *f, jval *t)
{
    const char *key = jv_str_or(jv_get(t, "topologyKey"), "");
    static const char *const selectors[] = {"labelSelector", "namespaceSelector"};
    for (size_t i = 0; i < ARRAY_LEN(selectors); i++) {
        size_t at = fault_push(f, selectors[i]);
        validate_label_selector(f, jv_get(t, selectors[i]));
        fault_pop(f, at);
    }
    jval *namespaces = pod_affinity_term_namespaces(t);
    for (size_t i = 0; i < jv_len(namespaces); i++) {
        const char *ns = jv_str_or(jv_at(namespaces, i), "");
        validate_name(f, "namespace", ns, name_dns1123_label(ns));
    }
    if (!*key)
        fault_required(f, "topologyKey", "can not be empty");
    validate_name(f, "topologyKey", key, name_qualified(key));
}

static void check_pod_affinity(struct faults *f, jval *a)
{
    jval *required = pod_affinity_required_during_scheduling_ignored_during_execution(a);
    jval *preferred = pod_affinity_preferred_during_scheduling_ignored_during_execution(a);
    for (size_t i = 0; i < jv_len(required); i++) {
        size_t at = validate_push_item(f, "requiredDuringSchedulingIgnoredDuringExecution", i);
        check_pod_term(f, jv_at(required, i));
        fault_pop(f, at);
    }
    for (size_t i = 0; i < jv_len(preferred); i++) {
        size_t at = validate_push_item(f, "preferredDuringSchedulingIgnoredDuringExecution", i);
        check_weight(f, weighted_pod_affinity_term_weight(jv_at(preferred, i), 0));
        size_t pat = fault_push(f, "podAffinityTerm");
        check_pod_term(f, weighted_pod_affinity_term_pod_affinity_term(jv_at(preferred, i)));
        fault_pop(f, pat);
        fault_pop(f, at);
    }
}

void validate_affinity(struct faults *f, jval *affinity)
{
    size_t at = fault_push(f, "affinity"), part = fault_push(f, "nodeAffinity");
    check_node_affinity(f, affinity_node_affinity(affinity));
    fault_pop(f, part);
    part = fault_push(f, "podAffinity");
    check_pod_affinity(f, affinity_pod_affinity(affinity));
    fault_pop(f, part);
    part = fault_push(f, "podAntiAffinity");
    check_pod_affinity(f, affinity_pod_anti_affinity(affinity));
    fault_pop(f, at);
    (void)part;
}

static void check_toleration(struct faults *f, jval *t)
{
    static const char *const ops[] = {"Equal", "Exists", NULL}, *const effects[] = {"NoSchedule", "PreferNoSchedule", "NoExecute",
                                                                                    NULL};
    const char *key = jv_str_or(jv_get(t, "key"), ""), *op = jv_str_or(jv_get(t, "operator"), ""),
               *value = jv_str_or(jv_get(t, "value"), "");
    const char *effect = jv_str_or(jv_get(t, "effect"), "");
    if (*key)
        validate_name(f, "key", key, name_qualified(key));
    else if (!str_eq(op, "Exists"))
        fault_invalid_str(f, "operator", op,
                          "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
    if (jv_present(jv_get(t, "tolerationSeconds")) && !str_eq(effect, "NoExecute"))
        fault_invalid_str(f, "effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    if (!*op || str_eq(op, "Equal"))
        validate_name(f, "operator", value, name_label_value(value));
    else if (str_eq(op, "Exists") && *value)
        fault_invalid_str(f, "operator", value, "value must be empty when `operator` is 'Exists'");
    else if (!str_eq(op, "Exists"))
        fault_unsupported(f, "operator", op, ops);
    if (*effect)
        validate_enum(f, "effect", effect, effects);
}

void validate_tolerations(struct faults *f, jval *tolerations)
{
    for (size_t i = 0, n = jv_is(tolerations, J_ARRAY) ? jv_len(tolerations) : 0; i < n; i++) {
        size_t at = validate_push_item(f, "tolerations", i);
        check_toleration(f, jv_at(tolerations, i));
        fault_pop(f, at);
    }
}

void validate_spread(struct faults *f, jval *constraints)
{
    static const char *const actions[] = {"DoNotSchedule", "ScheduleAnyway", NULL};
    for (size_t i = 0, n = jv_is(constraints, J_ARRAY) ? jv_len(constraints) : 0; i < n; i++) {
        jval *c = jv_at(constraints, i);
        const char *key = jv_str_or(jv_get(c, "topologyKey"), ""), *action = jv_str_or(jv_get(c, "whenUnsatisfiable"), "");
        int64_t skew = topology_spread_constraint_max_skew(c, 0), domains;
        size_t at = validate_push_item(f, "topologySpreadConstraints", i);
        if (skew <= 0)
            fault_invalid_i64(f, "maxSkew", skew, "must be greater than zero");
        if (!*key)
            fault_required(f, "topologyKey", "can not be empty");
        else
            validate_name(f, "topologyKey", key, name_qualified(key));
        if (!str_eq(action, actions[0]) && !str_eq(action, actions[1]))
            fault_unsupported(f, "whenUnsatisfiable", action, actions);
        if (jv_i64(jv_get(c, "minDomains"), &domains)) {
            if (domains <= 0)
                fault_invalid_i64(f, "minDomains", domains, "must be greater than zero");
            if (!str_eq(action, "DoNotSchedule"))
                fault_invalid_i64(f, "minDomains", domains, "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not %s",
                                  action);
        }
        size_t sat = fault_push(f, "labelSelector");
        validate_label_selector(f, topology_spread_constraint_label_selector(c));
        fault_pop(f, sat);
        fault_pop(f, at);
    }
}
