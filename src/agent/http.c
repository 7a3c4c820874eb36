/* http.c - the agent's side of net/client.h: HTTP/1.1 over wire.h, without what steps do not need (HTTP/2, proxies, upgrades,
 * bodies from files). Answers are parsed by the same llhttp as in net/. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/wire.h"
#include "base/thread.h"
#include "net/client.h"
#include "net/parse.h"
#include "net/url.h"

enum { KEPT_MAX = 16, HEAD_MAX = 256 << 10, FIELDS_MAX = 1000, PIECE = 16 << 10 };
#define ANSWER_MAX ((size_t)64 << 20)

struct kept {
    char *key;
    struct wire *wire;
    struct kept *next;
};
struct http_client {
    struct wire_trust *trust;
    size_t max_response;
    pthread_mutex_t lock; /* guards kept, n_kept */
    struct kept *kept;
    size_t n_kept;
};
struct http_body {
    struct http_client *client;
    struct wire *wire;
    char *key;
    struct h1 *h1;
    struct http_answer *head; /* while it is read */
    struct buf raw, ready;    /* received; of the body and not taken */
    size_t taken;
    bool has_head, done, keep;
};

const char *http_method_name(enum http_method m)
{
    switch (m) {
    case HTTP_GET:
        return "GET";
    case HTTP_HEAD:
        return "HEAD";
    case HTTP_POST:
        return "POST";
    case HTTP_PUT:
        return "PUT";
    case HTTP_DELETE:
        return "DELETE";
    default:
        return "PATCH";
    }
}

struct http_client *http_client_new(const struct http_client_config *cfg, struct err *err)
{
    struct http_client *c = xcalloc(1, sizeof *c);
    c->max_response = cfg && cfg->max_response ? cfg->max_response : ANSWER_MAX;
    ASSERT(pthread_mutex_init(&c->lock, NULL) == 0);
    c->trust = wire_trust_new(cfg ? cfg->ca_pem : NULL, err);
    if (c->trust)
        return c;
    http_client_free(c);
    return NULL;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    while (c->kept) {
        struct kept *k = c->kept;
        c->kept = k->next;
        wire_close(k->wire);
        free(k->key);
        free(k);
    }
    wire_trust_free(c->trust);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- kept connections ----------------------------------------------------------------------------------------- */

static struct wire *kept_take(struct http_client *c, const char *key)
{
    LOCK_GUARD(&c->lock);
    for (struct kept **at = &c->kept; *at;) {
        struct kept *k = *at;
        bool stale = wire_stale(k->wire);
        if (!stale && strcmp(k->key, key) != 0) {
            at = &k->next;
            continue;
        }
        struct wire *w = k->wire;
        *at = k->next;
        c->n_kept--;
        free(k->key);
        free(k);
        if (!stale)
            return w;
        wire_close(w);
    }
    return NULL;
}

static void kept_give(struct http_client *c, struct wire *w, const char *key)
{
    LOCK_GUARD(&c->lock);
    if (c->n_kept == KEPT_MAX) {
        wire_close(w);
        return;
    }
    struct kept *k = xcalloc(1, sizeof *k);
    *k = (struct kept){xstrdup(key), w, c->kept};
    c->kept = k;
    c->n_kept++;
}

/* ---- a request and its answer --------------------------------------------------------------------------------- */

static int send_request(struct http_body *b, const struct url *u, const struct http_call *call, const struct ctx *ctx,
                        struct err *err)
{
    BUF(head);
    buf_addf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: tidemill-agent/" TIDEMILL_VERSION "\r\n",
             http_method_name(call->method), u->target, u->authority);
    for (size_t i = 0; i < call->n_headers; i++) {
        if (strpbrk(call->headers[i].name, "\r\n: ") || strpbrk(call->headers[i].value, "\r\n"))
            return err_set(err, ERR_BAD_REQUEST, "the header field %s has characters that cannot be sent", call->headers[i].name);
        buf_addf(&head, "%s: %s\r\n", call->headers[i].name, call->headers[i].value);
    }
    if (call->body_len || call->method & (HTTP_POST | HTTP_PUT))
        buf_addf(&head, "Content-Length: %zu\r\n", call->body_len);
    buf_adds(&head, "\r\n");
    if (wire_write(b->wire, head.data, head.len, ctx, err) < 0)
        return -1;
    return wire_write(b->wire, call->body, call->body_len, ctx, err);
}

