/* blob_s3.c - S3 and what speaks it. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "base/thread.h"
#include "data/blob_aws.h"
#include "data/blob_crypto.h"
#include "data/blob_priv.h"
#include "data/blob_sigv4.h"
#include "data/blob_xml.h"

#define UNSIGNED     "UNSIGNED-PAYLOAD"
#define EARLY_NS     (300 * NS_PER_S) /* keys are renewed so long before they end */
#define ABORT_NS     (10 * NS_PER_S)
#define PARTS_MAX    10000
#define ETAG_MD5_LEN 32

struct s3 {
    struct blob_settings set;
    struct blob_http http;
    const char *scheme; /* "http" or "https" */
    char *host;         /* as in the Host field */
    char *region;
    bool virtual_host;
    pthread_mutex_t lock; /* guards env */
    struct aws_keys env;  /* keys from the environment, while they are good */
};

/* One request. */
struct call {
    struct s3 *s;
    enum http_method method;
    const char *bucket, *key; /* key NULL: the bucket */
    struct sig_pair params[6], fields[4];
    size_t n_params, n_fields;
    const void *body;
    size_t body_len;
};

static void param(struct call *c, const char *name, const char *value)
{
    ASSERT(c->n_params < ARRAY_LEN(c->params));
    c->params[c->n_params++] = (struct sig_pair){name, value};
}

static void field(struct call *c, const char *name, const char *value)
{
    ASSERT(c->n_fields < ARRAY_LEN(c->fields));
    c->fields[c->n_fields++] = (struct sig_pair){name, value};
}

/* ---- keys and signatures -------------------------------------------------------------------------------------- */

/* A copy of the keys to sign with; none (access NULL) for anonymous. */
static int keys_of(struct s3 *s, const struct ctx *ctx, struct aws_keys *out, struct err *err)
{
    *out = (struct aws_keys){0};
    if (s->set.anonymous)
        return 0;
    if (!s->set.from_env) {
        *out = (struct aws_keys){xstrdup(s->set.access_key), xstrdup(s->set.secret_key), xstrdup(s->set.session_token), 0};
        return 0;
    }
    LOCK_GUARD(&s->lock);
    bool good = s->env.access && (!s->env.expires_ns || ctx_now_ns(ctx) < s->env.expires_ns - EARLY_NS);
    if (!good) {
        aws_keys_clear(&s->env);
        if (aws_keys_from_env(&s->http, ctx, s->region, &s->env, err) < 0)
            return -1;
    }
    *out = (struct aws_keys){xstrdup(s->env.access), xstrdup(s->env.secret), xstrdup(s->env.token), s->env.expires_ns};
    return 0;
}

/* A dot in a bucket's name would not match the wildcard of the certificate. */
static bool as_host(const struct s3 *s, const char *bucket)
{
    return s->virtual_host && !(str_eq(s->scheme, "https") && strchr(bucket, '.'));
}

static void place_of(const struct s3 *s, const char *bucket, const char *key, char **host, char **path)
{
    AUTOFREE char *b = sig_encode(bucket, false);
    AUTOFREE char *k = sig_encode(key ? key : "", true);
    bool virtual = as_host(s, bucket);
    *host = virtual ? xasprintf("%s.%s", b, s->host) : xstrdup(s->host);
    *path = virtual ? xasprintf("/%s", k) : xasprintf("/%s%s%s", b, key ? "/" : "", k);
}

