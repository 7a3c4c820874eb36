/* pipe.c - logs of pods. Source: specs kube.md 9.2. */
#include <stdlib.h>

#include "base/timefmt.h"
#include "kube/remote/internal.h"

enum { PIECE = 16384 };

int remote_pod_path(const char *ns, const char *pod, const char *sub, struct buf *path, struct err *err)
{
    static const struct kube_res pods = {"", "v1", "pods", "Pod", true};
    if (str_empty(ns) || str_empty(pod))
        return err_set(err, ERR_BAD_REQUEST, "%s: a namespace and the name of a pod are needed", sub);
    return remote_path(&pods, ns, pod, sub, path, err);
}

/* ---- logs ---- */

static int log_path(const char *ns, const char *pod, const struct kube_log_opts *lo, struct buf *path, struct err *err)
{
    if (remote_pod_path(ns, pod, "log", path, err) < 0)
        return -1;
    query_add(path, "container", lo->container);
    query_add(path, "follow", lo->follow ? "true" : NULL);
    query_add(path, "previous", lo->previous ? "true" : NULL);
    query_add(path, "timestamps", lo->timestamps ? "true" : NULL);
    if (lo->since_seconds > 0)
        query_addi(path, "sinceSeconds", lo->since_seconds);
    if (lo->since_time_ns > 0) {
        char text[TIME_TEXT_MAX];
        query_add(path, "sinceTime", time_format(text, lo->since_time_ns, TIME_NANOS_TRIMMED));
    }
    if (lo->tail_lines >= 0)
        query_addi(path, "tailLines", lo->tail_lines);
    if (lo->limit_bytes > 0)
        query_addi(path, "limitBytes", lo->limit_bytes);
    return 0;
}

static struct http_body *open_log(struct remote *r, const struct ctx *ctx, const char *ns, const char *pod,
                                  const struct kube_log_opts *lo, struct session **session, struct err *err)
{
    BUF(path);
    if (log_path(ns, pod, lo, &path, err) < 0)
        return NULL;
    return remote_open(r, ctx, &(struct remote_call){.method = HTTP_GET, .path = path.data, .accept = "*/*"}, session, err);
}

int remote_logs(struct kube *k, const struct ctx *outer, const char *ns, const char *pod, const struct kube_log_opts *lo,
                size_t max, struct buf *out, struct err *err)
{
    struct remote *r = (struct remote *)k;
    struct kube_log_opts so_far = *lo;
    struct session *s = NULL;
    struct ctx ctx = ctx_with_timeout(outer, r->call_timeout_ns);
    so_far.follow = false;
    struct http_body *b = open_log(r, &ctx, ns, pod, &so_far, &s, err);
    if (!b)
        return -1;
    char chunk[PIECE];
    ssize_t n = 1;
    for (size_t got = 0; got < max && n > 0; got += n > 0 ? (size_t)n : 0) {
        n = http_body_read(b, &ctx, chunk, max - got < sizeof chunk ? max - got : sizeof chunk, err);
        if (n > 0)
            buf_add(out, chunk, (size_t)n);
    }
    http_body_close(b);
    session_unref(s);
    return n < 0 ? err_wrap(err, "log of pod %s/%s", ns, pod) : 0;
}

struct log_pipe {
    struct kube_pipe pipe; /* first member */
    struct session *session;
    struct http_body *body;
};

static int log_recv(struct kube_pipe *kp, const struct ctx *ctx, struct buf *out, struct err *err)
{
    struct log_pipe *p = (struct log_pipe *)kp;
    char chunk[PIECE];
    ERR(e);
    ssize_t n = http_body_read(p->body, ctx, chunk, sizeof chunk, &e);
    if (n > 0)
        buf_add(out, chunk, (size_t)n);
    if (n >= 0)
        return n > 0;
    if (e.code == ERR_IO)
        e.code = ERR_UNAVAILABLE;
    return err_move(err, &e);
}

static void log_close(struct kube_pipe *kp)
{
    struct log_pipe *p = (struct log_pipe *)kp;
    http_body_close(p->body);
    session_unref(p->session);
    free(p);
}

static const struct kube_pipe_ops log_ops = {.recv = log_recv, .close = log_close};

struct kube_pipe *remote_log(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod,
                             const struct kube_log_opts *lo, struct err *err)
{
    struct session *s = NULL;
    struct http_body *b = open_log((struct remote *)k, ctx, ns, pod, lo, &s, err);
    if (!b)
        return NULL;
    struct log_pipe *p = xcalloc(1, sizeof *p);
    *p = (struct log_pipe){.pipe.ops = &log_ops, .session = s, .body = b};
    return &p->pipe;
}
