/* services.h - Services on this machine: their addresses lead to their pods, their names are answered, and pods are told of them.
 *
 * Watches Services, EndpointSlices and namespaces; brings the rules into line a moment after something changed (many changes, one
 * script); runs the name server. Rules stay when the node goes and pods stay. Thread-safe. Source: kube.md 15.4, 18. */
#ifndef TM_NODE_SERVICES_H
#define TM_NODE_SERVICES_H

#include "base/str.h"
#include "cluster/node/network/service_rules.h"
#include "cluster/node/runtime/runtime.h"
#include "kube/kube.h"

struct service_net_config {
    struct kube *kube;
    const struct clock *clock;
    struct runtime *runtime; /* its ops have services */
    const char *node_dir, *instance, *gateway;
    const char *kube_addr, *front_addr; /* may be NULL */
    struct service_range range;
    bool (*ready)(void *self); /* the bridge is there */
    bool (*own)(void *self);   /* the range leads to it, and to nobody else's */
    void *self;
};
struct service_net;
/* Strings are copied. Waits a moment for the first lists. */
struct service_net *service_net_start(const struct service_net_config *cfg, struct err *err);
void service_net_stop(struct service_net *s); /* NULL is fine */
/* What pods of a namespace find in their environment about its Services (char *). s may be NULL. */
void service_net_env(struct service_net *s, const char *ns, struct strmap *vars);

/* The resolv.conf of a pod, by its dnsPolicy and dnsConfig; machine is the text of the machine's, as pods may use it.
 * cluster: the address of the cluster's name server, or NULL. The caller frees. Pure. */
char *pod_resolv_conf(jval *pod, const char *cluster, const char *machine);

#endif
