/* Results of attempts become outputs. Source: pipelines-runtime spec 14. */
#include <stdlib.h>

#include "base/str.h"
#include "pipelines/engine/live.h"

#define OUTPUT_ARTIFACTS_MAX 100000

static const struct launch_result_param *result_param(const struct launch_result *r, const char *key)
{
    for (size_t k = 0; k < r->n_params; k++)
        if (str_eq(r->params[k].key, key))
            return &r->params[k];
    return NULL;
}

static const struct launch_result_artifact *result_artifact(const struct launch_result *r, const char *key)
{
    for (size_t k = 0; k < r->n_artifacts; k++)
        if (str_eq(r->artifacts[k].key, key))
            return &r->artifacts[k];
    return NULL;
}

static jval *field(jval *v, const char *camel, const char *snake)
{
    jval *x = jv_get(v, camel);
    return x ? x : jv_get(v, snake);
}

/* proto3 JSON: unknown names are refused, as the launcher everybody knows does. */
static int check_names(jval *v, const char *where, const char *const *names, struct err *err)
{
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    if (!jv_is(v, J_OBJECT))
        return err_set(err, ERR_INVALID, "executor output: %s is no JSON object", where);
    while (jv_next(&it, &key, &x)) {
        const char *const *n = names;
        while (*n && !str_eq(*n, key))
            n++;
        if (!*n)
            return err_set(err, ERR_INVALID, "executor output: unknown field \"%.60s\" in %s", key, where);
    }
    return 0;
}

/* ---- parameters ----------------------------------------------------------------------------------------------- */

/* {"stringValue": s} and the like of the old `parameters` map. */
static jval *old_value(jval *v)
{
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x = NULL;
    jv_next(&it, &key, &x);
    return x;
}

static struct json *declared_value(const struct ir_param *p, jval *v, struct err *err)
{
    BUF(text);
    if (jv_is(v, J_NULL) || value_is(p->type, v))
        return json_from(v);
    if (p->type == PT_STRING) {
        JM_NEW(m);
        value_as_text(v, &text);
        jm_set_root(m, jm_strn(m, buf_str(&text), text.len));
        return jm_freeze(m);
    }
    err_set(err, ERR_INVALID, "output parameter \"%s\": expected %s, got %s", p->key, ptype_name(p->type),
            jtype_name(jv_type(v)));
    return NULL;
}

static int collect_param(struct inst *i, int k, const struct launch_result *r, jval *out, struct err *err)
{
    const struct ir_param *p = &i->c->out_params[k];
    jval *v = jv_get(field(out, "parameterValues", "parameter_values"), p->key);
    if (!v)
        v = old_value(jv_get(jv_get(out, "parameters"), p->key));
    if (v) {
        if (value_bounded("output", p->key, v, err) < 0)
            return -1;
        i->out_params[k] = declared_value(p, v, err);
        return i->out_params[k] ? 0 : -1;
    }
    const struct launch_result_param *f = result_param(r, p->key);
    if (f && f->too_big)
        return err_set(err, ERR_INVALID,
                       "output parameter \"%s\" has %zu bytes; at most %u are allowed, write larger data to an artifact", p->key,
                       f->len, PARAM_VALUE_MAX);
    if (f && f->text) {
        i->out_params[k] = value_from_text(p->type, f->text, f->len, err);
        if (i->out_params[k])
            return 0;
        return err_wrap(err, "output parameter \"%s\"", p->key);
    }
    /* Python returned None: null, for those who do not insist on it. */
    if (out)
        return 0;
    return err_set(err, ERR_INVALID,
                   "failed to read output parameter name=\"%s\": the step wrote neither %s nor an executor output", p->key,
                   "its output file");
}

/* ---- artifacts ------------------------------------------------------------------------------------------------ */

