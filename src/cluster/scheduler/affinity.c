#include "cluster/scheduler/affinity.h"

#include <stdlib.h>

#include "cluster/scheduler/fit.h"
#include "kube/fields.h"
#include "kube/object.h"
#include "kube/selector.h"

static jval *affinity_terms(jval *pod)
{
    return pod_affinity_required_during_scheduling_ignored_during_execution(
        affinity_pod_affinity(pod_spec_affinity(pod_spec(pod))));
}

static jval *anti_affinity_terms(jval *pod)
{
    return pod_anti_affinity_required_during_scheduling_ignored_during_execution(
        affinity_pod_anti_affinity(pod_spec_affinity(pod_spec(pod))));
}

static bool is_hard(jval *constraint)
{
    const char *when = topology_spread_constraint_when_unsatisfiable(constraint);
    return !when || strcmp(when, "DoNotSchedule") == 0;
}

bool pod_looks_at_others(jval *pod)
{
    return jv_len(affinity_terms(pod)) || jv_len(anti_affinity_terms(pod)) ||
           jv_len(pod_spec_topology_spread_constraints(pod_spec(pod)));
}

/* ---- whom a term means ---------------------------------------------------------------------------------------------------- */

static void selector_freep(struct label_selector **s) { label_selector_free(*s); }
#define SELECTOR(name, obj) CLEANUP(selector_freep) struct label_selector *name = label_selector_from(obj, NULL)

/* Labels that must have the value which they have on the owner of the rule (or must not). */
static bool keys_match(jval *keys, jval *owner, jval *other, bool same)
{
    for (size_t i = 0; i < jv_len(keys); i++) {
        const char *key = jv_str_or(jv_at(keys, i), ""), *a = obj_label(owner, key), *b = obj_label(other, key);
        if (a && str_eq(a, b) != same)
            return false;
    }
    return true;
}

static bool means_namespace(jval *term, jval *owner, const char *ns, const struct surroundings *s)
{
    jval *names = pod_affinity_term_namespaces(term), *selector = pod_affinity_term_namespace_selector(term);
    for (size_t i = 0; i < jv_len(names); i++)
        if (str_eq(jv_str(jv_at(names, i)), ns))
            return true;
    if (!jv_present(selector))
        return !jv_len(names) && str_eq(ns, obj_namespace(owner));
    SELECTOR(sel, selector);
    return sel && label_selector_matches(sel, s->namespace_labels ? s->namespace_labels(s->arg, ns) : NULL);
}

/* Is other one of those that owner's term means? */
static bool means(jval *term, jval *owner, jval *other, const struct surroundings *s)
{
    SELECTOR(sel, pod_affinity_term_label_selector(term));
    return sel && label_selector_matches(sel, obj_labels(other)) && means_namespace(term, owner, obj_namespace(other), s) &&
           keys_match(pod_affinity_term_match_label_keys(term), owner, other, true) &&
           keys_match(pod_affinity_term_mismatch_label_keys(term), owner, other, false);
}

static bool means_by_all(jval *terms, jval *owner, jval *other, const struct surroundings *s)
{
    for (size_t i = 0; i < jv_len(terms); i++)
        if (!means(jv_at(terms, i), owner, other, s))
            return false;
    return true;
}

static const char *place(jval *node, const char *key) { return node && key ? obj_label(node, key) : NULL; }
static bool same_place(jval *a, jval *b, const char *key) { return place(a, key) && str_eq(place(a, key), place(b, key)); }

/* ---- affinity -------------------------------------------------------------------------------------------------------------- */

/* Each term has a partner at the node's place. Where there is none anywhere, the first of a group that wants its own kind goes.
 */
static bool affinity_holds(jval *pod, jval *node, const struct surroundings *s)
{
    jval *terms = affinity_terms(pod);
    bool anywhere = false, all = true;
    for (size_t t = 0; t < jv_len(terms); t++) {
        const char *key = pod_affinity_term_topology_key(jv_at(terms, t));
        bool here = false;
        if (!place(node, key))
            return false;
        for (size_t i = 0; i < s->n_peers && !here; i++) {
            if (!place(s->peers[i].node, key) || !means_by_all(terms, pod, s->peers[i].pod, s))
                continue;
            anywhere = true;
            here = same_place(s->peers[i].node, node, key);
        }
        all &= here;
    }
    return all || (!anywhere && means_by_all(terms, pod, pod, s));
}

/* Does a term of owner, who is at owner_node (or would be), keep other from there? */
static bool repels(jval *owner, jval *owner_node, jval *other, jval *other_node, const struct surroundings *s)
{
    jval *terms = anti_affinity_terms(owner);
    for (size_t t = 0; t < jv_len(terms); t++)
        if (same_place(owner_node, other_node, pod_affinity_term_topology_key(jv_at(terms, t))) &&
            means(jv_at(terms, t), owner, other, s))
            return true;
    return false;
}

