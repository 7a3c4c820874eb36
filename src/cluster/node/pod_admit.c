/* Whether this node takes a pod at all: a pod that it cannot run as it says is Failed at once, with kubelet's reason. */
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "cluster/node/pod.h"
#include "kube/fields.h"
#include "kube/object.h"
#include "value/quantity.h"

/* ---- resources ---------------------------------------------------------------------------------------------------------------
 */

static int64_t asked_by(jval *container, const char *name, bool milli)
{
    jval *res = container_resources(container);
    const char *text = jv_str(jv_get(resource_requirements_requests(res), name));
    struct quantity q;
    if (!text || quantity_parse(text, &q, NULL) < 0)
        return 0;
    return milli ? quantity_milli(&q) : quantity_value(&q);
}

static bool is_sidecar(jval *init) { return str_eq(container_restart_policy(init), "Always"); }

/* The sum of what runs together, or what an init container needs beside the side-cars before it, whichever is more. */
int64_t pod_asks(jval *pod, const char *name)
{
    jval *containers = pod_spec_containers(pod_spec(pod)), *inits = pod_spec_init_containers(pod_spec(pod));
    bool milli = str_eq(name, "cpu");
    int64_t all = 0, sidecars = 0, most = 0;
    for (size_t i = 0; i < jv_len(containers); i++)
        all += asked_by(jv_at(containers, i), name, milli);
    for (size_t i = 0; i < jv_len(inits); i++) {
        int64_t one = asked_by(jv_at(inits, i), name, milli);
        if (is_sidecar(jv_at(inits, i)))
            sidecars += one;
        else if (sidecars + one > most)
            most = sidecars + one;
    }
    return all + sidecars > most ? all + sidecars : most;
}

static bool refuse_resource(const struct pod_host *h, const struct pod *p, const char *name, int64_t capacity, char **reason,
                            char **message)
{
    int64_t asks = pod_asks(json_root(p->obj), name);
    if (!asks)
        return false;
    int64_t used = h->asked(h->self, p->uid, name);
    if (asks <= capacity - used)
        return false;
    *reason = xasprintf("OutOf%s", name);
    *message = xasprintf("Pod was rejected: Node didn't have enough resource: %s, requested: %lld, used: %lld, capacity: %lld",
                         name, (long long)asks, (long long)used, (long long)capacity);
    return true;
}

/* ---- sysctls
 * ------------------------------------------------------------------------------------------------------------------- */

/* Those of a namespace of the pod's own that cannot be used against others. */
static bool is_safe(const char *name)
{
    static const char *const safe[] = {"kernel.shm_rmid_forced",
                                       "net.ipv4.ip_local_port_range",
                                       "net.ipv4.tcp_syncookies",
                                       "net.ipv4.ping_group_range",
                                       "net.ipv4.ip_unprivileged_port_start",
                                       "net.ipv4.ip_local_reserved_ports",
                                       "net.ipv4.tcp_keepalive_time",
                                       "net.ipv4.tcp_fin_timeout",
                                       "net.ipv4.tcp_keepalive_intvl",
                                       "net.ipv4.tcp_keepalive_probes",
                                       "net.ipv4.tcp_rmem",
                                       "net.ipv4.tcp_wmem"};
    for (size_t i = 0; i < ARRAY_LEN(safe); i++)
        if (str_eq(safe[i], name))
            return true;
    return false;
}

char *pod_sysctl_name(const char *name)
{
    char *out = xstrdup(name ? name : "");
    for (char *c = out; *c; c++)
        if (*c == '/')
            *c = '.';
    return out;
}

static bool refuse_sysctl(const struct pod *p, char **reason, char **message)
{
    jval *spec = pod_spec(json_root(p->obj)), *list = pod_security_context_sysctls(pod_spec_security_context(spec));
    for (size_t i = 0; i < jv_len(list); i++) {
        AUTOFREE char *name = pod_sysctl_name(sysctl_name(jv_at(list, i)));
        const char *why = !is_safe(name)                                                   ? "not allowlisted"
                          : str_starts(name, "net.") && pod_spec_host_network(spec, false) ? "not allowed with host net enabled"
                          : str_starts(name, "kernel.") && pod_spec_host_ipc(spec, false)  ? "not allowed with host ipc enabled"
                                                                                           : NULL;
        if (!why)
            continue;
        *reason = xstrdup("SysctlForbidden");
        *message = xasprintf("Pod was rejected: forbidden sysctl: \"%s\" %s", name, why);
        return true;
    }
    return false;
}

/* ---- AppArmor
 * --------------------------------------------------------------------------------------------------------------------- */

bool machine_has_apparmor(void)
{
    BUF(b);
    return fs_read("/sys/module/apparmor/parameters/enabled", 16, &b, NULL) == 0 && buf_str(&b)[0] == 'Y';
}

static bool wants_apparmor(jval *profile)
{
    const char *type = app_armor_profile_type(profile);
    return !str_empty(type) && !str_eq(type, "Unconfined");
}

static bool refuse_apparmor(const struct pod *p, char **reason, char **message)
{
    jval *spec = pod_spec(json_root(p->obj)), *lists[] = {pod_spec_init_containers(spec), pod_spec_containers(spec)};
    bool wants = wants_apparmor(pod_security_context_app_armor_profile(pod_spec_security_context(spec)));
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (size_t i = 0; i < jv_len(lists[l]); i++)
            wants |= wants_apparmor(security_context_app_armor_profile(container_security_context(jv_at(lists[l], i))));
    if (!wants || machine_has_apparmor())
        return false;
    *reason = xstrdup("AppArmor");
    *message = xstrdup("Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host");
    return true;
}

bool pod_refused(const struct pod_host *h, const struct pod *p, char **reason, char **message)
{
    return refuse_resource(h, p, "cpu", h->node_cpu_milli, reason, message) ||
           refuse_resource(h, p, "memory", h->node_memory, reason, message) || refuse_sysctl(p, reason, message) ||
           refuse_apparmor(p, reason, message);
}
