/* catalog.c - pipelines and their versions as objects of pipelines.kubeflow.org, and back. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "kube/object.h"
#include "pipelines/mirror/kind.h"
#include "pipelines/mirror/mirror.h"
#include "pipelines/store/catalog.h"
#include "pipelines/store/store.h"

#define GROUP   "pipelines.kubeflow.org"
#define VERSION "v2beta1"
enum { NAME_MAX_BYTES = 253, LABEL_MAX_BYTES = 63 };

/* ---- names -------------------------------------------------------------------------------------------------------------- */

static bool is_subdomain(const char *s)
{
    bool edge = true; /* behind a dot, or at the start */
    size_t n = strlen(s);
    for (const char *p = s; *p; p++) {
        if (*p == '.' || *p == '-') {
            if (edge || (*p == '.' && p[-1] == '-'))
                return false;
            edge = *p == '.';
        } else if (islower((unsigned char)*p) || isdigit((unsigned char)*p)) {
            edge = false;
        } else {
            return false;
        }
    }
    return n > 0 && n <= NAME_MAX_BYTES && isalnum((unsigned char)s[n - 1]);
}

/* The wanted name where it can be one; else what is left of it, and the beginning of the id. Caller frees. */
static char *object_name(const char *wanted, const char *id)
{
    if (is_subdomain(wanted))
        return xstrdup(wanted);
    BUF(b);
    for (const char *p = wanted; *p && b.len < 200; p++) {
        char c = (char)tolower((unsigned char)*p);
        if (isalnum((unsigned char)c) && (unsigned char)c < 128)
            buf_addc(&b, c);
        else if (b.len > 0 && b.data[b.len - 1] != '-')
            buf_addc(&b, '-');
    }
    while (b.len > 0 && b.data[b.len - 1] == '-')
        b.len--;
    buf_addf(&b, "%s%.8s", b.len > 0 ? "-" : "", id);
    return buf_steal(&b, NULL);
}

/* ---- documents ---------------------------------------------------------------------------------------------------------- */

static void put_text(struct jm *m, jmval *o, const char *key, const char *v)
{
    if (!str_empty(v))
        jm_put(m, o, key, jm_str(m, v));
}

static void put_json(struct jm *m, jmval *o, const char *key, const char *text)
{
    JSON_REF(doc) = str_empty(text) ? NULL : json_parse_str(text, NULL);
    if (doc)
        jm_put(m, o, key, jm_val(m, json_root(doc)));
}

static struct json *status_of(const char *type, const char *good, const char *error)
{
    JM_NEW(m);
    jmval *status = jm_obj(m), *c = jm_obj(m);
    jm_set_root(m, status);
    jm_put(m, c, "type", jm_str(m, type));
    jm_put(m, c, "status", jm_str(m, error ? "False" : "True"));
    jm_put(m, c, "reason", jm_str(m, error ? "Refused" : good));
    jm_put(m, c, "message", jm_str(m, error ? error : good));
    jm_push(jm_arr_at(m, status, "conditions"), c);
    return jm_freeze(m);
}
static struct json *pipeline_status(const char *error) { return status_of("PipelineStatus", "READY", error); }
static struct json *version_status(const char *error) { return status_of("PipelineVersionStatus", "READY", error); }

/* ---- pipelines ---------------------------------------------------------------------------------------------------------- */

static int show_pipeline(struct pipelines_api *api, struct db *db, int64_t now_s, const char *id, const char *error,
                         struct shown *out, struct err *err)
{
    PIPELINE(p);
    int rc = row_find(&PIPELINE_ROWS, db, id, &p, err);
    if (rc < 1)
        return rc;
    JM_NEW(m);
    jmval *spec = jm_obj(m);
    jm_set_root(m, spec);
    put_text(m, spec, "displayName", p.display_name);
    put_text(m, spec, "description", p.description);
    put_json(m, spec, "tags", p.tags);
    out->spec = jm_freeze(m);
    out->name = object_name(p.name, id);
    out->ns = xstrdup(pipelines_run_namespace(api));
    out->status = pipeline_status(error);
    return 1;
}

static int adopt_pipeline(struct pipelines_api *api, const struct ctx *ctx, const char *id, jval *object, struct err *err)
{
    return pipelines_pipeline_apply(api, ctx, id, obj_name(object), jv_get(object, "spec"), err);
}

