/* exchange.h - one request and its answer, from the first byte to the last. Private to net/.
 *
 * An exchange is made by the loop that owns the connection when a request begins, is handed to one worker for the time the
 * handler runs, and comes back with the answer filled. Whoever has it may change it; nobody else looks. */
#ifndef TM_NET_EXCHANGE_H
#define TM_NET_EXCHANGE_H

#include "base/arena.h"
#include "net/http.h"
#include "net/route.h"

struct conn;
struct h1;
struct loop;
struct http_server;
struct api_table;

/* Something done on a loop's thread: see loop_post. */
struct post {
    struct post *next;
    void (*fn)(struct loop *loop, struct post *post);
};

/* The opaque part of a request: each copy of a struct http_req (http_dispatch makes them) has its own. */
struct http_params {
    struct exchange *x;
    size_t n;
    struct http_header v[ROUTE_MAX_PARAMS];
    bool query_parsed;
    struct http_header *query;
    size_t n_query;
};

struct http_res {
    struct exchange *x;
    int status;
    struct http_header *headers; /* in the arena */
    size_t n_headers, cap_headers;
    const char *content_type;
    struct buf body;
    int fd; /* -1: none */
    int64_t file_offset, file_left;
    const struct stream_ops *ops;
    void *state;
    bool upgrade;
};

struct stream {
    struct exchange *x;
    struct conn *conn;
    const struct stream_ops *ops;
    void *state;
    bool chunked, upgraded, started, ended, aborted, closed;
    bool above_mark; /* the queue was above the low-water mark: on_writable is owed */
    bool paused;     /* on_data left bytes: nothing is read until stream_resume */
    struct stream_handle *handle;
    struct stream_timer *timer;
};

struct exchange {
    struct post post;
    struct conn *conn; /* NULL when there is no connection (tests) */
    struct http_server *server;
    struct arena arena;
    struct http_req req;
    struct http_params params;
    struct http_res res;
    struct buf body;       /* of the request */
    size_t body_charged;   /* counted in the server's bytes in flight */
    struct cancel *cancel; /* while the handler runs; this and gone under the server's cancel_lock */
    bool gone;             /* the connection was lost */
    const struct api_table *table;
    struct route_match match;
    enum route_result found;
    size_t max_body;
    struct err refusal; /* the API answers this instead of routing (413, 503) */
    struct stream stream;
    struct buf first_chunk; /* of a file body, read by the worker */
    bool http10, keep_alive;
};

/* A routed API: an http_api with its routes compiled. */
struct api_table {
    const struct http_api *api;
    struct route_table *routes;
    struct api_table *next;
};

struct exchange *exchange_new(struct http_server *server, struct conn *conn);
void exchange_free(struct exchange *x);
/* Fills x->req from a complete head. -1 with a message for a 400. */
int exchange_set_head(struct exchange *x, const struct h1 *head, struct err *err);
/* Copies path with repeated slashes collapsed. NULL when a segment is "." or "..", also percent-encoded. */
char *path_clean(struct arena *a, const char *path);

/* Runs the handler or the refusal on the calling thread; afterwards x->res is the answer. */
void exchange_run(struct exchange *x);
/* Decodes the parameters of a match. */
int params_fill(struct http_params *p, struct arena *a, const struct route_match *m, struct err *err);

void res_init(struct http_res *res, struct exchange *x);
/* Back to an empty answer; a stream that was set is closed unstarted. */
void res_reset(struct http_res *res);
const char *res_header(const struct http_res *res, const char *name); /* any case; NULL when absent */

#endif
