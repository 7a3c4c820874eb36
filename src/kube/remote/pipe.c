/* pipe.c - logs, and connections to ports of pods. Source: specs kube.md 9.2, 9.5 (v4.channel.k8s.io of port-forward).
 *
 * A port is reached by two channels of a WebSocket, data and error; each is opened by a message that holds the port. They have
 * no half-close: the end of what we send cannot be told, the end of the pod's side ends the connection. */
#include <stdlib.h>

#include "base/timefmt.h"
#include "kube/remote/internal.h"
#include "net/upgrade/websocket.h"

enum { PIECE = 16384, SEND_MAX = 32 * 1024, CH_DATA = 0, CH_ERROR = 1 };

static const struct kube_res pods = {"", "v1", "pods", "Pod", true};

static int pod_path(const char *ns, const char *pod, const char *sub, struct buf *path, struct err *err)
{
    if (str_empty(ns) || str_empty(pod))
        return err_set(err, ERR_BAD_REQUEST, "%s: a namespace and the name of a pod are needed", sub);
    return remote_path(&pods, ns, pod, sub, path, err);
}

/* ---- logs ---- */

static int log_path(const char *ns, const char *pod, const struct kube_log_opts *lo, struct buf *path, struct err *err)
{
    if (pod_path(ns, pod, "log", path, err) < 0)
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

/* ---- ports ---- */

struct port_pipe {
    struct kube_pipe pipe; /* first member */
    struct session *session;
    struct ws_client *ws;
    bool opened[2]; /* the message that holds the port has come, for each channel */
};

static int port_recv(struct kube_pipe *kp, const struct ctx *ctx, struct buf *out, struct err *err)
{
    struct port_pipe *p = (struct port_pipe *)kp;
    BUF(message);
    for (;;) {
        enum ws_type type;
        int rc = ws_client_recv(p->ws, ctx, &type, &message, err);
        if (rc <= 0)
            return rc;
        unsigned char channel = message.len ? (unsigned char)message.data[0] : 255;
        if (channel > CH_ERROR)
            continue;
        if (!p->opened[channel]) {
            p->opened[channel] = true;
            continue;
        }
        if (message.len == 1)
            continue;
        if (channel == CH_ERROR)
            return err_set(err, ERR_UNAVAILABLE, "%.*s", (int)(message.len - 1 < 1000 ? message.len - 1 : 1000),
                           message.data + 1);
        buf_add(out, message.data + 1, message.len - 1);
        return 1;
    }
}

static int port_send(struct kube_pipe *kp, const struct ctx *ctx, const void *bytes, size_t n, struct err *err)
{
    struct port_pipe *p = (struct port_pipe *)kp;
    if (n == 0)
        return err_set(err, ERR_UNIMPLEMENTED, "the end of what is sent to a port cannot be told (v4.channel.k8s.io)");
    for (const char *at = bytes; n > 0;) {
        size_t piece = n < SEND_MAX ? n : SEND_MAX;
        BUF(message);
        buf_addc(&message, CH_DATA);
        buf_add(&message, at, piece);
        if (ws_client_send(p->ws, ctx, WS_BINARY, message.data, message.len, err) < 0)
            return -1;
        at += piece;
        n -= piece;
    }
    return 0;
}

static void port_close(struct kube_pipe *kp)
{
    struct port_pipe *p = (struct port_pipe *)kp;
    ws_client_free(p->ws);
    session_unref(p->session);
    free(p);
}

static const struct kube_pipe_ops port_ops = {.recv = port_recv, .send = port_send, .close = port_close};

struct kube_pipe *remote_forward(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, int port,
                                 struct err *err)
{
    static const char *const protocols[] = {"v4.channel.k8s.io", NULL};
    BUF(path);
    if (pod_path(ns, pod, "portforward", &path, err) < 0)
        return NULL;
    query_addi(&path, "ports", port);
    struct session *session = NULL;
    struct ws_client *ws = remote_dial((struct remote *)k, ctx, path.data, protocols, &session, err);
    if (!ws)
        return NULL;
    struct port_pipe *p = xcalloc(1, sizeof *p);
    *p = (struct port_pipe){.pipe.ops = &port_ops, .session = session, .ws = ws};
    return &p->pipe;
}
