/* pipelines_part.c - see pipelines_part.h. */
#include "cli/pipelines_part.h"

#include <stdlib.h>

#include "base/fs.h"
#include "base/timefmt.h"
#include "metadata/schema.h"
#include "pipelines/store/packed.h"

enum { READERS = 8, LOG_MAX = 64 << 20 };

static struct engine *engine_of(void *self) { return ((struct pipelines_part *)self)->engine; }

/* The API answers before the engine runs, and a little longer. */
static int no_engine(struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE,
                   "the pipelines engine does not run here now: try again, or ask the process that holds the lease");
}

static int hook_terminate(void *self, const struct ctx *ctx, const char *run_id, const char *user, struct err *err)
{
    struct engine *e = engine_of(self);
    return e ? engine_terminate(e, ctx, run_id, user, err) : no_engine(err);
}
static int hook_retry(void *self, const struct ctx *ctx, const char *run_id, struct err *err)
{
    struct engine *e = engine_of(self);
    return e ? engine_retry(e, ctx, run_id, err) : no_engine(err);
}
static int hook_remove(void *self, const struct ctx *ctx, const char *run_id, bool artifacts, struct err *err)
{
    struct engine *e = engine_of(self);
    return e ? engine_delete(e, ctx, run_id, artifacts, err) : no_engine(err);
}

static int remove_old(void *self, const struct ctx *ctx, const char *run_id, struct err *err)
{
    return hook_remove(self, ctx, run_id, ((struct pipelines_part *)self)->delete_artifacts, err);
}
static void hook_notify(void *self, const char *run_id) { engine_notify(engine_of(self), run_id); }
static void hook_recurring(void *self, const char *id)
{
    struct pipelines_part *p = self;
    schedule_notify(p->schedule, id);
    mirror_notify(p->mirror, MIRROR_RECURRING_RUN, id);
}
static void hook_moved(void *self, const char *id)
{
    mirror_notify(((struct pipelines_part *)self)->mirror, MIRROR_RECURRING_RUN, id);
}
static void hook_catalog(void *self, bool is_version, const char *id)
{
    mirror_notify(((struct pipelines_part *)self)->mirror, is_version ? MIRROR_VERSION : MIRROR_PIPELINE, id);
}
static int hook_log(void *self, const struct ctx *ctx, const char *ns, const char *pod, const char *container, int64_t tail_lines,
                    struct buf *out, struct err *err)
{
    struct pipelines_part *p = self;
    if (!p->kube)
        return no_engine(err);
    struct kube_log_opts lo = {.container = container, .tail_lines = tail_lines};
    return kube_logs(p->kube, ctx, ns, pod, &lo, LOG_MAX, out, err);
}

static int hook_open_store(void *self, const struct ctx *ctx, const struct run *run, const char *uri, struct blob_store **out,
                           struct err *err)
{
    struct engine *e = engine_of(self);
    return e ? engine_open_store(e, ctx, run, uri, out, err) : no_engine(err);
}

static int open_store(struct pipelines_part *p, const char *data_dir, const char *artifacts_dir, struct err *err)
{
    AUTOFREE char *path = fs_join(data_dir, "tidemill.db");
    struct db *db = db_open(path, tidemill_migrations, n_tidemill_migrations, err);
    if (!db)
        return -1;
    struct db_touched *touched = db_touched_new("runs");
    db_watch_touched(db, touched);
    p->store = (struct store){.touched = touched,
                              .writer = db_writer_new(db, "tidemill-db"),
                              .readers = db_readers_new(path, READERS),
                              .clock = &clock_system,
                              .changes = changes_new()};
    p->store.ids = md_ids_new(p->store.writer);
    p->blobs = blob_store_dir(artifacts_dir, err);
    return p->blobs ? 0 : -1;
}

/* Of cron expressions that name none, as upstream's scheduler has it: empty is the machine's own. */
static const char *time_zone(void)
{
    const char *zone = getenv("CRON_SCHEDULE_TIMEZONE");
    return !zone ? "UTC" : *zone ? zone : "Local";
}

