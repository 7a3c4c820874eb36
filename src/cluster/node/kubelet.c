#include "cluster/node/kubelet.h"

#include <stdlib.h>

#include "cluster/node/node_priv.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/reviews.h"
#include "kube/streaming/kubelet_paths.h"
#include "net/server.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { LOG_THREADS = 8, LOG_QUEUE = 10000 };
#define ASK_LIMIT_NS (10 * NS_PER_S)

struct kubelet {
    struct kubelet_paths paths; /* first member: the routes' own */
    struct node_api asked;
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

static struct json *pod_of(void *self, const char *ns, const char *name)
{
    struct kubelet *k = self;
    AUTOFREE char *key = obj_key_of(ns, name);
    return informer_get(k->node->pods, key);
}

static struct json **pods_of(void *self, size_t *n)
{
    struct kubelet *k = self;
    return informer_list(k->node->pods, n);
}

/* A container that is seen to run by whoever asks has a log: where our own view of its pod lags behind, the API server's counts.
 */
static struct node_log *open_log(void *self, const struct ctx *ctx, jval *pod, const struct kube_log_opts *o,
                                 void (*notify)(void *arg), void *arg, struct err *err)
{
    struct kubelet *k = self;
    const struct node_api *api = node_api(k->node);
    ERR(e);
    struct node_log *log = api->log_open(api->self, ctx, pod, o, notify, arg, &e);
    JSON_REF(now) = !log && e.code == ERR_BAD_REQUEST
                        ? kube_get(k->node->kube, ctx, &KUBE_PODS, obj_namespace(pod), obj_name(pod), NULL, NULL)
                        : NULL;
    if (now && str_eq(obj_uid(json_root(now)), obj_uid(pod)))
        return api->log_open(api->self, ctx, json_root(now), o, notify, arg, err);
    if (!log)
        err_move(err, &e);
    return log;
}

static int open_process(void *self, const struct ctx *ctx, jval *pod, const struct node_process_opts *o, struct node_process *out,
                        struct err *err)
{
    const struct node_api *api = node_api(((struct kubelet *)self)->node);
    return api->process_open(api->self, ctx, pod, o, out, err);
}

static int dial(void *self, const struct ctx *ctx, jval *pod, int port, int *fd, struct err *err)
{
    const struct node_api *api = node_api(((struct kubelet *)self)->node);
    return api->dial(api->self, ctx, pod, port, fd, err);
}

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
    k->asked = (struct node_api){.self = k, .log_open = open_log, .process_open = open_process, .dial = dial};
    k->paths = (struct kubelet_paths){.node = &k->asked, .pool = k->pool, .self = k, .pod = pod_of, .pods = pods_of};
    k->api = (struct http_api){.name = "kubelet",
                               .routes = kubelet_routes,
                               .n_routes = kubelet_n_routes,
                               .self = k,
                               .authenticate = authenticate,
                               .authorize = authorize,
                               .write_error = kubelet_write_error};
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
