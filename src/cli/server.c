/* server.c - see server.h. Start goes down the list of parts, stop goes up. */
#include "cli/server.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/timefmt.h"
#include "cli/boot.h"
#include "cli/describe.h"
#include "cli/pipelines_part.h"
#include "cli/wellknown.h"
#include "cluster/apiserver/apiserver.h"
#include "cluster/controllers/controllers.h"
#include "cluster/scheduler/scheduler.h"
#include "gateway/gateway.h"
#include "kube/kinds.h"
#include "kube/rules/service_range.h"
#include "net/server.h"
#include "pipelines/mirror/mirror.h"

#define LOG_ROOM "up"
#include "base/log.h"

static const char *const masters[] = {"system:masters", "system:authenticated", NULL};
static const char *const pipelines_groups[] = {"system:serviceaccounts", "system:serviceaccounts:kubeflow",
                                               "system:authenticated", NULL};
static const struct identity as_cluster = {.user = "system:tidemill", .uid = "", .groups = masters};
static const struct identity as_pipelines = {
    .user = "system:serviceaccount:kubeflow:ml-pipeline", .uid = "", .groups = pipelines_groups};

struct server {
    const struct server_options *o;
    char *url, *kube_url, *agent, *front_addr, *kube_addr, *volumes_dir;
    struct apiserver *apiserver;
    struct kube *cluster_kube, *pipelines_kube;
    struct http_server *http;
    struct gateway *gateway;
    struct reviews *reviews;
    struct pipelines_part pipelines;
    struct controllers *controllers;
    struct scheduler *scheduler;
    struct node *node;
    struct status_source status;
    struct service_range services;
    int range_hold; /* -1: none */
};

const char *server_url(const struct server *s) { return s->url; }
const char *server_kube_url(const struct server *s) { return s->kube_url; }
char *server_kubeconfig(struct server *s, struct err *err) { return apiserver_kubeconfig(s->apiserver, s->kube_url, err); }

void server_set_kubeconfig_path(struct server *s, const char *path) { s->status.kubeconfig = path; }

char *server_agent_path(struct err *err)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) {
        err_errno(err, "/proc/self/exe");
        return NULL;
    }
    exe[n] = '\0';
    char *slash = strrchr(exe, '/');
    *slash = '\0';
    char *path = xasprintf("%s/tidemill-agent", exe);
    if (access(path, X_OK) == 0)
        return path;
    err_set(err, ERR_NOT_FOUND, "%s is missing: it belongs beside tidemill, pods run their steps through it", path);
    free(path);
    return NULL;
}

/* ---- parts ---- */

static int review_token(void *self, struct ctx *ctx, struct http_req *req, const char *token, struct err *err)
{
    return boot_review_token(((struct server *)self)->reviews, ctx, req, token, err);
}

/* What the component itself writes shows rows, which were checked. */
static int check_version(void *self, const struct ctx *ctx, const struct identity *who, jval *old, jval *now, struct err *err)
{
    struct server *s = self;
    if (who && str_eq(who->user, as_pipelines.user))
        return 0;
    return mirror_check_version(s->pipelines_kube, s->pipelines.api, ctx, old, now, err);
}

/* A cluster without a node has no rules on this machine that could meet another's. */
static int choose_range(struct server *s, struct err *err)
{
    AUTOFREE char *cidr = s->o->no_node && s->o->service_cidr ? xstrdup(s->o->service_cidr) : NULL;
    if (!s->o->no_node && !(cidr = node_service_range(s->o->data_dir, s->o->service_cidr, &s->range_hold, err)))
        return -1;
    return service_range_parse(cidr, &s->services, err);
}

