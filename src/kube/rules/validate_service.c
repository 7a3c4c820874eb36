/* Services, Endpoints and EndpointSlices. */
#include <inttypes.h>
#include <stdlib.h>

#include "kube/fields.h"
#include "kube/object.h"
#include "kube/rules/validate_priv.h"

enum { AFFINITY_MAX = 86400, SLICE_ENDPOINTS = 1000, SLICE_ADDRESSES = 100, SLICE_PORTS = 20000 };

#define BAD_IP "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"

static const char *const protocols[] = {"SCTP", "TCP", "UDP", NULL};

static size_t items(jval *list) { return jv_is(list, J_ARRAY) ? jv_len(list) : 0; }

static void check_protocol(struct faults *f, const char *protocol) { validate_enum(f, "protocol", protocol, protocols); }

static bool in_range(int64_t port) { return port > 0 && port < 65536; }

/* ---- ports of a Service -------------------------------------------------------------------------------------------- */

struct seen {
    struct strmap names, ports;
};

static void check_port_name(struct faults *f, const char *name, bool required, struct seen *seen)
{
    if (str_empty(name)) {
        if (required)
            fault_required(f, "name", NULL);
        return;
    }
    struct name_faults bad = name_dns1123_label(name);
    validate_name(f, "name", name, bad);
    if (!bad.n && strmap_has(&seen->names, name))
        fault_duplicate_str(f, "name", name);
    strmap_put(&seen->names, name, NULL);
}

static void check_target(struct faults *f, jval *target)
{
    int64_t n;
    if (jv_i64(target, &n) && !in_range(n))
        fault_invalid_i64(f, "targetPort", n, "must be between 1 and 65535, inclusive");
    else if (jv_str(target))
        validate_name(f, "targetPort", jv_str(target), name_port(jv_str(target)));
}

static void check_service_port(struct faults *f, jval *p, bool named, struct seen *seen)
{
    const char *app = service_port_app_protocol(p);
    int64_t port = service_port_port(p, 0);
    check_port_name(f, service_port_name(p), named, seen);
    if (!in_range(port))
        fault_invalid_i64(f, "port", port, "must be between 1 and 65535, inclusive");
    check_protocol(f, service_port_protocol(p));
    check_target(f, jv_get(p, "targetPort"));
    if (app)
        validate_name(f, "appProtocol", app, name_qualified(app));
}

static void check_ports(struct faults *f, jval *spec)
{
    jval *list = service_spec_ports(spec);
    struct seen seen = {STRMAP_INIT(NULL), STRMAP_INIT(NULL)};
    for (size_t i = 0; i < items(list); i++) {
        size_t at = validate_push_item(f, "ports", i);
        check_service_port(f, jv_at(list, i), items(list) > 1, &seen);
        fault_pop(f, at);
    }
    strmap_free(&seen.names);
}

/* One port number a protocol. The fault shows the value as Kubernetes' source has it. */
static void check_port_pairs(struct faults *f, jval *list)
{
    struct strmap seen = STRMAP_INIT(NULL);
    for (size_t i = 0; i < items(list); i++) {
        jval *p = jv_at(list, i);
        const char *protocol = service_port_protocol(p);
        AUTOFREE char *pair = xasprintf("%s/%" PRId64, protocol ? protocol : "", service_port_port(p, 0));
        if (strmap_has(&seen, pair)) {
            size_t at = validate_push_item(f, "ports", i);
            AUTOFREE char *text =
                xasprintf("Duplicate value: {\"Name\":\"\",\"Protocol\":\"%s\",\"AppProtocol\":null,\"Port\":%" PRId64
                          ",\"TargetPort\":0,\"NodePort\":0}",
                          protocol ? protocol : "", service_port_port(p, 0));
            fault_add(f, "FieldValueDuplicate", NULL, text);
            fault_pop(f, at);
        }
        strmap_put(&seen, pair, NULL);
    }
    strmap_free(&seen);
}

