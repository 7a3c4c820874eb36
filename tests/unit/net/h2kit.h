/* h2kit.h - an HTTP/2 client of the tests: nghttp2 on a socket, in the test's own thread, so that a test decides when bytes move
 * and may send what no decent client would. */
#ifndef TM_TESTS_NET_H2KIT_H
#define TM_TESTS_NET_H2KIT_H

#include "kit.h"

#include <nghttp2/nghttp2.h>

#define PEER_STREAMS 600
struct peer_stream {
    int32_t id;
    int status;
    struct buf head; /* "name: value\n" ... */
    struct buf body;
    bool interim; /* a 100 came */
    bool ended;   /* END_STREAM */
    bool closed;
    uint32_t code;    /* how it was closed */
    const char *send; /* the request's body */
    size_t send_len, sent;
    bool send_open; /* more may follow: the body does not end here */
};
struct peer {
    int fd;
    nghttp2_session *session;
    struct peer_stream streams[PEER_STREAMS];
    size_t n;
    bool gone, goaway; /* the connection was closed; GOAWAY came */
    uint32_t goaway_code;
    bool hold; /* windows are not opened again */
};
struct peer *peer_open(int port);
struct peer *peer_open_with(int port, uint32_t stream_window); /* SETTINGS_INITIAL_WINDOW_SIZE, and windows are held */
void peer_close(struct peer *p);
/* extra: "name: value\n" ..., or NULL; the body is not copied. */
struct peer_stream *peer_ask(struct peer *p, const char *method, const char *path, const char *extra, const char *body,
                             size_t len);
struct peer_stream *peer_get(struct peer *p, const char *path);
struct peer_stream *peer_ask_open(struct peer *p, const char *method, const char *path, const char *extra, const char *body,
                                  size_t len); /* does not end its body */
void peer_send_more(struct peer *p, struct peer_stream *s, const char *body, size_t len, bool end);
void peer_flush(struct peer *p);
/* Moves bytes until the stream is closed, or its body has the text, or the connection is gone; 10 seconds at most, then it fails.
 * Either may be NULL. */
void peer_until(struct peer *p, struct peer_stream *s, const char *text);
void peer_run(struct peer *p, int64_t ms);                     /* moves bytes for so long, or until the connection is gone */
void peer_until_status(struct peer *p, struct peer_stream *s); /* until its answer began */
void peer_until_gone(struct peer *p);
/* A whole request and its answer on a connection of its own; the caller frees "status\nhead\nbody". */
char *peer_talk(int port, const char *method, const char *path, const char *extra, const char *body);

#endif