static int on_head(void *self)
{
    struct http_body *b = self;
    if (h1_code(b->h1) < 200)
        return 0; /* an interim answer: the real one follows */
    struct http_answer *a = b->head;
    a->status = h1_code(b->h1);
    a->n_headers = h1_fields(b->h1);
    a->headers = xcalloc(a->n_headers + 1, sizeof *a->headers);
    for (size_t i = 0; i < a->n_headers; i++)
        a->headers[i] = (struct http_header){xstrdup(h1_name(b->h1, i)), xstrdup(h1_value(b->h1, i))};
    b->keep = h1_keep_alive(b->h1);
    b->has_head = true;
    return 0;
}

static int on_body(void *self, const char *p, size_t n)
{
    buf_add(&((struct http_body *)self)->ready, p, n);
    return 0;
}

static int more(struct http_body *b, bool no_body, const struct ctx *ctx, struct err *err)
{
    char piece[PIECE];
    if (!b->raw.len) {
        ssize_t n = wire_read(b->wire, piece, sizeof piece, ctx, err);
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
        buf_add(&b->raw, piece, (size_t)n);
    }
    size_t used;
    enum h1_result r = h1_feed(b->h1, b->raw.data, b->raw.len, &used);
    buf_consume(&b->raw, used);
    if (r == H1_ERROR || r == H1_STOPPED)
        return err_set(err, ERR_IO, "the server's answer is not HTTP: %s", h1_reason(b->h1));
    if (r == H1_DONE && b->has_head)
        b->done = true;
    else if (r == H1_DONE)
        h1_reset(b->h1, no_body);
    return 0;
}

static void body_free(struct http_body *b)
{
    wire_close(b->wire);
    h1_free(b->h1);
    free(b->key);
    buf_free(&b->raw);
    buf_free(&b->ready);
    free(b);
}

/* One try. *again: a kept connection was closed meanwhile. */
static struct http_body *try_open(struct http_client *c, const struct ctx *ctx, const struct url *u, const struct http_call *call,
                                  struct http_answer *head, bool fresh, bool *again, struct err *err)
{
    static const struct h1_limits limits = {.max_bytes = HEAD_MAX, .max_fields = FIELDS_MAX};
    static const struct h1_ops ops = {.on_head = on_head, .on_body = on_body};
    struct http_body *b = xcalloc(1, sizeof *b);
    bool no_body = call->method == HTTP_HEAD;
    b->client = c;
    b->head = head;
    b->key = xasprintf("%d %s:%d", u->tls, u->host, u->port);
    b->h1 = h1_response_new(&limits, &ops, b);
    h1_reset(b->h1, no_body);
    b->wire = fresh ? NULL : kept_take(c, b->key);
    bool reused = b->wire != NULL;
    if (!b->wire)
        b->wire = wire_open(u->host, u->port, u->tls, c->trust, ctx, err);
    ERR(unsent);
    int rc = b->wire ? send_request(b, u, call, ctx, &unsent) : -1;
    /* A server that refuses while we send may have said why. */
    while (b->wire && !b->has_head && !b->done)
        if (more(b, no_body, ctx, err) < 0) {
            if (rc < 0)
                err_move(err, &unsent);
            *again = reused && ctx_check(ctx, NULL) == 0;
            body_free(b);
            return NULL;
        }
    if (b->wire) {
        b->keep = b->keep && rc == 0;
        return b;
    }
    body_free(b);
    return NULL;
}

struct http_body *http_open(struct http_client *c, const struct ctx *ctx, const struct http_call *call, struct http_answer *head,
                            struct err *err)
{
    URL(u);
    ERR(e);
    bool again = false;
    *head = (struct http_answer){0};
    if (url_parse(call->url, &u, err) < 0)
        return NULL;
    struct http_body *b = try_open(c, ctx, &u, call, head, false, &again, &e);
    if (!b && again) { /* callers of ours send bodies from memory, and nothing twice that must not be */
        http_answer_free(head);
        err_clear(&e);
        b = try_open(c, ctx, &u, call, head, true, &again, &e);
    }
    if (b)
        return b;
    http_answer_free(head);
    err_move(err, &e);
    err_wrap(err, "%s %s", http_method_name(call->method), call->url);
    return NULL;
}

ssize_t http_body_read(struct http_body *b, const struct ctx *ctx, void *p, size_t n, struct err *err)
{
    while (b->taken == b->ready.len) {
        buf_reset(&b->ready);
        b->taken = 0;
        if (b->done)
            return 0;
        if (more(b, false, ctx, err) < 0)
            return -1;
    }
    if (n > b->ready.len - b->taken)
        n = b->ready.len - b->taken;
    memcpy(p, b->ready.data + b->taken, n);
    b->taken += n;
    return (ssize_t)n;
}

void http_body_close(struct http_body *b)
{
    if (!b)
        return;
    if (b->done && b->keep && !b->raw.len)
        kept_give(b->client, TAKE(b->wire), b->key);
    body_free(b);
}
