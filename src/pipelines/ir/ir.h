/* ir.h - compiled pipelines (PipelineSpec 2.1.0 plus the kubernetes platform spec): read, checked as a whole, and compiled once
 * to a flat graph that the engine walks.
 *
 *     struct ir_pipeline *p = ir_parse(text, len, err);      // YAML documents or JSON
 *     ... ir_unref(p);
 *
 * A struct ir_pipeline is immutable and shared by reference count between threads. Everything in it, documents included, lives as
 * long as it does. Bad input is ERR_BAD_REQUEST with a message that names the place and, for a dangling reference, both ends.
 * Sizes: at most 8 MiB of text, 10,000 tasks, 64 levels of nested components. Source: pipelines-runtime spec 2-4, 9-11, 16, 17.
 */
#ifndef TM_PIPELINES_IR_IR_H
#define TM_PIPELINES_IR_IR_H

#include "base/arena.h"
#include "pipelines/ir/template.h"
#include "pipelines/ir/types.h"
#include "value/cel.h"
#include "value/json.h"

#define IR_TEXT_MAX  (8u << 20)
#define IR_TASKS_MAX 10000
#define IR_DEPTH_MAX 64
#define IR_NONE      (-1) /* an index that points nowhere */

/* An input or output that a component declares. `key` is its name; its index in the component's table is its number. */
struct ir_param {
    const char *key;
    enum ptype type;
    jval *dflt;     /* defaultValue; NULL: none (an explicit null counts as none) */
    bool optional;  /* isOptional */
    jval *literals; /* array of allowed values; NULL: any */
    const char *description;
};
struct ir_artifact {
    const char *key;
    const char *schema_title, *schema_version; /* "" when not given */
    bool list, optional;
    jval *metadata; /* initial metadata of an output; NULL: none */
};

/* Where a task's input comes from. */
enum ir_bind { IR_BIND_PARENT, IR_BIND_TASK, IR_BIND_CONSTANT, IR_BIND_STATUS };
struct ir_input {
    int at; /* index in the task component's parameters (or artifacts); IR_NONE: not declared there (f-string helpers, loop items)
             */
    const char *key;
    enum ir_bind bind;
    int parent_at;                /* IR_BIND_PARENT: index in the parent component's inputs */
    int task;                     /* IR_BIND_TASK, IR_BIND_STATUS: task number within the same DAG */
    int output_at;                /* IR_BIND_TASK: index in the producer component's outputs */
    jval *constant;               /* IR_BIND_CONSTANT */
    struct cel_program *selector; /* parameterExpressionSelector, or NULL */
    const char *selector_text;
};

/* One source of a DAG's output. */
struct ir_selector {
    int task, output_at;
};
struct ir_dag_output { /* same index as the component's outputs */
    struct ir_selector *from;
    int n_from; /* several: OneOf; 0: the DAG does not provide it */
};

struct ir_retry {
    bool set;
    int max;
    int64_t backoff_ns, backoff_max_ns;
    double factor;
};

struct ir_task {
    int id;     /* position in ir_pipeline.tasks */
    int number; /* position in its DAG: tasks of a DAG are sorted by name */
    const char *name, *display_name;
    int component;
    jval *doc; /* as it stands in the spec */
    struct ir_input *params, *artifacts;
    int n_params, n_artifacts;
    int *deps; /* numbers of tasks of the same DAG that must be settled first: explicit and implicit, sorted, each once */
    int n_deps;
    struct cel_program *condition; /* NULL: none */
    const char *condition_text;
    bool run_always; /* ALL_UPSTREAM_TASKS_COMPLETED */
    enum { IR_ITER_NONE, IR_ITER_RAW, IR_ITER_PARAM, IR_ITER_ARTIFACT } iter;
    jval *iter_raw; /* IR_ITER_RAW: array of items (parsed) */
    int iter_input; /* IR_ITER_PARAM, IR_ITER_ARTIFACT: index in this task's params (artifacts) that holds the items */
    const char *iter_input_key;
    int iter_item;   /* index in the component's parameters (artifacts) that gets the item */
    int parallelism; /* 0: no limit */
    struct ir_retry retry;
    bool cache;
    const char *cache_key; /* NULL: none given */
    enum {
        IR_GROUP_DAG,
        IR_GROUP_CONDITION,
        IR_GROUP_BRANCHES,
        IR_GROUP_LOOP,
        IR_GROUP_EXIT_HANDLER
    } group; /* what kind of DAG, for people */
};

