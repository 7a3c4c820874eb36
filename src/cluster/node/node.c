#include "cluster/node/node_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "base/thread.h"
#include "cluster/node/images/images.h"
#include "cluster/node/network/service_claim.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { WORKERS = 6, MAX_PODS = 500, LOG_FILES = 5 };
#define LOG_BYTES    (10LL << 20)
#define BACKOFF_BASE (10 * NS_PER_S)
#define RETRY_BASE   (NS_PER_S / 1000)
#define READY_RETRY  (5 * NS_PER_S)
#define LOG_LOOKS    (NS_PER_S / 10) /* at most so often */

/* ---- what pods ask of the node (struct pod_host) ------------------------------------------------------------------------- */

static void track(void *self, const char *cid, const char *key)
{
    struct node *n = self;
    LOCK_GUARD(&n->lock);
    strmap_put(&n->by_cid, cid, xstrdup(key));
}

static void untrack(void *self, const char *cid)
{
    struct node *n = self;
    LOCK_GUARD(&n->lock);
    strmap_del(&n->by_cid, cid);
}

static void running(void *self, const struct pod *p, const struct box *b, bool runs)
{
    struct node *n = self;
    AUTOFREE char *dir = pod_log_dir(&n->host, p, b->name), *path = xasprintf("%s/%d.log", dir, b->attempt);
    AUTOFREE char *bundle = pod_bundle(&n->host, p, b);
    logs_running(n->logs, p->uid, b->name, path, b->cid, bundle, runs);
    node_live(n, p, b, runs);
    if (!runs) {
        if (b->cid)
            checks_forget(n->checks, b->cid);
        return;
    }
    LOCK_GUARD(&n->lock);
    n->n_running++;
    pthread_cond_broadcast(&n->changed); /* logs are to be looked after */
}

/* From the runtime: something ended. */
static void exited(void *self, const char *cid)
{
    struct node *n = self;
    /* Under the lock: once we are stopping, the queue may be gone. */
    LOCK_GUARD(&n->lock);
    const char *key = strmap_get(&n->by_cid, cid);
    if (key && n->run && !n->stopping)
        workqueue_add(controller_queue(n->run), key);
}

/* Statuses in the cache may be behind: who was taken in is remembered here. */
static int64_t asked(void *self, const char *uid, const char *resource)
{
    struct node *n = self;
    int64_t sum = 0;
    size_t count;
    struct json **list = informer_list(n->pods, &count);
    LOCK_GUARD(&n->lock);
    for (size_t i = 0; i < count; i++) {
        jval *pod = json_root(list[i]);
        if (!str_eq(obj_uid(pod), uid) && strmap_has(&n->admitted, obj_uid(pod)))
            sum += pod_asks(pod, resource);
        json_unref(list[i]);
    }
    free(list);
    return sum;
}

static bool admit(void *self, const struct pod *p, char **reason, char **message)
{
    struct node *n = self;
    LOCK_GUARD(&n->admitting);
    if (pod_refused(&n->host, p, reason, message))
        return false;
    pthread_mutex_lock(&n->lock);
    strmap_put(&n->admitted, p->uid, n);
    pthread_mutex_unlock(&n->lock);
    return true;
}

static void left(void *self, const struct pod *p)
{
    struct node *n = self;
    LOCK_GUARD(&n->lock);
    strmap_del(&n->admitted, p->uid);
}

/* A probe or a hook has something to say. */
static void pod_changed(void *self, const char *key)
{
    struct node *n = self;
    LOCK_GUARD(&n->lock);
    if (n->run && !n->stopping)
        workqueue_add(controller_queue(n->run), key);
}

static int reopen_log(void *self, const char *cid, const char *bundle, struct err *err)
{
    struct node *n = self;
    struct container_ref ref = {.id = cid, .bundle = bundle};
    return n->runtime->ops->reopen_log(n->runtime, &ref, err);
}

/* ---- the keeper: makes the node ready, then looks after logs
 * ------------------------------------------------------------------------ */

