/* pipelines.c - /pipelines (spec 4.1). */
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "pipelines/api/proto_json.h"
#include "pipelines/api/resource.h"

const struct resource PIPELINES = {
    .table = &PIPELINE_ROWS,
    .list_key = "pipelines",
    .bad_options = "Failed to list pipelines due to invalid list options",
    .list_failed = "Failed to list pipelines",
};

/* Name, display name, description and tags of a body, checked. */
static int read_body(jval *body, struct pipeline *p, struct err *err)
{
    const char *name = jv_str_or(jv_get(body, "name"), ""), *shown = jv_str_or(jv_get(body, "display_name"), "");
    if (rule_max_bytes("Pipeline.Namespace", jv_str(jv_get(body, "namespace")), NAMESPACE_MAX, err) < 0)
        return -1;
    p->name = xstrdup(*name ? name : shown);
    p->display_name = xstrdup(*shown ? shown : name);
    p->description = xstrdup(jv_str_or(jv_get(body, "description"), ""));
    if (rule_max_bytes("Pipeline.Name", p->name, PIPELINE_NAME_MAX, err) < 0 ||
        rule_display_name("Pipeline", p->display_name, err) < 0)
        return -1;
    return rule_tags(jv_get(body, "tags"), &p->tags, err);
}

static void give_id(struct pipelines_api *api, struct pipeline *p)
{
    char id[UUID_TEXT];
    p->pipeline_id = xstrdup(uuid4(id));
    p->created_ns = api_created_now(api);
}

int pipeline_create_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    JSON_REF(body) = pj_decode(&PJ_PIPELINE, req->body, req->body_len, err);
    PIPELINE(p);
    if (!body)
        return -1;
    int rc = read_body(json_root(body), &p, err);
    if (rc == 0 && !*p.name)
        rc = err_set(err, ERR_INVALID, "name is required");
    if (rc < 0)
        return api_wrap(err, "Failed to create a pipeline due to server error");
    give_id(self, &p);
    struct catalog_job job = {
        .pipeline = &p,
        .pipeline_taken = "Failed to create a new pipeline. The name %s already exist. Please specify a new name",
    };
    if (catalog_store(self, ctx, &job, err) < 0)
        return api_wrap(err, "Failed to create a pipeline due to server error");
    return resource_send(self, res, &PIPELINES, &p, VIEW_ONE, err);
}

/* ---- with its first version, by URL ------------------------------------------------------------------------------- */

static int create_from_url(struct pipelines_api *api, const struct ctx *ctx, jval *body, const char *url, struct pipeline *p,
                           struct err *err)
{
    BUF(raw);
    BUF(text);
    AUTOFREE char *file_name = NULL;
    PACKAGE(package);
    PIPELINE_VERSION(v);
    if (read_body(jv_get(body, "pipeline"), p, err) < 0 ||
        rule_tags(jv_path(body, "pipeline_version", "tags", NULL), &v.tags, err) < 0)
        return -1;
    if (package_fetch(api, ctx, url, &raw, &file_name, err) < 0 ||
        package_unpack(file_name, buf_str(&raw), raw.len, &text, err) < 0 ||
        package_from_text(buf_str(&text), text.len, &package, err) < 0)
        return -1;
    if (!*p->name) {
        free(p->name);
        free(p->display_name);
        p->name = xstrdup(file_name);
        p->display_name = xstrdup(file_name);
    }
    char id[UUID_TEXT];
    give_id(api, p);
    v.version_id = xstrdup(uuid4(id));
    v.pipeline_id = xstrdup(p->pipeline_id);
    v.name = xstrdup(p->name);
    v.display_name = xstrdup(p->display_name);
    v.description = xstrdup(p->description);
    v.package_url = xstrdup(url);
    v.created_ns = api_created_now(api);
    if (rule_max_bytes("PipelineVersion.Name", v.name, VERSION_NAME_MAX, err) < 0)
        return -1;
    struct catalog_job job = {
        .pipeline = p,
        .version = &v,
        .package = &package,
        .source = &text,
        .pipeline_taken = "Failed to create a new pipeline. The name %s already exists. Please specify a new name",
    };
    return catalog_store(api, ctx, &job, err);
}

int pipeline_create_with_version_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    JSON_REF(body) = pj_decode(&PJ_CREATE_PIPELINE, req->body, req->body_len, err);
    PIPELINE(p);
    if (!body)
        return -1;
    const char *url = jv_str_or(jv_path(json_root(body), "pipeline_version", "package_url", "pipeline_url", NULL), "");
    if (create_from_url(self, ctx, json_root(body), url, &p, err) < 0)
        return api_wrap(err, "Failed to create a pipeline");
    return resource_send(self, res, &PIPELINES, &p, VIEW_ONE, err);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

int pipeline_get_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "pipeline_id");
    if (resource_get(self, res, &PIPELINES, id, VIEW_ONE, err) < 0)
        return api_wrap(err, "Failed to get a pipeline %s. Check error stack", id);
    return 0;
}

int pipeline_by_name_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *name = http_param(req, "name");
    PIPELINE(p);
    if (strchr(name, '/')) /* a path of several parts, however it is written */
        return err_set(err, ERR_NOT_FOUND, "Not Found");
    {
        READER(r, (struct pipelines_api *)self, err);
        if (!r.db || pipeline_get_by_name(r.db, "", name, &p, err) < 0)
            return api_wrap(err, "Failed to get a pipeline with name %s. Check error stack", name);
    }
    return resource_send(self, res, &PIPELINES, &p, VIEW_ONE, err);
}

int pipeline_list_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return resource_list(self, req, res, &PIPELINES, NULL, NULL, 0, VIEW_LIST, err);
}

/* ---- changing ----------------------------------------------------------------------------------------------------- */

struct edit {
    const char *id, *display_name;
    char *tags;
    bool cascade;
    struct pipeline *out;
};

static int patch_job(struct db *db, void *arg, struct err *err)
{
    struct edit *c = arg;
    return pipeline_update(db, c->id, c->display_name, c->tags, err) < 0 ? -1 : pipeline_get(db, c->id, c->out, err);
}

int pipeline_patch_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "pipeline_id");
    JSON_REF(body) = pj_decode(&PJ_PIPELINE, req->body, req->body_len, err);
    if (!body)
        return -1;
    PIPELINE(p);
    AUTOFREE char *tags = NULL;
    const char *shown = jv_str_or(jv_get(json_root(body), "display_name"), "");
    if (rule_display_name("Pipeline", shown, err) < 0 || patch_tags(json_root(body), &tags, err) < 0)
        return api_wrap(err, "Failed to update pipeline %s. Check error stack", id);
    struct edit c = {.id = id, .display_name = *shown ? shown : NULL, .tags = tags, .out = &p};
    if (api_write(self, ctx, patch_job, &c, err) < 0)
        return api_wrap(err, "Failed to update pipeline %s. Check error stack", id);
    catalog_tell(self, false, id);
    return resource_send(self, res, &PIPELINES, &p, VIEW_ONE, err);
}

static int delete_job(struct db *db, void *arg, struct err *err)
{
    const struct edit *c = arg;
    return pipeline_delete(db, c->id, c->cascade, err);
}

int pipeline_delete_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct edit c = {.id = http_param(req, "pipeline_id")};
    if (query_bool(req, "cascade", &c.cascade, err) < 0)
        return -1;
    if (api_write(self, ctx, delete_job, &c, err) < 0)
        return api_wrap(err, "Failed to delete pipeline %s. Check error stack", c.id);
    catalog_tell(self, false, c.id);
    out_empty(res);
    return 0;
}
