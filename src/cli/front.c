/* front.c - see front.h. */
#include "cli/front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/terminal.h"
#include "cli/place.h"
#include "kube/remote/kubeconfig.h"

/* Behind services/proxy: where kfp.Client() looks for the component. */
#define PROXY_PATH "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"

enum { ANSWER_MIB = 64 };
#define ANSWER_MAX ((size_t)ANSWER_MIB << 20)

static char *read_token(const char *file, struct err *err)
{
    BUF(text);
    if (fs_read(file, 64u << 10, &text, err) < 0)
        return NULL;
    const char *p = buf_str(&text);
    p += strspn(p, " \t\r\n");
    size_t n = strcspn(p, " \t\r\n");
    if (n > 0)
        return xstrndup(p, n);
    err_set(err, ERR_BAD_REQUEST, "%s holds no token", file);
    return NULL;
}

/* A client with what a kubeconfig says; its token apart. */
static struct http_client *client_of(const struct kube_access *a, char **token, struct err *err)
{
    const struct http_client_config cfg = {.ca_pem = a->ca_pem,
                                           .client_cert_pem = a->cert_pem,
                                           .client_key_pem = a->key_pem,
                                           .insecure = a->insecure,
                                           .server_name = a->tls_server_name,
                                           .proxy = a->proxy_url,
                                           .max_response = ANSWER_MAX,
                                           .user_agent = "tidemill/" TIDEMILL_VERSION};
    *token = a->token_file ? read_token(a->token_file, err) : xstrdup(a->token);
    return a->token_file && !*token ? NULL : http_client_new(&cfg, err);
}

static int read_pem_files(struct kube_access *a, struct err *err)
{
    char **const to[] = {&a->cert_pem, &a->key_pem};
    const char *const from[] = {a->cert_file, a->key_file};
    for (size_t i = 0; i < ARRAY_LEN(to); i++) {
        BUF(text);
        if (*to[i] || !from[i])
            continue;
        if (fs_read(from[i], 1u << 20, &text, err) < 0)
            return -1;
        *to[i] = xstrdup(buf_str(&text));
    }
    return 0;
}

static int use_kubeconfig(struct front *f, const struct front_where *w, struct err *err)
{
    struct kube_access a;
    if (kube_access_load(w->kubeconfig, NULL, &a, err) < 0)
        return -1;
    int rc = -1;
    if (a.exec.command || a.username)
        err_set(err, ERR_BAD_REQUEST,
                "%s: the credentials of %s come from a plugin or are a password: give a token by --token-file or TIDEMILL_TOKEN",
                w->kubeconfig, a.user ? a.user : "its user");
    else if (read_pem_files(&a, err) == 0 && (f->kube_http = client_of(&a, &f->kube_token, err)))
        rc = 0;
    f->kube_url = rc == 0 ? xstrdup(a.server) : NULL;
    kube_access_clear(&a);
    return rc;
}

static int find_token(struct front *f, const struct front_where *w, struct err *err)
{
    const char *token = getenv("TIDEMILL_TOKEN");
    if (!str_empty(token))
        f->token = xstrdup(token);
    else if (w->token_file)
        f->token = read_token(w->token_file, err);
    else
        f->token = xstrdup(f->kube_token);
    return w->token_file && !f->token ? -1 : 0;
}

static int find_url(struct front *f, const struct front_where *w, struct err *err)
{
    const char *env = getenv("TIDEMILL_URL");
    if (w->url || (!w->data_dir && !w->kubeconfig && !str_empty(env))) {
        f->url = xstrdup(w->url ? w->url : env);
        if (!str_starts(f->url, "http://") && !str_starts(f->url, "https://"))
            return err_set(err, ERR_BAD_REQUEST, "%s is no URL of a front door: it begins with http:// or https://", f->url);
    } else if (w->kubeconfig) {
        f->url = xasprintf("%s" PROXY_PATH, f->kube_url);
    } else {
        f->run_file = place_run_file(w->data_dir, err);
        if (!f->run_file)
            return -1;
        f->url = xstrdup(jv_str_or(jv_get(json_root(f->run_file), "url"), ""));
    }
    for (size_t n = strlen(f->url); n && f->url[n - 1] == '/'; n--)
        f->url[n - 1] = '\0';
    return 0;
}

