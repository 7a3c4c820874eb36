/* Executors: what a leaf component runs. */
#include "base/str.h"
#include "pipelines/ir/build.h"

static int parse_text(struct build *b, const struct ir_component *c, const char *what, const char *s, struct tmpl *out)
{
    if (!s)
        return 0;
    if (tmpl_parse(b->a, s, strlen(s), out, b->err) < 0) {
        err_wrap(b->err, "invalid v2 pipeline spec: executor \"%s\": %s", c->executor_label, what);
        return -1;
    }
    return 0;
}

static int parse_args(struct build *b, const struct ir_component *c, const char *what, jval *list, struct tmpl_arg **out, int *n)
{
    *out = arena_alloc(b->a, (jv_len(list) + 1) * sizeof **out);
    struct jiter it = jv_iter(list);
    jval *v;
    while (jv_next(&it, NULL, &v))
        if (tmpl_arg_parse(b->a, jv_str(v), jv_len(v), &(*out)[(*n)++], b->err) < 0) {
            err_wrap(b->err, "invalid v2 pipeline spec: executor \"%s\": %s[%d]", c->executor_label, what, *n - 1);
            return -1;
        }
    return 0;
}

/* The newer string field, else the older number with its unit. */
static int resource(struct build *b, const struct ir_component *c, jval *res, const char *text_field, const char *old_field,
                    const char *unit, struct tmpl *out)
{
    const char *s = jv_str(jv_get(res, text_field));
    double d;
    if (!str_empty(s))
        return parse_text(b, c, text_field, s, out);
    jval *old = jv_get(res, old_field);
    if (!jv_f64(old, &d) || d == 0)
        return 0;
    BUF(t);
    value_as_text(old, &t);
    buf_adds(&t, unit);
    return parse_text(b, c, old_field, buf_str(&t), out);
}

static int read_resources(struct build *b, const struct ir_component *c, jval *res, struct ir_container *k)
{
    if (resource(b, c, res, "resourceCpuLimit", "cpuLimit", "", &k->cpu_limit) < 0 ||
        resource(b, c, res, "resourceCpuRequest", "cpuRequest", "", &k->cpu_request) < 0 ||
        resource(b, c, res, "resourceMemoryLimit", "memoryLimit", "G", &k->memory_limit) < 0 ||
        resource(b, c, res, "resourceMemoryRequest", "memoryRequest", "G", &k->memory_request) < 0)
        return -1;
    jval *acc = jv_get(res, "accelerator");
    const char *type = jv_str(jv_get(acc, "resourceType")), *count = jv_str(jv_get(acc, "resourceCount"));
    BUF(n);
    if (str_empty(type))
        type = jv_str(jv_get(acc, "type"));
    if (str_empty(count) && jv_i64_or(jv_get(acc, "count"), 0) != 0) {
        value_as_text(jv_get(acc, "count"), &n);
        count = buf_str(&n);
    }
    if (str_empty(type) || str_empty(count))
        return 0;
    return parse_text(b, c, "accelerator", type, &k->gpu_type) < 0 ? -1 : parse_text(b, c, "accelerator", count, &k->gpu_count);
}

static int read_env(struct build *b, const struct ir_component *c, jval *env, struct ir_container *k)
{
    k->env = arena_alloc(b->a, (jv_len(env) + 1) * sizeof *k->env);
    struct jiter it = jv_iter(env);
    jval *v;
    while (jv_next(&it, NULL, &v)) {
        struct ir_env *e = &k->env[k->n_env++];
        e->name = jv_str(jv_get(v, "name"));
        if (str_empty(e->name))
            return build_error(b, "executor \"%s\": env[%d] has no name", c->executor_label, k->n_env - 1);
        if (parse_text(b, c, e->name, jv_str_or(jv_get(v, "value"), ""), &e->value) < 0)
            return -1;
    }
    return 0;
}

