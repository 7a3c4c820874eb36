/* Pods: the spec as a whole, in the order in which Kubernetes looks at it, and what an update may change. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "kube/fields.h"
#include "kube/object.h"
#include "kube/rules/validate_priv.h"

bool validate_is_ip(const char *s)
{
    unsigned char b[16];
    return inet_pton(AF_INET, s, b) == 1 || inet_pton(AF_INET6, s, b) == 1;
}

bool validate_is_cidr(const char *s)
{
    const char *slash = strchr(s, '/');
    int64_t bits;
    if (!slash || !str_to_i64(slash + 1, &bits) || bits < 0)
        return false;
    AUTOFREE char *ip = xstrndup(s, (size_t)(slash - s));
    return validate_is_ip(ip) && bits <= (strchr(ip, ':') ? 128 : 32);
}

static void check_ip(struct faults *f, const char *member, const char *ip)
{
    if (!validate_is_ip(ip))
        fault_invalid_str(f, member, ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
}

static void check_dns_config(struct faults *f, jval *spec)
{
    jval *dns = pod_spec_dns_config(spec), *servers = pod_dns_config_nameservers(dns), *searches = pod_dns_config_searches(dns);
    jval *options = pod_dns_config_options(dns);
    const char *policy = jv_str_or(jv_get(spec, "dnsPolicy"), "");
    if (str_eq(policy, "None") && !jv_is(dns, J_OBJECT))
        fault_required(f, "dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None");
    else if (str_eq(policy, "None") && jv_len(servers) == 0)
        fault_required(f, "dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None");
    if (jv_len(servers) > 3)
        fault_invalid(f, "dnsConfig.nameservers", servers, "must not have more than 3 nameservers");
    for (size_t i = 0; i < jv_len(servers); i++) {
        size_t at = validate_push_item(f, "dnsConfig.nameservers", i);
        check_ip(f, NULL, jv_str_or(jv_at(servers, i), ""));
        fault_pop(f, at);
    }
    if (jv_len(searches) > 32)
        fault_invalid(f, "dnsConfig.searches", searches, "must not have more than 32 search paths");
    for (size_t i = 0; i < jv_len(searches); i++) {
        const char *s = jv_str_or(jv_at(searches, i), "");
        size_t at = validate_push_item(f, "dnsConfig.searches", i);
        validate_name(f, NULL, s, name_dns_search(s));
        fault_pop(f, at);
    }
    for (size_t i = 0; i < jv_len(options); i++) {
        size_t at = validate_push_item(f, "dnsConfig.options", i);
        if (str_empty(jv_str(jv_get(jv_at(options, i), "name"))))
            fault_required(f, NULL, "must not be empty");
        fault_pop(f, at);
    }
}

static void check_host_aliases(struct faults *f, jval *aliases)
{
    for (size_t i = 0, n = jv_is(aliases, J_ARRAY) ? jv_len(aliases) : 0; i < n; i++) {
        jval *names = host_alias_hostnames(jv_at(aliases, i));
        size_t at = validate_push_item(f, "hostAliases", i);
        check_ip(f, "ip", jv_str_or(jv_get(jv_at(aliases, i), "ip"), ""));
        for (size_t k = 0; k < jv_len(names); k++) {
            const char *name = jv_str_or(jv_at(names, k), "");
            size_t nat = validate_push_item(f, "hostnames", k);
            validate_name(f, NULL, name, name_dns1123_subdomain(name));
            fault_pop(f, nat);
        }
        fault_pop(f, at);
    }
}

static void check_security(struct faults *f, jval *spec)
{
    jval *sc = pod_spec_security_context(spec);
    static const char *const ids[] = {"runAsUser", "runAsGroup", "fsGroup"};
    size_t at = fault_push(f, "securityContext");
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        int64_t id;
        if (jv_i64(jv_get(sc, ids[i]), &id) && (id < 0 || id > INT32_MAX))
            fault_invalid_i64(f, ids[i], id, "must be between 0 and 2147483647, inclusive");
    }
    if (pod_spec_share_process_namespace(spec, false) && pod_spec_host_pid(spec, false))
        fault_invalid(f, "shareProcessNamespace", jv_get(spec, "shareProcessNamespace"),
                      "ShareProcessNamespace and HostPID cannot both be enabled");
    fault_pop(f, at);
    if (jv_is(jv_get(spec, "hostUsers"), J_BOOL) && !pod_spec_host_users(spec, true)) {
        static const char *const shared[] = {"hostNetwork", "hostPID", "hostIPC"};
        for (size_t i = 0; i < ARRAY_LEN(shared); i++)
            if (jv_bool(jv_get(spec, shared[i]), false))
                fault_forbidden(f, shared[i], "when `hostUsers` is false");
    }
}

static void check_gates(struct faults *f, jval *spec)
{
    jval *readiness = pod_spec_readiness_gates(spec), *scheduling = pod_spec_scheduling_gates(spec);
    struct strmap seen = STRMAP_INIT(NULL);
    for (size_t i = 0; i < jv_len(readiness); i++) {
        const char *type = jv_str_or(jv_get(jv_at(readiness, i), "conditionType"), "");
        size_t at = validate_push_item(f, "readinessGates", i);
        validate_name(f, "conditionType", type, name_qualified(type));
        fault_pop(f, at);
    }
    for (size_t i = 0; i < jv_len(scheduling); i++) {
        const char *name = jv_str_or(jv_get(jv_at(scheduling, i), "name"), "");
        size_t at = validate_push_item(f, "schedulingGates", i);
        validate_name(f, NULL, name, name_qualified(name));
        if (strmap_has(&seen, name))
            fault_duplicate_str(f, NULL, name);
        strmap_put(&seen, name, NULL);
        fault_pop(f, at);
    }
    if (jv_len(scheduling) && !str_empty(pod_spec_node_name(spec)))
        fault_forbidden(f, "nodeName", "cannot be set until all schedulingGates have been cleared");
    strmap_free(&seen);
}

static void check_names(struct faults *f, jval *spec)
{
    const char *account = pod_spec_service_account_name(spec), *node = pod_spec_node_name(spec);
    const char *host = pod_spec_hostname(spec), *subdomain = pod_spec_subdomain(spec),
               *class = pod_spec_priority_class_name(spec);
    int64_t deadline;
    if (!str_empty(account))
        validate_name(f, "serviceAccountName", account, name_dns1123_subdomain(account));
    if (!str_empty(node))
        validate_name(f, "nodeName", node, name_dns1123_subdomain(node));
    if (jv_i64(jv_get(spec, "activeDeadlineSeconds"), &deadline) && (deadline < 1 || deadline > INT32_MAX))
        fault_invalid_i64(f, "activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive");
    if (!str_empty(host))
        validate_name(f, "hostname", host, name_dns1123_label(host));
    if (!str_empty(subdomain))
        validate_name(f, "subdomain", subdomain, name_dns1123_label(subdomain));
    validate_tolerations(f, pod_spec_tolerations(spec));
    check_host_aliases(f, pod_spec_host_aliases(spec));
    if (!str_empty(class))
        validate_name(f, "priorityClassName", class, name_dns1123_subdomain(class));
}

static void check_os(struct faults *f, jval *os)
{
    static const char *const systems[] = {"linux", "windows", NULL};
    const char *name = pod_os_name(os);
    if (!jv_is(os, J_OBJECT))
        return;
    if (str_empty(name))
        fault_required(f, "os.name", "cannot be empty");
    else if (!str_eq(name, "linux") && !str_eq(name, "windows"))
        fault_unsupported(f, "os", name, systems);
}

void validate_pod_spec(struct faults *f, jval *spec)
{
    static const char *const restart[] = {"Always", "OnFailure", "Never", NULL};
    static const char *const dns[] = {"ClusterFirstWithHostNet", "ClusterFirst", "Default", "None", NULL};
    struct pod_parts p = {.spec = spec, .volumes = STRMAP_INIT(NULL), .names = STRMAP_INIT(NULL)};
    validate_volumes(f, pod_spec_volumes(spec), &p.volumes);
    validate_containers(f, "containers", pod_spec_containers(spec), &p, false);
    validate_containers(f, "initContainers", pod_spec_init_containers(spec), &p, true);
    validate_ephemeral(f, &p);
    validate_pod_resources(f, spec);
    validate_enum(f, "restartPolicy", pod_spec_restart_policy(spec), restart);
    validate_enum(f, "dnsPolicy", jv_str(jv_get(spec, "dnsPolicy")), dns);
    validate_labels(f, "nodeSelector", pod_spec_node_selector(spec));
    check_security(f, spec);
    if (jv_is(pod_spec_affinity(spec), J_OBJECT))
        validate_affinity(f, pod_spec_affinity(spec));
    check_dns_config(f, spec);
    check_gates(f, spec);
    validate_spread(f, pod_spec_topology_spread_constraints(spec));
    check_names(f, spec);
    check_os(f, pod_spec_os(spec));
    strmap_free(&p.volumes);
    strmap_free(&p.names);
}

/* ---- update
 * -----------------------------------------------------------------------------------------------------------------------------
 */

