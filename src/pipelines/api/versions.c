/* versions.c - /pipelines/{id}/versions (spec 4.2). */
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "pipelines/api/listing.h"
#include "pipelines/api/proto_json.h"

/* A row whose spec cannot be read is returned with an error instead of failing a whole list. */
jmval *version_out(struct db *db, struct jm *m, const struct pipeline_version *v, struct err *err)
{
    jmval *o = jm_obj(m);
    out_str(m, o, "pipeline_id", v->pipeline_id);
    out_str(m, o, "pipeline_version_id", v->version_id);
    out_str(m, o, "name", v->name);
    out_str(m, o, "display_name", v->display_name);
    out_str(m, o, "description", v->description);
    out_time(m, o, "created_at", v->created_ns);
    if (!str_empty(v->package_url))
        jm_put(m, jm_obj_at(m, o, "package_url"), "pipeline_url", jm_str(m, v->package_url));
    out_str(m, o, "code_source_url", v->code_source_url);
    out_json(m, o, "tags", v->tags);
    ERR(e);
    if (package_out(db, v->spec_hash, m, o, &e) < 0) {
        jmval *problem = jm_obj_at(m, o, "error");
        jm_put(m, problem, "code", jm_i64(m, 13));
        jm_put(m, problem, "message", jm_str(m, err_text(&e)));
    }
    return o;
}

static int send_version(struct pipelines_api *api, struct http_res *res, const struct pipeline_version *v, struct err *err)
{
    READER(r, api, err);
    if (!r.db)
        return -1;
    JM_NEW(m);
    jm_set_root(m, version_out(r.db, m, v, err));
    out_send(res, m);
    return 0;
}

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
    return send_version(self, res, &v, err);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

/* Only the version's id is looked at, here and below. */
int version_get_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "pipeline_version_id");
    PIPELINE_VERSION(v);
    {
        READER(r, (struct pipelines_api *)self, err);
        if (!r.db || version_get(r.db, id, &v, err) < 0)
            return api_wrap(err, "Failed to get a pipeline version %s", id);
    }
    return send_version(self, res, &v, err);
}

struct items {
    struct jm *m;
    jmval *list;
    struct db *db;
};

static int add_item(void *self, struct stmt *s, struct err *err)
{
    struct items *it = self;
    PIPELINE_VERSION(v);
    version_row(s, &v);
    jm_push(it->list, version_out(it->db, it->m, &v, err));
    return 0;
}

int version_list_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "pipeline_id");
    LIST_QUERY(q);
    if (list_parse(&VERSION_LIST, req, &q, err) < 0)
        return api_wrap(err, "Failed to list pipeline versions due to invalid list options");
    READER(r, (struct pipelines_api *)self, err);
    PIPELINE(parent);
    JM_NEW(m);
    struct items it = {m, jm_arr(m), r.db};
    if (!r.db || pipeline_get(r.db, id, &parent, err) < 0 ||
        list_run(&q, r.db, "v.pipeline_id = ?", &id, 1, add_item, &it, err) < 0)
        return api_wrap(err, "Failed to list pipeline versions with pipeline id %s", id);
    jm_set_root(m, jm_obj(m));
    list_finish(&q, m, jm_root(m), "pipeline_versions", it.list);
    out_send(res, m);
    return 0;
}

/* ---- changing ----------------------------------------------------------------------------------------------------- */

struct change {
    const char *id, *display_name, *tags;
    struct pipeline_version *out;
};

static int patch_job(struct db *db, void *arg, struct err *err)
{
    const struct change *c = arg;
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
    jval *given = jv_get(json_root(body), "tags");
    const char *shown = jv_str_or(jv_get(json_root(body), "display_name"), "");
    struct change c = {.id = id, .display_name = *shown ? shown : NULL, .out = &v};
    int rc = rule_display_name("PipelineVersion", shown, err);
    if (rc == 0 && given)
        rc = rule_tags(given, &tags, err);
    c.tags = !given ? NULL : tags ? tags : ""; /* {}: removed */
    if (rc < 0 || api_write(self, ctx, patch_job, &c, err) < 0)
        return api_wrap(err, "Failed to update pipeline version %s. Check error stack", id);
    return send_version(self, res, &v, err);
}

static int delete_job(struct db *db, void *arg, struct err *err) { return version_delete(db, arg, err); }

int version_delete_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    AUTOFREE char *id = xstrdup(http_param(req, "pipeline_version_id"));
    if (api_write(self, ctx, delete_job, id, err) < 0)
        return api_wrap(err, "Failed to delete a pipeline version id %s under pipeline id %s. Check error stack", id,
                        http_param(req, "pipeline_id"));
    out_empty(res);
    return 0;
}
