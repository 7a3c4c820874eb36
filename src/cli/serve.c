/* serve.c - see serve.h. */
#include "cli/serve.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "cli/boot.h"
#include "cli/describe.h"
#include "cli/pipelines_part.h"
#include "cli/server.h"
#include "cluster/controllers/controllers.h"
#include "cluster/node/kubelet.h"
#include "cluster/scheduler/scheduler.h"
#include "kube/informer.h"
#include "kube/kinds.h"
#include "kube/leader.h"
#include "kube/remote/remote.h"
#include "net/server.h"

#define LOG_ROOM "serve"
#include "base/log.h"

#define LEASE          "tidemill-pipelines"
#define BASE_DELAY_NS  (5 * NS_PER_MS)
#define START_LIMIT_NS (60 * NS_PER_S)
enum { PEM_MAX = 1 << 20, LOST_GRACE_S = 4 }; /* what is left of a lease when it is given up for lost */

struct serving {
    const struct serve_options *o;
    char *agent, *url, *server;
    struct kube *pipelines_kube, *node_kube, *scheduler_kube, *controllers_kube;
    struct leader *leader;
    atomic_bool lost;
    struct http_server *http;
    struct gateway *gateway;
    struct reviews *reviews;
    struct pipelines_part pipelines;
    struct node *node;
    struct kubelet *kubelet;
    struct scheduler *scheduler;
    struct controllers *controllers;
    struct informer *definitions;
    char *ca_pem;
    struct status_source status;
};

const char *serve_url(const struct serving *s) { return s->url; }
const char *serve_server(const struct serving *s) { return s->server; }
bool serve_lost(const struct serving *s) { return atomic_load(&s->lost); }

/* ---- the API ---- */

/* One for each part: rates and names are each its own. */
static struct kube *connect_as(struct serving *s, const char *component, struct err *err)
{
    const struct serve_options *o = s->o;
    struct kube_access a;
    if ((o->in_cluster ? kube_access_in_cluster(NULL, &a, err) : kube_access_load(o->kubeconfig, o->context, &a, err)) < 0)
        return NULL;
    if (!s->server)
        s->server = xstrdup(a.server);
    if (!s->ca_pem)
        s->ca_pem = xstrdup(a.ca_pem);
    return kube_remote_new(&(struct kube_remote_config){.access = &a, .component = component}, err);
}

/* A first question, so that a wrong address or credential is told at once and by itself. */
static int greet(struct kube *k, const struct ctx *ctx, struct err *err)
{
    struct ctx brief = ctx_with_timeout(ctx, START_LIMIT_NS);
    JSON_REF(version) = kube_remote_get_path(k, &brief, "/version", err);
    if (!version)
        return err_wrap(err, "%s", kube_remote_server(k));
    log_info("%s is Kubernetes %s", kube_remote_server(k),
             jv_str_or(jv_get(json_root(version), "gitVersion"), "of unknown version"));
    return 0;
}

/* ---- the pipelines component ---- */

static int review_token(void *self, struct ctx *ctx, struct http_req *req, const char *token, struct err *err)
{
    return boot_review_token(((struct serving *)self)->reviews, ctx, req, token, err);
}

static int review_access(void *self, const struct ctx *ctx, const struct perm *what, struct err *err)
{
    struct serving *s = self;
    return boot_review_access(s->reviews, ctx, s->o->lease_namespace, what, err);
}

static void describe(void *self, struct jm *m, jmval *obj) { describe_status(&((struct serving *)self)->status, m, obj); }

/* Somebody else may decide from now on. What does not stop in time is ended. */
static void on_lost(void *self)
{
    struct serving *s = self;
    atomic_store(&s->lost, true);
    alarm(LOST_GRACE_S);
    kill(getpid(), SIGTERM);
}

static int take_lease(struct serving *s, const struct ctx *ctx, struct err *err)
{
    s->leader = leader_start(&(struct leader_config){
        .kube = s->pipelines_kube, .ns = s->o->lease_namespace, .name = LEASE, .lost = on_lost, .self = s});
    return leader_wait(s->leader, ctx, err);
}

static int read_pair(const char *cert_file, const char *key_file, struct buf *cert, struct buf *key, struct err *err)
{
    if (!cert_file)
        return 0;
    return fs_read(cert_file, PEM_MAX, cert, err) < 0 || fs_read(key_file, PEM_MAX, key, err) < 0 ? -1 : 0;
}

/* Which names lead here is not known on a cluster, and need not be: what they would protect, a browser's user on this machine,
 * the certificate's names protect, and at the proxy's door nobody is believed for being on this machine. */
static const char *const any_host[] = {"*", NULL};

