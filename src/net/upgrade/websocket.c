/* websocket.c - the server's side of a WebSocket: wslay between a stream's bytes and the messages of a handler. */
#include "net/upgrade/websocket.h"

#include <stdlib.h>

#include <wslay/wslay.h>

#include "net/upgrade/ws_shake.h"

#define MAX_MESSAGE  ((size_t)1024 * 1024)
#define MAX_CRUMBS   4096 /* fragments of a message: the library takes memory for each */
#define PING_MS      30000
#define SILENT_PINGS 3
#define CLOSE_MS     5000
#define MAX_UNREAD   ((size_t)1024 * 1024) /* a peer that pings and does not read is not read from either */

/* A message that came in one read with an earlier one, after which the handler paused: wslay reads 4 KiB ahead at most. */
struct held {
    struct held *next;
    enum ws_type type;
    size_t n;
    char data[];
};

struct ws {
    const struct ws_ops *ops;
    void *state;
    const char *protocol; /* static, the handler's */
    struct ws_config cfg;
    struct stream *st; /* NULL before it started */
    wslay_event_context_ptr wslay;
    const char *in; /* the bytes that on_data has, while it has them */
    size_t in_len;
    struct held *held, **held_tail;
    unsigned crumbs; /* fragments of the message that comes in */
    bool pumping, paused;
    bool closing;                                 /* our close frame is out */
    bool told;                                    /* on_close was called: nothing reaches the handler any more */
    int64_t heard_ms, ping_ms, close_ms, user_ms; /* loop time; 0: none */
};

static int64_t now_ms(void)
{
    struct ctx ctx = ctx_background();
    return ctx_mono_ns(&ctx) / NS_PER_MS;
}

/* ---- time: one timer of the stream for three clocks ---- */

static void arm(struct ws *ws)
{
    int64_t due = 0;
    const int64_t all[] = {ws->told ? 0 : ws->user_ms, ws->told || ws->closing ? 0 : ws->ping_ms, ws->close_ms};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i] && (!due || all[i] < due))
            due = all[i];
    int64_t left = due - now_ms();
    stream_timer(ws->st, due ? (left > 0 ? left : 0) : -1);
}

/* ---- wslay ---- */

static ssize_t wslay_reads(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *self)
{
    struct ws *ws = self;
    if (ws->paused || ws->held || !ws->in_len) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    size_t n = len < ws->in_len ? len : ws->in_len;
    memcpy(buf, ws->in, n);
    ws->in += n;
    ws->in_len -= n;
    return (ssize_t)n;
}

static ssize_t wslay_writes(wslay_event_context_ptr ctx, const uint8_t *p, size_t n, int flags, void *self)
{
    struct ws *ws = self;
    stream_write(ws->st, p, n);
    return (ssize_t)n;
}

static void hold(struct ws *ws, enum ws_type type, const void *p, size_t n)
{
    struct held *h = xmalloc(sizeof *h + n);
    *h = (struct held){.type = type, .n = n};
    if (n)
        memcpy(h->data, p, n);
    *ws->held_tail = h;
    ws->held_tail = &h->next;
}

static void wslay_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *self)
{
    struct ws *ws = self;
    if (wslay_is_ctrl_frame(m->opcode) || ws->told || ws->closing)
        return;
    enum ws_type type = m->opcode == WSLAY_TEXT_FRAME ? WS_TEXT : WS_BINARY;
    if (ws->paused || ws->held)
        hold(ws, type, m->msg, m->msg_length);
    else
        ws->ops->on_message(ws, ws->state, type, m->msg_length ? (const char *)m->msg : "", m->msg_length);
}

static void wslay_frame(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_start_arg *f, void *self)
{
    struct ws *ws = self;
    if (wslay_is_ctrl_frame(f->opcode))
        return;
    ws->crumbs = f->fin ? 0 : ws->crumbs + 1;
    if (ws->crumbs <= MAX_CRUMBS)
        return;
    wslay_event_queue_close(ctx, WSLAY_CODE_MESSAGE_TOO_BIG, NULL, 0);
    wslay_event_shutdown_read(ctx);
}

static const struct wslay_event_callbacks callbacks = {.recv_callback = wslay_reads,
                                                       .send_callback = wslay_writes,
                                                       .on_frame_recv_start_callback = wslay_frame,
                                                       .on_msg_recv_callback = wslay_message};