static struct json *merged_metadata(const struct ir_artifact *decl, jval *given, const char *key)
{
    JM_NEW(m);
    jmval *o = decl->metadata ? jm_val(m, decl->metadata) : jm_obj(m);
    jm_set_root(m, o);
    struct jiter it = jv_iter(given);
    const char *name;
    jval *v;
    while (jv_is(given, J_OBJECT) && jv_next(&it, &name, &v))
        jm_put(m, o, name, jm_val(m, v));
    if (!jmv_get(o, "display_name"))
        jm_put(m, o, "display_name", jm_str(m, key));
    return jm_freeze(m);
}

struct art *art_make(struct inst *i, int64_t id, const char *name, const char *title, const char *version, const char *uri,
                     struct json *metadata /* taken over */)
{
    struct live *l = i->live;
    struct art *a = xcalloc(1, sizeof *a);
    a->refs = 1;
    a->fresh = true;
    a->metadata = metadata;
    a->a = (struct md_artifact){
        .id = id,
        .name = xstrdup(name),
        .schema_title = xstrdup(title),
        .schema_version = xstrdup(version),
        .uri = xstrdup(uri),
        .metadata = jv_text(json_root(metadata), JW_COMPACT),
        .ns = xstrdup(l->run.ns ? l->run.ns : ""),
        .pipeline = xstrdup(l->run.pipeline_name),
        .run_id = xstrdup(l->run.run_id),
        .task_id = i->row.id,
        .created_ns = engine_now(l->e),
        .size = -1,
    };
    if (l->n_new_arts == l->cap_new_arts) {
        l->cap_new_arts = l->cap_new_arts ? 2 * l->cap_new_arts : 32;
        l->new_arts = xreallocarray(l->new_arts, l->cap_new_arts, sizeof(struct art *));
    }
    l->new_arts[l->n_new_arts++] = art_ref(a);
    l->values_len += strlen(a->a.metadata);
    live_add_art(l, a);
    return a;
}

static int collect_one(struct inst *i, int k, int n, int64_t id, jval *given, const struct launch_result *r, struct artlist *list,
                       struct err *err)
{
    static const char *const names[] = {
        "name",       "type",       "uri",         "properties", "customProperties", "custom_properties",
        ART_METADATA, "customPath", "custom_path", NULL};
    const struct ir_artifact *decl = &i->c->out_artifacts[k];
    if (given && check_names(given, decl->key, names, err) < 0)
        return -1;
    AUTOFREE char *dflt = output_uri(i, decl->key);
    const char *uri = jv_str(jv_get(given, "uri")), *custom = jv_str(field(given, "customPath", "custom_path"));
    struct art *a = art_make(i, id, n == 0 ? decl->key : jv_str_or(jv_get(given, "name"), decl->key), decl->schema_title,
                             decl->schema_version, str_empty(uri) ? dflt : uri,
                             merged_metadata(decl, jv_get(given, ART_METADATA), decl->key));
    a->a.custom_path = str_empty(custom) ? NULL : xstrdup(custom);
    const struct launch_result_artifact *f = result_artifact(r, decl->key);
    if (n == 0 && f && f->exists)
        a->a.size = f->size;
    list->v[n] = a;
    return 0;
}

static int collect_artifacts(struct inst *i, const struct ctx *ctx, int k, const struct launch_result *r, jval *out,
                             struct err *err)
{
    const struct ir_artifact *decl = &i->c->out_artifacts[k];
    jval *given = jv_get(jv_get(jv_get(out, "artifacts"), decl->key), "artifacts");
    size_t n = jv_len(given);
    if (!decl->list)
        n = 1;
    if (n > OUTPUT_ARTIFACTS_MAX)
        return err_set(err, ERR_INVALID, "output \"%s\" has %zu artifacts; at most %d are allowed", decl->key, n,
                       OUTPUT_ARTIFACTS_MAX);
    int64_t id = 0;
    if (n > 0 && md_ids_take(i->live->e->cfg.store->ids, ctx, MD_SEQ_ARTIFACT, (int64_t)n, &id, err) < 0)
        return -1;
    struct artlist *list = artlist_new((int)n);
    for (size_t x = 0; x < n; x++)
        if (collect_one(i, k, (int)x, id + (int64_t)x, jv_at(given, x), r, list, err) < 0) {
            artlist_unref(list);
            return -1;
        }
    i->out_artifacts[k] = list;
    return 0;
}

