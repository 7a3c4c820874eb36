/* blob.c - the face of all stores: checks names, and builds the small calls from the streaming ones. */
#include "data/blob.h"

#include <stdlib.h>

#include "data/beneath.h"
#include "data/blob_priv.h"

enum { PAGE_MAX = 1000, PART_MIN = 8 << 20 };

static int check(const struct ctx *ctx, const char *bucket, const char *key, bool whole_bucket, struct err *err)
{
    if (strchr(bucket, '/'))
        return err_set(err, ERR_INVALID, "bucket \"%s\" has a slash", bucket);
    if (beneath_check(bucket, "bucket", err) < 0)
        return -1;
    if ((*key || !whole_bucket) && beneath_check(key, "key", err) < 0)
        return -1;
    return ctx ? ctx_check(ctx, err) : 0;
}

struct blob_store *blob_store_open(const struct blob_settings *set, struct err *err)
{
    const char *p = set->provider ? set->provider : "";
    if (str_eq(p, "s3") || str_eq(p, "minio"))
        return blob_s3_open(set, err);
    if (str_eq(p, "gs") && set->access_key) /* HMAC keys: Google's S3 face */
        return blob_s3_open(set, err);
    if (str_eq(p, "gs"))
        return blob_gcs_open(set, err);
    err_set(err, ERR_INVALID, "\"%s\" is no object store that is served: use s3, minio or gs", p);
    return NULL;
}

void blob_store_free(struct blob_store *s)
{
    if (!s)
        return;
    s->ops->free(s->self);
    free(s);
}

/* ---- one object ----------------------------------------------------------------------------------------------- */

/* Is there a key below key/? */
static int stat_prefix(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, struct blob_info *out,
                       struct err *err)
{
    AUTOFREE char *prefix = *key ? xasprintf("%s/", key) : xstrdup("");
    struct blob_page page = {0};
    int rc = s->ops->list(s->self, ctx, bucket, prefix, NULL, 1, &page, err);
    if (rc == 0 && page.n == 0 && *key)
        rc = err_set(err, ERR_NOT_FOUND, "artifact %s/%s: there is nothing", bucket, key);
    blob_page_clear(&page);
    *out = (struct blob_info){.is_dir = true};
    return rc;
}

int blob_stat(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, struct blob_info *out,
              struct err *err)
{
    if (check(ctx, bucket, key, true, err) < 0)
        return -1;
    if (s->local)
        return s->ops->stat(s->self, ctx, bucket, key, out, err);
    if (!*key)
        return stat_prefix(s, ctx, bucket, key, out, err);
    ERR(e);
    if (s->ops->stat(s->self, ctx, bucket, key, out, &e) == 0)
        return 0;
    if (e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    return stat_prefix(s, ctx, bucket, key, out, err);
}

int blob_get(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, int64_t offset, int64_t length,
             blob_sink_fn *sink, void *self, struct err *err)
{
    if (check(ctx, bucket, key, false, err) < 0)
        return -1;
    if (offset < 0 || length < -1)
        return err_set(err, ERR_INVALID, "artifact %s/%s: no range starts at %lld and has %lld bytes", bucket, key,
                       (long long)offset, (long long)length);
    return s->ops->get(s->self, ctx, bucket, key, offset, length, sink, self, err);
}

int blob_put(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, blob_source_fn *source, void *self,
             struct err *err)
{
    if (check(ctx, bucket, key, false, err) < 0)
        return -1;
    return s->ops->put(s->self, ctx, bucket, key, source, self, err);
}

struct bounded {
    struct buf *out;
    size_t max, got;
};

static int take_bounded(void *self, const void *p, size_t n, struct err *err)
{
    struct bounded *b = self;
    if (n > b->max - b->got)
        return err_set(err, ERR_TOO_LARGE, "it has more than the %zu bytes that are read at once", b->max);
    buf_add(b->out, p, n);
    b->got += n;
    return 0;
}

int blob_read(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, int64_t offset, int64_t length,
              size_t max, struct buf *out, struct err *err)
{
    struct bounded b = {.out = out, .max = max};
    if (blob_get(s, ctx, bucket, key, offset, length, take_bounded, &b, err) == 0)
        return 0;
    return err_wrap(err, "reading artifact %s/%s", bucket, key);
}

struct memory {
    const char *p;
    size_t left;
};

static ssize_t give_memory(void *self, void *p, size_t n, struct err *err)
{
    struct memory *m = self;
    if (n > m->left)
        n = m->left;
    memcpy(p, m->p, n);
    m->p += n;
    m->left -= n;
    return (ssize_t)n;
}

int blob_write(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const void *p, size_t n,
               struct err *err)
{
    struct memory m = {n ? p : "", n};
    return blob_put(s, ctx, bucket, key, give_memory, &m, err);
}

/* ---- many objects --------------------------------------------------------------------------------------------- */

void blob_page_add(struct blob_page *p, char *key, int64_t size)
{
    p->v = xreallocarray(p->v, p->n + 1, sizeof *p->v);
    p->v[p->n++] = (struct blob_entry){.key = key, .size = size};
}

void blob_page_clear(struct blob_page *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].key);
    free(p->v);
    free(p->next);
    *p = (struct blob_page){0};
}

