/* blob_gcs.c - Google Cloud Storage by its JSON API, with a token of a service account, of a user, or of the machine. With HMAC
 * keys it is spoken to as S3 (blob_s3.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "data/blob_crypto.h"
#include "data/blob_gcs.h"
#include "data/blob_priv.h"
#include "data/blob_sigv4.h"

#define CHUNK (256u << 10) /* pieces of a resumable upload are multiples of it */

struct gcs {
    struct blob_settings set;
    struct blob_http http;
    char *base;            /* "https://storage.googleapis.com" */
    struct gcs_auth *auth; /* NULL: anonymous */
};

struct call {
    struct gcs *g;
    enum http_method method;
    char *url;
    const char *type, *range; /* Content-Type, Content-Range; NULL: none */
    const void *body;
    size_t body_len;
    const char *what;
};

static int prepare(void *self, const struct ctx *ctx, struct blob_req *r, struct err *err)
{
    const struct call *c = self;
    r->method = c->method;
    r->url = xstrdup(c->url);
    r->body = c->body;
    r->body_len = c->body_len;
    if (c->type)
        blob_req_field(r, "content-type", c->type);
    if (c->range)
        blob_req_field(r, "content-range", c->range);
    if (!c->g->auth)
        return 0;
    AUTOFREE char *token = gcs_auth_token(c->g->auth, &c->g->http, ctx, err);
    if (!token)
        return -1;
    AUTOFREE char *value = xasprintf("Bearer %s", token);
    blob_req_field(r, "authorization", value);
    return 0;
}

static int refused(void *self, const struct http_answer *a, struct err *err)
{
    const struct call *c = self;
    JSON_REF(d) = json_parse(buf_str(&a->body), a->body.len, NULL, NULL);
    jval *e = jv_get(json_root(d), "error");
    const char *reason = jv_str(jv_get(jv_at(jv_get(e, "errors"), 0), "reason"));
    const char *message = jv_is(e, J_STRING) ? jv_str(e) : jv_str(jv_get(e, "message"));
    blob_http_status(err, a->status, reason, message);
    return err_wrap(err, "%s %s", c->g->base, c->what);
}

static int send_call(struct call *c, const struct ctx *ctx, struct http_answer *a, struct err *err)
{
    if (blob_http_call(&c->g->http, ctx, prepare, c, a, NULL, err) < 0)
        return err_wrap(err, "%s %s", c->g->base, c->what);
    if (a->status / 100 == 2 || a->status == 308)
        return 0;
    refused(c, a, err);
    http_answer_free(a);
    return -1;
}

/* "/storage/v1/b/BUCKET/o/KEY?query" below base; key NULL: the bucket's objects. */
static char *object_url(const struct gcs *g, const char *service, const char *bucket, const char *key, const char *query)
{
    AUTOFREE char *b = sig_encode(bucket, false);
    AUTOFREE char *k = key ? sig_encode(key, false) : NULL;
    return xasprintf("%s%s/b/%s/o%s%s%s%s", g->base, service, b, k ? "/" : "", k ? k : "", *query ? "?" : "", query);
}

/* ---- one object ----------------------------------------------------------------------------------------------- */

static int64_t number(jval *v)
{
    int64_t n;
    return jv_str(v) && str_to_i64(jv_str(v), &n) ? n : jv_i64_or(v, -1);
}

static int64_t time_of(const char *text)
{
    struct tm tm = {0};
    return text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) * NS_PER_S : 0;
}

static int gcs_stat(void *self, const struct ctx *ctx, const char *bucket, const char *key, struct blob_info *out,
                    struct err *err)
{
    AUTOFREE char *url = object_url(self, "/storage/v1", bucket, key, "");
    struct call c = {.g = self, .method = HTTP_GET, .url = url, .what = key};
    struct http_answer a;
    if (send_call(&c, ctx, &a, err) < 0)
        return -1;
    JSON_REF(d) = json_parse(buf_str(&a.body), a.body.len, NULL, err);
    http_answer_free(&a);
    jval *v = json_root(d);
    *out = (struct blob_info){.size = number(jv_get(v, "size")), .mtime_ns = time_of(jv_str(jv_get(v, "updated")))};
    snprintf(out->etag, sizeof out->etag, "%.70s", jv_str_or(jv_get(v, "etag"), ""));
    if (!d || out->size < 0)
        return err_set(err, ERR_IO, "%s %s: the answer is no object's description", c.g->base, key);
    return 0;
}