static void enqueue_all(struct node *n)
{
    size_t count;
    struct json **list = informer_list(n->pods, &count);
    for (size_t i = 0; i < count; i++) {
        AUTOFREE char *key = obj_key(json_root(list[i]));
        workqueue_add(controller_queue(n->run), key);
        json_unref(list[i]);
    }
    free(list);
    LOCK_GUARD(&n->lock);
    for (struct strmap_entry *e = strmap_first(&n->records); e; e = strmap_next(e))
        workqueue_add(controller_queue(n->run), ((struct pod *)e->value)->key);
}

static int make_ready(struct node *n, char **version, struct err *err)
{
    AUTOFREE char *mem = fs_join(n->node_dir, "mem");
    if (n->runtime->ops->ready(n->runtime, version, err) < 0)
        return -1;
    if (n->host.mem_fd < 0 && n->runtime->ops->tmpfs(n->runtime, mem, "mode=711", &n->host.mem_fd, err) < 0)
        return -1;
    return node_adopt_sandboxes(n, err);
}

static struct node_facts facts_of(const struct node *n, const char *not_ready)
{
    return (struct node_facts){.machine = &n->machine,
                               .name = n->name,
                               .runtime_version = n->version ? n->version : "",
                               .max_pods = n->max_pods,
                               .not_ready = not_ready,
                               .kubelet_port = n->kubelet_port,
                               .cgroups = n->limits};
}

/* From the heart's thread, which is started once all that it reads stays as it is. */
static int refresh(void *self, const struct ctx *ctx, struct err *err)
{
    struct node *n = self;
    struct node_facts f = facts_of(n, NULL);
    return node_register(n->kube, ctx, &f, err);
}

/* ---- what is told of the Node ---- */

static void tell_node(struct node *n, jval *node, const char *reason)
{
    event_record(n->events, node, &KUBE_NODES, "Normal", reason, "Node %s status is now: %s", n->name, reason);
}

/* After each registration that says something else than the one before. */
static void tell_registered(struct node *n, const struct ctx *ctx, bool ready)
{
    JSON_REF(node) = kube_get(n->kube, ctx, &KUBE_NODES, NULL, n->name, NULL, NULL);
    if (!node)
        return;
    if (!n->told)
        event_record(n->events, json_root(node), &KUBE_NODES, "Normal", "Starting", "Starting kubelet.");
    n->told = true;
    tell_node(n, json_root(node), ready ? "NodeReady" : "NodeNotReady");
}

/* From the heart's thread. */
static void node_seen(void *self, jval *node)
{
    struct node *n = self;
    bool cordoned = node_spec_unschedulable(node_spec(node), false);
    if (cordoned != n->cordoned)
        tell_node(n, node, cordoned ? "NodeNotSchedulable" : "NodeSchedulable");
    n->cordoned = cordoned;
}

/* One try. The Node object says how it went. */
static bool try_ready(struct node *n, const struct ctx *ctx)
{
    AUTOFREE char *version = NULL;
    ERR(e);
    ERR(reg);
    bool ok = make_ready(n, &version, &e) == 0;
    free(n->version);
    free(n->limits);
    n->version = TAKE(version);
    n->limits = ok ? n->runtime->ops->limits(n->runtime) : NULL;
    struct node_facts f = facts_of(n, ok ? NULL : err_text(&e));
    bool registered = node_register(n->kube, ctx, &f, &reg) == 0;
    if (!registered)
        log_warn("%s", err_text(&reg));
    if (registered && (!n->told || ok))
        tell_registered(n, ctx, ok);
    LOCK_GUARD(&n->lock);
    if (!ok && !str_eq(n->why, err_text(&e)))
        log_warn("pods cannot run here: %s", err_text(&e));
    free(n->why);
    n->why = ok ? NULL : xstrdup(err_text(&e));
    n->ready = ok && registered;
    n->decided |= registered;
    pthread_cond_broadcast(&n->changed);
    return n->ready;
}

