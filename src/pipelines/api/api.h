/* api.h - the pipelines REST service, v2beta1: pipelines, versions, uploads, experiments, runs, recurring
 * runs.
 *
 *     struct pipelines_api *api = pipelines_api_new(&cfg, err);
 *     mounts[0] = (struct mount){.prefix = "/", .api = pipelines_api_http(api)};
 *     mounts[1] = (struct mount){.prefix = "/pipeline", .strip = true, .api = pipelines_api_http(api)};
 *     ...
 *     pipelines_api_free(api);                    // after the server was stopped
 *
 * Stateless between requests but for the parts of its configuration; handlers run on any worker thread. Everything is
 * single-user: the namespace that clients send is accepted and ignored, as upstream does. Each route carries the permission that
 * it needs; who asks and whether they may is asked of the functions in the configuration. Errors are google.rpc.Status objects.
 * Visualizations and reports are refused. Source: pipelines-api spec
 * 2-6, 8-10, 17. */
#ifndef TM_PIPELINES_API_API_H
#define TM_PIPELINES_API_API_H

#include "data/blob.h"
#include "net/http.h"
#include "pipelines/store/store.h"

/* What the API asks of whoever runs the runs. Errors as the functions of engine.h with these names. */
struct pipelines_hooks {
    void *self;
    void (*notify)(void *self, const char *run_id);                       /* a run was inserted */
    void (*recurring_changed)(void *self, const char *recurring_run_id);  /* made, edited, enabled, deleted; may be NULL */
    void (*catalog_changed)(void *self, bool is_version, const char *id); /* a pipeline or a version likewise; may be NULL */
    int (*terminate)(void *self, const struct ctx *ctx, const char *run_id, const char *user, struct err *err);
    int (*retry)(void *self, const struct ctx *ctx, const char *run_id, struct err *err);
    int (*remove)(void *self, const struct ctx *ctx, const char *run_id, bool artifacts, struct err *err);
    /* Opens the object store in which an artifact of this run lies; the API frees it. *out NULL without an error: it is the
     * embedded one. NULL: only that one is read. */
    int (*open_store)(void *self, const struct ctx *ctx, const struct run *run, const char *uri, struct blob_store **out,
                      struct err *err);
    /* Appends the log of a pod's container; NULL: logs of pods are not served, stored ones are. tail_lines < 0: all. */
    int (*log)(void *self, const struct ctx *ctx, const char *ns, const char *pod, const char *container, int64_t tail_lines,
               struct buf *out, struct err *err);
};

/* Which addresses a pipeline may be fetched from (versions created by URL). */
struct pipelines_url_rules {
    bool open;           /* no rules at all: any scheme http(s), host, port. For tests and closed networks */
    bool allow_http;     /* http://host (port 80) beside https://host (port 443) */
    const char *domains; /* more hosts than the built-in four, comma-separated, "*.example.com" allowed; may be NULL */
    int64_t timeout_s;   /* 0: 30 */
};

struct pipelines_api_config {
    const struct store *store;    /* must outlive the API; so must what the hooks point to */
    struct blob_store *blobs;     /* the embedded artifact store (minio://...), from which artifacts are read; may be NULL */
    struct pipelines_hooks hooks; /* all but log are needed */
    /* As in struct http_api, with auth_self as self. NULL: nobody is asked for (tests). */
    void *auth_self;
    int (*authenticate)(void *self, struct ctx *ctx, struct http_req *req, struct err *err);
    int (*authorize)(void *self, struct ctx *ctx, struct http_req *req, struct err *err);
    const char *run_namespace;           /* where the pods of runs go; NULL: "kubeflow" */
    const char *default_service_account; /* NULL: "pipeline-runner" */
    struct pipelines_url_rules urls;
    bool delete_artifacts;   /* what DELETE of a run does when it does not say (delete_artifacts) */
    const char *time_zone;   /* of cron expressions that name none; NULL: UTC */
    const char *scratch_dir; /* for bytes on their way; NULL: TMPDIR, else /tmp */
    int64_t matches_from;    /* what filters choose is kept from so many runs on (matches.h); 0: MATCHES_FROM */
};

struct pipelines_api;
/* Makes the default experiment when there is none. The config's strings are copied. */
struct pipelines_api *pipelines_api_new(const struct pipelines_api_config *cfg, struct err *err);
void pipelines_api_free(struct pipelines_api *api);
/* For the mirror of rows in Kubernetes: makes a recurring run with this id, or edits it, as POST and PATCH with this body would.
 * name, ns: of its object. */
int pipelines_recurring_apply(struct pipelines_api *api, const struct ctx *ctx, const char *id, const char *name, const char *ns,
                              const char *body, struct err *err);
/* Missing is fine. */
int pipelines_recurring_delete(struct pipelines_api *api, const struct ctx *ctx, const char *id, struct err *err);
/* The same for pipelines and versions, from the spec of their objects. Of what is there already only display name and tags are
 * changed; a version whose pipeline is not there is ERR_NOT_FOUND. A pipeline takes its versions with it. */
int pipelines_pipeline_apply(struct pipelines_api *api, const struct ctx *ctx, const char *id, const char *name, jval *spec,
                             struct err *err);
int pipelines_version_apply(struct pipelines_api *api, const struct ctx *ctx, const char *id, const char *name, jval *spec,
                            struct err *err);
/* What an admission webhook would say of a PipelineVersion's spec. old: NULL when it is made. ERR_BAD_REQUEST in upstream's
 * words: the pipeline is none, or it was changed. pipeline_there: whether there is a Pipeline object of that name; rows are
 * looked up here. */
int pipelines_version_check(struct pipelines_api *api, jval *old, jval *now, bool pipeline_there, struct err *err);
int pipelines_pipeline_delete(struct pipelines_api *api, const struct ctx *ctx, const char *id, struct err *err);
int pipelines_version_delete(struct pipelines_api *api, const struct ctx *ctx, const char *id, struct err *err);
const char *pipelines_run_namespace(const struct pipelines_api *api); /* where their objects are */
const char *pipelines_time_zone(const struct pipelines_api *api);     /* of cron expressions that name none */
/* Its routes, for a mount. Lives as long as the API does. */
const struct http_api *pipelines_api_http(struct pipelines_api *api);

#endif