/* As whom steps run when nobody says it; NULL: as usual. */
static const char *default_account(void)
{
    const char *account = getenv("DEFAULTPIPELINERUNNERSERVICEACCOUNT");
    return str_empty(account) ? NULL : account;
}

/* From which addresses pipelines are fetched, in upstream's names. */
static int url_rules(struct pipelines_url_rules *r, struct err *err)
{
    const char *timeout = getenv("PIPELINE_URL_TIMEOUT");
    int64_t ns = 0;
    r->open = str_eq(getenv("PIPELINE_URL_VALIDATION_ENABLED"), "false");
    r->allow_http = str_eq(getenv("PIPELINE_URL_ALLOW_HTTP"), "true");
    r->domains = getenv("PIPELINE_URL_ALLOWED_DOMAINS");
    if (!str_empty(timeout) && (!duration_parse(timeout, &ns) || ns < NS_PER_S))
        return err_set(err, ERR_INVALID, "PIPELINE_URL_TIMEOUT=%s: give a duration such as 30s", timeout);
    r->timeout_s = ns / NS_PER_S;
    return 0;
}

/* Whether the artifacts of a run that is deleted go with it, when nobody says it. */
static int delete_default(bool *artifacts, struct err *err)
{
    const char *text = getenv("DELETE_ARTIFACTS");
    *artifacts = str_eq(text, "true");
    if (str_empty(text) || *artifacts || str_eq(text, "false"))
        return 0;
    return err_set(err, ERR_INVALID, "DELETE_ARTIFACTS=%s: give true or false", text);
}

int pipelines_part_open(struct pipelines_part *p, const char *data_dir, const char *artifacts_dir, struct gateway *g,
                        struct err *err)
{
    if (open_store(p, data_dir, artifacts_dir, err) < 0)
        return -1;
    struct pipelines_api_config cfg = {.store = &p->store,
                                       .blobs = p->blobs,
                                       .hooks = {.self = p,
                                                 .notify = hook_notify,
                                                 .recurring_changed = hook_recurring,
                                                 .catalog_changed = hook_catalog,
                                                 .terminate = hook_terminate,
                                                 .retry = hook_retry,
                                                 .remove = hook_remove,
                                                 .log = hook_log,
                                                 .open_store = hook_open_store},
                                       .auth_self = g,
                                       .authenticate = gateway_authenticate,
                                       .authorize = gateway_authorize,
                                       .run_namespace = "kubeflow",
                                       .default_service_account = default_account(),
                                       .time_zone = time_zone(),
                                       .scratch_dir = data_dir};
    if (url_rules(&cfg.urls, err) < 0 || delete_default(&p->delete_artifacts, err) < 0)
        return -1;
    cfg.delete_artifacts = p->delete_artifacts;
    p->api = pipelines_api_new(&cfg, err);
    return p->api ? 0 : -1;
}

/* How many pods of runs that are over stay, and how many seconds: the second name is upstream's. 0: none do. */
static int pod_limits(struct engine_config *ec, struct err *err)
{
    const char *many = getenv("FINISHED_PODS_MAX"), *ttl = getenv("TTL_SECONDS_AFTER_WORKFLOW_FINISH");
    int64_t n = 0, s = 0;
    if (!str_empty(many) && (!str_to_i64(many, &n) || n < 0 || n > INT32_MAX))
        return err_set(err, ERR_INVALID, "FINISHED_PODS_MAX=%s: give a number of pods", many);
    if (!str_empty(ttl) && (!str_to_i64(ttl, &s) || s < 0 || s > INT32_MAX))
        return err_set(err, ERR_INVALID, "TTL_SECONDS_AFTER_WORKFLOW_FINISH=%s: give a number of seconds", ttl);
    ec->finished_pods = str_empty(many) ? 0 : n > 0 ? (int)n : -1;
    ec->finished_pods_s = str_empty(ttl) ? 0 : s > 0 ? s : -1;
    return 0;
}

