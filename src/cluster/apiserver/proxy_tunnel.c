/* proxy_tunnel.c - requests through pods/proxy and services/proxy over plain HTTP: the worker that has the request dials, sends
 * it and waits for the answer's head, and the answer is passed on as it comes (net/relay.h). Once both sides have switched to
 * another protocol (WebSockets of notebooks, for one), the loop of the client's connection passes bytes on as they are, both
 * ways. Who is slow stops the other. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/apiserver/proxy_priv.h"
#include "net/relay.h"

enum { HIGH = 256 * 1024, PIECE = 64 * 1024 };
#define TIMEOUT (60 * NS_PER_S) /* until the answer has begun */

struct tunnel {
    int fd;
    struct stream *st;
    struct stream_handle *handle;
    struct stream_fd *watch;
    struct buf first; /* what the other side said after its head */
    struct buf input; /* from the client, not taken yet */
    bool output_over;
};

/* ---- once it stands ------------------------------------------------------------------------------------------------ */

static void want(struct tunnel *t)
{
    bool room = stream_queued(t->st) < HIGH && !t->output_over;
    stream_fd_want(t->watch, (room ? POLLIN : 0) | (t->input.len ? POLLOUT : 0));
}

static void over(struct tunnel *t)
{
    t->output_over = true;
    buf_reset(&t->input);
    stream_end(t->st);
}

static void push(struct tunnel *t)
{
    while (t->input.len) {
        ssize_t n = send(t->fd, t->input.data, t->input.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                over(t);
            return;
        }
        buf_consume(&t->input, (size_t)n);
    }
}

static void pull(struct tunnel *t)
{
    static _Thread_local char piece[PIECE];
    while (!t->output_over && stream_queued(t->st) < HIGH) {
        ssize_t n = recv(t->fd, piece, sizeof piece, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0)
            over(t);
        else
            stream_write(t->st, piece, (size_t)n);
    }
}

static void on_socket(void *arg, int events)
{
    struct tunnel *t = arg;
    if (events & POLLOUT) {
        push(t);
        if (t->input.len < HIGH)
            stream_resume(t->st);
    }
    if (events & POLLIN)
        pull(t);
    if (!t->output_over)
        want(t);
    else
        stream_fd_want(t->watch, 0);
}

static void on_start(struct stream *st, void *state)
{
    struct tunnel *t = state;
    t->st = st;
    t->handle = stream_handle(st);
    t->watch = stream_fd_new(t->handle, t->fd, on_socket, t);
    if (!t->watch) {
        stream_abort(st);
        return;
    }
    stream_write(st, t->first.data, t->first.len);
    want(t);
}

static void on_writable(struct stream *st, void *state)
{
    struct tunnel *t = state;
    if (t->watch && !t->output_over)
        want(t);
}

static void on_wake(struct stream *st, void *state) {}

static size_t on_data(struct stream *st, void *state, const char *p, size_t n)
{
    struct tunnel *t = state;
    if (!t->watch || t->output_over)
        return n;
    if (t->input.len >= HIGH)
        return 0;
    buf_add(&t->input, p, n);
    push(t);
    if (!t->output_over)
        want(t);
    return n;
}

static void tunnel_free(struct tunnel *t)
{
    if (t->watch)
        stream_fd_free(t->watch); /* closes it */
    else if (t->fd >= 0)
        close(t->fd);
    if (t->handle)
        stream_handle_unref(t->handle);
    buf_free(&t->first);
    buf_free(&t->input);
    free(t);
}

static void on_close(struct stream *st, void *state) { tunnel_free(state); }

static const struct stream_ops ops = {
    .on_start = on_start, .on_writable = on_writable, .on_wake = on_wake, .on_data = on_data, .on_close = on_close};

/* ---- until then ---------------------------------------------------------------------------------------------------- */

static int dial(const char *ip, int64_t port, int64_t until, struct err *err)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), why = 0;
    socklen_t len = sizeof why;
    if (fd < 0 || inet_pton(AF_INET, ip, &a.sin_addr) != 1)
        err_set(err, ERR_BAD_REQUEST, "%s cannot be dialled", ip);
    else if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS)
        err_errno(err, "dial tcp %s:%lld", ip, (long long)port);
    else if (http_wait_fd(fd, POLLOUT, until, err) == 0) {
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) == 0 && why == 0)
            return fd;
        errno = why;
        err_errno(err, "dial tcp %s:%lld", ip, (long long)port);
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static void write_head(struct buf *b, const struct http_req *req, const struct reqinfo *ri, const char *ip, int64_t port,
                       bool upgrade)
{
    buf_addf(b, "%s /%s%s%s HTTP/1.1\r\nHost: %s:%lld\r\nConnection: %s\r\n", req->method_text, ri->rest, *req->query ? "?" : "",
             req->query, ip, (long long)port, upgrade ? "Upgrade" : "close");
    for (size_t i = 0; i < req->n_headers; i++)
        if ((upgrade && strcasecmp(req->headers[i].name, "upgrade") == 0) || relay_keeps(req->headers[i].name))
            buf_addf(b, "%s: %s\r\n", req->headers[i].name, req->headers[i].value);
    buf_addf(b, "Content-Length: %zu\r\n\r\n", req->body_len);
    buf_add(b, req->body, req->body_len);
}

static int send_all(int fd, const struct buf *b, int64_t until, struct err *err)
{
    for (size_t at = 0; at < b->len;) {
        ssize_t n = send(fd, b->data + at, b->len - at, MSG_NOSIGNAL);
        if (n >= 0)
            at += (size_t)n;
        else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(err, "sending the request");
        else if (http_wait_fd(fd, POLLOUT, until, err) < 0)
            return -1;
    }
    return 0;
}

int relay_plain(const char *ip, int64_t port, const struct ctx *ctx, struct http_req *req, struct http_res *res,
                const struct reqinfo *ri, struct err *err)
{
    bool upgrade = http_header_get(req, "upgrade");
    struct http_relay how = {.keeps = relay_keeps,
                             .no_body = req->method == HTTP_HEAD,
                             .upgrade = upgrade,
                             .until_mono_ns = clock_system.mono_ns(&clock_system) + TIMEOUT};
    BUF(head);
    ERR(e);
    AUTOCLOSE int fd = dial(ip, port, how.until_mono_ns, &e);
    write_head(&head, req, ri, ip, port, upgrade);
    if (fd < 0 || send_all(fd, &head, how.until_mono_ns, &e) < 0 || http_relay_answer(res, &fd, &how, &e) < 0)
        return err_set(err, ERR_UNAVAILABLE, "error trying to reach service: %s", err_text(&e));
    if (!how.switched)
        return 0;
    struct tunnel *t = xcalloc(1, sizeof *t);
    *t = (struct tunnel){.fd = fd, .first = how.rest};
    fd = -1;
    http_upgrade(res, &ops, t);
    return 0;
}