static void sign_fields(struct call *c, const struct aws_keys *keys, const struct ctx *ctx, const char *host, const char *path,
                        struct blob_req *r)
{
    char time[17], hash[2 * BLOB_SHA256_SIZE + 1] = UNSIGNED;
    sig_time(ctx_now_ns(ctx), time);
    if (str_eq(c->s->scheme, "http")) { /* TLS protects the body already */
        unsigned char d[BLOB_SHA256_SIZE];
        blob_digest(BLOB_SHA256, c->body ? c->body : "", c->body_len, d);
        AUTOFREE char *hex = hex_encode(d, sizeof d);
        strcpy(hash, hex);
    }
    struct sig_pair fields[ARRAY_LEN(c->fields) + 3];
    size_t n = 0;
    for (; n < c->n_fields; n++)
        fields[n] = c->fields[n];
    fields[n++] = (struct sig_pair){"x-amz-content-sha256", hash};
    fields[n++] = (struct sig_pair){"x-amz-date", time};
    if (keys->token)
        fields[n++] = (struct sig_pair){"x-amz-security-token", keys->token};
    const struct sig_request q = {.method = http_method_name(c->method),
                                  .host = host,
                                  .path = path,
                                  .params = c->params,
                                  .n_params = c->n_params,
                                  .fields = fields,
                                  .n_fields = n,
                                  .payload = hash};
    const struct sig_key k = {
        .access = keys->access, .secret = keys->secret, .token = keys->token, .region = c->s->region, .service = "s3"};
    AUTOFREE char *auth = sig_authorization(&q, &k, time);
    for (size_t i = c->n_fields; i < n; i++)
        blob_req_field(r, fields[i].name, fields[i].value);
    blob_req_field(r, "authorization", auth);
}

static int prepare(void *self, const struct ctx *ctx, struct blob_req *r, struct err *err)
{
    struct call *c = self;
    CLEANUP(aws_keys_clear) struct aws_keys keys = {0};
    if (keys_of(c->s, ctx, &keys, err) < 0)
        return -1;
    AUTOFREE char *host = NULL;
    AUTOFREE char *path = NULL;
    place_of(c->s, c->bucket, c->key, &host, &path);
    AUTOFREE char *query = sig_query(c->params, c->n_params);
    r->method = c->method;
    r->url = xasprintf("%s://%s%s%s%s", c->s->scheme, host, path, *query ? "?" : "", query);
    r->body = c->body;
    r->body_len = c->body_len;
    for (size_t i = 0; i < c->n_fields; i++)
        blob_req_field(r, c->fields[i].name, c->fields[i].value);
    if (keys.access)
        sign_fields(c, &keys, ctx, host, path, r);
    return 0;
}

/* ---- answers -------------------------------------------------------------------------------------------------- */

static int refused(void *self, const struct http_answer *a, struct err *err)
{
    const struct call *c = self;
    S3_ANSWER(x);
    if (s3_answer_parse(buf_str(&a->body), a->body.len, &x, NULL) < 0)
        x = (struct s3_answer){0};
    blob_http_status(err, a->status, x.code, x.message);
    const char *region = x.region ? x.region : http_answer_header(a, "x-amz-bucket-region");
    if (!str_empty(region) && !str_eq(region, c->s->region) && (a->status == 301 || a->status == 307 || a->status == 400))
        err_wrap(err, "the bucket is in region %.60s, not %s", region, c->s->region);
    if (c->key)
        return err_wrap(err, "%s %s/%s", c->s->host, c->bucket, c->key);
    return err_wrap(err, "%s %s", c->s->host, c->bucket);
}

/* Sends, and makes an error of everything that is not 2xx. The caller frees the answer. */
static int send_call(struct call *c, const struct ctx *ctx, struct http_answer *a, bool *again, struct err *err)
{
    if (blob_http_call(&c->s->http, ctx, prepare, c, a, again, err) < 0)
        return err_wrap(err, "%s %s%s%s", c->s->host, c->bucket, c->key ? "/" : "", c->key ? c->key : "");
    if (a->status / 100 == 2)
        return 0;
    refused(c, a, err);
    http_answer_free(a);
    return -1;
}

static int simple(struct call *c, const struct ctx *ctx, struct err *err)
{
    struct http_answer a;
    if (send_call(c, ctx, &a, NULL, err) < 0)
        return -1;
    http_answer_free(&a);
    return 0;
}

