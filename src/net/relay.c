#include "net/relay.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/str.h"
#include "net/parse.h"

enum { HIGH = 256 * 1024, PIECE = 64 * 1024, SHORT = 1024 * 1024 };
static const struct h1_limits limits = {.max_bytes = 64 * 1024, .max_url = 8192, .max_fields = 200};

struct relay {
    int fd;
    struct h1 *h;
    struct stream *st; /* NULL: the worker has it */
    struct stream_handle *handle;
    struct stream_fd *watch;
    struct buf body; /* what came before there was a stream */
    bool head, over;
};

static int on_head(void *self)
{
    ((struct relay *)self)->head = true;
    return 0;
}

static int on_body(void *self, const char *p, size_t n)
{
    struct relay *r = self;
    if (r->st)
        stream_write(r->st, p, n);
    else
        buf_add(&r->body, p, n);
    return 0;
}

static const struct h1_ops parse_ops = {on_head, on_body};

static void relay_free(struct relay *r)
{
    if (r->watch)
        stream_fd_free(r->watch); /* closes it */
    else if (r->fd >= 0)
        close(r->fd);
    if (r->handle)
        stream_handle_unref(r->handle);
    h1_free(r->h);
    buf_free(&r->body);
    free(r);
}
static void relay_freep(struct relay **r)
{
    if (*r)
        relay_free(*r);
}

/* ---- as a stream --------------------------------------------------------------------------------------------------- */

static void want(struct relay *r) { stream_fd_want(r->watch, r->over || stream_queued(r->st) >= HIGH ? 0 : POLLIN); }

static void finish(struct relay *r, bool whole)
{
    r->over = true;
    (whole ? stream_end : stream_abort)(r->st);
}

static void on_socket(void *arg, int events)
{
    static _Thread_local char piece[PIECE];
    struct relay *r = arg;
    while (!r->over && stream_queued(r->st) < HIGH) {
        size_t used;
        ssize_t n = recv(r->fd, piece, sizeof piece, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n <= 0) {
            finish(r, n == 0 && h1_finish(r->h));
            break;
        }
        enum h1_result got = h1_feed(r->h, piece, (size_t)n, &used);
        if (got != H1_MORE)
            finish(r, got == H1_DONE);
    }
    want(r);
}

static void on_start(struct stream *st, void *state)
{
    struct relay *r = state;
    r->st = st;
    r->handle = stream_handle(st);
    r->watch = stream_fd_new(r->handle, r->fd, on_socket, r);
    if (!r->watch) {
        stream_abort(st);
        return;
    }
    stream_write(st, r->body.data, r->body.len);
    buf_free(&r->body);
    want(r);
}

static void on_writable(struct stream *st, void *state)
{
    struct relay *r = state;
    if (r->watch)
        want(r);
}

static void on_wake(struct stream *st, void *state) {}
static void on_stop(struct stream *st, void *state) { stream_abort(st); }
static void on_close(struct stream *st, void *state) { relay_free(state); }

static const struct stream_ops stream_ops = {
    .on_start = on_start, .on_writable = on_writable, .on_wake = on_wake, .on_stop = on_stop, .on_close = on_close};

/* ---- on the worker ------------------------------------------------------------------------------------------------- */

int http_wait_fd(int fd, short events, int64_t until, struct err *err)
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
            return err_errno(err, "waiting for the other server");
    }
}

/* One more piece. 1: the message is over; 0: it goes on; -1. *tail (101 only) gets what follows the head. */
static int step(struct relay *r, int64_t until, bool no_body, struct buf *tail, struct err *err)
{
    char piece[16 * 1024];
    size_t used;
    if (http_wait_fd(r->fd, POLLIN, until, err) < 0)
        return -1;
    ssize_t n = recv(r->fd, piece, sizeof piece, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return 0;
    if (n < 0)
        return err_errno(err, "reading the answer");
    if (n == 0)
        return r->head && h1_finish(r->h) ? 1 : err_set(err, ERR_UNAVAILABLE, "EOF");
    for (const char *p = piece;;) {
        enum h1_result got = h1_feed(r->h, p, (size_t)n, &used);
        if (got == H1_ERROR || got == H1_STOPPED)
            return err_set(err, ERR_UNAVAILABLE, "the answer is malformed: %s", h1_reason(r->h));
        if (got == H1_MORE)
            return 0;
        p += used;
        n -= (ssize_t)used;
        if (h1_code(r->h) >= 200 || h1_code(r->h) == 101) {
            if (n > 0)
                buf_add(tail, p, (size_t)n);
            return 1;
        }
        h1_reset(r->h, no_body); /* 100 and the like: the answer is still to come */
        r->head = false;
        if (n == 0)
            return 0;
    }
}

static void put_head(struct http_res *res, const struct relay *r, const struct http_relay *how)
{
    http_status(res, h1_code(r->h));
    for (size_t i = 0; i < h1_fields(r->h); i++) {
        const char *name = h1_name(r->h, i);
        if (str_eq(name, "content-type"))
            continue;
        if (how->keeps(name) || (how->switched && str_eq(name, "upgrade")))
            http_add_header(res, name, h1_value(r->h, i));
    }
}

static const char *type_of(const struct relay *r)
{
    for (size_t i = 0; i < h1_fields(r->h); i++)
        if (str_eq(h1_name(r->h, i), "content-type"))
            return h1_value(r->h, i);
    return NULL;
}

static bool is_short(const struct relay *r)
{
    return r->head && h1_content_length(r->h) >= 0 && h1_content_length(r->h) <= SHORT;
}

int http_relay_answer(struct http_res *res, int *fd, struct http_relay *how, struct err *err)
{
    CLEANUP(relay_freep) struct relay *r = xcalloc(1, sizeof *r);
    BUF(tail);
    int rc = 0;
    *r = (struct relay){.fd = *fd, .h = h1_response_new(&limits, &parse_ops, r)};
    h1_reset(r->h, how->no_body);
    while (rc == 0 && (!r->head || is_short(r)))
        rc = step(r, how->until_mono_ns, how->no_body, &tail, err);
    if (rc >= 0 && how->upgrade && h1_code(r->h) != 101 && h1_code(r->h) < 400)
        rc = err_set(err, ERR_UNAVAILABLE, "invalid upgrade response: status code %d", h1_code(r->h));
    if (rc < 0) {
        r->fd = -1; /* the caller's */
        return -1;
    }
    how->switched = h1_code(r->h) == 101;
    put_head(res, r, how);
    if (how->switched) {
        how->rest = tail;
        tail = (struct buf){0};
        r->fd = -1;
        return 0;
    }
    *fd = -1;
    const char *type = type_of(r) ? type_of(r) : "application/octet-stream";
    if (rc == 1)
        http_body_buf(res, type, &r->body);
    else
        http_stream(res, type, &stream_ops, TAKE(r));
    return 0;
}