static bool same(jval *a, jval *b) { return jv_present(a) == jv_present(b) && (!jv_present(a) || jv_equal(a, b)); }

/* Same number of containers, and images that are there. False when the numbers differ: nothing more can be said then. */
static bool check_images(struct faults *f, const char *member, jval *old, jval *now)
{
    if (jv_len(old) != jv_len(now)) {
        fault_forbidden(f, member, "pod updates may not add or remove containers");
        return false;
    }
    for (size_t i = 0; i < jv_len(now); i++) {
        const char *image = jv_str_or(jv_get(jv_at(now, i), "image"), "");
        size_t at = validate_push_item(f, member, i);
        if (!*image)
            fault_required(f, "image", NULL);
        fault_pop(f, at);
    }
    return true;
}

static void check_deadline(struct faults *f, jval *old, jval *now)
{
    int64_t before, after;
    bool was = jv_i64(jv_get(old, "activeDeadlineSeconds"), &before), is = jv_i64(jv_get(now, "activeDeadlineSeconds"), &after);
    if (is && (after < 1 || after > INT32_MAX))
        fault_invalid_i64(f, "activeDeadlineSeconds", after, "must be between 1 and 2147483647, inclusive");
    else if (was && !is)
        fault_invalid(f, "activeDeadlineSeconds", NULL, "must not update from a positive integer to nil value");
    else if (was && after > before)
        fault_invalid_i64(f, "activeDeadlineSeconds", after, "must be less than or equal to previous value");
}