int front_open(struct front *f, const struct front_where *w, struct err *err)
{
    *f = (struct front){0};
    BUF(ca);
    if ((w->kubeconfig && use_kubeconfig(f, w, err) < 0) || find_token(f, w, err) < 0 || find_url(f, w, err) < 0)
        return -1;
    if (f->kube_http && str_starts(f->url, f->kube_url)) /* that server asks who it is, and certificates count there */
        return 0;
    if (w->ca_file && fs_read(w->ca_file, 1u << 20, &ca, err) < 0)
        return err_wrap(err, "--ca-file");
    f->any_ca = !w->ca_file;
    struct http_client_config cfg = {
        .ca_pem = w->ca_file ? buf_str(&ca) : NULL, .max_response = ANSWER_MAX, .user_agent = "tidemill/" TIDEMILL_VERSION};
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
    ERR(e);
    if (http_fetch(c, &ctx, &hc, &a, &e) < 0) {
        if (e.code == ERR_TOO_LARGE)
            err_set(err, ERR_TOO_LARGE, "%s answers with more than %d MiB to %s: that is more than a command takes", base,
                    ANSWER_MIB, path);
        else
            err_move(err, &e), err_wrap(err, "%s", base);
        return NULL;
    }
    terminal_tame_json(a.body.data, a.body.len); /* its names and messages are shown to people */
    if (a.status >= 200 && a.status < 300)
        out = a.body.len ? json_parse(a.body.data, a.body.len, NULL, err) : json_parse_str("{}", err);
    else
        answer_error(&a, path, err);
    http_answer_free(&a);
    return out;
}

static struct http_client *door(const struct front *f) { return f->http ? f->http : f->kube_http; }

/* What people can do about an answer that is no. */
static void add_cure(const struct front *f, struct err *err)
{
    if (!err)
        return;
    AUTOFREE char *said = xstrdup(err_text(err));
    if (err->code == ERR_UNAUTHENTICATED && f->token)
        err_set(err, ERR_UNAUTHENTICATED, "%s\nthe token that was given is not, or no longer, one that %s knows", said, f->url);
    else if (err->code == ERR_UNAUTHENTICATED)
        err_set(err, ERR_UNAUTHENTICATED,
                "%s\n%s needs to know who asks: give a token by --token-file, TIDEMILL_TOKEN or --kubeconfig", said, f->url);
    else if (f->any_ca && str_starts(f->url, "https://") && strstr(said, "certificate"))
        err_set(err, ERR_IO, "%s\n--ca-file FILE names the authorities to trust", said);
}

struct json *front_call(struct front *f, enum http_method method, const char *path, jval *body, struct err *err)
{
    struct json *answer = call(door(f), f->url, f->token, method, path, body, err);
    if (!answer)
        add_cure(f, err);
    return answer;
}

int front_kube(struct front *f, struct err *err)
{
    const char *path = jv_str(jv_get(json_root(f->run_file), "kubeconfig"));
    if (f->kube_http)
        return 0;
    if (!path)
        return err_set(err, ERR_PRECONDITION, "the Kubernetes API is needed for this: give --data DIR or --kubeconfig FILE");
    return use_kubeconfig(f, &(struct front_where){.kubeconfig = path}, err);
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
    terminal_tame_json(head.body.data, head.body.len);
    answer_error(&head, path, err);
    http_answer_free(&head);
    return NULL;
}

struct http_body *front_body(struct front *f, const struct ctx *ctx, const char *path, struct err *err)
{
    return open_body(door(f), f->url, f->token, ctx, path, err);
}

struct http_body *front_kube_open(struct front *f, const struct ctx *ctx, const char *path, struct err *err)
{
    return front_kube(f, err) < 0 ? NULL : open_body(f->kube_http, f->kube_url, f->kube_token, ctx, path, err);
}
