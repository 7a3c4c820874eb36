/* experiments.c - /experiments (spec 5). */
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "pipelines/api/proto_json.h"
#include "pipelines/api/resource.h"

const struct resource EXPERIMENTS = {
    .table = &EXPERIMENT_ROWS,
    .list_key = "experiments",
    .bad_options = "Failed to create list options",
    .list_failed = "Failed to list experiments",
};

static int insert_job(struct db *db, void *arg, struct err *err)
{
    const struct experiment *e = arg;
    if (experiment_insert(db, e, err) == 0)
        return 0;
    if (err->code == ERR_EXISTS)
        err_set(err, ERR_EXISTS, "Failed to create a new experiment. The name %s already exists. Please specify a new name",
                e->name);
    return -1;
}

static int create(struct pipelines_api *api, const struct ctx *ctx, jval *body, struct experiment *e, struct err *err)
{
    const char *name = jv_str_or(jv_get(body, "display_name"), "");
    if (!*name)
        return err_set(err, ERR_INVALID, "Experiment must have a non-empty name: give display_name");
    if (rule_max_bytes("Experiment.Name", name, EXPERIMENT_NAME_MAX, err) < 0 ||
        rule_max_bytes("Experiment.Namespace", jv_str(jv_get(body, "namespace")), NAMESPACE_MAX, err) < 0)
        return -1;
    char id[UUID_TEXT];
    e->experiment_id = xstrdup(uuid4(id));
    e->name = xstrdup(name);
    e->description = xstrdup(jv_str_or(jv_get(body, "description"), ""));
    e->created_ns = api_created_now(api);
    return api_write(api, ctx, insert_job, e, err);
}

int experiment_create_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    JSON_REF(body) = pj_decode(&PJ_EXPERIMENT, req->body, req->body_len, err);
    if (!body)
        return -1;
    EXPERIMENT(e);
    ERR(failed);
    if (create(self, ctx, json_root(body), &e, &failed) < 0) {
        api_wrap(&failed, "Failed to create a experiment");
        return err_move(err, &failed);
    }
    return resource_send(self, res, &EXPERIMENTS, &e, VIEW_ONE, err);
}

int experiment_get_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    if (resource_get(self, res, &EXPERIMENTS, http_param(req, "experiment_id"), VIEW_ONE, err) < 0)
        return api_wrap(err, "Failed to fetch experiment");
    return 0;
}

int experiment_list_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return resource_list(self, req, res, &EXPERIMENTS, NULL, NULL, 0, VIEW_LIST, err);
}

static int archive_job(struct db *db, void *arg, struct err *err)
{
    const struct change *c = arg;
    return experiment_set_archived(db, c->id, true, c->now_ns, err);
}
static int unarchive_job(struct db *db, void *arg, struct err *err)
{
    const struct change *c = arg;
    return experiment_set_archived(db, c->id, false, c->now_ns, err);
}

static int delete_job(struct db *db, void *arg, struct err *err)
{
    const struct change *c = arg;
    EXPERIMENT(e);
    if (experiment_get(db, c->id, &e, err) < 0)
        return -1;
    if (str_eq(e.name, DEFAULT_EXPERIMENT_NAME) && str_empty(e.ns))
        return err_set(err, ERR_CONFLICT, "The default experiment cannot be deleted: archive it instead");
    return experiment_delete(db, c->id, err);
}

static int change(struct pipelines_api *api, struct ctx *ctx, struct http_req *req, struct http_res *res, db_job_fn *job,
                  const char *what, struct err *err)
{
    const char *id = http_param(req, "experiment_id");
    if (resource_change(api, ctx, res, job, id, err) < 0)
        return api_wrap(err, "Failed to %s experiment %s", what, id);
    return 0;
}

int experiment_archive_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return change(self, ctx, req, res, archive_job, "archive", err);
}

int experiment_unarchive_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return change(self, ctx, req, res, unarchive_job, "unarchive", err);
}

int experiment_delete_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return change(self, ctx, req, res, delete_job, "delete", err);
}