/* An ETag is the MD5 of the bytes when the object came in one piece and was not encrypted with a key of the store's. */
static bool etag_md5(void *self, const struct http_answer *a, unsigned char out[16])
{
    const char *t = http_answer_header(a, "etag"), *crypt = http_answer_header(a, "x-amz-server-side-encryption");
    if (!t || (crypt && strcasecmp(crypt, "AES256") != 0) ||
        http_answer_header(a, "x-amz-server-side-encryption-customer-algorithm") || http_answer_header(a, "content-encoding"))
        return false;
    if (*t == '"')
        t++;
    if (strspn(t, "0123456789abcdef") != ETAG_MD5_LEN || (t[ETAG_MD5_LEN] && t[ETAG_MD5_LEN] != '"'))
        return false;
    for (int i = 0; i < 16; i++) {
        unsigned byte;
        sscanf(t + 2 * i, "%2x", &byte);
        out[i] = (unsigned char)byte;
    }
    return true;
}

static int s3_stat(void *self, const struct ctx *ctx, const char *bucket, const char *key, struct blob_info *out, struct err *err)
{
    struct call c = {.s = self, .method = HTTP_HEAD, .bucket = bucket, .key = key};
    struct http_answer a;
    if (send_call(&c, ctx, &a, NULL, err) < 0)
        return -1;
    const char *etag = http_answer_header(&a, "etag"), *when = http_answer_header(&a, "last-modified");
    *out = (struct blob_info){.size = blob_http_length(&a)};
    snprintf(out->etag, sizeof out->etag, "%.70s", etag ? etag : "");
    struct tm tm = {0};
    if (when && strptime(when, "%a, %d %b %Y %H:%M:%S", &tm))
        out->mtime_ns = (int64_t)timegm(&tm) * NS_PER_S;
    http_answer_free(&a);
    if (out->size < 0)
        return err_set(err, ERR_IO, "%s %s/%s: the store does not say how long it is", c.s->host, bucket, key);
    return 0;
}

static int s3_get(void *self, const struct ctx *ctx, const char *bucket, const char *key, int64_t offset, int64_t length,
                  blob_sink_fn *sink, void *to, struct err *err)
{
    struct call c = {.s = self, .method = HTTP_GET, .bucket = bucket, .key = key};
    const struct blob_fetch f = {.prepare = prepare,
                                 .refused = refused,
                                 .self = &c,
                                 .offset = offset,
                                 .length = length,
                                 .sink = sink,
                                 .to = to,
                                 .md5 = etag_md5};
    return blob_http_fetch(&c.s->http, ctx, &f, err);
}

static int s3_remove(void *self, const struct ctx *ctx, const char *bucket, const char *key, struct err *err)
{
    struct call c = {.s = self, .method = HTTP_DELETE, .bucket = bucket, .key = key};
    ERR(e);
    if (simple(&c, ctx, &e) == 0 || e.code == ERR_NOT_FOUND)
        return 0;
    return err_move(err, &e);
}

