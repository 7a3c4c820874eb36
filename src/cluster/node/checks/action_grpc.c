/* One unary call of gRPC over HTTP/2 in clear text: POST /grpc.health.v1.Health/Check. */
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "cluster/node/checks/action.h"

enum { ANSWER_MAX = 4096, SERVICE_MAX = 1024, UNIMPLEMENTED = 12 };

struct call {
    int fd;
    struct buf request, answer;
    size_t sent;
    int status; /* grpc-status; -1: not said */
    int http;
    char message[256];
    bool over;
};

static ssize_t on_send(nghttp2_session *s, const uint8_t *p, size_t n, int flags, void *arg)
{
    struct call *c = arg;
    ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)s;
    (void)flags;
    return k >= 0 ? k : errno == EAGAIN ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static ssize_t on_recv(nghttp2_session *s, uint8_t *p, size_t n, int flags, void *arg)
{
    struct call *c = arg;
    ssize_t k = recv(c->fd, p, n, MSG_DONTWAIT);
    (void)s;
    (void)flags;
    return k > 0 ? k : k == 0 ? NGHTTP2_ERR_EOF : errno == EAGAIN ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t name_len, const uint8_t *value,
                     size_t value_len, uint8_t flags, void *arg)
{
    struct call *c = arg;
    AUTOFREE char *k = xstrndup((const char *)name, name_len), *v = xstrndup((const char *)value, value_len);
    (void)s;
    (void)f;
    (void)flags;
    if (str_eq(k, "grpc-status"))
        c->status = atoi(v);
    else if (str_eq(k, "grpc-message"))
        snprintf(c->message, sizeof c->message, "%s", v);
    else if (str_eq(k, ":status"))
        c->http = atoi(v);
    return 0;
}

static int on_chunk(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
    struct call *c = arg;
    (void)s;
    (void)flags;
    (void)id;
    if (c->answer.len + n <= ANSWER_MAX)
        buf_add(&c->answer, p, n);
    return 0;
}

static int on_over(nghttp2_session *s, int32_t id, uint32_t code, void *arg)
{
    struct call *c = arg;
    (void)s;
    (void)id;
    (void)code;
    c->over = true;
    return 0;
}

static ssize_t on_read(nghttp2_session *s, int32_t id, uint8_t *p, size_t n, uint32_t *flags, nghttp2_data_source *source,
                       void *arg)
{
    struct call *c = arg;
    size_t left = c->request.len - c->sent, part = left < n ? left : n;
    (void)s;
    (void)id;
    (void)source;
    memcpy(p, c->request.data + c->sent, part);
    c->sent += part;
    if (c->sent == c->request.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)part;
}

static nghttp2_session *session_new(struct call *c)
{
    nghttp2_session_callbacks *cb;
    nghttp2_session *s;
    ASSERT(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_recv_callback(cb, on_recv);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_over);
    ASSERT(nghttp2_session_client_new(&s, cb, c) == 0);
    nghttp2_session_callbacks_del(cb);
    return s;
}

/* Five bytes of frame and HealthCheckRequest{service = 1}. */
static void add_request(struct buf *b, const char *service)
{
    size_t n = strlen(service);
    BUF(message);
    if (n) {
        buf_addc(&message, 0x0a);
        for (size_t v = n;; v >>= 7) {
            buf_addc(&message, (char)(v > 127 ? (v & 127) | 128 : v));
            if (v <= 127)
                break;
        }
        buf_add(&message, service, n);
    }
    const char head[5] = {0, 0, 0, (char)(message.len >> 8), (char)message.len};
    buf_add(b, head, sizeof head);
    if (message.len)
        buf_add(b, message.data, message.len);
}

static void submit(nghttp2_session *s, const char *authority)
{
#define HEADER(n, v)                                                                                                             \
    {                                                                                                                            \
        (uint8_t *)(n), (uint8_t *)(v), strlen(n), strlen(v), NGHTTP2_NV_FLAG_NONE                                               \
    }
    const nghttp2_nv headers[] = {HEADER(":method", "POST"),
                                  HEADER(":scheme", "http"),
                                  HEADER(":path", "/grpc.health.v1.Health/Check"),
                                  HEADER(":authority", authority),
                                  HEADER("content-type", "application/grpc"),
                                  HEADER("user-agent", "kube-probe/1.34"),
                                  HEADER("te", "trailers")};
    nghttp2_data_provider body = {.read_callback = on_read};
    nghttp2_submit_settings(s, NGHTTP2_FLAG_NONE, NULL, 0);
    nghttp2_submit_request(s, NULL, headers, ARRAY_LEN(headers), &body, NULL);
}

