/* build.h - the parts of the compiler, private to ir/. They run in this order: interfaces of all components, executors, tasks,
 * DAG outputs, then the checks over the whole. */
#ifndef TM_PIPELINES_IR_BUILD_H
#define TM_PIPELINES_IR_BUILD_H

#include "base/str.h"
#include "pipelines/ir/ir.h"

struct build {
    struct ir_pipeline *p;
    struct arena *a;       /* the pipeline's */
    jval *executors;       /* deploymentSpec.executors, normalized */
    jval *kubernetes;      /* platforms.kubernetes.deploymentSpec.executors */
    jval **docs;           /* document of each component, same index */
    struct strmap by_name; /* component name -> index (never 0, which is the root) */
    struct err *err;
};

int build_error(struct build *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
int build_interfaces(struct build *b, struct ir_component *c, jval *doc);
int build_executor(struct build *b, struct ir_component *c);
int build_dag(struct build *b, struct ir_component *c, jval *doc);
int build_dag_outputs(struct build *b, struct ir_component *c, jval *doc);
/* Keeps a compiled expression so that it is freed with the pipeline. NULL on error. */
struct cel_program *build_cel(struct build *b, const char *text, bool selector);
/* Sorted dependencies of a DAG's tasks, cycles among them, cycles and depth of component references, sizes. */
int check_graph(struct build *b);

#endif