/* Tolerations may be added, and the time of existing ones changed. */
static void check_added_tolerations(struct faults *f, jval *old, jval *now)
{
    static const char *const members[] = {"key", "operator", "value", "effect"};
    for (size_t i = 0; i < jv_len(old); i++) {
        bool found = false;
        for (size_t k = 0; k < jv_len(now) && !found; k++) {
            found = true;
            for (size_t m = 0; m < ARRAY_LEN(members); m++)
                found &= same(jv_get(jv_at(old, i), members[m]), jv_get(jv_at(now, k), members[m]));
        }
        if (!found) {
            fault_forbidden(f, "tolerations", "existing toleration can not be modified except its tolerationSeconds");
            return;
        }
    }
    validate_tolerations(f, now);
}

/* The new spec with what may change put back to what it was. */
static struct json *with_old_parts(jval *old, jval *now)
{
    static const char *const open[] = {"activeDeadlineSeconds", "tolerations", "schedulingGates",
                                       "nodeSelector" /* while gated */};
    static const char *const lists[] = {"containers", "initContainers"};
    JM(m, now);
    jmval *spec = jm_root(m);
    bool gated = jv_len(pod_spec_scheduling_gates(old)) > 0;
    for (size_t i = 0; i < ARRAY_LEN(open) - !gated; i++) {
        jm_del(spec, open[i]);
        if (jv_present(jv_get(old, open[i])))
            jm_put(m, spec, open[i], jm_val(m, jv_get(old, open[i])));
    }
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        struct jiter was = jv_iter(jv_get(old, lists[l]));
        jmval *c;
        for (struct jmiter it = jmv_iter(jmv_get(spec, lists[l])); jmv_next(&it, NULL, &c);) {
            jval *before = NULL;
            container_set_image(m, c, jv_next(&was, NULL, &before) ? jv_str_or(jv_get(before, "image"), "") : "");
        }
    }
    if (pod_spec_termination_grace_period_seconds(old, 0) < 0 && pod_spec_termination_grace_period_seconds(now, 0) == 1)
        pod_spec_set_termination_grace_period_seconds(m, spec, pod_spec_termination_grace_period_seconds(old, 0));
    return jm_freeze(m);
}

