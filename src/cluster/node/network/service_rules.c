#include "cluster/node/network/service_rules.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "kube/fields.h"
#include "kube/object.h"

#define SERVICE_LABEL "kubernetes.io/service-name"

struct rules {
    const struct rules_config *cfg;
    struct buf *chains, *addresses, *ports; /* elements of the two maps */
    struct strmap themselves;               /* addresses of endpoints */
    struct strmap by_service;               /* "ns/name" -> struct slice_list */
    size_t n;
};
struct slice_list {
    jval **v;
    size_t n;
};

static void slice_list_free(void *p)
{
    struct slice_list *l = p;
    free(l->v);
    free(l);
}

static void index_slices(struct rules *r, struct json *const *slices, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        jval *o = json_root(slices[i]);
        const char *service = obj_label(o, SERVICE_LABEL);
        if (!service || !str_eq(endpoint_slice_address_type(o), "IPv4"))
            continue;
        AUTOFREE char *key = obj_key_of(obj_namespace(o), service);
        struct slice_list *l = strmap_get(&r->by_service, key);
        if (!l) {
            l = xcalloc(1, sizeof *l);
            strmap_put(&r->by_service, key, l);
        }
        l->v = xreallocarray(l->v, l->n + 1, sizeof *l->v);
        l->v[l->n++] = o;
    }
}

/* Only what is an address gets into a script. */
static bool is_address(const char *text)
{
    struct in_addr a;
    return text && inet_pton(AF_INET, text, &a) == 1 && a.s_addr != 0;
}

static const char *protocol_of(const char *text) { return str_eq(text, "UDP") ? "udp" : str_eq(text, "SCTP") ? "sctp" : "tcp"; }

static void add_target(struct rules *r, struct strlist *out, const char *ip, int64_t port)
{
    if (!is_address(ip) || port <= 0 || port > 65535)
        return;
    for (size_t i = 0; str_eq(ip, r->cfg->gateway) && i < r->cfg->n_local; i++) {
        const char *colon = r->cfg->local[i].address ? strrchr(r->cfg->local[i].address, ':') : NULL;
        if (r->cfg->local[i].port != port || !colon)
            continue;
        AUTOFREE char *host = xstrndup(r->cfg->local[i].address, (size_t)(colon - r->cfg->local[i].address));
        const char *to = str_eq(host, "localhost") ? "127.0.0.1" : str_eq(host, "0.0.0.0") ? ip : host;
        if (is_address(to))
            strlist_addf(out, "%s:%s", to, colon + 1);
        return;
    }
    strlist_addf(out, "%s:%" PRId64, ip, port);
    strmap_put(&r->themselves, ip, r);
}

static bool usable(jval *endpoint, bool last_resort)
{
    jval *c = endpoint_conditions(endpoint);
    return last_resort ? endpoint_conditions_serving(c, false) && endpoint_conditions_terminating(c, false)
                       : endpoint_conditions_ready(c, true);
}

static void targets_of(struct rules *r, const struct slice_list *slices, const char *port, bool last_resort, struct strlist *out)
{
    for (size_t i = 0; slices && i < slices->n; i++) {
        jval *ports = endpoint_slice_ports(slices->v[i]), *list = endpoint_slice_endpoints(slices->v[i]);
        for (size_t k = 0; k < jv_len(ports); k++) {
            const char *name = discovery_endpoint_port_name(jv_at(ports, k));
            if (!str_eq(name ? name : "", port ? port : ""))
                continue;
            for (size_t e = 0; e < jv_len(list); e++)
                if (usable(jv_at(list, e), last_resort))
                    add_target(r, out, jv_str(jv_at(endpoint_addresses(jv_at(list, e)), 0)),
                               discovery_endpoint_port_port(jv_at(ports, k), 0));
        }
    }
}

static void add_chain(struct rules *r, const struct strlist *targets, const char *protocol, bool sticky)
{
    buf_addf(r->chains, "  chain s%zu {\n    meta l4proto %s dnat ip to ", r->n, protocol);
    if (targets->n == 1) {
        buf_adds(r->chains, targets->v[0]);
    } else {
        buf_addf(r->chains, "%s mod %zu map { ", sticky ? "jhash ip saddr" : "numgen random", targets->n);
        for (size_t i = 0; i < targets->n; i++) { /* in a map address and port are a concatenation */
            const char *colon = strchr(targets->v[i], ':');
            buf_addf(r->chains, "%s%zu : %.*s . %s", i ? ", " : "", i, (int)(colon - targets->v[i]), targets->v[i], colon + 1);
        }
        buf_adds(r->chains, " }");
    }
    buf_adds(r->chains, "\n  }\n");
}

static void add_port(struct rules *r, jval *spec, jval *port, const struct slice_list *slices)
{
    const char *protocol = protocol_of(service_port_protocol(port)), *ip = service_spec_cluster_ip(spec);
    int64_t number = service_port_port(port, 0), node = service_port_node_port(port, 0);
    STRLIST(targets);
    targets_of(r, slices, service_port_name(port), false, &targets);
    if (!targets.n) /* better those that are about to end than none */
        targets_of(r, slices, service_port_name(port), true, &targets);
    if (!targets.n)
        return;
    add_chain(r, &targets, protocol, str_eq(service_spec_session_affinity(spec), "ClientIP"));
    buf_addf(r->addresses, "%s%s . %s . %" PRId64 " : goto s%zu", r->addresses->len ? ", " : "", ip, protocol, number, r->n);
    if (node > 0)
        buf_addf(r->ports, "%s%s . %" PRId64 " : goto s%zu", r->ports->len ? ", " : "", protocol, node, r->n);
    r->n++;
}