static int listen_proxied(struct serving *s, const struct listener_config *front, struct err *err)
{
    struct listener_config door = *front;
    int port;
    if (!s->o->proxy_listen)
        return 0;
    door.address = s->o->proxy_listen;
    door.tls = NULL;
    door.extra_hosts = any_host;
    door.flag = "--proxy-listen";
    if (http_server_listen(s->http, &door, &port, err) < 0)
        return -1;
    gateway_set_proxy_port(s->gateway, port);
    return 0;
}

static int listen_front(struct serving *s, struct err *err)
{
    struct mount mounts[PIPELINES_MOUNTS];
    BUF(cert);
    BUF(key);
    if (read_pair(s->o->tls_cert, s->o->tls_key, &cert, &key, err) < 0)
        return -1;
    const struct tls_server_config tls = {.cert_pem = cert.data, .key_pem = key.data};
    pipelines_part_mounts(&s->pipelines, s->gateway, mounts);
    struct listener_config front = {.address = s->o->listen,
                                    .tls = s->o->tls_cert ? &tls : NULL,
                                    .mounts = mounts,
                                    .n_mounts = ARRAY_LEN(mounts),
                                    .extra_hosts = s->o->tls_cert ? any_host : pipelines_hosts,
                                    .check_browser = true,
                                    .flag = "--listen"};
    int port;
    if (!(s->http = http_server_new(NULL, err)) || http_server_listen(s->http, &front, &port, err) < 0 ||
        listen_proxied(s, &front, err) < 0)
        return -1;
    AUTOFREE char *address = address_with_port(s->o->listen, port);
    s->url = xasprintf("%s://%s", s->o->tls_cert ? "https" : "http", address);
    s->status.url = s->url;
    return http_server_start(s->http, err);
}

static int start_pipelines(struct serving *s, const struct ctx *ctx, struct err *err)
{
    const struct serve_options *o = s->o;
    if (!(s->pipelines_kube = connect_as(s, "pipelines", err)) || greet(s->pipelines_kube, ctx, err) < 0 ||
        take_lease(s, ctx, err) < 0)
        return -1;
    bool mounted = !o->agent_image && !o->agent_from_node;
    if (mounted && !(s->agent = server_agent_path(err)))
        return -1;
    s->reviews = reviews_new(&(struct reviews_config){.kube = s->pipelines_kube, .clock = &clock_system, .remember = true});
    s->gateway = gateway_new(&(struct gateway_config){.owner_uid = o->caller->uid,
                                                      .owner_name = o->caller->name,
                                                      .review_token = review_token,
                                                      .review_access = review_access,
                                                      .proxies = o->proxies,
                                                      .describe = describe,
                                                      .self = s},
                             err);
    if (!s->gateway)
        return -1;
    s->status.store = &s->pipelines.store;
    const struct pipelines_run_config cfg = {.kube = s->pipelines_kube,
                                             .shared_dir = o->shared_dir,
                                             .agent_path = s->agent,
                                             .agent_image = o->agent_image,
                                             .claim = o->claim,
                                             .apart = o->apart,
                                             .paused = o->no_engine,
                                             .base_delay_ns = BASE_DELAY_NS};
    if (pipelines_part_open(&s->pipelines, o->data_dir, o->artifacts_dir, s->gateway, err) < 0 ||
        pipelines_part_run(&s->pipelines, &cfg, err) < 0)
        return -1;
    return listen_front(s, err);
}

/* ---- parts of the cluster ---- */

static char *host_and_port(const char *server)
{
    const char *from = strstr(server, "://") + 3;
    size_t n = strcspn(from, "/");
    bool port = memchr(*from == '[' ? strchr(from, ']') : from, ':', n) != NULL;
    return xasprintf(port ? "%.*s" : "%.*s:443", (int)n, from);
}

static int start_node(struct serving *s, const struct ctx *ctx, struct err *err)
{
    const struct serve_options *o = s->o;
    if (!(s->node_kube = connect_as(s, "node", err)) || greet(s->node_kube, ctx, err) < 0 ||
        (!s->agent && !(s->agent = server_agent_path(err))))
        return -1;
    AUTOFREE char *api = host_and_port(s->server);
    int port;
    BUF(cert);
    BUF(key);
    if (read_pair(o->node_cert, o->node_key, &cert, &key, err) < 0)
        return -1;
    const struct kubelet_config kc = {.kube = s->node_kube, .listen = o->node_listen, .cert_pem = cert.data, .key_pem = key.data};
    if (!(s->kubelet = kubelet_listen(&kc, &port, err)))
        return -1;
    const struct node_config nc = {.data_dir = o->data_dir,
                                   .node_name = o->node_name,
                                   .agent_path = s->agent,
                                   .host_images = o->host_images,
                                   .host_paths = o->host_paths,
                                   .host_envs = o->host_envs,
                                   .kube_addr = api,
                                   .pod_cidr = o->pod_cidr,
                                   .service_cidr = o->service_cidr,
                                   .pods_reach_metadata = o->pods_reach_metadata,
                                   .heartbeats = true,
                                   .kubelet_port = port};
    s->node = node_start(&nc, s->node_kube, err);
    s->status.node = s->node;
    return s->node ? kubelet_start(s->kubelet, s->node, err) : -1;
}

