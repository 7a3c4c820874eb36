/* ws_client.c - the client's side of a WebSocket: blocking, over an upgraded connection of the HTTP client. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include <wslay/wslay.h>

#include "base/thread.h"
#include "net/upgrade/websocket.h"
#include "net/upgrade/ws_shake.h"

#define MAX_MESSAGE ((size_t)16 * 1024 * 1024)
#define MAX_REFUSAL ((size_t)1024 * 1024)
#define READ_CHUNK  (16 * 1024)

struct message {
    struct message *next;
    enum ws_type type;
    size_t n;
    char data[];
};

/* Who sends holds `sending` from the bytes that wslay makes until they are on the wire, so that frames stay whole; `lock` is held
 * for moments only. Who receives never waits for `sending`: what it has to say (pongs) is sent by who holds it. */
struct ws_client {
    struct http_body *tunnel;
    char *protocol;
    pthread_mutex_t sending; /* taken before lock */
    pthread_mutex_t lock;    /* guards all below */
    wslay_event_context_ptr wslay;
    const char *in; /* while bytes are fed */
    size_t in_len;
    struct buf out; /* encoded, not yet taken by who sends */
    struct message *first, **last;
    bool over; /* closed by the peer, or broken */
    int code;
};

/* ---- wslay; all under lock ---- */

static ssize_t wslay_reads(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *self)
{
    struct ws_client *w = self;
    if (!w->in_len) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    size_t n = len < w->in_len ? len : w->in_len;
    memcpy(buf, w->in, n);
    w->in += n;
    w->in_len -= n;
    return (ssize_t)n;
}

static ssize_t wslay_writes(wslay_event_context_ptr ctx, const uint8_t *p, size_t n, int flags, void *self)
{
    struct ws_client *w = self;
    buf_add(&w->out, p, n);
    return (ssize_t)n;
}

static int wslay_masks(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, void *self)
{
    return getrandom(buf, len, 0) == (ssize_t)len ? 0 : -1;
}

static void wslay_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *self)
{
    struct ws_client *w = self;
    if (wslay_is_ctrl_frame(m->opcode))
        return;
    struct message *msg = xmalloc(sizeof *msg + m->msg_length);
    *msg = (struct message){.type = m->opcode == WSLAY_TEXT_FRAME ? WS_TEXT : WS_BINARY, .n = m->msg_length};
    if (m->msg_length)
        memcpy(msg->data, m->msg, m->msg_length);
    *w->last = msg;
    w->last = &msg->next;
}

static const struct wslay_event_callbacks callbacks = {.recv_callback = wslay_reads,
                                                       .send_callback = wslay_writes,
                                                       .genmask_callback = wslay_masks,
                                                       .on_msg_recv_callback = wslay_message};

/* ---- opening ---- */

static char *http_url(const char *url)
{
    if (str_starts(url, "ws://"))
        return xasprintf("http://%s", url + 5);
    if (str_starts(url, "wss://"))
        return xasprintf("https://%s", url + 6);
    return xstrdup(url);
}

static const char *offers(const struct ws_call *call, struct buf *out)
{
    for (const char *const *p = call->protocols; p && *p; p++)
        buf_addf(out, "%s%s", out->len ? ", " : "", *p);
    return out->len ? buf_str(out) : NULL;
}

static bool offered(const struct ws_call *call, const char *chosen)
{
    for (const char *const *p = call->protocols; p && *p; p++)
        if (strcmp(*p, chosen) == 0)
            return true;
    return false;
}

/* The server's part of the handshake (RFC 6455 4.1, "client requirements" 2 to 6). */
static int check_answer(const struct ws_call *call, const struct http_answer *a, const char *key, struct err *err)
{
    char want[WS_ACCEPT_SIZE];
    ws_accept_key(key, want);
    const char *upgrade = http_answer_header(a, "upgrade"), *accept = http_answer_header(a, "sec-websocket-accept");
    if (!upgrade || !ws_list_has(upgrade, "websocket") || !accept || strcmp(accept, want) != 0)
        return err_set(err, ERR_IO, "the server's answer to the WebSocket handshake is wrong");
    if (http_answer_header(a, "sec-websocket-extensions"))
        return err_set(err, ERR_IO, "the server wants a WebSocket extension that nobody offered");
    const char *chosen = http_answer_header(a, "sec-websocket-protocol");
    if (chosen && !offered(call, chosen))
        return err_set(err, ERR_IO, "the server chose the subprotocol %s, which nobody offered", chosen);
    return 0;
}

