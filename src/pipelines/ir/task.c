/* Tasks of a DAG: what each takes from where, when it runs, and how often. */
#include <stdlib.h>

#include "base/ctx.h"
#include "base/str.h"
#include "base/timefmt.h"
#include "pipelines/ir/build.h"

/* The task being read, with what its messages need. */
struct task_build {
    struct build *b;
    struct ir_component *dag;
    struct ir_task *t;
    struct ir_component *comp; /* what the task instantiates */
    uint8_t *dep;              /* set of tasks of the DAG, one byte each */
};

int ir_task_at(const struct ir_component *dag, const char *name)
{
    int lo = 0, hi = dag->n_tasks - 1;
    while (name && lo <= hi) {
        int mid = (lo + hi) / 2, c = strcmp(name, dag->tasks[mid].name);
        if (c == 0)
            return mid;
        if (c < 0)
            hi = mid - 1;
        else
            lo = mid + 1;
    }
    return IR_NONE;
}

static int fail(struct task_build *tb, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int fail(struct task_build *tb, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(tb->b->err, ERR_BAD_REQUEST, fmt, ap);
    va_end(ap);
    return err_wrap(tb->b->err, "invalid v2 pipeline spec: task \"%s\" of \"%s\"", tb->t->name, tb->dag->name);
}

/* ---- producers ------------------------------------------------------------------------------------------------ */

static int producer(struct task_build *tb, const char *input, const char *name, int *task)
{
    *task = ir_task_at(tb->dag, name);
    if (*task == IR_NONE)
        return fail(tb, "input \"%s\" comes from task \"%s\", which \"%s\" does not have", input, name ? name : "",
                    tb->dag->name);
    if (*task == tb->t->number)
        return fail(tb, "input \"%s\" comes from the task itself", input);
    tb->dep[*task] = 1;
    return 0;
}

static const struct ir_component *component_of(struct task_build *tb, int task)
{
    return &tb->b->p->components[tb->dag->tasks[task].component];
}

static int param_of_task(struct task_build *tb, struct ir_input *in, jval *ref)
{
    const char *key = jv_str_or(jv_get(ref, "outputParameterKey"), "");
    in->bind = IR_BIND_TASK;
    if (producer(tb, in->key, jv_str(jv_get(ref, "producerTask")), &in->task) < 0)
        return -1;
    const struct ir_component *from = component_of(tb, in->task);
    in->output_at = ir_param_at(from->out_params, from->n_out_params, key);
    if (in->output_at == IR_NONE)
        return fail(tb,
                    "input \"%s\" comes from output parameter \"%s\" of task \"%s\", whose component \"%s\" has no such output",
                    in->key, key, tb->dag->tasks[in->task].name, from->name);
    return 0;
}

/* What the SDK (2.0 to 2.17 at least) writes of it is the bare name, as of an input of the pipeline. */
#define LOST_ITEM                                                                                                                \
    "; the kfp SDK loses the item of a loop where a text in a nested loop or branch is put together of it: give the item "       \
    "itself to a "                                                                                                               \
    "step, and let that put the text together"
static bool is_lost_item(const char *key)
{
    return !str_starts(key, "pipelinechannel--") && (str_starts(key, "loop-item-param-") || strstr(key, "-loop-item"));
}

static int param_of_parent(struct task_build *tb, struct ir_input *in, const char *key)
{
    in->bind = IR_BIND_PARENT;
    in->parent_at = ir_param_at(tb->dag->in_params, tb->dag->n_in_params, key);
    if (in->parent_at == IR_NONE)
        return fail(tb, "input \"%s\" comes from input parameter \"%s\" of \"%s\", which does not declare it%s", in->key, key,
                    tb->dag->name, is_lost_item(key) ? LOST_ITEM : "");
    return 0;
}

static int param_constant(struct task_build *tb, struct ir_input *in, jval *rv)
{
    jval *constant = jv_get(rv, "constant"), *old = jv_get(rv, "constantValue");
    const char *runtime = jv_str(jv_get(rv, "runtimeParameter"));
    if (runtime)
        return param_of_parent(tb, in, runtime);
    in->bind = IR_BIND_CONSTANT;
    in->constant = constant;
    if (!constant) {
        struct jiter it = jv_iter(old);
        const char *k;
        jv_next(&it, &k, &in->constant);
    }
    if (!in->constant)
        return fail(tb, "input \"%s\" has a runtimeValue without a value", in->key);
    return 0;
}

static int read_param(struct task_build *tb, const char *key, jval *v, struct ir_input *in)
{
    *in = (struct ir_input){.key = key, .at = ir_param_at(tb->comp->in_params, tb->comp->n_in_params, key)};
    jval *from_task = jv_get(v, "taskOutputParameter"), *status = jv_get(v, "taskFinalStatus"), *rv = jv_get(v, "runtimeValue");
    const char *parent = jv_str(jv_get(v, "componentInputParameter"));
    int rc;
    if (from_task)
        rc = param_of_task(tb, in, from_task);
    else if (parent)
        rc = param_of_parent(tb, in, parent);
    else if (rv)
        rc = param_constant(tb, in, rv);
    else if (status) {
        in->bind = IR_BIND_STATUS;
        rc = producer(tb, key, jv_str(jv_get(status, "producerTask")), &in->task);
    } else {
        rc = fail(tb, "input parameter \"%s\" has no source", key);
    }
    const char *sel = jv_str(jv_get(v, "parameterExpressionSelector"));
    if (rc < 0 || str_empty(sel))
        return rc;
    in->selector_text = sel;
    in->selector = build_cel(tb->b, sel, true);
    if (in->selector)
        return 0;
    err_wrap(tb->b->err, "invalid v2 pipeline spec: task \"%s\" of \"%s\": selector of input \"%s\": %s", tb->t->name,
             tb->dag->name, key, sel);
    tb->b->err->code = ERR_BAD_REQUEST;
    return -1;
}

static int read_artifact(struct task_build *tb, const char *key, jval *v, struct ir_input *in)
{
    *in = (struct ir_input){.key = key, .at = ir_artifact_at(tb->comp->in_artifacts, tb->comp->n_in_artifacts, key)};
    jval *from_task = jv_get(v, "taskOutputArtifact");
    const char *parent = jv_str(jv_get(v, "componentInputArtifact"));
    if (in->at == IR_NONE)
        return fail(tb, "input artifact \"%s\" is not declared by component \"%s\"", key, tb->comp->name);
    if (parent) {
        in->bind = IR_BIND_PARENT;
        in->parent_at = ir_artifact_at(tb->dag->in_artifacts, tb->dag->n_in_artifacts, parent);
        if (in->parent_at == IR_NONE)
            return fail(tb, "input \"%s\" comes from input artifact \"%s\" of \"%s\", which does not declare it", key, parent,
                        tb->dag->name);
        return 0;
    }
    if (!from_task)
        return fail(tb, "input artifact \"%s\" has no source", key);
    in->bind = IR_BIND_TASK;
    if (producer(tb, key, jv_str(jv_get(from_task, "producerTask")), &in->task) < 0)
        return -1;
    const struct ir_component *from = component_of(tb, in->task);
    const char *out = jv_str_or(jv_get(from_task, "outputArtifactKey"), "");
    in->output_at = ir_artifact_at(from->out_artifacts, from->n_out_artifacts, out);
    if (in->output_at == IR_NONE)
        return fail(tb,
                    "input \"%s\" comes from output artifact \"%s\" of task \"%s\", whose component \"%s\" has no such output",
                    key, out, tb->dag->tasks[in->task].name, from->name);
    return 0;
}

static int read_inputs(struct task_build *tb, jval *inputs)
{
    struct ir_task *t = tb->t;
    jval *params = jv_get(inputs, "parameters"), *artifacts = jv_get(inputs, "artifacts");
    t->params = arena_alloc(tb->b->a, (jv_len(params) + 1) * sizeof *t->params);
    t->artifacts = arena_alloc(tb->b->a, (jv_len(artifacts) + 1) * sizeof *t->artifacts);
    struct jiter it = jv_iter(params);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v))
        if (read_param(tb, key, v, &t->params[t->n_params++]) < 0)
            return -1;
    it = jv_iter(artifacts);
    while (jv_next(&it, &key, &v))
        if (read_artifact(tb, key, v, &t->artifacts[t->n_artifacts++]) < 0)
            return -1;
    return 0;
}

