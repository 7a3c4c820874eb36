/* conn.c - a connection's life: open, time-outs, flushing, the next request, the end. The states are in internal.h. */
#define LOG_ROOM "http"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "net/http2/h2.h"
#include "net/tls.h"

static void on_poll(uv_poll_t *h, int status, int events);
static void on_timer(uv_timer_t *t);

/* ---- opening ---- */

static bool is_loopback(const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)ss)->sin_addr.s_addr) >> 24 == 127;
    if (ss->ss_family != AF_INET6)
        return ss->ss_family == AF_UNIX;
    const struct in6_addr *a = &((const struct sockaddr_in6 *)ss)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

static void read_peer(struct conn *c)
{
    struct http_peer *p = &c->peer;
    socklen_t n = sizeof p->remote;
    getpeername(c->fd, (struct sockaddr *)&p->remote, &n);
    n = sizeof p->local;
    getsockname(c->fd, (struct sockaddr *)&p->local, &n);
    p->tls = c->listener->tls != NULL;
    p->loopback = is_loopback(&p->remote) && is_loopback(&p->local);
    if (p->local.ss_family == AF_INET) {
        inet_ntop(AF_INET, &((struct sockaddr_in *)&p->local)->sin_addr, c->local_ip, sizeof c->local_ip);
    } else if (p->local.ss_family == AF_INET6) {
        struct in6_addr *a = &((struct sockaddr_in6 *)&p->local)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(a))
            inet_ntop(AF_INET, a->s6_addr + 12, c->local_ip, sizeof c->local_ip);
        else
            inet_ntop(AF_INET6, a, c->local_ip, sizeof c->local_ip);
    }
}

static bool start_tls(struct conn *c)
{
    ERR(e);
    c->ssl = SSL_new(c->listener->tls);
    if (!c->ssl || tls_attach(c->ssl, c->fd, &e) < 0) {
        log_warn("a connection was closed: %s", err_text(&e));
        return false;
    }
    SSL_set_accept_state(c->ssl);
    return true;
}

void conn_open(struct loop *l, struct listener *ln, int fd)
{
    struct http_server *s = l->server;
    struct conn *c = xcalloc(1, sizeof *c);
    c->loop = l;
    c->listener = ln;
    c->fd = fd;
    c->held.total = &s->held_bytes;
    c->out.account = &c->held;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    read_peer(c);
    if (uv_poll_init(&l->uv, &c->poll, fd) < 0) {
        close(fd);
        free(c);
        atomic_fetch_sub(&s->n_conns, 1);
        return;
    }
    uv_timer_init(&l->uv, &c->timer);
    c->poll.data = c->timer.data = c;
    c->handles = 2;
    const struct h1_limits limits = {
        .max_bytes = s->limits.max_header_bytes, .max_url = s->limits.max_header_bytes / 2, .max_fields = s->limits.max_headers};
    c->h1 = h1_request_new(&limits, &conn_h1_ops, c);
    LIST_INSERT_HEAD(&l->conns, c, all);
    c->state = ln->tls ? CONN_HANDSHAKE : CONN_IDLE;
    if ((ln->tls && !start_tls(c)) || l->stopping) {
        conn_close(c);
        return;
    }
    conn_deadline(c, ln->tls ? s->limits.header_timeout_ms : s->limits.idle_timeout_ms);
    conn_update(c);
}

bool conn_may_hold(const struct conn *c, size_t n)
{
    const struct http_server *s = c->loop->server;
    if (c->held.held + n <= HELD_SMALL)
        return true;
    if (atomic_load_explicit(&s->held_bytes, memory_order_relaxed) > s->limits.max_held)
        return false;
    return n <= HELD_SMALL || c->held.held <= s->limits.max_held_connection;
}

/* ---- closing ---- */

static void free_when_done(struct conn *c)
{
    if (c->handles || (c->x && exchange_is_away(c->x)) || !h2_is_gone(c))
        return;
    struct loop *l = c->loop;
    exchange_free(c->x);
    LIST_REMOVE(c, all);
    arena_free(&c->certs);
    free(c);
    loop_maybe_finish(l);
}

static void on_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    c->handles--;
    free_when_done(c);
}

/* The exchange came back from a worker, or a chunk of a file did, after the connection was closed. */
void conn_reap(struct conn *c)
{
    ASSERT(c->state == CONN_CLOSED);
    free_when_done(c);
}