/* Names of the members in which two specs differ. */
static void differing(jval *a, jval *b, struct strlist *out)
{
    const char *k;
    jval *v;
    struct jiter it = jv_iter(a);
    while (jv_next(&it, &k, &v))
        if (!same(v, jv_get(b, k)))
            strlist_add(out, k);
    it = jv_iter(b);
    while (jv_next(&it, &k, &v))
        if (!jv_get(a, k) && jv_present(v))
            strlist_add(out, k);
}

/* Gates are only taken away; as long as there is one, the node selector may become narrower. */
static void check_gate_changes(struct faults *f, jval *was, jval *spec)
{
    jval *gates = pod_spec_scheduling_gates(spec), *old_gates = pod_spec_scheduling_gates(was);
    for (size_t i = 0; i < jv_len(gates); i++) {
        bool known = false;
        for (size_t k = 0; k < jv_len(old_gates); k++)
            known |= same(jv_at(gates, i), jv_at(old_gates, k));
        if (known)
            continue;
        size_t at = validate_push_item(f, "schedulingGates", i);
        fault_forbidden(f, "name", "only deletion is allowed, but found new scheduling gate '%s'",
                        jv_str_or(jv_get(jv_at(gates, i), "name"), ""));
        fault_pop(f, at);
    }
    jval *selector = pod_spec_node_selector(spec), *v;
    const char *k;
    struct jiter it = jv_iter(pod_spec_node_selector(was));
    while (jv_len(old_gates) && jv_next(&it, &k, &v)) {
        if (same(v, jv_get(selector, k)))
            continue;
        fault_invalid(f, "nodeSelector", selector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
        return;
    }
}

void validate_pod_update(struct faults *f, jval *old, jval *now)
{
    jval *was = pod_spec(old), *spec = pod_spec(now);
    size_t at = fault_push(f, "spec");
    bool comparable = check_images(f, "containers", pod_spec_containers(was), pod_spec_containers(spec)) &&
                      check_images(f, "initContainers", pod_spec_init_containers(was), pod_spec_init_containers(spec));
    if (comparable) {
        check_deadline(f, was, spec);
        check_gate_changes(f, was, spec);
        check_added_tolerations(f, pod_spec_tolerations(was), pod_spec_tolerations(spec));
        JSON_REF(munged) = with_old_parts(was, spec);
        STRLIST(names);
        differing(was, json_root(munged), &names);
        AUTOFREE char *all = strlist_join(&names, ", ");
        if (names.n)
            fault_forbidden(
                f, NULL,
                "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
                "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
                "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\nchanged: %s",
                all);
    }
    fault_pop(f, at);
}

/* They may be added, and nothing else. */
void validate_pod_ephemeral_update(struct faults *f, jval *old, jval *now)
{
    jval *was = pod_spec_ephemeral_containers(pod_spec(old)), *list = pod_spec_ephemeral_containers(pod_spec(now));
    size_t at = fault_push(f, "spec");
    validate_pod_spec(f, pod_spec(now));
    CLEANUP(strmap_free) struct strmap by_name = STRMAP_INIT(NULL);
    jval *c;
    for (struct jiter it = jv_iter(list); jv_next(&it, NULL, &c);)
        if (container_name(c) && !strmap_has(&by_name, container_name(c)))
            strmap_put(&by_name, container_name(c), (void *)(uintptr_t)c);
    for (struct jiter it = jv_iter(was); jv_next(&it, NULL, &c);) {
        const char *name = container_name(c) ? container_name(c) : "";
        jval *same_name = strmap_get(&by_name, name);
        STRLIST(names);
        if (same_name)
            differing(c, same_name, &names);
        AUTOFREE char *all = strlist_join(&names, ", ");
        if (!same_name)
            fault_forbidden(f, "ephemeralContainers", "existing ephemeral containers \"%s\" may not be removed\n", name);
        else if (names.n)
            fault_forbidden(f, "ephemeralContainers", "existing ephemeral containers \"%s\" may not be changed\nchanged: %s",
                            name, all);
    }
    fault_pop(f, at);
}

static void check_pod_ip(struct faults *f, size_t i, const char *ip)
{
    size_t at = validate_push_item(f, "podIPs", i);
    if (!validate_is_ip(ip))
        fault_invalid_str(f, "ip", ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    fault_pop(f, at);
}

/* Requests to pods go where their status says: it has to be an address. The single one counts where the two differ. */
static void check_pod_ips(struct faults *f, jval *status)
{
    const char *one = pod_status_pod_ip(status);
    struct jiter it = jv_iter(pod_status_pod_ips(status));
    jval *x;
    bool differ = false;
    for (size_t i = 0; jv_next(&it, NULL, &x) && !differ; i++) {
        const char *ip = jv_str_or(jv_get(x, "ip"), "");
        differ = i == 0 && !str_empty(one) && !str_eq(one, ip);
        if (!differ)
            check_pod_ip(f, i, ip);
    }
    if (!str_empty(one) && (differ || !jv_len(pod_status_pod_ips(status))))
        check_pod_ip(f, 0, one);
}

/* A container of a pod that is never restarted does not rise again. */
void validate_pod_status_update(struct faults *f, jval *old, jval *now)
{
    static const char *const lists[] = {"containerStatuses", "initContainerStatuses"};
    const char *nominated = pod_status_nominated_node_name(pod_status(now)), *policy = pod_spec_restart_policy(pod_spec(old));
    size_t at = fault_push(f, "status");
    if (!str_empty(nominated))
        validate_name(f, "nominatedNodeName", nominated, name_dns1123_subdomain(nominated));
    check_pod_ips(f, pod_status(now));
    for (size_t l = 0; l < ARRAY_LEN(lists) && str_eq(policy, "Never"); l++) {
        CLEANUP(strmap_free) struct strmap before = STRMAP_INIT(NULL);
        jval *c;
        for (struct jiter it = jv_iter(jv_get(pod_status(old), lists[l])); jv_next(&it, NULL, &c);)
            strmap_put(&before, container_status_name(c) ? container_status_name(c) : "", (void *)(uintptr_t)c);
        struct jiter it = jv_iter(jv_get(pod_status(now), lists[l]));
        for (size_t i = 0; jv_next(&it, NULL, &c); i++) {
            jval *o = strmap_get(&before, container_status_name(c) ? container_status_name(c) : "");
            if (!jv_present(container_state_terminated(container_status_state(o))) ||
                jv_present(container_state_terminated(container_status_state(c))))
                continue;
            size_t cat = validate_push_item(f, lists[l], i);
            fault_forbidden(f, "state", "may not be transitioned to non-terminated state");
            fault_pop(f, cat);
        }
    }
    fault_pop(f, at);
}
