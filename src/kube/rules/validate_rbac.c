/* Roles and their bindings. */
#include "kube/fields.h"
#include "kube/object.h"
#include "kube/rules/validate_priv.h"

#define RBAC "rbac.authorization.k8s.io"

static void check_rules(struct faults *f, jval *rules, bool namespaced)
{
    for (size_t i = 0, n = jv_is(rules, J_ARRAY) ? jv_len(rules) : 0; i < n; i++) {
        jval *r = jv_at(rules, i), *urls = policy_rule_non_resource_urls(r), *groups = policy_rule_api_groups(r),
             *resources = policy_rule_resources(r);
        size_t at = validate_push_item(f, "rules", i);
        if (jv_len(policy_rule_verbs(r)) == 0)
            fault_required(f, "verbs", "verbs must contain at least one value");
        if (jv_len(urls) > 0) {
            if (namespaced)
                fault_invalid(f, "nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs");
            if (jv_len(groups) || jv_len(resources) || jv_len(policy_rule_resource_names(r)))
                fault_invalid(f, "nonResourceURLs", urls, "rules cannot apply to both regular resources and non-resource URLs");
        } else {
            if (jv_len(groups) == 0)
                fault_required(f, "apiGroups", "resource rules must supply at least one api group");
            if (jv_len(resources) == 0)
                fault_required(f, "resources", "resource rules must supply at least one resource");
        }
        fault_pop(f, at);
    }
}

static void check_aggregation(struct faults *f, jval *rule)
{
    jval *list = aggregation_rule_cluster_role_selectors(rule);
    if (!jv_is(rule, J_OBJECT))
        return;
    if (jv_len(list) == 0)
        fault_required(f, "aggregationRule.clusterRoleSelectors",
                       "at least one clusterRoleSelector required if aggregationRule is non-nil");
    for (size_t i = 0, n = jv_is(list, J_ARRAY) ? jv_len(list) : 0; i < n; i++) {
        size_t at = validate_push_item(f, "aggregationRule.clusterRoleSelectors", i), before = f->texts.n;
        validate_label_selector(f, jv_at(list, i));
        if (f->texts.n > before)
            fault_invalid(f, NULL, NULL, "invalid label selector.");
        fault_pop(f, at);
    }
}

static void check_group(struct faults *f, const char *group, const char *wanted)
{
    const char *const allowed[] = {wanted, NULL};
    if (!str_eq(group ? group : "", wanted))
        fault_unsupported(f, "apiGroup", group ? group : "", allowed);
}

static void check_subject(struct faults *f, jval *s, bool namespaced)
{
    static const char *const kinds[] = {"ServiceAccount", "User", "Group", NULL};
    const char *kind = jv_str_or(jv_get(s, "kind"), ""), *name = jv_str_or(jv_get(s, "name"), ""), *group = subject_api_group(s);
    if (!*name)
        fault_required(f, "name", NULL);
    if (str_eq(kind, "ServiceAccount")) {
        if (*name)
            validate_name(f, "name", name, name_dns1123_subdomain(name));
        check_group(f, group, "");
        if (!namespaced && str_empty(subject_namespace(s)))
            fault_required(f, "namespace", NULL);
    } else if (str_eq(kind, "User") || str_eq(kind, "Group")) {
        check_group(f, group, RBAC);
    } else {
        fault_unsupported(f, "kind", kind, kinds);
    }
}

static void check_binding(struct faults *f, jval *o, bool namespaced)
{
    static const char *const both[] = {"Role", "ClusterRole", NULL}, *const cluster[] = {"ClusterRole", NULL};
    jval *ref = role_binding_role_ref(o), *subjects = role_binding_subjects(o);
    const char *kind = jv_str_or(jv_get(ref, "kind"), ""), *name = jv_str_or(jv_get(ref, "name"), "");
    size_t at = fault_push(f, "roleRef");
    check_group(f, role_ref_api_group(ref), RBAC);
    if (!str_eq(kind, "ClusterRole") && !(namespaced && str_eq(kind, "Role")))
        fault_unsupported(f, "kind", kind, namespaced ? both : cluster);
    if (!*name)
        fault_required(f, "name", NULL);
    else
        validate_name(f, "name", name, name_path_segment(name));
    fault_pop(f, at);
    for (size_t i = 0, n = jv_is(subjects, J_ARRAY) ? jv_len(subjects) : 0; i < n; i++) {
        at = validate_push_item(f, "subjects", i);
        check_subject(f, jv_at(subjects, i), namespaced);
        fault_pop(f, at);
    }
}

void validate_rbac(struct faults *f, jval *o)
{
    bool namespaced = *obj_namespace(o) != '\0';
    if (str_ends(obj_kind(o), "Binding")) {
        check_binding(f, o, namespaced);
        return;
    }
    check_rules(f, cluster_role_rules(o), namespaced);
    check_aggregation(f, cluster_role_aggregation_rule(o));
}

void validate_role_ref_update(struct faults *f, jval *old, jval *now)
{
    if (!jv_equal(role_binding_role_ref(old), role_binding_role_ref(now)))
        fault_invalid(f, "roleRef", role_binding_role_ref(now), "cannot change roleRef");
}
