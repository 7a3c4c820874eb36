#include "cluster/node/kubelet.h"

#include <stdlib.h>

#include "cluster/node/node_priv.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/reviews.h"
#include "kube/streaming/streaming.h"
#include "net/server.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { LOG_THREADS = 8, LOG_QUEUE = 10000 };
#define ASK_LIMIT_NS (10 * NS_PER_S)

struct kubelet {
    struct reviews *reviews;
    struct node *node; /* set before requests are answered */
    struct http_server *http;
    struct pool *pool; /* reads logs, dials ports */
    struct http_api api;
};

/* ---- who ---- */

static int by_certificate(struct ctx *ctx, struct http_req *req)
{
    size_t n = 0;
    while (req->peer->cert_orgs && req->peer->cert_orgs[n])
        n++;
    const char **groups = http_alloc(req, (n + 2) * sizeof *groups);
    for (size_t i = 0; i < n; i++)
        groups[i] = req->peer->cert_orgs[i];
    groups[n] = "system:authenticated";
    struct identity *who = http_alloc(req, sizeof *who);
    *who = (struct identity){.user = req->peer->cert_cn, .uid = "", .groups = groups};
    ctx->who = who;
    return 0;
}

static void *alloc_of_request(void *req, size_t n) { return http_alloc(req, n); }

static int by_token(struct kubelet *k, struct ctx *ctx, struct http_req *req, const char *token, struct err *err)
{
    char source[PEER_SOURCE_TEXT];
    JSON_REF(user) = reviews_token(k->reviews, ctx, token, peer_source(req->peer, source), err);
    if (!user)
        return err && err->code == ERR_UNAUTHENTICATED ? err_set(err, ERR_UNAUTHENTICATED, "Unauthorized") : -1;
    ctx->who = reviews_identity(json_root(user), alloc_of_request, req);
    return 0;
}

static int authenticate(void *self, struct ctx *ctx, struct http_req *req, struct err *err)
{
    const char *h = http_header_get(req, "authorization");
    if (req->peer->cert_cn)
        return by_certificate(ctx, req);
    if (h && strncasecmp(h, "Bearer ", 7) == 0)
        return by_token(self, ctx, req, h + 7, err);
    return err_set(err, ERR_UNAUTHENTICATED, "Unauthorized");
}

/* ---- may they ---- */

static int authorize(void *self, struct ctx *ctx, struct http_req *req, struct err *err)
{
    struct kubelet *k = self;
    const struct perm *p = &req->route->perm;
    const struct review what = {
        .verb = p->verb, .version = "v1", .resource = p->resource, .subresource = p->subresource, .name = node_name(k->node)};
    int may = reviews_access(k->reviews, ctx, ctx->who, &what, err);
    if (may)
        return may < 0 ? -1 : 0;
    return err_set(err, ERR_FORBIDDEN, "Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=[%s])", ctx->who->user,
                   p->verb, p->subresource);
}

/* ---- what is asked ---- */

static struct json *pod_of(struct kubelet *k, struct http_req *req, struct err *err)
{
    AUTOFREE char *key = obj_key_of(http_param(req, "ns"), http_param(req, "pod"));
    struct json *pod = informer_get(k->node->pods, key);
    if (!pod)
        err_set(err, ERR_NOT_FOUND, "pod \"%s\" not found", http_param(req, "pod"));
    return pod;
}

static int get_health(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_text(res, 200, "ok");
    return 0;
}

static int get_pods(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct kubelet *k = self;
    size_t n;
    struct json **all = informer_list(k->node->pods, &n);
    BUF(out);
    buf_adds(&out, "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(&out, ',');
        jv_write(json_root(all[i]), JW_COMPACT, &out);
        json_unref(all[i]);
    }
    free(all);
    buf_adds(&out, "]}");
    http_body_buf(res, "application/json", &out);
    return 0;
}

/* A container that is seen to run by whoever asks has a log: where our own view of its pod lags behind, the API server's counts.
 */
