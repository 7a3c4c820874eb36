#include "cluster/node/network/dns_zone.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "kube/fields.h"
#include "kube/object.h"

#define SERVICE_LABEL "kubernetes.io/service-name"

enum { LABELS_MAX = 8 };

/* One answer being found. */
struct lookup {
    const struct zone_source *z;
    const struct dns_question *q;
    const uint8_t *query;
    uint8_t *buf;
    size_t cap;
    struct dns_writer *w;
    bool begun, exists; /* exists: the name is there, whatever types it has */
    /* What endpoints are looked for. */
    const char *service, *ns, *host, *port, *protocol;
    struct in_addr address; /* reverse */
};

static void begin(struct lookup *l, enum dns_rcode rcode)
{
    if (!l->begun)
        dns_begin(l->w, l->buf, l->cap, l->query, l->q, rcode, true);
    l->begun = true;
}

static bool wants(const struct lookup *l, enum dns_type t) { return l->q->type == t || l->q->type == DNS_ANY; }

/* What is said when there is nothing to say: NODATA or NXDOMAIN. */
static enum zone_result finish(struct lookup *l, const char *zone)
{
    bool empty = !l->begun;
    begin(l, l->exists ? DNS_NOERROR : DNS_NXDOMAIN);
    if (empty)
        dns_soa(l->w, zone, DNS_TTL);
    return ZONE_ANSWERED;
}

static void add_address(struct lookup *l, const char *name, const char *text)
{
    struct in_addr a;
    l->exists = true;
    if (!wants(l, DNS_A) || inet_pton(AF_INET, text, &a) != 1)
        return;
    begin(l, DNS_NOERROR);
    dns_a(l->w, name, DNS_TTL, a);
}

/* ---- endpoints ----------------------------------------------------------------------------------------------------- */

static bool is_ready(jval *endpoint) { return endpoint_conditions_ready(endpoint_conditions(endpoint), true); }

/* What an endpoint of a headless Service is called. */
static void host_of(jval *endpoint, char out[DNS_NAME_MAX])
{
    const char *host = endpoint_hostname(endpoint), *ip = jv_str_or(jv_at(endpoint_addresses(endpoint), 0), "");
    snprintf(out, DNS_NAME_MAX, "%s", str_empty(host) ? ip : host);
    if (str_empty(host))
        for (char *c = out; *c; c++)
            *c = *c == '.' || *c == ':' ? '-' : *c;
}

static bool of_service(jval *slice, const char *service)
{
    return str_eq(obj_label(slice, SERVICE_LABEL), service) && str_eq(endpoint_slice_address_type(slice), "IPv4");
}

static void each_address(void *arg, jval *slice)
{
    struct lookup *l = arg;
    char host[DNS_NAME_MAX];
    jval *list = endpoint_slice_endpoints(slice);
    for (size_t i = 0; of_service(slice, l->service) && i < jv_len(list); i++) {
        jval *e = jv_at(list, i);
        host_of(e, host);
        if (is_ready(e) && (!l->host || str_eq(l->host, host)))
            add_address(l, NULL, jv_str_or(jv_at(endpoint_addresses(e), 0), ""));
    }
}

static bool same_port(const struct lookup *l, const char *name, const char *protocol)
{
    return !l->port || (str_eq(name, l->port) && protocol && strcasecmp(protocol, l->protocol) == 0);
}

static void each_srv(void *arg, jval *slice)
{
    struct lookup *l = arg;
    char host[DNS_NAME_MAX], target[3 * DNS_NAME_MAX];
    jval *list = endpoint_slice_endpoints(slice), *ports = endpoint_slice_ports(slice);
    for (size_t i = 0; of_service(slice, l->service) && i < jv_len(list); i++) {
        jval *e = jv_at(list, i);
        host_of(e, host);
        snprintf(target, sizeof target, "%s.%s.%s.svc." DNS_ZONE, host, l->service, l->ns);
        for (size_t k = 0; is_ready(e) && k < jv_len(ports); k++) {
            jval *p = jv_at(ports, k);
            if (!same_port(l, discovery_endpoint_port_name(p), discovery_endpoint_port_protocol(p)) ||
                strlen(target) >= DNS_NAME_MAX)
                continue;
            l->exists = true;
            if (wants(l, DNS_SRV)) {
                begin(l, DNS_NOERROR);
                dns_srv(l->w, DNS_TTL, 100, (uint16_t)discovery_endpoint_port_port(p, 0), target);
            }
        }
    }
}

