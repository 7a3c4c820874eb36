/* ResourceQuotas and LimitRanges. */
#include <stdlib.h>
#include <string.h>

#include "kube/amounts.h"
#include "kube/fields.h"
#include "kube/object.h"
#include "kube/rules/validate_priv.h"

static bool in_list(const char *const *list, const char *s)
{
    for (size_t i = 0; list[i]; i++)
        if (str_eq(list[i], s))
            return true;
    return false;
}

/* ---- quotas -------------------------------------------------------------------------------------------------------- */

static const char *const whole_numbers[] = {"pods",
                                            "services",
                                            "replicationcontrollers",
                                            "resourcequotas",
                                            "secrets",
                                            "configmaps",
                                            "persistentvolumeclaims",
                                            "services.nodeports",
                                            "services.loadbalancers",
                                            NULL};
static const char *const pod_sums[] = {"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory", NULL};
static const char *const other_sums[] = {"ephemeral-storage", "requests.ephemeral-storage", "limits.ephemeral-storage",
                                         "requests.storage", NULL};

static bool is_quota_name(const char *name)
{
    return in_list(whole_numbers, name) || in_list(pod_sums, name) || in_list(other_sums, name) ||
           str_starts(name, "hugepages-") || str_starts(name, "requests.hugepages-");
}

static bool is_extended(const char *name)
{
    return strchr(name, '/') && !strstr(name, "kubernetes.io/") && !str_starts(name, "requests.");
}

static void check_hard(struct faults *f, const char *name, const struct quantity *q)
{
    char text[QUANTITY_TEXT_MAX];
    size_t at = fault_push_key(f, name);
    quantity_format(q, text);
    validate_resource_name(f, name);
    if (!strchr(name, '/') && !is_quota_name(name))
        fault_invalid_str(f, NULL, name, "must be a standard resource for quota");
    if (q->nano < 0)
        fault_invalid_str(f, NULL, text, "must be greater than or equal to 0");
    if ((in_list(whole_numbers, name) || is_extended(name)) && q->nano % 1000000000 != 0)
        fault_invalid_str(f, NULL, text, "must be an integer");
    fault_pop(f, at);
}

static bool is_scope(const char *s)
{
    static const char *const scopes[] = {"BestEffort",
                                         "CrossNamespacePodAffinity",
                                         "NotBestEffort",
                                         "NotTerminating",
                                         "PriorityClass",
                                         "Terminating",
                                         "VolumeAttributesClass",
                                         NULL};
    return in_list(scopes, s);
}

static bool scope_fits(const char *scope, const char *name)
{
    if (!is_scope(scope) || !is_quota_name(name))
        return true;
    if (str_eq(scope, "VolumeAttributesClass"))
        return str_eq(name, "persistentvolumeclaims") || str_eq(name, "requests.storage");
    return str_eq(name, "pods") || (!str_eq(scope, "BestEffort") && in_list(pod_sums, name));
}

static bool has_scope(jval *scopes, const char *s)
{
    for (size_t i = 0; i < jv_len(scopes); i++)
        if (str_eq(jv_str(jv_at(scopes, i)), s))
            return true;
    return false;
}

static void check_scopes(struct faults *f, jval *scopes, const struct amounts *hard)
{
    for (size_t i = 0; i < jv_len(scopes); i++) {
        const char *scope = jv_str_or(jv_at(scopes, i), "");
        if (!is_scope(scope))
            fault_invalid(f, "scopes", scopes, "unsupported scope");
        for (size_t k = 0; k < hard->n && !faults_full(f); k++)
            if (!scope_fits(scope, hard->v[k].name))
                fault_invalid(f, "scopes", scopes, "unsupported scope applied to resource");
    }
    if ((has_scope(scopes, "BestEffort") && has_scope(scopes, "NotBestEffort")) ||
        (has_scope(scopes, "Terminating") && has_scope(scopes, "NotTerminating")))
        fault_invalid(f, "scopes", scopes, "conflicting scopes");
}