struct ir_env {
    const char *name;
    struct tmpl value;
};
struct ir_container {
    struct tmpl image;
    struct tmpl_arg *command, *args; /* command and args before substitution */
    int n_command, n_args;
    struct ir_env *env;
    int n_env;
    struct tmpl cpu_limit, cpu_request, memory_limit, memory_request, gpu_type, gpu_count; /* empty: not given */
    const char *command_json; /* command + args as compact JSON: part of the cache key */
    jval *kubernetes;         /* KubernetesExecutorConfig of this label, NULL: none */
};
struct ir_importer {
    bool constant;
    struct tmpl uri; /* constant */
    int uri_param;   /* index in the component's parameters */
    const char *schema_title, *schema_version;
    jval *metadata; /* object or NULL; placeholders in strings and keys */
    bool reimport, to_workspace;
};

/* Parts of a task's machine that go into its input of type TASK_CONFIG. */
enum ir_config {
    IR_CONFIG_RESOURCES = 1 << 0,
    IR_CONFIG_ENV = 1 << 1,
    IR_CONFIG_AFFINITY = 1 << 2,
    IR_CONFIG_TOLERATIONS = 1 << 3,
    IR_CONFIG_NODE_SELECTOR = 1 << 4,
    IR_CONFIG_VOLUMES = 1 << 5,
};

struct ir_component {
    const char *name;           /* "root" for the root */
    const char *executor_label; /* NULL for a DAG */
    enum { IR_DAG, IR_CONTAINER, IR_IMPORTER } kind;
    struct ir_param *in_params, *out_params;
    struct ir_artifact *in_artifacts, *out_artifacts;
    int n_in_params, n_out_params, n_in_artifacts, n_out_artifacts;
    /* IR_DAG */
    struct ir_task *tasks;
    int n_tasks;
    struct ir_dag_output *dag_params, *dag_artifacts;
    /* executors */
    struct ir_container *container;
    struct ir_importer *importer;
    int config_param;              /* the input of type TASK_CONFIG, IR_NONE: there is none */
    unsigned config, config_apply; /* enum ir_config: what goes into it; what of that the task's own pod gets as well */
};

struct ir_pipeline {
    const char *name, *display_name, *description;
    const char *sdk_version, *default_root; /* "" when not given */
    struct ir_component *components;
    int n_components, root; /* root: index of the root component */
    int n_tasks;            /* over all DAGs */
    jval *spec, *platform;  /* documents in lowerCamelCase with enums by name, as stored; platform NULL when not given */
    jval *pipeline_config;  /* platforms.kubernetes.pipelineConfig or NULL */
    int64_t deadline_s;     /* pipelineConfig.activeDeadlineSeconds; 0: none */
    /* the rest is ir/'s own */
    struct json *spec_doc, *platform_doc, *exec_doc;
    struct arena arena;
    struct cel_program **programs;
    size_t n_programs;
    struct json **raw_items;
    size_t n_raw_items;
    int refs;
};

/* Reads a package: YAML documents separated by ---, or JSON; a document that wraps both as spec.pipelineSpec / spec.platformSpec
 * (PipelineVersion) or as pipeline_spec / platform_spec is taken apart. */
struct ir_pipeline *ir_parse(const char *text, size_t len, struct err *err);
/* The same from values that were parsed already; platform may be NULL. Nothing is kept of them. */
struct ir_pipeline *ir_from_json(jval *spec, jval *platform, struct err *err);
struct ir_pipeline *ir_ref(struct ir_pipeline *p);
void ir_unref(struct ir_pipeline *p);
static inline void ir_unrefp(struct ir_pipeline **p) { ir_unref(*p); }
#define IR_REF(name) CLEANUP(ir_unrefp) struct ir_pipeline *name

/* Checks a run's parameters (an object, or NULL when none were given) against the root's inputs. ERR_BAD_REQUEST with upstream's
 * texts (api spec 6.1). The engine gives defaults itself. */
int ir_check_parameters(const struct ir_pipeline *p, jval *parameters, struct err *err);

/* Index of a name in a table, or IR_NONE. */
int ir_param_at(const struct ir_param *v, int n, const char *key);
int ir_artifact_at(const struct ir_artifact *v, int n, const char *key);
int ir_task_at(const struct ir_component *dag, const char *name); /* number of a task of a DAG */

#endif
