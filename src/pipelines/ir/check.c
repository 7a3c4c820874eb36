/* Checks over the whole graph: no cycles, bounded depth and size. */
#include <stdlib.h>

#include "base/str.h"
#include "pipelines/ir/build.h"

#define EXPANDED_MAX 100000 /* tasks with every nested DAG written out, loops counted once */

/* Kahn's algorithm; what is left over is in a cycle or behind one. */
static int check_tasks(struct build *b, const struct ir_component *dag)
{
    int n = dag->n_tasks;
    AUTOFREE int *left = xcalloc((size_t)n + 1, sizeof *left);
    int done = 0, progress = 1;
    for (int i = 0; i < n; i++)
        left[i] = dag->tasks[i].n_deps;
    AUTOFREE int *queue = xcalloc((size_t)n + 1, sizeof *queue);
    AUTOFREE uint8_t *settled = xcalloc((size_t)n + 1, 1);
    while (progress) {
        progress = 0;
        int m = 0;
        for (int i = 0; i < n; i++)
            if (!settled[i] && left[i] == 0)
                queue[m++] = i;
        for (int k = 0; k < m; k++)
            settled[queue[k]] = 1;
        done += m;
        progress = m;
        for (int i = 0; i < n && m; i++) {
            if (settled[i])
                continue;
            left[i] = 0;
            for (int d = 0; d < dag->tasks[i].n_deps; d++)
                left[i] += !settled[dag->tasks[i].deps[d]];
        }
    }
    if (done == n)
        return 0;
    /* Walk backwards along unsettled dependencies until a task repeats: that is a cycle. */
    int at = 0;
    while (settled[at])
        at++;
    for (int i = 0; i < n; i++)
        for (int d = 0; d < dag->tasks[at].n_deps; d++)
            if (!settled[dag->tasks[at].deps[d]]) {
                at = dag->tasks[at].deps[d];
                break;
            }
    BUF(path);
    int from = at;
    for (int i = 0; i <= n && i < 12; i++) {
        buf_addf(&path, "%s\"%s\"", i ? " -> " : "", dag->tasks[at].name);
        if (i && at == from)
            break;
        for (int d = 0; d < dag->tasks[at].n_deps; d++)
            if (!settled[dag->tasks[at].deps[d]]) {
                at = dag->tasks[at].deps[d];
                break;
            }
    }
    return build_error(b, "a cycle: tasks of \"%s\" wait for each other: %s", dag->name, buf_str(&path));
}

enum mark { NEW, OPEN, DONE };
struct visit {
    struct build *b;
    uint8_t *mark;
    int64_t *size;
};

static int visit(struct visit *v, int at, int depth)
{
    struct ir_component *c = &v->b->p->components[at];
    if (v->mark[at] == DONE)
        return 0;
    if (v->mark[at] == OPEN)
        return build_error(v->b, "component \"%s\" contains itself", c->name);
    if (depth > IR_DEPTH_MAX)
        return build_error(v->b, "components are nested more than %d deep", IR_DEPTH_MAX);
    v->mark[at] = OPEN;
    int64_t size = 1;
    for (int i = 0; i < c->n_tasks; i++) {
        if (visit(v, c->tasks[i].component, depth + 1) < 0)
            return -1;
        size += v->size[c->tasks[i].component];
        if (size > EXPANDED_MAX)
            return build_error(v->b, "the pipeline expands to more than %d tasks", EXPANDED_MAX);
    }
    v->size[at] = size;
    v->mark[at] = DONE;
    return 0;
}

int check_graph(struct build *b)
{
    struct ir_pipeline *p = b->p;
    for (int i = 0; i < p->n_components; i++)
        if (p->components[i].kind == IR_DAG && check_tasks(b, &p->components[i]) < 0)
            return -1;
    AUTOFREE uint8_t *mark = xcalloc((size_t)p->n_components, 1);
    AUTOFREE int64_t *size = xcalloc((size_t)p->n_components, sizeof *size);
    struct visit v = {b, mark, size};
    for (int i = 0; i < p->n_components; i++)
        if (visit(&v, i, 0) < 0)
            return -1;
    return 0;
}
