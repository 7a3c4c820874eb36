/* peer.c - whose process is at the other end of a loopback connection: NETLINK_SOCK_DIAG (sock_diag(7)) is asked for the peer's
 * own socket, which is ours with its ends exchanged. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/server.h"

struct question {
    struct nlmsghdr head;
    struct inet_diag_req_v2 req;
};

/* IPv4 in IPv6 clothes (a "[::]" listener) belongs to an IPv4 socket at the other end. */
static int fill(const struct sockaddr_storage *ss, __be32 addr[4], __be16 *port)
{
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
        addr[0] = v4->sin_addr.s_addr;
        *port = v4->sin_port;
        return AF_INET;
    }
    if (ss->ss_family != AF_INET6)
        return -1;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;
    *port = v6->sin6_port;
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        memcpy(addr, v6->sin6_addr.s6_addr + 12, 4);
        return AF_INET;
    }
    memcpy(addr, &v6->sin6_addr, 16);
    return AF_INET6;
}

static int ask(struct question *q, unsigned *uid, struct err *err)
{
    AUTOCLOSE int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0)
        return err_errno(err, "asking the kernel who is connected");
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (sendto(fd, q, sizeof *q, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        return err_errno(err, "asking the kernel who is connected");
    _Alignas(struct nlmsghdr) char answer[4096];
    ssize_t n;
    do
        n = recv(fd, answer, sizeof answer, 0);
    while (n < 0 && errno == EINTR);
    const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
    if (n < 0 || !NLMSG_OK(h, (size_t)n))
        return err_errno(err, "asking the kernel who is connected");
    if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || h->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
        return err_set(err, ERR_NOT_FOUND, "the other end of the connection is not a socket of this network namespace");
    const struct inet_diag_msg *m = NLMSG_DATA(h);
    /* An exact lookup falls back to a listening socket on the port: that is nobody's connection. And a socket without a
     * process (TIME_WAIT and the like) has no inode, and the user id 0. */
    if (m->id.idiag_dport != q->req.id.idiag_dport || m->idiag_inode == 0)
        return err_set(err, ERR_NOT_FOUND, "the other end of the connection is already closed");
    *uid = m->idiag_uid;
    return 0;
}

int peer_uid(const struct http_peer *peer, unsigned *uid, struct err *err)
{
    if (!peer->loopback)
        return err_set(err, ERR_NOT_FOUND, "the connection is not one within this machine");
    struct question q = {
        .head = {.nlmsg_len = sizeof q, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
        .req = {.sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0U, .id.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}},
    };
    int family = fill(&peer->remote, q.req.id.idiag_src, &q.req.id.idiag_sport);
    if (family < 0 || fill(&peer->local, q.req.id.idiag_dst, &q.req.id.idiag_dport) != family)
        return err_set(err, ERR_NOT_FOUND, "the connection is not a TCP connection within this machine");
    q.req.sdiag_family = (unsigned char)family;
    return ask(&q, uid, err);
}

const char *peer_source(const struct http_peer *peer, char out[PEER_SOURCE_TEXT])
{
    struct in6_addr a;
    if (peer->remote.ss_family == AF_INET)
        return inet_ntop(AF_INET, &((const struct sockaddr_in *)&peer->remote)->sin_addr, out, PEER_SOURCE_TEXT);
    if (peer->remote.ss_family != AF_INET6)
        return strcpy(out, "unix");
    a = ((const struct sockaddr_in6 *)&peer->remote)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&a))
        return inet_ntop(AF_INET, &a.s6_addr[12], out, PEER_SOURCE_TEXT);
    memset(&a.s6_addr[8], 0, 8);
    return inet_ntop(AF_INET6, &a, out, PEER_SOURCE_TEXT);
}