/* 0 when the stream is over; -1 when the connection or the time is. */
static int talk(const struct action_env *env, struct call *c, nghttp2_session *s)
{
    while (!c->over) {
        struct pollfd p[] = {{.fd = c->fd, .events = POLLIN},
                             {.fd = env->ctx.cancel ? env->ctx.cancel->fd : -1, .events = POLLIN}};
        ERR(e);
        if (nghttp2_session_send(s) != 0 || ctx_check(&env->ctx, &e) < 0)
            return -1;
        if (!nghttp2_session_want_read(s) && !nghttp2_session_want_write(s))
            return -1; /* what it says is no HTTP/2 */
        if (nghttp2_session_want_write(s))
            p[0].events |= POLLOUT;
        int64_t ms = ctx_left_ns(&env->ctx) / NS_PER_MS + 1;
        if (poll(p, ARRAY_LEN(p), ms > INT32_MAX ? INT32_MAX : (int)ms) < 0 && errno != EINTR)
            return -1;
        if (p[0].revents && nghttp2_session_recv(s) != 0 && !c->over)
            return -1;
    }
    return 0;
}

/* status of HealthCheckResponse: field 1, a varint. 0 when it is not said. */
static unsigned serving_status(const struct buf *b)
{
    const unsigned char *p = (const unsigned char *)b->data;
    return b->len >= 7 && p[0] == 0 && p[5] == 0x08 ? p[6] : 0;
}

static enum action_result verdict(const struct call *c, struct buf *text)
{
    static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
    if (c->status == UNIMPLEMENTED) {
        buf_addf(text, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", c->message);
        return ACTION_FAILED;
    }
    if (c->status != 0) {
        if (c->status < 0)
            buf_addf(text, "error: health rpc probe failed: unexpected HTTP status code %d", c->http);
        else
            buf_addf(text, "error: health rpc probe failed: rpc error: code = %d desc = %s", c->status, c->message);
        return ACTION_FAILED;
    }
    unsigned status = serving_status(&c->answer);
    if (status == 1)
        return ACTION_OK;
    buf_addf(text, "service unhealthy (responded with \"%s\")", status < ARRAY_LEN(names) ? names[status] : "UNKNOWN");
    return ACTION_FAILED;
}

enum action_result action_grpc(const struct action_env *env, const char *host, int port, const char *service, struct buf *text)
{
    AUTOFREE char *where = xasprintf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
    struct call c = {.fd = action_connect(env, host, port), .status = -1};
    enum action_result r = ACTION_FAILED;
    if (c.fd < 0) {
        /* The client of Go tries again until its time is over, whatever the reason. */
        buf_addf(text, "timeout: failed to connect service \"%s\" within ", where);
        action_add_seconds(text, env->timeout_ns);
        buf_adds(text, ": context deadline exceeded");
        return ACTION_FAILED;
    }
    if (service && strlen(service) > SERVICE_MAX) {
        buf_addf(text, "error: the service's name is longer than %d bytes", SERVICE_MAX);
        close(c.fd);
        return ACTION_ERROR;
    }
    add_request(&c.request, service ? service : "");
    nghttp2_session *s = session_new(&c);
    submit(s, where);
    if (talk(env, &c, s) == 0) {
        r = verdict(&c, text);
    } else if (ctx_left_ns(&env->ctx) == 0) {
        buf_adds(text, "timeout: health rpc did not complete within ");
        action_add_seconds(text, env->timeout_ns);
    } else {
        buf_adds(text, "error: health rpc probe failed: the connection was closed before the answer");
    }
    nghttp2_session_del(s);
    close(c.fd);
    buf_free(&c.request);
    buf_free(&c.answer);
    return r;
}