/* ---- ending ---- */

static void tell(struct ws *ws, int code)
{
    if (ws->told)
        return;
    ws->told = true;
    ws->ops->on_close(ws, ws->state, code);
}

/* Sends what wslay has, and sees whether the handshake is over. */
static void settle(struct ws *ws)
{
    if (wslay_event_send(ws->wslay) < 0) {
        stream_abort(ws->st);
        return;
    }
    if (wslay_event_get_close_received(ws->wslay)) {
        int code = wslay_event_get_status_code_received(ws->wslay);
        tell(ws, code ? code : WS_NO_CODE);
        stream_end(ws->st);
    } else if (!wslay_event_get_read_enabled(ws->wslay)) { /* it broke the rules, and was told so */
        int code = wslay_event_get_status_code_sent(ws->wslay);
        tell(ws, code && code != WS_NO_CODE ? code : WS_PROTOCOL_ERROR);
        stream_end(ws->st);
    }
    if (ws->told)
        arm(ws);
}

void ws_close(struct ws *ws, int code, const char *reason)
{
    if (ws->closing || ws->told)
        return;
    size_t n = reason ? strlen(reason) : 0;
    ASSERT(n <= 123);
    ws->closing = true;
    ws->close_ms = now_ms() + CLOSE_MS;
    wslay_event_queue_close(ws->wslay, (uint16_t)code, (const uint8_t *)reason, n);
    wslay_event_send(ws->wslay);
    ws->paused = false; /* the peer's answer must be read */
    stream_resume(ws->st);
    arm(ws);
}

void ws_abort(struct ws *ws) { stream_abort(ws->st); }

/* ---- reading ---- */

/* What was held first, then what is in hand; until neither is left or the handler pauses. */
static void pump(struct ws *ws)
{
    if (ws->pumping)
        return;
    ws->pumping = true;
    for (;;) {
        while (ws->held && !ws->paused) {
            struct held *h = ws->held;
            ws->held = h->next;
            if (!ws->held)
                ws->held_tail = &ws->held;
            if (!ws->told && !ws->closing)
                ws->ops->on_message(ws, ws->state, h->type, h->data, h->n);
            free(h);
        }
        size_t before = ws->in_len;
        if (ws->paused || !before || wslay_event_recv(ws->wslay) < 0 || ws->in_len == before)
            break;
    }
    ws->pumping = false;
    settle(ws);
}

static size_t on_data(struct stream *st, void *self, const char *p, size_t n)
{
    struct ws *ws = self;
    if (ws->told)
        return n;
    if (ws->paused || stream_queued(st) > MAX_UNREAD)
        return 0;
    ws->heard_ms = now_ms();
    ws->in = p;
    ws->in_len = n;
    pump(ws);
    size_t left = ws->told ? 0 : ws->in_len;
    ws->in = NULL;
    ws->in_len = 0;
    return n - left;
}

void ws_pause(struct ws *ws)
{
    if (!ws->closing)
        ws->paused = true;
}

void ws_resume(struct ws *ws)
{
    if (!ws->paused)
        return;
    ws->paused = false;
    ws->heard_ms = now_ms(); /* it may have spoken all the while */
    if (ws->pumping)
        return;
    pump(ws);
    if (!ws->paused)
        stream_resume(ws->st);
}

/* ---- writing ---- */

void ws_send(struct ws *ws, enum ws_type type, const void *p, size_t n)
{
    if (ws->closing || ws->told)
        return;
    const struct wslay_event_msg m = {.opcode = (uint8_t)type, .msg = p, .msg_length = n};
    if (wslay_event_queue_msg(ws->wslay, &m) == 0)
        wslay_event_send(ws->wslay);
}

size_t ws_queued(const struct ws *ws) { return stream_queued(ws->st); }
struct stream_handle *ws_handle(struct ws *ws) { return stream_handle(ws->st); }
const char *ws_protocol(const struct ws *ws) { return ws->protocol; }

void ws_timer(struct ws *ws, int64_t ms)
{
    ws->user_ms = ms < 0 ? 0 : now_ms() + ms;
    arm(ws);
}

/* ---- the stream ---- */

