#include "net/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/thread.h"
#include "net/address.h"
#include "net/proxy.h"
#include "net/tls.h"

#define CANCEL_POLL_MS 100 /* for a cancel without a descriptor */

/* Waits for the socket, the deadline or the cancel. Returns the events, or -1. */
int fd_wait(int fd, short events, const struct ctx *ctx, struct err *err)
{
    for (;;) {
        if (ctx_check(ctx, err) < 0)
            return -1;
        struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = ctx->cancel ? ctx->cancel->fd : -1, .events = POLLIN}};
        int64_t left = ctx_left_ns(ctx);
        int ms = left == INT64_MAX ? -1 : left / NS_PER_MS > 3600000 ? 3600000 : (int)(left / NS_PER_MS) + 1;
        if (ctx->cancel && ctx->cancel->fd < 0 && (ms < 0 || ms > CANCEL_POLL_MS))
            ms = CANCEL_POLL_MS;
        int n = poll(p, 2, ms);
        if (n < 0 && errno != EINTR)
            return err_errno(err, "waiting for a connection");
        if (n > 0 && p[0].revents)
            return p[0].revents;
    }
}

/* ---- connecting ---- */

static int connect_one(int family, const struct sockaddr *sa, socklen_t len, const struct ctx *ctx, struct err *err)
{
    AUTOCLOSE int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, "making a socket");
    if (connect(fd, sa, len) < 0) {
        if (errno == EINPROGRESS) {
            if (fd_wait(fd, POLLOUT, ctx, err) < 0)
                return -1;
            int e = 0;
            socklen_t n = sizeof e;
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n);
            errno = e;
        }
        if (errno) {
            err_errno(err, "connecting");
            if (err)
                err->code = ERR_UNAVAILABLE;
            return -1;
        }
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    /* A watch waits for hours on a peer that may have gone without a word: after 45 s of silence to probes it is given up. */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){30}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){5}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){3}, sizeof(int));
    int got = fd;
    fd = -1;
    return got;
}

static int connect_unix(const char *path, const struct ctx *ctx, struct err *err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof un.sun_path)
        return err_set(err, ERR_BAD_REQUEST, "the path of the unix socket is too long: %s", path);
    memcpy(un.sun_path, path, strlen(path));
    return connect_one(AF_UNIX, (struct sockaddr *)&un, sizeof un, ctx, err);
}

static bool any_near(const struct addrinfo *list)
{
    for (; list; list = list->ai_next)
        if (address_is_near(list->ai_addr))
            return true;
    return false;
}

/* Each address of the name in turn. The look-up itself follows the resolver's own time-outs: it cannot be interrupted. */
static int connect_tcp(const struct url *u, bool outside, const struct ctx *ctx, struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG}, *list = NULL;
    char port[8];
    snprintf(port, sizeof port, "%d", u->port);
    if (strchr(u->host, ':') || strcmp(u->host, "localhost") == 0)
        hints.ai_flags = AI_NUMERICSERV; /* loopback addresses do not count as configured */
    int rc = getaddrinfo(u->host, port, &hints, &list);
    if (rc != 0)
        return err_set(err, ERR_UNAVAILABLE, "looking up %s: %s", u->host, gai_strerror(rc));
    int fd = -1;
    if (outside && any_near(list)) {
        freeaddrinfo(list);
        return err_set(err, ERR_FORBIDDEN, "%s leads to this machine or its own link, where strangers have nothing to ask for",
                       u->host);
    }
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = connect_one(a->ai_family, a->ai_addr, a->ai_addrlen, ctx, err);
        if (fd < 0 && ctx_check(ctx, NULL) < 0)
            break;
    }
    freeaddrinfo(list);
    return fd;
}

static bool is_ip(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static int handshake_failed(SSL *ssl, struct err *err)
{
    long verdict = SSL_get_verify_result(ssl);
    if (verdict != X509_V_OK && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE) {
        ERR_clear_error();
        return err_set(err, ERR_UNAVAILABLE, "the server's certificate is not trusted: %s",
                       X509_verify_cert_error_string(verdict));
    }
    return tls_err(err, ERR_UNAVAILABLE, "TLS handshake");
}

static int start_tls(struct wire *w, SSL_CTX *tls, const char *name, bool h2, const struct ctx *ctx, struct err *err)
{
    ERR_clear_error();
    w->ssl = SSL_new(tls);
    if (!w->ssl)
        return tls_err(err, ERR_INTERNAL, "making a TLS connection");
    if (tls_attach(w->ssl, w->fd, err) < 0)
        return -1;
    bool ok = is_ip(name) ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(w->ssl), name) == 1
                          : SSL_set1_host(w->ssl, name) == 1 && SSL_set_tlsext_host_name(w->ssl, name) == 1;
    if (h2)
        tls_offer_h2(w->ssl);
    if (!ok)
        return tls_err(err, ERR_BAD_REQUEST, "setting the name that the certificate must have");
    for (;;) {
        ERR_clear_error();
        int rc = SSL_connect(w->ssl);
        if (rc == 1)
            return 0;
        int why = SSL_get_error(w->ssl, rc);
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            return handshake_failed(w->ssl, err);
        if (fd_wait(w->fd, why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, ctx, err) < 0)
            return -1;
    }
}

