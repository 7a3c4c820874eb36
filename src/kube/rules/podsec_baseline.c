/* podsec_baseline.c - the checks of the level baseline: no known way out of a container. */
#include <inttypes.h>

#include "kube/object.h"
#include "kube/rules/podsec_priv.h"

/* The containers' names for which a test says that they are bad. */
typedef bool bad_fn(jval *container, void *arg);
static void bad_containers(const struct podsec_pod *p, bad_fn *bad, void *arg, struct strlist *out)
{
    for (size_t i = 0; i < p->n; i++)
        if (bad(p->containers[i], arg))
            strlist_add(out, jv_str_or(jv_get(p->containers[i], "name"), "")); /* fields: Container or EphemeralContainer */
}

static bool in_list(const char *s, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(s, list[i]) == 0)
            return true;
    return false;
}

/* ---- AppArmor ----------------------------------------------------------------------------------------------------------------
 */

static bool bad_armor(jval *profile, struct strlist *values)
{
    const char *type = app_armor_profile_type(profile);
    if (!jv_present(profile) || str_eq(type, "RuntimeDefault") || str_eq(type, "Localhost"))
        return false;
    podsec_set_add(values, type ? type : "");
    return true;
}

static bool bad_container_armor(jval *c, void *arg)
{
    return bad_armor(security_context_app_armor_profile(container_security_context(c)), arg);
}

static void armor_annotations(jval *annotations, struct strlist *out)
{
    struct jiter it = jv_iter(annotations);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        const char *value = jv_str_or(v, "");
        if (str_starts(key, "container.apparmor.security.beta.kubernetes.io/") && *value &&
            strcmp(value, "runtime/default") != 0 && !str_starts(value, "localhost/"))
            strlist_addf(out, "%s=\"%s\"", key, value);
    }
    strlist_sort(out);
}

bool podsec_app_armor(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    STRLIST(values);
    STRLIST(notes);
    bool pod = bad_armor(pod_security_context_app_armor_profile(p->context), &values);
    bad_containers(p, bad_container_armor, &values, &bad);
    armor_annotations(p->annotations, &notes);
    if (!pod && !bad.n && !notes.n)
        return true;
    strlist_sort(&values);
    podsec_setters(detail, pod, &bad);
    if (notes.n)
        buf_addf(detail, "%s%s", pod || bad.n ? " and " : "", podsec_plural("annotation", "annotations", notes.n));
    for (size_t i = 0; i < notes.n; i++)
        strlist_add(&values, notes.v[i]);
    buf_adds(detail, " must not set AppArmor profile type to ");
    podsec_quote(detail, &values);
    *reason = podsec_plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.n);
    return false;
}

/* ---- capabilities
 * -------------------------------------------------------------------------------------------------------------- */

static bool adds_capability(jval *c, void *arg)
{
    static const char *const allowed[] = {"AUDIT_WRITE", "CHOWN",  "DAC_OVERRIDE",     "FOWNER",  "FSETID",
                                          "KILL",        "MKNOD",  "NET_BIND_SERVICE", "SETFCAP", "SETGID",
                                          "SETPCAP",     "SETUID", "SYS_CHROOT"};
    bool bad = false;
    struct jiter it = jv_iter(capabilities_add(security_context_capabilities(container_security_context(c))));
    jval *v;
    while (jv_next(&it, NULL, &v))
        if (!in_list(jv_str_or(v, ""), allowed, ARRAY_LEN(allowed))) {
            podsec_set_add(arg, jv_str_or(v, ""));
            bad = true;
        }
    return bad;
}

bool podsec_capabilities(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    STRLIST(values);
    bad_containers(p, adds_capability, &values, &bad);
    if (!bad.n)
        return true;
    strlist_sort(&values);
    podsec_setters(detail, false, &bad);
    buf_adds(detail, " must not include ");
    podsec_quote(detail, &values);
    buf_adds(detail, " in securityContext.capabilities.add");
    *reason = "non-default capabilities";
    return false;
}

/* ---- the host: namespaces, paths, ports, probes
 * ----------------------------------------------------------------------------------- */

bool podsec_host_namespaces(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(set);
    if (pod_spec_host_network(p->spec, false))
        strlist_add(&set, "hostNetwork=true");
    if (pod_spec_host_pid(p->spec, false))
        strlist_add(&set, "hostPID=true");
    if (pod_spec_host_ipc(p->spec, false))
        strlist_add(&set, "hostIPC=true");
    AUTOFREE char *all = strlist_join(&set, ", ");
    buf_adds(detail, all);
    *reason = "host namespaces";
    return !set.n;
}

bool podsec_host_paths(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    struct jiter it = jv_iter(pod_spec_volumes(p->spec));
    jval *v;
    while (jv_next(&it, NULL, &v))
        if (jv_present(volume_host_path(v)))
            strlist_add(&bad, volume_name(v));
    buf_addf(detail, "%s ", podsec_plural("volume", "volumes", bad.n));
    podsec_quote(detail, &bad);
    *reason = "hostPath volumes";
    return !bad.n;
}