/* ---- loops ---------------------------------------------------------------------------------------------------- */

static int read_param_iterator(struct task_build *tb, jval *v)
{
    struct ir_task *t = tb->t;
    jval *items = jv_get(v, "items");
    const char *raw = jv_str(jv_get(items, "raw")), *input = jv_str(jv_get(items, "inputParameter"));
    const char *item = jv_str_or(jv_get(v, "itemInput"), "");
    t->iter_item = ir_param_at(tb->comp->in_params, tb->comp->n_in_params, item);
    if (t->iter_item == IR_NONE)
        return fail(tb, "the loop hands its items to input \"%s\", which component \"%s\" does not declare", item,
                    tb->comp->name);
    if (raw) {
        JSON_REF(d) = json_parse_str(raw, tb->b->err);
        if (!d || !jv_is(json_root(d), J_ARRAY))
            return fail(tb, "the loop's items are no JSON list: %.80s", raw);
        t->iter = IR_ITER_RAW;
        /* Kept in the arena as text would cost a parse for each run: the documents live with the pipeline instead. */
        struct ir_pipeline *p = tb->b->p;
        p->raw_items = xreallocarray(p->raw_items, p->n_raw_items + 1, sizeof(struct json *));
        p->raw_items[p->n_raw_items++] = json_ref(d);
        t->iter_raw = json_root(d);
        return 0;
    }
    if (!input)
        return fail(tb, "the loop has no items");
    t->iter = IR_ITER_PARAM;
    t->iter_input_key = input;
    for (int i = 0; i < t->n_params; i++)
        if (str_eq(t->params[i].key, input)) {
            t->iter_input = i;
            return 0;
        }
    return fail(tb, "the loop takes its items from input \"%s\", which the task does not have", input);
}

