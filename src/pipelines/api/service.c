/* service.c - the API as a whole: its routes, what it stands on, and the small services (spec 10). */
#include "pipelines/api/api.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/id.h"
#include "net/client.h"
#include "pipelines/api/internal.h"
#include "pipelines/api/matches.h"

/* The upstream release whose API this is: clients look at it to know what they can use. */
static const char COMPATIBLE_TAG[] = "2.17.0";
static const char COMPATIBLE_COMMIT[] = "7b70c7b95f6832772efd6fd0029a4024491a0f44";

enum { BODY_DEFAULT = 1 << 20, BODY_RUN = PACKAGE_MAX, BODY_UPLOAD = PACKAGE_MAX + (1 << 20) };

#define MAY_PIPELINES(verb)   PERM(verb, "pipelines.kubeflow.org", "pipelines")
#define MAY_EXPERIMENTS(verb) PERM(verb, "pipelines.kubeflow.org", "experiments")
#define MAY_RUNS(verb)        PERM(verb, "pipelines.kubeflow.org", "runs")
#define MAY_ARTIFACTS(verb)   PERM(verb, "pipelines.kubeflow.org", "artifacts")
#define MAY_JOBS(verb)        PERM(verb, "pipelines.kubeflow.org", "jobs")
/* Upload endpoints do not look at the method. */
#define ANY_METHOD (HTTP_GET | HTTP_POST | HTTP_PUT | HTTP_PATCH | HTTP_DELETE)

