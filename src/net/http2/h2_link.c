/* h2_link.c - an HTTP/2 connection of the client, and the calls on it. */
#include "net/http2/h2_link.h"

#include <errno.h>
#include <inttypes.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/thread.h"

#define CALL_WINDOW (256 * 1024)
#define LINK_WINDOW (8 * 1024 * 1024)
#define PIECE       ((size_t)64 * 1024)
#define READ_CHUNK  ((size_t)64 * 1024)
#define MAX_CALLS   1000
#define MAX_HEAD    ((size_t)256 * 1024)
#define MAX_FIELDS  1000
#define IDLE_MS     50000

struct h2_call {
    LIST_ENTRY(h2_call) all;
    struct h2_link *link;
    int32_t id;
    int event; /* raised when something changed */
    /* under the link's lock */
    struct http_answer *head; /* NULL once it is complete */
    int status;
    size_t head_bytes;
    bool has_head, ended, closed, got_bytes;
    uint32_t code;
    struct buf ready; /* of the answer's body */
    size_t taken;
    struct buf piece; /* of the request's body */
    size_t sent;      /* of piece */
    bool all_given;   /* piece is the last */
};

struct h2_link {
    struct wire *wire;
    pthread_t thread;
    int wake;             /* the thread looks again */
    pthread_mutex_t lock; /* guards all below */
    nghttp2_session *session;
    struct buf out; /* frames that the socket did not take */
    LIST_HEAD(, h2_call) calls;
    size_t n_calls;
    bool going; /* no new calls: the server said so, or it is over */
    bool dead, stop, done;
    struct err why;
};

static void raise_event(int fd)
{
    uint64_t one = 1;
    (void)!write(fd, &one, sizeof one);
}

static void clear_event(int fd)
{
    uint64_t n;
    (void)!read(fd, &n, sizeof n);
}

/* ---- nghttp2; all under the lock ---- */

static struct h2_call *call_of(nghttp2_session *session, int32_t id) { return nghttp2_session_get_stream_user_data(session, id); }

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *self)
{
    struct h2_call *c = call_of(session, frame->hd.stream_id);
    if (!c || c->has_head || !c->head)
        return 0; /* trailers are dropped */
    struct http_answer *a = c->head;
    c->got_bytes = true;
    c->head_bytes += name_len + value_len;
    if (c->head_bytes > MAX_HEAD || a->n_headers >= MAX_FIELDS)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        c->status = atoi((const char *)value);
        return 0;
    }
    a->headers = xreallocarray(a->headers, a->n_headers + 1, sizeof *a->headers);
    a->headers[a->n_headers++] =
        (struct http_header){xstrndup((const char *)name, name_len), xstrndup((const char *)value, value_len)};
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *self)
{
    struct h2_link *l = self;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        l->going = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct h2_call *c = call_of(session, frame->hd.stream_id);
    if (!c)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && !c->has_head && c->head) {
        if (c->status < 200) { /* an interim answer: the real one follows */
            http_answer_free(c->head);
        } else {
            c->has_head = true;
            c->head->status = c->status;
        }
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        c->ended = true;
    raise_event(c->event);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *self)
{
    struct h2_call *c = call_of(session, id);
    nghttp2_session_consume_connection(session, n);
    if (!c) {
        nghttp2_session_consume_stream(session, id, n);
        return 0;
    }
    buf_add(&c->ready, p, n);
    raise_event(c->event);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *self)
{
    struct h2_call *c = call_of(session, id);
    if (!c)
        return 0;
    c->closed = true;
    c->code = code;
    raise_event(c->event);
    return 0;
}

static ssize_t read_piece(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                          nghttp2_data_source *source, void *self)
{
    struct h2_call *c = call_of(session, id);
    if (!c)
        return NGHTTP2_ERR_DEFERRED;
    size_t n = c->piece.len - c->sent < len ? c->piece.len - c->sent : len;
    if (n == 0 && !c->all_given)
        return NGHTTP2_ERR_DEFERRED;
    if (n)
        memcpy(buf, c->piece.data + c->sent, n);
    c->sent += n;
    if (c->sent == c->piece.len) {
        raise_event(c->event);
        if (c->all_given)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)n;
}

static void session_init(struct h2_link *l)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    ASSERT(nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    ASSERT(nghttp2_session_client_new2(&l->session, cb, l, option) == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, CALL_WINDOW}};
    nghttp2_submit_settings(l->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
    nghttp2_session_set_local_window_size(l->session, NGHTTP2_FLAG_NONE, 0, LINK_WINDOW);
}

/* ---- the socket; all under the lock ---- */

