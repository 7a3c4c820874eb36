#include "agent/wire.h"

#include <errno.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nss.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "base/thread.h"

#if MBEDTLS_VERSION_MAJOR >= 3
#include <psa/crypto.h>
#define TICKET MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
#else
#define TICKET MBEDTLS_ERR_SSL_WANT_READ /* TLS 1.3 sends these, which this version does not speak */
#endif

struct wire_trust {
    pthread_mutex_t lock; /* guards loaded, while the certificates are read */
    bool loaded;
    mbedtls_x509_crt certs;
};

/* Each connection has its own random numbers and settings: the library's are not made for sharing between threads. */
struct tls {
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
};
struct wire {
    int fd;
    struct tls *tls;
};

/* ---- waiting -------------------------------------------------------------------------------------------------- */

static int wait_for(int fd, short events, const struct ctx *ctx, struct err *err)
{
    for (;;) {
        if (ctx_check(ctx, err) < 0)
            return -1;
        struct pollfd p = {.fd = fd, .events = events};
        int64_t left = ctx_left_ns(ctx);
        int n = poll(&p, 1, left > 100 * NS_PER_MS ? 100 : (int)(left / NS_PER_MS) + 1);
        if (n < 0 && errno != EINTR)
            return err_errno(err, "waiting for a connection");
        if (n > 0)
            return 0;
    }
}

/* ---- connecting ----------------------------------------------------------------------------------------------- */

static int connect_one(const struct addrinfo *a, const struct ctx *ctx, struct err *err)
{
    AUTOCLOSE int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, "making a socket");
    if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
        int e = errno;
        socklen_t n = sizeof e;
        if (e == EINPROGRESS) {
            if (wait_for(fd, POLLOUT, ctx, err) < 0)
                return -1;
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n);
        }
        if (e)
            return err_set(err, ERR_UNAVAILABLE, "connecting: %s", strerror(e));
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    int out = fd;
    fd = -1;
    return out;
}

/* A static program must not load modules that an image's nsswitch.conf names: they belong to another libc. */
static void only_files_and_dns(void) { __nss_configure_lookup("hosts", "files dns"); }

static int connect_any(const char *host, int port, const struct ctx *ctx, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, only_files_and_dns);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;
    char service[8];
    snprintf(service, sizeof service, "%d", port);
    int rc = getaddrinfo(host, service, &hints, &list), fd = -1;
    if (rc != 0)
        return err_set(err, ERR_UNAVAILABLE, "looking up %s: %s", host, gai_strerror(rc));
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
        fd = connect_one(a, ctx, err);
    freeaddrinfo(list);
    return fd;
}

/* ---- TLS ------------------------------------------------------------------------------------------------------ */

static int tls_error(int rc, const char *doing, struct err *err)
{
    char text[160];
    mbedtls_strerror(rc, text, sizeof text);
    return err_set(err, ERR_IO, "%s: %s", doing, text);
}

struct wire_trust *wire_trust_new(const char *ca_pem, struct err *err)
{
    struct wire_trust *t = xcalloc(1, sizeof *t);
    ASSERT(pthread_mutex_init(&t->lock, NULL) == 0);
    mbedtls_x509_crt_init(&t->certs);
    if (!ca_pem)
        return t;
    t->loaded = true;
    int rc = mbedtls_x509_crt_parse(&t->certs, (const unsigned char *)ca_pem, strlen(ca_pem) + 1);
    if (rc == 0)
        return t;
    err_set(err, ERR_INVALID, "the certificates to be trusted are no certificates in PEM");
    wire_trust_free(t);
    return NULL;
}