/* Stores list by prefix: "a" finds "ab" too, which is neither a nor below it. */
static void keep_below(struct blob_page *p, const char *prefix)
{
    size_t n = strlen(prefix), kept = 0;
    for (size_t i = 0; i < p->n; i++) {
        const char *k = p->v[i].key;
        bool below = n == 0 || (strncmp(k, prefix, n) == 0 && (k[n] == '/' || k[n] == '\0'));
        if (below)
            p->v[kept++] = p->v[i];
        else
            free(p->v[i].key);
    }
    p->n = kept;
}

int blob_list(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *prefix, const char *token, size_t max,
              struct blob_page *out, struct err *err)
{
    *out = (struct blob_page){0};
    if (check(ctx, bucket, prefix, true, err) < 0)
        return -1;
    if (max == 0 || max > PAGE_MAX)
        max = PAGE_MAX;
    if (s->ops->list(s->self, ctx, bucket, prefix, token, max, out, err) < 0) {
        blob_page_clear(out);
        return -1;
    }
    if (token && str_eq(token, out->next)) {
        blob_page_clear(out);
        return err_set(err, ERR_IO, "listing %s/%s: the store names the same page again", bucket, prefix);
    }
    keep_below(out, prefix);
    return 0;
}

int blob_delete(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, struct err *err)
{
    if (check(ctx, bucket, key, true, err) < 0)
        return -1;
    if (s->ops->remove_tree)
        return s->ops->remove_tree(s->self, ctx, bucket, key, err);
    AUTOFREE char *token = NULL;
    do {
        struct blob_page page;
        if (blob_list(s, ctx, bucket, key, token, PAGE_MAX, &page, err) < 0)
            return -1;
        int rc = 0;
        for (size_t i = 0; i < page.n && rc == 0; i++)
            rc = s->ops->remove(s->self, ctx, bucket, page.v[i].key, err);
        free(token);
        token = TAKE(page.next);
        blob_page_clear(&page);
        if (rc < 0)
            return -1;
    } while (token);
    return 0;
}

char *blob_sign(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, bool put, int64_t seconds,
                struct err *err)
{
    if (check(ctx, bucket, key, false, err) < 0)
        return NULL;
    if (!s->ops->sign) {
        err_set(err, ERR_UNIMPLEMENTED, "this store has no signed URLs");
        return NULL;
    }
    if (seconds < 1 || seconds > 7 * 86400) {
        err_set(err, ERR_INVALID, "a signed URL is good for 1 to %d seconds, not %lld", 7 * 86400, (long long)seconds);
        return NULL;
    }
    return s->ops->sign(s->self, ctx, bucket, key, put, seconds, err);
}

char *blob_as_path(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, bool create, struct err *err)
{
    if (check(ctx, bucket, key, true, err) < 0 || !s->ops->as_path)
        return NULL;
    return s->ops->as_path(s->self, bucket, key, create, err);
}

int blob_open(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, int *fd, struct err *err)
{
    *fd = -1;
    if (check(ctx, bucket, key, false, err) < 0)
        return -1;
    return s->ops->open ? s->ops->open(s->self, bucket, key, fd, err) : 0;
}

const char *blob_root(const struct blob_store *s) { return s->root; }

/* ---- for the stores ------------------------------------------------------------------------------------------- */

size_t blob_part_size(const struct blob_settings *set, unsigned n)
{
    size_t base = set->part_size ? set->part_size : PART_MIN;
    /* 8 MiB a part for the first 8 GiB, then doubling: at part 10,000 it comes to more than the 5 TiB that S3 takes. */
    unsigned doubled = n / 1000;
    return base << (doubled > 7 ? 7 : doubled);
}

int blob_read_part(blob_source_fn *source, void *from, struct buf *part, size_t cap, bool *end, struct err *err)
{
    buf_reset(part);
    *end = false;
    while (part->len < cap) {
        size_t want = cap - part->len < (1U << 20) ? cap - part->len : 1U << 20;
        buf_reserve(part, want);
        ssize_t n = source(from, part->data + part->len, want, err);
        if (n < 0)
            return -1;
        if (n == 0) {
            *end = true;
            return 0;
        }
        part->len += (size_t)n;
    }
    return 0;
}