static void die(struct h2_link *l, struct err *why)
{
    if (l->dead)
        return;
    l->dead = l->going = true;
    err_move(&l->why, why);
    for (struct h2_call *c = LIST_FIRST(&l->calls); c; c = LIST_NEXT(c, all))
        raise_event(c->event);
    raise_event(l->wake);
}

/* Sends what there is to send. */
static void flush(struct h2_link *l)
{
    ERR(e);
    while (!l->dead) {
        while (l->out.len) {
            ssize_t n = wire_try_write(l->wire, l->out.data, l->out.len, &e);
            if (n < 0) {
                die(l, &e);
                return;
            }
            if (n == 0) {
                raise_event(l->wake); /* the thread waits for room */
                return;
            }
            buf_consume(&l->out, (size_t)n);
        }
        const uint8_t *p;
        ssize_t n;
        while (l->out.len < PIECE && (n = nghttp2_session_mem_send(l->session, &p)) > 0)
            buf_add(&l->out, p, (size_t)n);
        if (!l->out.len)
            return;
    }
}

static void receive(struct h2_link *l, char *chunk)
{
    ERR(e);
    bool end = false;
    ssize_t n;
    while ((n = wire_try_read(l->wire, chunk, READ_CHUNK, &end, &e)) > 0) {
        ssize_t used = nghttp2_session_mem_recv(l->session, (const uint8_t *)chunk, (size_t)n);
        if (used < 0) {
            err_set(&e, ERR_IO, "the server's answer is not HTTP/2: %s", nghttp2_strerror((int)used));
            die(l, &e);
            return;
        }
    }
    if (n == 0 && end)
        err_set(&e, ERR_UNAVAILABLE, "the server closed the connection");
    if (n < 0 || end)
        die(l, &e);
}

static void idle_is_over(struct h2_link *l)
{
    ERR(e);
    nghttp2_session_terminate_session(l->session, NGHTTP2_NO_ERROR);
    flush(l);
    err_set(&e, ERR_UNAVAILABLE, "the connection was closed");
    die(l, &e);
}

static void *link_main(void *arg)
{
    struct h2_link *l = arg;
    AUTOFREE char *chunk = xmalloc(READ_CHUNK);
    for (bool over = false; !over;) {
        struct pollfd p[2] = {{.fd = l->wire->fd, .events = POLLIN}, {.fd = l->wake, .events = POLLIN}};
        int ms = -1;
        {
            LOCK_GUARD(&l->lock);
            if (l->out.len)
                p[0].events |= POLLOUT;
            if (!l->n_calls)
                ms = IDLE_MS;
        }
        int ready = poll(p, 2, ms);
        if (p[1].revents)
            clear_event(l->wake);
        LOCK_GUARD(&l->lock);
        if (l->stop || (ready == 0 && !l->n_calls))
            idle_is_over(l);
        if (!l->dead && p[0].revents)
            receive(l, chunk);
        flush(l);
        if (!l->dead && !nghttp2_session_want_read(l->session) && !nghttp2_session_want_write(l->session))
            idle_is_over(l);
        over = l->dead;
        l->done = over;
    }
    return NULL;
}

/* ---- links ---- */

struct h2_link *h2_link_new(struct wire *w)
{
    struct h2_link *l = xcalloc(1, sizeof *l);
    l->wire = w;
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&l->lock, NULL);
    LIST_INIT(&l->calls);
    l->n_calls = 1; /* reserved */
    session_init(l);
    l->thread = thread_start("http2-client", link_main, l);
    return l;
}

const char *h2_link_key(const struct h2_link *l) { return l->wire->key; }

/* Under the lock. */
static bool usable(const struct h2_link *l)
{
    size_t max = nghttp2_session_get_remote_settings(l->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return !l->going && l->n_calls < (max < MAX_CALLS ? max : MAX_CALLS);
}

bool h2_link_reserve(struct h2_link *l)
{
    LOCK_GUARD(&l->lock);
    if (!usable(l))
        return false;
    l->n_calls++;
    return true;
}

/* Under the lock. */
static void give_back(struct h2_link *l)
{
    if (--l->n_calls == 0)
        raise_event(l->wake); /* idle from now on */
}

bool h2_link_is_over(struct h2_link *l)
{
    LOCK_GUARD(&l->lock);
    return l->done && !l->n_calls;
}

void h2_link_free(struct h2_link *l)
{
    {
        LOCK_GUARD(&l->lock);
        ASSERT(!l->n_calls);
        l->stop = true;
        raise_event(l->wake);
    }
    pthread_join(l->thread, NULL);
    nghttp2_session_del(l->session);
    wire_free(l->wire);
    close(l->wake);
    buf_free(&l->out);
    err_clear(&l->why);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- a call ---- */

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)name, .value = (uint8_t *)value, .namelen = strlen(name), .valuelen = strlen(value)};
}

