/* front.c - see front.h. */
#include "cli/front.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "cli/place.h"
#include "value/yaml.h"

int front_open(struct front *f, const char *url, const char *data_dir, struct err *err)
{
    *f = (struct front){0};
    const char *env = getenv("TIDEMILL_URL");
    if (!url && !data_dir && !str_empty(env))
        url = env;
    if (url) {
        f->url = xstrdup(url);
    } else {
        f->run_file = place_run_file(data_dir, err);
        if (!f->run_file)
            return -1;
        f->url = xstrdup(jv_str_or(jv_get(json_root(f->run_file), "url"), ""));
    }
    for (size_t n = strlen(f->url); n && f->url[n - 1] == '/'; n--)
        f->url[n - 1] = '\0';
    const char *token = getenv("TIDEMILL_TOKEN");
    f->token = str_empty(token) ? NULL : xstrdup(token);
    struct http_client_config cfg = {.user_agent = "tidemill/" TIDEMILL_VERSION};
    f->http = http_client_new(&cfg, err);
    return f->http ? 0 : -1;
}

void front_close(struct front *f)
{
    http_client_free(f->http);
    http_client_free(f->kube_http);
    free(f->url);
    free(f->token);
    free(f->kube_url);
    free(f->kube_token);
    json_unref(f->run_file);
}

/* What a server said was wrong: Kubernetes' and the pipelines' errors both have "message"; the short text is in details. */
static int answer_error(const struct http_answer *a, const char *path, struct err *err)
{
    JSON_REF(d) = json_parse(buf_str(&a->body), a->body.len, NULL, NULL);
    const char *msg = jv_str(jv_path(json_root(d), "details", "0", "message", NULL));
    msg = msg ? msg : jv_str(jv_get(json_root(d), "message"));
    enum err_code code = a->status == 404 ? ERR_NOT_FOUND : a->status == 401 ? ERR_UNAUTHENTICATED : ERR_BAD_REQUEST;
    if (msg)
        return err_set(err, code, "%s", msg);
    return err_set(err, code, "%s: the server answered %d: %.300s", path, a->status, buf_str(&a->body));
}

static struct json *call(struct http_client *c, const char *base, const char *token, enum http_method method, const char *path,
                         jval *body, struct err *err)
{
    AUTOFREE char *url = xasprintf("%s%s", base, path);
    AUTOFREE char *auth = token ? xasprintf("Bearer %s", token) : NULL;
    struct http_header headers[3] = {
        {"accept", "application/json"}, {"content-type", "application/json"}, {"authorization", auth}};
    BUF(text);
    if (body)
        jv_write(body, JW_COMPACT, &text);
    struct http_call hc = {
        .method = method, .url = url, .headers = headers, .n_headers = auth ? 3 : 2, .body = text.data, .body_len = text.len};
    struct ctx base_ctx = ctx_background(), ctx = ctx_with_timeout(&base_ctx, 120 * NS_PER_S);
    struct http_answer a = {0};
    struct json *out = NULL;
    if (http_fetch(c, &ctx, &hc, &a, err) < 0) {
        err_wrap(err, "%s", base);
        return NULL;
    }
    if (a.status >= 200 && a.status < 300)
        out = a.body.len ? json_parse(a.body.data, a.body.len, NULL, err) : json_parse_str("{}", err);
    else
        answer_error(&a, path, err);
    http_answer_free(&a);
    return out;
}

struct json *front_call(struct front *f, enum http_method method, const char *path, jval *body, struct err *err)
{
    return call(f->http, f->url, f->token, method, path, body, err);
}

/* A base64 member of a kubeconfig, decoded; NULL when absent or malformed. Caller frees. */
static char *pem_of(jval *obj, const char *key)
{
    const char *text = jv_str(jv_get(obj, key));
    unsigned char *bytes = NULL;
    size_t n;
    if (!text || base64_decode(text, strlen(text), &bytes, &n) < 0)
        return NULL;
    char *out = xstrndup((char *)bytes, n);
    free(bytes);
    return out;
}

int front_kube(struct front *f, struct err *err)
{
    const char *path = jv_str(jv_get(json_root(f->run_file), "kubeconfig"));
    if (f->kube_http)
        return 0;
    if (!path)
        return err_set(err, ERR_BAD_REQUEST, "the Kubernetes API is needed for this: use --data DIR instead of --url");
    BUF(text);
    if (fs_read(path, 1 << 20, &text, err) < 0)
        return err_wrap(err, "kubeconfig");
    JSON_REF(d) = yaml_parse_one(text.data, text.len, NULL, err);
    jval *cluster = jv_path(json_root(d), "clusters", "0", "cluster", NULL),
         *user = jv_path(json_root(d), "users", "0", "user", NULL);
    const char *server = jv_str(jv_get(cluster, "server")), *token = jv_str(jv_get(user, "token"));
    AUTOFREE char *ca = pem_of(cluster, "certificate-authority-data"), *cert = pem_of(user, "client-certificate-data"),
                  *key = pem_of(user, "client-key-data");
    if (!server || !ca || !(token || (cert && key)))
        return err_set(err, ERR_BAD_REQUEST, "%s: the first cluster and user have no server, authority or credentials", path);
    struct http_client_config cfg = {
        .ca_pem = ca, .client_cert_pem = cert, .client_key_pem = key, .user_agent = "tidemill/" TIDEMILL_VERSION};
    f->kube_http = http_client_new(&cfg, err);
    f->kube_url = xstrdup(server);
    f->kube_token = xstrdup(token);
    return f->kube_http ? 0 : -1;
}

struct json *front_kube_get(struct front *f, const char *path, struct err *err)
{
    if (front_kube(f, err) < 0)
        return NULL;
    return call(f->kube_http, f->kube_url, f->kube_token, HTTP_GET, path, NULL, err);
}

static struct http_body *open_body(struct http_client *c, const char *base, const char *token, const struct ctx *ctx,
                                   const char *path, struct err *err)
{
    AUTOFREE char *url = xasprintf("%s%s", base, path);
    AUTOFREE char *auth = token ? xasprintf("Bearer %s", token) : NULL;
    struct http_header headers[] = {{"authorization", auth}};
    struct http_call hc = {.method = HTTP_GET, .url = url, .headers = headers, .n_headers = auth ? 1 : 0};
    struct http_answer head = {0};
    struct http_body *b = http_open(c, ctx, &hc, &head, err);
    if (!b)
        return NULL;
    if (head.status == 200) {
        http_answer_free(&head);
        return b;
    }
    char chunk[4096];
    ssize_t n;
    while ((n = http_body_read(b, ctx, chunk, sizeof chunk, NULL)) > 0 && head.body.len < 65536)
        buf_add(&head.body, chunk, (size_t)n);
    http_body_close(b);
    answer_error(&head, path, err);
    http_answer_free(&head);
    return NULL;
}

struct http_body *front_body(struct front *f, const struct ctx *ctx, const char *path, struct err *err)
{
    return open_body(f->http, f->url, f->token, ctx, path, err);
}

struct http_body *front_kube_open(struct front *f, const struct ctx *ctx, const char *path, struct err *err)
{
    return front_kube(f, err) < 0 ? NULL : open_body(f->kube_http, f->kube_url, f->kube_token, ctx, path, err);
}
