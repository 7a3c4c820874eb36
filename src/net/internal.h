/* internal.h - the server's inside: who owns what. Private to net/.
 *
 *   server   listeners, limits, the pools, counters. Shared; what changes is atomic or under `lock`.
 *   loop     a thread with a libuv loop; owns its connections. Others reach it through loop_post only.
 *   conn     a connection; owned by its loop, from accept to close. One exchange at a time, or many with HTTP/2.
 *   exchange a request and its answer (exchange.h); with the loop, or with one worker while x->busy.
 *
 * A connection's states (conn->state) and what moves them on:
 *
 *   HANDSHAKE  TLS                           done -> IDLE, or MULTI when the client chose h2
 *   IDLE       between requests              a byte -> HEAD; the preface of HTTP/2 -> MULTI
 *   HEAD       reading the head              head complete -> BODY; refused -> ANSWER
 *   BODY       reading the body              complete, too large or broken -> ANSWER
 *   ANSWER     the exchange has phases of its own: a worker has it, the answer drains, a stream owns it
 *                                            over -> IDLE, or LINGER when the connection is to be closed
 *   MULTI      HTTP/2: exchanges come and go (h2.h)
 *                                            the last is over and either side said so -> LINGER
 *   LINGER     our side is shut; the peer's bytes are dropped, so that it reads our answer rather than a reset -> CLOSED
 *   CLOSED     handles closing; freed when they are, and when no worker has the exchange */
#ifndef TM_NET_INTERNAL_H
#define TM_NET_INTERNAL_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <uv.h>

#include "base/thread.h"
#include "net/defence.h"
#include "net/exchange.h"
#include "net/outq.h"
#include "net/parse.h"
#include "net/server.h"

#define N_LOOPS        2
#define SCRATCH_BYTES  (64 * 1024)
#define LOW_WATER      ((size_t)64 * 1024)
#define FILE_CHUNK     ((size_t)256 * 1024)
#define LINGER_MS      2000  /* without a byte */
#define LINGER_MAX_MS  30000 /* in all: a client that uploads 1 GB reads our refusal only when it has sent everything */
#define LINGER_STOP_MS 200   /* while the server stops */
#define DEFAULT_BODY   ((size_t)3 * 1024 * 1024)
#define HELD_SMALL     ((size_t)64 * 1024) /* what each connection may leave unread, whatever others do */

enum conn_state { CONN_HANDSHAKE, CONN_IDLE, CONN_HEAD, CONN_BODY, CONN_ANSWER, CONN_MULTI, CONN_LINGER, CONN_CLOSED };

struct mounted {
    char *prefix;
    size_t len; /* without a trailing slash */
    bool strip;
    const struct api_table *table;
};

struct listener {
    struct http_server *server;
    int fd;
    uv_poll_t poll;
    bool polling;
    struct post post;       /* to start polling on loop 0 */
    SSL_CTX *tls;           /* NULL: plain */
    struct mounted *mounts; /* longest prefix first */
    size_t n_mounts;
    struct host_rules hosts;
    char *address;
    bool check_browser;
    char *unix_path; /* removed at the end */
    struct listener *next;
};

struct cancel_node {
    struct cancel cancel;
    struct cancel_node *next;
};

struct conn {
    LIST_ENTRY(conn) all;
    TAILQ_ENTRY(conn) dirty;
    struct loop *loop;
    struct listener *listener;
    int fd;
    enum conn_state state;
    bool is_dirty, flushing;
    bool used;        /* a request has begun on it */
    bool body_full;   /* who reads the body is behind: the socket is not read */
    bool peer_eof;    /* the peer's last byte was read */
    bool peer_hup;    /* poll said that the peer has shut its side; unread bytes may be left */
    bool close_after; /* no further request after this one */
    bool tls_wants_write;
    unsigned handles; /* libuv handles not yet closed */
    int poll_mask;
    uv_poll_t poll;
    uv_timer_t timer;
    uint64_t deadline, timer_due; /* loop milliseconds; 0: none */
    SSL *ssl;
    struct h1 *h1;
    struct exchange *x; /* HTTP/1.1 */
    struct h2 *h2;      /* HTTP/2: CONN_MULTI, and until all of its exchanges came back */
    struct buf in;      /* bytes read and not yet used: pipelined requests, data that a stream left */
    struct outq out;
    struct outq_account held; /* by out and, with HTTP/2, by its streams */
    uint64_t linger_end;      /* loop milliseconds */
    struct http_peer peer;
    char local_ip[46];
    struct arena certs; /* cert_cn, cert_orgs */
};

struct loop {
    struct http_server *server;
    unsigned index;
    pthread_t thread;
    uv_loop_t uv;
    uv_async_t async;
    uv_prepare_t prepare;
    uv_timer_t grace;
    pthread_mutex_t lock; /* guards inbox and closed */
    struct post *inbox, **inbox_tail;
    LIST_HEAD(, conn) conns;
    TAILQ_HEAD(conn_queue, conn) dirty;
    bool stopping, finished;
    uint64_t warned; /* when loop_may_warn last said yes */
    struct post stop_post;
    int64_t grace_ms;
    int64_t date_s;
    char date[40];
    int spare_fd; /* given up when descriptors run out, so that accept can refuse */
    char scratch[SCRATCH_BYTES];
};

