#include "net/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/thread.h"
#include "net/dial.h"
#include "net/http2/h2_link.h"
#include "net/parse.h"
#include "net/proxy.h"
#include "net/tls.h"

#define MAX_KEPT       16
#define KEPT_NS        (50 * NS_PER_S) /* less than most servers keep theirs */
#define MAX_HEAD       ((size_t)256 * 1024)
#define MAX_FIELDS     1000
#define DEFAULT_ANSWER ((size_t)64 * 1024 * 1024)
#define READ_CHUNK     (16 * 1024)

struct http_client {
    SSL_CTX *tls;
    char *server_name, *user_agent;
    struct proxy *proxy; /* NULL: none */
    size_t max_response;
    bool outside;
    pthread_mutex_t lock; /* guards want_system, kept, n_kept, links */
    bool want_system;     /* the system's authorities are trusted, and not read yet: most clients never need them */
    struct wire *kept;
    size_t n_kept;
    struct link *links; /* HTTP/2; under lock, and the links have locks of their own, taken behind it */
};

struct link {
    struct h2_link *h2;
    struct link *next;
};

struct http_body {
    struct http_client *client;
    struct h2_call *h2; /* HTTP/2: the rest is unused */
    struct wire *wire;
    struct h1 *h1;
    struct http_answer *head; /* only while the head is read */
    struct buf raw;           /* received, not yet parsed */
    struct buf ready;         /* body bytes that the caller has not taken */
    size_t taken;             /* of ready */
    bool has_head, done, keep, got_bytes, no_body;
    bool took_pieces;           /* of a body that cannot be read twice */
    bool gave_up;               /* our own body failed: the server has nothing to say about that */
    bool may_upgrade, upgraded; /* 101: bytes both ways */
};

