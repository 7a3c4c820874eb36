/* The executor input: what a step is told, as JSON. Source: pipelines-runtime spec 12. */
#include <math.h>
#include <stdlib.h>

#include "pipelines/engine/execinput.h"
#include "pipelines/engine/live.h"

static jmval *type_json(struct jm *m, const char *title, const char *version)
{
    jmval *type = jm_obj(m);
    if (!str_empty(title))
        jm_put(m, type, "schemaTitle", jm_str(m, title));
    if (!str_empty(version))
        jm_put(m, type, "schemaVersion", jm_str(m, version));
    return type;
}

jmval *input_artifact_json(struct jm *m, const struct art *a)
{
    jmval *o = jm_obj(m);
    jm_put(m, o, "name", jm_strf(m, "%lld", (long long)a->a.id));
    jm_put(m, o, "type", type_json(m, a->a.schema_title, a->a.schema_version));
    jm_put(m, o, "uri", jm_str(m, a->a.uri));
    jmval *metadata = plain_numbers(m, json_root(a->metadata));
    if (!jmv_get(metadata, "display_name"))
        jm_put(m, metadata, "display_name", jm_str(m, a->a.name));
    jm_put(m, o, ART_METADATA, metadata);
    return o;
}

jmval *output_artifact_json(struct jm *m, const struct inst *i, const struct ir_artifact *out)
{
    AUTOFREE char *uri = output_uri(i, out->key);
    jmval *o = jm_obj(m);
    jm_put(m, o, "name", jm_str(m, out->key));
    jm_put(m, o, "type", type_json(m, out->schema_title, out->schema_version));
    jm_put(m, o, "uri", jm_str(m, uri));
    jm_put(m, o, ART_METADATA, out->metadata ? plain_numbers(m, out->metadata) : jm_obj(m));
    return o;
}

static jmval *inputs_json(struct jm *m, const struct inst *i)
{
    jmval *inputs = jm_obj(m), *params = jm_obj(m), *artifacts = jm_obj(m);
    for (int k = 0; k < i->c->n_in_params; k++)
        if (i->in_params[k])
            jm_put(m, params, i->c->in_params[k].key, plain_numbers(m, json_root(i->in_params[k])));
    for (int k = 0; k < i->c->n_in_artifacts; k++) {
        if (!i->in_artifacts[k])
            continue;
        jmval *entry = jm_obj(m), *list = jm_arr(m);
        for (int n = 0; n < i->in_artifacts[k]->n; n++)
            jm_push(list, input_artifact_json(m, i->in_artifacts[k]->v[n]));
        jm_put(m, entry, "artifacts", list);
        jm_put(m, artifacts, i->c->in_artifacts[k].key, entry);
    }
    if (jmv_len(params) > 0)
        jm_put(m, inputs, "parameterValues", params);
    if (jmv_len(artifacts) > 0)
        jm_put(m, inputs, "artifacts", artifacts);
    return inputs;
}

static jmval *outputs_json(struct jm *m, const struct inst *i)
{
    jmval *outputs = jm_obj(m), *params = jm_obj(m), *artifacts = jm_obj(m);
    for (int k = 0; k < i->c->n_out_params; k++) {
        jmval *o = jm_obj(m);
        jm_put(m, o, "outputFile", jm_strf(m, "/tmp/kfp/outputs/%s", i->c->out_params[k].key));
        jm_put(m, params, i->c->out_params[k].key, o);
    }
    for (int k = 0; k < i->c->n_out_artifacts; k++) {
        jmval *entry = jm_obj(m), *list = jm_arr(m);
        jm_push(list, output_artifact_json(m, i, &i->c->out_artifacts[k]));
        jm_put(m, entry, "artifacts", list);
        jm_put(m, artifacts, i->c->out_artifacts[k].key, entry);
    }
    if (jmv_len(params) > 0)
        jm_put(m, outputs, "parameters", params);
    if (jmv_len(artifacts) > 0)
        jm_put(m, outputs, "artifacts", artifacts);
    AUTOFREE char *file = executor_output_file(i);
    jm_put(m, outputs, "outputFile", jm_str(m, file));
    return outputs;
}

struct json *executor_input(struct inst *i, struct err *err)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    jm_put(m, o, "inputs", inputs_json(m, i));
    jm_put(m, o, "outputs", outputs_json(m, i));
    return jm_freeze(m);
}
