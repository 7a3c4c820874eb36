#include "data/blob_http.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"
#include "data/blob_crypto.h"

enum {
    ANSWER_MAX = 16 << 20,
    PIECE = 64 << 10,
    DEFAULT_RETRIES = 5,
    PAUSE_MS = 100,
    PAUSE_MAX_MS = 10000,
    REFUSAL_MAX = 64 << 10
};
#define DEFAULT_TIMEOUT (30 * NS_PER_S)

void blob_req_clear(struct blob_req *r)
{
    free(r->url);
    strlist_free(&r->names);
    strlist_free(&r->values);
    *r = (struct blob_req){0};
}

void blob_req_field(struct blob_req *r, const char *name, const char *value)
{
    strlist_add(&r->names, name);
    strlist_add(&r->values, value);
}

int blob_http_init(struct blob_http *h, const struct blob_settings *set, struct err *err)
{
    const struct http_client_config cfg = {.ca_pem = set->ca_pem, .max_response = ANSWER_MAX};
    h->max_retries = set->max_retries < 0 ? 0 : set->max_retries ? set->max_retries : DEFAULT_RETRIES;
    h->timeout_ns = set->timeout_ns > 0 ? set->timeout_ns : DEFAULT_TIMEOUT;
    h->client = http_client_new(&cfg, err);
    return h->client ? 0 : -1;
}

void blob_http_clear(struct blob_http *h)
{
    http_client_free(h->client);
    h->client = NULL;
}

