/* port.c - connections to ports of pods. Source: specs kube.md 9.5; client-go's portforward.
 *
 * One connection is one WebSocket. Servers since 1.30 speak SPDY in it: a pair of streams, data and error, and each side says
 * by its own half's end that it has said its last byte. Before, and in its place, there are two channels (v4.channel.k8s.io),
 * each opened by a message that holds the port, which know no such end: that of the pod's side ends the connection.
 *
 * Two threads at most: one receives, one sends. The codec is shared and held only as long as it works; what goes out goes in the
 * order in which the codec gave it, and who receives never waits for who sends, which may wait for the peer. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"
#include "kube/remote/internal.h"
#include "net/upgrade/spdy.h"
#include "net/upgrade/websocket.h"

enum { SEND_MAX = 32 * 1024, CH_DATA = 0, CH_ERROR = 1 };
#define TUNNEL "SPDY/3.1+portforward.k8s.io"

struct port_pipe {
    struct kube_pipe pipe; /* first member */
    struct session *session;
    struct ws_client *ws;
    bool opened[2]; /* channels: the message that holds the port has come */

    pthread_mutex_t lock;    /* all below, but sending */
    pthread_mutex_t sending; /* held while bytes go out; taken before lock */
    struct spdy *spdy;       /* NULL: channels */
    uint32_t data, error;    /* streams */
    struct buf came, failure;
    bool over;
};

/* ---- channels ---- */

