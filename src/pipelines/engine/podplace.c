/* Where a task's pod may run, and what runs before it: affinities and init containers of the platform spec. Source:
 * pipelines-runtime spec 16. */
#include "kube/fields.h"
#include "pipelines/engine/podspec.h"

static int bad(struct pod_build *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int bad(struct pod_build *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(b->err, ERR_INVALID, fmt, ap);
    va_end(ap);
    return err_wrap(b->err, "kubernetes configuration");
}

static bool weight_of(jval *e, int64_t *weight)
{
    jval *w = jv_get(e, "weight");
    return (jv_i64(w, weight) || (jv_str(w) && str_to_i64(jv_str(w), weight))) && *weight != 0;
}

static jmval *push_obj(struct pod_build *b, jmval *list)
{
    jmval *o = jm_obj(b->m);
    jm_push(list, o);
    return o;
}

/* ---- nodes --------------------------------------------------------------------------------------------------------- */

static jmval *node_part(struct pod_build *b) { return affinity_make_node_affinity(b->m, pod_spec_make_affinity(b->m, b->spec)); }

static jmval *node_terms(struct pod_build *b)
{
    jmval *need = node_affinity_make_required_during_scheduling_ignored_during_execution(b->m, node_part(b));
    return node_selector_make_node_selector_terms(b->m, need);
}

static jmval *node_preferences(struct pod_build *b)
{
    return node_affinity_make_preferred_during_scheduling_ignored_during_execution(b->m, node_part(b));
}

static void append(struct pod_build *b, jmval *to, jval *list)
{
    for (size_t i = 0; i < jv_len(list); i++)
        jm_push(to, jm_val(b->m, jv_at(list, i)));
}

static int node_json(struct pod_build *b, jval *json)
{
    if (jv_is(json, J_NULL))
        return 0;
    if (!jv_is(json, J_OBJECT))
        return bad(b, "nodeAffinityJson must be a node affinity, got %s", jtype_name(jv_type(json)));
    jval *terms = node_selector_node_selector_terms(node_affinity_required_during_scheduling_ignored_during_execution(json));
    jval *preferred = node_affinity_preferred_during_scheduling_ignored_during_execution(json);
    if (jv_is(terms, J_ARRAY) && jv_len(terms))
        append(b, node_terms(b), terms);
    if (jv_is(preferred, J_ARRAY) && jv_len(preferred))
        append(b, node_preferences(b), preferred);
    return 0;
}

static int node_affinity(struct pod_build *b, jval *e)
{
    jval *expressions = node_selector_term_match_expressions(e), *fields = node_selector_term_match_fields(e);
    int64_t weight;
    if (jv_get(e, "nodeAffinityJson"))
        return node_json(b, jv_get(e, "nodeAffinityJson"));
    if (!jv_len(expressions) && !jv_len(fields))
        return 0;
    jmval *term;
    if (weight_of(e, &weight)) {
        jmval *p = push_obj(b, node_preferences(b));
        preferred_scheduling_term_set_weight(b->m, p, weight);
        term = preferred_scheduling_term_make_preference(b->m, p);
    } else {
        term = push_obj(b, node_terms(b));
    }
    if (jv_len(expressions))
        node_selector_term_set_match_expressions(b->m, term, jm_val(b->m, expressions));
    if (jv_len(fields))
        node_selector_term_set_match_fields(b->m, term, jm_val(b->m, fields));
    return 0;
}

/* ---- pods ---------------------------------------------------------------------------------------------------------- */

static void put_selector(struct pod_build *b, jmval *selector, jval *expressions, jval *labels)
{
    if (jv_len(expressions))
        label_selector_set_match_expressions(b->m, selector, jm_val(b->m, expressions));
    if (jv_len(labels))
        label_selector_set_match_labels(b->m, selector, jm_val(b->m, labels));
}

static void put_pod_term(struct pod_build *b, jmval *term, jval *e)
{
    jval *expressions = jv_get(e, "matchPodExpressions"), *labels = jv_get(e, "matchPodLabels");
    jval *ns_expressions = jv_get(e, "matchNamespaceExpressions"), *ns_labels = jv_get(e, "matchNamespaceLabels");
    const char *key = pod_affinity_term_topology_key(e);
    if (jv_len(expressions) || jv_len(labels))
        put_selector(b, pod_affinity_term_make_label_selector(b->m, term), expressions, labels);
    if (jv_len(ns_expressions) || jv_len(ns_labels))
        put_selector(b, pod_affinity_term_make_namespace_selector(b->m, term), ns_expressions, ns_labels);
    if (jv_len(pod_affinity_term_namespaces(e)))
        pod_affinity_term_set_namespaces(b->m, term, jm_val(b->m, pod_affinity_term_namespaces(e)));
    pod_affinity_term_set_topology_key(b->m, term, key ? key : "");
}

static int pod_affinity(struct pod_build *b, jval *e)
{
    bool anti = jv_bool(jv_get(e, "anti"), false);
    int64_t weight;
    if (str_empty(pod_affinity_term_topology_key(e)))
        return bad(b, "podAffinity needs a topologyKey");
    jmval *affinity = pod_spec_make_affinity(b->m, b->spec);
    jmval *part = anti ? affinity_make_pod_anti_affinity(b->m, affinity) : affinity_make_pod_affinity(b->m, affinity);
    if (weight_of(e, &weight)) { /* the lists have the same names in both */
        jmval *p = push_obj(b, pod_affinity_make_preferred_during_scheduling_ignored_during_execution(b->m, part));
        weighted_pod_affinity_term_set_weight(b->m, p, weight);
        put_pod_term(b, weighted_pod_affinity_term_make_pod_affinity_term(b->m, p), e);
    } else {
        put_pod_term(b, push_obj(b, pod_affinity_make_required_during_scheduling_ignored_during_execution(b->m, part)), e);
    }
    return 0;
}

int pod_apply_affinity(struct pod_build *b, jval *config)
{
    return pod_each(b, config, "nodeAffinity", node_affinity) < 0 ? -1 : pod_each(b, config, "podAffinity", pod_affinity);
}

/* ---- init containers ----------------------------------------------------------------------------------------------- */

static bool name_is_taken(struct pod_build *b, const char *name)
{
    jmval *list = pod_spec_mut_init_containers(b->spec);
    for (size_t i = 0; i < jmv_len(list); i++)
        if (str_eq(jmv_str(container_mut_name(jmv_at(list, i))), name))
            return true;
    return str_eq(name, "main") || str_eq(name, "kfp-launcher");
}

static void put_env(struct pod_build *b, jmval *c, jval *env)
{
    for (size_t i = 0; jv_is(env, J_ARRAY) && i < jv_len(env); i++) {
        jmval *v = push_obj(b, container_make_env(b->m, c));
        const char *value = env_var_value(jv_at(env, i));
        env_var_set_name(b->m, v, jv_str_or(jv_get(jv_at(env, i), "name"), ""));
        env_var_set_value(b->m, v, value ? value : "");
    }
}

static int put_mounts(struct pod_build *b, jmval *c, jval *mounts, const char *name)
{
    for (size_t i = 0; i < jv_len(mounts); i++) {
        const char *volume = jv_str(jv_get(jv_at(mounts, i), "volumeName")),
                   *path = jv_str(jv_get(jv_at(mounts, i), "mountPath"));
        if (str_empty(volume) || str_empty(path) || path[0] != '/')
            return bad(b, "init container \"%s\": a mount needs a volumeName and an absolute mountPath", name);
        AUTOFREE char *named = pod_user_volume(b, volume);
        jmval *v = push_obj(b, container_make_volume_mounts(b->m, c));
        volume_mount_set_name(b->m, v, named);
        volume_mount_set_mount_path(b->m, v, path);
    }
    return 0;
}

static void put_security(struct pod_build *b, jmval *c)
{
    jmval *sc = container_make_security_context(b->m, c);
    security_context_set_allow_privilege_escalation(b->m, sc, false);
    jm_push(capabilities_make_drop(b->m, security_context_make_capabilities(b->m, sc)), jm_str(b->m, "ALL"));
    seccomp_profile_set_type(b->m, security_context_make_seccomp_profile(b->m, sc), "RuntimeDefault");
}

static int init_container(struct pod_build *b, jval *e)
{
    const char *name = container_name(e), *image = container_image(e), *policy = container_restart_policy(e);
    if (str_empty(name) || str_empty(image))
        return bad(b, "an init container needs a name and an image");
    if (name_is_taken(b, name))
        return bad(b, "the name \"%s\" of an init container is taken", name);
    if (!str_empty(policy) && !str_eq(policy, "Always"))
        return bad(b, "init container \"%s\": restartPolicy may be Always only, got \"%s\"", name, policy);
    jmval *c = push_obj(b, pod_spec_make_init_containers(b->m, b->spec));
    container_set_name(b->m, c, name);
    container_set_image(b->m, c, image);
    if (jv_len(container_command(e)))
        container_set_command(b->m, c, jm_val(b->m, container_command(e)));
    if (jv_len(container_args(e)))
        container_set_args(b->m, c, jm_val(b->m, container_args(e)));
    put_env(b, c, container_env(e));
    if (jv_len(container_resources(e)))
        container_set_resources(b->m, c, jm_val(b->m, container_resources(e)));
    if (!str_empty(policy))
        container_set_restart_policy(b->m, c, policy);
    put_security(b, c);
    return put_mounts(b, c, container_volume_mounts(e), name);
}

int pod_apply_init_containers(struct pod_build *b, jval *config)
{
    return pod_each(b, config, "initContainers", init_container); /* fields: any kind: this is the platform spec's */
}