bool blob_http_later(int status)
{
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

int blob_http_status(struct err *err, int status, const char *code, const char *message)
{
    static const struct {
        int status;
        enum err_code code;
    } map[] = {{400, ERR_BAD_REQUEST}, {401, ERR_UNAUTHENTICATED}, {403, ERR_FORBIDDEN}, {404, ERR_NOT_FOUND},
               {408, ERR_UNAVAILABLE}, {409, ERR_CONFLICT},        {410, ERR_NOT_FOUND}, {412, ERR_CONFLICT},
               {413, ERR_TOO_LARGE},   {429, ERR_TOO_MANY}};
    enum err_code c = status >= 500 ? ERR_UNAVAILABLE : ERR_IO;
    for (size_t k = 0; k < ARRAY_LEN(map); k++)
        if (map[k].status == status)
            c = map[k].code;
    if (str_eq(code, "SlowDown"))
        c = ERR_TOO_MANY;
    return err_set(err, c, "the store answered %d%s%.80s%s%.300s", status, str_empty(code) ? "" : " ", code ? code : "",
                   str_empty(message) ? "" : ": ", message ? message : "");
}

int64_t blob_http_length(const struct http_answer *a)
{
    const char *text = http_answer_header(a, "content-length");
    int64_t n;
    return text && str_to_i64(text, &n) && n >= 0 ? n : -1;
}

/* ---- trying again --------------------------------------------------------------------------------------------- */

/* Sleeps; -1 when the caller's time is up or it gave up. */
static int wait_ns(const struct ctx *ctx, int64_t ns, struct err *err)
{
    int64_t end = ctx_mono_ns(ctx) + ns;
    for (;;) {
        if (ctx_check(ctx, err) < 0)
            return -1;
        int64_t left = end - ctx_mono_ns(ctx), own = ctx_left_ns(ctx);
        if (left <= 0)
            return 0;
        if (own < left)
            left = own;
        int ms = (int)(left / NS_PER_MS) + 1;
        if (ctx->cancel && ctx->cancel->fd < 0 && ms > 100)
            ms = 100;
        struct pollfd p = {.fd = ctx->cancel ? ctx->cancel->fd : -1, .events = POLLIN};
        poll(&p, 1, ms);
    }
}

/* Doubling pauses with a random part, so that many clients do not come back together. What the store asks for wins, within
 * reason. */
static int pause_for(const struct ctx *ctx, int tries, const struct http_answer *a, struct err *err)
{
    int64_t ms = PAUSE_MS << (tries < 7 ? tries : 7), asked;
    unsigned char r[2];
    random_bytes(r, sizeof r);
    ms = ms / 2 + ms * (r[0] * 256 + r[1]) / 65536;
    const char *after = a ? http_answer_header(a, "retry-after") : NULL;
    if (after && str_to_i64(after, &asked) && asked > 0)
        ms = asked > PAUSE_MAX_MS / 1000 ? PAUSE_MAX_MS : asked * 1000;
    if (ms > PAUSE_MAX_MS)
        ms = PAUSE_MAX_MS;
    return wait_ns(ctx, ms * NS_PER_MS, err);
}

/* A connection that failed, or a store that is silent, may be better next time; the caller's own end is the end. */
static bool may_pass(const struct ctx *ctx, const struct err *e)
{
    return ctx_check(ctx, NULL) == 0 && (e->code == ERR_UNAVAILABLE || e->code == ERR_IO || e->code == ERR_TIMEOUT);
}

static struct http_body *open_once(const struct blob_http *h, const struct ctx *ctx, const struct blob_req *r,
                                   struct http_answer *head, struct err *err)
{
    struct http_header fields[32];
    size_t n = r->names.n < ARRAY_LEN(fields) ? r->names.n : ARRAY_LEN(fields);
    for (size_t i = 0; i < n; i++)
        fields[i] = (struct http_header){r->names.v[i], r->values.v[i]};
    const struct http_call call = {
        .method = r->method, .url = r->url, .headers = fields, .n_headers = n, .body = r->body, .body_len = r->body_len};
    /* Sending takes its time as well: a floor of 256 KiB a second. */
    struct ctx silent = ctx_with_timeout(ctx, h->timeout_ns + (int64_t)(r->body_len >> 18) * NS_PER_S);
    return http_open(h->client, &silent, &call, head, err);
}

static int read_whole(const struct blob_http *h, const struct ctx *ctx, struct http_body *b, struct http_answer *out, size_t max,
                      struct err *err)
{
    char piece[16 << 10];
    for (;;) {
        struct ctx silent = ctx_with_timeout(ctx, h->timeout_ns);
        ssize_t n = http_body_read(b, &silent, piece, sizeof piece, err);
        if (n <= 0)
            return (int)n;
        if (out->body.len + (size_t)n > max)
            return err_set(err, ERR_TOO_LARGE, "the store's answer has more than %zu bytes", max);
        buf_add(&out->body, piece, (size_t)n);
    }
}

static int call_once(const struct blob_http *h, const struct ctx *ctx, blob_prepare_fn *prepare, void *self,
                     struct http_answer *out, bool *sent, struct err *err)
{
    BLOB_REQ(r);
    if (prepare(self, ctx, &r, err) < 0)
        return -1;
    *sent = true;
    struct http_body *b = open_once(h, ctx, &r, out, err);
    if (!b)
        return -1;
    int rc = read_whole(h, ctx, b, out, ANSWER_MAX, err);
    http_body_close(b);
    if (rc < 0)
        http_answer_free(out);
    return rc;
}

int blob_http_call(const struct blob_http *h, const struct ctx *ctx, blob_prepare_fn *prepare, void *self,
                   struct http_answer *out, bool *again, struct err *err)
{
    if (again)
        *again = false;
    for (int tries = 0;; tries++) {
        ERR(e);
        bool sent = false;
        *out = (struct http_answer){0};
        int rc = call_once(h, ctx, prepare, self, out, &sent, &e);
        bool last = tries >= h->max_retries;
        if (rc == 0 && (last || !blob_http_later(out->status)))
            return 0;
        if (rc < 0 && (last || !sent || !may_pass(ctx, &e)))
            return err_move(err, &e);
        rc = pause_for(ctx, tries, rc == 0 ? out : NULL, err);
        http_answer_free(out);
        if (rc < 0)
            return e.code ? err_wrap(err, "%s", err_text(&e)) : -1;
        if (again)
            *again = true;
    }
}

/* ---- reading an object ---------------------------------------------------------------------------------------- */

struct reading {
    const struct blob_http *h;
    const struct ctx *ctx;
    const struct blob_fetch *f;
    int64_t got;   /* bytes the sink has */
    int64_t total; /* of the whole object, as the first answer said; -1: unknown */
    char etag[256];
    bool begun;
    struct blob_hash *hash; /* NULL: only a part is read */
    bool has_md5;
    unsigned char md5[16];
    bool sink_failed;
};

static int lie(struct err *err, const char *what, long long said, long long is)
{
    return err_set(err, ERR_IO, "the store's answer is wrong: %s %lld, not %lld", what, said, is);
}

/* What the head says about where the body begins and how long the object is. *skip: bytes before what is wanted. */
static int look_at_head(struct reading *g, const struct http_answer *a, int64_t *skip, struct err *err)
{
    int64_t want = g->f->offset + g->got, total = -1, length = blob_http_length(a);
    *skip = 0;
    if (a->status == 206) {
        const char *range = http_answer_header(a, "content-range");
        long long from = -1, to = -1, all = -1;
        if (!range || sscanf(range, "bytes %lld-%lld/%lld", &from, &to, &all) < 2)
            return err_set(err, ERR_IO, "the store's answer is wrong: a part without a Content-Range that says which");
        if (from != want)
            return lie(err, "the part begins at", from, want);
        if (to < from || to == INT64_MAX || (all >= 0 && all <= to))
            return err_set(err, ERR_IO, "the store's answer is wrong: no part of an object is \"%.100s\"", range);
        if (length >= 0 && length != to - from + 1)
            return lie(err, "the part's length is", length, to - from + 1);
        total = all;
    } else {
        *skip = want; /* it sends everything, whatever was asked for */
        total = length;
    }
    const char *etag = http_answer_header(a, "etag");
    if (!g->begun) {
        g->begun = true;
        g->total = total;
        snprintf(g->etag, sizeof g->etag, "%s", etag ? etag : "");
        g->has_md5 = g->hash && g->f->md5 && g->f->md5(g->f->self, a, g->md5);
        return 0;
    }
    if ((total >= 0 && g->total >= 0 && total != g->total) || (etag && *g->etag && !str_eq(etag, g->etag)))
        return err_set(err, ERR_CONFLICT, "the object was replaced while it was being read");
    return 0;
}

static int hand_on(struct reading *g, const char *p, size_t n, struct err *err)
{
    if (g->f->length >= 0 && (int64_t)n > g->f->length - g->got)
        n = (size_t)(g->f->length - g->got);
    if (n == 0)
        return 0;
    if (g->hash)
        blob_hash_add(g->hash, p, n);
    if (g->f->sink(g->f->to, p, n, err) < 0) {
        g->sink_failed = true;
        return -1;
    }
    g->got += (int64_t)n;
    return 0;
}

static bool has_all(const struct reading *g) { return g->f->length >= 0 && g->got == g->f->length; }

static int read_body(struct reading *g, struct http_body *b, int64_t skip, struct err *err)
{
    AUTOFREE char *piece = xmalloc(PIECE);
    while (!has_all(g)) {
        struct ctx silent = ctx_with_timeout(g->ctx, g->h->timeout_ns);
        ssize_t n = http_body_read(b, &silent, piece, PIECE, err);
        if (n <= 0)
            return (int)n;
        int64_t drop = skip < n ? skip : n;
        skip -= drop;
        if (hand_on(g, piece + drop, (size_t)(n - drop), err) < 0)
            return -1;
    }
    return 0;
}

/* 0: done; 1: later; -1: failed, which may pass; -2: failed for good. err is never NULL. */
static int fetch_once(struct reading *g, struct http_answer *head, bool *sent, struct err *err)
{
    BLOB_REQ(r);
    if (g->f->prepare(g->f->self, g->ctx, &r, err) < 0)
        return -1;
    int64_t from = g->f->offset + g->got;
    char range[64];
    if (g->f->length >= 0)
        snprintf(range, sizeof range, "bytes=%lld-%lld", (long long)from, (long long)(g->f->offset + g->f->length - 1));
    else
        snprintf(range, sizeof range, "bytes=%lld-", (long long)from);
    if (from > 0 || g->f->length >= 0)
        blob_req_field(&r, "range", range);
    if (g->begun && *g->etag)
        blob_req_field(&r, "if-match", g->etag);
    *sent = true;
    struct http_body *b = open_once(g->h, g->ctx, &r, head, err);
    if (!b)
        return -1;
    int rc;
    int64_t skip;
    if (head->status == 200 || head->status == 206) {
        rc = look_at_head(g, head, &skip, err) < 0 ? -2 : read_body(g, b, skip, err);
    } else if (head->status == 416 && !g->begun) {
        rc = 0; /* nothing lies behind the end */
    } else if (head->status == 412 && g->begun) {
        err_set(err, ERR_CONFLICT, "the object was replaced while it was being read");
        rc = -2;
    } else if (blob_http_later(head->status)) {
        rc = 1;
    } else {
        rc = -2;
    }
    if (rc == 1 || (rc == -2 && err->code == ERR_OK)) {
        read_whole(g->h, g->ctx, b, head, REFUSAL_MAX, NULL);
        g->f->refused(g->f->self, head, err);
    }
    http_body_close(b);
    return rc;
}

static int check_whole(struct reading *g, struct err *err)
{
    int64_t want = g->total < 0 ? -1 : g->total - g->f->offset;
    if (want >= 0 && g->f->length >= 0 && g->f->length < want)
        want = g->f->length;
    if (g->begun && want >= 0 && g->got != want)
        return lie(err, "the number of bytes is", g->got, want);
    unsigned char md5[16];
    bool check = g->hash && g->has_md5;
    blob_hash_end(TAKE(g->hash), check ? md5 : NULL);
    if (check && memcmp(md5, g->md5, sizeof md5) != 0)
        return err_set(err, ERR_IO,
                       "the bytes that came do not have the checksum that the store names: they were damaged on the way");
    return 0;
}

int blob_http_fetch(const struct blob_http *h, const struct ctx *ctx, const struct blob_fetch *f, struct err *err)
{
    struct reading g = {.h = h, .ctx = ctx, .f = f, .total = -1};
    if (f->length == 0)
        return 0;
    if (f->offset == 0 && f->length < 0)
        g.hash = blob_hash_new(BLOB_MD5);
    int rc;
    for (int tries = 0;; tries++) {
        ERR(e);
        bool sent = false;
        struct http_answer head = {0};
        int64_t before = g.got;
        rc = fetch_once(&g, &head, &sent, &e);
        if (rc == 0) {
            http_answer_free(&head);
            rc = check_whole(&g, err);
            break;
        }
        if (g.got > before)
            tries = 0; /* it moves: only standing still counts */
        bool worth = sent && !g.sink_failed && tries < h->max_retries && (rc == 1 || (rc == -1 && may_pass(ctx, &e)));
        if (!worth)
            rc = err_move(err, &e);
        else
            rc = pause_for(ctx, tries, rc == 1 ? &head : NULL, err);
        http_answer_free(&head);
        if (rc < 0)
            break;
    }
    blob_hash_end(g.hash, NULL);
    return rc;
}
