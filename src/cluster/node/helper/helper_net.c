#include "cluster/node/helper/helper_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"

struct nl {
    struct mnl_socket *s;
    char buf[8192];
    uint32_t seq;
};

static void nl_close(struct nl *nl)
{
    if (nl->s)
        mnl_socket_close(nl->s);
}
#define NL(name) CLEANUP(nl_close) struct nl name = {0}

/* The socket belongs to the network namespace in which it was opened, for good. */
static int nl_open(struct nl *nl, struct err *err)
{
    nl->s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!nl->s || mnl_socket_bind(nl->s, 0, MNL_SOCKET_AUTOPID) < 0)
        return err_errno(err, "opening a routing socket");
    nl->seq = (uint32_t)time(NULL);
    return 0;
}

static struct nlmsghdr *nl_message(struct nl *nl, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(nl->buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    h->nlmsg_seq = ++nl->seq;
    return h;
}

/* 0, or -1 with errno set. */
static int nl_talk(struct nl *nl, struct nlmsghdr *h)
{
    char answer[8192];
    if (mnl_socket_sendto(nl->s, h, h->nlmsg_len) < 0)
        return -1;
    ssize_t n = mnl_socket_recvfrom(nl->s, answer, sizeof answer);
    if (n < 0)
        return -1;
    return mnl_cb_run(answer, (size_t)n, nl->seq, mnl_socket_get_portid(nl->s), NULL, NULL) < 0 ? -1 : 0;
}

static int link_up(struct nl *nl, unsigned index, struct err *err)
{
    struct nlmsghdr *h = nl_message(nl, RTM_NEWLINK, 0);
    struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof *i);
    i->ifi_family = AF_UNSPEC;
    i->ifi_index = (int)index;
    i->ifi_flags = i->ifi_change = IFF_UP;
    return nl_talk(nl, h) < 0 ? err_errno(err, "turning link %u on", index) : 0;
}

static int address_add(struct nl *nl, unsigned index, const char *address, int prefix, struct err *err)
{
    struct in_addr a;
    if (inet_pton(AF_INET, address, &a) != 1)
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is no IPv4 address", address);
    struct nlmsghdr *h = nl_message(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
    struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof *m);
    m->ifa_family = AF_INET;
    m->ifa_prefixlen = (uint8_t)prefix;
    m->ifa_index = index;
    mnl_attr_put_u32(h, IFA_LOCAL, a.s_addr);
    mnl_attr_put_u32(h, IFA_ADDRESS, a.s_addr);
    return nl_talk(nl, h) < 0 && errno != EEXIST ? err_errno(err, "giving address %s/%d to link %u", address, prefix, index) : 0;
}