/* Another answer than 101: its body says why. */
static void read_refusal(struct http_body *b, const struct ctx *ctx, struct http_answer *a)
{
    char chunk[READ_CHUNK];
    ssize_t n;
    while (a->body.len < MAX_REFUSAL && (n = http_body_read(b, ctx, chunk, sizeof chunk, NULL)) > 0)
        buf_add(&a->body, chunk, (size_t)n);
}

static struct ws_client *client_new(struct http_body *tunnel, const struct ws_call *call, const char *protocol)
{
    struct ws_client *w = xcalloc(1, sizeof *w);
    w->tunnel = tunnel;
    w->protocol = xstrdup(protocol);
    w->last = &w->first;
    w->code = WS_ABNORMAL;
    pthread_mutex_init(&w->sending, NULL);
    pthread_mutex_init(&w->lock, NULL);
    ASSERT(wslay_event_context_client_init(&w->wslay, &callbacks, w) == 0);
    wslay_event_config_set_max_recv_msg_length(w->wslay, call->max_message ? call->max_message : MAX_MESSAGE);
    return w;
}

struct ws_client *ws_dial(struct http_client *c, const struct ctx *ctx, const struct ws_call *call, struct http_answer *refusal,
                          struct err *err)
{
    struct http_answer mine = {0}, *a = refusal ? refusal : &mine;
    unsigned char nonce[16];
    ASSERT(getrandom(nonce, sizeof nonce, 0) == sizeof nonce);
    AUTOFREE char *key = base64_encode(nonce, sizeof nonce), *url = http_url(call->url);
    AUTOFREE struct http_header *headers = xcalloc(call->n_headers + 5, sizeof *headers);
    BUF(list);
    size_t n = 0;
    for (; n < call->n_headers; n++)
        headers[n] = call->headers[n];
    headers[n++] = (struct http_header){"Connection", "Upgrade"};
    headers[n++] = (struct http_header){"Upgrade", "websocket"};
    headers[n++] = (struct http_header){"Sec-WebSocket-Version", "13"};
    headers[n++] = (struct http_header){"Sec-WebSocket-Key", key};
    if (offers(call, &list))
        headers[n++] = (struct http_header){"Sec-WebSocket-Protocol", buf_str(&list)};
    const struct http_call get = {.method = HTTP_GET, .url = url, .headers = headers, .n_headers = n};
    struct http_body *b = http_open(c, ctx, &get, a, err);
    struct ws_client *w = NULL;
    if (b && a->status != 101) {
        read_refusal(b, ctx, a);
        err_set(err, ERR_UNAVAILABLE, "%s: the server answers %d instead of opening a WebSocket: %.200s", call->url, a->status,
                buf_str(&a->body));
    } else if (b && check_answer(call, a, key, err) == 0) {
        w = client_new(b, call, http_answer_header(a, "sec-websocket-protocol"));
    }
    if (!w)
        http_body_close(b);
    http_answer_free(&mine);
    return w;
}

void ws_client_free(struct ws_client *w)
{
    if (!w)
        return;
    http_body_close(w->tunnel);
    wslay_event_context_free(w->wslay);
    while (w->first) {
        struct message *m = w->first;
        w->first = m->next;
        free(m);
    }
    buf_free(&w->out);
    pthread_mutex_destroy(&w->sending);
    pthread_mutex_destroy(&w->lock);
    free(w->protocol);
    free(w);
}

const char *ws_client_protocol(const struct ws_client *w) { return w->protocol; }

int ws_client_code(const struct ws_client *w)
{
    LOCK_GUARD((pthread_mutex_t *)&w->lock);
    return w->code;
}

/* ---- sending ---- */

/* Takes what is encoded. False when there is nothing: `sending` has then been given back, in the same moment, so that whoever
 * encodes later finds it free. */
static bool take_out(struct ws_client *w, struct buf *out)
{
    LOCK_GUARD(&w->lock);
    wslay_event_send(w->wslay);
    if (!w->out.len) {
        pthread_mutex_unlock(&w->sending);
        return false;
    }
    *out = w->out;
    w->out = BUF_INIT;
    return true;
}

