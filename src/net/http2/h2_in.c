/* h2_in.c - HTTP/2 from frames to exchanges: heads, bodies, and what is too much of them. nghttp2 has checked the syntax: pseudo
 * fields are there once and first, names are in lower case, no field is one of a connection, the body is as long as was said. */
#define LOG_ROOM "http"
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/http2/h2.h"

#define FIELD_COST  32 /* RFC 9113 6.5.2: what each field adds to the size of a head */
#define BOMB_FACTOR 4  /* a head of so many times the limit is no mistake */

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* ---- heads ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *self)
{
    struct h2 *h2 = self;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (h2->n_streams >= H2_MAX_STREAMS || h2->going || !conn_may_hold(h2->conn, 0)) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    struct h2_stream *s = xcalloc(1, sizeof *s);
    s->h2 = h2;
    s->id = frame->hd.stream_id;
    s->receiving = true;
    s->moved = uv_now(&h2->conn->loop->uv);
    s->x = exchange_new(h2->conn->loop->server, h2->conn);
    s->x->carrier = &h2_carrier;
    s->x->carried = s;
    s->x->out = &s->out;
    s->out.account = &h2->conn->held;
    LIST_INSERT_HEAD(&h2->streams, s, all);
    h2->n_streams++;
    nghttp2_session_set_stream_user_data(session, s->id, s);
    return 0;
}

static void add_field(struct h2_stream *s, const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len)
{
    if (s->n_fields == s->cap_fields) {
        s->cap_fields = s->cap_fields ? s->cap_fields * 2 : 16;
        s->fields = xreallocarray(s->fields, s->cap_fields, sizeof *s->fields);
    }
    struct h2_field *f = &s->fields[s->n_fields++];
    f->name = s->text.len;
    buf_add(&s->text, name, name_len);
    buf_addc(&s->text, '\0');
    f->value = s->text.len;
    buf_add(&s->text, value, value_len);
    buf_addc(&s->text, '\0');
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *self)
{
    struct h2 *h2 = self;
    const struct server_limits *l = &h2->conn->loop->server->limits;
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    if (!s)
        return 0;
    s->head_bytes += name_len + value_len + FIELD_COST;
    if (s->head_bytes > BOMB_FACTOR * l->max_header_bytes) {
        if (loop_may_warn(h2->conn->loop))
            log_warn("an HTTP/2 connection was closed: a head is far beyond the limit of %zu bytes", l->max_header_bytes);
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) /* trailers are counted and dropped */
        return 0;
    s->too_large |= s->head_bytes > l->max_header_bytes || s->n_fields >= l->max_headers + 4; /* 4 pseudo fields */
    if (s->too_large)
        return 0; /* answered with 431 once it is there */
    add_field(s, name, name_len, value, value_len);
    return 0;
}

/* Puts the head together: pseudo fields apart, and what was cut up of Cookie (RFC 9113 8.2.3) joined again. */
static void collect(struct h2_stream *s, struct head *head, struct http_header *fields, struct buf *cookie)
{
    const char *text = buf_str(&s->text);
    for (size_t i = 0; i < s->n_fields; i++) {
        const char *name = text + s->fields[i].name, *value = text + s->fields[i].value;
        if (strcmp(name, ":method") == 0)
            head->method = value;
        else if (strcmp(name, ":path") == 0)
            head->target = value;
        else if (strcmp(name, ":authority") == 0)
            head->host = value;
        else if (strcmp(name, "cookie") == 0)
            buf_addf(cookie, "%s%s", cookie->len ? "; " : "", value);
        else if (name[0] != ':')
            fields[head->n_headers++] = (struct http_header){name, value};
    }
    if (cookie->len)
        fields[head->n_headers++] = (struct http_header){"cookie", buf_str(cookie)};
}

static void take_head(struct h2_stream *s)
{
    struct exchange *x = s->x;
    AUTOFREE struct http_header *fields = xcalloc(s->n_fields + 2, sizeof *fields);
    BUF(cookie);
    struct head head = {.method = "", .target = "", .headers = fields, .keep_alive = true};
    collect(s, &head, fields, &cookie);
    ERR(e);
    int rc = exchange_set_head(x, &head, &e);
    outq_account(&s->h2->conn->held, s->head_bytes, 0);
    s->head_held = s->head_bytes;
    buf_free(&s->text);
    free(TAKE(s->fields));
    s->n_fields = s->cap_fields = 0;
    if (s->too_large) {
        respond_plain(x, 431, "the header fields are too large, or too many");
        return;
    }
    if (rc < 0) {
        respond_plain(x, 400, err_text(&e));
        return;
    }
    const char *length = http_header_get(&x->req, "content-length");
    int64_t n = -1;
    if (length && !str_to_i64(length, &n))
        n = -1;
    if (intake_head(x, n, s->receiving) == INTAKE_REFUSED)
        intake_dispatch(x);
}

/* ---- bodies ---- */

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *self)
{
    struct h2 *h2 = self;
    struct h2_stream *s = stream_of(session, id);
    nghttp2_session_consume_connection(session, n); /* one that is slow does not hold up the others */
    if (!s)
        return 0;
    struct exchange *x = s->x;
    s->moved = uv_now(&h2->conn->loop->uv);
    bool wanted = x->phase == X_RECEIVING || (x->pipe && x->phase == X_HANDLING);
    enum intake r = wanted ? intake_body(x, (const char *)p, n) : INTAKE_MORE;
    if (!x->pipe || !wanted)
        nghttp2_session_consume_stream(session, id, n); /* else when it was read */
    if (r == INTAKE_REFUSED && !x->pipe)
        intake_dispatch(x);
    return 0;
}

static void request_ended(struct h2_stream *s)
{
    struct exchange *x = s->x;
    s->receiving = false;
    if (x->phase == X_RECEIVING || (x->pipe && x->phase == X_HANDLING))
        intake_end(x);
}

/* ---- frames ---- */

#define CONTINUATION_COST 20

static double cost_of(const nghttp2_frame *f)
{
    switch (f->hd.type) {
    case NGHTTP2_RST_STREAM:
        return 3;
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PRIORITY:
        return 1;
    case NGHTTP2_DATA:
        return f->hd.length == 0 && !(f->hd.flags & NGHTTP2_FLAG_END_STREAM);
    default:
        return 0;
    }
}

/* A head may go on in further frames, and no version of the library before 1.61 counts them (CVE-2024-28182). The largest head
 * that is taken needs a handful. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *self)
{
    ((struct h2 *)self)->unheard = 0;
    return hd->type == NGHTTP2_CONTINUATION && !h2_calm(self, CONTINUATION_COST) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *self)
{
    double cost = cost_of(frame);
    if (cost > 0 && !h2_calm(self, cost))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    if (!s)
        return 0;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        s->receiving = !end;
        if (s->x->phase == X_RECEIVING) /* else time was over in the middle of it, and that was said */
            take_head(s);
    }
    if (end)
        request_ended(s);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *self)
{
    struct h2_stream *s = stream_of(session, id);
    if (!s)
        return 0;
    s->closed = true;
    exchange_lost(s->x);
    h2_release(s);
    return 0;
}

void h2_in_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
}
