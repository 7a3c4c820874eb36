/* Interfaces of components: what goes in and what comes out. */
#include "base/str.h"
#include "pipelines/ir/build.h"

#define NAMES_MAX 4096 /* inputs or outputs of one component */

int ir_param_at(const struct ir_param *v, int n, const char *key)
{
    for (int i = 0; i < n; i++)
        if (str_eq(v[i].key, key))
            return i;
    return IR_NONE;
}

int ir_artifact_at(const struct ir_artifact *v, int n, const char *key)
{
    for (int i = 0; i < n; i++)
        if (str_eq(v[i].key, key))
            return i;
    return IR_NONE;
}

static int read_params(struct build *b, const struct ir_component *c, const char *side, jval *map, struct ir_param **out, int *n)
{
    if (jv_len(map) > NAMES_MAX)
        return build_error(b, "component \"%s\" declares more than %d %s parameters", c->name, NAMES_MAX, side);
    *out = arena_alloc(b->a, (jv_len(map) + 1) * sizeof **out);
    struct jiter it = jv_iter(map);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        struct ir_param *p = &(*out)[(*n)++];
        p->key = key;
        const char *type = jv_str(jv_get(v, "parameterType"));
        if (!type || str_eq(type, "PARAMETER_TYPE_ENUM_UNSPECIFIED"))
            type = jv_str(jv_get(v, "type"));
        if (!type || !ptype_parse(type, &p->type))
            return build_error(b, "component \"%s\": %s parameter \"%s\" has no parameterType", c->name, side, key);
        jval *dflt = jv_get(v, "defaultValue");
        p->dflt = jv_present(dflt) ? dflt : NULL;
        p->optional = jv_bool(jv_get(v, "isOptional"), false);
        p->literals = jv_len(jv_get(v, "literals")) ? jv_get(v, "literals") : NULL;
        p->description = jv_str_or(jv_get(v, "description"), "");
    }
    return 0;
}

static int read_artifacts(struct build *b, const struct ir_component *c, const char *side, jval *map, struct ir_artifact **out,
                          int *n)
{
    if (jv_len(map) > NAMES_MAX)
        return build_error(b, "component \"%s\" declares more than %d %s artifacts", c->name, NAMES_MAX, side);
    *out = arena_alloc(b->a, (jv_len(map) + 1) * sizeof **out);
    struct jiter it = jv_iter(map);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        struct ir_artifact *a = &(*out)[(*n)++];
        jval *type = jv_get(v, "artifactType");
        a->key = key;
        if (jv_get(type, "schemaUri"))
            return build_error(b, "component \"%s\": %s artifact \"%s\" has a schemaUri, which is not supported; use schemaTitle",
                               c->name, side, key);
        a->schema_title = jv_str_or(jv_get(type, "schemaTitle"), "");
        a->schema_version = jv_str_or(jv_get(type, "schemaVersion"), "");
        a->list = jv_bool(jv_get(v, "isArtifactList"), false);
        a->optional = jv_bool(jv_get(v, "isOptional"), false);
        a->metadata = jv_get(v, "metadata");
    }
    return 0;
}

/* What the input of type TASK_CONFIG gets. Source: pipelines-runtime spec 16. */
static int read_passthroughs(struct build *b, struct ir_component *c, jval *list)
{
    static const char *const fields[] = {
        "RESOURCES", "ENV", "KUBERNETES_AFFINITY", "KUBERNETES_TOLERATIONS", "KUBERNETES_NODE_SELECTOR", "KUBERNETES_VOLUMES",
    };
    c->config_param = IR_NONE;
    for (int i = 0; i < c->n_in_params; i++)
        if (c->in_params[i].type == PT_TASK_CONFIG)
            c->config_param = i;
    if (jv_len(list) > 0 && c->config_param == IR_NONE)
        return build_error(b, "component \"%s\" has taskConfigPassthroughs and no input of type TASK_CONFIG to take them",
                           c->name);
    struct jiter it = jv_iter(list);
    jval *v;
    while (jv_next(&it, NULL, &v))
        for (size_t k = 0; k < ARRAY_LEN(fields); k++)
            if (str_eq(jv_str(jv_get(v, "field")), fields[k])) {
                c->config |= 1u << k;
                c->config_apply |= jv_bool(jv_get(v, "applyToTask"), false) ? 1u << k : 0;
            }
    return 0;
}