static int read_container(struct build *b, struct ir_component *c, jval *v)
{
    struct ir_container *k = ARENA_NEW(b->a, struct ir_container);
    c->container = k;
    c->kind = IR_CONTAINER;
    if (jv_get(v, "lifecycle") && jv_path(v, "lifecycle", "preCacheCheck", NULL))
        return build_error(b, "executor \"%s\": lifecycle.preCacheCheck is not supported", c->executor_label);
    if (str_empty(jv_str(jv_get(v, "image"))))
        return build_error(b, "executor \"%s\" has no image", c->executor_label);
    if (parse_text(b, c, "image", jv_str(jv_get(v, "image")), &k->image) < 0 ||
        parse_args(b, c, "command", jv_get(v, "command"), &k->command, &k->n_command) < 0 ||
        parse_args(b, c, "args", jv_get(v, "args"), &k->args, &k->n_args) < 0 || read_env(b, c, jv_get(v, "env"), k) < 0 ||
        read_resources(b, c, jv_get(v, "resources"), k) < 0)
        return -1;
    BUF(all);
    buf_addc(&all, '[');
    jval *const parts[] = {jv_get(v, "command"), jv_get(v, "args")};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct jiter it = jv_iter(parts[i]);
        jval *x;
        while (jv_next(&it, NULL, &x)) {
            if (all.len > 1)
                buf_addc(&all, ',');
            jv_write(x, JW_COMPACT, &all);
        }
    }
    buf_addc(&all, ']');
    k->command_json = arena_strndup(b->a, all.data, all.len);
    k->kubernetes = jv_get(b->kubernetes, c->executor_label);
    return 0;
}

static int read_importer(struct build *b, struct ir_component *c, jval *v)
{
    struct ir_importer *m = ARENA_NEW(b->a, struct ir_importer);
    c->importer = m;
    c->kind = IR_IMPORTER;
    jval *uri = jv_get(v, "artifactUri"), *type = jv_get(v, "typeSchema");
    const char *param = jv_str(jv_get(uri, "runtimeParameter"));
    const char *constant = jv_str(jv_get(uri, "constant"));
    if (!constant)
        constant = jv_str(jv_path(uri, "constantValue", "stringValue", NULL));
    if (c->n_out_artifacts != 1)
        return build_error(b, "importer \"%s\" must have exactly one output artifact, not %d", c->executor_label,
                           c->n_out_artifacts);
    if (param) {
        m->uri_param = ir_param_at(c->in_params, c->n_in_params, param);
        if (m->uri_param == IR_NONE)
            return build_error(b, "importer \"%s\" takes its URI from input \"%s\", which component \"%s\" does not declare",
                               c->executor_label, param, c->name);
    } else {
        if (str_empty(constant))
            return build_error(b, "importer \"%s\" has no artifact URI", c->executor_label);
        m->constant = true;
        if (parse_text(b, c, "artifactUri", constant, &m->uri) < 0)
            return -1;
    }
    m->schema_title = jv_str_or(jv_get(type, "schemaTitle"), c->out_artifacts[0].schema_title);
    m->schema_version = jv_str_or(jv_get(type, "schemaVersion"), c->out_artifacts[0].schema_version);
    m->metadata = jv_get(v, "metadata");
    m->reimport = jv_bool(jv_get(v, "reimport"), false);
    m->to_workspace = jv_bool(jv_get(v, "downloadToWorkspace"), false);
    if (m->to_workspace && !jv_get(b->p->pipeline_config, "workspace"))
        return build_error(b, "importer \"%s\" downloads to the workspace, but the pipeline has no workspace configuration",
                           c->executor_label);
    return 0;
}

int build_executor(struct build *b, struct ir_component *c)
{
    jval *v = jv_get(b->executors, c->executor_label);
    if (!v)
        return build_error(b, "component \"%s\" names executor \"%s\", which deploymentSpec.executors does not have", c->name,
                           c->executor_label);
    if (jv_get(v, "container"))
        return read_container(b, c, jv_get(v, "container"));
    if (jv_get(v, "importer"))
        return read_importer(b, c, jv_get(v, "importer"));
    if (jv_get(v, "resolver"))
        return build_error(b, "executor \"%s\": resolver executors are not supported", c->executor_label);
    if (jv_get(v, "customJob"))
        return build_error(b, "executor \"%s\": customJob executors run on Google Cloud only", c->executor_label);
    return build_error(b, "executor \"%s\" has neither a container nor an importer", c->executor_label);
}
