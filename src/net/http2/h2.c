/* h2.c - an HTTP/2 connection's life: start, bytes in and out, time, good-byes. */
#define LOG_ROOM "http"
#include "net/http2/h2.h"

#include <stdlib.h>

#include "base/log.h"

/* Frames that cost us and bring nothing (pings, settings, empty data, resets): so many at once, and so many a second. */
#define CALM_BURST 1000
#define CALM_PER_S 100
/* Of a head that was refused the library reads on without a word, for ever. */
#define UNHEARD_MAX  (1 << 20)
#define FLUSH_ROUNDS 16 /* then other connections have their turn */

/* ---- start and end ---- */

static nghttp2_session *new_session(struct h2 *h2)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    nghttp2_session *session;
    ASSERT(nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&option) == 0);
    h2_in_callbacks(cb);
    h2_out_callbacks(cb);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    ASSERT(nghttp2_session_server_new2(&session, cb, h2, option) == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    return session;
}

void h2_start(struct conn *c)
{
    struct h2 *h2 = xcalloc(1, sizeof *h2);
    h2->conn = c;
    LIST_INIT(&h2->streams);
    TAILQ_INIT(&h2->dirty);
    h2->calm = CALM_BURST;
    h2->moved = h2->calm_at = uv_now(&c->loop->uv);
    h2->session = new_session(h2);
    c->h2 = h2;
    c->state = CONN_MULTI;
    h1_free(TAKE(c->h1));
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_MAX_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)c->loop->server->limits.max_header_bytes},
    };
    nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
    nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW);
    conn_deadline(c, c->loop->server->limits.idle_timeout_ms);
    conn_dirty(c);
}

void h2_lost(struct conn *c)
{
    struct h2 *h2 = c->h2;
    struct h2_stream *s, *next;
    for (s = LIST_FIRST(&h2->streams); s; s = LIST_NEXT(s, all))
        exchange_lost(s->x);
    nghttp2_session_del(TAKE(h2->session));
    for (s = LIST_FIRST(&h2->streams); s; s = next) {
        next = LIST_NEXT(s, all);
        s->closed = true;
        h2_release(s);
    }
}

bool h2_is_gone(struct conn *c)
{
    if (c->h2 && (c->h2->session || !LIST_EMPTY(&c->h2->streams)))
        return false;
    free(TAKE(c->h2));
    return true;
}

void h2_release(struct h2_stream *s)
{
    struct h2 *h2 = s->h2;
    if (exchange_is_away(s->x))
        return;
    if (s->is_dirty) {
        TAILQ_REMOVE(&h2->dirty, s, dirty);
        h2->n_dirty--;
    }
    LIST_REMOVE(s, all);
    h2->n_streams--;
    outq_clear(&s->out);
    outq_account(&h2->conn->held, 0, s->head_held);
    buf_free(&s->text);
    free(s->fields);
    exchange_free(s->x);
    free(s);
    if (!h2->session || h2->n_streams)
        return;
    h2->moved = uv_now(&h2->conn->loop->uv); /* idle from now on */
    conn_deadline(h2->conn, h2->conn->loop->server->limits.idle_timeout_ms);
    conn_dirty(h2->conn);
}

/* ---- in ---- */