/* ---- names of Services --------------------------------------------------------------------------------------------- */

static bool is_headless(jval *service) { return str_eq(service_spec_cluster_ip(service_spec(service)), "None"); }

static void srv_of(struct lookup *l, jval *service)
{
    char target[2 * DNS_NAME_MAX + 32];
    jval *ports = service_spec_ports(service_spec(service));
    if (is_headless(service)) {
        l->z->slices(l->z->self, l->ns, each_srv, l);
        return;
    }
    snprintf(target, sizeof target, "%s.%s.svc." DNS_ZONE, l->service, l->ns);
    for (size_t i = 0; i < jv_len(ports); i++) {
        jval *p = jv_at(ports, i);
        if (!same_port(l, service_port_name(p), service_port_protocol(p)) || strlen(target) >= DNS_NAME_MAX)
            continue;
        l->exists = true;
        if (wants(l, DNS_SRV)) {
            begin(l, DNS_NOERROR);
            dns_srv(l->w, DNS_TTL, 100, (uint16_t)service_port_port(p, 0), target);
        }
    }
}

static enum zone_result alias(struct lookup *l, jval *service, char *target)
{
    const char *to = service_spec_external_name(service_spec(service));
    size_t n = to ? strlen(to) : 0;
    l->exists = true;
    while (n && to[n - 1] == '.')
        n--;
    if (!n || n >= DNS_NAME_MAX)
        return finish(l, DNS_ZONE);
    begin(l, DNS_NOERROR);
    memcpy(target, to, n);
    target[n] = 0;
    for (char *c = target; *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    dns_name_rr(l->w, DNS_CNAME, NULL, DNS_TTL, target);
    return l->q->type == DNS_CNAME ? ZONE_ANSWERED : ZONE_ALIAS;
}

/* labels: the n before "<svc>.<ns>.svc". */
static enum zone_result service_name(struct lookup *l, char **labels, size_t n, char *target)
{
    JSON_REF(doc) = l->z->service(l->z->self, l->ns, l->service);
    jval *service = json_root(doc);
    if (!doc)
        return finish(l, DNS_ZONE);
    if (str_eq(service_spec_type(service_spec(service)), "ExternalName"))
        return n == 0 ? alias(l, service, target) : finish(l, DNS_ZONE);
    if (n == 2 && labels[0][0] == '_' && labels[1][0] == '_') {
        l->port = labels[0] + 1;
        l->protocol = labels[1] + 1;
        srv_of(l, service);
    } else if (n == 1 && labels[0][0] == '_') {
        l->exists = true;
    } else if (n == 1 && is_headless(service)) {
        l->host = labels[0];
        l->z->slices(l->z->self, l->ns, each_address, l);
    } else if (n == 0) {
        l->exists = true;
        if (l->q->type == DNS_SRV)
            srv_of(l, service);
        else if (is_headless(service))
            l->z->slices(l->z->self, l->ns, each_address, l);
        else
            add_address(l, NULL, service_spec_cluster_ip(service_spec(service)));
    }
    return finish(l, DNS_ZONE);
}

static enum zone_result pod_name(struct lookup *l, const char *dashed, const char *ns)
{
    char text[DNS_NAME_MAX];
    struct in_addr a;
    snprintf(text, sizeof text, "%s", dashed);
    for (char *c = text; *c; c++)
        *c = *c == '-' ? '.' : *c;
    if (l->z->namespace_exists(l->z->self, ns) && inet_pton(AF_INET, text, &a) == 1)
        add_address(l, NULL, text);
    return finish(l, DNS_ZONE);
}

static size_t split(char *name, char **labels)
{
    size_t n = 0;
    for (char *save, *s = strtok_r(name, ".", &save); s; s = strtok_r(NULL, ".", &save)) {
        if (n == LABELS_MAX)
            return LABELS_MAX + 1;
        labels[n++] = s;
    }
    return n;
}

static enum zone_result in_zone(struct lookup *l, char *rest, char *target)
{
    char *labels[LABELS_MAX];
    size_t n = split(rest, labels);
    if (n > LABELS_MAX)
        return finish(l, DNS_ZONE);
    bool svc = n && str_eq(labels[n - 1], "svc"), pod = n && str_eq(labels[n - 1], "pod");
    if (n == 0 || (n == 1 && (svc || pod))) {
        l->exists = true;
    } else if (n == 2 && (svc || pod)) {
        l->exists = l->z->namespace_exists(l->z->self, labels[0]);
    } else if (svc) {
        l->ns = labels[n - 2];
        l->service = labels[n - 3];
        return service_name(l, labels, n - 3, target);
    } else if (pod && n == 3) {
        return pod_name(l, labels[0], labels[1]);
    }
    return finish(l, DNS_ZONE);
}

/* ---- reverse ------------------------------------------------------------------------------------------------------- */

static bool same_address(const struct lookup *l, const char *text)
{
    struct in_addr a;
    return text && inet_pton(AF_INET, text, &a) == 1 && a.s_addr == l->address.s_addr;
}

static void add_pointer(struct lookup *l, const char *host, const char *service, const char *ns)
{
    char name[3 * DNS_NAME_MAX];
    snprintf(name, sizeof name, "%s%s%s.%s.svc." DNS_ZONE, host, *host ? "." : "", service, ns);
    l->exists = true;
    if (!wants(l, DNS_PTR) || strlen(name) >= DNS_NAME_MAX)
        return;
    begin(l, DNS_NOERROR);
    dns_name_rr(l->w, DNS_PTR, NULL, DNS_TTL, name);
}

static void reverse_service(void *arg, jval *service)
{
    struct lookup *l = arg;
    if (same_address(l, service_spec_cluster_ip(service_spec(service))))
        add_pointer(l, "", obj_name(service), obj_namespace(service));
}

static void reverse_endpoint(void *arg, jval *slice)
{
    struct lookup *l = arg;
    char host[DNS_NAME_MAX];
    const char *service = obj_label(slice, SERVICE_LABEL);
    jval *list = endpoint_slice_endpoints(slice);
    if (!service || !obj_label(slice, "service.kubernetes.io/headless"))
        return;
    for (size_t i = 0; i < jv_len(list); i++)
        if (same_address(l, jv_str(jv_at(endpoint_addresses(jv_at(list, i)), 0)))) {
            host_of(jv_at(list, i), host);
            add_pointer(l, host, service, obj_namespace(slice));
        }
}

static enum zone_result reverse(struct lookup *l)
{
    unsigned b[4];
    int end = 0;
    if (sscanf(l->q->name, "%3u.%3u.%3u.%3u.in-addr.arpa%n", &b[3], &b[2], &b[1], &b[0], &end) != 4 || l->q->name[end] || !end)
        return ZONE_FORWARD;
    for (size_t i = 0; i < 4; i++)
        if (b[i] > 255)
            return ZONE_FORWARD;
    l->address.s_addr = htonl(b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3]);
    l->z->services(l->z->self, reverse_service, l);
    if (!l->exists)
        l->z->slices(l->z->self, "", reverse_endpoint, l);
    if (!l->exists && !(b[0] == 10 && b[1] == 96)) /* the range of Services is nobody else's */
        return ZONE_FORWARD;
    return finish(l, "96.10.in-addr.arpa");
}

enum zone_result zone_answer(const struct zone_source *z, const uint8_t *query, const struct dns_question *q, uint8_t *buf,
                             size_t cap, struct dns_writer *out, char *target)
{
    struct lookup l = {.z = z, .q = q, .query = query, .buf = buf, .cap = cap, .w = out};
    size_t n = strlen(q->name), zone = strlen(DNS_ZONE);
    char rest[DNS_NAME_MAX];
    if (n < zone || !str_eq(q->name + n - zone, DNS_ZONE) || (n > zone && q->name[n - zone - 1] != '.'))
        return reverse(&l);
    memcpy(rest, q->name, n - zone);
    rest[n - zone] = 0;
    return in_zone(&l, rest, target);
}
