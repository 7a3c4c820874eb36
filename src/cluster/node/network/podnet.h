/* podnet.h - the pods' network: a bridge, addresses, namespaces made ahead, and the rules of what pods may reach.
 *
 * One bridge and one nftables table, both named after the instance. A pod's address is 10.x.a.b; its link and its pinned
 * namespaces are called <instance>-<aabb>, so that the name alone says the address and nothing has to be stored. Rules are the
 * same for every pod: nothing is added when a pod comes. From pods, the machine's own ports are closed but for DNS, the
 * Kubernetes API (Service default/kubernetes) and the front door (<bridge address>:<port>); the addresses at which clouds tell a
 * machine its credentials are refused, also where a Service leads there.
 *
 * Making a namespace takes the kernel a few milliseconds: some are made ahead, by a worker that ends when it has nothing to do.
 * Thread-safe. Source: kube.md 18.1, DESIGN 6. */
#ifndef TM_NODE_PODNET_H
#define TM_NODE_PODNET_H

#include "cluster/node/helper/helper_call.h"
#include "cluster/node/runtime/runtime.h"
#include "kube/rules/service_range.h"

struct podnet_config {
    struct helper *helper;
    const char *node_dir, *instance;
    const char *cidr;                   /* "10.87.0.0/16" */
    const char *kube_addr, *front_addr; /* may be NULL */
    struct service_range services;
    bool reach_metadata; /* pods may ask the cloud who this machine is */
};
struct podnet;
struct podnet *podnet_new(const struct podnet_config *cfg, struct err *err); /* only parses */
/* Bridge and rules. Again is fine. */
int podnet_up(struct podnet *n, struct err *err);
/* Takes back what this node left behind but for the sandboxes in use. */
int podnet_adopt(struct podnet *n, const struct sandbox *const *used, size_t n_used, struct err *err);
int podnet_take(struct podnet *n, struct sandbox *out, struct err *err);
int podnet_give_back(struct podnet *n, const char *name, struct err *err);
/* Stops the worker; remove takes back bridge, rules and what was made ahead. */
void podnet_free(struct podnet *n, bool remove);

const char *podnet_gateway(const struct podnet *n);
/* The resolv.conf of pods: the machine's real name servers; one on the machine's loopback becomes the bridge address. The caller
 * frees. */
char *podnet_resolv_conf(const char *gateway, struct err *err);
/* The machine's own resolv.conf, or the one behind it where that only names a forwarder. */
int podnet_read_resolv(struct buf *out, struct err *err);
/* True once the network is up and the range of Services leads to our bridge on this machine: no other route was there before. */
bool podnet_has_services(struct podnet *n);
/* Runs a script that replaces the table of Services, named "<instance>-services". */
int podnet_services(struct podnet *n, const char *rules, struct err *err);
/* The script for nft: one transaction that replaces the table. For tests too. The caller frees. */
char *podnet_rules(const struct podnet *n, const char *loopback_resolver);

/* A /16 of 10.0.0.0/8 that no route of the machine touches and nobody has claimed who is about to make one, derived from the
 * instance id. The caller frees, and drops *hold (service_claim.h) once its own route speaks for it; NULL when there is none. */
char *podnet_choose_cidr(const char *instance, const char *claims_dir, int *hold);
/* Routes that overlap it, but for those of our own bridge: NULL, or text for people (malloc'd). */
char *podnet_conflict(const char *cidr, const char *own_bridge);

#endif