/* x-goog-hash: crc32c=...,md5=... ; not of what was transcoded on the way. */
static bool hash_md5(void *self, const struct http_answer *a, unsigned char out[16])
{
    for (size_t i = 0; i < a->n_headers; i++) {
        const char *at = str_eq(a->headers[i].name, "x-goog-hash") ? strstr(a->headers[i].value, "md5=") : NULL;
        unsigned char *md5 = NULL;
        size_t n = 0;
        if (!at || base64_decode(at + 4, strcspn(at + 4, ", "), &md5, &n) < 0)
            continue;
        bool ok = n == 16 && !http_answer_header(a, "content-encoding");
        if (ok)
            memcpy(out, md5, 16);
        free(md5);
        return ok;
    }
    return false;
}

static int gcs_get(void *self, const struct ctx *ctx, const char *bucket, const char *key, int64_t offset, int64_t length,
                   blob_sink_fn *sink, void *to, struct err *err)
{
    AUTOFREE char *url = object_url(self, "/storage/v1", bucket, key, "alt=media");
    struct call c = {.g = self, .method = HTTP_GET, .url = url, .what = key};
    const struct blob_fetch f = {.prepare = prepare,
                                 .refused = refused,
                                 .self = &c,
                                 .offset = offset,
                                 .length = length,
                                 .sink = sink,
                                 .to = to,
                                 .md5 = hash_md5};
    return blob_http_fetch(&c.g->http, ctx, &f, err);
}

static int gcs_remove(void *self, const struct ctx *ctx, const char *bucket, const char *key, struct err *err)
{
    AUTOFREE char *url = object_url(self, "/storage/v1", bucket, key, "");
    struct call c = {.g = self, .method = HTTP_DELETE, .url = url, .what = key};
    struct http_answer a;
    ERR(e);
    if (send_call(&c, ctx, &a, &e) < 0)
        return e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
    http_answer_free(&a);
    return 0;
}

