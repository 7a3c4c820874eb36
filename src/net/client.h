/* client.h - the HTTP client: blocking, with deadline and cancel from the context, TLS, keep-alive, and bodies that can be read
 * in pieces (watches, logs). An https server that has HTTP/2 is spoken to on one connection, shared by all calls of all threads;
 * else each call has a connection, kept for the next. Used by the CLI, by the proxy and (later) by the remote Kubernetes API. */
#ifndef TM_NET_CLIENT_H
#define TM_NET_CLIENT_H

#include "net/http.h"

struct http_client;
struct http_client_config {
    const char *ca_pem; /* trust only these; NULL: the system's, read when the first https address is asked */
    const char *client_cert_pem, *client_key_pem;
    bool insecure;           /* do not verify */
    const char *server_name; /* instead of the URL's host in TLS */
    const char *user_agent;  /* NULL: tidemill/<version> */
    const char *proxy;       /* "http://[user:password@]host:port" (CONNECT) or "socks5://..."; NULL: none */
    size_t max_response;     /* of http_fetch; 0: 64 MiB */
    /* URLs are strangers': ERR_FORBIDDEN for what leads to this machine or its link (address.h). With a proxy, which looks names
     * up itself, this is the proxy's to say. */
    bool outside;
};
struct http_client *http_client_new(const struct http_client_config *cfg, struct err *err);
void http_client_free(struct http_client *c);

#define HTTP_LENGTH_UNKNOWN SIZE_MAX
struct http_call {
    enum http_method method;
    const char *url; /* http:// or https:// ; "unix:/path:/request/path" */
    const struct http_header *headers;
    size_t n_headers;
    const void *body;
    size_t body_len;
    int body_fd; /* > 0: body_len bytes are read from this file instead (from its current offset) */
    /* The body in pieces instead: called until it gives 0 (the end); -1 gives the call up. body_len is what it gives in all, or
     * HTTP_LENGTH_UNKNOWN. Such a call is never sent a second time once a piece was taken. */
    ssize_t (*body_read)(void *self, void *p, size_t n, struct err *err);
    void *body_self;
};
struct http_answer {
    int status;
    struct http_header *headers; /* names in lower case */
    size_t n_headers;
    struct buf body;
};
/* 0 for any complete answer, whatever its status. The caller calls http_answer_free. Idempotent requests are sent once more when
 * a kept connection turned out to be closed. */
int http_fetch(struct http_client *c, const struct ctx *ctx, const struct http_call *call, struct http_answer *out,
               struct err *err);
void http_answer_free(struct http_answer *a);
const char *http_answer_header(const struct http_answer *a, const char *lower_name);

/* Reads the body in pieces: open, then read until 0. */
struct http_body;
struct http_body *http_open(struct http_client *c, const struct ctx *ctx, const struct http_call *call, struct http_answer *head,
                            struct err *err);
/* > 0: bytes; 0: clean end; -1: broken, timeout or cancelled. After ERR_TIMEOUT and ERR_CANCELLED reading may go on. */
ssize_t http_body_read(struct http_body *b, const struct ctx *ctx, void *p, size_t n, struct err *err);
void http_body_close(struct http_body *b);
/* After an answer 101 to a call that had an Upgrade field: http_body_read gives the peer's bytes, this sends ours, all of them.
 * One thread may read while another writes. */
int http_body_write(struct http_body *b, const struct ctx *ctx, const void *p, size_t n, struct err *err);

#endif
