/* blob_sigv4.h - signatures of the fourth version, as AWS and (with its own words) Google Cloud Storage check them. Private to
 * data/.
 *
 * A request is method, host, path (percent-encoded), query parameters and header fields. Signing takes those texts and nothing
 * else, so that tests can hold it against the published examples. */
#ifndef TM_DATA_BLOB_SIGV4_H
#define TM_DATA_BLOB_SIGV4_H

#include "base/buf.h"
#include "base/str.h"

struct sig_pair {
    const char *name, *value; /* not encoded; names of fields in lower case */
};
struct sig_request {
    const char *method, *host, *path;
    const struct sig_pair *params; /* in any order */
    size_t n_params;
    const struct sig_pair *fields; /* that are signed, beside host */
    size_t n_fields;
    const char *payload; /* hex SHA-256 of the body, or "UNSIGNED-PAYLOAD" */
};
struct sig_key {
    const char *access, *secret;
    const char *token; /* session token; NULL: none */
    const char *region, *service;
    const char *rsa_pem; /* Google: sign with this key (access is the account's e-mail); NULL: HMAC with secret */
    bool google;         /* Google's words instead of Amazon's */
};

/* "YYYYMMDDThhmmssZ" */
void sig_time(int64_t wall_ns, char out[17]);
/* The value of the Authorization field. Caller frees. */
char *sig_authorization(const struct sig_request *r, const struct sig_key *k, const char *time);
/* The query string of a URL that is good for so many seconds. NULL on error. Caller frees. */
char *sig_presign(const struct sig_request *r, const struct sig_key *k, const char *time, int64_t seconds, struct err *err);
/* Everything but unreserved characters as %XX; a path keeps its slashes. Caller frees. */
char *sig_encode(const char *s, bool path);
/* name=value&..., sorted and encoded. Caller frees. */
char *sig_query(const struct sig_pair *v, size_t n);

#endif