static void check_node_ports(struct faults *f, jval *list, bool allowed)
{
    struct strmap seen = STRMAP_INIT(NULL);
    for (size_t i = 0; i < items(list); i++) {
        jval *p = jv_at(list, i);
        int64_t n = service_port_node_port(p, 0);
        size_t at = validate_push_item(f, "ports", i);
        AUTOFREE char *pair = xasprintf("%s/%" PRId64, service_port_protocol(p) ? service_port_protocol(p) : "", n);
        if (n && !allowed)
            fault_forbidden(f, "nodePort", "may not be used when `type` is 'ClusterIP'");
        else if (n && strmap_has(&seen, pair))
            fault_duplicate(f, "nodePort", jv_get(p, "nodePort"));
        if (n)
            strmap_put(&seen, pair, NULL);
        fault_pop(f, at);
    }
    strmap_free(&seen);
}

/* ---- the Service --------------------------------------------------------------------------------------------------- */

static void check_affinity(struct faults *f, jval *spec)
{
    static const char *const kinds[] = {"ClientIP", "None", NULL};
    const char *kind = service_spec_session_affinity(spec);
    jval *config = service_spec_session_affinity_config(spec);
    validate_enum(f, "sessionAffinity", kind, kinds);
    if (str_eq(kind, "ClientIP")) {
        int64_t s = client_ip_config_timeout_seconds(session_affinity_config_client_ip(config), 0);
        if (!jv_is(config, J_OBJECT))
            fault_required(f, "sessionAffinityConfig", "when session affinity type is ClientIP");
        else if (s <= 0 || s > AFFINITY_MAX)
            fault_invalid_i64(f, "sessionAffinityConfig.clientIP.timeoutSeconds", s, "must be greater than 0 and less than %d",
                              AFFINITY_MAX);
    } else if (str_eq(kind, "None") && jv_is(config, J_OBJECT)) {
        fault_forbidden(f, "sessionAffinityConfig", "must not be set when session affinity is None");
    }
}

static void check_by_type(struct faults *f, jval *spec, const char *type, bool headless)
{
    const char *external = service_spec_external_name(spec);
    if (headless && (str_eq(type, "NodePort") || str_eq(type, "LoadBalancer")))
        fault_invalid_str(f, "clusterIPs[0]", "None", "may not be set to 'None' for %s services", type);
    if (!str_eq(type, "ExternalName"))
        return;
    if (items(service_spec_cluster_ips(spec)))
        fault_forbidden(f, "clusterIPs", "may not be set for ExternalName services");
    if (str_empty(external))
        fault_required(f, "externalName", NULL);
    else
        validate_name(f, "externalName", external, name_dns1123_subdomain(external));
}

static void check_ips(struct faults *f, const char *member, jval *list, bool none)
{
    for (size_t i = 0; i < items(list); i++) {
        const char *ip = jv_str_or(jv_at(list, i), "");
        size_t at = validate_push_item(f, member, i);
        if (!(none && i == 0 && str_eq(ip, "None")) && !validate_is_ip(ip))
            fault_invalid_str(f, NULL, ip, BAD_IP);
        fault_pop(f, at);
    }
}