static int gcs_list(void *self, const struct ctx *ctx, const char *bucket, const char *prefix, const char *token, size_t max,
                    struct blob_page *out, struct err *err)
{
    char count[16];
    snprintf(count, sizeof count, "%zu", max);
    struct sig_pair q[4] = {{"maxResults", count}, {"fields", "items(name,size),nextPageToken"}};
    size_t n = 2;
    if (*prefix)
        q[n++] = (struct sig_pair){"prefix", prefix};
    if (token)
        q[n++] = (struct sig_pair){"pageToken", token};
    AUTOFREE char *query = sig_query(q, n);
    AUTOFREE char *url = object_url(self, "/storage/v1", bucket, NULL, query);
    struct call c = {.g = self, .method = HTTP_GET, .url = url, .what = bucket};
    struct http_answer a;
    if (send_call(&c, ctx, &a, err) < 0)
        return -1;
    JSON_REF(d) = json_parse(buf_str(&a.body), a.body.len, NULL, err);
    http_answer_free(&a);
    if (!d || !jv_is(json_root(d), J_OBJECT))
        return d ? err_set(err, ERR_IO, "%s: listing %s: the answer is no list", c.g->base, bucket) : -1;
    jval *v;
    for (struct jiter it = jv_iter(jv_get(json_root(d), "items")); jv_next(&it, NULL, &v);)
        if (jv_str(jv_get(v, "name")))
            blob_page_add(out, xstrdup(jv_str(jv_get(v, "name"))), number(jv_get(v, "size")));
    const char *next = jv_str(jv_get(json_root(d), "nextPageToken"));
    out->next = str_empty(next) ? NULL : xstrdup(next);
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

/* The object as the store describes it after a write, against what was sent. */
static int check_written(const struct http_answer *a, const unsigned char md5[16], struct err *err)
{
    JSON_REF(d) = json_parse(buf_str(&a->body), a->body.len, NULL, NULL);
    const char *said = jv_str(jv_get(json_root(d), "md5Hash"));
    AUTOFREE char *have = base64_encode(md5, 16);
    if (said && !str_eq(said, have))
        return err_set(err, ERR_IO, "the store keeps other bytes than were sent: its MD5 is not theirs");
    return 0;
}

static int put_whole(struct gcs *g, const struct ctx *ctx, const char *bucket, const char *key, const struct buf *b,
                     struct err *err)
{
    const struct sig_pair q[] = {{"uploadType", "media"}, {"name", key}};
    AUTOFREE char *query = sig_query(q, ARRAY_LEN(q));
    AUTOFREE char *url = object_url(g, "/upload/storage/v1", bucket, NULL, query);
    struct call c = {.g = g,
                     .method = HTTP_POST,
                     .url = url,
                     .type = "application/octet-stream",
                     .body = buf_str(b),
                     .body_len = b->len,
                     .what = key};
    struct http_answer a;
    if (send_call(&c, ctx, &a, err) < 0)
        return -1;
    unsigned char md5[16];
    blob_digest(BLOB_MD5, buf_str(b), b->len, md5);
    int rc = check_written(&a, md5, err);
    http_answer_free(&a);
    return rc;
}

/* The same scheme, host and port: what we send there is our token and the object's bytes. */
static bool is_on(const char *base, const char *url)
{
    const char *host = strstr(base, "://") + 3;
    size_t n = (size_t)(host - base) + strcspn(host, "/");
    return strncasecmp(base, url, n) == 0 && url[n] == '/';
}

/* The session's URL. Caller frees. */
static char *begin_session(struct gcs *g, const struct ctx *ctx, const char *bucket, const char *key, struct err *err)
{
    const struct sig_pair q[] = {{"uploadType", "resumable"}, {"name", key}};
    AUTOFREE char *query = sig_query(q, ARRAY_LEN(q));
    AUTOFREE char *url = object_url(g, "/upload/storage/v1", bucket, NULL, query);
    struct call c = {
        .g = g, .method = HTTP_POST, .url = url, .type = "application/json", .body = "{}", .body_len = 2, .what = key};
    struct http_answer a;
    if (send_call(&c, ctx, &a, err) < 0)
        return NULL;
    const char *where = http_answer_header(&a, "location");
    char *session = str_empty(where) ? NULL : *where == '/' ? xasprintf("%s%s", g->base, where) : xstrdup(where);
    if (!session)
        err_set(err, ERR_IO, "%s %s: the store began an upload without naming it", g->base, key);
    if (session && !is_on(g->base, session)) {
        err_set(err, ERR_IO, "%s %s: the store wants the upload sent elsewhere: %.200s", g->base, key, session);
        free(TAKE(session));
    }
    http_answer_free(&a);
    return session;
}

struct session {
    struct gcs *g;
    const char *key, *url;
    int64_t sent; /* bytes that the store has */
    struct blob_hash *hash;
};

/* bytes FROM-LAST/TOTAL, with * for what there is not. */
static void piece_range(char out[80], int64_t at, int64_t last, bool end)
{
    char total[24] = "*", bytes[48] = "*";
    if (end)
        snprintf(total, sizeof total, "%lld", (long long)last);
    if (at < last)
        snprintf(bytes, sizeof bytes, "%lld-%lld", (long long)at, (long long)last - 1);
    snprintf(out, 80, "bytes %s/%s", bytes, total);
}

/* Sends a piece from its byte *from on; moves *from to what the store has. *done: the object is complete. */
static int send_rest(struct session *s, const struct ctx *ctx, const struct buf *b, size_t *from, bool end, bool *done,
                     struct err *err)
{
    char range[80];
    piece_range(range, s->sent + (int64_t)*from, s->sent + (int64_t)b->len, end);
    struct call c = {.g = s->g,
                     .method = HTTP_PUT,
                     .url = (char *)(uintptr_t)s->url,
                     .range = range,
                     .body = buf_str(b) + *from,
                     .body_len = b->len - *from,
                     .what = s->key};
    struct http_answer a;
    if (send_call(&c, ctx, &a, err) < 0)
        return -1;
    int rc = 0;
    *done = a.status != 308;
    if (*done && end) {
        unsigned char md5[16];
        blob_hash_end(TAKE(s->hash), md5);
        rc = check_written(&a, md5, err);
    } else {
        long long last = -1;
        const char *r = http_answer_header(&a, "range");
        if (!r || sscanf(r, "bytes=0-%lld", &last) != 1)
            last = -1;
        int64_t have = last + 1 - s->sent;
        if (*done || have < 0 || have > (int64_t)b->len)
            rc = err_set(err, ERR_IO, "the store's answer to a piece of an upload makes no sense: %d, with %lld bytes", a.status,
                         last + 1);
        *from = rc == 0 ? (size_t)have : 0;
    }
    http_answer_free(&a);
    return rc;
}

/* One piece; the store may take less of it than was sent: the rest goes again. end: the object ends with it. */
static int send_piece(struct session *s, const struct ctx *ctx, const struct buf *b, bool end, struct err *err)
{
    size_t from = 0;
    bool done = false;
    for (int stuck = 0; !done && (end || from < b->len);) {
        size_t before = from;
        if (send_rest(s, ctx, b, &from, end, &done, err) < 0)
            return -1;
        stuck = from == before ? stuck + 1 : 0;
        if (!done && stuck > s->g->http.max_retries)
            return err_set(err, ERR_UNAVAILABLE, "the store takes no more of the upload");
    }
    s->sent += (int64_t)b->len;
    return 0;
}

static int put_session(struct session *s, const struct ctx *ctx, struct buf *b, blob_source_fn *source, void *from,
                       struct err *err)
{
    bool end = false;
    for (unsigned n = 1;; n++) {
        blob_hash_add(s->hash, buf_str(b), b->len);
        if (send_piece(s, ctx, b, end, err) < 0)
            return -1;
        if (end)
            return 0;
        size_t cap = blob_part_size(&s->g->set, n);
        if (blob_read_part(source, from, b, (cap + CHUNK - 1) / CHUNK * CHUNK, &end, err) < 0)
            return -1;
    }
}

static int gcs_put(void *self, const struct ctx *ctx, const char *bucket, const char *key, blob_source_fn *source, void *from,
                   struct err *err)
{
    struct gcs *g = self;
    BUF(part);
    bool end;
    size_t cap = (blob_part_size(&g->set, 0) + CHUNK - 1) / CHUNK * CHUNK;
    if (blob_read_part(source, from, &part, cap, &end, err) < 0)
        return -1;
    if (end)
        return put_whole(g, ctx, bucket, key, &part, err);
    AUTOFREE char *url = begin_session(g, ctx, bucket, key, err);
    if (!url)
        return -1;
    struct session s = {.g = g, .key = key, .url = url, .hash = blob_hash_new(BLOB_MD5)};
    int rc = put_session(&s, ctx, &part, source, from, err);
    blob_hash_end(s.hash, NULL);
    return rc;
}

/* ---- signed URLs ---------------------------------------------------------------------------------------------- */

static char *gcs_sign(void *self, const struct ctx *ctx, const char *bucket, const char *key, bool put, int64_t seconds,
                      struct err *err)
{
    const struct gcs *g = self;
    const char *pem = g->auth ? gcs_auth_key(g->auth) : NULL, *who = g->auth ? gcs_auth_email(g->auth) : NULL;
    if (!pem || !who) {
        err_set(err, ERR_UNIMPLEMENTED, "signed URLs need a service account's key; these credentials have none");
        return NULL;
    }
    AUTOFREE char *b = sig_encode(bucket, false);
    AUTOFREE char *k = sig_encode(key, true);
    AUTOFREE char *path = xasprintf("/%s/%s", b, k);
    char time[17];
    sig_time(ctx_now_ns(ctx), time);
    const char *host = strstr(g->base, "://") + 3;
    const struct sig_request q = {.method = put ? "PUT" : "GET", .host = host, .path = path, .payload = "UNSIGNED-PAYLOAD"};
    const struct sig_key sk = {.access = who, .rsa_pem = pem, .google = true, .region = "auto", .service = "storage"};
    AUTOFREE char *query = sig_presign(&q, &sk, time, seconds, err);
    return query ? xasprintf("%s%s?%s", g->base, path, query) : NULL;
}

/* ---- opening -------------------------------------------------------------------------------------------------- */

static void gcs_free(void *self)
{
    struct gcs *g = self;
    gcs_auth_free(g->auth);
    blob_http_clear(&g->http);
    blob_settings_clear(&g->set);
    free(g->base);
    free(g);
}

static const struct blob_ops ops = {
    .stat = gcs_stat, .get = gcs_get, .put = gcs_put, .remove = gcs_remove, .list = gcs_list, .sign = gcs_sign, .free = gcs_free};

static char *pick_base(const struct blob_settings *set, bool *emulated)
{
    const char *e = set->endpoint, *fake = set->from_env ? getenv("STORAGE_EMULATOR_HOST") : NULL;
    *emulated = str_empty(e) && !str_empty(fake);
    if (*emulated)
        return strstr(fake, "://") ? xstrdup(fake) : xasprintf("http://%s", fake);
    if (str_empty(e))
        return xstrdup("https://storage.googleapis.com");
    size_t n = strlen(e);
    while (n > 0 && e[n - 1] == '/')
        n--;
    return strstr(e, "://") ? xstrndup(e, n) : xasprintf("%s://%.*s", set->no_tls ? "http" : "https", (int)n, e);
}

struct blob_store *blob_gcs_open(const struct blob_settings *set, struct err *err)
{
    struct gcs *g = xcalloc(1, sizeof *g);
    blob_settings_copy(&g->set, set);
    bool emulated;
    g->base = pick_base(set, &emulated);
    int rc = blob_http_init(&g->http, set, err);
    if (rc == 0 && !set->anonymous && !emulated) {
        g->auth = gcs_auth_new(set, err);
        rc = g->auth ? 0 : -1;
    }
    if (rc < 0) {
        gcs_free(g);
        return NULL;
    }
    struct blob_store *b = xcalloc(1, sizeof *b);
    *b = (struct blob_store){.ops = &ops, .self = g};
    return b;
}
