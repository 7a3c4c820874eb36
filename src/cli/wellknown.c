#include "cli/wellknown.h"

#include "base/str.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

struct port {
    const char *name, *protocol;
    int port, target;
};
struct entry {
    const char *ns, *name, *ip; /* ip NULL: any */
    const char *labels[2][2];
    struct port ports[2];
    bool has_endpoint; /* this machine, at the ports' targets */
};

static void put_labels(struct jm *m, jmval *meta, const struct entry *e)
{
    for (size_t i = 0; i < ARRAY_LEN(e->labels) && e->labels[i][0]; i++)
        jm_put(m, object_meta_make_labels(m, meta), e->labels[i][0], jm_str(m, e->labels[i][1]));
}

static struct json *service_of(const struct entry *e)
{
    JM_NEW(m);
    jmval *o = jm_obj(m), *meta, *spec, *ports = jm_arr(m);
    jm_set_root(m, o);
    service_set_api_version(m, o, "v1");
    service_set_kind(m, o, "Service");
    meta = service_make_metadata(m, o);
    object_meta_set_name(m, meta, e->name);
    object_meta_set_namespace(m, meta, e->ns);
    put_labels(m, meta, e);
    spec = service_make_spec(m, o);
    if (e->ip)
        service_spec_set_cluster_ip(m, spec, e->ip);
    for (size_t i = 0; i < ARRAY_LEN(e->ports) && e->ports[i].name; i++) {
        jmval *p = jm_obj(m);
        service_port_set_name(m, p, e->ports[i].name);
        service_port_set_protocol(m, p, e->ports[i].protocol);
        service_port_set_port(m, p, e->ports[i].port);
        service_port_set_target_port(m, p, jm_i64(m, e->ports[i].target));
        jm_push(ports, p);
    }
    service_spec_set_ports(m, spec, ports);
    return jm_freeze(m);
}

static struct json *slice_of(const struct entry *e, const char *address)
{
    JM_NEW(m);
    jmval *o = jm_obj(m), *meta, *ports = jm_arr(m), *endpoints = jm_arr(m), *endpoint = jm_obj(m), *addresses = jm_arr(m);
    jm_set_root(m, o);
    endpoint_slice_set_api_version(m, o, "discovery.k8s.io/v1");
    endpoint_slice_set_kind(m, o, "EndpointSlice");
    meta = endpoint_slice_make_metadata(m, o);
    object_meta_set_name(m, meta, e->name);
    object_meta_set_namespace(m, meta, e->ns);
    jm_put(m, object_meta_make_labels(m, meta), "kubernetes.io/service-name", jm_str(m, e->name));
    endpoint_slice_set_address_type(m, o, "IPv4");
    jm_push(addresses, jm_str(m, address));
    endpoint_set_addresses(m, endpoint, addresses);
    endpoint_conditions_set_ready(m, endpoint_make_conditions(m, endpoint), true);
    jm_push(endpoints, endpoint);
    endpoint_slice_set_endpoints(m, o, endpoints);
    for (size_t i = 0; i < ARRAY_LEN(e->ports) && e->ports[i].name; i++) {
        jmval *p = jm_obj(m);
        discovery_endpoint_port_set_name(m, p, e->ports[i].name);
        discovery_endpoint_port_set_protocol(m, p, e->ports[i].protocol);
        discovery_endpoint_port_set_port(m, p, e->ports[i].target);
        jm_push(ports, p);
    }
    endpoint_slice_set_ports(m, o, ports);
    return jm_freeze(m);
}

static int ensure(struct kube *k, const struct ctx *ctx, const struct kube_res *res, jval *want, struct err *err)
{
    const char *ns = obj_namespace(want), *name = obj_name(want);
    ERR(e);
    JSON_REF(have) = kube_get(k, ctx, res, ns, name, NULL, &e);
    if (!have && e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    JSON_REF(now) = have ? kube_patch(k, ctx, res, ns, name, KUBE_PATCH_MERGE, want, NULL, err)
                         : kube_create(k, ctx, res, ns, want, NULL, err);
    return now ? 0 : -1;
}

int wellknown_services(struct kube *k, const struct ctx *ctx, const struct wellknown *w, struct err *err)
{
    const struct entry entries[] = {
        {"default",
         "kubernetes",
         w->api_ip,
         {{"component", "apiserver"}, {"provider", "kubernetes"}},
         {{"https", "TCP", 443, w->kube_port}},
         true},
        {"kube-system",
         "kube-dns",
         w->dns_ip,
         {{"k8s-app", "kube-dns"}, {"kubernetes.io/name", "CoreDNS"}},
         {{"dns", "UDP", 53, 53}, {"dns-tcp", "TCP", 53, 53}},
         false},
        {"kubeflow", "ml-pipeline", NULL, {{"app", "ml-pipeline"}}, {{"http", "TCP", 8888, w->front_port}}, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        JSON_REF(service) = service_of(&entries[i]);
        if (ensure(k, ctx, &KUBE_SERVICES, json_root(service), err) < 0)
            return err_wrap(err, "making service %s/%s", entries[i].ns, entries[i].name);
        if (!w->gateway || !entries[i].has_endpoint)
            continue;
        JSON_REF(slice) = slice_of(&entries[i], w->gateway);
        if (ensure(k, ctx, &KUBE_ENDPOINTSLICES, json_root(slice), err) < 0)
            return err_wrap(err, "making the endpoints of %s/%s", entries[i].ns, entries[i].name);
    }
    return 0;
}
