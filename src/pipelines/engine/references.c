/* References inside a task's platform configuration. Source: pipelines-runtime spec 16. */
#include "pipelines/engine/execinput.h"
#include "pipelines/engine/live.h"

static bool is_reference_key(const char *key)
{
    return str_eq(key, "componentInputParameter") || str_eq(key, "taskOutputParameter") || str_eq(key, "runtimeValue");
}

static bool holds_reference(jval *v)
{
    return jv_get(v, "componentInputParameter") || jv_get(v, "taskOutputParameter") || jv_get(v, "runtimeValue");
}

static struct json *reference_value(struct inst *i, jval *v)
{
    struct inst *dag = i->row.iteration_index >= 0 ? i->up->up : i->up;
    const char *parent = jv_str(jv_get(v, "componentInputParameter"));
    jval *task = jv_get(v, "taskOutputParameter");
    if (parent) {
        int at = ir_param_at(dag->c->in_params, dag->c->n_in_params, parent);
        return at == IR_NONE ? NULL : json_ref(dag->in_params[at]);
    }
    if (task) {
        int at = ir_task_at(dag->c, jv_str(jv_get(task, "producerTask")));
        struct inst *from = at == IR_NONE ? NULL : dag->kids[at];
        int out =
            from ? ir_param_at(from->c->out_params, from->c->n_out_params, jv_str(jv_get(task, "outputParameterKey"))) : IR_NONE;
        return out == IR_NONE ? NULL : json_ref(from->out_params[out]);
    }
    jval *constant = jv_path(v, "runtimeValue", "constant", NULL);
    return constant ? json_from(constant) : NULL;
}

static jmval *value_of(struct inst *i, struct jm *m, jval *v)
{
    JSON_REF(d) = reference_value(i, v);
    return d ? plain_numbers(m, json_root(d)) : jm_null(m);
}

/* A copy with each reference replaced by its value, null where there is none. An entry of pvcMount is a reference and more than
 * that: {componentInputParameter, mountPath}, beside which a newer SDK writes pvcNameParameter; what it refers to becomes its
 * "constant". */
static jmval *replace_references(struct inst *i, struct jm *m, jval *v)
{
    if (holds_reference(v) && jv_len(v) == 1)
        return value_of(i, m, v);
    if (!jv_is(v, J_ARRAY) && !jv_is(v, J_OBJECT))
        return jm_val(m, v);
    bool obj = jv_is(v, J_OBJECT);
    jmval *out = obj ? jm_obj(m) : jm_arr(m);
    if (holds_reference(v))
        jm_put(m, out, "constant", value_of(i, m, v));
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) {
        if (obj && is_reference_key(key))
            continue;
        jmval *e = replace_references(i, m, x);
        if (obj)
            jm_add(m, out, key, e);
        else
            jm_push(out, e);
    }
    return out;
}

int resolve_kubernetes(struct inst *i, struct json **out, struct err *err)
{
    *out = NULL;
    if (!i->c->container->kubernetes)
        return 0;
    JM_NEW(m);
    jm_set_root(m, replace_references(i, m, i->c->container->kubernetes));
    *out = jm_freeze(m);
    return 0;
}