/* With `sending` held, which it gives back. */
static int send_all(struct ws_client *w, const struct ctx *ctx, struct err *err)
{
    for (;;) {
        BUF(out);
        if (!take_out(w, &out))
            return 0;
        if (http_body_write(w->tunnel, ctx, out.data, out.len, err) < 0) {
            {
                LOCK_GUARD(&w->lock);
                w->over = true; /* a frame may be cut: nothing can follow */
            }
            pthread_mutex_unlock(&w->sending);
            return -1;
        }
    }
}

static int queue(struct ws_client *w, int opcode, const void *p, size_t n, struct err *err)
{
    LOCK_GUARD(&w->lock);
    const struct wslay_event_msg m = {.opcode = (uint8_t)opcode, .msg = p, .msg_length = n};
    if (w->over || wslay_event_get_close_sent(w->wslay) || wslay_event_get_close_received(w->wslay) ||
        wslay_event_queue_msg(w->wslay, &m) != 0)
        return err_set(err, ERR_UNAVAILABLE, "the WebSocket is closed");
    return 0;
}

static int send_message(struct ws_client *w, const struct ctx *ctx, int opcode, const void *p, size_t n, struct err *err)
{
    pthread_mutex_lock(&w->sending);
    if (queue(w, opcode, p, n, err) < 0) {
        pthread_mutex_unlock(&w->sending);
        return -1;
    }
    return send_all(w, ctx, err);
}

int ws_client_send(struct ws_client *w, const struct ctx *ctx, enum ws_type type, const void *p, size_t n, struct err *err)
{
    return send_message(w, ctx, (int)type, p, n, err);
}

int ws_client_ping(struct ws_client *w, const struct ctx *ctx, struct err *err)
{
    return send_message(w, ctx, WSLAY_PING, NULL, 0, err);
}

int ws_client_close(struct ws_client *w, const struct ctx *ctx, int code, const char *reason, struct err *err)
{
    pthread_mutex_lock(&w->sending);
    {
        LOCK_GUARD(&w->lock);
        wslay_event_queue_close(w->wslay, (uint16_t)code, (const uint8_t *)reason, reason ? strlen(reason) : 0);
    }
    return send_all(w, ctx, err);
}

/* ---- receiving ---- */

static struct message *take_message(struct ws_client *w)
{
    LOCK_GUARD(&w->lock);
    struct message *m = w->first;
    if (m) {
        w->first = m->next;
        if (!w->first)
            w->last = &w->first;
    }
    return m;
}

/* False when the connection is at its end. */
static bool feed(struct ws_client *w, const char *p, size_t n)
{
    LOCK_GUARD(&w->lock);
    w->in = p;
    w->in_len = n;
    int rc = wslay_event_recv(w->wslay);
    w->in = NULL;
    w->in_len = 0;
    wslay_event_send(w->wslay);
    if (wslay_event_get_close_received(w->wslay)) {
        int code = wslay_event_get_status_code_received(w->wslay);
        w->code = code ? code : WS_NO_CODE;
    } else if (rc == 0 && wslay_event_get_read_enabled(w->wslay)) {
        return true;
    }
    w->over = true;
    return false;
}

static int is_over(struct ws_client *w, struct err *err)
{
    LOCK_GUARD(&w->lock);
    if (!w->over)
        return 1;
    if (w->code != WS_ABNORMAL)
        return 0;
    return err_set(err, ERR_IO, "the server broke the rules of WebSocket, or sent a message that is too large");
}

int ws_client_recv(struct ws_client *w, const struct ctx *ctx, enum ws_type *type, struct buf *out, struct err *err)
{
    for (;;) {
        struct message *m = take_message(w);
        if (m) {
            *type = m->type;
            buf_reset(out);
            buf_add(out, m->data, m->n);
            free(m);
            return 1;
        }
        int open = is_over(w, err);
        if (open <= 0)
            return open;
        char chunk[READ_CHUNK];
        ssize_t n = http_body_read(w->tunnel, ctx, chunk, sizeof chunk, err);
        if (n < 0)
            return -1;
        if (n == 0)
            return err_set(err, ERR_UNAVAILABLE, "the server closed the connection without saying so");
        bool open_still = feed(w, chunk, (size_t)n);
        if (pthread_mutex_trylock(&w->sending) == 0 && send_all(w, ctx, err) < 0 && open_still)
            return -1;
    }
}
