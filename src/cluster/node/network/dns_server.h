/* dns_server.h - the cluster's name server: answers for cluster.local, and asks the machine's resolvers for the rest.
 *
 * One thread with one poll loop: nothing in it blocks, and everything is bounded (questions on their way, connections, what is
 * remembered, the time that anything may take). A question that gets no answer in time is answered SERVFAIL, so that clients
 * do not wait for theirs. Answers of resolvers must come from where they were asked, with the id and the question that were
 * sent, to a port of that question's own. Source: kube.md 18.2. */
#ifndef TM_NODE_DNS_SERVER_H
#define TM_NODE_DNS_SERVER_H

#include "base/err.h"
#include "cluster/node/network/dns_zone.h"

struct dns_server_config {
    struct zone_source zone;
    const char *listen; /* IPv4 address */
    const char *avoid;  /* a resolver that is ourselves; may be NULL */
    /* The text of the machine's resolv.conf, malloc'd; asked again now and then. */
    char *(*resolvers)(void *self);
    uint16_t resolver_port; /* 0: 53; for tests */
    int timeout_ms;         /* of one try; 0: 2000 */
};
struct dns_server;
/* *port: the one that is wanted, or 0, becomes the one that it has, the same for UDP and TCP: another when that is not free. */
struct dns_server *dns_server_start(const struct dns_server_config *cfg, int *port, struct err *err);
void dns_server_stop(struct dns_server *s); /* NULL is fine */

#endif