static void check_scope_values(struct faults *f, const char *op, jval *values)
{
    if (str_eq(op, "In") || str_eq(op, "NotIn")) {
        if (!jv_len(values))
            fault_required(f, "values", "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
    } else if (str_eq(op, "Exists") || str_eq(op, "DoesNotExist")) {
        if (jv_len(values))
            fault_invalid(f, "values", values,
                          "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector");
    } else {
        fault_invalid_str(f, "operator", op, "not a valid selector operator");
    }
}

static void check_scope_selector(struct faults *f, jval *selector, const struct amounts *hard)
{
    jval *list = scope_selector_match_expressions(selector);
    size_t at = fault_push(f, "scopeSelector");
    fault_push(f, "matchExpressions");
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *x = jv_at(list, i);
        const char *scope = scoped_resource_selector_requirement_scope_name(x),
                   *op = scoped_resource_selector_requirement_operator(x);
        scope = scope ? scope : "";
        op = op ? op : "";
        if (!is_scope(scope))
            fault_invalid_str(f, "scopeName", scope, "unsupported scope");
        for (size_t k = 0; k < hard->n && !faults_full(f); k++)
            if (!scope_fits(scope, hard->v[k].name))
                fault_invalid(f, NULL, selector, "unsupported scope applied to resource");
        if (is_scope(scope) && !str_eq(scope, "PriorityClass") && !str_eq(scope, "VolumeAttributesClass") &&
            !str_eq(op, "Exists"))
            fault_invalid_str(
                f, "operator", op,
                "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, "
                "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
                "ResourceQuotaScopeCrossNamespacePodAffinity");
        check_scope_values(f, op, scoped_resource_selector_requirement_values(x));
    }
    fault_pop(f, at);
}

void validate_quota(struct faults *f, jval *o)
{
    jval *spec = resource_quota_spec(o);
    CLEANUP(amounts_free) struct amounts hard = {0};
    amounts_add_map(&hard, resource_quota_spec_hard(spec));
    amounts_sort(&hard);
    size_t at = fault_push(f, "spec"), inner = fault_push(f, "hard");
    for (size_t i = 0; i < hard.n; i++)
        check_hard(f, hard.v[i].name, &hard.v[i].q);
    fault_pop(f, inner);
    check_scopes(f, resource_quota_spec_scopes(spec), &hard);
    check_scope_selector(f, resource_quota_spec_scope_selector(spec), &hard);
    fault_pop(f, at);
}

void validate_quota_update(struct faults *f, jval *old, jval *now)
{
    jval *was = resource_quota_spec(old), *is = resource_quota_spec(now);
    validate_immutable(f, "spec.scopes", resource_quota_spec_scopes(was), resource_quota_spec_scopes(is));
    validate_immutable(f, "spec.scopeSelector", resource_quota_spec_scope_selector(was), resource_quota_spec_scope_selector(is));
}

/* ---- limits -------------------------------------------------------------------------------------------------------- */

static void check_type(struct faults *f, const char *type)
{
    static const char *const types[] = {"Container", "PersistentVolumeClaim", "Pod", NULL};
    struct name_faults bad = name_qualified(type);
    validate_name(f, "type", type, bad);
    if (!bad.n && !strchr(type, '/') && !in_list(types, type))
        fault_invalid_str(f, "type", type, "must be a standard limit type or fully qualified");
}

/* The maps of an item, by the place of each in the struct. */
enum { MAX, MIN, DEFAULT, REQUEST, RATIO, N_MAPS };
static const char *const map_names[N_MAPS] = {"max", "min", "default", "defaultRequest", "maxLimitRequestRatio"};

struct item {
    const char *type;
    struct amounts maps[N_MAPS];
};

static void item_read(struct item *x, jval *v)
{
    jval *const maps[N_MAPS] = {limit_range_item_max(v), limit_range_item_min(v), limit_range_item_default(v),
                                limit_range_item_default_request(v), limit_range_item_max_limit_request_ratio(v)};
    *x = (struct item){.type = limit_range_item_type(v) ? limit_range_item_type(v) : ""};
    for (size_t i = 0; i < N_MAPS; i++) {
        amounts_add_map(&x->maps[i], maps[i]);
        amounts_sort(&x->maps[i]);
    }
}

static void item_free(struct item *x)
{
    for (size_t i = 0; i < N_MAPS; i++)
        amounts_free(&x->maps[i]);
}

static void check_names(struct faults *f, const struct item *x, unsigned which)
{
    size_t at = fault_push(f, map_names[which]);
    bool container = str_eq(x->type, "Container") || str_eq(x->type, "Pod");
    for (size_t i = 0; i < x->maps[which].n; i++) {
        const char *name = x->maps[which].v[i].name;
        size_t inner = fault_push_key(f, name);
        if (container)
            validate_container_resource_name(f, name);
        else
            validate_resource_name(f, name);
        fault_pop(f, inner);
    }
    fault_pop(f, at);
}

