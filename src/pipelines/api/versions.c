/* versions.c - /pipelines/{id}/versions (spec 4.2). */
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "pipelines/api/proto_json.h"
#include "pipelines/api/resource.h"

/* A row whose spec cannot be read is returned with an error instead of failing a whole list. */
static int version_more(struct db *db, struct jm *m, jmval *o, const void *row, int view, struct err *err)
{
    const struct pipeline_version *v = row;
    if (!str_empty(v->package_url))
        jm_put(m, jm_obj_at(m, o, "package_url"), "pipeline_url", jm_str(m, v->package_url));
    ERR(e);
    if (package_out(db, v->spec_hash, m, o, &e) < 0) {
        jmval *problem = jm_obj_at(m, o, "error");
        jm_put(m, problem, "code", jm_i64(m, 13));
        jm_put(m, problem, "message", jm_str(m, err_text(&e)));
    }
    return 0;
}

const struct resource VERSIONS = {
    .table = &VERSION_ROWS,
    .list_key = "pipeline_versions",
    .bad_options = "Failed to list pipeline versions due to invalid list options",
    .list_failed = "Failed to list pipeline versions",
    .more = version_more,
};

/* ---- creating ----------------------------------------------------------------------------------------------------- */

static int read_body(jval *body, struct pipeline_version *v, struct err *err)
{
    const char *name = jv_str_or(jv_get(body, "name"), ""), *shown = jv_str_or(jv_get(body, "display_name"), "");
    v->name = xstrdup(*name ? name : shown);
    v->display_name = xstrdup(*shown ? shown : name);
    v->description = xstrdup(jv_str_or(jv_get(body, "description"), ""));
    v->code_source_url = xstrdup(jv_str_or(jv_get(body, "code_source_url"), ""));
    v->package_url = xstrdup(jv_str_or(jv_path(body, "package_url", "pipeline_url", NULL), ""));
    if (!*v->name)
        return err_set(err, ERR_INVALID, "name is required");
    if (rule_max_bytes("PipelineVersion.Name", v->name, VERSION_NAME_MAX, err) < 0 ||
        rule_display_name("PipelineVersion", v->display_name, err) < 0)
        return -1;
    return rule_tags(jv_get(body, "tags"), &v->tags, err);
}

static int parent_exists(struct pipelines_api *api, const char *id, struct err *err)
{
    READER(r, api, err);
    PIPELINE(p);
    return r.db ? pipeline_get(r.db, id, &p, err) : -1;
}

static int create_version(struct pipelines_api *api, const struct ctx *ctx, jval *body, struct pipeline_version *v,
                          struct err *err)
{
    BUF(raw);
    BUF(text);
    AUTOFREE char *file_name = NULL;
    PACKAGE(package);
    if (read_body(body, v, err) < 0 || parent_exists(api, v->pipeline_id, err) < 0)
        return -1;
    if (package_fetch(api, ctx, v->package_url, &raw, &file_name, err) < 0 ||
        package_unpack(file_name, buf_str(&raw), raw.len, &text, err) < 0 ||
        package_from_text(buf_str(&text), text.len, &package, err) < 0)
        return -1;
    char id[UUID_TEXT];
    v->version_id = xstrdup(uuid4(id));
    v->created_ns = api_created_now(api);
    struct catalog_job job = {
        .version = v,
        .package = &package,
        .source = &text,
        .version_taken = "Failed to create a new pipeline version. The name %s already exist. Please specify a new name",
    };
    return catalog_store(api, ctx, &job, err);
}

int version_create_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    JSON_REF(body) = pj_decode(&PJ_PIPELINE_VERSION, req->body, req->body_len, err);
    if (!body)
        return -1;
    PIPELINE_VERSION(v);
    v.pipeline_id = xstrdup(http_param(req, "pipeline_id"));
    if (create_version(self, ctx, json_root(body), &v, err) < 0)
        return api_wrap(err, "Failed to create a pipeline version. Check error stack");
    return resource_send(self, res, &VERSIONS, &v, VIEW_ONE, err);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

/* Only the version's id is looked at, here and below. */
int version_get_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "pipeline_version_id");
    if (resource_get(self, res, &VERSIONS, id, VIEW_ONE, err) < 0)
        return api_wrap(err, "Failed to get a pipeline version %s", id);
    return 0;
}

int version_list_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "pipeline_id");
    if (parent_exists(self, id, err) < 0)
        return api_wrap(err, "Failed to list pipeline versions with pipeline id %s", id);
    return resource_list(self, req, res, &VERSIONS, "v.pipeline_id = ?", &id, 1, VIEW_LIST, err);
}

/* ---- changing ----------------------------------------------------------------------------------------------------- */

struct edit {
    const char *id, *display_name, *tags;
    struct pipeline_version *out;
};

static int patch_job(struct db *db, void *arg, struct err *err)
{
    const struct edit *c = arg;
    return version_update(db, c->id, c->display_name, c->tags, err) < 0 ? -1 : version_get(db, c->id, c->out, err);
}

int version_patch_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "pipeline_version_id");
    JSON_REF(body) = pj_decode(&PJ_PIPELINE_VERSION, req->body, req->body_len, err);
    if (!body)
        return -1;
    PIPELINE_VERSION(v);
    AUTOFREE char *tags = NULL;
    const char *shown = jv_str_or(jv_get(json_root(body), "display_name"), "");
    if (rule_display_name("PipelineVersion", shown, err) < 0 || patch_tags(json_root(body), &tags, err) < 0)
        return api_wrap(err, "Failed to update pipeline version %s. Check error stack", id);
    struct edit c = {.id = id, .display_name = *shown ? shown : NULL, .tags = tags, .out = &v};
    if (api_write(self, ctx, patch_job, &c, err) < 0)
        return api_wrap(err, "Failed to update pipeline version %s. Check error stack", id);
    catalog_tell(self, true, id);
    return resource_send(self, res, &VERSIONS, &v, VIEW_ONE, err);
}

static int delete_job(struct db *db, void *arg, struct err *err)
{
    return version_delete(db, ((const struct change *)arg)->id, err);
}

int version_delete_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "pipeline_version_id");
    if (resource_change(self, ctx, res, delete_job, id, err) < 0)
        return api_wrap(err, "Failed to delete a pipeline version id %s under pipeline id %s. Check error stack", id,
                        http_param(req, "pipeline_id"));
    catalog_tell(self, true, id);
    return 0;
}
