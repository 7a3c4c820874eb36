/* inproc_process.c - a program in a container for callers in this process: its descriptors, read and written by blocking calls.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/apiserver/internal.h"

enum { PIECE = 64 * 1024, PACKET_MAX = 32 * 1024 };

struct inproc_process {
    struct kube_process face;
    struct node_process p;
    bool ended;
    int code;
};

static struct inproc_process *of(struct kube_process *p) { return CONTAINER_OF(p, struct inproc_process, face); }

int inproc_wait(const struct ctx *ctx, struct pollfd *fds, size_t n, struct err *err)
{
    for (;;) {
        if (ctx_check(ctx, err) < 0)
            return -1;
        int64_t ms = ctx_left_ns(ctx) / NS_PER_MS + 1;
        fds[n] = (struct pollfd){.fd = ctx->cancel ? ctx->cancel->fd : -1, .events = POLLIN};
        int rc = poll(fds, n + 1, ms > INT32_MAX ? -1 : (int)ms);
        if (rc < 0 && errno != EINTR)
            return err_errno(err, "poll");
        for (size_t i = 0; rc > 0 && i < n; i++)
            if (fds[i].revents)
                return 0;
    }
}

/* 1: bytes; 0: nothing at the moment; -1: it is at its end, and closed. */
static int take(struct inproc_process *ip, int *fd, enum kube_stream which, enum kube_stream *from, struct buf *out)
{
    ssize_t n;
    buf_reserve(out, PIECE);
    while ((n = read(*fd, out->data + out->len, PIECE)) < 0 && errno == EINTR)
        ;
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        base_closep(fd);
        *fd = -1;
        return -1;
    }
    *from = which;
    if (ip->p.packets) { /* the first byte says of which output they are */
        *from = out->data[out->len] == 3 ? KUBE_STDERR : KUBE_STDOUT;
        memmove(out->data + out->len, out->data + out->len + 1, (size_t)n - 1);
        n--;
    }
    out->len += (size_t)n;
    out->data[out->len] = 0;
    return 1;
}

static int p_recv(struct kube_process *face, const struct ctx *ctx, enum kube_stream *from, struct buf *out, int *code,
                  struct err *err)
{
    struct inproc_process *ip = of(face);
    struct node_process *p = &ip->p;
    for (;;) {
        struct pollfd fds[4] = {{.fd = p->out, .events = POLLIN},
                                {.fd = p->err, .events = POLLIN},
                                {.fd = ip->ended ? -1 : p->status, .events = POLLIN}};
        if (p->out < 0 && p->err < 0 && (ip->ended || p->status < 0)) {
            *code = ip->code;
            return 0;
        }
        if (inproc_wait(ctx, fds, 3, err) < 0)
            return -1;
        if (p->out >= 0 && fds[0].revents && take(ip, &p->out, KUBE_STDOUT, from, out) > 0)
            return 1;
        if (p->err >= 0 && fds[1].revents && take(ip, &p->err, KUBE_STDERR, from, out) > 0)
            return 1;
        if (!ip->ended && p->status >= 0 && fds[2].revents) {
            int rc = node_process_ended(p, &ip->code, err);
            if (rc < 0)
                return -1;
            ip->ended = rc == 1;
        }
    }
}

static int p_send(struct kube_process *face, const struct ctx *ctx, const void *bytes, size_t n, struct err *err)
{
    struct node_process *p = &of(face)->p;
    const char *at = bytes;
    if (p->in < 0)
        return n ? err_set(err, ERR_UNAVAILABLE, "the program's input is closed") : 0;
    while (n > 0) {
        size_t part = p->packets && n > PACKET_MAX ? PACKET_MAX : n;
        ssize_t k = p->packets ? send(p->in, at, part, MSG_NOSIGNAL) : write(p->in, at, part);
        struct pollfd fds[2] = {{.fd = p->in, .events = POLLOUT}};
        if (k < 0 && errno != EAGAIN && errno != EINTR)
            return err_errno(err, "writing to the program");
        if (k < 0 && inproc_wait(ctx, fds, 1, err) < 0)
            return -1;
        at += k > 0 ? k : 0;
        n -= k > 0 ? (size_t)k : 0;
    }
    if (at == (const char *)bytes) {
        if (p->packets)
            shutdown(p->in, SHUT_WR);
        close(p->in);
        p->in = -1;
    }
    return 0;
}

static void p_resize(struct kube_process *face, int columns, int rows)
{
    for (int i = 0; i < 20 && !node_process_resize(&of(face)->p, columns, rows); i++)
        poll(NULL, 0, 50);
}

static void p_close(struct kube_process *face)
{
    node_process_close(&of(face)->p);
    free(of(face));
}

static const struct kube_process_ops ops = {.recv = p_recv, .send = p_send, .resize = p_resize, .close = p_close};

struct kube_process *inproc_process(struct node_process *give)
{
    struct inproc_process *ip = xcalloc(1, sizeof *ip);
    ip->face.ops = &ops;
    ip->p = *give;
    *give = (struct node_process)NODE_PROCESS_NONE;
    return &ip->face;
}
