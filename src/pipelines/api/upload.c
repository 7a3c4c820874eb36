/* upload.c - /pipelines/upload and /pipelines/upload_version (spec 4.3). */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fs.h"
#include "base/id.h"
#include "pipelines/api/multipart.h"
#include "pipelines/api/resource.h"

/* Uploads at a time: each holds a worker for as long as its client sends. */
enum { UPLOADS_MAX = 32 };

/* A request's body, which went into a file and not into memory. */
struct spooled {
    char *p; /* mapped; NULL when it is empty */
    size_t n;
    _Atomic int *count;
};
static void spooled_clear(struct spooled *s)
{
    if (s->p)
        munmap(s->p, s->n);
    if (s->count)
        atomic_fetch_sub(s->count, 1);
}

static int spool(struct pipelines_api *api, const struct ctx *ctx, struct http_req *req, struct spooled *s, struct err *err)
{
    int64_t size = 0;
    s->count = &api->uploads;
    if (atomic_fetch_add(s->count, 1) >= UPLOADS_MAX) {
        err_set(err, ERR_TOO_MANY, "%d uploads are under way already: try again in a moment", UPLOADS_MAX);
        err->retry_after_s = 1;
        return -1;
    }
    AUTOCLOSE int fd = api_scratch_file(api, err);
    if (fd < 0 || http_req_spool(req, ctx, fd, &size, err) < 0)
        return -1;
    if (size == 0)
        return 0;
    void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return err_errno(err, "mapping what was uploaded");
    s->p = p;
    s->n = (size_t)size;
    return 0;
}

/* What came with an upload: the file, and the query. */
struct upload {
    char *file_name;
    struct buf text;
    struct package package;
    const char *name, *display_name, *description, *code_source_url;
    char *tags;
};
static void upload_clear(struct upload *u)
{
    free(u->file_name);
    buf_free(&u->text);
    package_clear(&u->package);
    free(u->tags);
}

static int read_tags(const char *text, char **tags, struct err *err)
{
    if (str_empty(text))
        return 0;
    JSON_REF(doc) = json_parse_str(text, NULL);
    jval *root = json_root(doc);
    bool good = doc && (jv_is(root, J_OBJECT) || jv_is(root, J_NULL));
    struct jiter it = jv_iter(root);
    const char *key;
    jval *v;
    while (good && jv_next(&it, &key, &v))
        good = jv_is(v, J_STRING);
    if (!good)
        return err_set(err, ERR_INVALID,
                       "Failed to parse tags query parameter. Expected JSON object with string keys and values");
    return rule_tags(root, tags, err);
}

static int read_query(const struct http_req *req, struct upload *u, struct err *err)
{
    const char *tags;
    if (query_text(req, "name", &u->name, err) < 0 || query_text(req, "display_name", &u->display_name, err) < 0 ||
        query_text(req, "description", &u->description, err) < 0 ||
        query_text(req, "code_source_url", &u->code_source_url, err) < 0 || query_text(req, "tags", &tags, err) < 0)
        return -1;
    if (str_empty(u->name))
        u->name = !str_empty(u->display_name) ? u->display_name : u->file_name;
    if (str_empty(u->display_name))
        u->display_name = u->name;
    return read_tags(tags, &u->tags, err);
}

static int read_upload(struct pipelines_api *api, const struct ctx *ctx, struct http_req *req, size_t name_max,
                       const char *name_field, struct upload *u, struct err *err)
{
    const char *data;
    size_t n;
    CLEANUP(spooled_clear) struct spooled body = {0};
    if (spool(api, ctx, req, &body, err) < 0 || multipart_file(http_header_get(req, "content-type"), body.p ? body.p : "", body.n,
                                                               "uploadfile", &u->file_name, &data, &n, err) < 0)
        return -1;
    if (package_unpack(u->file_name, data, n, &u->text, err) < 0 || read_query(req, u, err) < 0)
        return -1;
    if (rule_max_bytes(name_field, u->name, name_max, err) < 0 || rule_display_name("Pipeline", u->display_name, err) < 0)
        return -1;
    return package_from_text(buf_str(&u->text), u->text.len, &u->package, err);
}

static void fill_version(struct pipelines_api *api, const struct upload *u, const char *pipeline_id, struct pipeline_version *v)
{
    char id[UUID_TEXT];
    v->version_id = xstrdup(uuid4(id));
    v->pipeline_id = xstrdup(pipeline_id);
    v->name = xstrdup(u->name);
    v->display_name = xstrdup(u->display_name);
    v->description = xstrdup(u->description);
    v->code_source_url = xstrdup(u->code_source_url);
    v->created_ns = api_created_now(api);
}

int upload_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    CLEANUP(upload_clear) struct upload u = {0};
    PIPELINE(p);
    PIPELINE_VERSION(v);
    if (read_upload(self, ctx, req, PIPELINE_NAME_MAX, "Pipeline.Name", &u, err) < 0 ||
        rule_max_bytes("PipelineVersion.Name", u.name, VERSION_NAME_MAX, err) < 0)
        return api_wrap(err, "Failed to create a pipeline and a pipeline version");
    char id[UUID_TEXT];
    p.pipeline_id = xstrdup(uuid4(id));
    p.name = xstrdup(u.name);
    p.display_name = xstrdup(u.display_name);
    p.description = xstrdup(u.description);
    p.tags = TAKE(u.tags); /* of the pipeline only */
    p.created_ns = api_created_now(self);
    fill_version(self, &u, id, &v);
    struct catalog_job job = {
        .pipeline = &p,
        .version = &v,
        .package = &u.package,
        .source = &u.text,
        .pipeline_taken = "Failed to create a new pipeline. The name %s already exists. Please specify a new name",
    };
    if (catalog_store(self, ctx, &job, err) < 0)
        return api_wrap(err, "Failed to create a pipeline and a pipeline version");
    return resource_send(self, res, &PIPELINES, &p, VIEW_ONE, err);
}

/* An id that names nothing is the caller's mistake here, as upstream has it: 400. */
static int check_parent(struct pipelines_api *api, const char *id, struct err *err)
{
    if (str_empty(id))
        return err_set(err, ERR_INVALID, "Please specify a pipeline id with the query parameter pipelineid");
    READER(r, api, err);
    PIPELINE(p);
    ERR(e);
    if (!r.db)
        return -1;
    if (pipeline_get(r.db, id, &p, &e) == 0)
        return 0;
    return e.code == ERR_NOT_FOUND ? err_set(err, ERR_INVALID, "%s", err_text(&e)) : err_move(err, &e);
}

int upload_version_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    CLEANUP(upload_clear) struct upload u = {0};
    PIPELINE_VERSION(v);
    const char *id;
    if (query_text(req, "pipelineid", &id, err) < 0 || check_parent(self, id, err) < 0 ||
        read_upload(self, ctx, req, VERSION_NAME_MAX, "PipelineVersion.Name", &u, err) < 0)
        return api_wrap(err, "Failed to create a pipeline version");
    fill_version(self, &u, id, &v);
    v.tags = TAKE(u.tags);
    struct catalog_job job = {
        .version = &v,
        .package = &u.package,
        .source = &u.text,
        .version_taken = "Failed to create a new pipeline version. The name %s already exist. Please specify a new name",
    };
    if (catalog_store(self, ctx, &job, err) < 0)
        return api_wrap(err, "Failed to create a pipeline version");
    return resource_send(self, res, &VERSIONS, &v, VIEW_ONE, err);
}