void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    if (c->x)
        exchange_lost(c->x);
    if (c->h2 && c->h2->session)
        h2_lost(c);
    c->state = CONN_CLOSED;
    if (c->is_dirty)
        TAILQ_REMOVE(&c->loop->dirty, c, dirty);
    c->is_dirty = false;
    uv_close((uv_handle_t *)&c->poll, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
    SSL_free(TAKE(c->ssl));
    close(c->fd);
    c->fd = -1;
    outq_clear(&c->out);
    buf_free(&c->in);
    h1_free(TAKE(c->h1));
    atomic_fetch_sub(&c->loop->server->n_conns, 1);
}

/* Our last byte is out. Closing now, with bytes of the peer unread, would reset the connection, and the peer might lose our
 * answer: so only our side is shut, until the peer has closed its own or enough time is over. */
void conn_linger(struct conn *c)
{
    if (c->h2)
        h2_lost(c);
    io_shutdown(c);
    if (c->peer_eof) {
        conn_close(c);
        return;
    }
    c->state = CONN_LINGER;
    buf_free(&c->in);
    c->linger_end = uv_now(&c->loop->uv) + (c->loop->stopping ? LINGER_STOP_MS : LINGER_MAX_MS);
    conn_lingers(c);
}

void conn_lingers(struct conn *c)
{
    uint64_t now = uv_now(&c->loop->uv);
    int64_t left = (int64_t)(c->linger_end - now);
    if (now >= c->linger_end)
        conn_close(c);
    else
        conn_deadline(c, left < LINGER_MS ? left : LINGER_MS);
}

void conn_next(struct conn *c)
{
    struct loop *l = c->loop;
    exchange_free(TAKE(c->x));
    if (c->close_after || l->stopping) {
        conn_linger(c);
        return;
    }
    c->state = CONN_IDLE;
    conn_deadline(c, l->server->limits.idle_timeout_ms);
    if (c->in.len) {
        BUF(in);
        in = c->in;
        c->in = BUF_INIT;
        conn_feed(c, in.data, in.len);
    }
}

void conn_stop(struct conn *c)
{
    c->close_after = true;
    switch (c->state) {
    case CONN_HANDSHAKE:
    case CONN_IDLE:
        conn_close(c);
        break;
    case CONN_ANSWER:
        if (c->x->phase == X_STREAM)
            stream_stop(&c->x->stream);
        break; /* the request under way is answered */
    case CONN_MULTI:
        h2_stop(c);
        break;
    case CONN_LINGER:
        c->linger_end = uv_now(&c->loop->uv) + LINGER_STOP_MS;
        conn_lingers(c);
        break;
    default:
        break;
    }
}

/* ---- time ---- */

/* Deadlines move with each byte, the timer only when it fires: it finds that it was too early and sleeps again. */
void conn_deadline(struct conn *c, int64_t ms)
{
    if (c->state == CONN_CLOSED)
        return;
    uint64_t now = uv_now(&c->loop->uv);
    c->deadline = ms > 0 ? now + (uint64_t)ms : 0;
    if (!c->deadline || (c->timer_due && c->timer_due <= c->deadline))
        return;
    c->timer_due = c->deadline;
    uv_timer_start(&c->timer, on_timer, (uint64_t)ms, 0);
}

static void timed_out(struct conn *c)
{
    switch (c->state) {
    case CONN_HEAD:
        conn_broken(c, 408, "the header of the request did not arrive in time");
        break;
    case CONN_BODY:
        conn_broken(c, 408, "the body of the request did not arrive in time");
        break;
    case CONN_MULTI:
        h2_timer(c);
        break;
    default:
        conn_close(c);
        return;
    }
}

static void on_timer(uv_timer_t *t)
{
    struct conn *c = t->data;
    c->timer_due = 0;
    if (!c->deadline)
        return;
    uint64_t now = uv_now(&c->loop->uv);
    if (now >= c->deadline) {
        timed_out(c);
        return;
    }
    c->timer_due = c->deadline;
    uv_timer_start(&c->timer, on_timer, c->deadline - now, 0);
}

/* ---- readiness ---- */