static void each_kind(void *self, void (*fn)(void *arg, const struct kube_res *res), void *arg)
{
    struct serving *s = self;
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, START_LIMIT_NS);
    ERR(e);
    if (kube_remote_each_kind(s->controllers_kube, &ctx, fn, arg, &e) < 0)
        log_warn("what the API server serves could not be told: %s", err_text(&e));
}

static void definition_changed(void *self, struct json *old, struct json *now)
{
    struct serving *s = self;
    controllers_kinds_changed(s->controllers);
}

static int start_controllers(struct serving *s, const struct ctx *ctx, struct err *err)
{
    if (!(s->controllers_kube = connect_as(s, "controllers", err)) || greet(s->controllers_kube, ctx, err) < 0)
        return -1;
    struct ctx brief = ctx_with_timeout(ctx, START_LIMIT_NS);
    const struct controllers_config cc = {.kube = s->controllers_kube,
                                          .clock = &clock_system,
                                          .ca_pem = s->ca_pem ? s->ca_pem : "",
                                          .each_kind = each_kind,
                                          .self = s};
    if (!(s->controllers = controllers_start(&cc, &brief, err)))
        return -1;
    s->definitions = informer_new(
        &(struct informer_config){.kube = s->controllers_kube, .res = &KUBE_CUSTOMRESOURCEDEFINITIONS, .clock = &clock_system});
    informer_add_handler(s->definitions, (struct informer_handler){definition_changed, s});
    informer_start(s->definitions);
    return 0;
}

static int start_scheduler(struct serving *s, const struct ctx *ctx, struct err *err)
{
    if (!(s->scheduler_kube = connect_as(s, "scheduler", err)) || greet(s->scheduler_kube, ctx, err) < 0)
        return -1;
    s->scheduler = scheduler_start(s->scheduler_kube, &clock_system, err);
    return s->scheduler ? 0 : -1;
}

/* ---- doors ---- */

struct serving *serve_start(const struct serve_options *o, const struct ctx *ctx, struct err *err)
{
    struct serving *s = xcalloc(1, sizeof *s);
    s->o = o;
    s->status = (struct status_source){.data_dir = o->data_dir,
                                       .kubeconfig = o->in_cluster ? "(in cluster)" : o->kubeconfig,
                                       .started_ns = clock_system.wall_ns(&clock_system),
                                       .no_engine = o->no_engine,
                                       .remote = true};
    if ((o->controllers && start_controllers(s, ctx, err) < 0) || (o->scheduler && start_scheduler(s, ctx, err) < 0) ||
        (o->node && start_node(s, ctx, err) < 0) || (o->pipelines && start_pipelines(s, ctx, err) < 0)) {
        serve_stop(s, NODE_KEEP);
        return NULL;
    }
    s->status.kube_url = s->server;
    return s;
}

int serve_wait_node(struct serving *s, const struct ctx *ctx, struct err *err)
{
    return s->node ? node_wait_ready(s->node, ctx, err) : 0;
}

void serve_stop(struct serving *s, enum node_stop_mode mode)
{
    if (!s)
        return;
    pipelines_part_halt(&s->pipelines);
    leader_stop(s->leader); /* nothing is decided any more: the next one may begin */
    if (s->http)
        http_server_stop(s->http, 2000);
    pipelines_part_close(&s->pipelines);
    gateway_free(s->gateway);
    reviews_free(s->reviews);
    kubelet_stop(s->kubelet);
    if (s->node)
        node_stop(s->node, mode);
    if (s->scheduler)
        scheduler_stop(s->scheduler);
    if (s->definitions)
        informer_stop(s->definitions);
    if (s->controllers)
        controllers_stop(s->controllers);
    kube_remote_free(s->pipelines_kube);
    kube_remote_free(s->node_kube);
    kube_remote_free(s->scheduler_kube);
    kube_remote_free(s->controllers_kube);
    free(s->agent);
    free(s->url);
    free(s->server);
    free(s->ca_pem);
    free(s);
}
