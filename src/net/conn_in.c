/* conn_in.c - HTTP/1.1 from bytes to an exchange, one at a time; and how a connection of any kind is read. */
#define LOG_ROOM "http"
#include <string.h>

#include "base/log.h"
#include "net/http2/h2.h"

#define READS_PER_TURN 8

/* ---- the exchange ---- */

static void begin(struct conn *c)
{
    c->state = CONN_HEAD;
    c->used = true;
    c->x = exchange_new(c->loop->server, c);
    c->x->carrier = &h1_carrier;
    c->x->out = &c->out;
    conn_deadline(c, c->loop->server->limits.header_timeout_ms);
}

/* Nothing more is read for it. A connection that waits or streams holds no more than it needs. */
static void received(struct conn *c)
{
    if (c->state == CONN_HEAD || c->state == CONN_BODY) {
        c->state = CONN_ANSWER;
        conn_deadline(c, 0);
    }
    h1_reset(c->h1, false);
}

void conn_broken(struct conn *c, int status, const char *text)
{
    struct exchange *x = c->x;
    if (!x->pipe) {
        respond_plain(x, status, text);
        return;
    }
    ERR(e); /* its handler runs already: it is the one to know */
    err_set(&e, ERR_BAD_REQUEST, "%s", text);
    e.http_status = status;
    body_pipe_fail(x->pipe, &e);
    c->close_after = true;
    c->state = CONN_ANSWER;
    conn_deadline(c, 0);
}

static int on_head(void *self)
{
    struct conn *c = self;
    struct exchange *x = c->x;
    ERR(e);
    if (exchange_set_h1(x, c->h1, &e) < 0) {
        respond_plain(x, 400, err_text(&e));
        return -1;
    }
    if (!x->keep_alive)
        c->close_after = true;
    c->body_full = false;
    c->state = CONN_BODY;
    enum intake r = intake_head(x, h1_content_length(c->h1), h1_has_body(c->h1));
    if (r == INTAKE_REFUSED)
        intake_dispatch(x);
    if (r != INTAKE_MORE)
        return -1;
    conn_deadline(c, c->loop->server->limits.body_idle_timeout_ms);
    return 0;
}

static int on_body(void *self, const char *p, size_t n)
{
    struct conn *c = self;
    enum intake r = intake_body(c->x, p, n);
    if (r == INTAKE_REFUSED && !c->x->pipe)
        intake_dispatch(c->x);
    if (r == INTAKE_FULL)
        c->body_full = true;
    return r == INTAKE_REFUSED ? -1 : 0;
}

const struct h1_ops conn_h1_ops = {.on_head = on_head, .on_body = on_body};

/* ---- bytes ---- */

static bool parses(const struct conn *c) { return c->state == CONN_IDLE || c->state == CONN_HEAD || c->state == CONN_BODY; }

/* One turn of the parser. */
static size_t parse(struct conn *c, const char *p, size_t n)
{
    size_t used = n;
    bool tls_hello = c->state == CONN_HEAD && !c->listener->tls && p[0] == 0x16 && h1_fields(c->h1) == 0;
    switch (h1_feed(c->h1, p, n, &used)) {
    case H1_MORE:
        if (c->state == CONN_BODY)
            conn_deadline(c, c->body_full ? 0 : c->loop->server->limits.body_idle_timeout_ms);
        break;
    case H1_DONE:
        intake_end(c->x);
        received(c);
        break;
    case H1_STOPPED:
        received(c);
        break;
    case H1_ERROR:
        conn_broken(c, h1_status(c->h1), tls_hello ? "this port speaks plain HTTP, not TLS" : h1_reason(c->h1));
        break;
    }
    return used;
}

bool conn_reads(const struct conn *c)
{
    if (c->peer_eof)
        return false;
    if (c->state == CONN_BODY)
        return !c->body_full;
    if (c->state == CONN_ANSWER)
        return c->x->phase == X_STREAM && c->x->stream.upgraded && !c->x->stream.paused;
    if (c->state == CONN_MULTI)
        return h2_reads(c);
    return parses(c) || c->state == CONN_LINGER;
}

void conn_feed(struct conn *c, const char *p, size_t n)
{
    while (n > 0 && parses(c)) {
        if (c->state == CONN_IDLE) {
            while (n > 0 && (*p == '\r' || *p == '\n')) { /* RFC 9112 2.2: empty lines before a request are ignored */
                p++;
                n--;
            }
            if (n == 0)
                return;
            begin(c);
        }
        size_t used = parse(c, p, n);
        p += used;
        n -= used;
    }
    if (n > 0 && !c->close_after && c->state != CONN_LINGER && c->state != CONN_CLOSED)
        buf_add(&c->in, p, n);
}

/* The first bytes of a plain connection may be the preface of HTTP/2 (prior knowledge, RFC 9113 3.3). False: they are not. */
static bool preface(struct conn *c, const char *p, size_t n)
{
    const size_t all = sizeof H2_PREFACE - 1;
    if (c->used || c->state != CONN_IDLE || c->ssl)
        return false;
    size_t have = c->in.len, cmp = n < all - have ? n : all - have;
    bool same = memcmp(&H2_PREFACE[have], p, cmp) == 0;
    if (!same && !have)
        return false;
    buf_add(&c->in, p, n);
    if (same && c->in.len < all) {
        if (!have)
            conn_deadline(c, c->loop->server->limits.header_timeout_ms);
        return true;
    }
    BUF(in);
    in = c->in;
    c->in = BUF_INIT;
    c->used = true;
    if (same) {
        h2_start(c);
        h2_feed(c, in.data, in.len);
    } else {
        conn_feed(c, in.data, in.len);
    }
    return true;
}

static void take(struct conn *c, const char *p, size_t n)
{
    if (c->state == CONN_LINGER) {
        conn_lingers(c);
    } else if (c->state == CONN_MULTI) {
        h2_feed(c, p, n);
    } else if (preface(c, p, n)) {
        return;
    } else if (c->state == CONN_ANSWER) {
        size_t used = stream_deliver(c, p, n);
        if (used < n && c->state == CONN_ANSWER)
            buf_add(&c->in, p + used, n - used);
    } else {
        conn_feed(c, p, n);
    }
}

/* The end of what the peer sends. A request that is complete has been dispatched: an incomplete one can only be refused. */
static void at_eof(struct conn *c)
{
    c->peer_eof = c->peer_hup = true;
    if (c->state == CONN_MULTI) {
        h2_eof(c);
    } else if (c->state == CONN_ANSWER) {
        stream_peer_eof(c->x);
    } else if (c->state == CONN_HEAD || c->state == CONN_BODY) {
        conn_broken(c, 400, "the connection was closed in the middle of the request");
    } else {
        conn_close(c);
    }
}

void conn_readable(struct conn *c)
{
    for (int i = 0; i < READS_PER_TURN && conn_reads(c); i++) {
        ssize_t n = io_read(c, c->loop->scratch, SCRATCH_BYTES);
        if (n == IO_AGAIN)
            return;
        if (n > 0) {
            take(c, c->loop->scratch, (size_t)n);
        } else if (n == 0) {
            at_eof(c);
        } else {
            conn_close(c);
        }
    }
    /* TLS may hold more than the poll will report. */
    if (c->state != CONN_CLOSED && conn_reads(c) && io_pending(c))
        conn_dirty(c);
}
