/* spdy.h - SPDY/3.1 framing: what kubectl's port-forward tunnels through a WebSocket, and what kubectl before 1.30 and many Go
 * tools speak for exec, attach and port-forward. The server's side; a client is whoever opens a stream (spdy_open), and is
 * opened none.
 *
 * A codec that owns no socket: bytes of the peer go in by spdy_feed, bytes for the peer come out of spdy_out, and what they mean
 * is told by callbacks from within spdy_feed. A stream is known by its number (odd: the client opened it). One thread at a time.
 *
 * The Go peer does no flow control: windows are not kept, its WINDOW_UPDATE frames are read over, and none is waited for. Who
 * cannot take more stops feeding.
 *
 * Bounds: a frame of control data has at most 64 KiB, its headers at most 256 KiB unpacked and 100 in number, and a connection at
 * most `max_streams` streams at once (more are refused by RST_STREAM). Source: SPDY protocol draft 3.1; kube.md 9.4. */
#ifndef TM_NET_SPDY_H
#define TM_NET_SPDY_H

#include "base/buf.h"
#include "base/err.h"

struct spdy;
struct spdy_header {
    const char *name, *value; /* name in lower case */
};
struct spdy_ops { /* all are called from within spdy_feed */
    /* The peer opened a stream; answer it by spdy_accept or spdy_reset. The headers live until it returns. */
    void (*on_open)(struct spdy *s, void *state, uint32_t id, const struct spdy_header *h, size_t n);
    void (*on_data)(struct spdy *s, void *state, uint32_t id, const char *p, size_t n);
    void (*on_end)(struct spdy *s, void *state, uint32_t id);   /* the peer has said its last byte on it */
    void (*on_reset)(struct spdy *s, void *state, uint32_t id); /* the stream is gone, both ways */
};
enum spdy_status {
    SPDY_PROTOCOL_ERROR = 1,
    SPDY_INVALID_STREAM = 2,
    SPDY_REFUSED_STREAM = 3,
    SPDY_CANCEL = 5,
    SPDY_INTERNAL_ERROR = 6
};

struct spdy *spdy_new(unsigned max_streams, const struct spdy_ops *ops, void *state);
void spdy_free(struct spdy *s);
/* Takes all n bytes. -1: the peer broke the protocol; what is in spdy_out (a GOAWAY) may still be sent, nothing more fed. */
int spdy_feed(struct spdy *s, const char *p, size_t n, struct err *err);
struct buf *spdy_out(struct spdy *s); /* who has sent them consumes the bytes */
/* On a stream that is not (or no longer) there, or whose own half is ended, these do nothing. */
void spdy_accept(struct spdy *s, uint32_t id); /* SYN_REPLY */
/* Opens a stream, as a client: its number. 0: as many as may be are open. */
uint32_t spdy_open(struct spdy *s, const struct spdy_header *h, size_t n);
void spdy_data(struct spdy *s, uint32_t id, const void *p, size_t n); /* in frames of at most 32 KiB */
void spdy_end(struct spdy *s, uint32_t id);                           /* our last byte on it */
void spdy_reset(struct spdy *s, uint32_t id, enum spdy_status status);
const char *spdy_find(const struct spdy_header *h, size_t n, const char *lower_name); /* NULL when absent */

#endif