struct http_client *http_client_new(const struct http_client_config *cfg, struct err *err)
{
    static const struct http_client_config none;
    cfg = cfg ? cfg : &none;
    struct http_client *c = xcalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    c->server_name = xstrdup(cfg->server_name);
    c->user_agent = xstrdup(cfg->user_agent ? cfg->user_agent : "tidemill/" TIDEMILL_VERSION);
    c->max_response = cfg->max_response ? cfg->max_response : DEFAULT_ANSWER;
    c->outside = cfg->outside;
    if (cfg->proxy)
        c->proxy = xcalloc(1, sizeof *c->proxy);
    c->want_system = !cfg->ca_pem && !cfg->insecure;
    c->tls = c->proxy && proxy_parse(cfg->proxy, c->proxy, err) < 0 ? NULL : tls_client_ctx(cfg, err);
    if (!c->tls) {
        http_client_free(c);
        return NULL;
    }
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    while (c->kept) {
        struct wire *w = c->kept;
        c->kept = w->next;
        wire_free(w);
    }
    while (c->links) {
        struct link *l = c->links;
        c->links = l->next;
        h2_link_free(l->h2);
        free(l);
    }
    SSL_CTX_free(c->tls);
    if (c->proxy)
        proxy_free(c->proxy);
    free(c->proxy);
    free(c->server_name);
    free(c->user_agent);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- kept connections ---- */

static char *key_of(const struct url *u)
{
    return u->socket ? xasprintf("unix:%s", u->socket) : xasprintf("%s:%s:%d", u->tls ? "https" : "http", u->host, u->port);
}

/* Takes a kept connection, and throws away those that have been idle for long. */
static struct wire *kept_take(struct http_client *c, const char *key, int64_t now)
{
    LOCK_GUARD(&c->lock);
    struct wire *found = NULL;
    for (struct wire **at = &c->kept; *at;) {
        struct wire *w = *at;
        bool old = now - w->idle_since_ns > KEPT_NS || wire_stale(w);
        if (!old && (found || strcmp(w->key, key) != 0)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        c->n_kept--;
        if (old)
            wire_free(w);
        else
            found = w;
    }
    return found;
}

static void kept_give(struct http_client *c, struct wire *w, int64_t now)
{
    struct wire *drop = w;
    {
        LOCK_GUARD(&c->lock);
        if (c->n_kept < MAX_KEPT) {
            w->idle_since_ns = now;
            w->next = c->kept;
            c->kept = w;
            c->n_kept++;
            drop = NULL;
        }
    }
    wire_free(drop);
}

/* ---- HTTP/2 connections: shared by all calls to one server ---- */

/* One with a place reserved for a call, or NULL. Throws away those that are over. */
static struct h2_link *link_find(struct http_client *c, const char *key)
{
    LOCK_GUARD(&c->lock);
    struct h2_link *found = NULL;
    for (struct link **at = &c->links; *at;) {
        struct link *l = *at;
        if (h2_link_is_over(l->h2)) {
            *at = l->next;
            h2_link_free(l->h2);
            free(l);
            continue;
        }
        if (!found && strcmp(h2_link_key(l->h2), key) == 0 && h2_link_reserve(l->h2))
            found = l->h2;
        at = &l->next;
    }
    return found;
}

/* Takes w. When somebody else was faster, theirs is used. */
static struct h2_link *link_add(struct http_client *c, struct wire *w)
{
    struct h2_link *found = link_find(c, w->key);
    if (found) {
        wire_free(w);
        return found;
    }
    struct link *l = xcalloc(1, sizeof *l);
    l->h2 = h2_link_new(w);
    LOCK_GUARD(&c->lock);
    l->next = c->links;
    c->links = l;
    return l->h2;
}

/* ---- the request ---- */

static bool has_header(const struct http_call *call, const char *name)
{
    for (size_t i = 0; i < call->n_headers; i++)
        if (strcasecmp(call->headers[i].name, name) == 0)
            return true;
    return false;
}

/* Fields that say how the body comes are ours to write. Nothing is expected before it is sent. */
static bool ours(const char *name)
{
    return strcasecmp(name, "content-length") == 0 || strcasecmp(name, "transfer-encoding") == 0 ||
           strcasecmp(name, "expect") == 0;
}

static int request_head(const struct http_client *c, const struct url *u, const struct http_call *call, struct buf *out,
                        struct err *err)
{
    buf_addf(out, "%s %s HTTP/1.1\r\n", http_method_name(call->method), u->target);
    if (!has_header(call, "host"))
        buf_addf(out, "Host: %s\r\n", u->authority);
    if (!has_header(call, "user-agent"))
        buf_addf(out, "User-Agent: %s\r\n", c->user_agent);
    for (size_t i = 0; i < call->n_headers; i++) {
        const struct http_header *h = &call->headers[i];
        if (!*h->name || strpbrk(h->name, "\r\n: ") || strpbrk(h->value, "\r\n"))
            return err_set(err, ERR_BAD_REQUEST, "the header field %s cannot be sent: it has characters that are not allowed",
                           h->name);
        if (!ours(h->name))
            buf_addf(out, "%s: %s\r\n", h->name, h->value);
    }
    if (call->body_read && call->body_len == HTTP_LENGTH_UNKNOWN)
        buf_adds(out, "Transfer-Encoding: chunked\r\n");
    else if (call->body_len || call->method & (HTTP_POST | HTTP_PUT | HTTP_PATCH))
        buf_addf(out, "Content-Length: %zu\r\n", call->body_len);
    buf_adds(out, "\r\n");
    return 0;
}

static int send_file(struct wire *w, const struct http_call *call, bool *early, const struct ctx *ctx, struct err *err)
{
    char chunk[READ_CHUNK];
    for (size_t left = call->body_len; left > 0 && !*early;) {
        ssize_t n = read(call->body_fd, chunk, left < sizeof chunk ? left : sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "reading the file to be sent");
        if (n == 0)
            return err_set(err, ERR_IO, "the file to be sent is %zu bytes shorter than was said", left);
        if (wire_write(w, chunk, (size_t)n, early, ctx, err) < 0)
            return -1;
        left -= (size_t)n;
    }
    return 0;
}

/* Room before a piece for its chunk's size, and behind it for the line's end: a piece goes out as one. */
#define CHUNK_HEAD 10

static int send_piece(struct wire *w, char *piece, size_t n, bool chunked, bool *early, const struct ctx *ctx, struct err *err)
{
    char *at = piece + CHUNK_HEAD;
    if (!chunked)
        return wire_write(w, at, n, early, ctx, err);
    char head[CHUNK_HEAD + 1];
    int len = snprintf(head, sizeof head, "%zx\r\n", n);
    at -= len;
    memcpy(at, head, (size_t)len);
    memcpy(piece + CHUNK_HEAD + n, "\r\n", 2);
    return wire_write(w, at, (size_t)len + n + 2, early, ctx, err);
}

static int send_pieces(struct http_body *b, const struct http_call *call, bool *early, const struct ctx *ctx, struct err *err)
{
    bool chunked = call->body_len == HTTP_LENGTH_UNKNOWN;
    AUTOFREE char *piece = xmalloc(CHUNK_HEAD + READ_CHUNK + 2);
    size_t total = 0;
    while (!*early) {
        b->took_pieces = true;
        ssize_t n = call->body_read(call->body_self, piece + CHUNK_HEAD, READ_CHUNK, err);
        b->gave_up = n < 0;
        if (n < 0)
            return -1;
        total += (size_t)n;
        b->gave_up = !chunked && (total > call->body_len || (n == 0 && total < call->body_len));
        if (b->gave_up)
            return err_set(err, ERR_IO, "the body to be sent has not the %zu bytes that were said", call->body_len);
        if (n == 0)
            return chunked ? wire_write(b->wire, "0\r\n\r\n", 5, early, ctx, err) : 0;
        if (!b->wire->ssl && wire_stale(b->wire)) { /* it has heard enough */
            *early = true;
            return 0;
        }
        if (send_piece(b->wire, piece, (size_t)n, chunked, early, ctx, err) < 0)
            return -1;
    }
    return 0;
}

static int send_request(struct http_body *b, const struct url *u, const struct http_call *call, bool *early,
                        const struct ctx *ctx, struct err *err)
{
    BUF(head);
    if (request_head(b->client, u, call, &head, err) < 0)
        return -1;
    bool from_file = call->body_fd > 0;
    bool together =
        !from_file && !call->body_read && call->body_len && call->body_len <= READ_CHUNK; /* one packet rather than two */
    if (together)
        buf_add(&head, call->body, call->body_len);
    if (wire_write(b->wire, head.data, head.len, early, ctx, err) < 0)
        return -1;
    if (together || *early)
        return 0;
    if (call->body_read)
        return send_pieces(b, call, early, ctx, err);
    if (from_file)
        return send_file(b->wire, call, early, ctx, err);
    return wire_write(b->wire, call->body, call->body_len, early, ctx, err);
}

/* ---- the answer ---- */

static int on_head(void *self)
{
    struct http_body *b = self;
    int status = h1_code(b->h1);
    if (status == 101 && !b->may_upgrade)
        return -1;
    if (status < 200 && status != 101)
        return 0; /* an interim answer: the real one follows */
    struct http_answer *a = b->head;
    a->status = status;
    a->n_headers = h1_fields(b->h1);
    a->headers = xcalloc(a->n_headers + 1, sizeof *a->headers);
    for (size_t i = 0; i < a->n_headers; i++) {
        a->headers[i].name = xstrdup(h1_name(b->h1, i));
        a->headers[i].value = xstrdup(h1_value(b->h1, i));
    }
    b->has_head = true;
    b->upgraded = status == 101;
    b->keep = h1_keep_alive(b->h1) && !b->upgraded;
    return 0;
}

static int on_body(void *self, const char *p, size_t n)
{
    struct http_body *b = self;
    buf_add(&b->ready, p, n);
    return 0;
}

static int parse_raw(struct http_body *b, struct err *err)
{
    size_t used;
    enum h1_result r = h1_feed(b->h1, buf_str(&b->raw), b->raw.len, &used);
    buf_consume(&b->raw, used);
    if (r == H1_STOPPED)
        return err_set(err, ERR_IO, "the server changes to another protocol (101) without having been asked to");
    if (r == H1_ERROR)
        return err_set(err, ERR_IO, "the server's answer is not HTTP: %s", h1_reason(b->h1));
    if (r != H1_DONE)
        return 0;
    if (b->has_head)
        b->done = true;
    else
        h1_reset(b->h1, b->no_body);
    return 0;
}

/* Reads once and parses. */
static int more(struct http_body *b, const struct ctx *ctx, struct err *err)
{
    if (b->raw.len)
        return parse_raw(b, err);
    char chunk[READ_CHUNK];
    ssize_t n = wire_read(b->wire, chunk, sizeof chunk, ctx, err);
    if (n < 0)
        return -1;
    if (n == 0) {
        if (!b->has_head || !h1_finish(b->h1))
            return err_set(err, ERR_UNAVAILABLE, "the server closed the connection %s",
                           b->has_head ? "in the middle of its answer" : "without an answer");
        b->done = true;
        b->keep = false;
        return 0;
    }
    b->got_bytes = true;
    buf_add(&b->raw, chunk, (size_t)n);
    return parse_raw(b, err);
}

static int exchange(struct http_body *b, const struct url *u, const struct http_call *call, const struct ctx *ctx,
                    struct err *err)
{
    bool early = false;
    ERR(unsent);
    int sent = send_request(b, u, call, &early, ctx, &unsent);
    if (b->gave_up)
        return err_move(err, &unsent);
    /* Refused while sending: the server may have said why before it closed. */
    ERR(unread);
    while (!b->has_head && !b->done)
        if (more(b, ctx, &unread) < 0)
            return err_move(err, sent < 0 ? &unsent : &unread);
    if (sent < 0 || early)
        b->keep = false;
    return 0;
}

/* ---- open, read, close ---- */

static void body_free(struct http_body *b)
{
    if (b->h2)
        h2_call_close(b->h2);
    wire_free(b->wire);
    h1_free(b->h1);
    buf_free(&b->raw);
    buf_free(&b->ready);
    free(b);
}

static const struct h1_ops answer_ops = {.on_head = on_head, .on_body = on_body};

/* What a try came to, and what may be done about it. */
struct attempt {
    bool fresh;   /* on a new connection */
    bool h1_only; /* the server, or the call, wants HTTP/1.1 */
    bool again;   /* nothing came back: an idempotent call may be sent again */
    bool any;     /* the server has done nothing with it: whatever it was */
};

static struct http_body *open_h2(struct http_body *b, struct h2_link *l, const struct ctx *ctx, const struct url *u,
                                 const struct http_call *call, struct attempt *t, struct err *err)
{
    enum h2_verdict verdict;
    b->h2 = h2_call_open(l, u, call, b->client->user_agent, ctx, b->head, &verdict, &b->took_pieces, err);
    if (b->h2)
        return b;
    t->any = !b->took_pieces && (verdict == H2_RETRY || verdict == H2_USE_H1);
    t->again = t->any || (!b->took_pieces && verdict == H2_LOST && ctx_check(ctx, NULL) == 0);
    t->h1_only |= verdict == H2_USE_H1;
    body_free(b);
    return NULL;
}

static struct http_body *open_h1(struct http_body *b, bool reused, const struct ctx *ctx, const struct url *u,
                                 const struct http_call *call, struct attempt *t, struct err *err)
{
    static const struct h1_limits limits = {.max_bytes = MAX_HEAD, .max_url = 0, .max_fields = MAX_FIELDS};
    b->h1 = h1_response_new(&limits, &answer_ops, b);
    h1_reset(b->h1, b->no_body);
    if (exchange(b, u, call, ctx, err) == 0)
        return b;
    t->again = reused && !b->got_bytes && !b->took_pieces && ctx_check(ctx, NULL) == 0;
    body_free(b);
    return NULL;
}

static struct wire *dial(struct http_client *c, const struct ctx *ctx, const struct url *u, bool h2, struct err *err)
{
    if (u->tls) {
        LOCK_GUARD(&c->lock);
        if (c->want_system && tls_trust_system(c->tls, err) < 0)
            return NULL;
        c->want_system = false;
    }
    const struct dialling how = {
        .tls = c->tls, .verify_name = c->server_name, .proxy = c->proxy, .outside = c->outside, .h2 = h2};
    return wire_dial(u, &how, ctx, err);
}

static struct http_body *try_open(struct http_client *c, const struct ctx *ctx, const struct url *u, const struct http_call *call,
                                  struct http_answer *head, struct attempt *t, struct err *err)
{
    struct http_body *b = xcalloc(1, sizeof *b);
    AUTOFREE char *key = key_of(u);
    b->client = c;
    b->head = head;
    b->no_body = call->method == HTTP_HEAD;
    b->may_upgrade = has_header(call, "upgrade");
    t->again = t->any = false;
    bool h2 = u->tls && !b->may_upgrade && !t->h1_only;
    struct h2_link *l = h2 && !t->fresh ? link_find(c, key) : NULL;
    if (l)
        return open_h2(b, l, ctx, u, call, t, err);
    b->wire = t->fresh ? NULL : kept_take(c, key, ctx_mono_ns(ctx));
    bool reused = b->wire;
    if (!b->wire && !(b->wire = dial(c, ctx, u, h2, err))) {
        body_free(b);
        return NULL;
    }
    if (!b->wire->key)
        b->wire->key = TAKE(key);
    if (h2 && !reused && tls_chose_h2(b->wire->ssl))
        return open_h2(b, link_add(c, TAKE(b->wire)), ctx, u, call, t, err);
    return open_h1(b, reused, ctx, u, call, t, err);
}

#define MAX_ATTEMPTS 4

struct http_body *http_open(struct http_client *c, const struct ctx *ctx, const struct http_call *call, struct http_answer *head,
                            struct err *err)
{
    *head = (struct http_answer){0};
    URL(u);
    if (url_parse(call->url, &u, err) < 0)
        return NULL;
    if (call->method == HTTP_OTHER) {
        err_set(err, ERR_BAD_REQUEST, "a request needs a method that has a name");
        return NULL;
    }
    BUF(checked); /* whether it can be sent is known before anything is */
    if (request_head(c, &u, call, &checked, err) < 0)
        return NULL;
    off_t start = call->body_fd > 0 ? lseek(call->body_fd, 0, SEEK_CUR) : 0;
    bool idempotent = !(call->method & (HTTP_POST | HTTP_PATCH));
    struct attempt t = {0};
    struct http_body *b = NULL;
    for (int i = 0; i < MAX_ATTEMPTS; i++) {
        err_clear(err);
        b = try_open(c, ctx, &u, call, head, &t, err);
        if (b)
            return b;
        http_answer_free(head);
        if (!(t.any || (t.again && idempotent && !t.fresh)) || ctx_check(ctx, NULL) < 0)
            break;
        if (call->body_fd > 0 && lseek(call->body_fd, start, SEEK_SET) != start)
            break;
        t.fresh = !t.any;
    }
    err_wrap(err, "%s %s", http_method_name(call->method), call->url);
    return NULL;
}

ssize_t http_body_read(struct http_body *b, const struct ctx *ctx, void *p, size_t n, struct err *err)
{
    ASSERT(n > 0);
    if (b->h2)
        return h2_call_read(b->h2, ctx, p, n, err);
    if (b->upgraded && !b->raw.len)
        return wire_read(b->wire, p, n, ctx, err);
    if (b->upgraded) {
        n = n < b->raw.len ? n : b->raw.len;
        memcpy(p, b->raw.data, n);
        buf_consume(&b->raw, n);
        return (ssize_t)n;
    }
    while (b->taken == b->ready.len) {
        buf_reset(&b->ready);
        b->taken = 0;
        if (b->done)
            return 0;
        if (more(b, ctx, err) < 0)
            return -1;
    }
    size_t have = b->ready.len - b->taken;
    if (n > have)
        n = have;
    memcpy(p, b->ready.data + b->taken, n);
    b->taken += n;
    return (ssize_t)n;
}

int http_body_write(struct http_body *b, const struct ctx *ctx, const void *p, size_t n, struct err *err)
{
    ASSERT(b->upgraded);
    return wire_write(b->wire, p, n, NULL, ctx, err);
}

void http_body_close(struct http_body *b)
{
    if (!b)
        return;
    struct ctx ctx = ctx_background();
    if (b->done && b->keep && !b->raw.len)
        kept_give(b->client, TAKE(b->wire), ctx_mono_ns(&ctx));
    body_free(b);
}

int http_fetch(struct http_client *c, const struct ctx *ctx, const struct http_call *call, struct http_answer *out,
               struct err *err)
{
    struct http_body *b = http_open(c, ctx, call, out, err);
    if (!b)
        return -1;
    char chunk[READ_CHUNK];
    ssize_t n;
    int rc = 0;
    while ((n = http_body_read(b, ctx, chunk, sizeof chunk, err)) > 0) {
        buf_add(&out->body, chunk, (size_t)n);
        if (out->body.len > c->max_response) {
            rc = err_set(err, ERR_TOO_LARGE, "the answer has more than %zu bytes", c->max_response);
            break;
        }
    }
    if (n < 0 || rc < 0) {
        err_wrap(err, "%s %s", http_method_name(call->method), call->url);
        http_answer_free(out);
        rc = -1;
    }
    http_body_close(b);
    return rc;
}
