#include "net/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

int tls_err(struct err *err, enum err_code code, const char *what)
{
    unsigned long e = ERR_peek_last_error();
    char text[256] = "no reason given";
    if (e) {
        const char *reason = ERR_reason_error_string(e);
        if (reason)
            snprintf(text, sizeof text, "%s", reason);
        else
            ERR_error_string_n(e, text, sizeof text);
    }
    ERR_clear_error();
    return err_set(err, code, "%s: %s", what, text);
}

/* ---- the BIO ---- */

static int sock_fd(BIO *b) { return (int)(intptr_t)BIO_get_data(b); }

static int result(BIO *b, ssize_t n, int retry)
{
    BIO_clear_retry_flags(b);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_flags(b, retry | BIO_FLAGS_SHOULD_RETRY);
    return (int)n;
}

static int sock_write(BIO *b, const char *p, int n)
{
    return result(b, send(sock_fd(b), p, (size_t)n, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static int sock_read(BIO *b, char *p, int n)
{
    ssize_t got = recv(sock_fd(b), p, (size_t)n, 0);
    if (got == 0)
        BIO_set_flags(b, BIO_FLAGS_IN_EOF);
    return result(b, got, BIO_FLAGS_READ);
}

static long sock_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    switch (cmd) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0;
    default:
        return 0;
    }
}

static BIO_METHOD *sock_method;

static void make_method(void)
{
    sock_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK | BIO_TYPE_DESCRIPTOR, "tidemill socket");
    ASSERT(sock_method);
    BIO_meth_set_write(sock_method, sock_write);
    BIO_meth_set_read(sock_method, sock_read);
    BIO_meth_set_ctrl(sock_method, sock_ctrl);
}

int tls_attach(SSL *ssl, int fd, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    BIO *b = BIO_new(sock_method);
    if (!b)
        return tls_err(err, ERR_INTERNAL, "making a TLS connection");
    BIO_set_data(b, (void *)(intptr_t)fd);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl, b, b);
    return 0;
}

/* ---- contexts ---- */