struct wire *wire_dial(const struct url *u, const struct dialling *how, const struct ctx *ctx, struct err *err)
{
    const struct proxy *proxy = u->socket ? NULL : how->proxy;
    int fd = -1;
    struct wire *w = NULL;
    if (u->socket && how->outside)
        err_set(err, ERR_FORBIDDEN, "sockets of this machine are not for strangers");
    else
        fd =
            u->socket ? connect_unix(u->socket, ctx, err) : connect_tcp(proxy ? &proxy->at : u, how->outside && !proxy, ctx, err);
    if (fd >= 0) {
        w = xcalloc(1, sizeof *w);
        w->fd = fd;
        pthread_mutex_init(&w->lock, NULL);
        if ((!proxy || proxy_tunnel(proxy, w, u, ctx, err) == 0) &&
            (!u->tls || start_tls(w, how->tls, how->verify_name ? how->verify_name : u->host, how->h2, ctx, err) == 0))
            return w;
        wire_free(w);
    }
    err_wrap(err, "%s", u->socket ? u->socket : u->authority);
    return NULL;
}

void wire_free(struct wire *w)
{
    if (!w)
        return;
    if (w->ssl && SSL_is_init_finished(w->ssl)) {
        ERR_clear_error();
        SSL_shutdown(w->ssl);
        ERR_clear_error();
    }
    SSL_free(w->ssl);
    base_closep(&w->fd);
    pthread_mutex_destroy(&w->lock);
    free(w->key);
    free(w);
}

bool wire_stale(const struct wire *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN | POLLRDHUP};
    return poll(&p, 1, 0) != 0;
}

/* ---- bytes ---- */

/* What to wait for after a TLS call that did not succeed; 0: the peer's end, -1: failed. */
static int tls_wants(struct wire *w, int rc, const char *doing, struct err *err)
{
    switch (SSL_get_error(w->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return POLLIN;
    case SSL_ERROR_WANT_WRITE:
        return POLLOUT;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        return err_errno(err, "%s", doing);
    default:
        return tls_err(err, ERR_IO, doing);
    }
}

/* > 0: bytes; 0: the peer's end, -1: failed; or *events says what to wait for. */
static ssize_t tls_read(struct wire *w, void *p, size_t n, int *events, struct err *err)
{
    LOCK_GUARD(&w->lock);
    ERR_clear_error();
    int rc = SSL_read(w->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);
    if (rc > 0)
        return rc;
    *events = tls_wants(w, rc, "reading an answer", err);
    return *events > 0 ? 0 : *events;
}

ssize_t wire_read(struct wire *w, void *p, size_t n, const struct ctx *ctx, struct err *err)
{
    for (;;) {
        int events = POLLIN;
        if (w->ssl) {
            events = 0;
            ssize_t got = tls_read(w, p, n, &events, err);
            if (got != 0 || !events)
                return got;
        } else {
            ssize_t got = recv(w->fd, p, n, 0);
            if (got >= 0)
                return got;
            if (errno != EAGAIN && errno != EINTR)
                return err_errno(err, "reading an answer");
        }
        if (fd_wait(w->fd, (short)events, ctx, err) < 0)
            return -1;
    }
}

/* > 0: bytes; -1: failed; 0: *events says what to wait for. */
static ssize_t tls_write(struct wire *w, const void *p, size_t n, int *events, struct err *err)
{
    LOCK_GUARD(&w->lock);
    ERR_clear_error();
    int rc = SSL_write(w->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);
    if (rc > 0)
        return rc;
    *events = tls_wants(w, rc, "sending a request", err);
    if (*events == 0)
        return err_set(err, ERR_IO, "the server closed the connection while the request was sent");
    return *events < 0 ? -1 : 0;
}

int wire_write(struct wire *w, const void *p, size_t n, bool *early, const struct ctx *ctx, struct err *err)
{
    const char *at = p;
    while (n > 0) {
        int events = early ? POLLOUT | POLLIN : POLLOUT;
        ssize_t done;
        if (w->ssl) {
            done = tls_write(w, at, n, &events, err);
            if (done < 0)
                return -1;
        } else {
            done = send(w->fd, at, n, MSG_NOSIGNAL);
            if (done < 0 && errno != EAGAIN && errno != EINTR)
                return err_errno(err, "sending a request");
        }
        if (done > 0) {
            at += done;
            n -= (size_t)done;
            continue;
        }
        int ready = fd_wait(w->fd, (short)events, ctx, err);
        if (ready < 0)
            return -1;
        if (early && !w->ssl && ready & POLLIN) {
            *early = true;
            return 0;
        }
    }
    return 0;
}

ssize_t wire_try_read(struct wire *w, void *p, size_t n, bool *end, struct err *err)
{
    if (w->ssl) {
        int events = 0;
        ssize_t got = tls_read(w, p, n, &events, err);
        *end = got == 0 && !events;
        return got;
    }
    ssize_t got = recv(w->fd, p, n, 0);
    *end = got == 0;
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        return err_errno(err, "reading an answer");
    return got < 0 ? 0 : got;
}

ssize_t wire_try_write(struct wire *w, const void *p, size_t n, struct err *err)
{
    if (w->ssl) {
        int events;
        return tls_write(w, p, n, &events, err);
    }
    ssize_t done = send(w->fd, p, n, MSG_NOSIGNAL);
    if (done < 0 && errno != EAGAIN && errno != EINTR)
        return err_errno(err, "sending a request");
    return done < 0 ? 0 : done;
}