/* How long a registry may be out of order before a step that waits for its image fails. */
static int image_patience(struct engine_config *ec, struct err *err)
{
    const char *text = getenv("IMAGE_PULL_PATIENCE_SECONDS");
    if (!str_empty(text) &&
        (!str_to_i64(text, &ec->image_patience_s) || ec->image_patience_s < 1 || ec->image_patience_s > INT32_MAX))
        return err_set(err, ERR_INVALID, "IMAGE_PULL_PATIENCE_SECONDS=%s: give a number of seconds", text);
    return 0;
}

int pipelines_part_run(struct pipelines_part *p, const struct pipelines_run_config *cfg, struct err *err)
{
    p->kube = cfg->kube;
    struct engine_config ec = {.store = &p->store,
                               .blobs = cfg->apart ? NULL : p->blobs,
                               .apart = cfg->apart,
                               .clock = &clock_system,
                               .data_dir = cfg->shared_dir,
                               .kube = cfg->kube,
                               .agent_path = cfg->agent_path,
                               .agent_image = cfg->agent_image,
                               .claim = cfg->claim,
                               .default_service_account = default_account(),
                               .image_id = cfg->image_id,
                               .image_self = cfg->image_self,
                               .paused = cfg->paused,
                               .no_logs = str_eq(getenv("PUBLISH_LOGS"), "false"), /* as upstream's server is told */
                               .base_delay_ns = cfg->base_delay_ns};
    if (pod_limits(&ec, err) < 0 || image_patience(&ec, err) < 0)
        return -1;
    p->engine = engine_start(&ec, err);
    const struct schedule_config times = {.store = &p->store,
                                          .time_zone = time_zone(),
                                          .default_service_account = default_account(),
                                          .self = p,
                                          .started = hook_notify,
                                          .moved = hook_moved,
                                          .base_delay_ns = cfg->base_delay_ns};
    const struct mirror_config objects = {
        .kube = cfg->kube, .api = p->api, .store = &p->store, .base_delay_ns = cfg->base_delay_ns};
    struct retention_config old = {.store = &p->store, .self = p, .remove = remove_old};
    if (!p->engine || retention_from_env(&old, err) < 0 || !(p->mirror = mirror_start(&objects, err)) ||
        !(p->schedule = schedule_start(&times, err)))
        return -1;
    p->retention = retention_start(&old);
    p->packer = packer_start(&p->store, 0);
    return 0;
}

void pipelines_part_halt(struct pipelines_part *p)
{
    packer_stop(TAKE(p->packer));
    retention_stop(TAKE(p->retention));
    schedule_halt(p->schedule);
    mirror_halt(p->mirror);
    if (p->engine)
        engine_stop(p->engine);
    p->engine = NULL;
}

void pipelines_part_close(struct pipelines_part *p)
{
    pipelines_part_halt(p);
    mirror_stop(p->mirror);
    schedule_stop(p->schedule); /* the API may have told it things until now */
    if (p->api)
        pipelines_api_free(p->api);
    if (p->blobs)
        blob_store_free(p->blobs);
    md_ids_free(p->store.ids);
    if (p->store.readers)
        db_readers_free(p->store.readers);
    if (p->store.writer)
        db_writer_stop(p->store.writer);
    db_touched_free(p->store.touched);
    changes_free(p->store.changes);
    *p = (struct pipelines_part){0};
}

const char *const pipelines_hosts[] = {"ml-pipeline", "ml-pipeline.kubeflow", "ml-pipeline.kubeflow.svc",
                                       "ml-pipeline.kubeflow.svc.cluster.local", NULL};

void pipelines_part_mounts(const struct pipelines_part *p, struct gateway *g, struct mount *mounts)
{
    const struct http_api *api = pipelines_api_http(p->api);
    const struct mount all[PIPELINES_MOUNTS] = {{.prefix = "/", .api = gateway_http(g)},
                                                {.prefix = "/apis", .api = api},
                                                {.prefix = "/metrics", .api = api},
                                                {.prefix = "/api/tidemill/v1/runs", .api = api},
                                                {.prefix = "/pipeline", .strip = true, .api = api}};
    memcpy(mounts, all, sizeof all);
}
