/* other.c - paths that are no resources: version, health, discovery, OpenAPI. */
#include <sys/utsname.h>

#include "cluster/apiserver/face.h"

#define JWKS_PATH "/openid/v1/jwks"

static const char *const checks[] = {"ping", "log", "store"};

static bool check_exists(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(checks); i++)
        if (strcmp(checks[i], name) == 0)
            return true;
    return false;
}

static bool excluded(struct http_req *req, const char *name)
{
    for (size_t i = 0; i < http_query_count(req, "exclude"); i++)
        if (str_eq(http_query_nth(req, "exclude", i), name))
            return true;
    return false;
}

/* "/readyz", "/livez/ping". A server that answers is well: its store was loaded before it listened. */
static int health(struct http_req *req, struct http_res *res, const char *what, const char *check)
{
    if (*check) {
        if (check_exists(check))
            http_text(res, 200, "ok");
        else
            http_text(res, 404, "404 page not found\n");
        return 0;
    }
    BUF(b);
    if (http_query(req, "verbose")) {
        for (size_t i = 0; i < ARRAY_LEN(checks); i++)
            buf_addf(&b, "[+]%s %s\n", checks[i], excluded(req, checks[i]) ? "excluded: ok" : "ok");
        buf_addf(&b, "%s check passed\n", what);
    } else {
        buf_adds(&b, "ok");
    }
    http_text(res, 200, "%s", buf_str(&b));
    return 0;
}

static int version(struct http_req *req, struct http_res *res, struct err *err)
{
    if (req->method != HTTP_GET)
        return fail_method(err);
    JM_NEW(m);
    jmval *v = jm_obj(m);
    jm_set_root(m, v);
    struct utsname u;
    const char *arch = uname(&u) == 0 && strcmp(u.machine, "aarch64") == 0 ? "arm64" : "amd64";
    jm_put(m, v, "major", jm_str(m, "1"));
    jm_put(m, v, "minor", jm_str(m, "34"));
    jm_put(m, v, "emulationMajor", jm_str(m, "1"));
    jm_put(m, v, "emulationMinor", jm_str(m, "34"));
    jm_put(m, v, "minCompatibilityMajor", jm_str(m, "1"));
    jm_put(m, v, "minCompatibilityMinor", jm_str(m, "33"));
    jm_put(m, v, "gitVersion", jm_str(m, "v1.34.0+tidemill." TIDEMILL_VERSION));
    jm_put(m, v, "gitCommit", jm_str(m, ""));
    jm_put(m, v, "gitTreeState", jm_str(m, "clean"));
    jm_put(m, v, "buildDate", jm_str(m, "1970-01-01T00:00:00Z"));
    jm_put(m, v, "goVersion", jm_str(m, ""));
    jm_put(m, v, "compiler", jm_str(m, "gcc"));
    jm_put(m, v, "platform", jm_strf(m, "linux/%s", arch));
    BUF(b);
    jmv_write(v, JW_COMPACT, &b);
    http_body_buf(res, "application/json", &b);
    return 0;
}

static int openid_configuration(struct http_req *req, struct http_res *res, struct err *err)
{
    static const char doc[] = "{\"issuer\":\"" TOKEN_ISSUER "\",\"jwks_uri\":\"" TOKEN_ISSUER JWKS_PATH "\","
                              "\"response_types_supported\":[\"id_token\"],\"subject_types_supported\":[\"public\"],"
                              "\"id_token_signing_alg_values_supported\":[\"RS256\"]}";
    if (req->method != HTTP_GET)
        return fail_method(err);
    http_body(res, "application/json", doc, sizeof(doc) - 1);
    return 0;
}

/* The key that verifies tokens. Its media type is its own: who asks for plain JSON alone is refused, as by Kubernetes. */
static int openid_keys(struct apiserver *a, struct http_req *req, struct http_res *res, struct err *err)
{
    static const char type[] = "application/jwk-set+json";
    if (req->method != HTTP_GET)
        return fail_method(err);
    const char *header = http_header_get(req, "accept");
    if (!str_empty(header)) {
        AUTOFREE char *text = xstrdup(header);
        struct media m[8];
        size_t n = media_split(text, m, ARRAY_LEN(m)), i = 0;
        while (i < n && strcmp(m[i].type, type) != 0 && strcmp(m[i].type, "*/*") != 0 && strcmp(m[i].type, "application/*") != 0)
            i++;
        if (i == n)
            return err_set(err, ERR_NOT_ACCEPTABLE, "only the following media types are accepted: %s", type);
    }
    const char *keys = token_jwks(a->signer);
    if (!keys)
        return err_set(err, ERR_INTERNAL, "there is no key that signs tokens");
    http_body(res, type, keys, strlen(keys));
    return 0;
}

/* Where a path is `prefix` or lies below it, what follows the slash; else NULL. */
static const char *below(const char *path, const char *prefix)
{
    size_t n = strlen(prefix);
    if (strncmp(path, prefix, n) != 0 || (path[n] && path[n] != '/'))
        return NULL;
    return path[n] ? path + n + 1 : "";
}

int handle_other(struct apiserver *a, struct http_req *req, struct http_res *res, struct err *err)
{
    static const char *const health_paths[] = {"/healthz", "/livez", "/readyz"};
    const char *path = req->path, *rest;
    for (size_t i = 0; i < ARRAY_LEN(health_paths); i++)
        if ((rest = below(path, health_paths[i])))
            return req->method & (HTTP_GET | HTTP_HEAD) ? health(req, res, health_paths[i] + 1, rest) : fail_method(err);
    if ((rest = below(path, "/version")) && !*rest)
        return version(req, res, err);
    if ((rest = below(path, "/openapi/v3")))
        return handle_openapi(a, req, res, rest, err);
    if (strcmp(path, "/openapi/v2") == 0)
        return handle_openapi_v2(a, req, res, err);
    if (strcmp(path, "/.well-known/openid-configuration") == 0)
        return openid_configuration(req, res, err);
    if (strcmp(path, JWKS_PATH) == 0)
        return openid_keys(a, req, res, err);
    if (below(path, "/api") || below(path, "/apis"))
        return handle_discovery(a, req, res, path, err);
    if (strcmp(path, "/") == 0)
        return handle_root(a, req, res, err);
    http_text(res, 404, "404 page not found\n");
    return 0;
}
