/* websocket.h - WebSocket (RFC 6455), the server's side as a stream and the client's side blocking.
 *
 * Server: a handler asks ws_negotiate what the client wants, does what it has to do, and then calls ws_upgrade. From there on
 * the connection is a small state machine run by the event loop that owns its socket, as every stream is (http.h): callbacks
 * never block and come from one thread; other threads prepare data and wake it through ws_handle.
 *
 * What it does by itself: joins fragments, checks text for UTF-8, refuses messages above max_message (1009), answers pings,
 * pings itself and gives up a peer that is silent for three of its intervals, makes the closing handshake and waits 5 seconds for
 * the peer's part in it. A server that stops says 1001.
 *
 * Back-pressure. Towards the peer: look at ws_queued, stop producing above a mark of your own, and go on in on_writable; what
 * queues more than the server's max_stream_queue is cut. From the peer: ws_pause when whoever takes the bytes is slow, ws_resume
 * when there is room again; meanwhile nothing is read from the socket, and no message is delivered after ws_pause. */
#ifndef TM_NET_WEBSOCKET_H
#define TM_NET_WEBSOCKET_H

#include "net/client.h"
#include "net/http.h"

enum ws_type { WS_TEXT = 1, WS_BINARY = 2 };
enum ws_code {
    WS_NORMAL = 1000,
    WS_GOING_AWAY = 1001,
    WS_PROTOCOL_ERROR = 1002,
    WS_UNSUPPORTED = 1003,
    WS_NO_CODE = 1005,  /* the peer closed without saying why; never sent */
    WS_ABNORMAL = 1006, /* the connection was lost or cut; never sent */
    WS_BAD_DATA = 1007,
    WS_POLICY = 1008,
    WS_TOO_BIG = 1009,
    WS_INTERNAL = 1011
};

/* ---- server --------------------------------------------------------------------------------------------------- */

/* Does the request ask for a WebSocket? Never on HTTP/2, where there are no upgrades. */
bool ws_asked(const struct http_req *req);
/* Checks the client's part of the opening handshake. protocols (NULL-terminated, static strings) are those that we have; *chosen
 * becomes the first of the client's offers that is among them, or NULL when it offers none (then none is answered, as browsers
 * want it). Fails with ERR_BAD_REQUEST when the handshake is wrong, or when it offers some and we have none of them. protocols
 * may be NULL: offers are then ignored. */
int ws_negotiate(const struct http_req *req, const char *const *protocols, const char **chosen, struct err *err);

struct ws;
struct ws_ops {                                  /* all but on_message and on_close may be NULL */
    void (*on_open)(struct ws *ws, void *state); /* 101 is queued; may send */
    /* A whole message; p lives until it returns. Not after ws_close. */
    void (*on_message)(struct ws *ws, void *state, enum ws_type type, const char *p, size_t n);
    void (*on_writable)(struct ws *ws, void *state); /* the queue fell below the low-water mark (64 KiB) */
    void (*on_wake)(struct ws *ws, void *state);     /* after stream_wake(ws_handle(...)) */
    void (*on_timer)(struct ws *ws, void *state);    /* after ws_timer */
    /* The last call, made exactly once, also when the stream never started (ws is NULL then); frees state. code: the peer's, or
     * ours when the peer broke the rules, WS_NO_CODE, or WS_ABNORMAL. */
    void (*on_close)(struct ws *ws, void *state, int code);
};
struct ws_config {      /* zero: the default in brackets */
    size_t max_message; /* [1 MiB] */
    int64_t ping_ms;    /* [30,000]; < 0: never */
};
/* Answers 101 and starts. After a ws_negotiate that succeeded; chosen is what it gave, or NULL. cfg may be NULL. Owns state from
 * here on, whatever happens. */
void ws_upgrade(struct http_req *req, struct http_res *res, const char *chosen, const struct ws_config *cfg,
                const struct ws_ops *ops, void *state);

/* On the loop's thread only, from within callbacks. After on_close ws is gone. */
void ws_send(struct ws *ws, enum ws_type type, const void *p, size_t n); /* copied; nothing after ws_close */
size_t ws_queued(const struct ws *ws);                                   /* bytes not yet taken by the kernel */
/* Closes after what is queued; on_close follows when the peer has answered, or in 5 seconds. reason: at most 123 bytes, may be
 * NULL. */
void ws_close(struct ws *ws, int code, const char *reason);
void ws_abort(struct ws *ws); /* cuts the connection */
void ws_pause(struct ws *ws);
void ws_resume(struct ws *ws);
void ws_timer(struct ws *ws, int64_t ms);       /* one shot, replaces the former; < 0 stops */
struct stream_handle *ws_handle(struct ws *ws); /* a new reference, for stream_wake from any thread */
const char *ws_protocol(const struct ws *ws);   /* the one that was chosen, or NULL */

/* ---- client --------------------------------------------------------------------------------------------------- */

/* One thread may receive while others send. Pings of the server are answered while somebody receives. */
struct ws_client;
struct ws_call {
    const char *url; /* http://, https://, ws://, wss:// or unix:/path:/request/path */
    const struct http_header *headers;
    size_t n_headers;
    const char *const *protocols; /* offered in this order, NULL-terminated; may be NULL */
    size_t max_message;           /* 0: 16 MiB; a larger message breaks the connection */
};
/* Connects with the client's configuration (TLS, certificates, name). NULL with an error; when the server answered something else
 * than 101, the answer is in *refusal (with its body, as http_fetch gives it), which the caller frees with http_answer_free in
 * any case; refusal may be NULL. */
struct ws_client *ws_dial(struct http_client *c, const struct ctx *ctx, const struct ws_call *call, struct http_answer *refusal,
                          struct err *err);
void ws_client_free(struct ws_client *w);                  /* cuts the connection when it is still open */
const char *ws_client_protocol(const struct ws_client *w); /* chosen by the server, or NULL */
/* 1: a message, in *out (replaced); 0: closed, ws_client_code says how; -1: broken, timeout or cancelled. */
int ws_client_recv(struct ws_client *w, const struct ctx *ctx, enum ws_type *type, struct buf *out, struct err *err);
/* ERR_UNAVAILABLE once the connection was closed. */
int ws_client_send(struct ws_client *w, const struct ctx *ctx, enum ws_type type, const void *p, size_t n, struct err *err);
int ws_client_ping(struct ws_client *w, const struct ctx *ctx, struct err *err);
/* Sends our part of the closing handshake; go on with ws_client_recv until it returns 0. */
int ws_client_close(struct ws_client *w, const struct ctx *ctx, int code, const char *reason, struct err *err);
int ws_client_code(const struct ws_client *w); /* the peer's code, WS_NO_CODE or WS_ABNORMAL */

#endif