static const struct route ROUTES[] = {
    {HTTP_GET, API_BASE "/healthz", healthz_h, PERM_OPEN},
    {HTTP_GET, "/apis/v1beta1/healthz", healthz_v1_h, PERM_OPEN},
    {HTTP_GET, "/apis/v1beta1/auth", auth_v1_h, PERM("get", "kubeflow.org", "viewers")},
    {HTTP_GET, "/metrics", metrics_h, MAY_RUNS("list")},

    {HTTP_POST, API_BASE "/pipelines", pipeline_create_h, MAY_PIPELINES("create")},
    {HTTP_GET, API_BASE "/pipelines", pipeline_list_h, MAY_PIPELINES("list")},
    {HTTP_POST, API_BASE "/pipelines/create", pipeline_create_with_version_h, MAY_PIPELINES("create")},
    {HTTP_GET, API_BASE "/pipelines/names/{name}", pipeline_by_name_h, MAY_PIPELINES("get")},
    {ANY_METHOD, API_BASE "/pipelines/upload", upload_h, MAY_PIPELINES("create"), BODY_UPLOAD, .stream_body = true},
    {ANY_METHOD, API_BASE "/pipelines/upload_version", upload_version_h, MAY_PIPELINES("create"), BODY_UPLOAD,
     .stream_body = true},
    {ANY_METHOD, "/apis/v1beta1/pipelines/upload", upload_h, MAY_PIPELINES("create"), BODY_UPLOAD, .stream_body = true},
    {ANY_METHOD, "/apis/v1beta1/pipelines/upload_version", upload_version_h, MAY_PIPELINES("create"), BODY_UPLOAD,
     .stream_body = true},
    {HTTP_GET, API_BASE "/pipelines/{pipeline_id}", pipeline_get_h, MAY_PIPELINES("get")},
    {HTTP_PATCH, API_BASE "/pipelines/{pipeline_id}", pipeline_patch_h, MAY_PIPELINES("update")},
    {HTTP_DELETE, API_BASE "/pipelines/{pipeline_id}", pipeline_delete_h, MAY_PIPELINES("delete")},
    {HTTP_POST, API_BASE "/pipelines/{pipeline_id}/versions", version_create_h, MAY_PIPELINES("create")},
    {HTTP_GET, API_BASE "/pipelines/{pipeline_id}/versions", version_list_h, MAY_PIPELINES("list")},
    {HTTP_GET, API_BASE "/pipelines/{pipeline_id}/versions/{pipeline_version_id}", version_get_h, MAY_PIPELINES("get")},
    {HTTP_PATCH, API_BASE "/pipelines/{pipeline_id}/versions/{pipeline_version_id}", version_patch_h, MAY_PIPELINES("update")},
    {HTTP_DELETE, API_BASE "/pipelines/{pipeline_id}/versions/{pipeline_version_id}", version_delete_h, MAY_PIPELINES("delete")},

    {HTTP_POST, API_BASE "/experiments", experiment_create_h, MAY_EXPERIMENTS("create")},
    {HTTP_GET, API_BASE "/experiments", experiment_list_h, MAY_EXPERIMENTS("list")},
    {HTTP_GET, API_BASE "/experiments/{experiment_id}", experiment_get_h, MAY_EXPERIMENTS("get")},
    {HTTP_DELETE, API_BASE "/experiments/{experiment_id}", experiment_delete_h, MAY_EXPERIMENTS("delete")},
    {HTTP_POST, API_BASE "/experiments/{experiment_id}:archive", experiment_archive_h, MAY_EXPERIMENTS("archive")},
    {HTTP_POST, API_BASE "/experiments/{experiment_id}:unarchive", experiment_unarchive_h, MAY_EXPERIMENTS("unarchive")},

    {HTTP_POST, API_BASE "/runs", run_create_h, MAY_RUNS("create"), BODY_RUN},
    {HTTP_GET, API_BASE "/runs", run_list_h, MAY_RUNS("list")},
    {HTTP_GET, API_BASE "/runs/{run_id}", run_get_h, MAY_RUNS("get")},
    {HTTP_GET, "/api/tidemill/v1/runs/{run_id}/artifacts", run_artifacts_h, MAY_RUNS("get")},
    {HTTP_DELETE, API_BASE "/runs/{run_id}", run_delete_h, MAY_RUNS("delete")},
    {HTTP_POST, API_BASE "/runs/{run_id}:archive", run_archive_h, MAY_RUNS("archive")},
    {HTTP_POST, API_BASE "/runs/{run_id}:unarchive", run_unarchive_h, MAY_RUNS("unarchive")},
    {HTTP_POST, API_BASE "/runs/{run_id}:terminate", run_terminate_h, MAY_RUNS("terminate")},
    {HTTP_POST, API_BASE "/runs/{run_id}:retry", run_retry_h, MAY_RUNS("retry")},
    {HTTP_GET, API_BASE "/runs/{run_id}/nodes/{node_id}/log", run_log_h, MAY_RUNS("get")},
    {HTTP_GET, "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log", run_log_h, MAY_RUNS("get")},
    {HTTP_GET, API_BASE "/runs/{run_id}/nodes/{node_id}/artifacts/{artifact_name}:read", artifact_read_h,
     MAY_RUNS("readArtifact")},
    {HTTP_GET, "/apis/v1beta1/runs/{run_id}/nodes/{node_id}/artifacts/{artifact_name}:read", artifact_read_h,
     MAY_RUNS("readArtifact")},

    {HTTP_GET, API_BASE "/runs/{run_id}/tasks", tasks_list_h, MAY_RUNS("get")},
    {HTTP_GET, API_BASE "/runs/{run_id}/tasks/{task_id}", task_get_h, MAY_RUNS("get")},
    {HTTP_POST, API_BASE "/tasks:findCached", task_find_cached_h, MAY_RUNS("get")},
    {HTTP_GET, API_BASE "/runs/{run_id}/metrics", run_metrics_h, MAY_RUNS("get")},
    {HTTP_GET, API_BASE "/runs/{run_id}/spec", run_spec_h, MAY_RUNS("get")},
    {HTTP_GET, API_BASE "/runs/{run_id}:watch", run_watch_h, MAY_RUNS("get")},
    {HTTP_GET, API_BASE "/artifacts", artifacts_list_h, MAY_ARTIFACTS("list")},
    {HTTP_GET, API_BASE "/artifacts/{artifact_id}", artifact_get_h, MAY_ARTIFACTS("get")},
    {HTTP_GET, API_BASE "/artifacts/{artifact_id}:download", artifact_download_h, MAY_ARTIFACTS("get")},
    {HTTP_GET, API_BASE "/artifacts/{artifact_id}:preview", artifact_preview_h, MAY_ARTIFACTS("get")},
    {HTTP_GET, API_BASE "/artifacts/{artifact_id}:signed", artifact_signed_h, PERM_OPEN}, /* the URL is the permission */
    {HTTP_GET, API_BASE "/artifact_tasks", artifact_tasks_h, MAY_ARTIFACTS("list")},

    {HTTP_POST, API_BASE "/recurringruns", recurring_create_h, MAY_JOBS("create"), BODY_RUN},
    {HTTP_GET, API_BASE "/recurringruns", recurring_list_h, MAY_JOBS("list")},
    {HTTP_GET, API_BASE "/recurringruns/{recurring_run_id}", recurring_get_h, MAY_JOBS("get")},
    {HTTP_PATCH, API_BASE "/recurringruns/{recurring_run_id}", recurring_patch_h, MAY_JOBS("update"), BODY_RUN},
    {HTTP_DELETE, API_BASE "/recurringruns/{recurring_run_id}", recurring_delete_h, MAY_JOBS("delete")},
    {HTTP_POST, API_BASE "/recurringruns/{recurring_run_id}:enable", recurring_enable_h, MAY_JOBS("enable")},
    {HTTP_POST, API_BASE "/recurringruns/{recurring_run_id}:disable", recurring_disable_h, MAY_JOBS("disable")},
    {HTTP_GET, API_BASE "/recurringruns/{recurring_run_id}:next", recurring_next_h, MAY_JOBS("get")},
    {HTTP_POST, API_BASE "/workflows", report_refused_h, PERM("report", "pipelines.kubeflow.org", "workflows")},
    {HTTP_POST, API_BASE "/scheduledworkflows", report_refused_h, PERM("report", "pipelines.kubeflow.org", "scheduledworkflows")},
};

