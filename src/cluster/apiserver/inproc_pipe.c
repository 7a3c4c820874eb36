/* inproc_pipe.c - logs as they are written and connections to ports of pods, for callers in this process: blocking calls on what
 * the node opened. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/apiserver/internal.h"

enum { PIECE = 64 * 1024 };

static int wait_for(const struct ctx *ctx, int fd, short events, struct err *err)
{
    struct pollfd fds[2] = {{.fd = fd, .events = events}};
    return inproc_wait(ctx, fds, 1, err);
}

/* ---- logs ---- */

struct log_pipe {
    struct kube_pipe pipe; /* first member */
    struct node_log *log;  /* NULL: the pod is on no node, its log is empty */
    int news;              /* eventfd: there may be more to read */
};

static void notify(void *arg)
{
    struct log_pipe *p = arg;
    uint64_t one = 1;
    ssize_t n = write(p->news, &one, sizeof one); /* full means that it is readable already */
    (void)n;
}

static int log_recv(struct kube_pipe *kp, const struct ctx *ctx, struct buf *out, struct err *err)
{
    struct log_pipe *p = (struct log_pipe *)kp;
    size_t before = out->len;
    while (p->log) {
        int rc = ctx_check(ctx, err) < 0 ? -1 : p->log->read(p->log, PIECE, out, err);
        if (rc < 0)
            return -1;
        if (out->len > before)
            return 1;
        if (rc == 2)
            break;
        uint64_t n;
        if (rc == 0 && wait_for(ctx, p->news, POLLIN, err) < 0)
            return -1;
        ssize_t got = rc == 0 ? read(p->news, &n, sizeof n) : 0; /* before the log is looked at again */
        (void)got;
    }
    return 0;
}

static void log_close(struct kube_pipe *kp)
{
    struct log_pipe *p = (struct log_pipe *)kp;
    if (p->log)
        p->log->close(p->log); /* no notify after this */
    close(p->news);
    free(p);
}

static const struct kube_pipe_ops log_ops = {.recv = log_recv, .close = log_close};

struct kube_pipe *inproc_log(struct op *op, const struct kube_log_opts *asked, struct err *err)
{
    OBJ_REF(pod) = NULL;
    AUTOFREE char *container = NULL;
    struct kube_log_opts opts;
    if (sub_log_options(op, asked, &opts, &pod, &container, err) < 0)
        return NULL;
    struct log_pipe *p = xcalloc(1, sizeof *p);
    *p = (struct log_pipe){.pipe.ops = &log_ops, .news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (p->news < 0) {
        err_errno(err, "log of pod %s: eventfd", op->name);
        free(p);
        return NULL;
    }
    if (!pod)
        return &p->pipe;
    const struct node_api *node = &op->a->node_door;
    p->log = node->log_open(node->self, op->ctx, obj_root(pod), &opts, notify, p, err);
    if (p->log)
        return &p->pipe;
    log_close(&p->pipe);
    return NULL;
}

/* ---- ports ---- */

struct port_pipe {
    struct kube_pipe pipe; /* first member */
    int fd;
};

static int port_recv(struct kube_pipe *kp, const struct ctx *ctx, struct buf *out, struct err *err)
{
    struct port_pipe *p = (struct port_pipe *)kp;
    for (;;) {
        if (wait_for(ctx, p->fd, POLLIN, err) < 0)
            return -1;
        buf_reserve(out, PIECE);
        ssize_t n = recv(p->fd, out->data + out->len, PIECE, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0) {
            err_errno(err, "the connection to the pod");
            if (err)
                err->code = ERR_UNAVAILABLE;
            return -1;
        }
        out->len += (size_t)n;
        out->data[out->len] = '\0';
        return n > 0;
    }
}

static int port_send(struct kube_pipe *kp, const struct ctx *ctx, const void *bytes, size_t n, struct err *err)
{
    struct port_pipe *p = (struct port_pipe *)kp;
    if (n == 0)
        return shutdown(p->fd, SHUT_WR) == 0 ? 0 : err_errno(err, "ending what is sent to the pod");
    for (const char *at = bytes; n > 0;) {
        ssize_t k = send(p->fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0 && errno == EAGAIN && wait_for(ctx, p->fd, POLLOUT, err) < 0)
            return -1;
        if (k < 0 && errno != EAGAIN && errno != EINTR) {
            err_errno(err, "the connection to the pod");
            if (err)
                err->code = ERR_UNAVAILABLE;
            return -1;
        }
        at += k > 0 ? k : 0;
        n -= k > 0 ? (size_t)k : 0;
    }
    return 0;
}

static void port_close(struct kube_pipe *kp)
{
    struct port_pipe *p = (struct port_pipe *)kp;
    close(p->fd);
    free(p);
}

static const struct kube_pipe_ops port_ops = {.recv = port_recv, .send = port_send, .close = port_close};

struct kube_pipe *inproc_port(int fd)
{
    struct port_pipe *p = xcalloc(1, sizeof *p);
    *p = (struct port_pipe){.pipe.ops = &port_ops, .fd = fd};
    return &p->pipe;
}