/* Those of a connection, and those that are ours to say. */
static bool left_out(const char *name)
{
    static const char *const names[] = {
        "host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "expect", "content-length", "te"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool has_body(const struct http_call *call) { return call->body_read ? call->body_len != 0 : call->body_len > 0; }

/* Copies what nghttp2 is given: names in lower case live in *names. */
static int submit(struct h2_call *c, const struct url *u, const struct http_call *call, const char *user_agent)
{
    AUTOFREE nghttp2_nv *nv = xcalloc(call->n_headers + 6, sizeof *nv);
    STRLIST(names);
    char length[24];
    const char *authority = u->authority;
    bool agent = false;
    size_t n = 4;
    for (size_t i = 0; i < call->n_headers; i++) {
        const struct http_header *h = &call->headers[i];
        agent |= strcasecmp(h->name, "user-agent") == 0;
        if (strcasecmp(h->name, "host") == 0)
            authority = h->value;
        if (left_out(h->name))
            continue;
        char *name = xstrdup(h->name);
        for (char *p = name; *p; p++)
            if (*p >= 'A' && *p <= 'Z')
                *p += 'a' - 'A';
        strlist_take(&names, name);
        nv[n++] = field(name, h->value);
    }
    nv[0] = field(":method", http_method_name(call->method));
    nv[1] = field(":path", u->target);
    nv[2] = field(":scheme", "https");
    nv[3] = field(":authority", authority);
    if (!agent)
        nv[n++] = field("user-agent", user_agent);
    bool body = has_body(call);
    if (!(body && call->body_len == HTTP_LENGTH_UNKNOWN) && (body || call->method & (HTTP_POST | HTTP_PUT | HTTP_PATCH))) {
        snprintf(length, sizeof length, "%zu", call->body_len);
        nv[n++] = field("content-length", length);
    }
    nghttp2_data_provider provider = {.read_callback = read_piece};
    return nghttp2_submit_request(c->link->session, NULL, nv, n, body ? &provider : NULL, c);
}

static int wait_event(struct h2_call *c, const struct ctx *ctx, struct err *err)
{
    if (fd_wait(c->event, POLLIN, ctx, err) < 0)
        return -1;
    clear_event(c->event);
    return 0;
}

/* The next bytes of the request's body into buf: their number, 0 at the end. */
static ssize_t next_piece(const struct http_call *call, size_t *at, char *buf, bool *took_pieces, struct err *err)
{
    if (call->body_read) {
        *took_pieces = true;
        ssize_t n = call->body_read(call->body_self, buf, PIECE, err);
        if (n < 0 || call->body_len == HTTP_LENGTH_UNKNOWN)
            return n;
        if ((size_t)n > call->body_len - *at || (n == 0 && *at < call->body_len))
            return err_set(err, ERR_IO, "the body to be sent has not the %zu bytes that were said", call->body_len);
        *at += (size_t)n;
        return n;
    }
    size_t left = call->body_len - *at, want = left < PIECE ? left : PIECE;
    if (!want)
        return 0;
    ssize_t n = (ssize_t)want;
    if (call->body_fd <= 0) {
        memcpy(buf, (const char *)call->body + *at, want);
    } else {
        do
            n = read(call->body_fd, buf, want);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            return err_errno(err, "reading the file to be sent");
        if (n == 0)
            return err_set(err, ERR_IO, "the file to be sent is %zu bytes shorter than was said", left);
    }
    *at += (size_t)n;
    return n;
}

/* Has the server ended it, or is the connection gone? Then nothing more of the body is wanted. */
static bool is_over(const struct h2_call *c) { return c->closed || c->ended || c->link->dead; }

/* Hands over a piece once the last has gone. False when no more is wanted. */
static int give(struct h2_call *c, const char *p, size_t n, bool *more, const struct ctx *ctx, struct err *err)
{
    for (;;) {
        {
            LOCK_GUARD(&c->link->lock);
            *more = !is_over(c);
            if (!*more)
                return 0;
            if (c->sent == c->piece.len) {
                buf_reset(&c->piece);
                c->sent = 0;
                buf_add(&c->piece, p, n);
                c->all_given = n == 0;
                nghttp2_session_resume_data(c->link->session, c->id);
                flush(c->link);
                return 0;
            }
        }
        if (wait_event(c, ctx, err) < 0)
            return -1;
    }
}

static int send_body(struct h2_call *c, const struct http_call *call, bool *took_pieces, const struct ctx *ctx, struct err *err)
{
    AUTOFREE char *buf = xmalloc(PIECE);
    size_t at = 0;
    bool more = true;
    while (more) {
        ssize_t n = next_piece(call, &at, buf, took_pieces, err);
        if (n < 0 || give(c, buf, (size_t)n, &more, ctx, err) < 0)
            return -1;
        if (n == 0)
            return 0;
    }
    return 0;
}

static int failed(struct h2_call *c, enum h2_verdict *verdict, struct err *err)
{
    if (c->closed && c->code == NGHTTP2_REFUSED_STREAM)
        *verdict = H2_RETRY;
    else if (c->closed && c->code == NGHTTP2_HTTP_1_1_REQUIRED)
        *verdict = H2_USE_H1;
    else if (c->link->dead && !c->got_bytes)
        *verdict = H2_LOST;
    if (c->closed)
        return err_set(err, ERR_UNAVAILABLE, "the server broke its answer off (%s)", nghttp2_http2_strerror(c->code));
    err_copy(err, &c->link->why);
    return -1;
}

static int await_head(struct h2_call *c, enum h2_verdict *verdict, const struct ctx *ctx, struct err *err)
{
    for (;;) {
        {
            LOCK_GUARD(&c->link->lock);
            if (c->has_head) {
                c->head = NULL;
                return 0;
            }
            if (c->closed || c->link->dead)
                return failed(c, verdict, err);
        }
        if (wait_event(c, ctx, err) < 0)
            return -1;
    }
}

static int start(struct h2_call *c, const struct url *u, const struct http_call *call, const char *user_agent, struct err *err)
{
    struct h2_link *l = c->link;
    LOCK_GUARD(&l->lock);
    c->id = l->going ? NGHTTP2_ERR_START_STREAM_NOT_ALLOWED : submit(c, u, call, user_agent);
    if (c->id < 0) {
        give_back(l);
        if (!l->dead)
            return err_set(err, ERR_UNAVAILABLE, "the connection takes no further call");
        err_copy(err, &l->why); /* a server that does not like our certificate says so before we have asked anything */
        return -1;
    }
    LIST_INSERT_HEAD(&l->calls, c, all);
    flush(l);
    return 0;
}

static void call_free(struct h2_call *c)
{
    if (c->event >= 0)
        close(c->event);
    buf_free(&c->ready);
    buf_free(&c->piece);
    free(c);
}

struct h2_call *h2_call_open(struct h2_link *l, const struct url *u, const struct http_call *call, const char *user_agent,
                             const struct ctx *ctx, struct http_answer *head, enum h2_verdict *verdict, bool *took_pieces,
                             struct err *err)
{
    *verdict = H2_FAILED;
    struct h2_call *c = xcalloc(1, sizeof *c);
    c->link = l;
    c->head = head;
    c->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->event < 0) {
        err_errno(err, "making a call");
        call_free(c);
        LOCK_GUARD(&l->lock);
        give_back(l);
        return NULL;
    }
    if (start(c, u, call, user_agent, err) < 0) {
        *verdict = H2_RETRY;
        call_free(c);
        return NULL;
    }
    if ((has_body(call) && send_body(c, call, took_pieces, ctx, err) < 0) || await_head(c, verdict, ctx, err) < 0) {
        h2_call_close(c);
        return NULL;
    }
    return c;
}

ssize_t h2_call_read(struct h2_call *c, const struct ctx *ctx, void *p, size_t n, struct err *err)
{
    struct h2_link *l = c->link;
    for (;;) {
        {
            LOCK_GUARD(&l->lock);
            size_t have = c->ready.len - c->taken;
            if (have) {
                n = n < have ? n : have;
                memcpy(p, c->ready.data + c->taken, n);
                c->taken += n;
                if (c->taken == c->ready.len) {
                    buf_reset(&c->ready);
                    c->taken = 0;
                }
                if (!c->closed && !l->dead) {
                    nghttp2_session_consume_stream(l->session, c->id, n);
                    flush(l);
                }
                return (ssize_t)n;
            }
            if (c->ended)
                return 0;
            if (c->closed || l->dead) {
                enum h2_verdict v;
                return failed(c, &v, err);
            }
        }
        if (wait_event(c, ctx, err) < 0)
            return -1;
    }
}

void h2_call_close(struct h2_call *c)
{
    struct h2_link *l = c->link;
    {
        LOCK_GUARD(&l->lock);
        if (!c->closed && !l->dead) {
            nghttp2_session_set_stream_user_data(l->session, c->id, NULL);
            nghttp2_submit_rst_stream(l->session, NGHTTP2_FLAG_NONE, c->id, c->ended ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
            flush(l);
        }
        LIST_REMOVE(c, all);
        give_back(l);
    }
    call_free(c);
}
