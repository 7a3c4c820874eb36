/* proxy.c - services/{name}/proxy to APIs that live in this process. */
#include "cluster/apiserver/face.h"

/* "https:name:port" to its name: one colon-separated part is the name; of two, the second is a port; of three, the first a
 * scheme. */
static void service_name(const char *text, char out[256])
{
    const char *a = strchr(text, ':'), *b = a ? strchr(a + 1, ':') : NULL;
    const char *start = b ? a + 1 : text, *end = b ? b : a ? a : text + strlen(text);
    size_t n = (size_t)(end - start) < 255 ? (size_t)(end - start) : 255;
    memcpy(out, start, n);
    out[n] = '\0';
}

int handle_proxy(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct http_res *res, const struct reqinfo *ri,
                 struct err *err)
{
    char name[256];
    service_name(ri->name, name);
    for (size_t i = 0; i < a->n_backends; i++) {
        const struct apiserver_backend *b = &a->backends[i];
        if (strcmp(b->ns, ri->ns) != 0 || strcmp(b->name, name) != 0)
            continue;
        char *path = http_alloc(req, strlen(ri->rest) + 2);
        path[0] = '/';
        strcpy(path + 1, ri->rest);
        http_dispatch(b->api, ctx, req, res, path, true);
        return 0;
    }
    err_set(err, ERR_NOT_FOUND, "services \"%s\" not found", name);
    err_subject(err, "", "services", name);
    return -1;
}