static bool has_host_port(jval *c, void *arg)
{
    bool bad = false;
    struct jiter it = jv_iter(container_ports(c));
    jval *v;
    while (jv_next(&it, NULL, &v)) {
        int64_t port = container_port_host_port(v, 0);
        AUTOFREE char *text = xasprintf("%" PRId64, port);
        if (port)
            podsec_set_add(arg, text);
        bad |= port != 0;
    }
    return bad;
}

bool podsec_host_ports(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    STRLIST(ports);
    bad_containers(p, has_host_port, &ports, &bad);
    if (!bad.n)
        return true;
    strlist_sort(&ports);
    AUTOFREE char *list = strlist_join(&ports, ", ");
    podsec_setters(detail, false, &bad);
    buf_addf(detail, " %s %s %s", podsec_plural("uses", "use", bad.n), podsec_plural("hostPort", "hostPorts", ports.n), list);
    *reason = "hostPort";
    return false;
}

/* A probe or a hook: both name their handlers alike. */
static bool other_host(jval *handler, struct strlist *hosts)
{
    const char *const host[] = {http_get_action_host(probe_http_get(handler)), tcp_socket_action_host(probe_tcp_socket(handler))};
    for (size_t i = 0; i < ARRAY_LEN(host); i++)
        if (!str_empty(host[i]))
            podsec_set_add(hosts, host[i]);
    return !str_empty(host[0]) || !str_empty(host[1]);
}

static bool probes_other_host(jval *c, void *arg)
{
    jval *life = container_lifecycle(c);
    jval *const handlers[] = {container_liveness_probe(c), container_readiness_probe(c), container_startup_probe(c),
                              lifecycle_post_start(life), lifecycle_pre_stop(life)};
    bool bad = false;
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        bad |= other_host(handlers[i], arg);
    return bad;
}

bool podsec_probe_hosts(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    STRLIST(hosts);
    bad_containers(p, probes_other_host, &hosts, &bad);
    if (!bad.n)
        return true;
    strlist_sort(&bad);
    strlist_sort(&hosts);
    podsec_setters(detail, false, &bad);
    buf_addf(detail, " %s %s ", podsec_plural("uses", "use", bad.n),
             podsec_plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.n));
    podsec_quote(detail, &hosts);
    *reason = "probe or lifecycle host";
    return false;
}

/* ---- privileges
 * ------------------------------------------------------------------------------------------------------------------- */

static bool is_privileged(jval *c, void *arg)
{
    (void)arg;
    return security_context_privileged(container_security_context(c), false);
}

bool podsec_privileged(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    bad_containers(p, is_privileged, NULL, &bad);
    podsec_setters(detail, false, &bad);
    buf_adds(detail, " must not set securityContext.privileged=true");
    *reason = "privileged";
    return !bad.n;
}

static bool bad_proc_mount(jval *c, void *arg)
{
    const char *type = security_context_proc_mount(container_security_context(c));
    if (!type || strcmp(type, "Default") == 0)
        return false;
    podsec_set_add(arg, type);
    return true;
}

bool podsec_proc_mount(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    STRLIST(values);
    bad_containers(p, bad_proc_mount, &values, &bad);
    if (!bad.n)
        return true;
    strlist_sort(&values);
    podsec_setters(detail, false, &bad);
    buf_adds(detail, " must not set securityContext.procMount to ");
    podsec_quote(detail, &values);
    *reason = "procMount";
    return false;
}

static bool is_host_process(jval *c, void *arg)
{
    (void)arg;
    return windows_security_context_options_host_process(security_context_windows_options(container_security_context(c)), false);
}

bool podsec_host_process(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    bad_containers(p, is_host_process, NULL, &bad);
    bool pod = windows_security_context_options_host_process(pod_security_context_windows_options(p->context), false);
    podsec_setters(detail, pod, &bad);
    buf_adds(detail, " must not set securityContext.windowsOptions.hostProcess=true");
    *reason = "hostProcess";
    return !pod && !bad.n;
}

/* ---- SELinux, seccomp, sysctls
 * ------------------------------------------------------------------------------------------------------ */

struct se_linux {
    struct strlist types;
    bool user, role;
    int minor;
};

static bool bad_se_linux(jval *o, struct se_linux *s)
{
    static const char *const allowed[] = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"};
    if (!jv_present(o))
        return false;
    const char *type = se_linux_options_type(o) ? se_linux_options_type(o) : "";
    bool bad_type = !in_list(type, allowed, s->minor >= 31 ? ARRAY_LEN(allowed) : ARRAY_LEN(allowed) - 1);
    bool user = !str_empty(se_linux_options_user(o)), role = !str_empty(se_linux_options_role(o));
    if (bad_type)
        podsec_set_add(&s->types, type);
    s->user |= user;
    s->role |= role;
    return bad_type || user || role;
}

