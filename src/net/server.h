/* server.h - HTTP servers: listeners, event loops, workers, limits and the defence of the browser's user. */
#ifndef TM_NET_SERVER_H
#define TM_NET_SERVER_H

#include "base/thread.h"
#include "net/http.h"

struct tls_server_config {
    const char *cert_pem, *key_pem; /* PEM texts; copied */
    const char *client_ca_pem;      /* client certificates are asked for, and must verify when given; may be NULL */
};

struct mount {
    const char *prefix; /* "/" or "/pipeline": stripped before routing when strip is set */
    bool strip;
    const struct http_api *api;
};

struct server_limits {            /* zero: the default in brackets */
    size_t max_header_bytes;      /* [64 KiB] together, else 431 */
    size_t max_headers;           /* [100] */
    int64_t header_timeout_ms;    /* [10,000] from the first byte to the end of the header: slow clients get 408 */
    int64_t body_idle_timeout_ms; /* [30,000] between two reads of a body */
    int64_t idle_timeout_ms;      /* [75,000] between requests of a connection */
    int64_t write_timeout_ms;     /* [60,000] with no byte taken by the peer; not for a stream with an empty queue */
    size_t max_connections;       /* [10,000] beyond: closed at once */
    size_t max_body_in_flight;    /* [256 MiB] request bodies held by all connections together; beyond: 503 */
    size_t max_stream_queue;      /* [16 MiB] a stream that queues more is aborted */
    /* Answers that a client does not read are held in memory, up to [64 MiB] for one connection and [512 MiB] in all; beyond,
     * what only reads is 429, what has changed something is cut, and streams with a queue are aborted. */
    size_t max_held_connection, max_held;
    unsigned workers; /* [64] threads at most that run handlers */
};

struct listener_config {
    const char *address;                 /* "127.0.0.1:8080", "[::1]:0", "unix:/path" */
    const struct tls_server_config *tls; /* NULL: plain */
    const struct mount *mounts;          /* the longest prefix that matches wins; copied */
    size_t n_mounts;
    /* Before routing: an unknown Host is 421 (names that are right: the address listened on, "localhost", loopback addresses when
     * it is one, and these); an unsafe method or an upgrade with a foreign Origin or a cross-site Sec-Fetch-Site is 403. */
    const char *const *extra_hosts; /* NULL-terminated; "*" allows any; may be NULL */
    bool check_browser;             /* Origin and Sec-Fetch-Site */
    const char *flag;               /* the command line flag that sets the address, for error messages */
};

struct http_server;
struct http_server *http_server_new(const struct server_limits *limits, struct err *err);
/* Binds and listens; requests are answered once http_server_start was called. A port in use: ERR_CONFLICT, the message names the
 * process that holds it (from /proc) and the flag. *port_out gets the port in use (port 0 takes a free one). */
int http_server_listen(struct http_server *s, const struct listener_config *cfg, int *port_out, struct err *err);
int http_server_start(struct http_server *s, struct err *err); /* starts the loop threads */
/* Stops accepting, ends streams cleanly, waits for running handlers at most grace_ms, closes everything, frees. Handlers that
 * still run then are cancelled through their ctx, and waited for: a thread cannot be taken away. */
void http_server_stop(struct http_server *s, int64_t grace_ms);
size_t http_server_connections(const struct http_server *s);

/* The user id that owns the other end of a loopback TCP connection of this machine, asked of the kernel (sock_diag). -1 with
 * ERR_NOT_FOUND when it cannot be told (another network namespace, already closed). */
int peer_uid(const struct http_peer *peer, unsigned *uid, struct err *err);
/* Whoever is to count as one caller, as text: an address of IPv4, the first half of one of IPv6 (the rest is the caller's to
 * choose), all callers by a unix socket together. */
#define PEER_SOURCE_TEXT 48
const char *peer_source(const struct http_peer *peer, char out[PEER_SOURCE_TEXT]);

/* Self-signed authority and certificates (ECDSA P-256), PEM texts that the caller frees. */
int tls_make_ca(const char *common_name, char **cert_pem, char **key_pem, struct err *err);
/* names: DNS names and IP addresses, NULL-terminated; orgs (may be NULL) for client certificates. */
int tls_make_cert(const char *ca_cert_pem, const char *ca_key_pem, const char *common_name, const char *const *orgs,
                  const char *const *names, bool client, char **cert_pem, char **key_pem, struct err *err);

#endif
