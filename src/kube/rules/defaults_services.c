/* Defaults of Services and what belongs to them, and of storage. */
#include "base/str.h"
#include "kube/fields.h"
#include "kube/rules/defaults_priv.h"

#define CORE "io.k8s.api.core.v1."

enum { AFFINITY_SECONDS = 10800 };

static bool of_type(jmval *spec, const char *type) { return str_eq(jmv_str(service_spec_mut_type(spec)), type); }

static void default_service_spec(struct jm *m, jmval *s)
{
    DEFAULT_TEXT(m, s, service_spec, session_affinity, "None");
    DEFAULT_TEXT(m, s, service_spec, type, "ClusterIP");
    if (str_eq(jmv_str(service_spec_mut_session_affinity(s)), "None"))
        service_spec_del_session_affinity_config(s);
    else if (str_eq(jmv_str(service_spec_mut_session_affinity(s)), "ClientIP")) {
        jmval *client = session_affinity_config_make_client_ip(m, service_spec_make_session_affinity_config(m, s));
        DEFAULT_INT(m, client, client_ip_config, timeout_seconds, AFFINITY_SECONDS);
    }
    if (of_type(s, "NodePort") || of_type(s, "LoadBalancer"))
        DEFAULT_TEXT(m, s, service_spec, external_traffic_policy, "Cluster");
    if (!of_type(s, "ExternalName"))
        DEFAULT_STRING(m, s, service_spec, internal_traffic_policy, "Cluster");
    if (of_type(s, "LoadBalancer") && jmv_type(service_spec_mut_allocate_load_balancer_node_ports(s)) <= J_NULL)
        service_spec_set_allocate_load_balancer_node_ports(m, s, true);
}

static void default_service_port(struct jm *m, jmval *p)
{
    jmval *target = service_port_mut_target_port(p);
    int64_t n;
    DEFAULT_TEXT(m, p, service_port, protocol, "TCP");
    bool unset = jmv_type(target) <= J_NULL || (jmv_i64(target, &n) && n == 0) || (jmv_str(target) && !*jmv_str(target));
    if (unset && jmv_i64(service_port_mut_port(p), &n))
        service_port_set_target_port(m, p, jm_i64(m, n));
}

static void default_endpoint_port(struct jm *m, jmval *p) { DEFAULT_TEXT(m, p, endpoint_port, protocol, "TCP"); }

static void default_slice_port(struct jm *m, jmval *p)
{
    DEFAULT_STRING(m, p, discovery_endpoint_port, name, "");
    DEFAULT_STRING(m, p, discovery_endpoint_port, protocol, "TCP");
}

static void default_volume_spec(struct jm *m, jmval *s)
{
    DEFAULT_TEXT(m, s, persistent_volume_spec, persistent_volume_reclaim_policy, "Retain");
    DEFAULT_STRING(m, s, persistent_volume_spec, volume_mode, "Filesystem");
}

static void default_volume_status(struct jm *m, jmval *s) { DEFAULT_TEXT(m, s, persistent_volume_status, phase, "Pending"); }

static void default_storage_class(struct jm *m, jmval *c)
{
    DEFAULT_STRING(m, c, storage_class, reclaim_policy, "Delete");
    DEFAULT_STRING(m, c, storage_class, volume_binding_mode, "Immediate");
}

const struct default_hook defaults_of_services[] = {
    {CORE "ServiceSpec", default_service_spec},
    {CORE "ServicePort", default_service_port},
    {CORE "EndpointPort", default_endpoint_port},
    {"io.k8s.api.discovery.v1.EndpointPort", default_slice_port},
    {CORE "PersistentVolumeSpec", default_volume_spec},
    {CORE "PersistentVolumeStatus", default_volume_status},
    {"io.k8s.api.storage.v1.StorageClass", default_storage_class},
    {NULL, NULL},
};
