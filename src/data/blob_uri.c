/* blob_uri.c - "scheme://bucket/key?query". */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "data/beneath.h"
#include "data/blob.h"

static size_t scheme_len(const char *uri)
{
    size_t n = 0;
    if (!isalpha((unsigned char)uri[0]))
        return 0;
    while (isalnum((unsigned char)uri[n]) || (uri[n] && strchr("+-.", uri[n])))
        n++;
    return n;
}

int blob_uri_split(const char *uri, char **scheme, char **bucket, char **key, struct err *err)
{
    *scheme = *bucket = *key = NULL;
    size_t n = scheme_len(uri);
    if (n == 0 || !str_starts(uri + n, "://"))
        return err_set(err, ERR_INVALID, "\"%s\" is no URI of the form scheme://bucket/key", uri);
    const char *rest = uri + n + 3;
    size_t b = strcspn(rest, "/?");
    if (b == 0)
        return err_set(err, ERR_INVALID, "\"%s\" names no bucket: the form is scheme://bucket/key", uri);
    const char *k = rest + b + (rest[b] == '/');
    size_t len = strcspn(k, "?");
    while (len > 0 && k[len - 1] == '/') /* a prefix is often written with a slash behind it */
        len--;
    AUTOFREE char *bucket_text = xstrndup(rest, b);
    AUTOFREE char *key_text = xstrndup(k, len);
    if (beneath_check(bucket_text, "bucket", err) < 0 || (len > 0 && beneath_check(key_text, "key", err) < 0))
        return err_wrap(err, "URI %s", uri);
    *scheme = xstrndup(uri, n);
    *bucket = TAKE(bucket_text);
    *key = TAKE(key_text);
    return 0;
}

const char *blob_uri_query(const char *uri)
{
    const char *q = strchr(uri, '?');
    return q ? q + 1 : "";
}
