/* Containers: names, images, ports, mounts and what else is not in files of its own. */
#include <stdlib.h>

#include "kube/fields.h"
#include "kube/rules/validate_priv.h"

static bool has_space_around(const char *s)
{
    size_t n = strlen(s);
    return n && (strchr(" \t\r\n", s[0]) || strchr(" \t\r\n", s[n - 1]));
}

static void check_ports(struct faults *f, jval *ports)
{
    static const char *const protocols[] = {"SCTP", "TCP", "UDP", NULL};
    struct strmap names = STRMAP_INIT(NULL);
    for (size_t i = 0, n = jv_is(ports, J_ARRAY) ? jv_len(ports) : 0; i < n; i++) {
        jval *p = jv_at(ports, i);
        const char *name = jv_str_or(jv_get(p, "name"), "");
        int64_t port = container_port_container_port(p, 0), host = container_port_host_port(p, 0);
        size_t at = validate_push_item(f, "ports", i);
        struct name_faults bad = name_port(name);
        if (*name && bad.n)
            validate_name(f, "name", name, bad);
        else if (*name && strmap_has(&names, name))
            fault_duplicate_str(f, "name", name);
        else if (*name)
            strmap_put(&names, name, NULL);
        if (port == 0)
            fault_required(f, "containerPort", NULL);
        else if (port < 1 || port > 65535)
            fault_invalid_i64(f, "containerPort", port, "must be between 1 and 65535, inclusive");
        if (host < 0 || host > 65535)
            fault_invalid_i64(f, "hostPort", host, "must be between 1 and 65535, inclusive");
        validate_enum(f, "protocol", jv_str(jv_get(p, "protocol")), protocols);
        fault_pop(f, at);
    }
    strmap_free(&names);
}

/* Ports of the node that two containers want, and ports that differ from the node's own with hostNetwork. */
static void check_host_ports(struct faults *f, jval *ports, struct strmap *seen, bool host_network)
{
    for (size_t i = 0, n = jv_is(ports, J_ARRAY) ? jv_len(ports) : 0; i < n; i++) {
        jval *p = jv_at(ports, i);
        int64_t host = container_port_host_port(p, 0);
        size_t at = validate_push_item(f, "ports", i);
        AUTOFREE char *what = xasprintf("%s/%s/%lld", jv_str_or(jv_get(p, "protocol"), ""),
                                        container_port_host_ip(p) ? container_port_host_ip(p) : "", (long long)host);
        if (host && strmap_has(seen, what))
            fault_duplicate_str(f, "hostPort", what);
        if (host)
            strmap_put(seen, what, NULL);
        if (host && host_network && host != container_port_container_port(p, 0))
            fault_invalid_i64(f, "hostPort", host, "must match `containerPort` when `hostNetwork` is true");
        fault_pop(f, at);
    }
}

/* ---- mounts
 * --------------------------------------------------------------------------------------------------------------------- */