/* Sleeps until then, or until the node changes (stops, a container starts). */
static void keeper_wait(struct node *n, int64_t ns)
{
    LOCK_GUARD(&n->lock);
    if (n->stopping || (n->ready && n->images_changed))
        return;
    if (ns)
        thread_cond_wait_until(&n->changed, &n->lock, clock_system.mono_ns(&clock_system) + ns);
    else if (!n->n_running)
        pthread_cond_wait(&n->changed, &n->lock);
}

/* When the list of images is another one: the Node's status has it, too. */
static void write_images(struct node *n, const struct ctx *ctx)
{
    CLEANUP(image_list_free) struct image_list list = {0};
    ERR(e);
    {
        LOCK_GUARD(&n->lock);
        if (!n->images_changed)
            return;
        n->images_changed = false;
    }
    if (image_store_list(images_store(n->images), &list, &e) == 0) {
        AUTOFREE struct node_image *v = xcalloc(list.n + 1, sizeof *v);
        for (size_t i = 0; i < list.n; i++)
            v[i] = (struct node_image){.names = &list.v[i].names, .digests = &list.v[i].digests, .size = list.v[i].size};
        node_write_images(n->kube, ctx, n->name, v, list.n, &e);
    }
    if (e.code)
        log_warn("writing the Node's images: %s", err_text(&e));
}

/* Containers that start wake the keeper: a thousand of them are no reason to look at every log a thousand times. When to come
 * again; 0: nobody writes. */
static int64_t look_after_logs(struct node *n, int64_t *last_mono)
{
    int64_t now = clock_system.mono_ns(&clock_system);
    if (now - *last_mono < LOG_LOOKS)
        return *last_mono + LOG_LOOKS - now;
    *last_mono = now;
    return logs_rotate(n->logs);
}

static void *keeper_main(void *arg)
{
    struct node *n = arg;
    struct ctx ctx = ctx_background();
    ctx.clock = n->clock;
    ctx.cancel = &n->cancel;
    ctx.who = n->kube->who;
    ERR(e);
    if (informer_wait_synced(n->pods, &ctx, &e) < 0)
        return NULL;
    bool ready = false;
    int64_t looked = 0;
    for (;;) {
        {
            LOCK_GUARD(&n->lock);
            if (n->stopping)
                return NULL;
        }
        if (!ready) {
            ready = try_ready(n, &ctx);
            if (ready && n->heartbeats)
                n->heartbeat = heartbeat_start(&(struct heartbeat_config){
                    .kube = n->kube, .node = n->name, .clock = n->clock, .refresh = refresh, .seen = node_seen, .self = n});
            if (ready)
                enqueue_all(n);
            else
                keeper_wait(n, READY_RETRY);
            continue;
        }
        {
            LOCK_GUARD(&n->lock);
            n->n_running = 0;
        }
        write_images(n, &ctx);
        keeper_wait(n, look_after_logs(n, &looked));
    }
}

/* ---- start
 * -----------------------------------------------------------------------------------------------------------------------------
 */

static struct node_log *log_open(void *self, const struct ctx *ctx, jval *pod, const struct kube_log_opts *opts,
                                 void (*notify)(void *arg), void *arg, struct err *err)
{
    return logs_open(((struct node *)self)->logs, ctx, pod, opts, notify, arg, err);
}

/* Fetches of images end before what unpacks them does. */
static void free_pods(struct node *n)
{
    for (struct strmap_entry *e = strmap_first(&n->records); e; e = strmap_next(e))
        pod_free(e->value);
    strmap_free(&n->records);
    images_close(n->images);
    n->images = NULL;
}

static void node_free(struct node *n)
{
    logs_free(n->logs);
    nodedb_close(n->db);
    strmap_free(&n->by_key);
    strmap_free(&n->by_cid);
    strmap_free(&n->forgotten);
    strmap_free(&n->admitted);
    strmap_free(&n->refresh);
    strmap_free(&n->live);
    machine_free(&n->machine);
    if (n->host.mem_fd >= 0)
        close(n->host.mem_fd);
    cancel_close(&n->cancel);
    pthread_mutex_destroy(&n->admitting);
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->changed);
    free(n->name);
    free(n->node_dir);
    free(n->log_dir);
    free(n->agent_path);
    free(n->gateway);
    free(n->why);
    free(n->version);
    free(n->limits);
    free(n);
}

