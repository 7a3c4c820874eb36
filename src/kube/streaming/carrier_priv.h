/* carrier_priv.h - what carries SPDY's bytes, or messages of channels: a WebSocket or an upgraded connection, under one face.
 * Private to this room. All on the connection's loop. */
#ifndef TM_KUBE_STREAMING_CARRIER_PRIV_H
#define TM_KUBE_STREAMING_CARRIER_PRIV_H

#include "base/str.h"
#include "net/http.h"
#include "net/upgrade/websocket.h"

/* Above the first nothing more is read for the peer; below net's low-water mark it goes on. */
enum { QUEUE_HIGH = 256 * 1024, INPUT_HIGH = 256 * 1024, PIECE = 64 * 1024 };

struct carrier {
    const struct carrier_ops *ops;
    void *state;
    struct stream *st; /* one of the two, once it has started */
    struct ws *ws;
    bool paused, closed;
    bool text; /* a WebSocket whose messages are a digit and base64; what comes and goes here is binary all the same */
};
struct carrier_ops {
    void (*on_open)(void *state);
    void (*on_bytes)(void *state, const char *p, size_t n); /* of a WebSocket: one message */
    void (*on_writable)(void *state);
    void (*on_wake)(void *state);
    void (*on_timer)(void *state);
    void (*on_close)(void *state); /* the last call; the carrier goes with it */
};
/* Answers with the upgrade. how->websocket: 101 by ws_upgrade; else SPDY/3.1's. state is owned from here on. */
struct streaming_how;
void carrier_start(struct http_req *req, struct http_res *res, const struct streaming_how *how, const struct carrier_ops *ops,
                   void *state, struct carrier **out);
void carrier_send(struct carrier *c, const void *p, size_t n); /* a WebSocket: one binary message */
size_t carrier_queued(const struct carrier *c);
void carrier_pause(struct carrier *c);
void carrier_resume(struct carrier *c);
void carrier_timer(struct carrier *c, int64_t ms);
void carrier_close(struct carrier *c); /* clean, after what is queued */
void carrier_abort(struct carrier *c);
struct stream_handle *carrier_handle(struct carrier *c);

#endif