static void add_service(struct rules *r, jval *service)
{
    jval *spec = service_spec(service), *ports = service_spec_ports(spec);
    const char *ip = service_spec_cluster_ip(spec);
    if (!is_address(ip) || str_eq(service_spec_type(spec), "ExternalName") || (r->cfg->dns_port && str_eq(ip, r->cfg->range.dns)))
        return;
    AUTOFREE char *key = obj_key(service);
    for (size_t i = 0; i < jv_len(ports); i++)
        add_port(r, spec, jv_at(ports, i), strmap_get(&r->by_service, key));
}

static void add_map(struct buf *b, const char *name, const char *type, const struct buf *elements)
{
    buf_addf(b, "  map %s {\n    type %s : verdict\n", name, type);
    if (elements->len)
        buf_addf(b, "    elements = { %s }\n", elements->data);
    buf_adds(b, "  }\n");
}

/* Each endpoint beside itself. */
static void add_themselves(const struct rules *r, struct buf *b)
{
    const char *sep = "";
    buf_adds(b, "  set themselves {\n    type ipv4_addr . ipv4_addr\n");
    for (struct strmap_entry *e = strmap_first(&r->themselves); e; e = strmap_next(e), sep = ", ")
        buf_addf(b, "%s%s . %s", *sep ? sep : "    elements = { ", e->key, e->key);
    buf_adds(b, *sep ? " }\n  }\n" : "  }\n");
}

/* Whatever was not led on is nobody's: a Service without endpoints, a port that it does not have. */
static void add_nobody(struct buf *b, const char *hook, const char *from, const char *range)
{
    buf_addf(b, "  chain nobody_%s {\n    type filter hook %s priority -5; policy accept;\n", hook, hook);
    buf_addf(b, "    %sip daddr %s meta l4proto tcp reject with tcp reset\n", from, range);
    buf_addf(b, "    %sip daddr %s reject with icmp type port-unreachable\n  }\n", from, range);
}

/* For processes of the machine and pods of its network. Two clusters on one machine have ranges of their own, and who does not
 * have the range leaves these packets alone. */
static void add_own(const struct rules *r, struct buf *b)
{
    buf_adds(b, "  chain own {\n    type nat hook output priority -105; policy accept;\n");
    if (r->cfg->own && r->cfg->dns_port)
        buf_addf(b, "    ip daddr %s th dport 53 goto names\n", r->cfg->range.dns);
    if (r->cfg->own)
        buf_addf(b, "    ip daddr %s jump services\n", r->cfg->range.cidr);
    buf_adds(b, "    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @ports\n  }\n");
    if (r->cfg->own)
        add_nobody(b, "output", "", r->cfg->range.cidr);
}

static void write_table(const struct rules *r, struct buf *b)
{
    const char *t = r->cfg->table, *bridge = r->cfg->bridge, *range = r->cfg->range.cidr;
    AUTOFREE char *from_pods = xasprintf("iifname \"%s\" ", bridge);
    buf_addf(b, "table inet %s {}\ndelete table inet %s\ntable inet %s {\n", t, t, t);
    buf_adds(b, buf_str(r->chains));
    if (r->cfg->dns_port)
        buf_addf(b, "  chain names {\n    meta l4proto { tcp, udp } dnat ip to 127.0.0.1:%d\n  }\n", r->cfg->dns_port);
    add_map(b, "addresses", "ipv4_addr . inet_proto . inet_service", r->addresses);
    add_map(b, "ports", "inet_proto . inet_service", r->ports);
    add_themselves(r, b);
    buf_adds(b, "  chain services {\n    ip daddr . meta l4proto . th dport vmap @addresses\n  }\n");
    /* Before the pods' own rules, which would take the API's address for themselves. */
    buf_addf(b, "  chain incoming {\n    type nat hook prerouting priority -105; policy accept;\n");
    if (r->cfg->dns_port)
        buf_addf(b, "    %sip daddr %s th dport 53 goto names\n", from_pods, r->cfg->range.dns);
    buf_addf(b, "    %sip daddr %s jump services\n", from_pods, range);
    buf_adds(b, "    fib daddr type local meta l4proto . th dport vmap @ports\n  }\n");
    add_own(r, b);
    add_nobody(b, "forward", from_pods, range);
    /* A pod that was led to itself must not see its own address as the other side's; every other one may know who asks. By
     * address and not by link: where the machine's bridges look at addresses, the packet has no incoming link any more. */
    buf_addf(b, "  chain back {\n    type nat hook postrouting priority 95; policy accept;\n");
    buf_addf(b, "    oifname \"%s\" ct status dnat ip saddr . ip daddr @themselves masquerade\n  }\n}\n", bridge);
}

char *service_rules(const struct rules_config *cfg, struct json *const *services, size_t n_services, struct json *const *slices,
                    size_t n_slices)
{
    BUF(chains);
    BUF(addresses);
    BUF(ports);
    BUF(out);
    struct rules r = {.cfg = cfg,
                      .chains = &chains,
                      .addresses = &addresses,
                      .ports = &ports,
                      .themselves = STRMAP_INIT(NULL),
                      .by_service = STRMAP_INIT(slice_list_free)};
    index_slices(&r, slices, n_slices);
    for (size_t i = 0; i < n_services; i++)
        add_service(&r, json_root(services[i]));
    write_table(&r, &out);
    strmap_free(&r.by_service);
    strmap_free(&r.themselves);
    return buf_steal(&out, NULL);
}
