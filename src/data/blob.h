/* blob.h - artifact bytes behind one face: a directory, S3 (and what speaks it: MinIO, SeaweedFS, GCS with HMAC keys) and Google
 * Cloud Storage.
 *
 * A blob store maps a bucket and a key to bytes. Keys are relative paths without empty, "." or ".." parts; anything else is
 * ERR_INVALID. Thread-safe, every call takes a context, and no call holds more than one part of an object in memory.
 *
 *     struct blob_settings set = {.provider = "s3", .endpoint = "http://127.0.0.1:8333", .access_key = k, .secret_key = s};
 *     struct blob_store *store = blob_store_open(&set, err);
 *     blob_put(store, ctx, "bucket", "a/b", source, self, err);     // streamed; in parts when it is large
 *     blob_get(store, ctx, "bucket", "a/b", 0, -1, sink, self, err); // streamed; goes on where a cut connection ended
 *
 * What fails and how: ERR_NOT_FOUND (no such key or bucket), ERR_FORBIDDEN and ERR_UNAUTHENTICATED (refused), ERR_INVALID (a
 * name), ERR_IO (the bytes are not what the store said they are, or its answer is no answer), ERR_UNAVAILABLE and ERR_TOO_MANY
 * (tried max_retries times with growing pauses), ERR_TIMEOUT (silent for longer than timeout_ns, or the context's own deadline),
 * ERR_CANCELLED. Messages name the store, the key and what the store said.
 *
 * Source: pipelines-runtime spec 15. */
#ifndef TM_DATA_BLOB_H
#define TM_DATA_BLOB_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/ctx.h"
#include "base/str.h"
#include "value/json.h"

struct blob_store;

/* ---- opening -------------------------------------------------------------------------------------------------- */

/* How to reach an object store. All strings belong to the struct. NULL or 0 is the default named. */
struct blob_settings {
    char *provider; /* "s3", "minio" (both speak S3), "gs" */
    char *
        endpoint; /* "http://host:port", "https://host", or "host[:port]", then with TLS unless no_tls. Default: the provider's */
    char *region; /* default: us-east-1; gs: auto */
    bool no_tls;
    bool virtual_host; /* bucket.endpoint/key instead of endpoint/bucket/key; the default only for AWS' own endpoints */
    bool anonymous;
    bool from_env; /* AWS: environment, web identity, credentials file. Google: GOOGLE_APPLICATION_CREDENTIALS, metadata server */
    char *access_key, *secret_key, *session_token; /* S3; for gs the HMAC keys of its S3 face */
    char *token;                                   /* gs: text of a service account's or user's JSON key */
    char *ca_pem;                                  /* trust these certificates only */
    int max_retries;                               /* 0: 5; -1: none */
    int64_t timeout_ns;                            /* of silence; 0: 30 s */
    size_t part_size;                              /* of uploads in parts; 0: 8 MiB, growing with the object */
};
void blob_settings_clear(struct blob_settings *s);
void blob_settings_copy(struct blob_settings *to, const struct blob_settings *from);
/* As JSON with the field names above in camelCase, and back. Unknown members are ignored. */
jmval *blob_settings_json(struct jm *m, const struct blob_settings *s);
int blob_settings_from_json(jval *v, struct blob_settings *out, struct err *err);
/* Takes what a root's query string says ("region=..&endpoint=..&disableSSL=true&s3ForcePathStyle=true", as Go's CDK writes it).
 */
int blob_settings_query(struct blob_settings *s, const char *query, struct err *err);

struct blob_store *blob_store_open(const struct blob_settings *set, struct err *err);
/* A store in a directory, which is created (0700) when missing. Bucket b, key k lie at root/b/k. */
struct blob_store *blob_store_dir(const char *root, struct err *err);
void blob_store_free(struct blob_store *s);

/* ---- names ---------------------------------------------------------------------------------------------------- */

/* Splits "scheme://bucket/key...?query"; strings are malloc'd, the query is left out. ERR_INVALID names what is wrong. */
int blob_uri_split(const char *uri, char **scheme, char **bucket, char **key, struct err *err);
/* The query string without '?', "" when there is none. Points into uri. */
const char *blob_uri_query(const char *uri);

