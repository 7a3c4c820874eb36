/* package.c - pipeline files: checked, and as they are stored and sent (spec 4.4). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "pipelines/api/internal.h"
#include "value/yaml.h"

enum { IR_NAME_MAX = 128 };

void package_clear(struct package *p)
{
    ir_unref(p->ir);
    free(p->spec);
    free(p->platform);
    *p = (struct package){0};
}

static bool is_argo(jval *doc)
{
    return str_eq(jv_str(jv_get(doc, "kind")), "Workflow") &&
           str_starts(jv_str_or(jv_get(doc, "apiVersion"), ""), "argoproj.io/");
}

static int refuse_argo(struct err *err)
{
    err_clear(err);
    return err_set(err, ERR_INVALID,
                   "V1 pipeline specs are not allowed: this is an Argo Workflow. Compile the pipeline with the kfp SDK 2");
}

/* What SDK 1 calls a component: one step, in the author's own words. */
static bool is_component(jval *doc) { return jv_is(jv_get(doc, "implementation"), J_OBJECT) && !jv_get(doc, "kind"); }

static int refuse_component(struct err *err)
{
    err_clear(err);
    return err_set(
        err, ERR_INVALID,
        "no pipeline spec is provided: this is a component. Load it with kfp.components.load_component_from_file, use it "
        "in a pipeline, and upload what the kfp SDK 2 compiles of that");
}

/* pipelineInfo.name makes names of pods. */
static int check_name(const char *name, struct err *err)
{
    size_t n = strlen(name);
    bool good = n > 0 && n <= IR_NAME_MAX && name[0] != '-';
    for (size_t i = 0; good && i < n; i++)
        good = islower((unsigned char)name[i]) || isdigit((unsigned char)name[i]) || name[i] == '-';
    if (!good)
        return err_set(err, ERR_INVALID,
                       "pipeline's name must contain only lowercase alphanumeric characters or '-' and must start with "
                       "alphanumeric characters (at most %d), got \"%.140s\"",
                       IR_NAME_MAX, name);
    return 0;
}

static int accept_ir(struct ir_pipeline *ir, struct package *out, struct err *err)
{
    out->ir = ir;
    if (!ir)
        return -1;
    out->spec = jv_text(ir->spec, JW_COMPACT);
    out->platform = ir->platform ? jv_text(ir->platform, JW_COMPACT) : NULL;
    return check_name(ir->name, err);
}

/* Whether any document of a file that is no pipeline is something else that people have. */
static bool holds(const char *text, size_t n, bool (*is)(jval *doc))
{
    struct json **docs = NULL;
    size_t count = 0;
    bool found = false;
    if (yaml_parse(text, n, NULL, &docs, &count, NULL) < 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        found = found || is(json_root(docs[i]));
        json_unref(docs[i]);
    }
    free(docs);
    return found;
}

int package_from_text(const char *text, size_t n, struct package *out, struct err *err)
{
    if (n == 0)
        return err_set(err, ERR_INVALID, "the pipeline file is empty");
    struct ir_pipeline *ir = ir_parse(text, n, err);
    if (!ir && holds(text, n, is_argo))
        return refuse_argo(err);
    if (!ir && holds(text, n, is_component))
        return refuse_component(err);
    return accept_ir(ir, out, err);
}

int package_from_json(jval *spec, struct package *out, struct err *err)
{
    jval *inner = jv_get(spec, "pipeline_spec"), *platform = jv_get(spec, "platform_spec");
    if (!inner)
        inner = jv_get(spec, "pipelineSpec");
    if (!platform)
        platform = jv_get(spec, "platformSpec");
    if (is_argo(spec) || is_argo(inner))
        return refuse_argo(err);
    if (inner)
        return accept_ir(ir_from_json(inner, jv_present(platform) ? platform : NULL, err), out, err);
    return accept_ir(ir_from_json(spec, NULL, err), out, err);
}

int package_load(struct db *db, const char *hash, struct package *out, struct err *err)
{
    if (spec_get(db, hash, &out->spec, &out->platform, err) < 0)
        return -1;
    JSON_REF(spec) = json_parse_str(out->spec, err);
    JSON_REF(platform) = spec && out->platform ? json_parse_str(out->platform, err) : NULL;
    if (!spec || (out->platform && !platform))
        return -1;
    out->ir = ir_from_json(json_root(spec), platform ? json_root(platform) : NULL, err);
    return out->ir ? 0 : -1;
}

int package_out(struct db *db, const char *hash, struct jm *m, jmval *obj, struct err *err)
{
    AUTOFREE char *spec_text = NULL;
    AUTOFREE char *platform_text = NULL;
    if (spec_get(db, hash, &spec_text, &platform_text, err) < 0)
        return -1;
    JSON_REF(spec) = json_parse_str(spec_text, err);
    JSON_REF(platform) = spec && platform_text ? json_parse_str(platform_text, err) : NULL;
    if (!spec || (platform_text && !platform))
        return -1;
    if (!platform) {
        jm_put(m, obj, "pipeline_spec", jm_val(m, json_root(spec)));
        return 0;
    }
    jmval *both = jm_obj(m);
    jm_put(m, both, "pipeline_spec", jm_val(m, json_root(spec)));
    jm_put(m, both, "platform_spec", jm_val(m, json_root(platform)));
    jm_put(m, obj, "pipeline_spec", both);
    return 0;
}
