/* What object stores and people send: S3's XML answers, URIs and their query strings, settings, credentials files. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "data/blob_aws.h"
#include "data/blob_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ERR(e);
    S3_ANSWER(a);
    (void)!s3_answer_parse((const char *)data, size, &a, &e);
    AUTOFREE char *text = xstrndup((const char *)data, size);
    char *scheme, *bucket, *key;
    if (blob_uri_split(text, &scheme, &bucket, &key, &e) == 0) {
        free(scheme);
        free(bucket);
        free(key);
    }
    struct blob_settings s = {0};
    (void)!blob_settings_query(&s, blob_uri_query(text), &e);
    blob_settings_clear(&s);
    struct aws_keys k;
    if (aws_keys_from_ini(text, "default", &k))
        aws_keys_clear(&k);
    JSON_REF(d) = json_parse((const char *)data, size, NULL, NULL);
    if (d && blob_settings_from_json(json_root(d), &s, &e) == 0)
        blob_settings_clear(&s);
    return 0;
}
