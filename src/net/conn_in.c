/* conn_in.c - from bytes to an exchange that a worker has: reading, limits, what is refused before routing, the body. */
#define LOG_ROOM "http"
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "net/internal.h"

#define READS_PER_TURN 8

/* ---- refusing ---- */

/* The API's own error, written by a worker; the rest of the body is not read. */
static int refuse_by_api(struct conn *c, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int refuse_by_api(struct conn *c, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(&c->x->refusal, code, fmt, ap);
    va_end(ap);
    c->close_after = true;
    return -1;
}

static int refuse_plain(struct conn *c, int status, const char *text)
{
    respond_plain(c, status, text);
    return -1;
}

/* ---- the head ---- */

static const struct mounted *find_mount(const struct listener *ln, const char *path)
{
    for (size_t i = 0; i < ln->n_mounts; i++) {
        const struct mounted *m = &ln->mounts[i];
        if (strncmp(path, m->prefix, m->len) == 0 && (path[m->len] == '/' || path[m->len] == '\0'))
            return m;
    }
    return NULL;
}

/* Finds the API and the route, so that the body's limit is known before the body is read. */
static int route(struct conn *c)
{
    struct exchange *x = c->x;
    struct http_req *r = &x->req;
    const struct mounted *m = find_mount(c->listener, r->path);
    if (!m)
        return refuse_plain(c, 404, "nothing is served at this path");
    if (m->strip)
        r->path = r->path[m->len] ? r->path + m->len : "/";
    x->table = m->table;
    x->found = route_match(m->table->routes, r->method, r->path, &x->match);
    size_t dflt = m->table->api->max_body ? m->table->api->max_body : DEFAULT_BODY;
    x->max_body = x->found == ROUTE_FOUND && x->match.route->max_body ? x->match.route->max_body : dflt;
    if (x->found == ROUTE_FOUND)
        r->route = x->match.route;
    return 0;
}

static int defend(struct conn *c)
{
    struct exchange *x = c->x;
    const char *host = http_header_get(&x->req, "host");
    if (!host_allowed(&c->listener->hosts, host, c->local_ip[0] ? c->local_ip : NULL))
        return refuse_plain(c, 421, "this server is not known by the name that the Host field gives");
    if (c->listener->check_browser) {
        const char *why = browser_refuses(&x->req);
        if (why)
            return refuse_plain(c, 403, why);
    }
    return 0;
}

static int expect(struct conn *c)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct exchange *x = c->x;
    const char *value = http_header_get(&x->req, "expect");
    if (!value || x->http10)
        return 0;
    if (strcasecmp(value, "100-continue") != 0)
        return refuse_plain(c, 417, "the only expectation that is met here is 100-continue");
    if (!h1_has_body(c->h1))
        return 0;
    if (x->found != ROUTE_FOUND) { /* the client waits before it sends: spare it the body */
        c->close_after = true;
        return -1;
    }
    outq_add(&c->out, go_on, sizeof go_on - 1);
    conn_dirty(c);
    return 0;
}

static int on_head(void *self)
{
    struct conn *c = self;
    struct exchange *x = c->x;
    ERR(e);
    if (exchange_set_head(x, c->h1, &e) < 0)
        return refuse_plain(c, 400, err_text(&e));
    x->req.peer = &c->peer;
    if (!x->keep_alive)
        c->close_after = true;
    if (defend(c) < 0 || route(c) < 0)
        return -1;
    int64_t length = h1_content_length(c->h1);
    if (length > 0 && (uint64_t)length > x->max_body)
        return refuse_by_api(c, ERR_TOO_LARGE, "the request body has %" PRId64 " bytes, the limit here is %zu", length,
                             x->max_body);
    if (expect(c) < 0)
        return -1;
    c->state = CONN_BODY;
    conn_deadline(c, c->loop->server->limits.body_idle_timeout_ms);
    return 0;
}

/* ---- the body ---- */

void conn_body_uncharge(struct conn *c)
{
    if (c->x && c->x->body_charged)
        atomic_fetch_sub(&c->loop->server->body_bytes, c->x->body_charged);
    if (c->x)
        c->x->body_charged = 0;
}