void h2_feed(struct conn *c, const char *p, size_t n)
{
    struct h2 *h2 = c->h2;
    h2->moved = uv_now(&c->loop->uv);
    ssize_t used = nghttp2_session_mem_recv(h2->session, (const uint8_t *)p, n);
    h2->unheard += n;
    if (used >= 0 && h2->unheard > UNHEARD_MAX) {
        if (loop_may_warn(c->loop))
            log_warn("an HTTP/2 connection was closed: it sent %zu bytes that are part of nothing", h2->unheard);
        used = NGHTTP2_ERR_FLOODED;
    }
    if (used < 0) {
        log_debug("HTTP/2: %s", nghttp2_strerror((int)used));
        nghttp2_session_terminate_session(h2->session,
                                          used == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
        h2->going = true;
        h2_eof(c); /* what it says further is not understood, so that what is half said stays so */
    }
    conn_dirty(c);
}

bool h2_reads(const struct conn *c) { return nghttp2_session_get_outbound_queue_size(c->h2->session) < H2_QUEUE_STOP; }

bool h2_calm(struct h2 *h2, double cost)
{
    uint64_t now = uv_now(&h2->conn->loop->uv);
    h2->calm += (double)(now - h2->calm_at) * CALM_PER_S / 1000;
    h2->calm_at = now;
    if (h2->calm > CALM_BURST)
        h2->calm = CALM_BURST;
    h2->calm -= cost;
    if (h2->calm >= 0)
        return true;
    if (loop_may_warn(h2->conn->loop))
        log_warn("an HTTP/2 connection was closed: it sent frames that only make work, faster than %d a second", CALM_PER_S);
    return false;
}

/* A half-closed client still gets its answers, as on HTTP/1.1; whoever was reading an endless one has no further use for it, and
 * what was not sent in whole never will be. */
void h2_eof(struct conn *c)
{
    struct h2 *h2 = c->h2;
    c->peer_eof = c->peer_hup = true;
    for (struct h2_stream *s = LIST_FIRST(&h2->streams); s; s = LIST_NEXT(s, all)) {
        bool endless = s->x->phase == X_STREAM && !s->x->stream.ended;
        if (s->x->phase != X_LOST && (endless || s->receiving))
            s->x->carrier->cut(s->x);
    }
    conn_dirty(c);
}

/* ---- out ---- */

void h2_dirty(struct h2_stream *s)
{
    if (!s->is_dirty) {
        s->is_dirty = true;
        TAILQ_INSERT_TAIL(&s->h2->dirty, s, dirty);
        s->h2->n_dirty++;
    }
    conn_dirty(s->h2->conn);
}

/* Those that are dirty now; who gets dirty meanwhile has the next round. */
static void streams_changed(struct h2 *h2)
{
    for (size_t n = h2->n_dirty; n > 0; n--) {
        struct h2_stream *s = TAILQ_FIRST(&h2->dirty);
        TAILQ_REMOVE(&h2->dirty, s, dirty);
        h2->n_dirty--;
        s->is_dirty = false;
        if (s->x->phase != X_LOST)
            respond_drained(s->x);
        if (s->deferred && !s->closed && h2_has_output(s)) {
            s->deferred = false;
            nghttp2_session_resume_data(h2->session, s->id);
        }
    }
}

/* Frames of what the streams have, as long as not too much waits for the socket. */
static bool pull(struct h2 *h2)
{
    struct conn *c = h2->conn;
    while (c->out.bytes < H2_OUT_MARK) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h2->session, &p);
        if (n < 0)
            log_debug("HTTP/2: %s", nghttp2_strerror((int)n));
        if (n <= 0)
            return n == 0;
        outq_add(&c->out, p, (size_t)n);
    }
    return true;
}

/* The next time that something may have stood still for too long; 0: nothing can. */
static int64_t next_due(const struct conn *c)
{
    const struct h2 *h2 = c->h2;
    const struct server_limits *l = &c->loop->server->limits;
    if (!h2->n_streams)
        return l->idle_timeout_ms;
    int64_t due = c->out.bytes ? l->write_timeout_ms : 0;
    for (const struct h2_stream *s = LIST_FIRST(&h2->streams); s; s = LIST_NEXT(s, all)) {
        int64_t ms = s->x->phase == X_LOST ? 0
                     : s->answered         ? LINGER_MS
                     : s->receiving        ? l->body_idle_timeout_ms
                     : s->out.bytes        ? l->write_timeout_ms
                                           : 0;
        if (ms && (!due || ms < due))
            due = ms;
    }
    return due;
}

/* Unless the timer goes early enough for whatever may have begun. */
static void arm(struct conn *c)
{
    const struct server_limits *l = &c->loop->server->limits;
    int64_t least = l->body_idle_timeout_ms < l->write_timeout_ms ? l->body_idle_timeout_ms : l->write_timeout_ms;
    least = least < LINGER_MS ? least : LINGER_MS;
    uint64_t now = uv_now(&c->loop->uv);
    if (c->deadline && c->deadline <= now + (uint64_t)least)
        return;
    int64_t due = next_due(c);
    if (due && (!c->deadline || c->deadline > now + (uint64_t)due))
        conn_deadline(c, due);
}