static bool has_dotdot(const char *path)
{
    for (const char *p = path; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (str_starts(p, "..") && (!p[2] || p[2] == '/'))
            return true;
    return false;
}

static void check_sub_path(struct faults *f, const char *member, const char *path)
{
    if (*path == '/')
        fault_invalid_str(f, member, path, "must be a relative path");
    if (has_dotdot(path))
        fault_invalid_str(f, member, path, "must not contain '..'");
}

static void check_propagation(struct faults *f, jval *mount, jval *container)
{
    static const char *const kinds[] = {"Bidirectional", "HostToContainer", "None", NULL};
    const char *kind = volume_mount_mount_propagation(mount);
    if (str_empty(kind))
        return;
    if (!str_eq(kind, kinds[0]) && !str_eq(kind, kinds[1]) && !str_eq(kind, kinds[2]))
        fault_unsupported(f, "mountPropagation", kind, kinds);
    else if (str_eq(kind, kinds[0]) && !security_context_privileged(container_security_context(container), false))
        fault_forbidden(f, "mountPropagation", "Bidirectional mount propagation is available only to privileged containers");
}

static void check_recursive(struct faults *f, jval *mount)
{
    static const char *const kinds[] = {"Disabled", "Enabled", "IfPossible", NULL};
    const char *kind = volume_mount_recursive_read_only(mount);
    if (str_empty(kind) || str_eq(kind, kinds[0]))
        return;
    if (!str_eq(kind, kinds[1]) && !str_eq(kind, kinds[2]))
        fault_unsupported(f, "recursiveReadOnly", kind, kinds);
    else if (!volume_mount_read_only(mount, false))
        fault_forbidden(f, "recursiveReadOnly", "may only be specified when readOnly is true");
}

static void check_mounts(struct faults *f, jval *container, const struct strmap *volumes)
{
    jval *mounts = container_volume_mounts(container);
    struct strmap points = STRMAP_INIT(NULL);
    for (size_t i = 0, n = jv_is(mounts, J_ARRAY) ? jv_len(mounts) : 0; i < n; i++) {
        jval *m = jv_at(mounts, i);
        const char *name = jv_str_or(jv_get(m, "name"), ""), *path = jv_str_or(jv_get(m, "mountPath"), "");
        const char *sub = jv_str_or(jv_get(m, "subPath"), ""), *expr = jv_str_or(jv_get(m, "subPathExpr"), "");
        size_t at = validate_push_item(f, "volumeMounts", i);
        if (!*name)
            fault_required(f, "name", NULL);
        if (!strmap_has(volumes, name))
            fault_not_found(f, "name", name);
        if (!*path)
            fault_required(f, "mountPath", NULL);
        if (*path && strmap_has(&points, path))
            fault_invalid_str(f, "mountPath", path, "must be unique");
        strmap_put(&points, path, NULL);
        if (*sub && *expr)
            fault_invalid_str(f, "subPathExpr", expr, "subPathExpr and subPath are mutually exclusive");
        fault_pop(f, at);
        at = fault_push(f, "volumeMounts"); /* upstream names the list, not the item, from here on */
        check_sub_path(f, "subPath", sub);
        check_sub_path(f, "subPathExpr", expr);
        check_propagation(f, m, container);
        check_recursive(f, m);
        fault_pop(f, at);
    }
    strmap_free(&points);
}

static void check_devices(struct faults *f, jval *devices, const struct strmap *volumes)
{
    for (size_t i = 0, n = jv_is(devices, J_ARRAY) ? jv_len(devices) : 0; i < n; i++) {
        jval *d = jv_at(devices, i), *volume;
        const char *name = jv_str_or(jv_get(d, "name"), ""), *path = jv_str_or(jv_get(d, "devicePath"), "");
        size_t at = validate_push_item(f, "volumeDevices", i);
        volume = strmap_get(volumes, name);
        if (!*name)
            fault_required(f, "name", NULL);
        else if (!volume)
            fault_not_found(f, "name", name);
        else if (!jv_present(jv_get(volume, "persistentVolumeClaim")) && !jv_present(jv_get(volume, "ephemeral")))
            fault_invalid_str(f, "name", name,
                              "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode");
        if (!*path)
            fault_required(f, "devicePath", NULL);
        else if (has_dotdot(path))
            fault_invalid_str(f, "devicePath", path, "must not contain '..'");
        fault_pop(f, at);
    }
}

/* ---- the container
 * ---------------------------------------------------------------------------------------------------------------- */

static void check_security(struct faults *f, jval *sc)
{
    static const char *const members[] = {"runAsUser", "runAsGroup"};
    if (!jv_is(sc, J_OBJECT))
        return;
    size_t at = fault_push(f, "securityContext");
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        int64_t id;
        if (jv_i64(jv_get(sc, members[i]), &id) && (id < 0 || id > INT32_MAX))
            fault_invalid_i64(f, members[i], id, "must be between 0 and 2147483647, inclusive");
    }
    if (jv_is(jv_get(sc, "allowPrivilegeEscalation"), J_BOOL) && !security_context_allow_privilege_escalation(sc, true) &&
        security_context_privileged(sc, false))
        fault_invalid(f, NULL, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    fault_pop(f, at);
}

static void check_resize(struct faults *f, jval *list)
{
    static const char *const names[] = {"cpu", "memory", NULL}, *const policies[] = {"NotRequired", "RestartContainer", NULL};
    for (size_t i = 0, n = jv_is(list, J_ARRAY) ? jv_len(list) : 0; i < n; i++) {
        validate_enum(f, "resizePolicy", jv_str(jv_get(jv_at(list, i), "resourceName")), names);
        validate_enum(f, "resizePolicy", container_resize_policy_restart_policy(jv_at(list, i)), policies);
    }
}

static void check_container(struct faults *f, jval *c, struct pod_parts *p)
{
    static const char *const pull[] = {"Always", "IfNotPresent", "Never", NULL}, *const message[] = {
                                                                                     "File", "FallbackToLogsOnError", NULL};
    const char *name = jv_str_or(jv_get(c, "name"), ""), *image = jv_str_or(jv_get(c, "image"), "");
    if (!*name)
        fault_required(f, "name", NULL);
    else
        validate_name(f, "name", name, name_dns1123_label(name));
    if (!*image)
        fault_required(f, "image", NULL);
    else if (has_space_around(image))
        fault_invalid_str(f, "image", image, "must not have leading or trailing whitespace");
    validate_enum(f, "terminationMessagePolicy", jv_str(jv_get(c, "terminationMessagePolicy")), message);
    check_ports(f, container_ports(c));
    validate_env(f, c);
    check_mounts(f, c, &p->volumes);
    check_devices(f, container_volume_devices(c), &p->volumes);
    validate_enum(f, "imagePullPolicy", jv_str(jv_get(c, "imagePullPolicy")), pull);
    validate_resources(f, container_resources(c), pod_spec_resource_claims(p->spec));
    check_resize(f, container_resize_policy(c));
    check_security(f, container_security_context(c));
}

/* An init container that goes on running may have what others may; one that ends may not. */
static void check_init(struct faults *f, jval *c)
{
    static const char *const members[] = {"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"};
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (jv_present(jv_get(c, members[i])))
            fault_forbidden(f, members[i], "may not be set for init containers without restartPolicy=Always");
}

void validate_containers(struct faults *f, const char *member, jval *list, struct pod_parts *p, bool init)
{
    struct strmap host_ports = STRMAP_INIT(NULL);
    size_t n = jv_is(list, J_ARRAY) ? jv_len(list) : 0;
    if (n == 0 && !init)
        fault_required(f, member, NULL);
    for (size_t i = 0; i < n; i++) {
        jval *c = jv_at(list, i);
        const char *name = jv_str_or(jv_get(c, "name"), "");
        size_t at = validate_push_item(f, member, i);
        check_container(f, c, p);
        if (*name && strmap_has(&p->names, name))
            fault_duplicate_str(f, "name", name);
        strmap_put(&p->names, name, NULL);
        if (init && !str_eq(container_restart_policy(c), "Always"))
            check_init(f, c);
        else
            validate_probes(f, c, p->spec);
        check_host_ports(f, container_ports(c), &host_ports, pod_spec_host_network(p->spec, false));
        fault_pop(f, at);
    }
    strmap_free(&host_ports);
}

/* Whoever only looks into a pod is no part of what it is for: no probes, hooks, ports, resources. */
static void check_members(struct faults *f, jval *c)
{
    static const char *const allowed[] = {"name",
                                          "image",
                                          "command",
                                          "args",
                                          "workingDir",
                                          "envFrom",
                                          "env",
                                          "volumeMounts",
                                          "volumeDevices",
                                          "terminationMessagePath",
                                          "terminationMessagePolicy",
                                          "imagePullPolicy",
                                          "securityContext",
                                          "stdin",
                                          "stdinOnce",
                                          "tty",
                                          "targetContainerName"};
    static const char *const paths[] = {"subPath", "subPathExpr"};
    struct jiter it = jv_iter(c);
    const char *key;
    jval *v, *mounts = container_volume_mounts(c);
    while (jv_next(&it, &key, &v)) {
        bool known = !jv_present(v) || (!jv_is(v, J_STRING) && jv_len(v) == 0);
        for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
            known |= str_eq(allowed[i], key);
        if (!known)
            fault_forbidden(f, key, "cannot be set for an Ephemeral Container");
    }
    for (size_t i = 0; i < jv_len(mounts); i++) {
        size_t at = validate_push_item(f, "volumeMounts", i);
        for (size_t k = 0; k < ARRAY_LEN(paths); k++)
            if (!str_empty(jv_str(jv_get(jv_at(mounts, i), paths[k]))))
                fault_forbidden(f, paths[k], "cannot be set for an Ephemeral Container");
        fault_pop(f, at);
    }
}

void validate_ephemeral(struct faults *f, struct pod_parts *p)
{
    jval *list = pod_spec_ephemeral_containers(p->spec), *const others[] = {pod_spec_containers(p->spec),
                                                                            pod_spec_init_containers(p->spec)};
    for (size_t i = 0, n = jv_is(list, J_ARRAY) ? jv_len(list) : 0; i < n; i++) {
        jval *c = jv_at(list, i);
        const char *name = jv_str_or(jv_get(c, "name"), ""), *target = ephemeral_container_target_container_name(c);
        bool found = str_empty(target);
        size_t at = validate_push_item(f, "ephemeralContainers", i);
        check_container(f, c, p);
        if (*name && strmap_has(&p->names, name))
            fault_duplicate_str(f, "name", name);
        strmap_put(&p->names, name, NULL);
        for (size_t l = 0; l < ARRAY_LEN(others); l++)
            for (size_t k = 0; k < jv_len(others[l]); k++)
                found |= str_eq(container_name(jv_at(others[l], k)), target);
        if (!found)
            fault_not_found(f, "targetContainerName", target);
        check_members(f, c);
        fault_pop(f, at);
    }
}