static struct node_log *open_log(struct kubelet *k, const struct ctx *ctx, jval *pod, const struct kube_log_opts *o,
                                 struct streaming_log *s, struct err *err)
{
    const struct node_api *api = node_api(k->node);
    ERR(e);
    struct node_log *log = api->log_open(api->self, ctx, pod, o, streaming_log_notify, s, &e);
    JSON_REF(now) = !log && e.code == ERR_BAD_REQUEST
                        ? kube_get(k->node->kube, ctx, &KUBE_PODS, obj_namespace(pod), obj_name(pod), NULL, NULL)
                        : NULL;
    if (now && str_eq(obj_uid(json_root(now)), obj_uid(pod)))
        return api->log_open(api->self, ctx, json_root(now), o, streaming_log_notify, s, err);
    if (!log)
        err_move(err, &e);
    return log;
}

static int get_log(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct kubelet *k = self;
    struct kube_log_opts o;
    JSON_REF(pod) = NULL;
    if (streaming_log_opts(req, &o, err) < 0 || !(pod = pod_of(k, req, err)))
        return -1;
    o.container = http_param(req, "container");
    struct streaming_log *s = streaming_log_new(k->pool);
    struct node_log *log = open_log(k, ctx, json_root(pod), &o, s, err);
    if (!log) {
        streaming_log_drop(s);
        return -1;
    }
    streaming_log_answer(s, log, res);
    return 0;
}

/* The API server speaks of streams as input, output and error, where clients say stdin, stdout and stderr. */
static int process_opts(struct http_req *req, bool exec, struct node_process_opts *o, struct err *err)
{
    *o = (struct node_process_opts){.container = http_param(req, "container"),
                                    .in = http_query_bool(req, "input"),
                                    .out = http_query_bool(req, "output"),
                                    .err = http_query_bool(req, "error"),
                                    .tty = http_query_bool(req, "tty")};
    if (!o->in && !o->out && !o->err)
        return err_set(err, ERR_BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    if (o->tty)
        o->err = false;
    size_t n = http_query_count(req, "command");
    if (!exec)
        return 0;
    if (n == 0)
        return err_set(err, ERR_BAD_REQUEST, "you must specify at least one command for the container");
    const char **command = http_alloc(req, (n + 1) * sizeof *command);
    for (size_t i = 0; i < n; i++)
        command[i] = http_query_nth(req, "command", i);
    o->command = command;
    return 0;
}

static int run_process(struct kubelet *k, struct ctx *ctx, struct http_req *req, struct http_res *res, bool exec, struct err *err)
{
    struct node_process_opts o;
    struct streaming_how how;
    struct node_process process = NODE_PROCESS_NONE;
    const struct node_api *api = node_api(k->node);
    JSON_REF(pod) = pod_of(k, req, err);
    if (!pod || process_opts(req, exec, &o, err) < 0 || streaming_negotiate(req, STREAMING_PROCESS, &how, err) < 0 ||
        api->process_open(api->self, ctx, json_root(pod), &o, &process, err) < 0)
        return -1;
    streaming_process(req, res, &how, &o, &process);
    return 0;
}

static int on_exec(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return run_process(self, ctx, req, res, true, err);
}

static int on_attach(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return run_process(self, ctx, req, res, false, err);
}

struct forward {
    struct kubelet *kubelet;
    struct json *pod;
};

static int dial(void *arg, int port, int *fd, struct err *err)
{
    struct forward *f = arg;
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, ASK_LIMIT_NS);
    const struct node_api *api = node_api(f->kubelet->node);
    return api->dial(api->self, &ctx, json_root(f->pod), port, fd, err);
}

static void release(void *arg)
{
    struct forward *f = arg;
    json_unref(f->pod);
    free(f);
}

static int on_forward(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct kubelet *k = self;
    struct streaming_how how;
    JSON_REF(pod) = pod_of(k, req, err);
    if (!pod || streaming_negotiate(req, STREAMING_FORWARD, &how, err) < 0)
        return -1;
    struct forward *f = xcalloc(1, sizeof *f);
    *f = (struct forward){k, json_ref(pod)};
    struct streaming_dial d = {
        .dial = dial, .release = release, .arg = f, .pool = k->pool, .pod = xstrdup(http_param(req, "pod"))};
    return streaming_forward(req, res, &how, &d, err);
}

static void write_error(void *self, struct http_req *req, struct http_res *res, const struct err *e)
{
    http_text(res, err_http_status(e), "%s", err_text(e));
}

