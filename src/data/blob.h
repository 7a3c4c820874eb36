/* blob.h - artifact bytes behind one face. Today a directory; S3, GCS and Azure Blob have their place beside it.
 *
 * A blob store maps URIs of one scheme and bucket ("minio://mlpipeline/...") to bytes. Thread-safe. Keys are relative paths
 * without empty, "." or ".." parts; anything else is ERR_INVALID. */
#ifndef TM_DATA_BLOB_H
#define TM_DATA_BLOB_H

#include "base/buf.h"
#include "base/ctx.h"

struct blob_store;
struct blob_info {
    int64_t size;
    int64_t mtime_ns;
    bool is_dir; /* a prefix with keys below it */
};

/* A store in a directory, which is created (0700) when missing. Bucket b, key k lie at root/b/k. */
struct blob_store *blob_store_dir(const char *root, struct err *err);
void blob_store_free(struct blob_store *s);
/* Splits "scheme://bucket/key..." ; strings are malloc'd. ERR_INVALID names what is wrong. */
int blob_uri_split(const char *uri, char **scheme, char **bucket, char **key, struct err *err);
int blob_stat(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, struct blob_info *out,
              struct err *err);
/* Reads length bytes from offset (length -1: to the end), at most max. */
int blob_read(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, int64_t offset, int64_t length,
              size_t max, struct buf *out, struct err *err);
int blob_write(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const void *p, size_t n,
               struct err *err);
int blob_delete(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key,
                struct err *err); /* a prefix: the tree; missing is fine */
/* The place on this machine where bucket/key lies or would lie, to be mounted instead of copied; NULL when the store has none (an
 * object store elsewhere). With create, parent directories are made. Caller frees. */
char *blob_as_path(struct blob_store *s, const char *bucket, const char *key, bool create, struct err *err);

#endif
