#include "cluster/scheduler/fit.h"

#include <stdlib.h>

#include "kube/fields.h"
#include "kube/object.h"
#include "value/quantity.h"

void pod_host_ports(jval *pod, struct strlist *out)
{
    jval *containers = pod_spec_containers(pod_spec(pod));
    for (size_t i = 0; i < jv_len(containers); i++) {
        jval *ports = container_ports(jv_at(containers, i));
        for (size_t j = 0; j < jv_len(ports); j++) {
            int64_t port = container_port_host_port(jv_at(ports, j), 0);
            const char *protocol = container_port_protocol(jv_at(ports, j));
            if (port > 0)
                strlist_addf(out, "%s/%lld", protocol ? protocol : "TCP", (long long)port);
        }
    }
}

/* ---- affinity and taints ------------------------------------------------------------------------------------------------------
 */

static bool in_values(jval *values, const char *s)
{
    for (size_t i = 0; i < jv_len(values); i++)
        if (str_eq(jv_str(jv_at(values, i)), s))
            return true;
    return false;
}

static bool requirement(jval *r, const char *value)
{
    const char *op = node_selector_requirement_operator(r);
    jval *values = node_selector_requirement_values(r);
    int64_t have, want;
    if (str_eq(op, "In"))
        return value && in_values(values, value);
    if (str_eq(op, "NotIn"))
        return !value || !in_values(values, value);
    if (str_eq(op, "Exists"))
        return value != NULL;
    if (str_eq(op, "DoesNotExist"))
        return value == NULL;
    if (!value || !str_to_i64(value, &have) || !str_to_i64(jv_str_or(jv_at(values, 0), ""), &want))
        return false;
    return str_eq(op, "Gt") ? have > want : str_eq(op, "Lt") ? have < want : false;
}

/* All requirements of a term hold; a term without any matches nothing. */
static bool term(jval *t, jval *node)
{
    jval *labels = node_selector_term_match_expressions(t), *fields = node_selector_term_match_fields(t);
    if (!jv_len(labels) && !jv_len(fields))
        return false;
    for (size_t i = 0; i < jv_len(labels); i++) {
        const char *key = node_selector_requirement_key(jv_at(labels, i));
        if (!requirement(jv_at(labels, i), obj_label(node, key ? key : "")))
            return false;
    }
    for (size_t i = 0; i < jv_len(fields); i++) {
        const char *key = node_selector_requirement_key(jv_at(fields, i));
        if (!str_eq(key, "metadata.name") || !requirement(jv_at(fields, i), obj_name(node)))
            return false;
    }
    return true;
}

bool node_selector_matches(jval *selector, jval *node)
{
    jval *terms = node_selector_node_selector_terms(selector);
    for (size_t i = 0; i < jv_len(terms); i++)
        if (term(jv_at(terms, i), node))
            return true;
    return false;
}

bool node_affinity_matches(jval *pod, jval *node)
{
    jval *spec = pod_spec(pod), *need;
    struct jiter it = jv_iter(pod_spec_node_selector(spec));
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v))
        if (!str_eq(obj_label(node, k), jv_str(v)))
            return false;
    need = node_affinity_required_during_scheduling_ignored_during_execution(affinity_node_affinity(pod_spec_affinity(spec)));
    return !need || node_selector_matches(need, node);
}

static bool tolerates(jval *pod, const char *key, const char *value, const char *effect)
{
    jval *list = pod_spec_tolerations(pod_spec(pod));
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *t = jv_at(list, i);
        const char *tk = toleration_key(t), *te = toleration_effect(t), *tv = toleration_value(t);
        bool exists = str_eq(toleration_operator(t), "Exists");
        if (!str_empty(te) && !str_eq(te, effect))
            continue;
        if (str_empty(tk) ? exists : str_eq(tk, key) && (exists || str_eq(tv ? tv : "", value ? value : "")))
            return true;
    }
    return false;
}

const char *untolerated_taint(jval *pod, jval *node)
{
    jval *taints = node_spec_taints(node_spec(node));
    for (size_t i = 0; i < jv_len(taints); i++) {
        jval *t = jv_at(taints, i);
        const char *effect = taint_effect(t), *key = taint_key(t);
        if (!str_eq(effect, "NoSchedule") && !str_eq(effect, "NoExecute"))
            continue;
        /* Cordoning is said in its own words. */
        if (!str_eq(key, "node.kubernetes.io/unschedulable") && !tolerates(pod, key, taint_value(t), effect))
            return key;
    }
    return NULL;
}

/* ---- the filter
 * ------------------------------------------------------------------------------------------------------------------- */

static bool capacity(jval *map, const char *name, __int128 *out)
{
    struct quantity q;
    const char *s = jv_str(jv_get(map, name));
    if (!s || quantity_parse(s, &q, NULL) < 0)
        return false;
    *out = q.nano;
    return true;
}

static bool resources_fit(jval *pod, jval *node, const struct usage *u, struct strlist *why, bool *helps)
{
    jval *have = node_status_allocatable(node_status(node));
    CLEANUP(amounts_free) struct amounts need = {0};
    __int128 room;
    bool fits = true;
    pod_requests(pod, &need);
    if (capacity(have, "pods", &room) && (__int128)(u->pods + 1) * 1000000000 > room) {
        strlist_add(why, "Too many pods");
        *helps = true;
        fits = false;
    }
    for (size_t i = 0; i < need.n; i++) {
        if (need.v[i].q.nano <= 0)
            continue;
        if (!capacity(have, need.v[i].name, &room))
            room = 0;
        if (need.v[i].q.nano + amounts_get(&u->used, need.v[i].name) <= room)
            continue;
        strlist_addf(why, "Insufficient %s", need.v[i].name);
        *helps |= need.v[i].q.nano <= room;
        fits = false;
    }
    return fits;
}

bool node_fits(jval *pod, jval *node, const struct usage *u, struct strlist *why, bool *helps)
{
    STRLIST(ports);
    if (node_spec_unschedulable(node_spec(node), false) &&
        !tolerates(pod, "node.kubernetes.io/unschedulable", "", "NoSchedule")) {
        strlist_add(why, "node(s) were unschedulable");
        return false;
    }
    const char *taint = untolerated_taint(pod, node);
    if (taint) {
        strlist_add(why, "node(s) had untolerated taint(s)");
        return false;
    }
    if (!node_affinity_matches(pod, node)) {
        strlist_add(why, "node(s) didn't match Pod's node affinity/selector");
        return false;
    }
    pod_host_ports(pod, &ports);
    for (size_t i = 0; i < ports.n; i++)
        if (strlist_has(&u->ports, ports.v[i])) {
            strlist_add(why, "node(s) didn't have free ports for the requested pod ports");
            *helps = true;
            return false;
        }
    return resources_fit(pod, node, u, why, helps);
}