const struct mirrored_kind MIRRORED_PIPELINES = {
    .name = "pipeline-objects",
    .res = {GROUP, VERSION, "pipelines", "Pipeline", true},
    .id_label = "pipelines.tidemill.dev/pipeline",
    .ids = "SELECT pipeline_id FROM pipelines",
    .show = show_pipeline,
    .status = pipeline_status,
    .adopt = adopt_pipeline,
    .remove = pipelines_pipeline_delete,
};

/* ---- versions ----------------------------------------------------------------------------------------------------------- */

static void put_labels(struct shown *out, const struct pipeline *p)
{
    JM_NEW(m);
    jmval *labels = jm_obj(m);
    jm_set_root(m, labels);
    jm_put(m, labels, PIPELINE_ID_LABEL, jm_str(m, p->pipeline_id));
    if (is_subdomain(p->name) && strlen(p->name) <= LABEL_MAX_BYTES)
        jm_put(m, labels, GROUP "/pipeline", jm_str(m, p->name));
    out->labels = jm_freeze(m);
}

static int put_spec(struct db *db, const struct pipeline *p, const struct pipeline_version *v, struct shown *out, struct err *err)
{
    AUTOFREE char *ir = NULL, *platform = NULL;
    if (spec_get(db, v->spec_hash, &ir, &platform, err) < 0)
        return -1;
    JM_NEW(m);
    jmval *spec = jm_obj(m);
    jm_set_root(m, spec);
    put_text(m, spec, "pipelineName", p->name);
    put_text(m, spec, "versionName", v->name);
    put_text(m, spec, "displayName", v->display_name);
    put_text(m, spec, "description", v->description);
    put_text(m, spec, "codeSourceURL", v->code_source_url);
    put_json(m, spec, "tags", v->tags);
    put_json(m, spec, "pipelineSpec", ir);
    put_json(m, spec, "platformSpec", platform);
    out->spec = jm_freeze(m);
    return 0;
}

static int show_version(struct pipelines_api *api, struct db *db, int64_t now_s, const char *id, const char *error,
                        struct shown *out, struct err *err)
{
    PIPELINE_VERSION(v);
    PIPELINE(p);
    int rc = row_find(&VERSION_ROWS, db, id, &v, err);
    if (rc == 1)
        rc = row_find(&PIPELINE_ROWS, db, v.pipeline_id, &p, err);
    if (rc < 1)
        return rc;
    if (put_spec(db, &p, &v, out, err) < 0)
        return -1;
    AUTOFREE char *both = str_eq(p.name, v.name) ? xstrdup(v.name) : xasprintf("%s-%s", p.name, v.name);
    out->name = object_name(both, id);
    out->ns = xstrdup(pipelines_run_namespace(api));
    out->status = version_status(error);
    put_labels(out, &p);
    return 1;
}

static int adopt_version(struct pipelines_api *api, const struct ctx *ctx, const char *id, jval *object, struct err *err)
{
    return pipelines_version_apply(api, ctx, id, obj_name(object), jv_get(object, "spec"), err);
}

const struct mirrored_kind MIRRORED_VERSIONS = {
    .name = "version-objects",
    .res = {GROUP, VERSION, "pipelineversions", "PipelineVersion", true},
    .id_label = "pipelines.tidemill.dev/pipeline-version",
    .ids = "SELECT pipeline_version_id FROM pipeline_versions",
    .show = show_version,
    .status = version_status,
    .adopt = adopt_version,
    .remove = pipelines_version_delete,
};

int mirror_check_version(struct kube *kube, struct pipelines_api *api, const struct ctx *ctx, jval *old, jval *now,
                         struct err *err)
{
    ERR(e);
    jval *spec = jv_get(now, "spec");
    const char *parent = jv_str_or(jv_get(spec, "pipelineName"), "");
    bool asks = !old && !str_empty(parent) && is_subdomain(parent);
    JSON_REF(pipeline) = asks ? kube_get(kube, ctx, &MIRRORED_PIPELINES.res, obj_namespace(now), parent, NULL, &e) : NULL;
    if (asks && !pipeline && e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    return pipelines_version_check(api, old ? jv_get(old, "spec") : NULL, spec, pipeline != NULL, err);
}
