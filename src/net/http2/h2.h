/* h2.h - HTTP/2 (RFC 9113) on a connection of the server, over nghttp2. Private to net/; all on the connection's loop.
 *
 * A connection in state MULTI has a struct h2, which has a struct h2_stream for each stream that the client opened, which has an
 * exchange. h2.c: the connection; h2_in.c: from frames to exchanges; h2_out.c: how an answer's bytes are carried (h2_carrier).
 *
 * A stream lives until both sides have ended it or either reset it (nghttp2 tells), and until its exchange is back from where it
 * may be away (a worker, the reader of files). A stream that is reset while its handler runs keeps its place among the
 * MAX_STREAMS of the connection until the handler returns: opening and resetting does not make work faster than it is done.
 *
 * What an aborted stream is: RST_STREAM with INTERNAL_ERROR where we broke an answer off, CANCEL where the client was too slow,
 * HTTP_1_1_REQUIRED where a handler wants the connection for itself, NO_ERROR some time after an answer that did not need the
 * whole request. The client's RST_STREAM is, for a handler, what a closed connection is on HTTP/1.1.
 *
 * Memory: a body is bounded by its route, one that a handler reads by the stream's window; an answer by what its producer queues
 * (max_stream_queue) and by at most H2_OUT_MARK of frames; a head by max_header_bytes; heads and answers of all streams by
 * max_held_connection, whatever the windows say (conn_may_hold). While
 * H2_QUEUE_STOP frames that are not of bodies (refusals, acknowledgements) wait for the client, nothing is read from it: what it
 * sends makes more of them. */
#ifndef TM_NET_H2_H
#define TM_NET_H2_H

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "net/internal.h"

#define H2_MAX_STREAMS   250
#define H2_STREAM_WINDOW (256 * 1024)
#define H2_CONN_WINDOW   (1024 * 1024)
#define H2_OUT_MARK      ((size_t)128 * 1024)
#define H2_QUEUE_STOP    1000
#define H2_PREFACE       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

struct h2_field {
    size_t name, value; /* offsets into text */
};

struct h2_stream {
    LIST_ENTRY(h2_stream) all;
    TAILQ_ENTRY(h2_stream) dirty;
    struct h2 *h2;
    int32_t id;
    struct exchange *x;
    struct outq out;
    struct buf text; /* the head while it comes: names and values, each with its NUL */
    struct h2_field *fields;
    size_t n_fields, cap_fields, head_bytes;
    size_t head_held; /* in the account of the connection: a head stays for as long as its stream */
    bool too_large;   /* the head, which was not kept in whole */
    bool is_dirty;
    bool receiving;    /* the client has not ended its side */
    bool deferred;     /* nghttp2 waits to be told that there are bytes again */
    bool closed;       /* nghttp2 has no such stream any more */
    uint64_t moved;    /* loop milliseconds: the last byte either way */
    uint64_t answered; /* when the answer was out before the request was in; 0: it was not */
};

struct h2 {
    struct conn *conn;
    nghttp2_session *session;
    LIST_HEAD(, h2_stream) streams;
    TAILQ_HEAD(h2_dirty, h2_stream) dirty;
    size_t n_streams, n_dirty;
    bool going;     /* GOAWAY is out: no new streams */
    uint64_t moved; /* the last byte either way */
    size_t unheard; /* bytes that came since the library last told of a frame */
    double calm;    /* what is left of the patience with frames that only make work */
    uint64_t calm_at;
};

/* h2.c */
void h2_start(struct conn *c);                         /* IDLE -> MULTI */
void h2_feed(struct conn *c, const char *p, size_t n); /* bytes of the client, from its preface on */
bool h2_reads(const struct conn *c);
void h2_flush(struct conn *c);
void h2_timer(struct conn *c);
void h2_eof(struct conn *c);              /* the client sends nothing more */
void h2_stop(struct conn *c);             /* the server stops */
void h2_lost(struct conn *c);             /* the connection is at its end */
bool h2_is_gone(struct conn *c);          /* after h2_lost: all exchanges are back, and c->h2 is freed */
void h2_go(struct h2 *h2, uint32_t code); /* GOAWAY; ends when the streams have */
void h2_dirty(struct h2_stream *s);
void h2_release(struct h2_stream *s); /* closed: freed now, or when the exchange is back */
/* False, once patience is at its end: the connection is being given up. */
bool h2_calm(struct h2 *h2, double cost);

/* h2_in.c */
void h2_in_callbacks(nghttp2_session_callbacks *cb);

/* h2_out.c */
extern const struct carrier h2_carrier;
void h2_out_callbacks(nghttp2_session_callbacks *cb);
bool h2_has_output(const struct h2_stream *s); /* bytes, or the end of them */

#endif
