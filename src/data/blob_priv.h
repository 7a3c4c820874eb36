/* blob_priv.h - what the stores behind blob.h share. */
#ifndef TM_DATA_BLOB_PRIV_H
#define TM_DATA_BLOB_PRIV_H

#include "data/blob.h"

/* One kind of store. Names have been checked by blob.c. as_path, open and sign may be NULL. */
struct blob_ops {
    int (*stat)(void *self, const struct ctx *ctx, const char *bucket, const char *key, struct blob_info *out, struct err *err);
    int (*get)(void *self, const struct ctx *ctx, const char *bucket, const char *key, int64_t offset, int64_t length,
               blob_sink_fn *sink, void *to, struct err *err);
    int (*put)(void *self, const struct ctx *ctx, const char *bucket, const char *key, blob_source_fn *source, void *from,
               struct err *err);
    int (*remove)(void *self, const struct ctx *ctx, const char *bucket, const char *key, struct err *err); /* one key */
    /* Keys that begin with prefix. */
    int (*list)(void *self, const struct ctx *ctx, const char *bucket, const char *prefix, const char *token, size_t max,
                struct blob_page *out, struct err *err);
    char *(*sign)(void *self, const struct ctx *ctx, const char *bucket, const char *key, bool put, int64_t seconds,
                  struct err *err);
    char *(*as_path)(void *self, const char *bucket, const char *key, bool create, struct err *err);
    int (*open)(void *self, const char *bucket, const char *key, int *fd, struct err *err);
    int (*remove_tree)(void *self, const struct ctx *ctx, const char *bucket, const char *key, struct err *err); /* may be NULL */
    void (*free)(void *self);
};
struct blob_store {
    const struct blob_ops *ops;
    void *self;
    const char *root; /* of a directory store; lives in self */
    bool local;       /* a directory: what is below a key is found by path, not by prefix */
};

/* blob_s3.c, blob_gcs.c */
struct blob_store *blob_s3_open(const struct blob_settings *set, struct err *err);
struct blob_store *blob_gcs_open(const struct blob_settings *set, struct err *err);

/* Adds an entry to a page; takes key over. */
void blob_page_add(struct blob_page *p, char *key, int64_t size);

/* Reads one part of at most cap bytes. *end: the source has no more. */
int blob_read_part(blob_source_fn *source, void *from, struct buf *part, size_t cap, bool *end, struct err *err);
/* What part number n (from 0) may hold: grows so that ten thousand parts hold any object. */
size_t blob_part_size(const struct blob_settings *set, unsigned n);

#endif
