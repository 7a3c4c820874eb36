/* runs.c - reading runs, and what a person may do to one (spec 6.2 - 6.6). */
#include <stdlib.h>
#include <string.h>

#include "pipelines/api/resource.h"

/* view=FULL: with the tasks in their own form (spec 8). */
static int view_full(const struct http_req *req, bool *full, struct err *err)
{
    const char *view;
    if (query_text(req, "view", &view, err) < 0)
        return -1;
    *full = str_eq(view, "FULL") || str_eq(view, "2");
    return 0;
}

int run_get_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    bool full;
    if (view_full(req, &full, err) < 0)
        return -1;
    if (resource_get(self, res, &RUNS, http_param(req, "run_id"), full ? VIEW_FULL : VIEW_ONE, err) < 0)
        return api_wrap(err, "Failed to get a run");
    return 0;
}

/* A scope that names no experiment is an error, not an empty list. */
int scope_experiment(struct pipelines_api *api, const struct http_req *req, const char **id, struct err *err)
{
    if (query_text(req, "experiment_id", id, err) < 0)
        return -1;
    if (str_empty(*id)) {
        *id = NULL;
        return 0;
    }
    READER(r, api, err);
    EXPERIMENT(e);
    return r.db ? experiment_get(r.db, *id, &e, err) : -1;
}

int run_list_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id;
    bool full;
    if (view_full(req, &full, err) < 0)
        return -1;
    if (scope_experiment(self, req, &id, err) < 0)
        return api_wrap(err, "Failed to list runs");
    return resource_list(self, req, res, &RUNS, id ? "r.experiment_id = ?" : NULL, &id, id != NULL, full ? VIEW_ALL : VIEW_LIST,
                         err);
}

/* ---- archive ------------------------------------------------------------------------------------------------------ */

static int archive_job(struct db *db, void *arg, struct err *err)
{
    const struct change *c = arg;
    return run_set_archived(db, c->id, true, c->now_ns, err);
}

static int unarchive_job(struct db *db, void *arg, struct err *err)
{
    const struct change *c = arg;
    RUN(run);
    EXPERIMENT(e);
    ERR(gone); /* a run outlives its experiment */
    if (run_get(db, c->id, &run, err) < 0)
        return -1;
    if (experiment_get(db, run.experiment_id ? run.experiment_id : "", &e, &gone) < 0 && gone.code != ERR_NOT_FOUND)
        return err_move(err, &gone);
    if (e.archived)
        return err_set(err, ERR_PRECONDITION, "Failed to unarchive run %s as experiment %s must be un-archived first", run.run_id,
                       run.experiment_id);
    return run_set_archived(db, c->id, false, 0, err);
}

static int change(struct pipelines_api *api, struct ctx *ctx, struct http_req *req, struct http_res *res, db_job_fn *job,
                  const char *what, struct err *err)
{
    if (resource_change(api, ctx, res, job, http_param(req, "run_id"), err) < 0)
        return api_wrap(err, "Failed to %s a run", what);
    return 0;
}

int run_archive_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return change(self, ctx, req, res, archive_job, "archive", err);
}

int run_unarchive_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return change(self, ctx, req, res, unarchive_job, "unarchive", err);
}

/* ---- what the engine does ------------------------------------------------------------------------------------------- */

int run_terminate_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct pipelines_api *api = self;
    if (api->hooks.terminate(api->hooks.self, ctx, http_param(req, "run_id"), ctx->who ? ctx->who->user : "", err) < 0)
        return api_wrap(err, "Failed to terminate a run");
    out_empty(res);
    return 0;
}

int run_retry_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct pipelines_api *api = self;
    if (api->hooks.retry(api->hooks.self, ctx, http_param(req, "run_id"), err) < 0)
        return api_wrap(err, "Failed to retry a run");
    out_empty(res);
    return 0;
}

int run_delete_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct pipelines_api *api = self;
    bool said = http_query(req, "delete_artifacts");
    bool artifacts = said ? http_query_bool(req, "delete_artifacts") : api->delete_artifacts;
    if (api->hooks.remove(api->hooks.self, ctx, http_param(req, "run_id"), artifacts, err) < 0)
        return api_wrap(err, "Failed to delete a run");
    out_empty(res);
    return 0;
}