static void on_start(struct stream *st, void *self)
{
    struct ws *ws = self;
    ws->st = st;
    ws->heard_ms = now_ms();
    if (ws->cfg.ping_ms > 0)
        ws->ping_ms = ws->heard_ms + ws->cfg.ping_ms;
    arm(ws);
    if (ws->ops->on_open)
        ws->ops->on_open(ws, ws->state);
}

static void on_writable(struct stream *st, void *self)
{
    struct ws *ws = self;
    if (!ws->paused)
        stream_resume(st); /* it was not read from while it did not read */
    if (!ws->told && ws->ops->on_writable)
        ws->ops->on_writable(ws, ws->state);
}

static void on_wake(struct stream *st, void *self)
{
    struct ws *ws = self;
    if (!ws->told && ws->ops->on_wake)
        ws->ops->on_wake(ws, ws->state);
}

static void ping(struct ws *ws, int64_t now)
{
    bool listening = !ws->paused && stream_queued(ws->st) <= MAX_UNREAD;
    if (listening && now - ws->heard_ms >= SILENT_PINGS * ws->cfg.ping_ms) {
        stream_abort(ws->st);
        return;
    }
    if (!listening)
        ws->heard_ms = now;
    ws->ping_ms = now + ws->cfg.ping_ms;
    const struct wslay_event_msg m = {.opcode = WSLAY_PING};
    if (wslay_event_queue_msg(ws->wslay, &m) == 0)
        wslay_event_send(ws->wslay);
}

static void on_timer(struct stream *st, void *self)
{
    struct ws *ws = self;
    int64_t now = now_ms();
    if (ws->close_ms && now >= ws->close_ms) {
        ws->close_ms = 0;
        tell(ws, WS_ABNORMAL);
        stream_end(st);
    }
    if (ws->ping_ms && now >= ws->ping_ms && !ws->told && !ws->closing)
        ping(ws, now);
    if (ws->user_ms && now >= ws->user_ms && !ws->told) {
        ws->user_ms = 0;
        if (ws->ops->on_timer)
            ws->ops->on_timer(ws, ws->state);
    }
    arm(ws);
}

static void on_stop(struct stream *st, void *self)
{
    struct ws *ws = self;
    ws_close(ws, WS_GOING_AWAY, "the server stops");
    tell(ws, WS_GOING_AWAY);
    stream_end(st);
}

static void on_close(struct stream *st, void *self)
{
    struct ws *ws = self;
    if (ws->st)
        tell(ws, WS_ABNORMAL);
    else
        ws->ops->on_close(NULL, ws->state, WS_ABNORMAL);
    while (ws->held) {
        struct held *h = ws->held;
        ws->held = h->next;
        free(h);
    }
    wslay_event_context_free(ws->wslay);
    free(ws);
}

static const struct stream_ops stream_ops = {
    .on_start = on_start,
    .on_writable = on_writable,
    .on_wake = on_wake,
    .on_timer = on_timer,
    .on_data = on_data,
    .on_stop = on_stop,
    .on_close = on_close,
};

void ws_upgrade(struct http_req *req, struct http_res *res, const char *chosen, const struct ws_config *cfg,
                const struct ws_ops *ops, void *state)
{
    ASSERT(ops->on_message && ops->on_close);
    struct ws *ws = xcalloc(1, sizeof *ws);
    if (cfg)
        ws->cfg = *cfg;
    if (!ws->cfg.max_message)
        ws->cfg.max_message = MAX_MESSAGE;
    if (!ws->cfg.ping_ms)
        ws->cfg.ping_ms = PING_MS;
    ws->ops = ops;
    ws->state = state;
    ws->protocol = chosen;
    ws->held_tail = &ws->held;
    ASSERT(wslay_event_context_server_init(&ws->wslay, &callbacks, ws) == 0);
    wslay_event_config_set_max_recv_msg_length(ws->wslay, ws->cfg.max_message);
    char accept[WS_ACCEPT_SIZE];
    ws_accept_key(http_header_get(req, "sec-websocket-key"), accept);
    http_set_header(res, "Upgrade", "websocket");
    http_set_header(res, "Sec-WebSocket-Accept", accept);
    if (chosen)
        http_set_header(res, "Sec-WebSocket-Protocol", chosen);
    http_upgrade(res, &stream_ops, ws);
}
