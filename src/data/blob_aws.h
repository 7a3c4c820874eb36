/* blob_aws.h - where keys for S3 come from. Private to data/. */
#ifndef TM_DATA_BLOB_AWS_H
#define TM_DATA_BLOB_AWS_H

#include "data/blob_http.h"

struct aws_keys {
    char *access, *secret, *token; /* token may be NULL */
    int64_t expires_ns;            /* wall time; 0: never */
};
void aws_keys_clear(struct aws_keys *k);
/* The environment's: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN), else a web identity
 * (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN: asked of STS in that region), else the file AWS_SHARED_CREDENTIALS_FILE or
 * ~/.aws/credentials with AWS_PROFILE. ERR_UNAUTHENTICATED when there are none. */
int aws_keys_from_env(const struct blob_http *h, const struct ctx *ctx, const char *region, struct aws_keys *out,
                      struct err *err);
/* Of an INI file's text. False: the profile is not there, or has no keys. */
bool aws_keys_from_ini(const char *text, const char *profile, struct aws_keys *out);

#endif
