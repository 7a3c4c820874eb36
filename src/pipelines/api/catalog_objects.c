/* catalog_objects.c - pipelines and versions as their Kubernetes objects say them, for the mirror. */
#include <stdlib.h>

#include "pipelines/api/internal.h"

static int read_tags(jval *spec, char **tags, struct err *err)
{
    if (rule_tags(jv_get(spec, "tags"), tags, err) < 0)
        return -1;
    if (!*tags)
        *tags = xstrdup(""); /* removes them */
    return 0;
}

struct edit {
    const char *id, *display_name, *tags;
};

static int pipeline_edit_job(struct db *db, void *arg, struct err *err)
{
    const struct edit *c = arg;
    return pipeline_update(db, c->id, c->display_name, c->tags, err);
}

static int version_edit_job(struct db *db, void *arg, struct err *err)
{
    const struct edit *c = arg;
    return version_update(db, c->id, c->display_name, c->tags, err);
}

static const char *text_or(jval *spec, const char *key, const char *otherwise)
{
    const char *v = jv_str(jv_get(spec, key));
    return str_empty(v) ? otherwise : v;
}

static int find(struct pipelines_api *api, const struct row_table *t, const char *id, void *row, struct err *err)
{
    READER(r, api, err);
    return r.db ? row_find(t, r.db, id, row, err) : -1;
}

static int edit(struct pipelines_api *api, const struct ctx *ctx, db_job_fn *job, const char *id, const char *name, jval *spec,
                struct err *err)
{
    AUTOFREE char *tags = NULL;
    struct edit c = {.id = id, .display_name = text_or(spec, "displayName", name)};
    if (rule_display_name("Pipeline", c.display_name, err) < 0 || read_tags(spec, &tags, err) < 0)
        return -1;
    c.tags = tags;
    return api_write(api, ctx, job, &c, err);
}

/* ---- pipelines ------------------------------------------------------------------------------------------------------ */

static int new_pipeline(struct pipelines_api *api, const struct ctx *ctx, const char *id, const char *name, jval *spec,
                        struct err *err)
{
    PIPELINE(p);
    p.pipeline_id = xstrdup(id);
    p.name = xstrdup(name);
    p.display_name = xstrdup(text_or(spec, "displayName", name));
    p.description = xstrdup(text_or(spec, "description", ""));
    p.created_ns = api_created_now(api);
    if (rule_max_bytes("Pipeline.Name", p.name, PIPELINE_NAME_MAX, err) < 0 ||
        rule_display_name("Pipeline", p.display_name, err) < 0 || rule_tags(jv_get(spec, "tags"), &p.tags, err) < 0)
        return -1;
    struct catalog_job job = {.pipeline = &p, .pipeline_taken = "There is a pipeline with the name %s already"};
    return catalog_store(api, ctx, &job, err);
}

int pipelines_pipeline_apply(struct pipelines_api *api, const struct ctx *ctx, const char *id, const char *name, jval *spec,
                             struct err *err)
{
    PIPELINE(p);
    int there = find(api, &PIPELINE_ROWS, id, &p, err);
    if (there < 1)
        return there < 0 ? -1 : new_pipeline(api, ctx, id, name, spec, err);
    if (!str_eq(text_or(spec, "description", ""), p.description ? p.description : ""))
        return err_set(err, ERR_INVALID, "spec.description cannot be changed: only displayName and tags can");
    return edit(api, ctx, pipeline_edit_job, id, p.name, spec, err);
}

static int pipeline_delete_job(struct db *db, void *arg, struct err *err)
{
    ERR(e);
    return pipeline_delete(db, arg, true, &e) == 0 || e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
}

int pipelines_pipeline_delete(struct pipelines_api *api, const struct ctx *ctx, const char *id, struct err *err)
{
    AUTOFREE char *copy = xstrdup(id);
    if (api_write(api, ctx, pipeline_delete_job, copy, err) < 0)
        return -1;
    catalog_tell(api, false, id);
    return 0;
}

/* ---- versions ------------------------------------------------------------------------------------------------------- */

static int find_parent(struct pipelines_api *api, jval *spec, struct pipeline *p, struct err *err)
{
    const char *name = jv_str(jv_get(spec, "pipelineName"));
    if (str_empty(name))
        return err_set(err, ERR_INVALID, "spec.pipelineName is required");
    READER(r, api, err);
    return r.db ? pipeline_get_by_name(r.db, "", name, p, err) : -1;
}