static int s3_list(void *self, const struct ctx *ctx, const char *bucket, const char *prefix, const char *token, size_t max,
                   struct blob_page *out, struct err *err)
{
    struct call c = {.s = self, .method = HTTP_GET, .bucket = bucket};
    char count[16];
    snprintf(count, sizeof count, "%zu", max);
    param(&c, "list-type", "2");
    param(&c, "max-keys", count);
    if (*prefix)
        param(&c, "prefix", prefix);
    if (token)
        param(&c, "continuation-token", token);
    struct http_answer a;
    if (send_call(&c, ctx, &a, NULL, err) < 0)
        return -1;
    S3_ANSWER(x);
    int rc = s3_answer_parse(buf_str(&a.body), a.body.len, &x, err);
    http_answer_free(&a);
    if (rc < 0)
        return err_wrap(err, "%s: listing %s", c.s->host, bucket);
    if (x.truncated && !x.page.next)
        return err_set(err, ERR_IO, "%s: listing %s: there is more, but the store does not say how to go on", c.s->host, bucket);
    if (!x.truncated)
        free(TAKE(x.page.next));
    *out = x.page;
    x.page = (struct blob_page){0};
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static int check_etag(const struct http_answer *a, const unsigned char md5[16], struct err *err)
{
    unsigned char said[16];
    if (etag_md5(NULL, a, said) && memcmp(said, md5, 16) != 0)
        return err_set(err, ERR_IO, "the store keeps other bytes than were sent: its ETag is not their MD5");
    return 0;
}

/* PUT of the object, or of one part of it. *etag (may be NULL) is malloc'd. */
static int put_bytes(struct call *c, const struct ctx *ctx, const struct buf *b, unsigned char md5[16], char **etag,
                     struct err *err)
{
    blob_digest(BLOB_MD5, buf_str(b), b->len, md5);
    AUTOFREE char *b64 = base64_encode(md5, 16);
    c->method = HTTP_PUT;
    c->body = buf_str(b);
    c->body_len = b->len;
    field(c, "content-md5", b64);
    struct http_answer a;
    if (send_call(c, ctx, &a, NULL, err) < 0)
        return -1;
    const char *said = http_answer_header(&a, "etag");
    int rc = check_etag(&a, md5, err);
    if (rc == 0 && etag && !said)
        rc = err_set(err, ERR_IO, "the store gave no ETag for a part");
    if (rc == 0 && etag)
        *etag = xstrdup(said);
    http_answer_free(&a);
    return rc;
}

struct upload {
    struct s3 *s;
    const char *bucket, *key;
    char *id;
    struct strlist etags;
    struct buf sums; /* MD5 of each part */
};

static int begin_upload(struct upload *u, const struct ctx *ctx, struct err *err)
{
    struct call c = {.s = u->s, .method = HTTP_POST, .bucket = u->bucket, .key = u->key};
    param(&c, "uploads", "");
    struct http_answer a;
    if (send_call(&c, ctx, &a, NULL, err) < 0)
        return -1;
    S3_ANSWER(x);
    int rc = s3_answer_parse(buf_str(&a.body), a.body.len, &x, err);
    http_answer_free(&a);
    if (rc == 0 && str_empty(x.upload_id))
        rc = err_set(err, ERR_IO, "the store began an upload without naming it");
    if (rc == 0)
        u->id = TAKE(x.upload_id);
    return rc;
}

static int upload_part(struct upload *u, const struct ctx *ctx, const struct buf *part, struct err *err)
{
    struct call c = {.s = u->s, .bucket = u->bucket, .key = u->key};
    char number[16];
    unsigned char md5[16];
    if (u->etags.n >= PARTS_MAX)
        return err_set(err, ERR_TOO_LARGE, "the object has more than %d parts", PARTS_MAX);
    snprintf(number, sizeof number, "%zu", u->etags.n + 1);
    param(&c, "partNumber", number);
    param(&c, "uploadId", u->id);
    char *etag = NULL;
    if (put_bytes(&c, ctx, part, md5, &etag, err) < 0)
        return err_wrap(err, "part %s", number);
    strlist_take(&u->etags, etag);
    buf_add(&u->sums, md5, sizeof md5);
    return 0;
}

static void xml_text(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '&')
            buf_adds(out, "&amp;");
        else if (*s == '<')
            buf_adds(out, "&lt;");
        else
            buf_addc(out, *s);
    }
}

/* When the first answer was lost, the store does not know the upload any more: what counts is whether the object is there as a
 * whole. */
static int is_complete(struct upload *u, const struct ctx *ctx, struct err *err)
{
    unsigned char md5[16];
    struct blob_info info;
    if (s3_stat(u->s, ctx, u->bucket, u->key, &info, err) < 0)
        return -1;
    blob_digest(BLOB_MD5, u->sums.data, u->sums.len, md5);
    AUTOFREE char *hex = hex_encode(md5, sizeof md5);
    AUTOFREE char *want = xasprintf("%s-%zu", hex, u->etags.n);
    if (strstr(info.etag, want))
        return 0;
    return err_set(err, ERR_IO, "the store lost the upload before it was complete");
}

