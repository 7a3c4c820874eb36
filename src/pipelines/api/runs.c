/* runs.c - reading runs, and what a person may do to one (spec 6.2 - 6.6). */
#include <stdlib.h>
#include <string.h>

#include "pipelines/api/listing.h"

int run_get_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    READER(r, (struct pipelines_api *)self, err);
    RUN(run);
    JM_NEW(m);
    jmval *root = NULL;
    if (r.db && run_get(r.db, http_param(req, "run_id"), &run, err) == 0)
        root = run_out(r.db, m, &run, true, err);
    if (!root)
        return api_wrap(err, "Failed to get a run");
    jm_set_root(m, root);
    out_send(res, m);
    return 0;
}

/* ---- list --------------------------------------------------------------------------------------------------------- */

struct items {
    struct jm *m;
    jmval *list;
    struct db *db;
};

static int add_item(void *self, struct stmt *s, struct err *err)
{
    struct items *it = self;
    RUN(run);
    run_row(s, &run);
    jmval *o = run_out(it->db, it->m, &run, false, err);
    if (!o)
        return -1;
    jm_push(it->list, o);
    return 0;
}

static int list(struct pipelines_api *api, const char *experiment, struct list_query *q, struct jm *m, struct err *err)
{
    READER(r, api, err);
    EXPERIMENT(e);
    struct items it = {m, jm_arr(m), r.db};
    bool scoped = !str_empty(experiment);
    if (!r.db || (scoped && experiment_get(r.db, experiment, &e, err) < 0) ||
        list_run(q, r.db, scoped ? "r.experiment_id = ?" : NULL, &experiment, scoped, add_item, &it, err) < 0)
        return -1;
    jm_set_root(m, jm_obj(m));
    list_finish(q, m, jm_root(m), "runs", it.list);
    return 0;
}

int run_list_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    LIST_QUERY(q);
    const char *experiment;
    if (query_text(req, "experiment_id", &experiment, err) < 0)
        return -1;
    if (list_parse(&RUN_LIST, req, &q, err) < 0)
        return api_wrap(err, "Failed to create list options");
    JM_NEW(m);
    if (list(self, experiment, &q, m, err) < 0)
        return api_wrap(err, "Failed to list runs");
    out_send(res, m);
    return 0;
}

/* ---- archive ------------------------------------------------------------------------------------------------------ */

static int archive_job(struct db *db, void *arg, struct err *err) { return run_set_archived(db, arg, true, err); }

static int unarchive_job(struct db *db, void *arg, struct err *err)
{
    RUN(run);
    EXPERIMENT(e);
    ERR(gone); /* a run outlives its experiment */
    if (run_get(db, arg, &run, err) < 0)
        return -1;
    if (experiment_get(db, run.experiment_id ? run.experiment_id : "", &e, &gone) < 0 && gone.code != ERR_NOT_FOUND)
        return err_move(err, &gone);
    if (e.archived)
        return err_set(err, ERR_PRECONDITION, "Failed to unarchive run %s as experiment %s must be un-archived first", run.run_id,
                       run.experiment_id);
    return run_set_archived(db, arg, false, err);
}

static int change(struct pipelines_api *api, struct ctx *ctx, struct http_req *req, struct http_res *res, db_job_fn *job,
                  const char *what, struct err *err)
{
    AUTOFREE char *id = xstrdup(http_param(req, "run_id"));
    if (api_write(api, ctx, job, id, err) < 0)
        return api_wrap(err, "Failed to %s a run", what);
    out_empty(res);
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
    if (api->hooks.remove(api->hooks.self, ctx, http_param(req, "run_id"), err) < 0)
        return api_wrap(err, "Failed to delete a run");
    out_empty(res);
    return 0;
}