static int check_config(const struct node_config *cfg, struct err *err)
{
    struct service_range range;
    if (service_range_parse(cfg->service_cidr, &range, err) < 0)
        return -1;
    if (str_empty(cfg->data_dir) || cfg->data_dir[0] != '/' || strpbrk(cfg->data_dir, ":,\\"))
        return err_set(err, ERR_BAD_REQUEST, "data directory \"%s\" must be an absolute path without ':', ',' and '\\'",
                       cfg->data_dir ? cfg->data_dir : "");
    if (cfg->agent_path && access(cfg->agent_path, X_OK) < 0)
        return err_errno(err, "the agent %s cannot be executed", cfg->agent_path);
    return 0;
}

static void fill_host(struct node *n, const struct node_config *cfg)
{
    n->host = (struct pod_host){
        .kube = n->kube,
        .runtime = n->runtime,
        .images = n->images,
        .db = n->db,
        .events = n->events,
        .checks = n->checks,
        .clock = n->clock,
        .node_name = n->name,
        .node_dir = n->node_dir,
        .log_dir = n->log_dir,
        .agent_path = n->agent_path,
        .host_ip = n->machine.ip,
        .gateway = n->gateway,
        .node_cpu_milli = n->machine.cpu_milli,
        .node_memory = n->machine.memory,
        .backoff_base_ns = cfg->backoff_base_ns ? cfg->backoff_base_ns : BACKOFF_BASE,
        .mem_fd = -1,
        .track = track,
        .untrack = untrack,
        .running = running,
        .admit = admit,
        .left = left,
        .asked = asked,
        .self = n,
    };
}

/* From the images: a fetch that a pod waits for is over. */
static void image_ended(void *self, const char *key)
{
    struct node *n = self;
    LOCK_GUARD(&n->lock);
    if (n->run && !n->stopping)
        workqueue_add(controller_queue(n->run), key);
}

static void images_changed(void *self)
{
    struct node *n = self;
    LOCK_GUARD(&n->lock);
    n->images_changed = true;
    pthread_cond_broadcast(&n->changed);
}

static int unpack(void *self, int fd, const char *dir, struct unpack_result *out, struct err *err)
{
    struct node *n = self;
    AUTOFREE char *said = NULL;
    return n->runtime->ops->unpack(n->runtime, fd, dir, &said, err) < 0 ? -1 : unpack_result_parse(said, out, err);
}

static int open_images(struct node *n, const struct node_config *cfg, struct err *err)
{
    KEYRING(keys);
    struct registries *r =
        images_registries(cfg->data_dir, cfg->registries_file, cfg->image_mirrors, cfg->insecure_registries, err);
    if (!r)
        return -1;
    if (cfg->docker_config && images_credentials(cfg->docker_config, &keys, err) < 0) {
        registries_free(r);
        return -1;
    }
    n->images_changed = true; /* those of an earlier life */
    n->images = images_open(&(struct images_config){.data_dir = cfg->data_dir,
                                                    .registries = r,
                                                    .keys = &keys,
                                                    .unpack = unpack,
                                                    .unpack_self = n,
                                                    .clock = n->clock,
                                                    .gc_high = cfg->image_gc_high,
                                                    .gc_low = cfg->image_gc_low,
                                                    .ended = image_ended,
                                                    .changed = images_changed,
                                                    .self = n},
                            err);
    return n->images ? 0 : -1;
}