static int end_upload(struct upload *u, const struct ctx *ctx, struct err *err)
{
    struct call c = {.s = u->s, .method = HTTP_POST, .bucket = u->bucket, .key = u->key};
    BUF(body);
    buf_adds(&body, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (size_t i = 0; i < u->etags.n; i++) {
        buf_addf(&body, "<Part><PartNumber>%zu</PartNumber><ETag>", i + 1);
        xml_text(&body, u->etags.v[i]);
        buf_adds(&body, "</ETag></Part>");
    }
    buf_adds(&body, "</CompleteMultipartUpload>");
    param(&c, "uploadId", u->id);
    field(&c, "content-type", "application/xml");
    c.body = body.data;
    c.body_len = body.len;
    struct http_answer a;
    bool again = false;
    ERR(e);
    if (send_call(&c, ctx, &a, &again, &e) < 0)
        return again && e.code == ERR_NOT_FOUND ? is_complete(u, ctx, err) : err_move(err, &e);
    S3_ANSWER(x);
    int rc = s3_answer_parse(buf_str(&a.body), a.body.len, &x, err);
    if (rc == 0 && x.code) /* refused after the head had been sent */
        rc = blob_http_status(err, 500, x.code, x.message);
    http_answer_free(&a);
    return rc;
}

/* What the store keeps of an upload that will not be completed costs money until somebody takes it away. */
static void abort_upload(struct upload *u)
{
    struct call c = {.s = u->s, .method = HTTP_DELETE, .bucket = u->bucket, .key = u->key};
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, ABORT_NS);
    param(&c, "uploadId", u->id);
    simple(&c, &ctx, NULL);
}

static int put_parts(struct upload *u, const struct ctx *ctx, struct buf *part, blob_source_fn *source, void *from,
                     struct err *err)
{
    if (begin_upload(u, ctx, err) < 0)
        return -1;
    bool end = false;
    int rc = upload_part(u, ctx, part, err);
    while (rc == 0 && !end) {
        rc = blob_read_part(source, from, part, blob_part_size(&u->s->set, (unsigned)u->etags.n), &end, err);
        if (rc == 0 && part->len > 0)
            rc = upload_part(u, ctx, part, err);
    }
    if (rc == 0)
        rc = end_upload(u, ctx, err);
    if (rc < 0)
        abort_upload(u);
    return rc;
}

static int s3_put(void *self, const struct ctx *ctx, const char *bucket, const char *key, blob_source_fn *source, void *from,
                  struct err *err)
{
    struct s3 *s = self;
    BUF(part);
    bool end;
    if (blob_read_part(source, from, &part, blob_part_size(&s->set, 0), &end, err) < 0)
        return -1;
    if (end) {
        struct call c = {.s = s, .bucket = bucket, .key = key};
        unsigned char md5[16];
        return put_bytes(&c, ctx, &part, md5, NULL, err);
    }
    struct upload u = {.s = s, .bucket = bucket, .key = key};
    int rc = put_parts(&u, ctx, &part, source, from, err);
    free(u.id);
    strlist_free(&u.etags);
    buf_free(&u.sums);
    return rc < 0 ? err_wrap(err, "%s: writing %s/%s in parts", s->host, bucket, key) : 0;
}

/* ---- signed URLs ---------------------------------------------------------------------------------------------- */

static char *s3_sign(void *self, const struct ctx *ctx, const char *bucket, const char *key, bool put, int64_t seconds,
                     struct err *err)
{
    struct s3 *s = self;
    CLEANUP(aws_keys_clear) struct aws_keys keys = {0};
    if (keys_of(s, ctx, &keys, err) < 0)
        return NULL;
    AUTOFREE char *host = NULL;
    AUTOFREE char *path = NULL;
    place_of(s, bucket, key, &host, &path);
    if (!keys.access)
        return xasprintf("%s://%s%s", s->scheme, host, path);
    char time[17];
    sig_time(ctx_now_ns(ctx), time);
    const struct sig_request q = {.method = put ? "PUT" : "GET", .host = host, .path = path, .payload = UNSIGNED};
    const struct sig_key k = {
        .access = keys.access, .secret = keys.secret, .token = keys.token, .region = s->region, .service = "s3"};
    AUTOFREE char *query = sig_presign(&q, &k, time, seconds, err);
    return query ? xasprintf("%s://%s%s?%s", s->scheme, host, path, query) : NULL;
}

