/* source.c - see source.h. */
#include "pipelines/api/source.h"

#include <stdlib.h>
#include <string.h>

enum { PLUGIN_KEYS_MAX = 16, PLUGIN_BYTES_MAX = 64 << 10, PLUGINS_BYTES_MAX = 256 << 10, PLUGIN_DEPTH_MAX = 10 };

void source_clear(struct source *s)
{
    package_clear(&s->package);
    free(s->pipeline_id);
    free(s->version_id);
    free(s->spec_hash);
    *s = (struct source){0};
}

/* ---- the pipeline --------------------------------------------------------------------------------------------------- */

/* The version that a reference names: by its id, else the latest of the pipeline. */
static int find_version(struct db *db, jval *body, struct pipeline_version *v, struct err *err)
{
    jval *ref = jv_get(body, "pipeline_version_reference");
    const char *pipeline = jv_str_or(jv_get(ref, "pipeline_id"), ""),
               *version = jv_str_or(jv_get(ref, "pipeline_version_id"), "");
    if (!ref)
        version = jv_str_or(jv_get(body, "pipeline_version_id"), "");
    if (!*pipeline && !*version)
        return err_set(err, ERR_INVALID, "a run needs a source: give pipeline_spec or pipeline_version_reference");
    PIPELINE(p);
    if (!*version)
        return pipeline_get(db, pipeline, &p, err) < 0 ? -1 : version_latest(db, pipeline, v, err);
    if (version_get(db, version, v, err) < 0)
        return -1;
    if (*pipeline && strcmp(pipeline, v->pipeline_id) != 0)
        return err_set(err, ERR_INVALID, "Pipeline version %s belongs to pipeline %s (not %s)", version, v->pipeline_id,
                       pipeline);
    return 0;
}

int source_read(struct pipelines_api *api, jval *body, struct source *out, struct err *err)
{
    jval *spec = jv_get(body, "pipeline_spec");
    if (spec) {
        out->inline_spec = true;
        return package_from_json(spec, &out->package, err);
    }
    READER(r, api, err);
    PIPELINE_VERSION(v);
    if (!r.db || find_version(r.db, body, &v, err) < 0 || package_load(r.db, v.spec_hash, &out->package, err) < 0)
        return -1;
    out->latest = str_empty(jv_str(jv_path(body, "pipeline_version_reference", "pipeline_version_id", NULL))) &&
                  str_empty(jv_str(jv_get(body, "pipeline_version_id")));
    out->pipeline_id = TAKE(v.pipeline_id);
    out->version_id = TAKE(v.version_id);
    out->spec_hash = TAKE(v.spec_hash);
    return 0;
}

/* ---- plugins_input (spec 6.6) ---------------------------------------------------------------------------------------- */

static unsigned depth_of(jval *v)
{
    if (!jv_is(v, J_OBJECT) && !jv_is(v, J_ARRAY))
        return 0;
    unsigned deepest = 0;
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) { /* a body's depth is bounded by its decoder */
        unsigned d = depth_of(x);
        if (d > deepest)
            deepest = d;
    }
    return deepest + 1;
}

static int check_mlflow(jval *v, struct err *err)
{
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) {
        if (strcmp(key, "experiment_name") != 0 && strcmp(key, "experiment_id") != 0 && strcmp(key, "disabled") != 0)
            return err_set(err, ERR_INVALID,
                           "Invalid plugins_input: plugins_input[\"mlflow\"] has the unknown key \"%.80s\": use experiment_name, "
                           "experiment_id, disabled",
                           key);
    }
    return 0;
}

int rule_plugins(jval *plugins, struct err *err)
{
    if (jv_len(plugins) > PLUGIN_KEYS_MAX)
        return err_set(err, ERR_INVALID, "Invalid plugins_input: %zu keys exceed maximum %d", jv_len(plugins), PLUGIN_KEYS_MAX);
    size_t total = 0;
    struct jiter it = jv_iter(plugins);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        AUTOFREE char *text = jv_text(v, JW_COMPACT);
        size_t n = strlen(text);
        total += n;
        if (depth_of(v) > PLUGIN_DEPTH_MAX)
            return err_set(err, ERR_INVALID, "Invalid plugins_input: plugins_input[\"%.80s\"] nesting depth exceeds maximum %d",
                           key, PLUGIN_DEPTH_MAX);
        if (n > PLUGIN_BYTES_MAX)
            return err_set(err, ERR_INVALID,
                           "Invalid plugins_input: plugins_input[\"%.80s\"] size (%zu bytes) exceeds maximum %d bytes", key, n,
                           PLUGIN_BYTES_MAX);
        if (strcmp(key, "mlflow") == 0 && check_mlflow(v, err) < 0)
            return -1;
    }
    if (total > PLUGINS_BYTES_MAX)
        return err_set(err, ERR_INVALID, "Invalid plugins_input: total size (%zu bytes) exceeds maximum %d bytes", total,
                       PLUGINS_BYTES_MAX);
    return 0;
}