static bool bad_container_se_linux(jval *c, void *arg)
{
    return bad_se_linux(security_context_se_linux_options(container_security_context(c)), arg);
}

bool podsec_se_linux(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    struct se_linux s = {.minor = p->minor};
    STRLIST(bad);
    bool pod = bad_se_linux(pod_security_context_se_linux_options(p->context), &s);
    bad_containers(p, bad_container_se_linux, &s, &bad);
    if (pod || bad.n) {
        strlist_sort(&s.types);
        podsec_setters(detail, pod, &bad);
        buf_adds(detail, " set forbidden securityContext.seLinuxOptions: ");
        if (s.types.n) {
            buf_addf(detail, "%s ", podsec_plural("type", "types", s.types.n));
            podsec_quote(detail, &s.types);
        }
        if (s.user)
            buf_addf(detail, "%suser may not be set", s.types.n ? "; " : "");
        if (s.role)
            buf_addf(detail, "%srole may not be set", s.types.n || s.user ? "; " : "");
    }
    strlist_free(&s.types);
    *reason = "seLinuxOptions";
    return !pod && !bad.n;
}

bool podsec_seccomp_good(const char *type) { return str_eq(type, "RuntimeDefault") || str_eq(type, "Localhost"); }

static bool bad_seccomp(jval *profile, struct strlist *values)
{
    const char *type = seccomp_profile_type(profile);
    if (!jv_present(profile) || podsec_seccomp_good(type))
        return false;
    podsec_set_add(values, type ? type : "");
    return true;
}

static bool bad_container_seccomp(jval *c, void *arg)
{
    return bad_seccomp(security_context_seccomp_profile(container_security_context(c)), arg);
}

/* Before 1.19 seccomp was said in annotations. */
static bool seccomp_annotations(const struct podsec_pod *p, struct buf *detail)
{
    STRLIST(names);
    STRLIST(bad);
    strlist_add(&names, "seccomp.security.alpha.kubernetes.io/pod");
    for (size_t i = 0; i < p->n; i++)
        strlist_addf(&names, "container.seccomp.security.alpha.kubernetes.io/%s",
                     jv_str_or(jv_get(p->containers[i], "name"), "")); /* fields: as above */
    for (size_t i = 0; i < names.n; i++) {
        const char *v = jv_str(jv_get(p->annotations, names.v[i]));
        if (v && strcmp(v, "runtime/default") != 0 && strcmp(v, "docker/default") != 0 && !str_starts(v, "localhost/"))
            strlist_addf(&bad, "%s=\"%s\"", names.v[i], v);
    }
    strlist_sort(&bad);
    AUTOFREE char *list = strlist_join(&bad, ", ");
    buf_addf(detail, "forbidden %s %s", podsec_plural("annotation", "annotations", bad.n), list);
    return !bad.n;
}

bool podsec_seccomp(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    STRLIST(values);
    *reason = "seccompProfile";
    if (p->minor < 19)
        return seccomp_annotations(p, detail);
    bool pod = bad_seccomp(pod_security_context_seccomp_profile(p->context), &values);
    bad_containers(p, bad_container_seccomp, &values, &bad);
    if (!pod && !bad.n)
        return true;
    strlist_sort(&values);
    podsec_setters(detail, pod, &bad);
    buf_adds(detail, " must not set securityContext.seccompProfile.type to ");
    podsec_quote(detail, &values);
    return false;
}

static bool sysctl_allowed(const char *name, int minor)
{
    static const struct {
        const char *name;
        int since;
    } allowed[] = {{"kernel.shm_rmid_forced", 0},
                   {"net.ipv4.ip_local_port_range", 0},
                   {"net.ipv4.tcp_syncookies", 0},
                   {"net.ipv4.ping_group_range", 0},
                   {"net.ipv4.ip_unprivileged_port_start", 0},
                   {"net.ipv4.ip_local_reserved_ports", 27},
                   {"net.ipv4.tcp_keepalive_time", 29},
                   {"net.ipv4.tcp_fin_timeout", 29},
                   {"net.ipv4.tcp_keepalive_intvl", 29},
                   {"net.ipv4.tcp_keepalive_probes", 29},
                   {"net.ipv4.tcp_rmem", 32},
                   {"net.ipv4.tcp_wmem", 32}};
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        if (strcmp(name, allowed[i].name) == 0)
            return minor >= allowed[i].since;
    return false;
}

bool podsec_sysctls(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    bool good = true;
    struct jiter it = jv_iter(pod_security_context_sysctls(p->context));
    jval *v;
    while (jv_next(&it, NULL, &v)) {
        const char *name = sysctl_name(v) ? sysctl_name(v) : "";
        if (sysctl_allowed(name, p->minor))
            continue;
        buf_addf(detail, "%s%s", good ? "" : ", ", name);
        good = false;
    }
    *reason = "forbidden sysctls";
    return good;
}
