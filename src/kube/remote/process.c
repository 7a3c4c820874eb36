/* process.c - exec and attach: channels over a WebSocket. Source: specs kube.md 9.3 (v5.channel.k8s.io, v4.channel.k8s.io). */
#include <stdlib.h>

#include "kube/remote/internal.h"
#include "kube/remote/status.h"
#include "net/upgrade/websocket.h"

enum { CH_STDIN, CH_STDOUT, CH_STDERR, CH_ERROR, CH_RESIZE, CH_CLOSE = 255, SEND_MAX = 32 * 1024 };

struct remote_process {
    struct kube_process process; /* first member */
    struct session *session;
    struct ws_client *ws;
    bool half_close; /* v5: the end of the input can be told */
    bool over;
    int code;
};

static struct remote_process *of(struct kube_process *p) { return (struct remote_process *)p; }

/* What the last message says: 0 with *code, or -1 with what went wrong. */
static int verdict(const char *text, size_t n, int *code, struct err *err)
{
    JSON_REF(d) = json_parse(text, n, NULL, NULL);
    jval *status = json_root(d);
    *code = 0;
    if (str_eq(jv_str(jv_get(status, "status")), "Success"))
        return 0;
    if (str_eq(jv_str(jv_get(status, "reason")), "NonZeroExitCode")) {
        struct jiter it = jv_iter(jv_path(status, "details", "causes", NULL));
        jval *c;
        while (jv_next(&it, NULL, &c)) {
            int64_t exit_code;
            if (str_eq(jv_str(jv_get(c, "reason")), "ExitCode") && str_to_i64(jv_str_or(jv_get(c, "message"), ""), &exit_code)) {
                *code = (int)exit_code;
                return 0;
            }
        }
    }
    return d ? status_error_json(500, status, err)
             : err_set(err, ERR_UNAVAILABLE, "how the program ended was told as something else");
}

static int p_recv(struct kube_process *kp, const struct ctx *ctx, enum kube_stream *from, struct buf *out, int *code,
                  struct err *err)
{
    struct remote_process *p = of(kp);
    BUF(message);
    for (;;) {
        if (p->over) {
            *code = p->code;
            return 0;
        }
        enum ws_type type;
        int rc = ws_client_recv(p->ws, ctx, &type, &message, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return err_set(err, ERR_UNAVAILABLE, "the connection was closed before the program had ended");
        if (message.len == 0)
            continue;
        unsigned char channel = (unsigned char)message.data[0];
        if (channel == CH_ERROR) {
            if (verdict(message.data + 1, message.len - 1, &p->code, err) < 0)
                return -1;
            p->over = true;
        } else if ((channel == CH_STDOUT || channel == CH_STDERR) && message.len > 1) {
            *from = channel == CH_STDOUT ? KUBE_STDOUT : KUBE_STDERR;
            buf_add(out, message.data + 1, message.len - 1);
            return 1;
        }
    }
}

static int say(struct remote_process *p, const struct ctx *ctx, unsigned char channel, const void *bytes, size_t n,
               struct err *err)
{
    BUF(b);
    buf_addc(&b, (char)channel);
    buf_add(&b, bytes, n);
    return ws_client_send(p->ws, ctx, WS_BINARY, b.data, b.len, err);
}

static int p_send(struct kube_process *kp, const struct ctx *ctx, const void *bytes, size_t n, struct err *err)
{
    static const char end[] = {CH_STDIN};
    struct remote_process *p = of(kp);
    if (n == 0)
        return p->half_close ? say(p, ctx, CH_CLOSE, end, 1, err)
                             : err_set(err, ERR_UNIMPLEMENTED,
                                       "this API server cannot be told that the input has ended (v4.channel.k8s.io)");
    for (const char *at = bytes; n > 0;) {
        size_t piece = n < SEND_MAX ? n : SEND_MAX;
        if (say(p, ctx, CH_STDIN, at, piece, err) < 0)
            return -1;
        at += piece;
        n -= piece;
    }
    return 0;
}

static void p_resize(struct kube_process *kp, int columns, int rows)
{
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, NS_PER_S);
    AUTOFREE char *text = xasprintf("{\"Width\":%d,\"Height\":%d}", columns, rows);
    say(of(kp), &ctx, CH_RESIZE, text, strlen(text), NULL);
}

static void p_close(struct kube_process *kp)
{
    struct remote_process *p = of(kp);
    ws_client_free(p->ws);
    session_unref(p->session);
    free(p);
}

static const struct kube_process_ops process_ops = {.recv = p_recv, .send = p_send, .resize = p_resize, .close = p_close};

static int exec_path(const char *ns, const char *pod, const struct kube_exec_opts *o, struct buf *path, struct err *err)
{
    static const struct kube_res pods = {"", "v1", "pods", "Pod", true};
    if (str_empty(ns) || str_empty(pod))
        return err_set(err, ERR_BAD_REQUEST, "exec: a namespace and the name of a pod are needed");
    if (remote_path(&pods, ns, pod, o->command ? "exec" : "attach", path, err) < 0)
        return -1;
    for (size_t i = 0; o->command && o->command[i]; i++) {
        AUTOFREE char *part = url_encode(o->command[i]); /* an argument may be empty */
        buf_addf(path, "%ccommand=%s", strchr(path->data, '?') ? '&' : '?', part);
    }
    query_add(path, "container", o->container);
    query_add(path, "stdin", o->in ? "true" : NULL);
    query_add(path, "stdout", "true");
    query_add(path, "stderr", o->tty ? NULL : "true");
    query_add(path, "tty", o->tty ? "true" : NULL);
    return 0;
}

struct kube_process *remote_exec(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod,
                                 const struct kube_exec_opts *o, struct err *err)
{
    static const char *const protocols[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", NULL};
    struct remote *r = (struct remote *)k;
    BUF(path);
    if (exec_path(ns, pod, o, &path, err) < 0)
        return NULL;
    struct session *session = NULL;
    struct ws_client *ws = remote_dial(r, ctx, path.data, protocols, &session, err);
    if (!ws)
        return NULL;
    struct remote_process *p = xcalloc(1, sizeof *p);
    p->process.ops = &process_ops;
    p->session = session;
    p->ws = ws;
    p->half_close = str_eq(ws_client_protocol(ws), protocols[0]);
    return &p->process;
}