/* A range on a link, or (gateway not NULL) all the rest by way of a gateway that is on it. */
static int route_add(struct nl *nl, unsigned index, const char *range, int prefix, const char *gateway, struct err *err)
{
    struct in_addr a;
    if (inet_pton(AF_INET, gateway ? gateway : range, &a) != 1)
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is no IPv4 address", gateway ? gateway : range);
    struct nlmsghdr *h = nl_message(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    struct rtmsg *r = mnl_nlmsg_put_extra_header(h, sizeof *r);
    r->rtm_family = AF_INET;
    r->rtm_table = RT_TABLE_MAIN;
    r->rtm_protocol = RTPROT_STATIC;
    r->rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    r->rtm_type = RTN_UNICAST;
    r->rtm_dst_len = gateway ? 0 : (uint8_t)prefix;
    mnl_attr_put_u32(h, gateway ? RTA_GATEWAY : RTA_DST, a.s_addr);
    mnl_attr_put_u32(h, RTA_OIF, index);
    return nl_talk(nl, h) < 0 ? err_errno(err, "adding the route %s %s", gateway ? "by" : "to", gateway ? gateway : range) : 0;
}

int net_route_up(const char *link, const char *cidr, struct err *err)
{
    NL(nl);
    const char *slash = strchr(cidr, '/');
    unsigned index = if_nametoindex(link);
    if (!slash || !index)
        return err_set(err, ERR_BAD_REQUEST, "no route to %s by %s", cidr, link);
    AUTOFREE char *range = xstrndup(cidr, (size_t)(slash - cidr));
    return nl_open(&nl, err) < 0 ? -1 : route_add(&nl, index, range, atoi(slash + 1), NULL, err);
}

int net_bridge_up(const char *name, const char *address, int prefix, int mtu, struct err *err)
{
    NL(nl);
    if (nl_open(&nl, err) < 0)
        return -1;
    struct nlmsghdr *h = nl_message(&nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof *i);
    i->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    mnl_attr_put_u32(h, IFLA_MTU, (uint32_t)mtu);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, "bridge");
    mnl_attr_nest_end(h, info);
    if (nl_talk(&nl, h) < 0 && errno != EEXIST)
        return err_errno(err, "making bridge %s", name);
    unsigned index = if_nametoindex(name);
    if (!index)
        return err_errno(err, "finding bridge %s", name);
    if (address_add(&nl, index, address, prefix, err) < 0)
        return -1;
    return link_up(&nl, index, err);
}

/* One message makes both ends: ours on the bridge and up, the pod's as eth0 in its namespace (it can be turned on only once it
 * has a peer). */
static int veth_add(struct nl *nl, const struct net_pod *p, unsigned bridge, int ns_fd, struct err *err)
{
    struct nlmsghdr *h = nl_message(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof *i);
    i->ifi_family = AF_UNSPEC;
    i->ifi_flags = i->ifi_change = IFF_UP;
    mnl_attr_put_strz(h, IFLA_IFNAME, p->link);
    mnl_attr_put_u32(h, IFLA_MTU, (uint32_t)p->mtu);
    mnl_attr_put_u32(h, IFLA_MASTER, bridge);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
    struct nlattr *peer = mnl_attr_nest_start(h, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(h, IFLA_IFNAME, "eth0");
    mnl_attr_put_u32(h, IFLA_MTU, (uint32_t)p->mtu);
    mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)ns_fd);
    mnl_attr_nest_end(h, peer);
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, info);
    return nl_talk(nl, h) < 0 ? err_errno(err, "making link %s", p->link) : 0;
}

static int pin(const char *ns, const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0400);
    if (fd < 0)
        return err_errno(err, "creating %s", path);
    close(fd);
    return mount(ns, path, NULL, MS_BIND, NULL) < 0 ? err_errno(err, "pinning a namespace at %s", path) : 0;
}

/* Enters new namespaces, pins them, opens a routing socket in them and comes back. A process that cannot come back must not go
 * on. */
static int new_namespaces(const struct net_pod *p, struct nl *inside, struct err *err)
{
    AUTOCLOSE int net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    AUTOCLOSE int ipc = open("/proc/self/ns/ipc", O_RDONLY | O_CLOEXEC);
    if (net < 0 || ipc < 0)
        return err_errno(err, "opening our own namespaces");
    if (unshare(CLONE_NEWNET | CLONE_NEWIPC) < 0)
        return err_errno(err, "making network and ipc namespaces");
    int rc = pin("/proc/self/ns/net", p->net_path, err);
    if (rc == 0)
        rc = pin("/proc/self/ns/ipc", p->ipc_path, err);
    if (rc == 0)
        rc = nl_open(inside, err);
    ASSERT(setns(net, CLONE_NEWNET) == 0 && setns(ipc, CLONE_NEWIPC) == 0);
    return rc;
}

/* A pod that asks for its own Service is answered by itself: where the machine's bridges look at addresses, that frame goes out
 * by the port it came from. Only that is lost when it cannot be set. */
