/* warn.c - see warn.h. */
#include <inttypes.h>
#include <string.h>

#include "kube/fields.h"
#include "kube/object.h"
#include "kube/rules/warn.h"

static void warn_spread(jval *spec, struct strlist *out)
{
    jval *list = pod_spec_topology_spread_constraints(spec);
    for (size_t i = 0; i < jv_len(list); i++)
        if (!jv_present(topology_spread_constraint_label_selector(jv_at(list, i))))
            strlist_addf(out,
                         "spec.topologySpreadConstraints[%zu].labelSelector: a null labelSelector results in matching no pod", i);
}

static void warn_pull_secrets(jval *spec, struct strlist *out)
{
    jval *list = pod_spec_image_pull_secrets(spec);
    for (size_t i = 0; i < jv_len(list); i++)
        if (str_empty(jv_str(jv_get(jv_at(list, i), "name")))) /* fields: any kind that embeds a reference */
            strlist_addf(out, "spec.imagePullSecrets[%zu].name: invalid empty name \"\"", i);
}

/* Canonical quantities have one of these suffixes only where they are no whole number. */
static bool is_fractional(const char *quantity)
{
    size_t n = strlen(quantity);
    return n && strchr("mun", quantity[n - 1]);
}

static void warn_bytes(jval *map, const char *path, const char *member, struct strlist *out)
{
    static const char *const bytes[] = {"ephemeral-storage", "memory"};
    for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
        const char *q = jv_str(jv_get(map, bytes[i]));
        if (q && is_fractional(q))
            strlist_addf(out, "%s.resources.%s[%s]: fractional byte value \"%s\" is invalid, must be an integer", path, member,
                         bytes[i], q);
    }
}

static void warn_container(jval *c, const char *path, struct strlist *out)
{
    jval *ports = container_ports(c), *resources = container_resources(c);
    warn_bytes(resource_requirements_limits(resources), path, "limits", out);
    warn_bytes(resource_requirements_requests(resources), path, "requests", out);
    for (size_t i = 0; i < jv_len(ports); i++) {
        jval *p = jv_at(ports, i);
        const char *name = container_port_name(p), *protocol = container_port_protocol(p), *ip = container_port_host_ip(p);
        if (!str_empty(ip) && container_port_host_port(p, 0) == 0)
            strlist_addf(out,
                         "%s.ports[%zu]: hostIP set without hostPort: {Name:%s HostPort:0 ContainerPort:%" PRId64
                         " Protocol:%s HostIP:%s}",
                         path, i, name ? name : "", (int64_t)container_port_container_port(p, 0), protocol ? protocol : "", ip);
    }
}

static void warn_containers(jval *list, const char *member, struct strlist *out)
{
    for (size_t i = 0; i < jv_len(list); i++) {
        AUTOFREE char *path = xasprintf("spec.%s[%zu]", member, i);
        warn_container(jv_at(list, i), path, out);
    }
}

void warn_pod(jval *pod, struct strlist *out)
{
    jval *spec = pod_spec(pod);
    warn_spread(spec, out);
    warn_pull_secrets(spec, out);
    warn_containers(pod_spec_init_containers(spec), "initContainers", out);
    warn_containers(pod_spec_containers(spec), "containers", out);
}

void warn_finalizers(jval *old, jval *now, struct strlist *out)
{
    jval *list = object_meta_finalizers(obj_meta(now));
    for (size_t i = 0; i < jv_len(list); i++) {
        const char *name = jv_str_or(jv_at(list, i), "");
        if (strchr(name, '/') || strcmp(name, "orphan") == 0 || strcmp(name, "foregroundDeletion") == 0 ||
            (old && obj_has_finalizer(old, name)))
            continue;
        strlist_addf(
            out,
            "metadata.finalizers: \"%s\": prefer a domain-qualified finalizer name to avoid accidental conflicts with other "
            "finalizer writers",
            name);
    }
}

void warn_service(jval *service, struct strlist *out)
{
    jval *spec = service_spec(service);
    bool named = str_eq(service_spec_type(spec), "ExternalName");
    if (!str_empty(service_spec_external_name(spec)) && !named)
        strlist_add(out, "spec.externalName is ignored when spec.type is not \"ExternalName\"");
    if (!str_empty(service_spec_load_balancer_ip(spec)) && str_eq(service_spec_cluster_ip(spec), "None"))
        strlist_add(out, "spec.loadBalancerIP is ignored for headless services");
    if (jv_len(service_spec_external_ips(spec)) && (named || str_eq(service_spec_cluster_ip(spec), "None")))
        strlist_addf(out, "spec.externalIPs is ignored %s",
                     named ? "when spec.type is \"ExternalName\"" : "for headless services");
    if (str_eq(service_spec_session_affinity(spec), "ClientIP") && str_eq(service_spec_cluster_ip(spec), "None"))
        strlist_add(out, "spec.SessionAffinity is ignored for headless services");
}
