/* From bytes to documents, and which of them is what. */
#include <stdlib.h>

#include "base/str.h"
#include "pipelines/ir/build.h"
#include "pipelines/ir/proto.h"
#include "value/yaml.h"

/* One document of the input, by what it looks like. */
struct package {
    jval *spec, *platform;
    jval *part; /* has fields of a pipeline spec, but no name or no root; counts only where there is no whole one, to say what it
                   lacks */
};

static bool has_any(jval *v, const char *const *keys)
{
    for (; *keys; keys++)
        if (jv_get(v, *keys))
            return true;
    return false;
}

static int take_spec(struct package *pkg, jval *v, struct err *err)
{
    if (pkg->spec)
        return err_set(err, ERR_BAD_REQUEST, "multiple pipeline specs provided");
    pkg->spec = v;
    return 0;
}

static int take_platform(struct package *pkg, jval *v, struct err *err)
{
    if (pkg->platform)
        return err_set(err, ERR_BAD_REQUEST, "multiple platform specs provided");
    pkg->platform = v;
    return 0;
}

static jval *either(jval *v, const char *a, const char *b)
{
    jval *x = jv_get(v, a);
    return x ? x : jv_get(v, b);
}

static int classify(struct package *pkg, jval *doc, struct err *err)
{
    static const char *const spec_keys[] = {"pipelineInfo",    "pipeline_info", "root",           "components", "deploymentSpec",
                                            "deployment_spec", "schemaVersion", "schema_version", NULL};
    if (jv_is(doc, J_NULL) || !jv_is(doc, J_OBJECT))
        return 0;
    jval *outer = jv_is(jv_get(doc, "spec"), J_OBJECT) ? jv_get(doc, "spec") : doc;
    jval *spec = either(outer, "pipelineSpec", "pipeline_spec"), *platform = either(outer, "platformSpec", "platform_spec");
    if (jv_is(spec, J_OBJECT)) {
        if (take_spec(pkg, spec, err) < 0)
            return -1;
        return jv_is(platform, J_OBJECT) ? take_platform(pkg, platform, err) : 0;
    }
    if (either(doc, "pipelineInfo", "pipeline_info") && jv_present(jv_get(doc, "root")))
        return take_spec(pkg, doc, err);
    if (has_any(doc, spec_keys))
        pkg->part = pkg->part ? pkg->part : doc;
    else if (jv_is(jv_path(doc, "platforms", "kubernetes", NULL), J_OBJECT))
        return take_platform(pkg, doc, err);
    return 0;
}

static struct json *normalized(const struct proto_message *msg, jval *v, const char *what, bool lenient, struct err *err)
{
    JM_NEW(m);
    jmval *root = proto_normalize(m, msg, v, lenient, err);
    if (!root) {
        err_wrap(err, "invalid v2 %s", what);
        return NULL;
    }
    jm_set_root(m, root);
    return jm_freeze(m);
}

/* What an older SDK wrote has other fields as well; its version is what there is to say of it. */
static int check_version(const char *version, struct err *err)
{
    if (str_eq(version, "2.1.0"))
        return 0;
    return err_set(
        err, ERR_BAD_REQUEST,
        "KFP only supports schema version 2.1.0, but the pipeline spec has version %.40s; compile the pipeline again with "
        "version 2 of the kfp SDK",
        *version ? version : "\"\"");
}

static int check_header(jval *spec, struct err *err)
{
    const char *name = jv_str_or(jv_path(spec, "pipelineInfo", "name", NULL), "");
    if (!*name || !jv_get(spec, "root"))
        return err_set(err, ERR_BAD_REQUEST, "no pipeline spec is provided: it needs pipelineInfo.name and root");
    if (check_version(jv_str_or(jv_get(spec, "schemaVersion"), ""), err) < 0)
        return -1;
    if (!strpbrk(name, "abcdefghijklmnopqrstuvwxyz0123456789"))
        return err_set(
            err, ERR_BAD_REQUEST,
            "pipeline's name should consist of lower case alphanumeric characters, '-' or '.', and must start and end with "
            "an alphanumeric character, got \"%s\"",
            name);
    return 0;
}

/* ---- compiling ------------------------------------------------------------------------------------------------ */

int build_error(struct build *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(b->err, ERR_BAD_REQUEST, fmt, ap);
    va_end(ap);
    return err_wrap(b->err, "invalid v2 pipeline spec");
}

struct cel_program *build_cel(struct build *b, const char *text, bool selector)
{
    static const char *const condition_vars[] = {"inputs", "outputs", NULL};
    static const char *const selector_vars[] = {"string_value", "number_value", "bool_value", "list_value",
                                                "struct_value", "null_value",   NULL};
    struct cel_env env = {.variables = selector ? selector_vars : condition_vars, .numbers_as_double = true, .pipelines = true};
    struct ir_pipeline *p = b->p;
    struct cel_program *prog = cel_compile(text, &env, b->err);
    if (!prog)
        return NULL;
    p->programs = xreallocarray(p->programs, p->n_programs + 1, sizeof(struct cel_program *));
    p->programs[p->n_programs++] = prog;
    return prog;
}

static void list_components(struct build *b)
{
    struct ir_pipeline *p = b->p;
    jval *components = jv_get(p->spec, "components");
    p->n_components = 1 + (int)jv_len(components);
    p->components = arena_alloc(b->a, (size_t)p->n_components * sizeof *p->components);
    b->docs = arena_alloc(b->a, (size_t)p->n_components * sizeof *b->docs);
    p->root = 0;
    p->components[0].name = "root";
    b->docs[0] = jv_get(p->spec, "root");
    struct jiter it = jv_iter(components);
    const char *name;
    jval *doc;
    for (int i = 1; jv_next(&it, &name, &doc); i++) {
        p->components[i].name = name;
        b->docs[i] = doc;
        strmap_put(&b->by_name, name, (void *)(intptr_t)i);
    }
}