static void check_policies(struct faults *f, jval *spec, const char *type)
{
    static const char *const scopes[] = {"Cluster", "Local", NULL};
    static const char *const families[] = {"PreferDualStack", "RequireDualStack", "SingleStack", NULL};
    const char *outside = service_spec_external_traffic_policy(spec), *inside = service_spec_internal_traffic_policy(spec),
               *family = service_spec_ip_family_policy(spec);
    if (family)
        validate_enum(f, "ipFamilyPolicy", family, families);
    bool reachable = str_eq(type, "NodePort") || str_eq(type, "LoadBalancer") || items(service_spec_external_ips(spec));
    if (!str_empty(outside) && !reachable)
        fault_invalid_str(f, "externalTrafficPolicy", outside, "may only be set for externally-accessible services");
    else if (!str_empty(outside))
        validate_enum(f, "externalTrafficPolicy", outside, scopes);
    if (inside)
        validate_enum(f, "internalTrafficPolicy", inside, scopes);
    int64_t check = service_spec_health_check_node_port(spec, 0);
    if (check && !(str_eq(type, "LoadBalancer") && str_eq(outside, "Local")))
        fault_invalid_i64(f, "healthCheckNodePort", check,
                          "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
}

void validate_service(struct faults *f, jval *o)
{
    static const char *const types[] = {"ClusterIP", "ExternalName", "LoadBalancer", "NodePort", NULL};
    jval *spec = service_spec(o), *ips = service_spec_cluster_ips(spec), *ranges = service_spec_load_balancer_source_ranges(spec);
    const char *type = service_spec_type(spec);
    bool headless = str_eq(jv_str(jv_at(ips, 0)), "None");
    size_t at = fault_push(f, "spec");
    if (!items(service_spec_ports(spec)) && !headless && !str_eq(type, "ExternalName"))
        fault_required(f, "ports", NULL);
    check_by_type(f, spec, type, headless);
    check_ports(f, spec);
    validate_labels(f, "selector", service_spec_selector(spec));
    check_affinity(f, spec);
    if (!str_eq(type, "ExternalName"))
        check_ips(f, "clusterIPs", ips, true);
    check_ips(f, "externalIPs", service_spec_external_ips(spec), false);
    validate_enum(f, "type", type, types);
    check_node_ports(f, service_spec_ports(spec), str_eq(type, "NodePort") || str_eq(type, "LoadBalancer"));
    check_port_pairs(f, service_spec_ports(spec));
    for (size_t i = 0; i < items(ranges); i++) {
        size_t rat = validate_push_item(f, "LoadBalancerSourceRanges", i);
        if (!validate_is_cidr(jv_str_or(jv_at(ranges, i), "")))
            fault_invalid_str(f, NULL, jv_str_or(jv_at(ranges, i), ""),
                              "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        fault_pop(f, rat);
    }
    check_policies(f, spec, type);
    fault_pop(f, at);
}

void validate_service_update(struct faults *f, jval *old, jval *now)
{
    jval *a = service_spec(old), *b = service_spec(now), *was = service_spec_cluster_ips(a), *is = service_spec_cluster_ips(b);
    if (str_eq(service_spec_type(a), "ExternalName") || str_eq(service_spec_type(b), "ExternalName") || !items(was))
        return;
    if (!str_eq(jv_str(jv_at(was, 0)), jv_str(jv_at(is, 0))))
        fault_invalid(f, "spec.clusterIPs[0]", is, "may not change once set");
    int64_t check = service_spec_health_check_node_port(b, 0), checked = service_spec_health_check_node_port(a, 0);
    if (check && checked && check != checked)
        fault_forbidden(f, "spec.healthCheckNodePort", "field is immutable");
}

/* ---- where its traffic goes ---------------------------------------------------------------------------------------- */

static void check_endpoint_ip(struct faults *f, const char *member, const char *ip)
{
    if (!validate_is_ip(ip))
        fault_invalid_str(f, member, ip, BAD_IP);
    else if (str_starts(ip, "127.") || str_eq(ip, "::1"))
        fault_invalid_str(f, member, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    else if (str_starts(ip, "169.254."))
        fault_invalid_str(f, member, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    else if (str_eq(ip, "0.0.0.0") || str_eq(ip, "::"))
        fault_invalid_str(f, member, ip, "may not be unspecified (0.0.0.0 or ::)");
}

static void check_addresses(struct faults *f, const char *member, jval *list)
{
    for (size_t i = 0; i < items(list); i++) {
        jval *a = jv_at(list, i);
        const char *host = endpoint_address_hostname(a);
        size_t at = validate_push_item(f, member, i);
        check_endpoint_ip(f, "ip", jv_str_or(jv_get(a, "ip"), ""));
        if (!str_empty(host))
            validate_name(f, "hostname", host, name_dns1123_label(host));
        fault_pop(f, at);
    }
}

void validate_endpoints(struct faults *f, jval *o)
{
    jval *subsets = endpoints_subsets(o);
    for (size_t i = 0; i < items(subsets); i++) {
        jval *s = jv_at(subsets, i), *ports = endpoint_subset_ports(s);
        size_t at = validate_push_item(f, "subsets", i);
        if (!items(endpoint_subset_addresses(s)) && !items(endpoint_subset_not_ready_addresses(s)))
            fault_required(f, NULL, "must specify `addresses` or `notReadyAddresses`");
        check_addresses(f, "addresses", endpoint_subset_addresses(s));
        check_addresses(f, "notReadyAddresses", endpoint_subset_not_ready_addresses(s));
        for (size_t k = 0; k < items(ports); k++) {
            jval *p = jv_at(ports, k);
            size_t pat = validate_push_item(f, "ports", k);
            const char *name = endpoint_port_name(p);
            if (items(ports) > 1 && str_empty(name))
                fault_required(f, "name", NULL);
            else if (!str_empty(name))
                validate_name(f, "name", name, name_dns1123_label(name));
            if (!in_range(endpoint_port_port(p, 0)))
                fault_invalid_i64(f, "port", endpoint_port_port(p, 0), "must be between 1 and 65535, inclusive");
            check_protocol(f, endpoint_port_protocol(p));
            fault_pop(f, pat);
        }
        fault_pop(f, at);
    }
}

static void check_endpoint(struct faults *f, jval *e, const char *type)
{
    jval *addresses = endpoint_addresses(e);
    const char *host = endpoint_hostname(e);
    if (!items(addresses))
        fault_required(f, "addresses", "must contain at least 1 address");
    if (items(addresses) > SLICE_ADDRESSES)
        fault_too_many(f, "addresses", items(addresses), SLICE_ADDRESSES);
    for (size_t k = 0; k < items(addresses); k++) {
        const char *text = jv_str_or(jv_at(addresses, k), "");
        size_t at = validate_push_item(f, "addresses", k);
        if (str_eq(type, "FQDN"))
            validate_name(f, NULL, text, name_dns1123_subdomain(text));
        else if (str_eq(type, "IPv4") && strchr(text, ':'))
            fault_invalid_str(f, NULL, text, "must be an IPv4 address");
        else if (str_eq(type, "IPv6") && validate_is_ip(text) && !strchr(text, ':'))
            fault_invalid_str(f, NULL, text, "must be an IPv6 address");
        else if (str_eq(type, "IPv4") || str_eq(type, "IPv6"))
            check_endpoint_ip(f, NULL, text);
        fault_pop(f, at);
    }
    if (host)
        validate_name(f, "hostname", host, name_dns1123_label(host));
}

void validate_endpoint_slice(struct faults *f, jval *o)
{
    static const char *const types[] = {"FQDN", "IPv4", "IPv6", NULL};
    jval *endpoints = endpoint_slice_endpoints(o), *ports = endpoint_slice_ports(o);
    const char *type = endpoint_slice_address_type(o);
    struct strmap names = STRMAP_INIT(NULL);
    validate_enum(f, "addressType", type, types);
    if (items(endpoints) > SLICE_ENDPOINTS)
        fault_too_many(f, "endpoints", items(endpoints), SLICE_ENDPOINTS);
    for (size_t i = 0; i < items(endpoints) && i < SLICE_ENDPOINTS; i++) {
        size_t at = validate_push_item(f, "endpoints", i);
        check_endpoint(f, jv_at(endpoints, i), type);
        fault_pop(f, at);
    }
    if (items(ports) > SLICE_PORTS)
        fault_too_many(f, "ports", items(ports), SLICE_PORTS);
    for (size_t i = 0; i < items(ports) && i < SLICE_PORTS; i++) {
        jval *p = jv_at(ports, i);
        const char *name = jv_str_or(jv_get(p, "name"), "");
        size_t at = validate_push_item(f, "ports", i);
        if (*name)
            validate_name(f, "name", name, name_dns1123_label(name));
        if (strmap_has(&names, name))
            fault_duplicate_str(f, "name", name);
        strmap_put(&names, name, NULL);
        check_protocol(f, discovery_endpoint_port_protocol(p));
        fault_pop(f, at);
    }
    strmap_free(&names);
}

void validate_endpoint_slice_update(struct faults *f, jval *old, jval *now)
{
    validate_immutable(f, "addressType", jv_get(old, "addressType"), jv_get(now, "addressType"));
}