/* ---- who asks -------------------------------------------------------------------------------------------------------- */

static int authenticate(void *self, struct ctx *ctx, struct http_req *req, struct err *err)
{
    struct pipelines_api *api = self;
    return api->authenticate ? api->authenticate(api->auth_self, ctx, req, err) : 0;
}

static int authorize(void *self, struct ctx *ctx, struct http_req *req, struct err *err)
{
    struct pipelines_api *api = self;
    return api->authorize ? api->authorize(api->auth_self, ctx, req, err) : 0;
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */

static int make_default_job(struct db *db, void *arg, struct err *err)
{
    char id[UUID_TEXT];
    return experiment_default(db, *(int64_t *)arg, id, err);
}

static struct http_client *new_client(struct err *err)
{
    const struct http_client_config cfg = {.max_response = PACKAGE_MAX};
    return http_client_new(&cfg, err);
}

struct pipelines_api *pipelines_api_new(const struct pipelines_api_config *cfg, struct err *err)
{
    ASSERT(cfg->store && cfg->hooks.notify && cfg->hooks.terminate && cfg->hooks.retry && cfg->hooks.remove);
    struct pipelines_api *api = xcalloc(1, sizeof *api);
    *api = (struct pipelines_api){
        .store = cfg->store,
        .blobs = cfg->blobs,
        .hooks = cfg->hooks,
        .auth_self = cfg->auth_self,
        .authenticate = cfg->authenticate,
        .authorize = cfg->authorize,
        .run_namespace = xstrdup(cfg->run_namespace ? cfg->run_namespace : "kubeflow"),
        .delete_artifacts = cfg->delete_artifacts,
        .default_service_account = xstrdup(cfg->default_service_account ? cfg->default_service_account : "pipeline-runner"),
        .urls = cfg->urls,
        .url_domains = xstrdup(cfg->urls.domains),
        .scratch_dir = xstrdup(cfg->scratch_dir),
        .time_zone = xstrdup(cfg->time_zone ? cfg->time_zone : "UTC"),
        .http =
            {
                .name = "pipelines",
                .routes = ROUTES,
                .n_routes = ARRAY_LEN(ROUTES),
                .self = api,
                .max_body = BODY_DEFAULT,
                .authenticate = authenticate,
                .authorize = authorize,
                .write_error = api_write_error,
            },
    };
    api->urls.domains = api->url_domains;
    random_bytes(api->signing_key, sizeof api->signing_key);
    api->watches = watches_new(cfg->store);
    if (cfg->store->touched)
        api->run_matches = matches_new(&RUN_ROWS, cfg->store->touched, cfg->matches_from ? cfg->matches_from : MATCHES_FROM);
    struct ctx ctx = ctx_background();
    ctx.clock = cfg->store->clock;
    int64_t now = api_created_now(api);
    api->client = new_client(err);
    if (!api->client || api_write(api, &ctx, make_default_job, &now, err) < 0) {
        pipelines_api_free(api);
        return NULL;
    }
    return api;
}

void pipelines_api_free(struct pipelines_api *api)
{
    if (!api)
        return;
    if (api->client)
        http_client_free(api->client);
    watches_free(api->watches);
    matches_free(api->run_matches);
    free(api->run_namespace);
    free(api->default_service_account);
    free(api->url_domains);
    free(api->scratch_dir);
    free(api->time_zone);
    free(api);
}

const struct http_api *pipelines_api_http(struct pipelines_api *api) { return &api->http; }

int64_t api_created_now(struct pipelines_api *api)
{
    int64_t last = atomic_load(&api->last_created_ns), next;
    do {
        int64_t now = api->store->clock->wall_ns(api->store->clock);
        next = now > last ? now : last + 1;
    } while (!atomic_compare_exchange_weak(&api->last_created_ns, &last, next));
    return next;
}

int api_write(struct pipelines_api *api, const struct ctx *ctx, db_job_fn *job, void *arg, struct err *err)
{
    return db_writer_run(api->store->writer, ctx, job, arg, err);
}

int api_scratch_file(struct pipelines_api *api, struct err *err)
{
    const char *tmp = getenv("TMPDIR"), *dir = api->scratch_dir ? api->scratch_dir : str_empty(tmp) ? "/tmp" : tmp;
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); /* it never has a name that a kill could leave */
    if (fd >= 0)
        return fd;
    AUTOFREE char *path = xasprintf("%s/.tidemill-XXXXXX", dir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "making a file in %s", dir);
    unlink(path);
    return fd;
}

