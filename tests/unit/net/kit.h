/* kit.h - what the tests of net/ share: a server with known routes on a free port, and a client made of a bare socket, so that
 * every byte that is sent is the test's own. */
#ifndef TM_TESTS_NET_KIT_H
#define TM_TESTS_NET_KIT_H

#include "unit.h"

#include <stdatomic.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/thread.h"
#include "net/http.h"
#include "net/server.h"

struct kit {
    struct http_server *server;
    int port;
};
extern const struct http_api kit_api;
extern atomic_int kit_uploads;   /* bodies that the handler of /upload has done with, well or not */
extern atomic_int kit_slow_most; /* how many of /slow ran at once, at most */
extern atomic_int kit_begun;     /* how often handlers of /upload, /slow and /waits began */
/* Waits until a counter is at least n, for as long as a busy machine may take; the caller asserts what it is. */
void kit_wait(atomic_int *counter, int n);
void kit_wait_connections(struct kit *k, int n); /* until the server has no more than n, or that long */
void kit_start(struct kit *k, const struct server_limits *limits);
void kit_start_with(struct kit *k, const struct server_limits *limits,
                    struct listener_config *cfg); /* address and mounts are filled when NULL */
void kit_stop(struct kit *k);

int kit_connect(int port);
void kit_send(int fd, const char *text);
void kit_send_n(int fd, const void *p, size_t n);
/* Reads until the text contains want, or the end of the connection, or a minute. Appends. */
void kit_read_until(int fd, struct buf *out, const char *want);
void kit_read_all(int fd, struct buf *out); /* to the end of the connection */
/* Sends a request on a new connection and returns all that comes until the connection ends; the caller frees. */
char *kit_talk(int port, const char *request);
char *kit_get(int port, const char *path); /* GET with Host and Connection: close */
#define assert_has(text, part)                                                                                                   \
    do {                                                                                                                         \
        if (!strstr((text), (part)))                                                                                             \
            fail_msg("\"%s\" is not in:\n%s", (part), (text));                                                                   \
    } while (0)
#define assert_status(text, status)                                                                                              \
    do {                                                                                                                         \
        if (strncmp((text), "HTTP/1.1 " #status, 12) != 0)                                                                       \
            fail_msg("not " #status ":\n%s", (text));                                                                            \
    } while (0)
int64_t kit_now_ms(void);

#endif
