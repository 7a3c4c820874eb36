/* h2_out.c - how HTTP/2 carries an answer: the head as fields, the body as the client's window lets it through. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "net/http2/h2.h"

static struct h2_stream *of(const struct exchange *x) { return x->carried; }

/* ---- the body ---- */

static bool all_said(const struct exchange *x) { return x->all_queued || (x->phase == X_STREAM && x->stream.ended); }

bool h2_has_output(const struct h2_stream *s) { return s->out.bytes || all_said(s->x); }

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                        nghttp2_data_source *source, void *self)
{
    struct h2_stream *s = source->ptr;
    if (s->x->phase == X_LOST || !h2_has_output(s)) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = outq_take(&s->out, buf, len);
    if (n) {
        s->moved = uv_now(&s->h2->conn->loop->uv);
        h2_dirty(s); /* there is room again */
    }
    if (!s->out.bytes && all_said(s->x))
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* An answer that did not wait for the whole request is complete, and the rest of the request is not wanted (RFC 9113 8.1). There
 * are clients (curl 7.88) that lose the answer when the stream is reset while they send: so it lingers, as a connection of
 * HTTP/1.1 does, and what still comes is dropped. */
static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *self)
{
    if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s || !s->receiving)
        return 0;
    s->answered = s->moved = uv_now(&s->h2->conn->loop->uv);
    if (s->h2->going)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
    return 0;
}

void h2_out_callbacks(nghttp2_session_callbacks *cb) { nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent); }

/* ---- the head ---- */

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)name, .value = (uint8_t *)value, .namelen = strlen(name), .valuelen = strlen(value)};
}

static bool of_connection(const char *name)
{
    static const char *const names[] = {"upgrade", "keep-alive", "proxy-connection", "te"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return header_is_ours(name);
}

static char *lower(struct arena *a, const char *s)
{
    char *copy = arena_strdup(a, s);
    for (char *c = copy; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c += 'a' - 'A';
    return copy;
}

static size_t fields_of(struct exchange *x, int64_t length, nghttp2_nv *nv)
{
    struct http_res *res = &x->res;
    struct arena *a = &x->arena;
    size_t n = 0;
    nv[n++] = field(":status", arena_printf(a, "%d", res->status));
    nv[n++] = field("audit-id", x->req.request_id);
    for (size_t i = 0; i < res->n_headers; i++)
        if (!of_connection(res->headers[i].name))
            nv[n++] = field(lower(a, res->headers[i].name), res->headers[i].value);
    if (res->content_type && !res_header(res, "Content-Type"))
        nv[n++] = field("content-type", res->content_type);
    nv[n++] = field("date", loop_date(x->conn->loop));
    if (length >= 0)
        nv[n++] = field("content-length", arena_printf(a, "%" PRId64, length));
    return n;
}

static void reset(struct h2_stream *s, uint32_t code)
{
    nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, code);
    exchange_lost(s->x);
    outq_clear(&s->out);
    conn_dirty(s->h2->conn);
}

static void head(struct exchange *x, int64_t length)
{
    struct h2_stream *s = of(x);
    if (x->res.upgrade) {
        reset(s, NGHTTP2_HTTP_1_1_REQUIRED);
        return;
    }
    nghttp2_nv *nv = arena_alloc(&x->arena, (x->res.n_headers + 5) * sizeof *nv);
    size_t n = fields_of(x, length, nv);
    bool body = length != BODY_NONE && length != 0 && x->req.method != HTTP_HEAD;
    nghttp2_data_provider provider = {.source.ptr = s, .read_callback = read_out};
    nghttp2_submit_response(s->h2->session, s->id, nv, n, body ? &provider : NULL);
    s->moved = uv_now(&x->conn->loop->uv);
}

static void go_on(struct exchange *x)
{
    struct h2_stream *s = of(x);
    const nghttp2_nv status = field(":status", "100");
    nghttp2_submit_headers(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, &status, 1, NULL);
    conn_dirty(x->conn);
}

/* ---- the rest ---- */

static void changed(struct exchange *x)
{
    struct h2_stream *s = of(x);
    if (!s->out.bytes || s->deferred) /* time runs for the client from its first byte on */
        s->moved = uv_now(&x->conn->loop->uv);
    h2_dirty(s);
}

static void room(struct exchange *x)
{
    struct h2_stream *s = of(x);
    size_t n = body_pipe_taken(x->pipe);
    if (s->closed || !n)
        return;
    nghttp2_session_consume_stream(s->h2->session, s->id, n);
    s->moved = uv_now(&x->conn->loop->uv);
    conn_dirty(x->conn);
}

static void last(struct exchange *x) {} /* see on_frame_sent */
static void cut(struct exchange *x) { reset(of(x), NGHTTP2_INTERNAL_ERROR); }

static void over(struct exchange *x)
{
    struct h2_stream *s = of(x);
    if (s->deferred && !s->closed) {
        s->deferred = false;
        nghttp2_session_resume_data(s->h2->session, s->id);
    }
}

static void reap(struct exchange *x)
{
    struct h2_stream *s = of(x);
    struct conn *c = x->conn;
    if (!s->closed) /* reset by us, and nghttp2 has not sent that yet */
        return;
    h2_release(s);
    if (c->state == CONN_CLOSED)
        conn_reap(c);
}

const struct carrier h2_carrier = {
    .head = head,
    .go_on = go_on,
    .changed = changed,
    .room = room,
    .last = last,
    .cut = cut,
    .over = over,
    .reap = reap,
};