/* ---- spread ---------------------------------------------------------------------------------------------------------------- */

struct domain {
    const char *value;
    int64_t pods;
};

static bool counted_node(jval *constraint, jval *pod, jval *node)
{
    jval *all = pod_spec_topology_spread_constraints(pod_spec(pod));
    for (size_t i = 0; i < jv_len(all); i++)
        if (is_hard(jv_at(all, i)) && !place(node, topology_spread_constraint_topology_key(jv_at(all, i))))
            return false;
    if (!str_eq(topology_spread_constraint_node_affinity_policy(constraint), "Ignore") && !node_affinity_matches(pod, node))
        return false;
    return !str_eq(topology_spread_constraint_node_taints_policy(constraint), "Honor") || !untolerated_taint(pod, node);
}

static struct domain *domain_of(struct domain *d, size_t n, const char *value)
{
    for (size_t i = 0; value && i < n; i++)
        if (strcmp(d[i].value, value) == 0)
            return &d[i];
    return NULL;
}

static bool meant_by_spread(jval *constraint, const struct label_selector *sel, jval *pod, jval *other)
{
    return sel && label_selector_matches(sel, obj_labels(other)) && str_eq(obj_namespace(pod), obj_namespace(other)) &&
           keys_match(topology_spread_constraint_match_label_keys(constraint), pod, other, true);
}

/* The pods at the node's place would not be more than maxSkew beyond those where there are fewest. */
static bool spread_holds(jval *constraint, jval *pod, jval *node, const struct surroundings *s)
{
    const char *key = topology_spread_constraint_topology_key(constraint);
    AUTOFREE struct domain *d = xcalloc(s->n_nodes + 1, sizeof(*d));
    size_t n = 0;
    SELECTOR(sel, topology_spread_constraint_label_selector(constraint));
    for (size_t i = 0; i < s->n_nodes; i++)
        if (counted_node(constraint, pod, s->nodes[i]) && !domain_of(d, n, place(s->nodes[i], key)))
            d[n++] = (struct domain){place(s->nodes[i], key), 0};
    for (size_t i = 0; i < s->n_peers; i++) {
        const struct peer *p = &s->peers[i];
        struct domain *at = domain_of(d, n, place(p->node, key));
        if (at && !obj_deleting(p->pod) && counted_node(constraint, pod, p->node) &&
            meant_by_spread(constraint, sel, pod, p->pod))
            at->pods++;
    }
    int64_t fewest = INT64_MAX;
    for (size_t i = 0; i < n; i++)
        fewest = d[i].pods < fewest ? d[i].pods : fewest;
    if (n == 0 || (int64_t)n < topology_spread_constraint_min_domains(constraint, 1))
        fewest = 0;
    struct domain *here = domain_of(d, n, place(node, key));
    int64_t self = meant_by_spread(constraint, sel, pod, pod) ? 1 : 0;
    return (here ? here->pods : 0) + self - fewest <= topology_spread_constraint_max_skew(constraint, 1);
}

/* NULL, or why the pod must not go there. */
static const char *spread_fault(jval *pod, jval *node, const struct surroundings *s, bool *helps)
{
    jval *all = pod_spec_topology_spread_constraints(pod_spec(pod));
    for (size_t i = 0; i < jv_len(all); i++) {
        jval *c = jv_at(all, i);
        if (!is_hard(c))
            continue;
        if (!place(node, topology_spread_constraint_topology_key(c)))
            return "node(s) didn't match pod topology spread constraints (missing required label)";
        if (!spread_holds(c, pod, node, s)) {
            *helps = true;
            return "node(s) didn't match pod topology spread constraints";
        }
    }
    return NULL;
}

/* ---- door -------------------------------------------------------------------------------------------------------------------
 */

bool pod_affinity_fits(jval *pod, jval *node, const struct surroundings *s, struct strlist *why, bool *helps)
{
    const char *fault = spread_fault(pod, node, s, helps);
    if (!fault && !affinity_holds(pod, node, s))
        fault = "node(s) didn't match pod affinity rules";
    for (size_t i = 0; !fault && i < s->n_peers; i++)
        if (repels(pod, node, s->peers[i].pod, s->peers[i].node, s)) {
            fault = "node(s) didn't match pod anti-affinity rules";
            *helps = true;
        }
    for (size_t i = 0; !fault && i < s->n_peers; i++)
        if (repels(s->peers[i].pod, s->peers[i].node, pod, node, s)) {
            fault = "node(s) didn't satisfy existing pods anti-affinity rules";
            *helps = true;
        }
    if (fault)
        strlist_add(why, fault);
    return !fault;
}
