#include "kube/streaming/carrier_priv.h"

#include <stdlib.h>

#include "kube/streaming/streaming.h"

/* A message of exec's stdin is at most as large as clients read files; SPDY tunnelled comes in pieces of 32 KiB. */
enum { MESSAGE_MAX = 4 << 20 };

/* ---- an upgraded connection -------------------------------------------------------------------------------------------------
 */

static void st_start(struct stream *st, void *state)
{
    struct carrier *c = state;
    c->st = st;
    c->ops->on_open(c->state);
}

static void st_writable(struct stream *st, void *state)
{
    struct carrier *c = state;
    (void)st;
    c->ops->on_writable(c->state);
}

static void st_wake(struct stream *st, void *state)
{
    struct carrier *c = state;
    (void)st;
    c->ops->on_wake(c->state);
}

static void st_timer(struct stream *st, void *state)
{
    struct carrier *c = state;
    (void)st;
    c->ops->on_timer(c->state);
}

static size_t st_data(struct stream *st, void *state, const char *p, size_t n)
{
    struct carrier *c = state;
    (void)st;
    if (c->paused)
        return 0;
    c->ops->on_bytes(c->state, p, n);
    return n;
}

static void st_close(struct stream *st, void *state)
{
    struct carrier *c = state;
    (void)st;
    c->closed = true;
    c->ops->on_close(c->state);
    free(c);
}

static const struct stream_ops stream_ops = {.on_start = st_start,
                                             .on_writable = st_writable,
                                             .on_wake = st_wake,
                                             .on_timer = st_timer,
                                             .on_data = st_data,
                                             .on_close = st_close};

/* ---- a WebSocket ------------------------------------------------------------------------------------------------------------
 */

static void w_open(struct ws *ws, void *state)
{
    struct carrier *c = state;
    c->ws = ws;
    c->ops->on_open(c->state);
}

/* A message in text: the channel as a digit, the rest in base64. */
static void on_text(struct carrier *c, const char *p, size_t n)
{
    AUTOFREE unsigned char *bytes = NULL;
    size_t len = 0;
    BUF(message);
    if (!n)
        return;
    if (base64_decode(p + 1, n - 1, &bytes, &len) < 0) {
        ws_close(c->ws, WS_BAD_DATA, "no base64");
        return;
    }
    buf_addc(&message, (char)(p[0] - '0'));
    buf_add(&message, bytes, len);
    c->ops->on_bytes(c->state, message.data, message.len);
}

static void send_text(struct carrier *c, const char *p, size_t n)
{
    AUTOFREE char *rest = base64_encode(p + 1, n - 1);
    BUF(message);
    buf_addc(&message, (char)(p[0] + '0'));
    buf_adds(&message, rest);
    ws_send(c->ws, WS_TEXT, message.data, message.len);
}

static void w_message(struct ws *ws, void *state, enum ws_type type, const char *p, size_t n)
{
    struct carrier *c = state;
    (void)ws;
    (void)type;
    if (c->text)
        on_text(c, p, n);
    else
        c->ops->on_bytes(c->state, p, n);
}

static void w_writable(struct ws *ws, void *state)
{
    struct carrier *c = state;
    (void)ws;
    c->ops->on_writable(c->state);
}

static void w_wake(struct ws *ws, void *state)
{
    struct carrier *c = state;
    (void)ws;
    c->ops->on_wake(c->state);
}

static void w_timer(struct ws *ws, void *state)
{
    struct carrier *c = state;
    (void)ws;
    c->ops->on_timer(c->state);
}

static void w_close(struct ws *ws, void *state, int code)
{
    struct carrier *c = state;
    (void)ws;
    (void)code;
    c->closed = true;
    c->ops->on_close(c->state);
    free(c);
}

static const struct ws_ops ws_ops = {.on_open = w_open,
                                     .on_message = w_message,
                                     .on_writable = w_writable,
                                     .on_wake = w_wake,
                                     .on_timer = w_timer,
                                     .on_close = w_close};

/* ---- both -------------------------------------------------------------------------------------------------------------------
 */

void carrier_start(struct http_req *req, struct http_res *res, const struct streaming_how *how, const struct carrier_ops *ops,
                   void *state, struct carrier **out)
{
    struct carrier *c = xcalloc(1, sizeof *c);
    c->ops = ops;
    c->state = state;
    c->text = how->text;
    *out = c;
    if (how->websocket) {
        ws_upgrade(req, res, how->protocol, &(struct ws_config){.max_message = MESSAGE_MAX}, &ws_ops, c);
        return;
    }
    http_set_header(res, "Upgrade", "SPDY/3.1");
    http_set_header(res, "X-Stream-Protocol-Version", how->protocol);
    http_upgrade(res, &stream_ops, c);
}

void carrier_send(struct carrier *c, const void *p, size_t n)
{
    if (c->closed)
        return;
    if (c->ws && c->text)
        send_text(c, p, n);
    else if (c->ws)
        ws_send(c->ws, WS_BINARY, p, n);
    else
        stream_write(c->st, p, n);
}

size_t carrier_queued(const struct carrier *c) { return c->closed ? 0 : c->ws ? ws_queued(c->ws) : stream_queued(c->st); }

void carrier_pause(struct carrier *c)
{
    if (!c->paused && !c->closed && c->ws)
        ws_pause(c->ws);
    c->paused = true;
}

void carrier_resume(struct carrier *c)
{
    if (!c->paused || c->closed)
        return;
    c->paused = false;
    if (c->ws)
        ws_resume(c->ws);
    else
        stream_resume(c->st);
}

void carrier_timer(struct carrier *c, int64_t ms)
{
    if (c->closed)
        return;
    if (c->ws)
        ws_timer(c->ws, ms);
    else
        stream_timer(c->st, ms);
}

void carrier_close(struct carrier *c)
{
    if (c->closed)
        return;
    if (c->ws)
        ws_close(c->ws, WS_NORMAL, NULL);
    else
        stream_end(c->st);
}

void carrier_abort(struct carrier *c)
{
    if (c->closed)
        return;
    if (c->ws)
        ws_abort(c->ws);
    else
        stream_abort(c->st);
}

struct stream_handle *carrier_handle(struct carrier *c) { return c->ws ? ws_handle(c->ws) : stream_handle(c->st); }