static void hairpin(const char *link)
{
    AUTOFREE char *path = xasprintf("/sys/class/net/%s/brport/hairpin_mode", link);
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "1", 1) != 1)
        return;
}

int net_pod_up(const struct net_pod *p, struct err *err)
{
    NL(inside);
    NL(outside);
    unsigned bridge = if_nametoindex(p->bridge);
    if (!bridge)
        return err_set(err, ERR_PRECONDITION, "bridge %s is gone", p->bridge);
    if (new_namespaces(p, &inside, err) < 0 || nl_open(&outside, err) < 0)
        return -1;
    AUTOCLOSE int ns_fd = open(p->net_path, O_RDONLY | O_CLOEXEC);
    if (ns_fd < 0)
        return err_errno(err, "opening %s", p->net_path);
    if (veth_add(&outside, p, bridge, ns_fd, err) < 0)
        return -1;
    hairpin(p->link);
    /* In a new namespace lo is always 1. eth0 is found by asking, through the socket that lives there. */
    if (link_up(&inside, 1, err) < 0)
        return -1;
    struct nlmsghdr *h = nl_message(&inside, RTM_GETLINK, 0);
    h->nlmsg_flags = NLM_F_REQUEST;
    struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof *i);
    i->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(h, IFLA_IFNAME, "eth0");
    char answer[8192];
    ssize_t n;
    if (mnl_socket_sendto(inside.s, h, h->nlmsg_len) < 0 || (n = mnl_socket_recvfrom(inside.s, answer, sizeof answer)) < 0)
        return err_errno(err, "asking for eth0 of %s", p->net_path);
    const struct nlmsghdr *a = (const struct nlmsghdr *)answer;
    if (!mnl_nlmsg_ok(a, (int)n) || a->nlmsg_type != RTM_NEWLINK)
        return err_set(err, ERR_INTERNAL, "eth0 of %s cannot be found", p->net_path);
    unsigned eth0 = (unsigned)((const struct ifinfomsg *)mnl_nlmsg_get_payload(a))->ifi_index;
    if (link_up(&inside, eth0, err) < 0 || address_add(&inside, eth0, p->address, 32, err) < 0 ||
        route_add(&inside, eth0, p->gateway, 32, NULL, err) < 0)
        return -1;
    return route_add(&inside, eth0, NULL, 0, p->gateway, err);
}

int net_link_delete(const char *name, struct err *err)
{
    NL(nl);
    if (nl_open(&nl, err) < 0)
        return -1;
    struct nlmsghdr *h = nl_message(&nl, RTM_DELLINK, 0);
    struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof *i);
    i->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    return nl_talk(&nl, h) < 0 && errno != ENODEV ? err_errno(err, "deleting link %s", name) : 0;
}

/* A socket belongs for good to the namespace in which it was made. */
static int socket_in(const char *net_path, int family, struct err *err)
{
    if (!*net_path)
        return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    AUTOCLOSE int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    AUTOCLOSE int theirs = open(net_path, O_RDONLY | O_CLOEXEC);
    if (own < 0 || theirs < 0 || setns(theirs, CLONE_NEWNET) < 0)
        return err_errno(err, "entering the network namespace %s", net_path);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), why = errno;
    ASSERT(setns(own, CLONE_NEWNET) == 0);
    errno = why;
    return fd;
}

int net_dial_loopback(const char *net_path, int port, bool v6, struct err *err)
{
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket_in(net_path, v6 ? AF_INET6 : AF_INET, err);
    if (fd < 0)
        return err && err->code ? -1 : err_errno(err, "making a socket");
    int rc = v6 ? connect(fd, (struct sockaddr *)&a6, sizeof a6) : connect(fd, (struct sockaddr *)&a4, sizeof a4);
    if (rc == 0 || errno == EINPROGRESS)
        return fd;
    err_errno(err, "connecting to port %d of %s", port, v6 ? "[::1]" : "127.0.0.1");
    close(fd);
    return -1;
}