int build_interfaces(struct build *b, struct ir_component *c, jval *doc)
{
    jval *in = jv_get(doc, "inputDefinitions"), *out = jv_get(doc, "outputDefinitions");
    if (read_params(b, c, "input", jv_get(in, "parameters"), &c->in_params, &c->n_in_params) < 0 ||
        read_params(b, c, "output", jv_get(out, "parameters"), &c->out_params, &c->n_out_params) < 0 ||
        read_artifacts(b, c, "input", jv_get(in, "artifacts"), &c->in_artifacts, &c->n_in_artifacts) < 0 ||
        read_artifacts(b, c, "output", jv_get(out, "artifacts"), &c->out_artifacts, &c->n_out_artifacts) < 0)
        return -1;
    for (int i = 0; i < c->n_out_params; i++)
        if (c->out_params[i].type >= PT_TASK_FINAL_STATUS)
            return build_error(b, "component \"%s\": output \"%s\" cannot be of type %s", c->name, c->out_params[i].key,
                               ptype_name(c->out_params[i].type));
    if (read_passthroughs(b, c, jv_get(doc, "taskConfigPassthroughs")) < 0)
        return -1;
    c->executor_label = jv_str(jv_get(doc, "executorLabel"));
    c->kind = IR_DAG;
    if (!c->executor_label && !jv_get(doc, "dag"))
        return build_error(b, "component \"%s\" has neither a dag nor an executorLabel", c->name);
    return 0;
}

/* ---- parameters of a run -------------------------------------------------------------------------------------- */

static const char *requires_text(enum ptype t)
{
    switch (t) {
    case PT_STRING:
        return "string";
    case PT_BOOLEAN:
        return "bool";
    case PT_LIST:
        return "list";
    case PT_STRUCT:
    case PT_TASK_CONFIG:
        return "struct";
    default:
        return "double or integer";
    }
}

static int check_given(const struct ir_param *p, jval *v, struct err *err)
{
    if (p->type == PT_TASK_FINAL_STATUS)
        return err_set(err, ERR_BAD_REQUEST, "input parameter %s: TASK_FINAL_STATUS cannot be given to a run", p->key);
    if (!value_is(p->type, v)) {
        AUTOFREE char *got = jv_text(v, JW_COMPACT);
        return err_set(err, ERR_BAD_REQUEST, "input parameter %s requires type %s, but the parameter value is %.200s", p->key,
                       requires_text(p->type), got);
    }
    ERR(e);
    if (value_in_literals(p->literals, p->key, v, &e) < 0 || value_bounded("input", p->key, v, &e) < 0)
        return err_set(err, ERR_BAD_REQUEST, "%s", err_text(&e));
    return 0;
}

int ir_check_parameters(const struct ir_pipeline *p, jval *parameters, struct err *err)
{
    const struct ir_component *root = &p->components[p->root];
    for (int i = 0; i < root->n_in_params; i++) {
        const struct ir_param *in = &root->in_params[i];
        jval *v = jv_get(parameters, in->key);
        if (v && check_given(in, v, err) < 0)
            return -1;
        if (!v && !in->optional && !in->dflt)
            return err_set(err, ERR_BAD_REQUEST,
                           "parameter %s is not optional, yet has neither default value nor user provided value", in->key);
    }
    STRLIST(extra);
    struct jiter it = jv_iter(parameters);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v))
        if (ir_param_at(root->in_params, root->n_in_params, key) == IR_NONE)
            strlist_add(&extra, key);
    if (extra.n == 0)
        return 0;
    strlist_sort(&extra);
    AUTOFREE char *all = strlist_join(&extra, ", ");
    return err_set(err, ERR_BAD_REQUEST, "parameter(s) provided are not required by pipeline: %s", all);
}
