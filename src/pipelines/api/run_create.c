/* run_create.c - POST /runs (spec 6.1): everything is checked before anything is stored, and stored in one transaction. */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/id.h"
#include "pipelines/api/internal.h"
#include "pipelines/api/proto_json.h"
#include "pipelines/api/resource.h"
#include "pipelines/api/source.h"

struct creation {
    struct run run;
    struct source source;
};
static void creation_clear(struct creation *c)
{
    run_clear(&c->run);
    source_clear(&c->source);
}

/* ---- reading the body ------------------------------------------------------------------------------------------------ */

static int read_plain_fields(struct pipelines_api *api, jval *body, struct run *r, struct err *err)
{
    const char *name = jv_str_or(jv_get(body, "display_name"), "");
    if (!*name)
        return err_set(err, ERR_INVALID, "Run name cannot be empty: give display_name");
    jval *plugins = jv_get(body, "plugins_input");
    if (rule_display_name("Run", name, err) < 0 || rule_plugins(plugins, err) < 0)
        return -1;
    if (jv_len(jv_get(body, "plugins_output")) > 0)
        return err_set(err, ERR_CONFLICT, "plugins_output is written by the server: leave it out");
    const char *id = jv_str_or(jv_get(body, "run_id"), ""), *account = jv_str_or(jv_get(body, "service_account"), "");
    char made[UUID_TEXT];
    r->run_id = xstrdup(uuid_valid(id) ? id : uuid4(made));
    r->display_name = xstrdup(name);
    r->description = xstrdup(jv_str(jv_get(body, "description")));
    r->service_account = xstrdup(*account ? account : api->default_service_account);
    r->experiment_id = xstrdup(jv_str(jv_get(body, "experiment_id")));
    r->ns = xstrdup(api->run_namespace);
    r->plugins_input = jv_len(plugins) > 0 ? jv_text(plugins, JW_COMPACT) : NULL;
    jval *parameters = jv_path(body, "runtime_config", "parameters", NULL);
    r->parameters = jv_len(parameters) > 0 ? jv_text(parameters, JW_COMPACT) : NULL;
    r->pipeline_root_given = xstrdup(jv_str(jv_path(body, "runtime_config", "pipeline_root", NULL)));
    return 0;
}

/* ---- storing ----------------------------------------------------------------------------------------------------------- */

struct insert {
    struct creation *c;
    const struct clock *clock;
};

static int insert_job(struct db *db, void *arg, struct err *err)
{
    struct insert *in = arg;
    struct run *r = &in->c->run;
    char id[UUID_TEXT], hash[65];
    if (str_empty(r->experiment_id)) {
        if (experiment_default(db, r->created_ns, id, err) < 0)
            return -1;
        free(r->experiment_id);
        r->experiment_id = xstrdup(id);
    }
    if (experiment_touch(db, r->experiment_id, r->created_ns, err) < 0)
        return -1;
    if (spec_put(db, in->c->source.package.spec, in->c->source.package.platform, hash, err) < 0)
        return -1;
    free(r->spec_hash);
    r->spec_hash = xstrdup(hash);
    if (run_insert(db, r, in->clock, err) == 0)
        return 0;
    if (err->code == ERR_EXISTS)
        err_set(err, ERR_EXISTS, "a run with the id %s exists already. Please specify a new run_id, or none", r->run_id);
    return -1;
}

static int create(struct pipelines_api *api, const struct ctx *ctx, jval *body, struct creation *c, struct err *err)
{
    if (read_plain_fields(api, body, &c->run, err) < 0 || source_read(api, body, &c->source, err) < 0)
        return -1;
    if (ir_check_parameters(c->source.package.ir, jv_path(body, "runtime_config", "parameters", NULL), err) < 0)
        return -1;
    c->run.inline_spec = c->source.inline_spec;
    c->run.pipeline_id = TAKE(c->source.pipeline_id);
    c->run.pipeline_version_id = TAKE(c->source.version_id);
    c->run.pipeline_name = xstrdup(c->source.package.ir->name);
    c->run.created_ns = c->run.scheduled_ns = api_created_now(api);
    c->run.state = RUN_PENDING;
    struct insert in = {c, api->store->clock};
    ERR(failed);
    if (api_write(api, ctx, insert_job, &in, &failed) < 0)
        return err_move(err, &failed);
    return 0;
}

int run_create_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct pipelines_api *api = self;
    JSON_REF(body) = pj_decode(&PJ_RUN, req->body, req->body_len, err);
    if (!body)
        return -1;
    CLEANUP(creation_clear) struct creation c = {0};
    if (create(api, ctx, json_root(body), &c, err) < 0)
        return api_wrap(err, "Failed to create a new run");
    FAULT("pipelines.run.stored");
    api->hooks.notify(api->hooks.self, c.run.run_id);
    return resource_send(api, res, &RUNS, &c.run, VIEW_LIST, err);
}
