/* What loops go over, and what each iteration gets. Source: pipelines-runtime spec 8. */
#include <stdlib.h>

#include "pipelines/engine/live.h"

static int items_of_value(struct inst *loop, jval *v, struct err *err)
{
    if (jv_is(v, J_STRING)) {
        loop->items = json_parse(jv_str(v), jv_len(v), NULL, NULL);
        v = json_root(loop->items);
    } else if (jv_is(v, J_ARRAY)) {
        loop->items = json_from(v);
    }
    if (loop->items && jv_is(json_root(loop->items), J_ARRAY))
        return (int)jv_len(json_root(loop->items));
    json_unref(TAKE(loop->items));
    AUTOFREE char *text = v ? jv_text(v, JW_COMPACT) : xstrdup("nothing");
    return err_set(err, ERR_INVALID, "input \"%s\" cannot be iterated: expected a list, got %.100s", loop->t->iter_input_key,
                   text);
}

int resolve_items(struct inst *loop, struct err *err)
{
    const struct ir_task *t = loop->t;
    json_unref(TAKE(loop->items));
    if (t->iter == IR_ITER_RAW) {
        loop->items = json_from(t->iter_raw);
        return (int)jv_len(t->iter_raw);
    }
    if (t->iter == IR_ITER_ARTIFACT) {
        struct artlist *l = loop->in_artifacts[t->artifacts[t->iter_input].at];
        return l ? l->n : 0;
    }
    const struct ir_input *in = &t->params[t->iter_input];
    JSON_REF(v) = in->at == IR_NONE ? bind_param(loop, in) : json_ref(loop->in_params[in->at]);
    return items_of_value(loop, v ? json_root(v) : NULL, err);
}

int items_param(const struct inst *i)
{
    const struct ir_task *t = i->t;
    int at = t->iter == IR_ITER_PARAM ? t->params[t->iter_input].at : IR_NONE;
    return at == t->iter_item ? IR_NONE : at;
}

int items_artifact(const struct inst *i)
{
    const struct ir_task *t = i->t;
    int at = t->iter == IR_ITER_ARTIFACT ? t->artifacts[t->iter_input].at : IR_NONE;
    return at == t->iter_item ? IR_NONE : at;
}

void share_items(struct inst *iter)
{
    const struct inst *loop = iter->up;
    int p = items_param(iter), a = items_artifact(iter);
    if (iter->c->kind != IR_DAG)
        return;
    if (p != IR_NONE && !iter->in_params[p])
        iter->in_params[p] = json_ref(loop->in_params[p]);
    if (a != IR_NONE && !iter->in_artifacts[a])
        iter->in_artifacts[a] = artlist_ref(loop->in_artifacts[a]);
}

int resolve_iteration(struct inst *loop, struct inst *iter, int n, struct err *err)
{
    const struct ir_task *t = loop->t;
    if (limit_run_values(loop->live, err) < 0)
        return -1;
    for (int k = 0; k < loop->c->n_in_params; k++)
        if (k != items_param(iter))
            iter->in_params[k] = json_ref(loop->in_params[k]);
    for (int k = 0; k < loop->c->n_in_artifacts; k++)
        if (k != items_artifact(iter))
            iter->in_artifacts[k] = artlist_ref(loop->in_artifacts[k]);
    if (t->iter == IR_ITER_ARTIFACT) {
        struct artlist *from = loop->in_artifacts[t->artifacts[t->iter_input].at], *one = artlist_new(1);
        one->v[0] = art_ref(from->v[n]);
        artlist_unref(iter->in_artifacts[t->iter_item]);
        iter->in_artifacts[t->iter_item] = one;
    } else {
        const struct ir_param *p = &loop->c->in_params[t->iter_item];
        struct json *item = value_fit(p->type, p->key, jv_at(json_root(loop->items), (size_t)n), err);
        if (!item)
            return -1;
        json_unref(iter->in_params[t->iter_item]);
        iter->in_params[t->iter_item] = item;
    }
    record_inputs(iter);
    share_items(iter);
    return 0;
}
