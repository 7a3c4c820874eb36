#include "h2kit.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

static struct peer_stream *find(struct peer *p, int32_t id)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->streams[i].id == id)
            return &p->streams[i];
    return NULL;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name, size_t nn, const uint8_t *value,
                     size_t vn, uint8_t flags, void *self)
{
    struct peer_stream *s = find(self, f->hd.stream_id);
    if (!s)
        return 0;
    if (nn == 7 && memcmp(name, ":status", 7) == 0) {
        int status = atoi((const char *)value);
        if (status == 100)
            s->interim = true;
        else
            s->status = status;
        return 0;
    }
    buf_addf(&s->head, "%.*s: %.*s\n", (int)nn, name, (int)vn, value);
    return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *self)
{
    struct peer *p = self;
    struct peer_stream *s = find(p, id);
    if (s)
        buf_add(&s->body, data, n);
    if (!p->hold)
        nghttp2_session_consume(session, id, n);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *f, void *self)
{
    struct peer *p = self;
    struct peer_stream *s = find(p, f->hd.stream_id);
    if (s && (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) && f->hd.flags & NGHTTP2_FLAG_END_STREAM)
        s->ended = true;
    if (f->hd.type == NGHTTP2_GOAWAY) {
        p->goaway = true;
        p->goaway_code = f->goaway.error_code;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *self)
{
    struct peer_stream *s = find(self, id);
    if (s) {
        s->closed = true;
        s->code = code;
    }
    return 0;
}

static struct peer *open_peer(int port, uint32_t window)
{
    struct peer *p = xcalloc(1, sizeof *p);
    p->fd = kit_connect(port);
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, 16 << 20);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_client_new2(&p->session, cb, p, option);
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_submit_settings(p->session, 0, settings, 2);
    nghttp2_session_set_local_window_size(p->session, 0, 0, 16 << 20);
    return p;
}

struct peer *peer_open(int port) { return open_peer(port, 1 << 20); }

struct peer *peer_open_with(int port, uint32_t window)
{
    struct peer *p = open_peer(port, window);
    p->hold = true;
    return p;
}

void peer_close(struct peer *p)
{
    for (size_t i = 0; i < p->n; i++) {
        buf_free(&p->streams[i].head);
        buf_free(&p->streams[i].body);
    }
    nghttp2_session_del(p->session);
    close(p->fd);
    free(p);
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *self)
{
    struct peer_stream *s = source->ptr;
    size_t n = s->send_len - s->sent < len ? s->send_len - s->sent : len;
    if (n == 0 && s->send_open)
        return NGHTTP2_ERR_DEFERRED;
    if (n)
        memcpy(buf, s->send + s->sent, n);
    s->sent += n;
    if (s->sent == s->send_len && !s->send_open)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv nv(const char *name, size_t nn, const char *value, size_t vn)
{
    return (nghttp2_nv){.name = (uint8_t *)name, .namelen = nn, .value = (uint8_t *)value, .valuelen = vn};
}

static struct peer_stream *ask(struct peer *p, const char *method, const char *path, const char *extra, const char *body,
                               size_t len, bool open)
{
    assert_true(p->n < PEER_STREAMS);
    struct peer_stream *s = &p->streams[p->n++];
    s->send = body;
    s->send_len = len;
    s->send_open = open;
    nghttp2_nv v[210] = {nv(":method", 7, method, strlen(method)), nv(":path", 5, path, strlen(path)),
                         nv(":scheme", 7, "http", 4)};
    size_t n = 3;
    if (!extra || !strstr(extra, ":authority"))
        v[n++] = nv(":authority", 10, "localhost", 9);
    for (const char *at = extra ? extra : ""; *at && n < 210;) {
        const char *colon = strchr(at + 1, ':'), *end = strchr(at, '\n');
        v[n++] = nv(at, (size_t)(colon - at), colon + 2, (size_t)(end - colon - 2));
        at = end + 1;
    }
    nghttp2_data_provider d = {.source.ptr = s, .read_callback = read_body};
    s->id = nghttp2_submit_request(p->session, NULL, v, n, len || open ? &d : NULL, NULL);
    assert_true(s->id > 0);
    return s;
}

struct peer_stream *peer_ask(struct peer *p, const char *method, const char *path, const char *extra, const char *body,
                             size_t len)
{
    return ask(p, method, path, extra, body, len, false);
}

struct peer_stream *peer_get(struct peer *p, const char *path) { return ask(p, "GET", path, NULL, NULL, 0, false); }

struct peer_stream *peer_ask_open(struct peer *p, const char *method, const char *path, const char *extra, const char *body,
                                  size_t len)
{
    return ask(p, method, path, extra, body, len, true);
}

void peer_send_more(struct peer *p, struct peer_stream *s, const char *body, size_t len, bool end)
{
    s->send = body;
    s->send_len = len;
    s->sent = 0;
    s->send_open = !end;
    nghttp2_session_resume_data(p->session, s->id);
}

void peer_flush(struct peer *p)
{
    const uint8_t *bytes;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(p->session, &bytes)) > 0) /* tests of floods send without reading: do not block */
        for (ssize_t at = 0; at < n;) {
            ssize_t w = send(p->fd, bytes + at, (size_t)(n - at), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (w > 0) {
                at += w;
                continue;
            }
            struct pollfd f = {.fd = p->fd, .events = POLLOUT};
            if (errno != EAGAIN || poll(&f, 1, 2000) <= 0) {
                p->gone = true;
                return;
            }
        }
}

static void turn(struct peer *p, int ms)
{
    peer_flush(p);
    struct pollfd f = {.fd = p->fd, .events = POLLIN};
    if (poll(&f, 1, ms) <= 0)
        return;
    char chunk[65536];
    ssize_t n = recv(p->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n <= 0 || nghttp2_session_mem_recv(p->session, (uint8_t *)chunk, (size_t)n) < 0)
        p->gone = true;
    else
        peer_flush(p);
}

void peer_until(struct peer *p, struct peer_stream *s, const char *text)
{
    int64_t end = kit_now_ms() + 120000;
    while (!p->gone && !(s && s->closed) &&
           !(s && text && s->body.len && memmem(s->body.data, s->body.len, text, strlen(text)))) {
        if (kit_now_ms() > end)
            fail_msg("timed out; so far %d:\n%s%.500s", s ? s->status : 0, s ? buf_str(&s->head) : "",
                     s ? buf_str(&s->body) : "");
        turn(p, 100);
    }
}

void peer_run(struct peer *p, int64_t ms)
{
    int64_t end = kit_now_ms() + ms;
    for (int64_t now; !p->gone && (now = kit_now_ms()) < end;)
        turn(p, (int)(end - now));
}

void peer_until_status(struct peer *p, struct peer_stream *s)
{
    for (int64_t end = kit_now_ms() + 120000; !p->gone && !s->status && kit_now_ms() < end;)
        turn(p, 100);
}

void peer_until_gone(struct peer *p)
{
    int64_t end = kit_now_ms() + 120000;
    while (!p->gone) {
        if (kit_now_ms() > end)
            fail_msg("the connection is still there");
        turn(p, 100);
    }
}

char *peer_talk(int port, const char *method, const char *path, const char *extra, const char *body)
{
    struct peer *p = peer_open(port);
    struct peer_stream *s = peer_ask(p, method, path, extra, body, body ? strlen(body) : 0);
    peer_until(p, s, NULL);
    char *text = xasprintf("%d\n%s\n%s", s->status, buf_str(&s->head), buf_str(&s->body));
    peer_close(p);
    return text;
}
