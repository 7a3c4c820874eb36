/* dial.h - the client's connections: blocking for the caller, until its deadline or cancel, on non-blocking sockets. Private to
 * net/. */
#ifndef TM_NET_DIAL_H
#define TM_NET_DIAL_H

#include <openssl/ssl.h>
#include <pthread.h>

#include "base/ctx.h"
#include "net/url.h"

struct wire {
    int fd;
    SSL *ssl;
    pthread_mutex_t lock; /* guards ssl: one thread may read while another writes */
    bool reused;          /* came out of the pool of kept connections */
    char *key;            /* what it is connected to */
    int64_t idle_since_ns;
    struct wire *next;
};
struct proxy;
struct dialling {
    SSL_CTX *tls;              /* this and the next are used for https only */
    const char *verify_name;   /* NULL: the URL's host */
    const struct proxy *proxy; /* NULL: none */
    bool outside;              /* not to addresses that are near (address.h) */
    bool h2;                   /* offered by ALPN */
};
struct wire *wire_dial(const struct url *u, const struct dialling *how, const struct ctx *ctx, struct err *err);
void wire_free(struct wire *w);
/* Has the peer closed it, or said something that nobody asked for? */
bool wire_stale(const struct wire *w);
/* > 0, 0 at the peer's end, -1. */
ssize_t wire_read(struct wire *w, void *p, size_t n, const struct ctx *ctx, struct err *err);
/* All of it. On a plain connection *early is set, and writing ends, when the peer answers before it has everything. early NULL:
 * the peer may say what it likes meanwhile. */
int wire_write(struct wire *w, const void *p, size_t n, bool *early, const struct ctx *ctx, struct err *err);

/* Without waiting: > 0, 0 when nothing can be done now (*end: ever), -1. */
ssize_t wire_try_read(struct wire *w, void *p, size_t n, bool *end, struct err *err);
ssize_t wire_try_write(struct wire *w, const void *p, size_t n, struct err *err);
/* Waits for a descriptor (POLLIN, POLLOUT), the deadline or the cancel. The events, or -1. */
int fd_wait(int fd, short events, const struct ctx *ctx, struct err *err);

#endif