/* ---- bytes ---------------------------------------------------------------------------------------------------- */

struct blob_info {
    int64_t size;
    int64_t mtime_ns; /* 0: the store did not say */
    bool is_dir;      /* a prefix with keys below it */
    char etag[72];    /* "" when there is none */
};
/* Takes the next bytes; -1 ends the transfer. */
typedef int blob_sink_fn(void *self, const void *p, size_t n, struct err *err);
/* Gives up to n bytes: > 0, 0 at the end, -1. */
typedef ssize_t blob_source_fn(void *self, void *p, size_t n, struct err *err);

int blob_stat(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, struct blob_info *out,
              struct err *err);
/* Hands length bytes from offset (length -1: to the end) to the sink, in order and each once. A connection that breaks is taken
 * up again where it broke, and only if the object is still the same. The whole object is checked against the store's checksum
 * when it names one. */
int blob_get(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, int64_t offset, int64_t length,
             blob_sink_fn *sink, void *self, struct err *err);
/* Readers see the old object or the new one. */
int blob_put(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, blob_source_fn *source, void *self,
             struct err *err);
/* Reads length bytes from offset (length -1: to the end), at most max, into out. */
int blob_read(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, int64_t offset, int64_t length,
              size_t max, struct buf *out, struct err *err);
int blob_write(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const void *p, size_t n,
               struct err *err);
/* The key, and all keys below it; missing is fine. key "": the whole bucket's contents. */
int blob_delete(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, struct err *err);

struct blob_entry {
    char *key;
    int64_t size;
};
struct blob_page {
    struct blob_entry *v;
    size_t n;
    char *next; /* NULL: that was all */
};
/* Keys that are prefix itself or lie below prefix/ (prefix "": all), in the store's order, at most max (<= 1000) a page. token:
 * NULL, or next of the page before. */
int blob_list(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *prefix, const char *token, size_t max,
              struct blob_page *out, struct err *err);
void blob_page_clear(struct blob_page *p);

/* A URL with which anybody may GET (or, with put, PUT) this key for so many seconds (at most 7 days). NULL: error, or
 * ERR_UNIMPLEMENTED where the store cannot (a directory; credentials without a key to sign with). Caller frees. */
char *blob_sign(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, bool put, int64_t seconds,
                struct err *err);

/* The place on this machine where bucket/key lies or would lie, to be mounted instead of copied; NULL without an error when the
 * store has none (an object store elsewhere). With create, parent directories are made. ctx may be NULL. Caller frees. */
char *blob_as_path(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, bool create,
                   struct err *err);

/* The file of bucket/key, open for reading, where the store has one on this machine; the caller closes it. -1 in *fd and no error
 * when the store has none (an object store elsewhere). Unlike a path, which a container may make a link of after we have looked,
 * it is what was found beneath the store. */
int blob_open(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, int *fd, struct err *err);

/* The directory of a directory store, NULL of others; lives as long as the store. */
const char *blob_root(const struct blob_store *s);

/* ---- trees ---------------------------------------------------------------------------------------------------- */

/* Called now and then by any of the workers, one at a time. */
typedef void blob_progress_fn(void *self, int64_t bytes, int64_t files);
struct blob_transfer {
    unsigned workers; /* files at a time; 0: 8 */
    blob_progress_fn *progress;
    void *self;
    int64_t bytes, files; /* out: what was moved */
};
/* Brings a key to a file, or a prefix to a directory. A file appears under its name only when it is whole; what an earlier,
 * broken call left of it (path + ".part") is gone on with when the object is the same. ERR_NOT_FOUND when there is neither key
 * nor prefix. */
int blob_download(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const char *path,
                  struct blob_transfer *t, struct err *err);
/* As blob_download, to root/path (path relative, without ".."): somebody else may write below root, at any time. No link that
 * lies there is followed (ERR_INVALID). */
int blob_download_beneath(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const char *root,
                          const char *path, struct blob_transfer *t, struct err *err);
/* A file to a key, or a directory's files to keys below it. Links are followed as long as they stay below path; what is neither
 * file nor directory is skipped, empty directories vanish. */
int blob_upload(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const char *path,
                struct blob_transfer *t, struct err *err);

#endif