#define NODE_PERM(v, sub)                                                                                                        \
    {                                                                                                                            \
        .verb = (v), .group = "", .resource = "nodes", .subresource = (sub)                                                      \
    }
static const struct route routes[] = {
    {HTTP_GET, "/healthz", get_health, NODE_PERM("get", "healthz"), 0},
    {HTTP_GET, "/pods", get_pods, NODE_PERM("get", "pods"), 0},
    {HTTP_GET, "/containerLogs/{ns}/{pod}/{container}", get_log, NODE_PERM("get", "proxy"), 0},
    {HTTP_GET | HTTP_POST, "/exec/{ns}/{pod}/{container}", on_exec, NODE_PERM("create", "proxy"), 0},
    {HTTP_GET | HTTP_POST, "/attach/{ns}/{pod}/{container}", on_attach, NODE_PERM("create", "proxy"), 0},
    {HTTP_GET | HTTP_POST, "/portForward/{ns}/{pod}", on_forward, NODE_PERM("create", "proxy"), 0},
};

/* ---- life ---- */

/* The authority of the certificates that the API server shows; NULL: tokens only. */
static char *client_ca(struct kube *kube)
{
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, ASK_LIMIT_NS);
    ERR(e);
    JSON_REF(map) = kube_get(kube, &ctx, &KUBE_CONFIGMAPS, "kube-system", "extension-apiserver-authentication", NULL, &e);
    const char *pem = map ? jv_str(jv_get(config_map_data(json_root(map)), "client-ca-file")) : NULL;
    if (!pem)
        log_warn(
            "the cluster's authority for client certificates is not known (%s): the API server has to show tokens to read logs",
            map ? "the ConfigMap does not hold it" : err_text(&e));
    return xstrdup(pem);
}

static int make_certificate(char **cert, char **key, struct err *err)
{
    AUTOFREE char *ca = NULL, *ca_key = NULL;
    struct machine m;
    machine_read(&m, "/");
    const char *names[] = {m.host_name, m.ip, "localhost", "127.0.0.1", NULL};
    AUTOFREE char *cn = xasprintf("system:node:%.40s", m.host_name);
    int rc = tls_make_ca("tidemill node", &ca, &ca_key, err) < 0
                 ? -1
                 : tls_make_cert(ca, ca_key, cn, NULL, names, false, cert, key, err);
    machine_free(&m);
    return rc;
}

struct kubelet *kubelet_listen(const struct kubelet_config *cfg, int *port, struct err *err)
{
    struct kubelet *k = xcalloc(1, sizeof *k);
    AUTOFREE char *cert = xstrdup(cfg->cert_pem), *key = xstrdup(cfg->key_pem), *ca = client_ca(cfg->kube);
    k->reviews = reviews_new(&(struct reviews_config){.kube = cfg->kube, .clock = &clock_system, .remember = true});
    k->pool = pool_new("kubelet", LOG_THREADS, LOG_QUEUE);
    k->api = (struct http_api){.name = "kubelet",
                               .routes = routes,
                               .n_routes = ARRAY_LEN(routes),
                               .self = k,
                               .authenticate = authenticate,
                               .authorize = authorize,
                               .write_error = write_error};
    struct mount mount = {.prefix = "/", .api = &k->api};
    static const char *const any[] = {"*", NULL}; /* whoever asks has a certificate or a token: there is no browser to defend */
    if ((cert || make_certificate(&cert, &key, err) == 0) && (k->http = http_server_new(NULL, err))) {
        struct tls_server_config tls = {.cert_pem = cert, .key_pem = key, .client_ca_pem = ca};
        struct listener_config lc = {
            .address = cfg->listen, .tls = &tls, .mounts = &mount, .n_mounts = 1, .extra_hosts = any, .flag = "--node-listen"};
        if (http_server_listen(k->http, &lc, port, err) == 0)
            return k;
    }
    kubelet_stop(k);
    return NULL;
}

int kubelet_start(struct kubelet *k, struct node *n, struct err *err)
{
    k->node = n;
    return http_server_start(k->http, err);
}

void kubelet_stop(struct kubelet *k)
{
    if (!k)
        return;
    if (k->http)
        http_server_stop(k->http, 1000);
    pool_stop(k->pool);
    reviews_free(k->reviews);
    free(k);
}