static int open_parts(struct node *n, const struct node_config *cfg, struct err *err)
{
    AUTOFREE char *db = fs_join(n->node_dir, "node.db"), *logs = fs_join(n->log_dir, "pods"),
                  *pods = fs_join(n->node_dir, "pods");
    if (fs_mkdir_p(n->node_dir, 0700, err) < 0 || fs_mkdir_p(logs, 0755, err) < 0 || fs_mkdir_p(pods, 0711, err) < 0 ||
        cancel_init(&n->cancel, err) < 0)
        return -1;
    n->db = nodedb_open(db, err);
    if (!n->db)
        return -1;
    n->runtime = cfg->runtime ? cfg->runtime : runtime_crun_new(cfg, err);
    if (!n->runtime)
        return -1;
    n->gateway = cfg->runtime ? xstrdup("127.0.0.1") : runtime_crun_gateway(n->runtime);
    n->runtime->exited = exited;
    n->runtime->self = n;
    n->logs = logs_new(&(struct logs_config){.dir = n->log_dir,
                                             .clock = n->clock,
                                             .max_bytes = cfg->log_max_bytes ? cfg->log_max_bytes : LOG_BYTES,
                                             .max_files = cfg->log_max_files ? cfg->log_max_files : LOG_FILES,
                                             .reopen = reopen_log,
                                             .self = n});
    n->events = event_recorder_new(n->kube, "kubelet", n->name, n->clock);
    if (!cfg->runtime && open_images(n, cfg, err) < 0)
        return -1;
    n->checks = checks_new(&(struct checks_config){
        .runtime = n->runtime, .events = n->events, .clock = n->clock, .changed = pod_changed, .self = n});
    fill_host(n, cfg);
    service_range_parse(cfg->service_cidr, &n->host.service_range, NULL); /* checked before */
    return node_load(n, err);
}

static bool has_services(void *self) { return runtime_crun_has_services(((struct node *)self)->runtime); }
static bool is_ready(void *self) { return node_ready(self, NULL); }

/* Only where there is a network of pods. */
static void start_services(struct node *n, const struct node_config *cfg)
{
    if (!n->runtime->ops->services)
        return;
    ERR(e);
    AUTOFREE char *instance = runtime_crun_instance(n->runtime);
    struct service_net_config sc = {.kube = n->kube,
                                    .clock = n->clock,
                                    .runtime = n->runtime,
                                    .node_dir = n->node_dir,
                                    .instance = instance,
                                    .gateway = n->gateway,
                                    .range = n->host.service_range,
                                    .own = has_services,
                                    .kube_addr = cfg->kube_addr,
                                    .front_addr = cfg->front_addr,
                                    .ready = is_ready,
                                    .self = n};
    n->services = n->host.services = service_net_start(&sc, &e);
}

static void start_watching(struct node *n)
{
    AUTOFREE char *selector = xasprintf("spec.nodeName=%s", n->name);
    n->pods = informer_new(
        &(struct informer_config){.kube = n->kube, .res = &KUBE_PODS, .field_selector = selector, .clock = n->clock});
    n->config_maps = informer_new(&(struct informer_config){.kube = n->kube, .res = &KUBE_CONFIGMAPS, .clock = n->clock});
    n->secrets = informer_new(&(struct informer_config){.kube = n->kube, .res = &KUBE_SECRETS, .clock = n->clock});
    struct controller_source sources[] = {{.informer = n->pods},
                                          {.informer = n->config_maps, .map = node_config_map_changed},
                                          {.informer = n->secrets, .map = node_secret_changed}};
    const struct controller c = {
        .name = "node", .sources = sources, .n_sources = ARRAY_LEN(sources), .workers = WORKERS, .reconcile = node_reconcile};
    struct controller_run *run = controller_start(&c, n, n->clock, RETRY_BASE);
    {
        LOCK_GUARD(&n->lock); /* containers of an earlier life end already */
        n->run = run;
    }
    informer_start(n->pods);
    informer_start(n->config_maps);
    informer_start(n->secrets);
    n->keeper = thread_start("node-keeper", keeper_main, n);
}

