/* paths.c - /api and /apis paths to group, version, namespace, resource, name and subresource. */
#include <stdlib.h>

#include "cluster/apiserver/face.h"

#define MAX_PARTS 12

/* Splits a raw path at its slashes and decodes the parts. *raw_tail[i] is where part i starts in the raw path. */
static int split(struct http_req *req, const char **parts, const char **raw, size_t *n, struct err *err)
{
    *n = 0;
    const char *p = req->path;
    while (*p) {
        while (*p == '/')
            p++;
        if (!*p)
            break;
        const char *end = strchrnul(p, '/');
        if (*n == MAX_PARTS)
            return 0; /* what is beyond belongs to a proxy and stays raw */
        char *text = NULL;
        if (url_decode(p, (size_t)(end - p), false, &text) < 0)
            return err_set(err, ERR_BAD_REQUEST, "the path has an escape that cannot be read: %.*s", (int)(end - p), p);
        parts[*n] = http_strdup(req, text);
        raw[*n] = p;
        free(text);
        (*n)++;
        p = end;
    }
    return 0;
}

static const char *verb_of(struct http_req *req, const struct reqinfo *ri)
{
    switch (req->method) {
    case HTTP_POST:
        return "create";
    case HTTP_PUT:
        return "update";
    case HTTP_PATCH:
        return "patch";
    case HTTP_DELETE:
        return *ri->name ? "delete" : "deletecollection";
    case HTTP_GET:
    case HTTP_HEAD:
        if (ri->watch_prefix || (http_query(req, "watch") && http_query_bool(req, "watch") && !*ri->sub))
            return "watch";
        return *ri->name ? "get" : "list";
    default:
        return http_method_name(req->method);
    }
}

static const char *lower_method(struct http_req *req)
{
    char *s = http_strdup(req, req->method_text ? req->method_text : "");
    for (char *p = s; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p += 'a' - 'A';
    return s;
}

int reqinfo_parse(struct http_req *req, struct reqinfo *out, struct err *err)
{
    const char *parts[MAX_PARTS], *raw[MAX_PARTS];
    size_t n, i;
    *out = (struct reqinfo){
        .path = req->path, .group = "", .version = "", .ns = "", .plural = "", .name = "", .sub = "", .rest = ""};
    out->verb = lower_method(req);
    if (split(req, parts, raw, &n, err) < 0)
        return -1;
    if (n >= 3 && strcmp(parts[0], "api") == 0) {
        out->version = parts[1];
        i = 2;
    } else if (n >= 4 && strcmp(parts[0], "apis") == 0) {
        out->group = parts[1];
        out->version = parts[2];
        i = 3;
    } else {
        return 0;
    }
    if (strcmp(parts[i], "watch") == 0 && i + 1 < n) {
        out->watch_prefix = true;
        i++;
    }
    if (strcmp(parts[i], "namespaces") == 0 && i + 1 < n) {
        out->ns = parts[i + 1];
        bool of_itself = i + 2 < n && (strcmp(parts[i + 2], "status") == 0 || strcmp(parts[i + 2], "finalize") == 0);
        if (i + 2 < n && !of_itself)
            i += 2;
    }
    out->resource = true;
    out->plural = parts[i++];
    if (i < n)
        out->name = parts[i++];
    if (i < n)
        out->sub = parts[i++];
    if (i < n || (i == MAX_PARTS))
        out->rest = i < n ? raw[i] : "";
    out->verb = verb_of(req, out);
    return 0;
}