/* What an attempt left behind half-way is not there. */
static void forget_outputs(struct inst *i)
{
    for (int k = 0; k < i->c->n_out_params; k++)
        json_unref(TAKE(i->out_params[k]));
    for (int k = 0; k < i->c->n_out_artifacts; k++)
        artlist_unref(TAKE(i->out_artifacts[k]));
    struct live *l = i->live;
    size_t keep = 0;
    for (size_t k = 0; k < l->n_new_arts; k++) {
        if (l->new_arts[k]->a.task_id == i->row.id)
            art_unref(l->new_arts[k]);
        else
            l->new_arts[keep++] = l->new_arts[k];
    }
    l->n_new_arts = keep;
}

int collect_result(struct inst *i, const struct ctx *ctx, const struct launch_result *r, struct err *err)
{
    static const char *const names[] = {"parameters", "artifacts", "parameterValues", "parameter_values", NULL};
    JSON_REF(doc) = NULL;
    if (r->executor_output) {
        ERR(e);
        struct json_opts opts = {.allow_nan = true};
        doc = json_parse(r->executor_output, strlen(r->executor_output), &opts, &e);
        if (!doc)
            return err_set(err, ERR_INVALID, "executor output is no JSON: %s", err_text(&e));
        if (check_names(json_root(doc), "it", names, err) < 0)
            return -1;
    }
    jval *out = json_root(doc);
    forget_outputs(i);
    int rc = 0;
    for (int k = 0; k < i->c->n_out_params && rc == 0; k++)
        rc = collect_param(i, k, r, out, err);
    for (int k = 0; k < i->c->n_out_artifacts && rc == 0; k++)
        rc = collect_artifacts(i, ctx, k, r, out, err);
    if (rc < 0) {
        forget_outputs(i);
        return -1;
    }
    record_outputs(i);
    return 0;
}

/* ---- the log -------------------------------------------------------------------------------------------------- */

static int record_log(struct inst *i, const struct ctx *ctx, int64_t size, struct err *err)
{
    int64_t id = 0;
    if (md_ids_take(i->live->e->cfg.store->ids, ctx, MD_SEQ_ARTIFACT, 1, &id, err) < 0)
        return -1;
    AUTOFREE char *uri = log_uri(i);
    const char *name = strrchr(uri, '/') + 1;
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    jm_put(m, o, "display_name", jm_str(m, name));
    struct art *a = art_make(i, id, name, "system.Artifact", "0.0.1", uri, jm_freeze(m));
    a->a.size = size >= 0 ? size : -1;
    live_link_output(i, name, a);
    art_unref(a);
    return 0;
}

/* The agent was ended before it could leave a result. A pod that is gone as well may have left a part of its log in the store
 * that was mounted into it. */
static int rescue_log(struct inst *i, const struct ctx *ctx, struct err *err)
{
    const struct live *l = i->live;
    const struct task_runtime *rt = &l->e->rt;
    AUTOFREE char *uri = log_uri(i);
    BUF(text);
    if (rt->tail(rt->self, ctx, l->run.ns, i->row.pod_name, -1, &text, NULL) == 0 && text.len > 0)
        return stores_write(i->live, ctx, uri, &text, err) < 0 ? -1 : record_log(i, ctx, (int64_t)text.len, err);
    AUTOFREE char *scheme = NULL, *bucket = NULL, *key = NULL;
    struct blob_info info;
    if (!live_is_mounted(l, uri) || blob_uri_split(uri, &scheme, &bucket, &key, NULL) < 0 ||
        blob_stat(l->e->cfg.blobs, ctx, bucket, key, &info, NULL) < 0 || info.is_dir)
        return 0;
    return record_log(i, ctx, info.size, err);
}

int collect_log(struct inst *i, const struct ctx *ctx, const struct launch_result *r, struct err *err)
{
    if (i->live->e->cfg.no_logs)
        return 0;
    if (!r)
        return rescue_log(i, ctx, err);
    return r->has_log ? record_log(i, ctx, r->log_size, err) : 0;
}