static SSL_CTX *new_ctx(const SSL_METHOD *method, struct err *err)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (!ctx) {
        tls_err(err, ERR_INTERNAL, "making a TLS context");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    /* No resumption: a session would carry a client's certificate past its end, and handshakes are cheap with P-256. A peer that
     * closes without a close_notify has closed: HTTP says itself where messages end. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return ctx;
}

static BIO *mem_bio(const char *pem) { return BIO_new_mem_buf(pem, -1); }

static int use_cert(SSL_CTX *ctx, const char *cert_pem, const char *key_pem, struct err *err)
{
    BIO *in = mem_bio(cert_pem);
    X509 *cert = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
    int rc = cert && SSL_CTX_use_certificate(ctx, cert) == 1 ? 0 : tls_err(err, ERR_BAD_REQUEST, "reading the TLS certificate");
    X509_free(cert);
    for (X509 *more; rc == 0 && (more = PEM_read_bio_X509(in, NULL, NULL, NULL));)
        if (SSL_CTX_add0_chain_cert(ctx, more) != 1) {
            X509_free(more);
            rc = tls_err(err, ERR_BAD_REQUEST, "reading the TLS certificate chain");
        }
    ERR_clear_error(); /* the end of the PEM text is reported as an error */
    BIO_free(in);
    if (rc < 0)
        return -1;
    in = mem_bio(key_pem);
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;
    if (!key || SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        rc = tls_err(err, ERR_BAD_REQUEST, "reading the private key of the TLS certificate");
    EVP_PKEY_free(key);
    BIO_free(in);
    return rc;
}

static int trust(SSL_CTX *ctx, const char *ca_pem, bool announce, struct err *err)
{
    BIO *in = mem_bio(ca_pem);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    size_t n = 0;
    int rc = 0;
    for (X509 *ca; rc == 0 && in && (ca = PEM_read_bio_X509(in, NULL, NULL, NULL)); n++) {
        if (X509_STORE_add_cert(store, ca) != 1 || (announce && SSL_CTX_add_client_CA(ctx, ca) != 1))
            rc = tls_err(err, ERR_BAD_REQUEST, "reading the certificate authority");
        X509_free(ca);
    }
    BIO_free(in);
    ERR_clear_error();
    if (rc == 0 && n == 0)
        rc = err_set(err, ERR_BAD_REQUEST, "the certificate authority holds no PEM certificate");
    return rc;
}

/* A client that offers only something else is answered without ALPN, as most servers do. */
static int pick_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len,
                     void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    return SSL_select_next_proto((unsigned char **)out, out_len, ours, sizeof ours - 1, in, in_len) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

SSL_CTX *tls_server_ctx(const struct tls_server_config *cfg, struct err *err)
{
    SSL_CTX *ctx = new_ctx(TLS_server_method(), err);
    if (!ctx)
        return NULL;
    if (use_cert(ctx, cfg->cert_pem, cfg->key_pem, err) < 0 ||
        (cfg->client_ca_pem && trust(ctx, cfg->client_ca_pem, true, err) < 0)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    if (cfg->client_ca_pem)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, pick_alpn, NULL);
    return ctx;
}

SSL_CTX *tls_client_ctx(const struct http_client_config *cfg, struct err *err)
{
    SSL_CTX *ctx = new_ctx(TLS_client_method(), err);
    if (!ctx)
        return NULL;
    SSL_CTX_set_verify(ctx, cfg->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    int rc = 0;
    if (cfg->ca_pem)
        rc = trust(ctx, cfg->ca_pem, false, err);
    if (rc == 0 && cfg->client_cert_pem && cfg->client_key_pem)
        rc = use_cert(ctx, cfg->client_cert_pem, cfg->client_key_pem, err);
    if (rc < 0) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

int tls_trust_system(SSL_CTX *ctx, struct err *err)
{
    ERR_clear_error();
    return SSL_CTX_set_default_verify_paths(ctx) == 1
               ? 0
               : tls_err(err, ERR_INTERNAL, "loading the system's certificate authorities");
}

bool tls_chose_h2(const SSL *ssl)
{
    const unsigned char *name;
    unsigned n;
    SSL_get0_alpn_selected(ssl, &name, &n);
    return n == 2 && memcmp(name, "h2", 2) == 0;
}

void tls_offer_h2(SSL *ssl)
{
    static const unsigned char offers[] = "\x02h2\x08http/1.1";
    SSL_set_alpn_protos(ssl, offers, sizeof offers - 1);
}

/* ---- who is it ---- */

static const char *entry_text(const X509_NAME *name, int at, struct arena *a)
{
    unsigned char *utf8 = NULL;
    int len = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    /* A NUL inside would make "admin\0.evil" read as "admin". */
    const char *text = len < 0 || memchr(utf8, 0, (size_t)len) ? NULL : arena_strndup(a, (const char *)utf8, (size_t)len);
    OPENSSL_free(utf8);
    return text;
}

void tls_peer_names(SSL *ssl, struct arena *a, const char **cn, const char *const **orgs)
{
    *cn = NULL;
    *orgs = NULL;
    X509 *cert = SSL_get0_peer_certificate(ssl);
    if (!cert || SSL_get_verify_result(ssl) != X509_V_OK)
        return;
    const X509_NAME *name = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID((X509_NAME *)name, NID_commonName, -1);
    if (at < 0 || !(*cn = entry_text(name, at, a)))
        return;
    const char **list = arena_alloc(a, ((size_t)X509_NAME_entry_count(name) + 1) * sizeof *list);
    size_t n = 0;
    for (at = -1; (at = X509_NAME_get_index_by_NID((X509_NAME *)name, NID_organizationName, at)) >= 0;) {
        const char *org = entry_text(name, at, a);
        if (org)
            list[n++] = org;
    }
    *orgs = list;
}
