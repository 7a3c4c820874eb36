/* helper_net.h - links, addresses and routes by rtnetlink, inside the helper process. Not thread-safe. All are idempotent: what
 * is there already is fine, what is gone already too. Addresses are IPv4 in text. */
#ifndef TM_NODE_HELPER_NET_H
#define TM_NODE_HELPER_NET_H

#include "base/err.h"

/* A bridge with an address, up. */
int net_bridge_up(const char *name, const char *address, int prefix, int mtu, struct err *err);
/* A range of addresses leads to that link. */
int net_route_up(const char *link, const char *cidr, struct err *err);
/* New network and ipc namespaces pinned at net_path and ipc_path, with lo up and an eth0 that has address and default route; its
 * other end is `link` on the bridge. It has no neighbours but the gateway: pods reach each other through the machine, which sees
 * both ways of what it led elsewhere, so that nobody's address has to be hidden. The caller's namespaces are the same before and
 * after. */
struct net_pod {
    const char *net_path, *ipc_path, *link, *bridge, *address, *gateway;
    int mtu;
};
int net_pod_up(const struct net_pod *p, struct err *err);
/* A socket of that network namespace (path "": ours) on its way to a port of its loopback: non-blocking, maybe not connected yet.
 * The file descriptor or -1. */
int net_dial_loopback(const char *net_path, int port, bool v6, struct err *err);
int net_link_delete(const char *name, struct err *err);

#endif
