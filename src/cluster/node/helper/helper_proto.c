#include "cluster/node/helper/helper_proto.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/buf.h"

int helper_packet_parse(struct helper_packet *p, size_t len, struct err *err)
{
    if (len < sizeof p->h)
        return err_set(err, ERR_BAD_REQUEST, "helper packet of %zu bytes is shorter than its header", len);
    memcpy(&p->h, p->bytes, sizeof p->h);
    if (p->h.n > HELPER_STRINGS_MAX)
        return err_set(err, ERR_BAD_REQUEST, "helper packet with %u strings, at most %d fit", p->h.n, HELPER_STRINGS_MAX);
    const char *at = p->bytes + sizeof p->h, *end = p->bytes + len;
    for (uint32_t i = 0; i < p->h.n; i++) {
        const char *nul = memchr(at, 0, (size_t)(end - at));
        if (!nul)
            return err_set(err, ERR_BAD_REQUEST, "helper packet ends inside string %u of %u", i, p->h.n);
        p->v[i] = at;
        at = nul + 1;
    }
    if (at != end)
        return err_set(err, ERR_BAD_REQUEST, "helper packet has %zu bytes after its last string", (size_t)(end - at));
    return 0;
}

int helper_packet_send(int sock, const struct helper_header *h, const char *const *v, const int *fds, unsigned n_fds,
                       struct err *err)
{
    BUF(b);
    ASSERT(h->n <= HELPER_STRINGS_MAX && n_fds <= HELPER_FDS_MAX);
    buf_add(&b, h, sizeof *h);
    for (uint32_t i = 0; i < h->n; i++)
        buf_add(&b, v[i], strlen(v[i]) + 1);
    if (b.len > HELPER_PACKET_MAX)
        return err_set(err, ERR_TOO_LARGE, "helper packet of %zu bytes, at most %d fit", b.len, HELPER_PACKET_MAX);
    struct iovec iov = {.iov_base = b.data, .iov_len = b.len};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * HELPER_FDS_MAX)];
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds) {
        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
    }
    while (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            return err_errno(err, "sending to the other side of the node helper");
    return 0;
}

static void take_fds(struct msghdr *msg, struct helper_packet *p)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (p->n_fds < HELPER_FDS_MAX)
                p->fds[p->n_fds++] = fd;
            else
                close(fd);
        }
    }
}

int helper_packet_recv(int sock, struct helper_packet *p, struct err *err)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * HELPER_FDS_MAX)];
    } control;
    struct iovec iov = {.iov_base = p->bytes, .iov_len = sizeof p->bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    ssize_t n;
    while ((n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC)) < 0)
        if (errno != EINTR)
            return errno == ECONNRESET ? 0 : err_errno(err, "reading from the other side of the node helper");
    p->n_fds = 0;
    take_fds(&msg, p);
    if (n == 0)
        return 0;
    if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || helper_packet_parse(p, (size_t)n, err) < 0) {
        while (p->n_fds)
            close(p->fds[--p->n_fds]);
        if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
            err_set(err, ERR_BAD_REQUEST, "helper packet was cut off");
        return -1;
    }
    return 1;
}