/* ---- small services -------------------------------------------------------------------------------------------------------- */

static void healthz(struct http_res *res, bool v1)
{
    JM_NEW(m);
    jmval *root = jm_obj(m);
    jm_set_root(m, root);
    jm_put(m, root, "commit_sha", jm_str(m, COMPATIBLE_COMMIT));
    jm_put(m, root, "tag_name", jm_str(m, COMPATIBLE_TAG));
    jm_put(m, root, "multi_user", jm_bool(m, false));
    if (!v1)
        jm_put(m, root, "pipeline_store", jm_str(m, "database"));
    out_send(res, m);
}

int healthz_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    healthz(res, false);
    return 0;
}

int healthz_v1_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    healthz(res, true);
    return 0;
}

/* A review for the viewers of a namespace; single-user, whoever came this far may. */
int auth_v1_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *ns, *resources, *verb;
    if (query_text(req, "namespace", &ns, err) < 0 || query_text(req, "resources", &resources, err) < 0 ||
        query_text(req, "verb", &verb, err) < 0)
        return -1;
    if (resources && strcmp(resources, "VIEWERS") != 0)
        return err_set(err, ERR_BAD_REQUEST, "parsing field \"resources\": \"%.80s\" is not a valid value: use VIEWERS",
                       resources);
    if (verb && strcmp(verb, "GET") != 0 && strcmp(verb, "CREATE") != 0 && strcmp(verb, "DELETE") != 0)
        return err_set(err, ERR_BAD_REQUEST, "parsing field \"verb\": \"%.80s\" is not a valid value: use GET, CREATE or DELETE",
                       verb);
    const char *missing = str_empty(ns) ? "Namespace" : !resources ? "Resources" : !verb ? "Verb" : NULL;
    if (missing) {
        err_set(err, ERR_INVALID, "%s is empty. Please specify a valid %s", missing, missing);
        return api_wrap(err, "Authorize request is not valid");
    }
    out_empty(res);
    return 0;
}

static int64_t count_rows(struct db *db, const char *sql)
{
    STMT(s, db, sql, NULL);
    return s && stmt_step(s, NULL) == 1 ? stmt_i64(s, 0) : 0;
}

int metrics_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    static const char SQL_PIPELINES[] = "SELECT count(*) FROM pipelines", SQL_RUNS[] = "SELECT count(*) FROM runs";
    static const char SQL_EXPERIMENTS[] = "SELECT count(*) FROM experiments";
    READER(r, (struct pipelines_api *)self, err);
    if (!r.db)
        return -1;
    BUF(b);
    const struct {
        const char *name, *help, *sql;
    } gauges[] = {
        {"pipeline_server_pipeline_count", "The current number of pipelines", SQL_PIPELINES},
        {"run_server_run_count", "The current number of runs", SQL_RUNS},
        {"experiment_server_run_count", "The current number of experiments", SQL_EXPERIMENTS},
    };
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++)
        buf_addf(&b, "# HELP %s %s\n# TYPE %s gauge\n%s %lld\n", gauges[i].name, gauges[i].help, gauges[i].name, gauges[i].name,
                 (long long)count_rows(r.db, gauges[i].sql));
    http_body_buf(res, "text/plain; version=0.0.4; charset=utf-8", &b);
    return 0;
}

int report_refused_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return err_set(err, ERR_FORBIDDEN, "there are no reports to this server: it runs the pipelines itself");
}
