/* http.h - requests, answers, route tables and streams: what a handler sees of HTTP.
 *
 * A handler runs on a worker thread, may block, and fills a `struct http_res`; it returns 0, or -1 with an error that the API's
 * own write_error turns into bytes. Or it hands the answer to a stream. HTTP/1.1 and HTTP/2 have the same handlers and streams;
 * which of them carries a request is nobody's business here. */
#ifndef TM_NET_HTTP_H
#define TM_NET_HTTP_H

#include <sys/socket.h>

#include "base/buf.h"
#include "base/ctx.h"
#include "base/err.h"
#include "base/str.h"
#include "value/json.h"

enum http_method {
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_PUT = 8,
    HTTP_PATCH = 16,
    HTTP_DELETE = 32,
    HTTP_OPTIONS = 64,
    HTTP_OTHER = 128
};
const char *http_method_name(enum http_method m);

struct http_header {
    const char *name, *value; /* name in lower case for requests */
};

/* Who is at the other end of the connection. */
struct http_peer {
    struct sockaddr_storage remote, local;
    bool tls;
    bool loopback;       /* both ends are this machine's loopback */
    const char *cert_cn; /* verified client certificate: common name and NULL-terminated organisations; NULL without */
    const char *const *cert_orgs;
};

/* Owned by the server; everything in it lives until the handler has returned, or, when it started a stream, until on_close has.
 */
struct http_req {
    enum http_method method;
    const char *method_text; /* as sent */
    const char *raw_path;    /* as sent, without the query */
    const char *path;        /* repeated slashes collapsed, percent-encoding kept */
    const char *query;       /* raw, without '?'; "" when absent */
    const struct http_header *headers;
    size_t n_headers;
    const char *body; /* NUL-terminated; "" when absent */
    size_t body_len;
    struct http_peer *peer;
    const struct route *route;  /* the route that matched */
    struct http_params *params; /* path parameters, percent-decoded */
    char request_id[37];        /* UUID, also sent as Audit-Id */
};
const char *http_header_get(const struct http_req *r, const char *lower_name); /* first value or NULL */
const char *http_param(const struct http_req *r, const char *name);            /* path parameter, asserts that the route has it */
/* Query parameters, decoded, in order. http_query: first value or NULL. */
const char *http_query(const struct http_req *r, const char *name);
size_t http_query_count(const struct http_req *r, const char *name);
const char *http_query_nth(const struct http_req *r, const char *name, size_t i);
/* For code that walks all of them. False when i is out of range. */
bool http_query_at(const struct http_req *r, size_t i, const char **name, const char **value);
/* Kubernetes' reading of a boolean: absent false; "0" and "false" in any case false; everything else, also "", true. */
bool http_query_bool(const struct http_req *r, const char *name);

/* The body in pieces. On a route with stream_body the handler runs as soon as the head is there, and these wait for the bytes,
 * which never lie in memory together: while nobody reads, the client is held up. > 0: bytes; 0: the end; -1: ERR_TOO_LARGE beyond
 * the route's max_body, ERR_TIMEOUT (408) when the client stalls, ERR_CANCELLED when it is gone, or the end of ctx. A client that
 * asked first (Expect: 100-continue) is told to go on by the first read: who is refused before that is spared the upload. On
 * other routes they give the bytes of body. What a handler leaves unread is thrown away. */
ssize_t http_req_read(struct http_req *req, const struct ctx *ctx, void *p, size_t n, struct err *err);
/* All that is left of it, into a file. size may be NULL. */
int http_req_spool(struct http_req *req, const struct ctx *ctx, int fd, int64_t *size, struct err *err);

/* ---- answers -------------------------------------------------------------------------------------------------- */

struct http_res;
/* Control characters in the value of a header become blanks: it may quote what a client sent. */
void http_status(struct http_res *res, int status);                              /* default 200 */
void http_set_header(struct http_res *res, const char *name, const char *value); /* replaces */
void http_add_header(struct http_res *res, const char *name, const char *value); /* another of that name */
/* The body. Each replaces what was there. Content-Length, Date and HEAD are the server's business. */
void http_body(struct http_res *res, const char *content_type, const void *p, size_t n);  /* copied */
void http_body_buf(struct http_res *res, const char *content_type, struct buf *take);     /* moved out of take */
void http_body_json(struct http_res *res, jval *v);                                       /* compact, application/json */
void http_text(struct http_res *res, int status, const char *fmt, ...) PRINTF_LIKE(3, 4); /* text/plain; charset=utf-8 */
/* A regular file, from offset, for length bytes (-1: to the end), sent without being read into memory. Takes fd. */
void http_body_file(struct http_res *res, const char *content_type, int fd, int64_t offset, int64_t length);

/* ---- routes --------------------------------------------------------------------------------------------------- */

/* What a route needs in rights; the API's authorize hook understands it. Static strings. */
struct perm {
    const char *verb, *group, *resource, *subresource;
    bool open; /* health and version: asked without an identity */
};
#define PERM(v, g, r)                                                                                                            \
    {                                                                                                                            \
        .verb = (v), .group = (g), .resource = (r)                                                                               \
    }
#define PERM_OPEN                                                                                                                \
    {                                                                                                                            \
        .open = true                                                                                                             \
    }