/* What is wrong with one pair of bounds: map a is above map b. */
struct pair {
    unsigned a, b, path, value;
    const char *text;
};

static void check_pair(struct faults *f, const struct item *x, const char *name, const struct pair *p)
{
    const struct quantity *a = amounts_find(&x->maps[p->a], name), *b = amounts_find(&x->maps[p->b], name);
    char at[QUANTITY_TEXT_MAX], bt[QUANTITY_TEXT_MAX], vt[QUANTITY_TEXT_MAX];
    if (!a || !b || quantity_cmp(a, b) <= 0)
        return;
    quantity_format(a, at);
    quantity_format(b, bt);
    quantity_format(p->value == p->a ? a : b, vt);
    size_t from = fault_push(f, map_names[p->path]);
    fault_push_key(f, name);
    fault_invalid_str(f, NULL, vt, p->text, at, bt);
    fault_pop(f, from);
}

static void check_ratio(struct faults *f, const struct item *x, const char *name)
{
    const struct quantity *ratio = amounts_find(&x->maps[RATIO], name), *min = amounts_find(&x->maps[MIN], name),
                          *max = amounts_find(&x->maps[MAX], name);
    char text[QUANTITY_TEXT_MAX];
    if (!ratio)
        return;
    quantity_format(ratio, text);
    size_t at = fault_push(f, map_names[RATIO]);
    fault_push_key(f, name);
    if (ratio->nano < 1000000000)
        fault_invalid_str(f, NULL, text, "ratio %s is less than 1", text);
    if (min && max && min->nano > 0 && (double)ratio->nano / 1e9 > (double)max->nano / (double)min->nano)
        fault_invalid_str(f, NULL, text, "ratio %s is greater than max/min = %f", text, (double)max->nano / (double)min->nano);
    fault_pop(f, at);
}

static void check_bounds(struct faults *f, const struct item *x)
{
    static const struct pair pairs[] = {
        {MIN, MAX, MIN, MIN, "min value %s is greater than max value %s"},
        {MIN, REQUEST, REQUEST, REQUEST, "min value %s is greater than default request value %s"},
        {REQUEST, MAX, REQUEST, REQUEST, "default request value %s is greater than max value %s"},
        {REQUEST, DEFAULT, REQUEST, REQUEST, "default request value %s is greater than default limit value %s"},
        {MIN, DEFAULT, DEFAULT, MIN, "min value %s is greater than default value %s"},
        {DEFAULT, MAX, DEFAULT, MAX, "default value %s is greater than max value %s"},
    };
    CLEANUP(amounts_free) struct amounts names = {0};
    for (size_t i = 0; i < N_MAPS; i++)
        amounts_add(&names, &x->maps[i], 1);
    amounts_sort(&names);
    for (size_t i = 0; i < names.n; i++) {
        for (size_t k = 0; k < ARRAY_LEN(pairs); k++)
            check_pair(f, x, names.v[i].name, &pairs[k]);
        check_ratio(f, x, names.v[i].name);
    }
}

static void check_item(struct faults *f, const struct item *x)
{
    check_names(f, x, MAX);
    check_names(f, x, MIN);
    for (unsigned which = DEFAULT; which <= REQUEST; which++) {
        if (!str_eq(x->type, "Pod"))
            check_names(f, x, which);
        else if (x->maps[which].n)
            fault_forbidden(f, map_names[which], "may not be specified when `type` is 'Pod'");
    }
    if (str_eq(x->type, "PersistentVolumeClaim") && !amounts_find(&x->maps[MIN], "storage") &&
        !amounts_find(&x->maps[MAX], "storage"))
        fault_required(f, "limits", "either minimum or maximum storage value is required, but neither was provided");
    check_names(f, x, RATIO);
    check_bounds(f, x);
}

void validate_limit_range(struct faults *f, jval *o)
{
    jval *list = limit_range_spec_limits(limit_range_spec(o));
    struct strmap seen = {0};
    for (size_t i = 0; i < jv_len(list); i++) {
        CLEANUP(item_free) struct item x;
        item_read(&x, jv_at(list, i));
        size_t at = validate_push_item(f, "spec.limits", i);
        check_type(f, x.type);
        if (strmap_has(&seen, x.type))
            fault_duplicate_str(f, "type", x.type);
        strmap_put(&seen, x.type, NULL);
        check_item(f, &x);
        fault_pop(f, at);
    }
    strmap_free(&seen);
}
