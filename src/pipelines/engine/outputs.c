/* What DAGs and loops hand out, made when they end. */
#include <stdlib.h>

#include "pipelines/engine/live.h"

/* The first of the sources whose task succeeded; for a group that failed, what is there all the same. */
static const struct inst *source(const struct inst *dag, const struct ir_dag_output *o, int *at)
{
    for (int k = 0; k < o->n_from; k++) {
        const struct inst *i = dag->kids[o->from[k].task];
        if (task_succeeded(i->row.state)) {
            *at = o->from[k].output_at;
            return i;
        }
    }
    /* A loop that failed has the values of the iterations that did not. */
    for (int k = 0; k < o->n_from; k++) {
        const struct inst *i = dag->kids[o->from[k].task];
        if (i->row.state == TASK_FAILED && (i->is_loop || i->n_kids > 0)) {
            *at = o->from[k].output_at;
            return i;
        }
    }
    return NULL;
}

void collect_dag(struct inst *dag)
{
    const struct ir_component *c = dag->c;
    int at = 0;
    for (int k = 0; k < c->n_out_params; k++) {
        const struct inst *from = source(dag, &c->dag_params[k], &at);
        json_unref(dag->out_params[k]);
        dag->out_params[k] = from ? json_ref(from->out_params[at]) : NULL;
    }
    for (int k = 0; k < c->n_out_artifacts; k++) {
        const struct inst *from = source(dag, &c->dag_artifacts[k], &at);
        artlist_unref(dag->out_artifacts[k]);
        dag->out_artifacts[k] = from ? artlist_ref(from->out_artifacts[at]) : NULL;
    }
}

/* NULL: they are too large for one list. Whoever wants it finds nothing; a loop whose outputs nobody collects has not failed. */
static struct json *list_of_params(const struct inst *loop, int k)
{
    JM_NEW(m);
    jmval *list = jm_arr(m);
    uint64_t sum = 0;
    jm_set_root(m, list);
    for (int n = 0; n < loop->n_kids; n++) {
        const struct inst *i = loop->kids[n];
        if (!i || !task_succeeded(i->row.state) || !i->out_params[k])
            continue;
        if (limit_values(i->out_params[k], &sum, NULL) < 0)
            return NULL;
        jm_push(list, jm_val(m, json_root(i->out_params[k])));
    }
    return jm_freeze(m);
}

static struct artlist *list_of_artifacts(const struct inst *loop, int k)
{
    int total = 0, at = 0;
    for (int n = 0; n < loop->n_kids; n++) {
        const struct inst *i = loop->kids[n];
        if (i && task_succeeded(i->row.state) && i->out_artifacts[k])
            total += i->out_artifacts[k]->n;
    }
    struct artlist *list = artlist_new(total);
    for (int n = 0; n < loop->n_kids; n++) {
        const struct inst *i = loop->kids[n];
        if (i && task_succeeded(i->row.state) && i->out_artifacts[k])
            for (int x = 0; x < i->out_artifacts[k]->n; x++)
                list->v[at++] = art_ref(i->out_artifacts[k]->v[x]);
    }
    return list;
}

void collect_loop(struct inst *loop)
{
    for (int k = 0; k < loop->c->n_out_params; k++) {
        json_unref(loop->out_params[k]);
        loop->out_params[k] = list_of_params(loop, k);
    }
    for (int k = 0; k < loop->c->n_out_artifacts; k++) {
        artlist_unref(loop->out_artifacts[k]);
        loop->out_artifacts[k] = list_of_artifacts(loop, k);
    }
}