static int start_apiserver(struct server *s, struct err *err)
{
    const char *const names[] = {s->services.api, NULL};
    /* What services/{name}/proxy reaches without a pod. */
    struct apiserver_backend backends[] = {{"kubeflow", "ml-pipeline", pipelines_api_http(s->pipelines.api)}};
    const struct apiserver_check checks[] = {{"pipelines.kubeflow.org", "pipelineversions", s, check_version}};
    struct apiserver_config cfg = {.data_dir = s->o->data_dir,
                                   .clock = &clock_system,
                                   .cert_names = names,
                                   .service_cidr = s->services.cidr,
                                   .backends = backends,
                                   .n_backends = ARRAY_LEN(backends),
                                   .checks = checks,
                                   .n_checks = ARRAY_LEN(checks)};
    s->apiserver = apiserver_new(&cfg, err);
    if (!s->apiserver)
        return -1;
    s->cluster_kube = apiserver_kube(s->apiserver, &as_cluster);
    s->reviews = reviews_new(&(struct reviews_config){.kube = s->cluster_kube, .clock = &clock_system}); /* a call: no memory */
    s->pipelines_kube = apiserver_kube(s->apiserver, &as_pipelines);
    struct ctx ctx = ctx_background();
    return boot_objects(s->cluster_kube, &ctx, !s->o->no_node, err);
}

static char *image_id(void *node, const char *image) { return node_image_id(node, image); }

static int start_engine(struct server *s, struct err *err)
{
    const struct pipelines_run_config cfg = {.kube = s->pipelines_kube,
                                             .shared_dir = s->o->data_dir,
                                             .agent_path = s->agent,
                                             .image_id = s->node ? image_id : NULL,
                                             .image_self = s->node,
                                             .paused = s->o->no_engine,
                                             .base_delay_ns = NS_PER_MS};
    return pipelines_part_run(&s->pipelines, &cfg, err);
}

static int listen_all(struct server *s, struct err *err)
{
    s->http = http_server_new(NULL, err);
    if (!s->http)
        return -1;
    struct mount kube_mounts[] = {{.prefix = "/", .api = apiserver_http(s->apiserver)}};
    const char *const kube_hosts[] = {
        "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", s->services.api,
        NULL};
    struct listener_config kube = {.address = s->o->kube_listen,
                                   .tls = apiserver_tls(s->apiserver),
                                   .mounts = kube_mounts,
                                   .n_mounts = 1,
                                   .extra_hosts = kube_hosts,
                                   .check_browser = true,
                                   .flag = "--kube-listen"};
    struct mount front_mounts[PIPELINES_MOUNTS];
    pipelines_part_mounts(&s->pipelines, s->gateway, front_mounts);
    struct listener_config front = {.address = s->o->listen,
                                    .mounts = front_mounts,
                                    .n_mounts = ARRAY_LEN(front_mounts),
                                    .extra_hosts = pipelines_hosts,
                                    .check_browser = true,
                                    .flag = "--listen"};
    int kube_port, front_port;
    if (http_server_listen(s->http, &kube, &kube_port, err) < 0 || http_server_listen(s->http, &front, &front_port, err) < 0)
        return -1;
    s->kube_addr = address_with_port(s->o->kube_listen, kube_port);
    s->front_addr = address_with_port(s->o->listen, front_port);
    s->kube_url = xasprintf("https://%s", s->kube_addr);
    s->url = xasprintf("http://%s", s->front_addr);
    s->status.url = s->url;
    s->status.kube_url = s->kube_url;
    return http_server_start(s->http, err);
}

static void describe(void *self, struct jm *m, jmval *obj) { describe_status(&((struct server *)self)->status, m, obj); }

static int start_gateway(struct server *s, struct err *err)
{
    s->status.started_ns = clock_system.wall_ns(&clock_system);
    s->status.no_engine = s->o->no_engine;
    struct gateway_config cfg = {.owner_uid = s->o->caller->uid,
                                 .owner_name = s->o->caller->name,
                                 .review_token = review_token,
                                 .describe = describe,
                                 .self = s};
    s->gateway = gateway_new(&cfg, err);
    return s->gateway ? 0 : -1;
}

static void kinds_changed(void *controllers) { controllers_kinds_changed(controllers); }

static int port_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    return colon ? atoi(colon + 1) : 0;
}

static int start_controllers(struct server *s, const struct ctx *ctx, struct err *err)
{
    struct controllers_config cc = {.kube = s->cluster_kube,
                                    .clock = &clock_system,
                                    .ca_pem = apiserver_ca_pem(s->apiserver),
                                    .each_kind = apiserver_each_kind,
                                    .self = s->apiserver,
                                    .volumes_dir = s->volumes_dir};
    if (!(s->controllers = controllers_start(&cc, ctx, err)))
        return -1;
    apiserver_on_kinds_changed(s->apiserver, kinds_changed, s->controllers);
    s->scheduler = scheduler_start(s->cluster_kube, &clock_system, err);
    return s->scheduler ? 0 : -1;
}