static int compile(struct build *b)
{
    struct ir_pipeline *p = b->p;
    list_components(b);
    if (!jv_get(b->docs[0], "dag"))
        return build_error(b, "root must be a dag");
    for (int i = 0; i < p->n_components; i++)
        if (build_interfaces(b, &p->components[i], b->docs[i]) < 0)
            return -1;
    for (int i = 0; i < p->n_components; i++)
        if (p->components[i].executor_label && build_executor(b, &p->components[i]) < 0)
            return -1;
    for (int i = 0; i < p->n_components; i++)
        if (p->components[i].kind == IR_DAG && build_dag(b, &p->components[i], b->docs[i]) < 0)
            return -1;
    for (int i = 0; i < p->n_components; i++)
        if (p->components[i].kind == IR_DAG && build_dag_outputs(b, &p->components[i], b->docs[i]) < 0)
            return -1;
    return check_graph(b);
}

/* Documents of the compiler's own: what it reads beside the two that the pipeline keeps. */
static int compile_docs(struct ir_pipeline *p, struct json **exec_doc, struct err *err)
{
    struct build b = {.p = p, .a = &p->arena, .err = err};
    jval *deployment = jv_get(p->spec, "deploymentSpec");
    if (deployment) {
        *exec_doc = normalized(&proto_deployment, deployment, "pipeline spec: deploymentSpec", true, err);
        if (!*exec_doc)
            return -1;
        b.executors = jv_get(json_root(*exec_doc), "executors");
    }
    jval *kubernetes = jv_path(p->platform, "platforms", "kubernetes", NULL);
    b.kubernetes = jv_path(kubernetes, "deploymentSpec", "executors", NULL);
    p->pipeline_config = jv_get(kubernetes, "pipelineConfig");
    p->deadline_s = jv_i64_or(jv_get(p->pipeline_config, "activeDeadlineSeconds"), 0);
    if (p->deadline_s < 0)
        return err_set(err, ERR_BAD_REQUEST, "pipelineConfig.activeDeadlineSeconds must not be negative, got %lld",
                       (long long)p->deadline_s);
    int rc = compile(&b);
    strmap_free(&b.by_name);
    return rc;
}

struct ir_pipeline *ir_from_json(jval *spec, jval *platform, struct err *err)
{
    if (!spec || !jv_is(spec, J_OBJECT)) {
        err_set(err, ERR_BAD_REQUEST, "no pipeline spec is provided");
        return NULL;
    }
    const char *version = jv_str(either(spec, "schemaVersion", "schema_version"));
    if (!str_empty(version) && check_version(version, err) < 0)
        return NULL;
    CLEANUP(ir_unrefp) struct ir_pipeline *p = xcalloc(1, sizeof *p);
    p->refs = 1;
    p->spec_doc = normalized(&proto_pipeline_spec, spec, "pipeline spec", false, err);
    if (!p->spec_doc)
        return NULL;
    p->spec = json_root(p->spec_doc);
    if (platform) {
        p->platform_doc = normalized(&proto_platform_spec, platform, "platform spec", false, err);
        if (!p->platform_doc)
            return NULL;
        p->platform = json_root(p->platform_doc);
    }
    if (check_header(p->spec, err) < 0)
        return NULL;
    jval *info = jv_get(p->spec, "pipelineInfo");
    p->name = jv_str(jv_get(info, "name"));
    p->display_name = jv_str_or(jv_get(info, "displayName"), "");
    p->description = jv_str_or(jv_get(info, "description"), "");
    p->sdk_version = jv_str_or(jv_get(p->spec, "sdkVersion"), "");
    p->default_root = jv_str_or(jv_get(p->spec, "defaultPipelineRoot"), "");
    if (compile_docs(p, &p->exec_doc, err) < 0)
        return NULL;
    return TAKE(p);
}

struct ir_pipeline *ir_parse(const char *text, size_t len, struct err *err)
{
    if (len > IR_TEXT_MAX) {
        err_set(err, ERR_TOO_LARGE, "the pipeline spec has %zu bytes; at most %u are allowed", len, IR_TEXT_MAX);
        return NULL;
    }
    struct json **docs = NULL;
    size_t n = 0;
    if (yaml_parse(text, len, NULL, &docs, &n, err) < 0) {
        err_wrap(err, "unable to decode yaml document");
        return NULL;
    }
    struct package pkg = {0};
    struct ir_pipeline *p = NULL;
    size_t i = 0;
    while (i < n && classify(&pkg, json_root(docs[i]), err) == 0)
        i++;
    if (i == n)
        p = ir_from_json(pkg.spec ? pkg.spec : pkg.part, pkg.platform, err);
    for (i = 0; i < n; i++)
        json_unref(docs[i]);
    free(docs);
    return p;
}

struct ir_pipeline *ir_ref(struct ir_pipeline *p)
{
    __atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
    return p;
}

void ir_unref(struct ir_pipeline *p)
{
    if (!p || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < p->n_programs; i++)
        cel_free(p->programs[i]);
    free(p->programs);
    for (size_t i = 0; i < p->n_raw_items; i++)
        json_unref(p->raw_items[i]);
    free(p->raw_items);
    json_unref(p->spec_doc);
    json_unref(p->platform_doc);
    json_unref(p->exec_doc);
    arena_free(&p->arena);
    free(p);
}