static int read_artifact_iterator(struct task_build *tb, jval *v)
{
    struct ir_task *t = tb->t;
    const char *input = jv_str_or(jv_path(v, "items", "inputArtifact", NULL), ""), *item = jv_str_or(jv_get(v, "itemInput"), "");
    t->iter = IR_ITER_ARTIFACT;
    t->iter_input_key = input;
    t->iter_item = ir_artifact_at(tb->comp->in_artifacts, tb->comp->n_in_artifacts, item);
    if (t->iter_item == IR_NONE)
        return fail(tb, "the loop hands its items to input \"%s\", which component \"%s\" does not declare", item,
                    tb->comp->name);
    for (int i = 0; i < t->n_artifacts; i++)
        if (str_eq(t->artifacts[i].key, input)) {
            t->iter_input = i;
            return 0;
        }
    return fail(tb, "the loop takes its items from input artifact \"%s\", which the task does not have", input);
}

static int read_iterator(struct task_build *tb, jval *v)
{
    struct ir_task *t = tb->t;
    jval *param = jv_get(v, "parameterIterator"), *artifact = jv_get(v, "artifactIterator");
    int64_t limit = jv_i64_or(jv_path(v, "iteratorPolicy", "parallelismLimit", NULL), 0);
    t->iter_input = t->iter_item = IR_NONE;
    if (limit < 0)
        return fail(tb, "iteratorPolicy.parallelismLimit must not be negative, got %lld", (long long)limit);
    t->parallelism = (int)limit;
    if (param && read_param_iterator(tb, param) < 0)
        return -1;
    return artifact ? read_artifact_iterator(tb, artifact) : 0;
}

/* ---- when and how often --------------------------------------------------------------------------------------- */

static int read_duration(struct task_build *tb, jval *v, const char *field, int64_t dflt, int64_t *ns)
{
    const char *s = jv_str(jv_get(v, field));
    *ns = dflt;
    if (s && (!duration_parse(s, ns) || *ns < 0))
        return fail(tb, "retryPolicy.%s must be a duration of at least 0s, got \"%s\"", field, s);
    return 0;
}