struct node *node_start(const struct node_config *cfg, struct kube *kube, struct err *err)
{
    if (check_config(cfg, err) < 0)
        return NULL;
    struct node *n = xcalloc(1, sizeof *n);
    n->kube = kube;
    n->clock = cfg->clock ? cfg->clock : &clock_system;
    n->max_pods = cfg->max_pods ? cfg->max_pods : MAX_PODS;
    n->heartbeats = cfg->heartbeats;
    n->kubelet_port = cfg->kubelet_port;
    n->host.mem_fd = -1;
    n->records = STRMAP_INIT(NULL);
    n->by_key = STRMAP_INIT(NULL);
    n->by_cid = STRMAP_INIT(free);
    n->forgotten = STRMAP_INIT(free);
    n->admitted = STRMAP_INIT(NULL);
    n->refresh = STRMAP_INIT(NULL);
    n->live = STRMAP_INIT(node_live_free);
    pthread_mutex_init(&n->admitting, NULL);
    pthread_mutex_init(&n->lock, NULL);
    thread_cond_init(&n->changed);
    machine_read(&n->machine, cfg->data_dir);
    n->name = xstrdup(cfg->node_name ? cfg->node_name : n->machine.host_name);
    n->node_dir = fs_join(cfg->data_dir, "node");
    n->log_dir = fs_join(cfg->data_dir, "logs");
    n->agent_path = xstrdup(cfg->agent_path);
    n->api =
        (struct node_api){.self = n, .name = n->name, .log_open = log_open, .process_open = node_process_open, .dial = node_dial};
    if (open_parts(n, cfg, err) < 0) {
        checks_free(n->checks);
        event_recorder_free(n->events);
        free_pods(n);
        if (n->runtime && n->runtime != cfg->runtime)
            n->runtime->ops->stop(n->runtime, false);
        node_free(n);
        return NULL;
    }
    start_services(n, cfg);
    start_watching(n);
    return n;
}

/* ---- stop
 * ------------------------------------------------------------------------------------------------------------------------------
 */

void node_stop(struct node *n, enum node_stop_mode mode)
{
    {
        LOCK_GUARD(&n->lock);
        n->stopping = true;
        pthread_cond_broadcast(&n->changed);
    }
    cancel_raise(&n->cancel);
    pthread_join(n->keeper, NULL);
    heartbeat_stop(n->heartbeat);
    controller_stop(n->run);
    service_net_stop(n->services);
    informer_stop(n->pods);
    informer_stop(n->config_maps);
    informer_stop(n->secrets);
    if (mode == NODE_REMOVE && n->ready)
        node_end_pods(n, WORKERS);
    checks_free(n->checks);
    event_recorder_flush(n->events, 500);
    event_recorder_free(n->events);
    free_pods(n);
    n->runtime->ops->stop(n->runtime, mode == NODE_REMOVE);
    node_free(n);
}

/* ---- questions
 * --------------------------------------------------------------------------------------------------------------------------- */

const struct node_api *node_api(struct node *n) { return &n->api; }
char *node_service_range(const char *data_dir, const char *wanted, int *hold, struct err *err)
{
    return service_claim(data_dir, SERVICE_CLAIMS_DIR, wanted, hold, err);
}

void node_service_range_drop(int hold) { service_claim_drop(hold); }

const char *node_name(struct node *n) { return n->name; }
const char *node_gateway(struct node *n) { return n->services ? n->gateway : NULL; }

char *node_image_id(struct node *n, const char *image)
{
    CLEANUP(image_info_free) struct image_info info = {0};
    return !n->images || images_find(n->images, image, &info, NULL) < 0 ? NULL : TAKE(info.image);
}

bool node_ready(struct node *n, char **why)
{
    LOCK_GUARD(&n->lock);
    if (why)
        *why = n->ready ? NULL : xstrdup(n->why ? n->why : "the node is starting");
    return n->ready;
}

int node_wait_ready(struct node *n, const struct ctx *ctx, struct err *err)
{
    LOCK_GUARD(&n->lock);
    while (!n->decided && !n->stopping) {
        if (ctx_check(ctx, err) < 0)
            return -1;
        thread_cond_wait_until(&n->changed, &n->lock, clock_system.mono_ns(&clock_system) + 50 * NS_PER_MS);
    }
    return n->ready ? 0 : err_set(err, ERR_PRECONDITION, "%s", n->why ? n->why : "the node is stopping");
}