static int on_body(void *self, const char *p, size_t n)
{
    struct conn *c = self;
    struct exchange *x = c->x;
    struct http_server *s = c->loop->server;
    if (n > x->max_body - x->body.len)
        return refuse_by_api(c, ERR_TOO_LARGE, "the request body has more than %zu bytes, the limit here", x->max_body);
    if (atomic_fetch_add(&s->body_bytes, n) + n > s->limits.max_body_in_flight) {
        atomic_fetch_sub(&s->body_bytes, n);
        refuse_by_api(c, ERR_UNAVAILABLE, "too many large requests are under way; try again in a moment");
        x->refusal.retry_after_s = 1;
        return -1;
    }
    x->body_charged += n;
    buf_add(&x->body, p, n);
    return 0;
}

const struct h1_ops conn_h1_ops = {.on_head = on_head, .on_body = on_body};

/* ---- to a worker and back ---- */

static void on_answered(struct loop *l, struct post *p)
{
    struct exchange *x = CONTAINER_OF(p, struct exchange, post);
    struct conn *c = x->conn;
    c->busy = false;
    if (c->state == CONN_CLOSED) {
        conn_reap(c);
        return;
    }
    respond(c);
    conn_update(c);
}

static void work(void *arg)
{
    struct exchange *x = arg;
    struct loop *l = x->conn->loop;
    if (cancel_begin(x)) {
        exchange_run(x);
        respond_read_first(x);
        cancel_end(x);
    }
    loop_post(l, &x->post);
}

static void dispatch(struct conn *c)
{
    struct exchange *x = c->x;
    struct loop *l = c->loop;
    c->state = CONN_HANDLING;
    conn_deadline(c, 0);
    h1_reset(c->h1, false); /* a connection that waits or streams holds no more than it needs */
    x->post.fn = on_answered;
    c->busy = true;
    if (!pool_submit(l->server->workers, work, x)) {
        c->busy = false;
        respond_plain(c, 503, "the server is overloaded or stopping; try again in a moment");
    }
}

/* ---- bytes ---- */

static void begin(struct conn *c)
{
    c->state = CONN_HEAD;
    c->x = exchange_new(c->loop->server, c);
    conn_deadline(c, c->loop->server->limits.header_timeout_ms);
}

static bool parses(const struct conn *c) { return c->state == CONN_IDLE || c->state == CONN_HEAD || c->state == CONN_BODY; }

/* One turn of the parser. */
static size_t parse(struct conn *c, const char *p, size_t n)
{
    size_t used = n;
    bool tls_hello = c->state == CONN_HEAD && !c->listener->tls && p[0] == 0x16 && h1_fields(c->h1) == 0;
    switch (h1_feed(c->h1, p, n, &used)) {
    case H1_MORE:
        if (c->state == CONN_BODY)
            conn_deadline(c, c->loop->server->limits.body_idle_timeout_ms);
        break;
    case H1_DONE:
        dispatch(c);
        break;
    case H1_STOPPED:
        if (parses(c)) /* the API has something to say about it */
            dispatch(c);
        break;
    case H1_ERROR:
        respond_plain(c, h1_status(c->h1), tls_hello ? "this port speaks plain HTTP, not TLS" : h1_reason(c->h1));
        break;
    }
    return used;
}

bool conn_reads(const struct conn *c)
{
    if (c->peer_eof)
        return false;
    return parses(c) || c->state == CONN_LINGER || (c->state == CONN_STREAM && c->x->stream.upgraded && !c->x->stream.paused);
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

static void take(struct conn *c, const char *p, size_t n)
{
    if (c->state == CONN_LINGER) {
        conn_lingers(c);
    } else if (c->state == CONN_STREAM) {
        size_t used = stream_deliver(c, p, n);
        if (used < n && c->state == CONN_STREAM)
            buf_add(&c->in, p + used, n - used);
    } else {
        conn_feed(c, p, n);
    }
}

/* The end of what the peer sends. A request that is complete has been dispatched: an incomplete one can only be refused. */
static void at_eof(struct conn *c)
{
    c->peer_eof = c->peer_hup = true;
    if (c->state == CONN_STREAM) {
        stream_peer_eof(c);
    } else if (c->state == CONN_HEAD || c->state == CONN_BODY) {
        respond_plain(c, 400, "the connection was closed in the middle of the request");
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