static int read_retry(struct task_build *tb, jval *v)
{
    struct ir_retry *r = &tb->t->retry;
    if (!v)
        return 0;
    r->set = true;
    int64_t max = jv_i64_or(jv_get(v, "maxRetryCount"), 0);
    if (max < 0)
        return fail(tb, "retryPolicy.maxRetryCount must not be negative, got %lld", (long long)max);
    r->max = (int)max;
    double factor = 0;
    jv_f64(jv_get(v, "backoffFactor"), &factor);
    if (factor < 0)
        return fail(tb, "retryPolicy.backoffFactor must not be negative, got %g", factor);
    r->factor = factor > 0 ? factor : 2;
    if (read_duration(tb, v, "backoffDuration", 0, &r->backoff_ns) < 0 ||
        read_duration(tb, v, "backoffMaxDuration", 3600 * NS_PER_S, &r->backoff_max_ns) < 0)
        return -1;
    if (r->backoff_max_ns == 0)
        r->backoff_max_ns = 3600 * NS_PER_S;
    return 0;
}

static int read_trigger(struct task_build *tb, jval *v)
{
    struct ir_task *t = tb->t;
    const char *condition = jv_str(jv_get(v, "condition"));
    t->run_always = str_eq(jv_str(jv_get(v, "strategy")), "ALL_UPSTREAM_TASKS_COMPLETED");
    if (str_empty(condition))
        return 0;
    t->condition_text = condition;
    t->condition = build_cel(tb->b, condition, false);
    if (t->condition)
        return 0;
    err_wrap(tb->b->err, "invalid v2 pipeline spec: condition of task \"%s\" of \"%s\": %s", t->name, tb->dag->name, condition);
    tb->b->err->code = ERR_BAD_REQUEST;
    return -1;
}

static int read_dependencies(struct task_build *tb, jval *list)
{
    struct jiter it = jv_iter(list);
    jval *v;
    while (jv_next(&it, NULL, &v)) {
        int at = ir_task_at(tb->dag, jv_str(v));
        if (at == IR_NONE)
            return fail(tb, "depends on task \"%s\", which \"%s\" does not have", jv_str(v), tb->dag->name);
        if (at == tb->t->number)
            return fail(tb, "depends on itself");
        tb->dep[at] = 1;
    }
    return 0;
}

/* References inside a platform config: to outputs of tasks, which are dependencies too, and to inputs of the DAG. */
static int platform_references(struct task_build *tb, jval *v, int depth)
{
    if (depth > 16)
        return fail(tb, "its kubernetes configuration is nested too deeply");
    jval *ref = jv_get(v, "taskOutputParameter");
    if (ref) {
        struct ir_input in = {.key = "kubernetes configuration"};
        return param_of_task(tb, &in, ref);
    }
    const char *parent = jv_str(jv_get(v, "componentInputParameter"));
    if (parent) {
        struct ir_input in = {.key = "kubernetes configuration"};
        if (param_of_parent(tb, &in, parent) < 0)
            return -1;
    }
    if (jv_type(v) != J_OBJECT && jv_type(v) != J_ARRAY)
        return 0;
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x))
        if (platform_references(tb, x, depth + 1) < 0)
            return -1;
    return 0;
}

/* Every input that the component insists on has a source. */
static int check_bound(struct task_build *tb)
{
    const struct ir_component *c = tb->comp;
    const struct ir_task *t = tb->t;
    for (int i = 0; i < c->n_in_params; i++) {
        const struct ir_param *p = &c->in_params[i];
        bool bound = p->optional || p->dflt || p->type >= PT_TASK_FINAL_STATUS;
        bound = bound || (i == t->iter_item && (t->iter == IR_ITER_RAW || t->iter == IR_ITER_PARAM));
        for (int k = 0; k < t->n_params && !bound; k++)
            bound = t->params[k].at == i;
        if (!bound)
            return fail(tb, "component \"%s\" requires input parameter \"%s\", which the task does not give", c->name, p->key);
    }
    for (int i = 0; i < c->n_in_artifacts; i++) {
        bool bound = c->in_artifacts[i].optional || (i == t->iter_item && t->iter == IR_ITER_ARTIFACT);
        for (int k = 0; k < t->n_artifacts && !bound; k++)
            bound = t->artifacts[k].at == i;
        if (!bound)
            return fail(tb, "component \"%s\" requires input artifact \"%s\", which the task does not give", c->name,
                        c->in_artifacts[i].key);
    }
    return 0;
}