static int new_version(struct pipelines_api *api, const struct ctx *ctx, const char *id, const char *name, jval *spec,
                       struct err *err)
{
    PIPELINE(parent);
    PIPELINE_VERSION(v);
    PACKAGE(package);
    if (find_parent(api, spec, &parent, err) < 0)
        return -1;
    v.version_id = xstrdup(id);
    v.pipeline_id = xstrdup(parent.pipeline_id);
    v.name = xstrdup(text_or(spec, "versionName", name));
    v.display_name = xstrdup(text_or(spec, "displayName", v.name));
    v.description = xstrdup(text_or(spec, "description", ""));
    v.code_source_url = xstrdup(text_or(spec, "codeSourceURL", ""));
    v.created_ns = api_created_now(api);
    if (rule_max_bytes("PipelineVersion.Name", v.name, VERSION_NAME_MAX, err) < 0 ||
        rule_display_name("PipelineVersion", v.display_name, err) < 0 || rule_tags(jv_get(spec, "tags"), &v.tags, err) < 0)
        return -1;
    if (!jv_present(jv_get(spec, "pipelineSpec")))
        return err_set(err, ERR_INVALID, "spec.pipelineSpec is required");
    if (package_from_json(spec, &package, err) < 0)
        return -1;
    BUF(source);
    jv_write(jv_get(spec, "pipelineSpec"), JW_COMPACT, &source);
    struct catalog_job job = {.version = &v,
                              .package = &package,
                              .source = &source,
                              .version_taken = "The pipeline has a version with the name %s already"};
    return catalog_store(api, ctx, &job, err);
}

/* What runs have been made from does not change under them. */
static int check_same_package(struct pipelines_api *api, const struct pipeline_version *v, jval *spec, struct err *err)
{
    PACKAGE(package);
    AUTOFREE char *ir = NULL, *platform = NULL;
    if (package_from_json(spec, &package, err) < 0)
        return -1;
    READER(r, api, err);
    if (!r.db || spec_get(r.db, v->spec_hash, &ir, &platform, err) < 0)
        return -1;
    if (!str_eq(ir, package.spec) || !str_eq(platform ? platform : "", package.platform ? package.platform : ""))
        return err_set(err, ERR_INVALID, "spec.pipelineSpec and spec.platformSpec cannot be changed: make another version");
    return 0;
}

int pipelines_version_apply(struct pipelines_api *api, const struct ctx *ctx, const char *id, const char *name, jval *spec,
                            struct err *err)
{
    PIPELINE_VERSION(v);
    int there = find(api, &VERSION_ROWS, id, &v, err);
    if (there < 1)
        return there < 0 ? -1 : new_version(api, ctx, id, name, spec, err);
    if (check_same_package(api, &v, spec, err) < 0)
        return -1;
    return edit(api, ctx, version_edit_job, id, v.name, spec, err);
}

static int refuse(struct err *err, const char *text)
{
    ERR(cause);
    err_move(&cause, err);
    return err_set(err, ERR_BAD_REQUEST, "%s%s", text, err_text(&cause));
}

static int check_parent(struct pipelines_api *api, jval *spec, struct err *err)
{
    PIPELINE(p);
    ERR(e);
    if (find_parent(api, spec, &p, &e) == 0)
        return 0;
    if (e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    return err_set(err, ERR_BAD_REQUEST,
                   "The spec.pipelineName doesn't map to an existing Pipeline object: there is no pipeline %s",
                   jv_str_or(jv_get(spec, "pipelineName"), ""));
}

static int check_unchanged(jval *old, jval *now, struct err *err)
{
    static const char *const fixed[] = {"pipelineSpec", "platformSpec"};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        if (!jv_equal(jv_get(old, fixed[i]), jv_get(now, fixed[i])))
            return err_set(
                err, ERR_BAD_REQUEST,
                "Pipeline spec is immutable: spec.%s cannot be changed, make another version (displayName and tags can)",
                fixed[i]);
    return 0;
}

int pipelines_version_check(struct pipelines_api *api, jval *old, jval *now, bool pipeline_there, struct err *err)
{
    PACKAGE(package);
    if (old)
        return check_unchanged(old, now, err);
    if (!jv_is(jv_get(now, "pipelineSpec"), J_OBJECT) || str_empty(jv_str(jv_get(now, "pipelineName"))))
        return 0; /* the schema says it better */
    if (!pipeline_there && check_parent(api, now, err) < 0)
        return -1;
    if (package_from_json(now, &package, err) < 0)
        return refuse(err, "The pipeline spec is invalid: ");
    return 0;
}

static int version_delete_job(struct db *db, void *arg, struct err *err)
{
    ERR(e);
    return version_delete(db, arg, &e) == 0 || e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
}

int pipelines_version_delete(struct pipelines_api *api, const struct ctx *ctx, const char *id, struct err *err)
{
    AUTOFREE char *copy = xstrdup(id);
    if (api_write(api, ctx, version_delete_job, copy, err) < 0)
        return -1;
    catalog_tell(api, true, id);
    return 0;
}

const char *pipelines_run_namespace(const struct pipelines_api *api) { return api->run_namespace; }