/* ---- opening -------------------------------------------------------------------------------------------------- */

static void s3_free(void *self)
{
    struct s3 *s = self;
    blob_http_clear(&s->http);
    blob_settings_clear(&s->set);
    aws_keys_clear(&s->env);
    pthread_mutex_destroy(&s->lock);
    free(s->host);
    free(s->region);
    free(s);
}

static const struct blob_ops ops = {
    .stat = s3_stat, .get = s3_get, .put = s3_put, .remove = s3_remove, .list = s3_list, .sign = s3_sign, .free = s3_free};

static const char *env_or(const struct blob_settings *set, const char *name)
{
    const char *v = set->from_env ? getenv(name) : NULL;
    return str_empty(v) ? NULL : v;
}

static const char *pick_region(const struct blob_settings *set)
{
    if (!str_empty(set->region))
        return set->region;
    const char *v = env_or(set, "AWS_REGION");
    if (!v)
        v = env_or(set, "AWS_DEFAULT_REGION");
    return v ? v : str_eq(set->provider, "gs") ? "auto" : "us-east-1";
}

/* Sets scheme, host and the style of URLs. */
static int pick_endpoint(struct s3 *s, struct err *err)
{
    const char *e = s->set.endpoint;
    s->virtual_host = s->set.virtual_host;
    s->scheme = s->set.no_tls ? "http" : "https";
    if (str_empty(e))
        e = env_or(&s->set, "AWS_ENDPOINT_URL_S3");
    if (str_empty(e))
        e = env_or(&s->set, "AWS_ENDPOINT_URL");
    if (str_empty(e) && str_eq(s->set.provider, "gs"))
        e = "storage.googleapis.com";
    if (str_empty(e) || str_eq(e, "s3.amazonaws.com")) {
        s->virtual_host = true;
        s->host = xasprintf("s3.%s.amazonaws.com", s->region);
        return 0;
    }
    if (str_starts(e, "http://") || str_starts(e, "https://")) {
        s->scheme = str_starts(e, "https") ? "https" : "http";
        e += strlen(s->scheme) + 3;
    }
    size_t n = strlen(e);
    while (n > 0 && e[n - 1] == '/')
        n--;
    if (n == 0 || memchr(e, '/', n) || memchr(e, '?', n) || memchr(e, '@', n) || memchr(e, ' ', n))
        return err_set(err, ERR_INVALID, "endpoint \"%.200s\" must be a host, host:port, or http(s)://host:port",
                       s->set.endpoint);
    s->host = xstrndup(e, n);
    return 0;
}

struct blob_store *blob_s3_open(const struct blob_settings *set, struct err *err)
{
    if (!set->anonymous && !set->from_env && (str_empty(set->access_key) || str_empty(set->secret_key))) {
        err_set(err, ERR_UNAUTHENTICATED, "there are no keys for the object store: give an access key and a secret key");
        return NULL;
    }
    struct s3 *s = xcalloc(1, sizeof *s);
    ASSERT(pthread_mutex_init(&s->lock, NULL) == 0);
    blob_settings_copy(&s->set, set);
    s->region = xstrdup(pick_region(set));
    if (pick_endpoint(s, err) < 0 || blob_http_init(&s->http, set, err) < 0) {
        s3_free(s);
        return NULL;
    }
    struct blob_store *b = xcalloc(1, sizeof *b);
    *b = (struct blob_store){.ops = &ops, .self = s};
    return b;
}