/* Who has shut its side opens no window any more: what waits for one would wait until its time is over. */
static void cut_stuck(struct h2 *h2)
{
    bool shut = nghttp2_session_get_remote_window_size(h2->session) <= 0;
    for (struct h2_stream *s = LIST_FIRST(&h2->streams); s; s = LIST_NEXT(s, all))
        if (s->x->phase != X_LOST && !s->closed && s->out.bytes &&
            (shut || nghttp2_session_get_stream_remote_window_size(h2->session, s->id) <= 0))
            s->x->carrier->cut(s->x);
}

static void ended(struct conn *c)
{
    struct h2 *h2 = c->h2;
    bool nothing_left = !nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session);
    bool all_said = h2->n_streams == 0 && (h2->going || c->peer_eof);
    if (!c->out.bytes && (nothing_left || all_said))
        conn_linger(c);
}

void h2_flush(struct conn *c)
{
    struct h2 *h2 = c->h2;
    for (int round = 0; round < FLUSH_ROUNDS; round++) {
        streams_changed(h2);
        if (!pull(h2)) {
            conn_close(c);
            return;
        }
        size_t before = c->out.bytes;
        if (!before && !h2->n_dirty)
            break;
        if (!conn_send(c))
            return;
        if (c->out.bytes < before)
            h2->moved = uv_now(&c->loop->uv);
        if (c->out.bytes)
            break;
    }
    if (c->peer_eof && !c->out.bytes)
        cut_stuck(h2);
    if ((h2->n_dirty || !h2_reads(c)) && !c->out.bytes)
        conn_dirty(c);
    ended(c);
    if (c->state == CONN_MULTI)
        arm(c);
}

/* ---- time ---- */

static void check_stream(struct h2_stream *s, uint64_t now)
{
    struct exchange *x = s->x;
    const struct server_limits *l = &x->server->limits;
    if (x->phase == X_LOST)
        return;
    if (s->answered) {
        if (now - s->moved >= LINGER_MS || now - s->answered >= LINGER_MAX_MS)
            nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
        return;
    }
    bool waits = x->phase == X_RECEIVING || (x->pipe && x->phase == X_HANDLING && !body_pipe_full(x->pipe));
    if (s->receiving && waits && now - s->moved >= (uint64_t)l->body_idle_timeout_ms) {
        if (x->pipe)
            intake_stalled(x);
        else
            respond_plain(x, 408, "the body of the request did not arrive in time");
    } else if (s->out.bytes && now - s->moved >= (uint64_t)l->write_timeout_ms) {
        nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        exchange_lost(x);
        outq_clear(&s->out);
    }
}

void h2_timer(struct conn *c)
{
    struct h2 *h2 = c->h2;
    const struct server_limits *l = &c->loop->server->limits;
    uint64_t now = uv_now(&c->loop->uv);
    c->deadline = 0;
    if (c->out.bytes && now - h2->moved >= (uint64_t)l->write_timeout_ms) {
        conn_close(c);
        return;
    }
    if (!h2->n_streams && now - h2->moved >= (uint64_t)l->idle_timeout_ms)
        h2_go(h2, NGHTTP2_NO_ERROR);
    for (struct h2_stream *s = LIST_FIRST(&h2->streams); s; s = LIST_NEXT(s, all))
        check_stream(s, now);
    conn_dirty(c);
    /* Not the whole time again: what began in between is due earlier. */
    int64_t due = next_due(c);
    conn_deadline(c, due > 4 ? due / 4 : due);
}

/* ---- good-byes ---- */

void h2_go(struct h2 *h2, uint32_t code)
{
    if (h2->going)
        return;
    h2->going = true;
    nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h2->session), code, NULL, 0);
    conn_dirty(h2->conn);
}

void h2_stop(struct conn *c)
{
    struct h2 *h2 = c->h2;
    h2_go(h2, NGHTTP2_NO_ERROR);
    for (struct h2_stream *s = LIST_FIRST(&h2->streams); s; s = LIST_NEXT(s, all)) {
        if (s->x->phase == X_STREAM)
            stream_stop(&s->x->stream);
        if (s->answered)
            nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
    }
}
