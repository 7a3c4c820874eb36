/* blob_http.h - requests to object stores: tried again with growing pauses, given up when the store is silent, and objects read
 * on from where a connection broke. S3 and Google differ in how a request is made and how a refusal is worded; the rest is here.
 * Private to data/. */
#ifndef TM_DATA_BLOB_HTTP_H
#define TM_DATA_BLOB_HTTP_H

#include "data/blob.h"
#include "net/client.h"

struct blob_req {
    enum http_method method;
    char *url;
    struct strlist names, values; /* header fields */
    const void *body;
    size_t body_len;
};
void blob_req_clear(struct blob_req *r);
#define BLOB_REQ(name) CLEANUP(blob_req_clear) struct blob_req name = {0}
void blob_req_field(struct blob_req *r, const char *name, const char *value);

/* Makes the request; called anew for each try, as signatures carry the time. extra: fields to be added (Range, If-Match). */
typedef int blob_prepare_fn(void *self, const struct ctx *ctx, struct blob_req *r, struct err *err);
/* Turns a status >= 300 into an error. Returns -1. */
typedef int blob_refused_fn(void *self, const struct http_answer *a, struct err *err);

struct blob_http {
    struct http_client *client;
    int max_retries;
    int64_t timeout_ns;
};
int blob_http_init(struct blob_http *h, const struct blob_settings *set, struct err *err);
void blob_http_clear(struct blob_http *h);

/* Sends it until there is an answer that is worth keeping; the body is read whole (at most 16 MiB). *again: it was sent more than
 * once; may be NULL. Statuses that say "later" are answers only after the last try. */
int blob_http_call(const struct blob_http *h, const struct ctx *ctx, blob_prepare_fn *prepare, void *self,
                   struct http_answer *out, bool *again, struct err *err);
/* Is this one of the statuses that say "later"? */
bool blob_http_later(int status);

struct blob_fetch {
    blob_prepare_fn *prepare;
    blob_refused_fn *refused;
    void *self;
    int64_t offset, length; /* length -1: to the end */
    blob_sink_fn *sink;
    void *to;
    /* The MD5 that the whole object has, from the answer's head; false: it does not say. */
    bool (*md5)(void *self, const struct http_answer *head, unsigned char out[16]);
};
int blob_http_fetch(const struct blob_http *h, const struct ctx *ctx, const struct blob_fetch *f, struct err *err);

/* What a status means; code and message are the store's own words (may be NULL). Returns -1. */
int blob_http_status(struct err *err, int status, const char *code, const char *message);
/* Content-Length, -1 when there is none that makes sense. */
int64_t blob_http_length(const struct http_answer *a);

#endif
