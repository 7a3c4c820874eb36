/* blob_xml.h - the few XML documents that S3 answers with. They come from outside: no entities, bounded depth and size. Private
 * to data/. */
#ifndef TM_DATA_BLOB_XML_H
#define TM_DATA_BLOB_XML_H

#include "data/blob.h"

struct s3_answer {
    char *code, *message, *region; /* <Error> */
    char *upload_id;               /* <InitiateMultipartUploadResult> */
    char *etag;                    /* <CompleteMultipartUploadResult> */
    struct blob_page page;         /* <ListBucketResult> */
    bool truncated;
    /* <AssumeRoleWithWebIdentityResponse> */
    char *access_key, *secret_key, *session_token, *expiration;
};
/* -1 with ERR_IO when it is no XML, or none of these. */
int s3_answer_parse(const char *text, size_t n, struct s3_answer *out, struct err *err);
void s3_answer_clear(struct s3_answer *a);
#define S3_ANSWER(name) CLEANUP(s3_answer_clear) struct s3_answer name = {0}

#endif
