/* tls.h - OpenSSL set up for us: contexts, and a BIO on a non-blocking socket. Private to net/.
 *
 * OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE when the peer is gone; ours uses send(2) with MSG_NOSIGNAL.
 */
#ifndef TM_NET_TLS_H
#define TM_NET_TLS_H

#include <openssl/ssl.h>

#include "base/arena.h"
#include "base/err.h"
#include "net/client.h"
#include "net/server.h"

SSL_CTX *tls_server_ctx(const struct tls_server_config *cfg, struct err *err);
/* Without ca_pem nobody is trusted yet, unless the configuration is insecure. */
SSL_CTX *tls_client_ctx(const struct http_client_config *cfg, struct err *err);
/* Reads the system's authorities: some 20 ms and a megabyte. */
int tls_trust_system(SSL_CTX *ctx, struct err *err);
/* Binds ssl to fd, which stays the caller's. */
int tls_attach(SSL *ssl, int fd, struct err *err);
/* err_set with the reason from OpenSSL's queue, which is emptied. */
int tls_err(struct err *err, enum err_code code, const char *what);
bool tls_chose_h2(const SSL *ssl); /* by ALPN */
void tls_offer_h2(SSL *ssl);       /* a client, before the handshake: h2, else http/1.1 */
/* Common name and organisations of the verified peer; *cn NULL without a certificate. */
void tls_peer_names(SSL *ssl, struct arena *a, const char **cn, const char *const **orgs);

#endif