static void name_group(struct ir_task *t, const struct ir_component *c)
{
    if (c->kind != IR_DAG)
        return;
    if (t->iter != IR_ITER_NONE)
        t->group = IR_GROUP_LOOP;
    else if (str_starts(t->name, "condition-branches"))
        t->group = IR_GROUP_BRANCHES;
    else if (t->condition)
        t->group = IR_GROUP_CONDITION;
    else if (str_starts(t->name, "exit-handler"))
        t->group = IR_GROUP_EXIT_HANDLER;
}

static int read_task(struct build *b, struct ir_component *dag, struct ir_task *t, jval *v, uint8_t *dep)
{
    struct task_build tb = {.b = b, .dag = dag, .t = t, .comp = &b->p->components[t->component], .dep = dep};
    memset(dep, 0, (size_t)dag->n_tasks);
    t->display_name = jv_str_or(jv_path(v, "taskInfo", "name", NULL), t->name);
    t->cache = jv_bool(jv_path(v, "cachingOptions", "enableCache", NULL), false);
    t->cache_key = jv_str(jv_path(v, "cachingOptions", "cacheKey", NULL));
    if (str_empty(t->cache_key))
        t->cache_key = NULL;
    if (read_inputs(&tb, jv_get(v, "inputs")) < 0 || read_iterator(&tb, v) < 0 ||
        read_trigger(&tb, jv_get(v, "triggerPolicy")) < 0 || read_retry(&tb, jv_get(v, "retryPolicy")) < 0 ||
        read_dependencies(&tb, jv_get(v, "dependentTasks")) < 0)
        return -1;
    if (tb.comp->container && platform_references(&tb, tb.comp->container->kubernetes, 0) < 0)
        return -1;
    if (check_bound(&tb) < 0)
        return -1;
    name_group(t, tb.comp);
    int n = 0;
    for (int i = 0; i < dag->n_tasks; i++)
        n += dep[i];
    t->deps = arena_alloc(b->a, ((size_t)n + 1) * sizeof *t->deps);
    for (int i = 0; i < dag->n_tasks; i++)
        if (dep[i])
            t->deps[t->n_deps++] = i;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ir_task *)a)->name, ((const struct ir_task *)b)->name);
}

static int list_tasks(struct build *b, struct ir_component *dag, jval *tasks)
{
    struct ir_pipeline *p = b->p;
    if (p->n_tasks + (int64_t)jv_len(tasks) > IR_TASKS_MAX)
        return build_error(b, "the pipeline has more than %d tasks", IR_TASKS_MAX);
    dag->tasks = arena_alloc(b->a, (jv_len(tasks) + 1) * sizeof *dag->tasks);
    struct jiter it = jv_iter(tasks);
    const char *name;
    jval *v;
    while (jv_next(&it, &name, &v)) {
        dag->tasks[dag->n_tasks].doc = v;
        dag->tasks[dag->n_tasks++].name = name;
    }
    qsort(dag->tasks, (size_t)dag->n_tasks, sizeof *dag->tasks, by_name);
    for (int i = 0; i < dag->n_tasks; i++) {
        struct ir_task *t = &dag->tasks[i];
        const char *comp = jv_str_or(jv_path(t->doc, "componentRef", "name", NULL), "");
        t->number = i;
        t->id = p->n_tasks++;
        void *at = strmap_get(&b->by_name, comp);
        if (!at)
            return build_error(b, "task \"%s\" of \"%s\" refers to component \"%s\", which components does not have", t->name,
                               dag->name, comp);
        t->component = (int)(intptr_t)at;
    }
    return 0;
}

int build_dag(struct build *b, struct ir_component *dag, jval *doc)
{
    jval *tasks = jv_path(doc, "dag", "tasks", NULL);
    if (list_tasks(b, dag, tasks) < 0)
        return -1;
    AUTOFREE uint8_t *dep = xmalloc((size_t)dag->n_tasks + 1);
    int ordinary = 0;
    for (int i = 0; i < dag->n_tasks; i++) {
        if (read_task(b, dag, &dag->tasks[i], dag->tasks[i].doc, dep) < 0)
            return -1;
        ordinary += !dag->tasks[i].run_always;
    }
    if (ordinary == 0)
        return build_error(b, dag->n_tasks ? "dag \"%s\" consists of exit tasks only" : "dag \"%s\" has no tasks", dag->name);
    return 0;
}