void wire_trust_free(struct wire_trust *t)
{
    if (!t)
        return;
    mbedtls_x509_crt_free(&t->certs);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static int load_system(struct wire_trust *t, struct err *err)
{
    static const char *const places[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                         "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"};
    LOCK_GUARD(&t->lock);
    if (t->loaded)
        return 0;
    const char *given = getenv("SSL_CERT_FILE");
    /* > 0: so many certificates were of a kind that the library does not know; the others count. */
    if (!str_empty(given) && mbedtls_x509_crt_parse_file(&t->certs, given) >= 0)
        t->loaded = true;
    for (size_t i = 0; i < ARRAY_LEN(places) && !t->loaded; i++)
        t->loaded = mbedtls_x509_crt_parse_file(&t->certs, places[i]) >= 0;
    if (t->loaded)
        return 0;
    return err_set(err, ERR_INVALID,
                   "this image has no certificates to trust, neither in SSL_CERT_FILE nor in /etc/ssl/certs: TLS to the "
                   "artifact store needs them");
}

static int bio_send(void *self, const unsigned char *p, size_t n)
{
    ssize_t done = send(((struct wire *)self)->fd, p, n, MSG_NOSIGNAL);
    if (done >= 0)
        return (int)done;
    return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_WRITE : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

static int bio_recv(void *self, unsigned char *p, size_t n)
{
    ssize_t got = recv(((struct wire *)self)->fd, p, n, 0);
    if (got >= 0)
        return (int)got;
    return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

static struct tls *tls_new(struct wire *w, const char *host, struct wire_trust *trust, struct err *err)
{
    struct tls *t = xcalloc(1, sizeof *t);
    mbedtls_ssl_init(&t->ssl);
    mbedtls_ssl_config_init(&t->config);
    mbedtls_entropy_init(&t->entropy);
    mbedtls_ctr_drbg_init(&t->random);
    w->tls = t;
#if MBEDTLS_VERSION_MAJOR >= 3
    psa_crypto_init();
#endif
    int rc = mbedtls_ctr_drbg_seed(&t->random, mbedtls_entropy_func, &t->entropy, NULL, 0);
    if (rc == 0)
        rc = mbedtls_ssl_config_defaults(&t->config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                         MBEDTLS_SSL_PRESET_DEFAULT);
    mbedtls_ssl_conf_authmode(&t->config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&t->config, &trust->certs, NULL);
    mbedtls_ssl_conf_rng(&t->config, mbedtls_ctr_drbg_random, &t->random);
#if MBEDTLS_VERSION_MAJOR < 3
    mbedtls_ssl_conf_min_version(&t->config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
    if (rc == 0)
        rc = mbedtls_ssl_setup(&t->ssl, &t->config);
    if (rc == 0)
        rc = mbedtls_ssl_set_hostname(&t->ssl, host);
    mbedtls_ssl_set_bio(&t->ssl, w, bio_send, bio_recv, NULL);
    if (rc == 0)
        return t;
    tls_error(rc, "preparing TLS", err);
    return NULL;
}

/* Waits for what a call wants. 0: call again; -1: it failed. */
static int tls_wants(struct wire *w, int rc, const char *doing, const struct ctx *ctx, struct err *err)
{
    if (rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE)
        return wait_for(w->fd, rc == MBEDTLS_ERR_SSL_WANT_READ ? POLLIN : POLLOUT, ctx, err);
    if (rc == TICKET)
        return 0;
    return tls_error(rc, doing, err);
}

static int handshake(struct wire *w, const char *host, struct wire_trust *trust, const struct ctx *ctx, struct err *err)
{
    if (load_system(trust, err) < 0 || !tls_new(w, host, trust, err))
        return -1;
    int rc;
    while ((rc = mbedtls_ssl_handshake(&w->tls->ssl)) != 0) {
        uint32_t flags = mbedtls_ssl_get_verify_result(&w->tls->ssl);
        if (rc == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED) {
            char why[256];
            int n = mbedtls_x509_crt_verify_info(why, sizeof why, "", flags);
            while (n > 0 && why[n - 1] == '\n')
                why[--n] = '\0';
            return err_set(err, ERR_FORBIDDEN, "the server's certificate is not trusted: %s", n > 0 ? why : "refused");
        }
        if (tls_wants(w, rc, "TLS handshake", ctx, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the face ------------------------------------------------------------------------------------------------- */

struct wire *wire_open(const char *host, int port, bool tls, struct wire_trust *trust, const struct ctx *ctx, struct err *err)
{
    int fd = connect_any(host, port, ctx, err);
    if (fd >= 0) {
        struct wire *w = xcalloc(1, sizeof *w);
        w->fd = fd;
        if (!tls || handshake(w, host, trust, ctx, err) == 0)
            return w;
        wire_close(w);
    }
    err_wrap(err, "%s:%d", host, port);
    return NULL;
}

void wire_close(struct wire *w)
{
    if (!w)
        return;
    if (w->tls) {
        mbedtls_ssl_close_notify(&w->tls->ssl);
        mbedtls_ssl_free(&w->tls->ssl);
        mbedtls_ssl_config_free(&w->tls->config);
        mbedtls_ctr_drbg_free(&w->tls->random);
        mbedtls_entropy_free(&w->tls->entropy);
        free(w->tls);
    }
    base_closep(&w->fd);
    free(w);
}

ssize_t wire_read(struct wire *w, void *p, size_t n, const struct ctx *ctx, struct err *err)
{
    for (;;) {
        if (w->tls) {
            int rc = mbedtls_ssl_read(&w->tls->ssl, p, n);
            if (rc >= 0 || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
                return rc < 0 ? 0 : rc;
            if (tls_wants(w, rc, "reading an answer", ctx, err) < 0)
                return -1;
            continue;
        }
        ssize_t got = recv(w->fd, p, n, 0);
        if (got >= 0)
            return got;
        if (errno != EAGAIN && errno != EINTR)
            return err_errno(err, "reading an answer");
        if (wait_for(w->fd, POLLIN, ctx, err) < 0)
            return -1;
    }
}

int wire_write(struct wire *w, const void *p, size_t n, const struct ctx *ctx, struct err *err)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done;
        if (w->tls) {
            int rc = mbedtls_ssl_write(&w->tls->ssl, (const unsigned char *)at, n);
            if (rc < 0 && tls_wants(w, rc, "sending a request", ctx, err) < 0)
                return -1;
            done = rc < 0 ? 0 : rc;
        } else {
            done = send(w->fd, at, n, MSG_NOSIGNAL);
            if (done < 0 && errno != EAGAIN && errno != EINTR)
                return err_errno(err, "sending a request");
            if (done < 0 && wait_for(w->fd, POLLOUT, ctx, err) < 0)
                return -1;
            done = done < 0 ? 0 : done;
        }
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

bool wire_stale(const struct wire *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN | POLLRDHUP};
    return poll(&p, 1, 0) != 0;
}
