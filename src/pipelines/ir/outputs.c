/* What a DAG hands out: each output from one task, or from the first of several that succeeded. */
#include "base/str.h"
#include "pipelines/ir/build.h"

static int selector(struct build *b, struct ir_component *dag, const char *output, bool artifact, jval *v, struct ir_selector *s)
{
    const char *task = jv_str_or(jv_get(v, "producerSubtask"), "");
    const char *key = jv_str_or(jv_get(v, artifact ? "outputArtifactKey" : "outputParameterKey"), "");
    s->task = ir_task_at(dag, task);
    if (s->task == IR_NONE)
        return build_error(b, "output \"%s\" of \"%s\" comes from task \"%s\", which \"%s\" does not have", output, dag->name,
                           task, dag->name);
    const struct ir_component *from = &b->p->components[dag->tasks[s->task].component];
    s->output_at = artifact ? ir_artifact_at(from->out_artifacts, from->n_out_artifacts, key)
                            : ir_param_at(from->out_params, from->n_out_params, key);
    if (s->output_at == IR_NONE)
        return build_error(
            b, "output \"%s\" of \"%s\" comes from output \"%s\" of task \"%s\", whose component \"%s\" has no such output",
            output, dag->name, key, task, from->name);
    return 0;
}

static int selectors(struct build *b, struct ir_component *dag, const char *output, bool artifact, jval *list,
                     struct ir_dag_output *out)
{
    out->from = arena_alloc(b->a, (jv_len(list) + 1) * sizeof *out->from);
    struct jiter it = jv_iter(list);
    jval *v;
    while (jv_next(&it, NULL, &v))
        if (selector(b, dag, output, artifact, v, &out->from[out->n_from++]) < 0)
            return -1;
    return 0;
}

static int read_params(struct build *b, struct ir_component *dag, jval *map)
{
    struct jiter it = jv_iter(map);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        int at = ir_param_at(dag->out_params, dag->n_out_params, key);
        if (at == IR_NONE)
            return build_error(b, "dag \"%s\" provides output parameter \"%s\", which its component does not declare", dag->name,
                               key);
        struct ir_dag_output *out = &dag->dag_params[at];
        jval *one = jv_get(v, "valueFromParameter"), *several = jv_path(v, "valueFromOneof", "parameterSelectors", NULL);
        if (several && selectors(b, dag, key, false, several, out) < 0)
            return -1;
        if (one) {
            out->from = ARENA_NEW(b->a, struct ir_selector);
            out->n_from = 1;
            if (selector(b, dag, key, false, one, out->from) < 0)
                return -1;
        }
    }
    return 0;
}

static int read_artifacts(struct build *b, struct ir_component *dag, jval *map)
{
    struct jiter it = jv_iter(map);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        int at = ir_artifact_at(dag->out_artifacts, dag->n_out_artifacts, key);
        if (at == IR_NONE)
            return build_error(b, "dag \"%s\" provides output artifact \"%s\", which its component does not declare", dag->name,
                               key);
        if (selectors(b, dag, key, true, jv_get(v, "artifactSelectors"), &dag->dag_artifacts[at]) < 0)
            return -1;
    }
    return 0;
}

int build_dag_outputs(struct build *b, struct ir_component *dag, jval *doc)
{
    jval *outputs = jv_path(doc, "dag", "outputs", NULL);
    dag->dag_params = arena_alloc(b->a, ((size_t)dag->n_out_params + 1) * sizeof *dag->dag_params);
    dag->dag_artifacts = arena_alloc(b->a, ((size_t)dag->n_out_artifacts + 1) * sizeof *dag->dag_artifacts);
    if (read_params(b, dag, jv_get(outputs, "parameters")) < 0)
        return -1;
    return read_artifacts(b, dag, jv_get(outputs, "artifacts"));
}