struct http_server {
    struct server_limits limits;
    struct loop loops[N_LOOPS];
    struct pool *workers, *files;
    bool started;
    pthread_mutex_t lock; /* guards listeners (the list) and tables */
    struct listener *listeners;
    struct api_table *tables;
    pthread_mutex_t cancel_lock;                   /* guards cancels, and cancel and gone of each exchange */
    struct cancel_node *cancels;                   /* free ones */
    atomic_size_t n_conns, body_bytes, held_bytes; /* held: by queues of answers */
    atomic_uint next_loop;
    atomic_bool stopping;
};

/* loop.c */
int loop_init(struct loop *l, struct http_server *s, unsigned index, struct err *err);
void *loop_main(void *loop);
void loop_post(struct loop *l, struct post *p); /* any thread */
void loop_free(struct loop *l);
bool loop_may_warn(struct loop *l); /* at most once a second: who floods us must not flood the log */

/* cancel.c: the cancel of ctx, for as long as a handler runs */
bool cancel_begin(struct exchange *x); /* on the worker; false: the client is gone already, do not run */
void cancel_end(struct exchange *x);
void cancel_gone(struct exchange *x); /* on the loop: the connection is lost */
void cancel_free_all(struct http_server *s);
const char *loop_date(struct loop *l);
void loop_maybe_finish(struct loop *l);

/* listen.c */
int listener_open(struct listener *ln, const struct listener_config *cfg, int *port_out, struct err *err);
void listener_attach(struct loop *l, struct listener *ln);
void listener_detach(struct listener *ln);
char *port_holder(int port); /* "name (pid n)" of the process that listens there, or NULL */

/* server.c */
const struct api_table *server_table(struct http_server *s, const struct http_api *api);

/* conn.c: the connection's life */
void conn_open(struct loop *l, struct listener *ln, int fd);
void conn_close(struct conn *c);                /* at once; queued bytes are lost */
void conn_reap(struct conn *c);                 /* something that was waited for came back to a closed connection */
void conn_next(struct conn *c);                 /* the answer is out: the next request, or the end */
void conn_deadline(struct conn *c, int64_t ms); /* 0: none */
void conn_update(struct conn *c);               /* asks libuv for what the state needs */
void conn_dirty(struct conn *c);                /* flush before the loop sleeps */
void conn_flush(struct conn *c);
bool conn_send(struct conn *c);    /* what the kernel takes of c->out; false: the connection was closed */
void conn_linger(struct conn *c);  /* our last byte is out */
void conn_lingers(struct conn *c); /* the peer goes on sending what nobody wants */
void conn_stop(struct conn *c);    /* the server stops */
/* May n bytes more wait for this client? What is small may, but for when all clients together hold too much. */
bool conn_may_hold(const struct conn *c, size_t n);

/* conn_in.c: HTTP/1.1, from bytes to an exchange */
extern const struct h1_ops conn_h1_ops;
bool conn_reads(const struct conn *c); /* may the state use more of the peer's bytes? */
void conn_readable(struct conn *c);
void conn_feed(struct conn *c, const char *p, size_t n);
void conn_broken(struct conn *c, int status, const char *text); /* in the middle of a request */

/* conn_out.c: HTTP/1.1, how an answer's bytes are framed */
extern const struct carrier h1_carrier;
const char *http_reason(int status);

/* intake.c: from a head to a worker. All on the loop. */
enum intake {
    INTAKE_MORE,     /* go on */
    INTAKE_FULL,     /* it was taken; no more until carrier->room */
    INTAKE_REFUSED,  /* no more of this body: without a pipe, intake_dispatch has the API say why */
    INTAKE_ANSWERED, /* refused, and the answer is on its way */
};
enum intake intake_head(struct exchange *x, int64_t length, bool has_body); /* x->req is filled; length -1: not said */
enum intake intake_body(struct exchange *x, const char *p, size_t n);
void intake_end(struct exchange *x);     /* the body is complete */
void intake_stalled(struct exchange *x); /* with a pipe: the client sends nothing more */
void intake_dispatch(struct exchange *x);
void exchange_lost(struct exchange *x);          /* nobody waits for the answer; the carrier frees it unless it is away */
bool exchange_is_away(const struct exchange *x); /* carrier->reap comes when it is back */

/* respond.c: from an answer to bytes */
void respond(struct exchange *x); /* x->res is ready */
void respond_plain(struct exchange *x, int status, const char *text);
void respond_drained(struct exchange *x);    /* after each attempt to send */
void respond_read_first(struct exchange *x); /* on the worker */
bool header_is_ours(const char *name);       /* fields that say how the message is framed */

/* stream.c */
void stream_begin(struct exchange *x);
size_t stream_deliver(struct conn *c, const char *p, size_t n);
void stream_drained(struct exchange *x); /* after each attempt to send */
void stream_peer_eof(struct exchange *x);
void stream_stop(struct stream *st);   /* the server stops */
void stream_close(struct exchange *x); /* makes the last callback, once */

/* io.c: bytes on a plain or TLS socket; never block, never raise SIGPIPE */
#define IO_AGAIN (-1)
#define IO_ERROR (-2)
ssize_t io_read(struct conn *c, void *p, size_t n); /* 0: the peer's end */
ssize_t io_write(struct conn *c);                   /* of c->out; > 0: bytes taken from it */
int io_handshake(struct conn *c);                   /* 0 done, IO_AGAIN, IO_ERROR */
void io_shutdown(struct conn *c);
bool io_pending(const struct conn *c); /* TLS has bytes that poll does not see */

#endif
