/* download.c - artifact bytes (spec 8.4): whole, in ranges, their beginning, and under signed URLs.
 *
 * The signed URL of an artifact in an object store elsewhere is that store's own, where its keys can sign. Ours names the
 * artifact and the second until which it is good, and carries an HMAC-SHA-256 of both under a key of this process: who holds it
 * may read that artifact until then, or until the server is started again. Bytes go out so that no browser runs them. */
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "pipelines/api/place.h"
#include "pipelines/api/resource.h"

enum { PREVIEW_DEFAULT = 4096, PREVIEW_MAX = 1 << 20, SIGNED_SECONDS = 900 };

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

static char *own_url(struct pipelines_api *api, const struct ctx *ctx, int64_t artifact_id)
{
    char sum[65];
    AUTOFREE char *id = xasprintf("%lld", (long long)artifact_id);
    AUTOFREE char *expires = xasprintf("%lld", (long long)(ctx_now_ns(ctx) / NS_PER_S + SIGNED_SECONDS));
    signature(api, id, expires, sum);
    return xasprintf(API_BASE "/artifacts/%s:signed?expires=%s&signature=%s", id, expires, sum);
}

char *signed_artifact_url(struct pipelines_api *api, const struct ctx *ctx, const struct md_artifact *a)
{
    PLACE(p);
    char *url = NULL;
    if (place_find(api, ctx, a->run_id, a->uri, &p, NULL) == 0 && p.elsewhere)
        url = blob_sign(p.store, ctx, p.bucket, p.key, false, SIGNED_SECONDS, NULL);
    return url ? url : own_url(api, ctx, a->id);
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

static int find_place(struct pipelines_api *api, const struct ctx *ctx, const char *id, struct place *p, struct blob_info *info,
                      struct err *err)
{
    CLEANUP(md_artifact_clear) struct md_artifact a = {0};
    {
        READER(r, api, err);
        if (!r.db || row_get(&ARTIFACT_ROWS, r.db, id, &a, err) < 0)
            return -1;
    }
    if (place_find(api, ctx, a.run_id, a.uri, p, err) < 0)
        return -1;
    if (blob_stat(p->store, ctx, p->bucket, p->key, info, err) < 0)
        return err_wrap(err, "the bytes of artifact %s", id);
    if (info->is_dir)
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

static int send_artifact(struct pipelines_api *api, const struct ctx *ctx, struct http_req *req, struct http_res *res,
                         const char *id, int64_t at_most, struct err *err)
{
    PLACE(p);
    struct blob_info info;
    if (find_place(api, ctx, id, &p, &info, err) < 0)
        return -1;
    safe_headers(res, &p);
    AUTOFREE char *tag = xasprintf("\"%s-%lld-%lld\"", id, (long long)info.size, (long long)info.mtime_ns);
    http_set_header(res, "ETag", tag);
    const char *unless = http_header_get(req, "if-range");
    int64_t from = 0, n = info.size;
    int range = at_most < 0 && (!unless || str_eq(unless, tag)) ? parse_range(http_header_get(req, "range"), n, &from, &n) : 0;
    if (range < 0) {
        AUTOFREE char *all = xasprintf("bytes */%lld", (long long)info.size);
        http_set_header(res, "Content-Range", all);
        http_text(res, 416, "the artifact has %lld bytes\n", (long long)info.size);
        return 0;
    }
    if (range > 0) {
        AUTOFREE char *part = xasprintf("bytes %lld-%lld/%lld", (long long)from, (long long)(from + n - 1), (long long)info.size);
        http_set_header(res, "Content-Range", part);
        http_status(res, 206);
    }
    if (at_most >= 0 && n > at_most)
        n = at_most;
    return place_send(api, &p, ctx, res, "application/octet-stream", from, n, err);
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
