/* dns_zone.h - the names of the cluster: cluster.local and the reverse names of Services' addresses. Source: kube.md 18.2, the
 * Kubernetes DNS specification 1.1.
 *
 *   <svc>.<ns>.svc                    the cluster address; headless: each ready endpoint; ExternalName: a CNAME
 *   _<port>._<proto>.<svc>.<ns>.svc   SRV
 *   <host>.<svc>.<ns>.svc             an endpoint of a Service by its hostname, or its address with dashes
 *   <a-b-c-d>.<ns>.pod                that address
 *   <d.c.b.a>.in-addr.arpa            the Service with that address, or the endpoint of a headless one
 *
 * Reads the caches that it is given; called by the server's one thread. */
#ifndef TM_NODE_DNS_ZONE_H
#define TM_NODE_DNS_ZONE_H

#include "cluster/node/network/dns_message.h"
#include "value/json.h"

#define DNS_ZONE "cluster.local"
enum { DNS_TTL = 5 };

/* Where Services and EndpointSlices come from; tests give arrays. */
struct zone_source {
    struct json *(*service)(void *self, const char *ns, const char *name); /* a reference or NULL */
    /* Calls for each slice of a namespace ("": all namespaces), or each Service. */
    void (*slices)(void *self, const char *ns, void (*fn)(void *arg, jval *slice), void *arg);
    void (*services)(void *self, void (*fn)(void *arg, jval *service), void *arg);
    bool (*namespace_exists)(void *self, const char *ns);
    void *self;
};

enum zone_result {
    ZONE_ANSWERED, /* out holds the answer */
    ZONE_FORWARD,  /* not ours: ask the machine's resolvers */
    ZONE_ALIAS,    /* out holds a CNAME; target is to be resolved elsewhere, and its answers go behind it */
};
/* target has room for DNS_NAME_MAX. The writer is begun and not ended. */
enum zone_result zone_answer(const struct zone_source *z, const uint8_t *query, const struct dns_question *q, uint8_t *buf,
                             size_t cap, struct dns_writer *out, char *target);

#endif
