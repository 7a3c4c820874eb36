/* download.c - artifact bytes (spec 8.4): whole, in ranges, their beginning, and under signed URLs.
 *
 * A signed URL names the artifact and the second until which it is good, and carries an HMAC-SHA-256 of both under a key of this
 * process: who holds it may read that artifact until then, or until the server is started again. Bytes go out so that no browser
 * runs them. */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pipelines/api/resource.h"

enum { PREVIEW_DEFAULT = 4096, PREVIEW_MAX = 1 << 20, READ_MAX = 64 << 20, SIGNED_SECONDS = 900 };

/* ---- signed URLs -------------------------------------------------------------------------------------------------------- */

static void signature(const struct pipelines_api *api, const char *id, const char *expires, char out[65])
{
    AUTOFREE char *text = xasprintf("artifact\n%s\n%s", id, expires);
    unsigned char md[32];
    unsigned n = sizeof md;
    ASSERT(HMAC(EVP_sha256(), api->signing_key, sizeof api->signing_key, (unsigned char *)text, strlen(text), md, &n));
    for (unsigned i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", md[i]);
}

char *signed_artifact_url(struct pipelines_api *api, const struct ctx *ctx, int64_t artifact_id)
{
    char sum[65];
    AUTOFREE char *id = xasprintf("%lld", (long long)artifact_id);
    AUTOFREE char *expires = xasprintf("%lld", (long long)(ctx_now_ns(ctx) / NS_PER_S + SIGNED_SECONDS));
    signature(api, id, expires, sum);
    return xasprintf(API_BASE "/artifacts/%s:signed?expires=%s&signature=%s", id, expires, sum);
}

static int check_signature(const struct pipelines_api *api, const struct ctx *ctx, const struct http_req *req, const char *id,
                           struct err *err)
{
    const char *expires, *given;
    char want[65];
    int64_t until;
    if (query_text(req, "expires", &expires, err) < 0 || query_text(req, "signature", &given, err) < 0)
        return -1;
    if (!expires || !given || strlen(given) != 64 || !str_to_i64(expires, &until))
        return err_set(err, ERR_FORBIDDEN, "this URL is not signed: ask for the artifact with view=DOWNLOAD");
    signature(api, id, expires, want);
    if (CRYPTO_memcmp(want, given, 64) != 0)
        return err_set(err, ERR_FORBIDDEN, "the signature of this URL is not ours");
    if (ctx_now_ns(ctx) / NS_PER_S > until)
        return err_set(err, ERR_FORBIDDEN, "this URL was good until %s: ask for a new one", expires);
    return 0;
}

/* ---- ranges ------------------------------------------------------------------------------------------------------------- */

/* "bytes=a-b", "bytes=a-", "bytes=-n". 1: *from and *n are set; 0: send all (none, several, or no range of ours); -1: none of it
 * is there. */
static int parse_range(const char *header, int64_t size, int64_t *from, int64_t *n)
{
    if (!header || strncmp(header, "bytes=", 6) != 0 || strchr(header, ','))
        return 0;
    AUTOFREE char *text = xstrdup(header + 6);
    char *hyphen = strchr(text, '-');
    int64_t a = 0, b = 0;
    if (!hyphen)
        return 0;
    *hyphen++ = '\0';
    bool has_a = *text, has_b = *hyphen;
    if ((has_a && (!str_to_i64(text, &a) || a < 0)) || (has_b && (!str_to_i64(hyphen, &b) || b < 0)) || (!has_a && !has_b) ||
        (has_a && has_b && b < a))
        return 0;
    if (!has_a) { /* the last b bytes */
        if (b == 0 || size == 0)
            return -1;
        *from = b < size ? size - b : 0;
        *n = size - *from;
        return 1;
    }
    if (a >= size)
        return -1;
    *from = a;
    *n = (has_b && b < size - 1 ? b : size - 1) - a + 1;
    return 1;
}

/* ---- sending ------------------------------------------------------------------------------------------------------------ */

struct place {
    char *bucket, *key, *scheme;
    struct blob_info info;
};
static void place_clear(struct place *p)
{
    free(p->bucket);
    free(p->key);
    free(p->scheme);
}

static int find_place(struct pipelines_api *api, const struct ctx *ctx, const char *id, struct place *p, struct err *err)
{
    CLEANUP(md_artifact_clear) struct md_artifact a = {0};
    {
        READER(r, api, err);
        if (!r.db || row_get(&ARTIFACT_ROWS, r.db, id, &a, err) < 0)
            return -1;
    }
    if (blob_uri_split(a.uri, &p->scheme, &p->bucket, &p->key, err) < 0)
        return -1;
    if (!api->blobs || !str_eq(p->scheme, "minio"))
        return err_set(err, ERR_UNIMPLEMENTED, "artifact %s is not in the embedded store: read it where it lies, %s", id, a.uri);
    if (blob_stat(api->blobs, ctx, p->bucket, p->key, &p->info, err) < 0)
        return err_wrap(err, "the bytes of artifact %s", id);
    if (p->info.is_dir)
        return err_set(err, ERR_INVALID, "artifact %s is a directory (%s): read its files one by one", id, a.uri);
    return 0;
}

static void safe_headers(struct http_res *res, const struct place *p)
{
    const char *name = strrchr(p->key, '/');
    BUF(disposition);
    buf_adds(&disposition, "attachment; filename=\"");
    for (name = name ? name + 1 : p->key; *name; name++)
        buf_addc(&disposition, (unsigned char)*name < ' ' || strchr("\"\\", *name) ? '_' : *name);
    buf_addc(&disposition, '"');
    http_set_header(res, "Content-Disposition", buf_str(&disposition));
    http_set_header(res, "X-Content-Type-Options", "nosniff");
    http_set_header(res, "Content-Security-Policy", "sandbox; default-src 'none'");
    http_set_header(res, "Accept-Ranges", "bytes");
}

/* From the place on this machine where they lie, else through memory. */
static int send_bytes(struct pipelines_api *api, const struct ctx *ctx, struct http_res *res, const struct place *p, int64_t from,
                      int64_t n, struct err *err)
{
    AUTOFREE char *path = blob_as_path(api->blobs, ctx, p->bucket, p->key, false, err);
    if (path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return err_errno(err, "%s", p->key);
        http_body_file(res, "application/octet-stream", fd, from, n);
        return 0;
    }
    BUF(bytes);
    if (n > READ_MAX)
        return err_set(err, ERR_TOO_LARGE, "%lld bytes are too many at once: ask for ranges of at most %d", (long long)n,
                       READ_MAX);
    if (blob_read(api->blobs, ctx, p->bucket, p->key, from, n, READ_MAX, &bytes, err) < 0)
        return -1;
    http_body_buf(res, "application/octet-stream", &bytes);
    return 0;
}

static int send_artifact(struct pipelines_api *api, const struct ctx *ctx, struct http_req *req, struct http_res *res,
                         const char *id, int64_t at_most, struct err *err)
{
    CLEANUP(place_clear) struct place p = {0};
    if (find_place(api, ctx, id, &p, err) < 0)
        return -1;
    safe_headers(res, &p);
    AUTOFREE char *tag = xasprintf("\"%s-%lld-%lld\"", id, (long long)p.info.size, (long long)p.info.mtime_ns);
    http_set_header(res, "ETag", tag);
    const char *unless = http_header_get(req, "if-range");
    int64_t from = 0, n = p.info.size;
    int range = at_most < 0 && (!unless || str_eq(unless, tag)) ? parse_range(http_header_get(req, "range"), n, &from, &n) : 0;
    if (range < 0) {
        AUTOFREE char *all = xasprintf("bytes */%lld", (long long)p.info.size);
        http_set_header(res, "Content-Range", all);
        http_text(res, 416, "the artifact has %lld bytes\n", (long long)p.info.size);
        return 0;
    }
    if (range > 0) {
        AUTOFREE char *part =
            xasprintf("bytes %lld-%lld/%lld", (long long)from, (long long)(from + n - 1), (long long)p.info.size);
        http_set_header(res, "Content-Range", part);
        http_status(res, 206);
    }
    if (at_most >= 0 && n > at_most)
        n = at_most;
    return send_bytes(api, ctx, res, &p, from, n, err);
}

int artifact_download_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    if (send_artifact(self, ctx, req, res, http_param(req, "artifact_id"), -1, err) < 0)
        return api_wrap(err, "Failed to read an artifact");
    return 0;
}

int artifact_signed_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "artifact_id");
    if (check_signature(self, ctx, req, id, err) < 0)
        return -1;
    return artifact_download_h(self, ctx, req, res, err);
}

int artifact_preview_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    int32_t bytes;
    if (query_i32(req, "bytes", &bytes, err) < 0)
        return -1;
    if (bytes < 0 || bytes > PREVIEW_MAX)
        return err_set(err, ERR_INVALID, "bytes must be from 1 to %d", PREVIEW_MAX);
    if (send_artifact(self, ctx, req, res, http_param(req, "artifact_id"), bytes ? bytes : PREVIEW_DEFAULT, err) < 0)
        return api_wrap(err, "Failed to read an artifact");
    return 0;
}
