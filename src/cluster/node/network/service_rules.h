/* service_rules.h - from Services and EndpointSlices to rules of nftables: what kube-proxy does. Source: kube.md 18.1.
 *
 * One table, replaced as a whole: a verdict map from (address, protocol, port) to a chain of each Service's port, which picks
 * one of its endpoints: any, or by the client's address with sessionAffinity. A Service without endpoints is refused. Pure. */
#ifndef TM_NODE_SERVICE_RULES_H
#define TM_NODE_SERVICE_RULES_H

#include "kube/rules/service_range.h"
#include "value/json.h"

/* An address of the node's own bridge whose port really is elsewhere on the machine. */
struct rules_local {
    int port;
    const char *address; /* "127.0.0.1:6443" */
};
struct rules_config {
    const char *table, *bridge, *gateway;
    const struct rules_local *local;
    size_t n_local;
    struct service_range range; /* of their addresses */
    bool own;                   /* for processes of the machine, too */
    int dns_port;               /* of the cluster's name server on the loopback; 0: none */
};

/* The script for nft. The caller frees. */
char *service_rules(const struct rules_config *cfg, struct json *const *services, size_t n_services, struct json *const *slices,
                    size_t n_slices);

#endif