typedef int http_handler(void *api_self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err);
struct route {
    unsigned methods; /* bits of enum http_method */
    /* "/apis/v2beta1/runs/{run_id}"; "{rest...}" as last part takes the remaining path with its slashes; a last part may be
     * "{id}:archive" (the verb is split off at the last colon). Literal parts win over parameters. */
    const char *pattern;
    http_handler *handle;
    struct perm perm;
    size_t max_body; /* 0: the API's default */
    /* body and body_len stay empty: the handler reads with http_req_read. It holds a worker meanwhile, so only for uploads. */
    bool stream_body;
};

/* A set of routes with one way to say who is asking, whether they may, and what an error looks like. All hooks run on worker
 * threads. */
struct http_api {
    const char *name;
    const struct route *routes;
    size_t n_routes;
    void *self;
    size_t max_body; /* default for routes; 0: 3 MiB */
    /* Establishes who asks: sets ctx->who (memory from the request's arena: http_alloc), or fails with
     * ERR_UNAUTHENTICATED. Called for every route, open or not; a failure on an open route is ignored. Called with
     * req->route NULL before a 404 or 405 is answered, too. */
    int (*authenticate)(void *self, struct ctx *ctx, struct http_req *req, struct err *err);
    /* May ctx->who do what req->route->perm says? Not called for open routes. */
    int (*authorize)(void *self, struct ctx *ctx, struct http_req *req, struct err *err);
    /* Writes an error as the API's clients expect it. No route: ERR_NOT_FOUND, route without that method: ERR_METHOD. */
    void (*write_error)(void *self, struct http_req *req, struct http_res *res, const struct err *err);
    /* Called after each request, for access counts; may be NULL. */
    void (*after)(void *self, struct http_req *req, int status, int64_t ns);
};
void *http_alloc(struct http_req *req, size_t n); /* zeroed, freed with the request */
char *http_strdup(struct http_req *req, const char *s);

/* Runs one request through an API: route, authenticate, authorize, handle, write_error. For a handler that passes a request on
 * to another API in the same process (services/proxy): path is the new path, who keeps ctx->who when skip_auth is set. */
void http_dispatch(const struct http_api *api, struct ctx *ctx, struct http_req *req, struct http_res *res, const char *path,
                   bool skip_auth);

/* ---- streams -------------------------------------------------------------------------------------------------- */

/* A peer that closes its sending side has lost interest in a stream (on_close follows); in an upgraded one it has said its last
 * word: what is queued still goes out. When the connection is lost before on_start, on HEAD, and when the handler fails after
 * having set a stream, on_close comes alone.
 *
 * A stream is a state machine run by the event loop that owns its socket. Its functions never block and never touch SQL or files;
 * other threads prepare data and call stream_wake. All callbacks of one stream come from one thread. */
struct stream;
struct stream_ops {
    void (*on_start)(struct stream *st, void *state);    /* headers are queued; may write */
    void (*on_writable)(struct stream *st, void *state); /* the queue fell below the low-water mark (64 KiB) */
    void (*on_wake)(struct stream *st, void *state);     /* after stream_wake; several wakes may come as one */
    void (*on_timer)(struct stream *st, void *state);    /* after stream_timer; may be NULL */
    /* Upgraded streams only: bytes from the peer. Returns how many were taken; the rest comes again after stream_resume. */
    size_t (*on_data)(struct stream *st, void *state, const char *p, size_t n);
    void (*on_stop)(struct stream *st, void *state);  /* the server stops: say good-bye. NULL: stream_end */
    void (*on_close)(struct stream *st, void *state); /* last call, always made; frees state */
};
/* Turns the answer into a stream: status and headers as set, body chunked (HTTP/1.1), each stream_write sent at once. */
void http_stream(struct http_res *res, const char *content_type, const struct stream_ops *ops, void *state);
/* 101 Switching Protocols, then raw bytes both ways. Set the Upgrade header first. */
void http_upgrade(struct http_res *res, const struct stream_ops *ops, void *state);

/* On the loop's thread only: */
void stream_write(struct stream *st, const void *p, size_t n); /* copied into the queue */
/* Queues bytes that live in a shared document or buffer: release(owner) is called when they are sent or dropped. */
void stream_write_shared(struct stream *st, const void *p, size_t n, void (*release)(void *), void *owner);
size_t stream_queued(const struct stream *st);    /* bytes not yet taken by the kernel */
void stream_end(struct stream *st);               /* clean end after what is queued */
void stream_abort(struct stream *st);             /* cuts the connection: the peer sees a broken body */
void stream_timer(struct stream *st, int64_t ms); /* one shot, replaces the former; < 0 stops */
void stream_resume(struct stream *st);
/* From any thread: a handle that stays valid after the stream is gone. */
struct stream_handle;
struct stream_handle *stream_handle(struct stream *st); /* a new reference; on the loop's thread (on_start) */
void stream_wake(struct stream_handle *h);
void stream_handle_unref(struct stream_handle *h);

/* A descriptor that a stream passes bytes from or to: a pipe, a terminal or a socket, non-blocking. The stream's loop watches it
 * for what is wanted (POLLIN, POLLOUT; nothing at first) and calls on_ready(arg, events) whenever it is so, on the loop's thread;
 * a hang-up or an error shows as whatever is wanted. Made, changed and freed on the loop's thread, while the stream is alive: in
 * on_close at the latest. stream_fd_free closes the descriptor. NULL (fd stays the caller's) for what cannot be watched. */
struct stream_fd;
struct stream_fd *stream_fd_new(struct stream_handle *h, int fd, void (*on_ready)(void *arg, int events), void *arg);
void stream_fd_want(struct stream_fd *f, int events);
void stream_fd_free(struct stream_fd *f); /* NULL is fine */

#endif