void conn_update(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    int mask = 0;
    if (c->state == CONN_HANDSHAKE || conn_reads(c))
        mask |= UV_READABLE;
    else if (!c->peer_hup)
        mask |= UV_DISCONNECT; /* a client that goes away while it waits */
    if (c->out.bytes || c->tls_wants_write)
        mask |= UV_WRITABLE;
    if (mask == c->poll_mask)
        return;
    c->poll_mask = mask;
    if (mask)
        uv_poll_start(&c->poll, mask, on_poll);
    else
        uv_poll_stop(&c->poll);
}

static void handshake(struct conn *c)
{
    static const char plain[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
                                "This port speaks HTTPS; the request was plain HTTP.\n";
    int rc = io_handshake(c);
    if (rc == IO_AGAIN)
        return;
    if (rc < 0) {
        if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_HTTP_REQUEST)
            (void)!send(c->fd, plain, sizeof plain - 1, MSG_NOSIGNAL);
        log_debug("TLS handshake: %s", ERR_reason_error_string(ERR_peek_last_error()));
        conn_close(c);
        return;
    }
    tls_peer_names(c->ssl, &c->certs, &c->peer.cert_cn, &c->peer.cert_orgs);
    c->state = CONN_IDLE;
    conn_deadline(c, c->loop->server->limits.idle_timeout_ms);
    if (tls_chose_h2(c->ssl))
        h2_start(c);
}

/* The peer has closed its side (or all of it) while we do not read. A half-closed client still gets its answer; who was
 * reading an endless stream has no further use for it. */
static void peer_gone(struct conn *c)
{
    struct pollfd pfd = {.fd = c->fd};
    bool dead = poll(&pfd, 1, 0) == 1 && pfd.revents & (POLLHUP | POLLERR);
    c->peer_hup = true;
    bool listening = c->state == CONN_ANSWER && c->x->phase == X_STREAM && !c->x->stream.upgraded && !c->x->stream.ended;
    if (dead || listening)
        conn_close(c);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct conn *c = h->data;
    if (status < 0) { /* reset; libuv has stopped polling */
        conn_close(c);
        return;
    }
    if (c->state == CONN_HANDSHAKE) {
        c->tls_wants_write = false;
        handshake(c);
        events = UV_READABLE; /* the first request may have come with the last flight */
    }
    if (events & UV_WRITABLE && c->state != CONN_CLOSED) {
        c->tls_wants_write = false;
        conn_flush(c);
    }
    if (c->state != CONN_CLOSED && conn_reads(c) && events & (UV_READABLE | UV_WRITABLE))
        conn_readable(c);
    else if (events & UV_DISCONNECT && c->state != CONN_CLOSED)
        peer_gone(c);
    conn_update(c);
}

/* ---- writing ---- */

void conn_dirty(struct conn *c)
{
    if (c->is_dirty || c->state == CONN_CLOSED)
        return;
    c->is_dirty = true;
    TAILQ_INSERT_TAIL(&c->loop->dirty, c, dirty);
}

/* Sends what the kernel takes. Returns false when the connection was closed. */
bool conn_send(struct conn *c)
{
    bool progress = false;
    while (c->out.bytes) {
        ssize_t n = io_write(c);
        if (n == IO_AGAIN)
            break;
        if (n <= 0) {
            conn_close(c);
            return false;
        }
        progress = true;
    }
    bool sending = c->state == CONN_ANSWER && (c->x->phase == X_SENDING || c->x->phase == X_STREAM);
    if (!c->out.bytes && sending)
        conn_deadline(c, 0);
    else if (sending && (progress || !c->deadline))
        conn_deadline(c, c->loop->server->limits.write_timeout_ms);
    return true;
}

/* Ends when the queue cannot be sent now, or nothing is left to do: an answer that is out makes room for a pipelined request. */
void conn_flush(struct conn *c)
{
    if (c->flushing || c->state == CONN_CLOSED)
        return;
    c->flushing = true;
    if (c->state == CONN_MULTI)
        h2_flush(c);
    else if (c->state == CONN_ANSWER && c->x->phase == X_STREAM && c->x->stream.aborted)
        conn_close(c);
    else if (conn_send(c) && c->state == CONN_ANSWER)
        respond_drained(c->x);
    c->flushing = false;
    /* TLS may hold bytes that the poll does not report: those of the next request. */
    if (c->state != CONN_CLOSED && io_pending(c) && conn_reads(c))
        conn_readable(c);
}
