/* exchange.h - one request and its answer, from the first byte to the last. Private to net/.
 *
 * An exchange is made by the loop that owns the connection when a request begins, is handed to one worker for the time the
 * handler runs, and comes back with the answer filled. Whoever has it may change it; nobody else looks.
 *
 * What it is does not depend on the protocol that carries it: HTTP/1.1, which has one at a time on a connection, or HTTP/2, which
 * has many. Everything that differs is behind struct carrier. */
#ifndef TM_NET_EXCHANGE_H
#define TM_NET_EXCHANGE_H

#include "base/arena.h"
#include "net/body.h"
#include "net/http.h"
#include "net/outq.h"
#include "net/route.h"

struct conn;
struct exchange;
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
    const struct stream_ops *ops;
    void *state;
    bool upgraded, started, ended, aborted, closed;
    bool above_mark; /* the queue was above the low-water mark: on_writable is owed */
    bool paused;     /* on_data left bytes: nothing is read until stream_resume */
    struct stream_handle *handle;
    struct stream_timer *timer;
};

enum phase {
    X_RECEIVING, /* head or body come in */
    X_HANDLING,  /* a worker has it, or will have it in a moment */
    X_SENDING,   /* the answer's body goes out */
    X_STREAM,    /* a stream owns the answer */
    X_LOST       /* nobody waits for the answer any more: freed when no worker and no reader of files has it */
};

/* How the bytes of an exchange travel. All on the loop. */
struct carrier {
    /* The answer's head. length: of the body that follows; BODY_STREAM: nobody knows; BODY_NONE: there is none. */
    void (*head)(struct exchange *x, int64_t length);
    void (*chunk)(struct exchange *x, size_t n); /* n bytes of a stream are about to be queued ... */
    void (*chunk_end)(struct exchange *x);       /* ... and now were */
    void (*stream_end)(struct exchange *x);      /* no more of them */
    void (*go_on)(struct exchange *x);           /* 100 Continue */
    void (*changed)(struct exchange *x);         /* bytes or marks: look at them before the loop sleeps */
    void (*room)(struct exchange *x);            /* the body's reader can take more */
    void (*last)(struct exchange *x);            /* something of the peer's stays unread, or is not to be trusted */
    void (*cut)(struct exchange *x);             /* at once: the peer sees that the answer is broken */
    void (*over)(struct exchange *x);            /* all was queued and is out. x may be gone afterwards */
    void (*reap)(struct exchange *x);            /* it came back after it was lost */
};
#define BODY_STREAM (-1)
#define BODY_NONE   (-2)

struct exchange {
    struct post post;
    struct conn *conn; /* NULL when there is no connection (tests) */
    const struct carrier *carrier;
    void *carried; /* the carrier's own */
    enum phase phase;
    bool busy;         /* a worker has it */
    bool file_reading; /* a chunk of a file body is being read */
    bool all_queued;   /* nothing will be added to out any more */
    struct outq *out;  /* the answer's bytes; HTTP/1.1 has one for all of the connection */
    struct http_server *server;
    struct arena arena;
    struct http_req req;
    struct http_params params;
    struct http_res res;
    struct buf body;        /* of the request */
    struct body_pipe *pipe; /* instead, where the route reads the body itself */
    size_t body_charged;    /* counted in the server's bytes in flight */
    size_t body_read;       /* of body, by http_req_read */
    bool expects;           /* the client waits for 100 Continue */
    struct cancel *cancel;  /* while the handler runs; this and gone under the server's cancel_lock */
    bool gone;              /* the connection was lost */
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
void intake_uncharge(struct exchange *x); /* intake.c */
/* The head as its carrier has it; nothing in it is kept. Names are in lower case. */
struct head {
    const char *method, *target, *host; /* host: what stands in for the Host field, or NULL */
    const struct http_header *headers;
    size_t n_headers;
    bool http10, keep_alive;
};
/* Fills x->req from a complete head. -1 with a message for a 400. */
int exchange_set_head(struct exchange *x, const struct head *head, struct err *err);
int exchange_set_h1(struct exchange *x, const struct h1 *head, struct err *err);
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