static int channel_recv(struct port_pipe *p, const struct ctx *ctx, struct buf *out, struct err *err)
{
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

static int channel_send(struct port_pipe *p, const struct ctx *ctx, const void *bytes, size_t n, struct err *err)
{
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

/* ---- streams ---- */

static void on_open(struct spdy *s, void *state, uint32_t id, const struct spdy_header *h, size_t n) {}

static void on_data(struct spdy *s, void *state, uint32_t id, const char *bytes, size_t n)
{
    struct port_pipe *p = state;
    if (id == p->data)
        buf_add(&p->came, bytes, n);
    else if (p->failure.len < 1000)
        buf_add(&p->failure, bytes, n < 1000 ? n : 1000);
}

static void on_end(struct spdy *s, void *state, uint32_t id)
{
    struct port_pipe *p = state;
    p->over |= id == p->data;
}

/* A server that says nothing more about it: of several connections of one client the others are to go on. */
static void on_reset(struct spdy *s, void *state, uint32_t id)
{
    struct port_pipe *p = state;
    if (id == p->data && !p->failure.len)
        buf_adds(&p->failure, "the connection in the pod was refused or broke");
}

static const struct spdy_ops ops = {on_open, on_data, on_end, on_reset};

static void take_out(struct port_pipe *p, struct buf *out)
{
    LOCK_GUARD(&p->lock);
    struct buf *from = spdy_out(p->spdy);
    if (from->len)
        buf_add(out, from->data, from->len);
    buf_reset(from);
}

/* Sends what the codec has; p->sending is held. */
static int flush(struct port_pipe *p, const struct ctx *ctx, struct err *err)
{
    for (;;) {
        BUF(out);
        take_out(p, &out);
        if (!out.len)
            return 0;
        if (ws_client_send(p->ws, ctx, WS_BINARY, out.data, out.len, err) < 0)
            return -1;
    }
}

/* 1: there is something in out; 0: the end; -1: the pod's side failed; 2: nothing yet. */
static int take(struct port_pipe *p, struct buf *out, struct err *err)
{
    LOCK_GUARD(&p->lock);
    if (p->came.len) {
        buf_add(out, p->came.data, p->came.len);
        buf_reset(&p->came);
        return 1;
    }
    if (p->failure.len)
        return err_set(err, ERR_UNAVAILABLE, "%.*s", (int)p->failure.len, p->failure.data);
    return p->over ? 0 : 2;
}

static int feed(struct port_pipe *p, const struct ctx *ctx, const struct buf *message, struct err *err)
{
    ERR(e);
    int rc;
    {
        LOCK_GUARD(&p->lock);
        rc = spdy_feed(p->spdy, message->data, message->len, &e);
    }
    if (rc < 0)
        return err_set(err, ERR_UNAVAILABLE, "%s", err_text(&e));
    /* An answer to a ping, maybe: who sends takes it along, if somebody does. */
    if (pthread_mutex_trylock(&p->sending) == 0) {
        rc = flush(p, ctx, err);
        pthread_mutex_unlock(&p->sending);
    }
    return rc;
}

static int stream_recv(struct port_pipe *p, const struct ctx *ctx, struct buf *out, struct err *err)
{
    BUF(message);
    for (;;) {
        enum ws_type type;
        int rc = take(p, out, err);
        if (rc != 2)
            return rc;
        if ((rc = ws_client_recv(p->ws, ctx, &type, &message, err)) <= 0)
            return rc;
        if (feed(p, ctx, &message, err) < 0)
            return -1;
    }
}

static void say(struct port_pipe *p, const void *bytes, size_t n)
{
    LOCK_GUARD(&p->lock);
    if (n)
        spdy_data(p->spdy, p->data, bytes, n);
    else
        spdy_end(p->spdy, p->data);
}

static int stream_send(struct port_pipe *p, const struct ctx *ctx, const void *bytes, size_t n, struct err *err)
{
    LOCK_GUARD(&p->sending);
    say(p, bytes, n);
    return flush(p, ctx, err);
}

/* The error's stream first, and nothing is ever said on it by us. */
static int open_streams(struct port_pipe *p, const struct ctx *ctx, int port, struct err *err)
{
    char text[16];
    snprintf(text, sizeof text, "%d", port);
    struct spdy_header h[] = {{"streamtype", "error"}, {"port", text}, {"requestid", "0"}};
    p->spdy = spdy_new(2, &ops, p);
    p->error = spdy_open(p->spdy, h, ARRAY_LEN(h));
    spdy_end(p->spdy, p->error);
    h[0].value = "data";
    p->data = spdy_open(p->spdy, h, ARRAY_LEN(h));
    LOCK_GUARD(&p->sending);
    return flush(p, ctx, err);
}

/* ---- both ---- */

static int port_recv(struct kube_pipe *kp, const struct ctx *ctx, struct buf *out, struct err *err)
{
    struct port_pipe *p = (struct port_pipe *)kp;
    return (p->spdy ? stream_recv : channel_recv)(p, ctx, out, err);
}

static int port_send(struct kube_pipe *kp, const struct ctx *ctx, const void *bytes, size_t n, struct err *err)
{
    struct port_pipe *p = (struct port_pipe *)kp;
    return (p->spdy ? stream_send : channel_send)(p, ctx, bytes, n, err);
}

static void port_close(struct kube_pipe *kp)
{
    struct port_pipe *p = (struct port_pipe *)kp;
    ws_client_free(p->ws);
    session_unref(p->session);
    spdy_free(p->spdy);
    buf_free(&p->came);
    buf_free(&p->failure);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->sending);
    free(p);
}

static const struct kube_pipe_ops port_ops = {.recv = port_recv, .send = port_send, .close = port_close};

struct kube_pipe *remote_forward(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, int port,
                                 struct err *err)
{
    static const char *const protocols[] = {TUNNEL, "v4.channel.k8s.io", NULL};
    BUF(path);
    if (remote_pod_path(ns, pod, "portforward", &path, err) < 0)
        return NULL;
    query_addi(&path, "ports", port);
    struct session *session = NULL;
    struct ws_client *ws = remote_dial((struct remote *)k, ctx, path.data, protocols, &session, err);
    if (!ws)
        return NULL;
    struct port_pipe *p = xcalloc(1, sizeof *p);
    *p = (struct port_pipe){.pipe.ops = &port_ops, .session = session, .ws = ws};
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->sending, NULL);
    if (!str_eq(ws_client_protocol(ws), TUNNEL) || open_streams(p, ctx, port, err) == 0)
        return &p->pipe;
    port_close(&p->pipe);
    return NULL;
}
