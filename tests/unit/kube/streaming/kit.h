/* kit.h - a server whose /process and /forward are streams of kube/streaming, the far ends of what they carry, and clients. */
#ifndef TM_TESTS_STREAMING_KIT_H
#define TM_TESTS_STREAMING_KIT_H

#include "unit.h"

#include "base/str.h"
#include "kube/streaming/streaming.h"
#include "net/server.h"
#include "net/upgrade/websocket.h"

int kit_up(void **state); /* set-up and tear-down of a test */
int kit_down(void **state);
extern int kit_port;

struct ctx kit_soon(void); /* 30 s */

/* The program's side of a process: what its standard descriptors are to it. -1: not there. */
struct far {
    int in, out, err, status, tty;
};
/* Makes the process that the next request to /process gets. in and out of a terminal are `tty`, its slave. */
void far_open(struct far *f, bool tty);
void far_close(struct far *f);
void far_ends(struct far *f, const char *how); /* "exit 0", "fail 127 ...": what the node's helper says */
void far_expect(int fd, const char *text);     /* reads exactly that */
bool far_closed(int fd);                       /* within 10 s the other side is gone */
size_t far_fill(int fd, size_t max); /* writes without waiting: how much was taken, until nothing was for half a second */

/* The port where /forward leads, whatever is asked: of this listener. */
extern int kit_forward_to;

/* ---- a WebSocket client with channels ---- */

enum { CHANNELS = 8 };
struct talk {
    struct http_client *http;
    struct ws_client *ws;
    struct buf got[CHANNELS]; /* what came on each */
    bool closed;
};
void talk_open(struct talk *t, const char *path, const char *protocol);
void talk_close(struct talk *t);
void talk_send(struct talk *t, unsigned char channel, const char *bytes, size_t n);
void talk_wait(struct talk *t, unsigned channel, size_t n); /* until so much came on it; fails the test when it is closed first */
void talk_end(struct talk *t);                              /* until it is closed */

/* ---- a SPDY client ---- */

struct spdy_talk {
    int fd;
    void *z;                      /* its compressor */
    struct buf sent;              /* frames that wait for spdy_send */
    struct buf in;                /* bytes of the server */
    struct buf got[CHANNELS * 2]; /* data by stream number */
    bool ended[CHANNELS * 2], reset[CHANNELS * 2], closed;
};
void spdy_talk_open(struct spdy_talk *t, const char *path, const char *protocol);
void spdy_talk_close(struct spdy_talk *t);
void spdy_stream(struct spdy_talk *t, unsigned id, const char *const *pairs); /* names and values, NULL at the end */
void spdy_bytes(struct spdy_talk *t, unsigned id, bool end, const char *p, size_t n);
void spdy_cut(struct spdy_talk *t, unsigned id);   /* RST_STREAM */
void spdy_send(struct spdy_talk *t, size_t piece); /* what waits, so many bytes at a time; 0: all at once */
void spdy_read(struct spdy_talk *t, bool (*until)(const struct spdy_talk *, const void *arg), const void *arg);

#endif