static int start_node(struct server *s, struct err *err)
{
    struct node_config nc = {.data_dir = s->o->data_dir,
                             .agent_path = s->agent,
                             .host_images = s->o->host_images,
                             .host_paths = s->o->host_paths,
                             .host_envs = s->o->host_envs,
                             .image_mirrors = s->o->image_mirrors,
                             .insecure_registries = s->o->insecure_registries,
                             .registries_file = s->o->registries_file,
                             .docker_config = s->o->docker_config,
                             .image_gc_high = s->o->image_gc_high,
                             .image_gc_low = s->o->image_gc_low,
                             .kube_addr = s->kube_addr,
                             .front_addr = s->front_addr,
                             .pod_cidr = s->o->pod_cidr,
                             .service_cidr = s->services.cidr,
                             .pods_reach_metadata = s->o->pods_reach_metadata,
                             .heartbeats = true};
    if (!(s->node = node_start(&nc, s->cluster_kube, err)))
        return -1;
    s->status.node = s->node;
    apiserver_set_node(s->apiserver, node_api(s->node));
    return 0;
}

/* The node first: it waits for the machine most of the time, and the others start meanwhile. */
static int start_cluster(struct server *s, struct err *err)
{
    struct ctx base = ctx_background(), ctx = ctx_with_timeout(&base, 30 * NS_PER_S);
    if (!s->o->no_node && start_node(s, err) < 0) /* without one, pods wait for nodes that others register */
        return -1;
    const struct wellknown known = {.kube_port = port_of(s->kube_addr),
                                    .front_port = port_of(s->front_addr),
                                    .api_ip = s->services.api,
                                    .dns_ip = s->services.dns,
                                    .gateway = s->node ? node_gateway(s->node) : NULL};
    if (wellknown_services(s->cluster_kube, &ctx, &known, err) < 0)
        return -1;
    return start_controllers(s, &ctx, err);
}

struct server *server_start(const struct server_options *o, struct err *err)
{
    struct server *s = xcalloc(1, sizeof *s);
    s->o = o;
    s->range_hold = -1;
    s->status.data_dir = o->data_dir;
    s->volumes_dir = o->no_node ? NULL : fs_join(o->data_dir, "volumes");
    if (!(s->agent = server_agent_path(err)) || start_gateway(s, err) < 0)
        goto fail;
    if (choose_range(s, err) < 0)
        goto fail;
    s->status.store = &s->pipelines.store;
    if (pipelines_part_open(&s->pipelines, o->data_dir, o->artifacts_dir, s->gateway, err) < 0 || start_apiserver(s, err) < 0)
        goto fail;
    gateway_set_token(s->gateway, apiserver_admin_token(s->apiserver));
    if (listen_all(s, err) < 0 || start_cluster(s, err) < 0 || start_engine(s, err) < 0)
        goto fail;
    return s;
fail:
    server_stop(s, NODE_KEEP);
    return NULL;
}

int server_wait_node(struct server *s, const struct ctx *ctx, struct err *err)
{
    return s->node ? node_wait_ready(s->node, ctx, err) : 0;
}

void server_stop(struct server *s, enum node_stop_mode mode)
{
    if (!s)
        return;
    /* The engine stops deciding first, so that pods which go away with the node are not taken for failures of their tasks. */
    pipelines_part_halt(&s->pipelines);
    s->status.node = NULL;
    if (s->node) {
        apiserver_set_node(s->apiserver, NULL);
        node_stop(s->node, mode);
    }
    if (s->scheduler)
        scheduler_stop(s->scheduler);
    if (s->apiserver)
        apiserver_on_kinds_changed(s->apiserver, NULL, NULL);
    if (s->controllers)
        controllers_stop(s->controllers);
    if (s->http)
        http_server_stop(s->http, 2000);
    if (s->apiserver)
        apiserver_stop(s->apiserver);
    pipelines_part_close(&s->pipelines);
    gateway_free(s->gateway);
    reviews_free(s->reviews);
    node_service_range_drop(s->range_hold);
    free(s->url);
    free(s->kube_url);
    free(s->agent);
    free(s->front_addr);
    free(s->kube_addr);
    free(s->volumes_dir);
    free(s);
}
