/* proxy_tunnel.c - an upgraded connection through pods/proxy and services/proxy (WebSockets of notebooks, for one): the worker
 * that has the request dials and waits for the answer's head; once both sides have switched, the loop of the client's connection
 * passes bytes on as they are. Who is slow stops the other. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/apiserver/proxy_priv.h"

enum { HEAD_MAX = 64 * 1024, HIGH = 256 * 1024, PIECE = 64 * 1024 };
#define TIMEOUT (30 * NS_PER_S)

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

static int wait_for(int fd, short events, int64_t until, struct err *err)
{
    struct pollfd p = {.fd = fd, .events = events};
    for (;;) {
        int64_t left = until - clock_system.mono_ns(&clock_system);
        int rc = left > 0 ? poll(&p, 1, (int)(left / NS_PER_MS) + 1) : 0;
        if (rc > 0)
            return 0;
        if (rc == 0)
            return err_set(err, ERR_TIMEOUT, "no answer in time");
        if (errno != EINTR)
            return err_errno(err, "waiting");
    }
}

static int dial(const char *ip, int64_t port, int64_t until, struct err *err)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), why = 0;
    socklen_t len = sizeof why;
    if (fd < 0 || inet_pton(AF_INET, ip, &a.sin_addr) != 1)
        err_set(err, ERR_BAD_REQUEST, "%s cannot be dialled", ip);
    else if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS)
        err_errno(err, "dial tcp %s:%lld", ip, (long long)port);
    else if (wait_for(fd, POLLOUT, until, err) == 0) {
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) == 0 && why == 0)
            return fd;
        errno = why;
        err_errno(err, "dial tcp %s:%lld", ip, (long long)port);
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static void write_head(struct buf *b, const struct http_req *req, const struct reqinfo *ri, const char *ip, int64_t port)
{
    buf_addf(b, "%s /%s%s%s HTTP/1.1\r\nHost: %s:%lld\r\nConnection: Upgrade\r\n", req->method_text, ri->rest,
             *req->query ? "?" : "", req->query, ip, (long long)port);
    for (size_t i = 0; i < req->n_headers; i++)
        if (strcasecmp(req->headers[i].name, "upgrade") == 0 || relay_keeps(req->headers[i].name))
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
        else if (wait_for(fd, POLLOUT, until, err) < 0)
            return -1;
    }
    return 0;
}

/* Reads up to the end of the answer's head; *end is where what follows begins. */
static int read_head(int fd, struct buf *b, size_t *end, int64_t until, struct err *err)
{
    char piece[4096];
    for (;;) {
        const char *stop = b->len ? strstr(buf_str(b), "\r\n\r\n") : NULL;
        if (stop) {
            *end = (size_t)(stop - b->data) + 4;
            return 0;
        }
        if (b->len > HEAD_MAX)
            return err_set(err, ERR_UNAVAILABLE, "the answer's head does not end");
        if (wait_for(fd, POLLIN, until, err) < 0)
            return -1;
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n == 0)
            return err_set(err, ERR_UNAVAILABLE, "EOF");
        if (n > 0)
            buf_add(b, piece, (size_t)n);
        else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(err, "reading the answer");
    }
}

static bool is_token(const char *s)
{
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("!#$%&'*+-.^_`|~", *s))
            return false;
    return true;
}

/* The status, and the headers that go on to the client; what is no header is left out. head is changed. */
static int take_head(char *head, struct http_res *res)
{
    int status = strncmp(head, "HTTP/1.", 7) == 0 && strlen(head) > 12 ? atoi(head + 9) : 0;
    char *line = strstr(head, "\r\n"), *next;
    for (line = line ? line + 2 : NULL; line && *line; line = next) {
        next = strstr(line, "\r\n");
        if (next) {
            *next = 0;
            next += 2;
        }
        char *value = strchr(line, ':');
        if (!value)
            continue;
        *value++ = 0;
        value += strspn(value, " \t");
        if (*line && is_token(line) && !strpbrk(value, "\r\n") &&
            (relay_keeps(line) || (status == 101 && strcasecmp(line, "upgrade") == 0)))
            http_add_header(res, line, value);
    }
    return status;
}

int relay_tunnel(const char *ip, int64_t port, const struct ctx *ctx, struct http_req *req, struct http_res *res,
                 const struct reqinfo *ri, struct err *err)
{
    int64_t until = clock_system.mono_ns(&clock_system) + TIMEOUT;
    BUF(head);
    BUF(answer);
    size_t end = 0;
    ERR(e);
    AUTOCLOSE int fd = dial(ip, port, until, &e);
    write_head(&head, req, ri, ip, port);
    if (fd < 0 || send_all(fd, &head, until, &e) < 0 || read_head(fd, &answer, &end, until, &e) < 0)
        return err_set(err, ERR_UNAVAILABLE, "error trying to reach service: %s", err_text(&e));
    struct buf rest = {0};
    buf_add(&rest, answer.data + end, answer.len - end);
    answer.data[end - 2] = 0;
    int status = take_head(answer.data, res);
    if (status != 101) {
        buf_free(&rest);
        return err_set(err, ERR_UNAVAILABLE, "error trying to reach service: the upgrade was answered with status %d", status);
    }
    struct tunnel *t = xcalloc(1, sizeof *t);
    *t = (struct tunnel){.fd = fd, .first = rest};
    fd = -1;
    http_upgrade(res, &ops, t);
    return 0;
}
