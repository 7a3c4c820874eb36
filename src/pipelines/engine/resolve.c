/* Inputs: bound, selected, substituted, fitted; then the condition. Source: pipelines-runtime spec 9. */
#include <stdlib.h>

#include "base/timefmt.h"
#include "pipelines/engine/live.h"

/* One task's inputs on their way: values beside t->params, by position. */
struct binding {
    struct inst *i;
    struct json **v; /* n_params; NULL: absent */
    struct json *io;
    struct err *err;
};

static int bad(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int bad(struct err *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(err, ERR_INVALID, fmt, ap);
    va_end(ap);
    return -1;
}

static struct json *json_text(const char *s, size_t n)
{
    JM_NEW(m);
    jm_set_root(m, jm_strn(m, s, n));
    return jm_freeze(m);
}

/* ---- constants ------------------------------------------------------------------------------------------------ */

/* What placeholders inside a constant may name: the job, the task, and inputs of the same task. */
struct const_scope {
    struct binding *b;
    size_t len; /* bytes of the texts that were made so far */
};

static void put_time(struct buf *out, int64_t ns)
{
    char t[TIME_TEXT_MAX];
    buf_adds(out, time_format(t, ns, TIME_SECONDS));
}

bool job_placeholder(const struct inst *i, enum tmpl_kind kind, struct buf *out)
{
    const struct run *r = &i->live->run;
    switch (kind) {
    case TMPL_JOB_NAME:
        buf_adds(out, r->display_name ? r->display_name : "");
        return true;
    case TMPL_JOB_RESOURCE_NAME:
        buf_adds(out, r->name);
        return true;
    case TMPL_JOB_UUID:
        buf_adds(out, r->run_id);
        return true;
    case TMPL_TASK_NAME:
        buf_adds(out, i->row.name);
        return true;
    case TMPL_TASK_UUID:
        buf_addf(out, "%lld", (long long)i->row.id);
        return true;
    case TMPL_CREATE_TIME:
        put_time(out, r->created_ns);
        return true;
    case TMPL_SCHEDULE_TIME:
        put_time(out, r->scheduled_ns ? r->scheduled_ns : r->created_ns);
        return true;
    case TMPL_PIPELINE_ROOT:
        buf_adds(out, r->pipeline_root ? r->pipeline_root : "");
        return true;
    case TMPL_WORKSPACE_PATH:
        buf_adds(out, WORKSPACE_PATH);
        return true;
    default:
        return false;
    }
}

static int constant_value(void *self, const struct tmpl_seg *seg, struct buf *out, struct err *err)
{
    struct const_scope *sc = self;
    struct inst *i = sc->b->i;
    if (seg->kind != TMPL_IN_PARAM)
        return job_placeholder(i, seg->kind, out);
    for (int k = 0; k < i->t->n_params; k++)
        if (str_eq(i->t->params[k].key, seg->key)) {
            if (sc->b->v[k])
                value_as_text(json_root(sc->b->v[k]), out);
            return 1;
        }
    return 0;
}

static bool never_present(void *self, const char *input) { return false; }

static int substitute_text(struct const_scope *sc, const char *s, size_t n, struct buf *out, struct err *err)
{
    ARENA(a);
    struct tmpl t;
    struct tmpl_scope scope = {.self = sc, .value = constant_value, .present = never_present};
    if (tmpl_parse(&a, s, n, &t, err) < 0 || tmpl_eval(&t, &scope, out, err) < 0)
        return -1;
    sc->len += out->len;
    return sc->len <= TMPL_TEXT_MAX ? 0 : tmpl_too_long(err);
}

/* Copies a value with the placeholders in its strings replaced. Depth is bounded by the parser that made the value. */
static jmval *substitute(struct const_scope *sc, struct jm *m, jval *v, struct err *err)
{
    if (jv_is(v, J_STRING)) {
        BUF(b);
        if (substitute_text(sc, jv_str(v), jv_len(v), &b, err) < 0)
            return NULL;
        return jm_strn(m, buf_str(&b), b.len);
    }
    if (!jv_is(v, J_ARRAY) && !jv_is(v, J_OBJECT))
        return jm_val(m, v);
    bool obj = jv_is(v, J_OBJECT);
    jmval *out = obj ? jm_obj(m) : jm_arr(m);
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) {
        jmval *e = substitute(sc, m, x, err);
        if (!e)
            return NULL;
        if (obj)
            jm_add(m, out, key, e);
        else
            jm_push(out, e);
    }
    return out;
}

static bool holds_placeholder(jval *v)
{
    if (jv_is(v, J_STRING))
        return strstr(jv_str(v), "{{$") != NULL;
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while ((jv_is(v, J_ARRAY) || jv_is(v, J_OBJECT)) && jv_next(&it, &key, &x))
        if (holds_placeholder(x))
            return true;
    return false;
}

/* ---- binding -------------------------------------------------------------------------------------------------- */

/* Outputs of a task that did not succeed are seen only by those that said they can live with that. */
static bool outputs_visible(const struct inst *producer, const struct inst *reader)
{
    return task_succeeded(producer->row.state) || (reader->t->run_always && task_settled(producer->row.state));
}

static struct json *final_status(const struct inst *of, const struct inst *reader)
{
    const struct live *l = of->live;
    bool words = str_eq(l->e->cfg.final_status, "task");
    const char *state;
    if (task_succeeded(of->row.state))
        state = words ? "SUCCEEDED" : "COMPLETE";
    else if (of->row.state == TASK_FAILED)
        state = "FAILED";
    else
        state = words ? "CANCELLED" : "CANCELED";
    JM_NEW(m);
    jmval *o = jm_obj(m), *error = jm_obj(m);
    jm_set_root(m, o);
    jm_put(m, o, "state", jm_str(m, state));
    jm_put(m, o, "pipelineTaskName", jm_str(m, of->row.name));
    jm_put(m, o, "pipelineJobResourceName", jm_str(m, l->run.name));
    if (of->row.state == TASK_FAILED) {
        jm_put(m, error, "code", jm_i64(m, RPC_UNKNOWN));
        jm_put(m, error, "message", jm_str(m, of->row.error_message ? of->row.error_message : ""));
    }
    jm_put(m, o, "error", error);
    return jm_freeze(m);
}

struct json *bind_param(struct inst *i, const struct ir_input *in)
{
    struct json *v = NULL;
    switch (in->bind) {
    case IR_BIND_PARENT:
        v = json_ref(i->up->in_params[in->parent_at]);
        break;
    case IR_BIND_TASK: {
        struct inst *from = i->up->kids[in->task];
        if (outputs_visible(from, i))
            v = json_ref(from->out_params[in->output_at]);
        break;
    }
    case IR_BIND_CONSTANT:
        v = json_from(in->constant);
        break;
    case IR_BIND_STATUS:
        v = final_status(i->up->kids[in->task], i);
        break;
    }
    if (v && jv_is(json_root(v), J_NULL)) {
        json_unref(v);
        v = NULL;
    }
    return v;
}

static int missing(struct binding *b, const struct ir_input *in)
{
    const struct inst *i = b->i;
    if (in->bind == IR_BIND_PARENT)
        return bad(b->err, "input \"%s\": \"%s\" has no value in the surrounding pipeline \"%s\", and the input is not optional",
                   in->key, i->up->c->in_params[in->parent_at].key, i->up->row.name);
    if (in->bind == IR_BIND_TASK) {
        const struct inst *from = i->up->kids[in->task];
        const char *out = from->c->out_params[in->output_at].key;
        if (task_succeeded(from->row.state))
            return bad(b->err, "input \"%s\": task \"%s\" left no output \"%s\" (%s)", in->key, from->row.name, out,
                       from->is_loop ? "what its iterations made is too much for one list; pass larger data as artifacts"
                                     : "none of the tasks that could give it ran");
        return bad(b->err, "input \"%s\": task \"%s\" did not succeed and left no output \"%s\"; give the input a default value",
                   in->key, from->row.name, out);
    }
    return bad(b->err, "input \"%s\" has no value, and is not optional", in->key);
}

static int apply_selector(struct binding *b, const struct ir_input *in, struct json **v)
{
    BUF(text);
    value_as_text(json_root(*v), &text);
    JSON_REF(as_text) = json_text(buf_str(&text), text.len);
    jval *root = json_root(*v);
    jval *const values[] = {
        json_root(as_text),
        jv_is(root, J_NUMBER) ? root : NULL,
        jv_is(root, J_BOOL) ? root : NULL,
        jv_is(root, J_ARRAY) ? root : NULL,
        jv_is(root, J_OBJECT) ? root : NULL,
        jv_is(root, J_NULL) ? root : NULL,
    };
    struct cel_input input = {.values = values};
    ARENA(a);
    JM_NEW(m);
    ERR(e);
    const struct cel_value *r = cel_eval(in->selector, &input, &a, &e);
    jmval *out = r ? cel_to_json(r, m, &e) : NULL;
    if (!out)
        return bad(b->err, "input \"%s\": selector %s: %s (the value is %.200s)", in->key, in->selector_text, err_text(&e),
                   buf_str(&text));
    jm_set_root(m, out);
    json_unref(*v);
    *v = jm_freeze(m);
    return 0;
}

struct json *undeclared_param(struct inst *i, const char *key)
{
    struct inst *outer = i->row.iteration_index >= 0 ? i->up : i; /* the loop's own bindings */
    for (int k = 0; outer->t && k < outer->t->n_params; k++) {
        const struct ir_input *in = &outer->t->params[k];
        if (in->at != IR_NONE || !str_eq(in->key, key))
            continue;
        ERR(e);
        struct binding b = {.i = outer, .err = &e};
        struct json *v = bind_param(outer, in);
        if (v && in->selector && apply_selector(&b, in, &v) < 0)
            json_unref(TAKE(v));
        return v;
    }
    return NULL;
}

static int bind_params(struct binding *b)
{
    struct inst *i = b->i;
    uint64_t sum = 0;
    for (int k = 0; k < i->t->n_params; k++) {
        const struct ir_input *in = &i->t->params[k];
        const struct ir_param *p = in->at == IR_NONE ? NULL : &i->c->in_params[in->at];
        b->v[k] = bind_param(i, in);
        if (!b->v[k]) {
            if (p && !p->optional && !p->dflt && p->type < PT_TASK_FINAL_STATUS)
                return missing(b, in);
            continue;
        }
        if (p && in->bind != IR_BIND_CONSTANT && value_in_literals(p->literals, in->key, json_root(b->v[k]), b->err) < 0)
            return -1;
        if ((in->selector && apply_selector(b, in, &b->v[k]) < 0) || limit_values(b->v[k], &sum, b->err) < 0)
            return -1;
    }
    return 0;
}

/* Self references and job placeholders, in constants only: what other tasks made is data. One pass over the values as bound. */
static int substitute_constants(struct binding *b)
{
    struct inst *i = b->i;
    struct const_scope sc = {.b = b};
    AUTOFREE struct json **out = xcalloc((size_t)i->t->n_params + 1, sizeof *out);
    int rc = 0;
    for (int k = 0; k < i->t->n_params && rc == 0; k++) {
        if (i->t->params[k].bind != IR_BIND_CONSTANT || !b->v[k] || !holds_placeholder(json_root(b->v[k])))
            continue;
        JM_NEW(m);
        jmval *v = substitute(&sc, m, json_root(b->v[k]), b->err);
        if (!v) {
            b->err->code = ERR_INVALID;
            rc = err_wrap(b->err, "input \"%s\"", i->t->params[k].key);
            break;
        }
        jm_set_root(m, v);
        out[k] = jm_freeze(m);
    }
    for (int k = 0; k < i->t->n_params; k++) {
        if (!out[k])
            continue;
        json_unref(b->v[k]);
        b->v[k] = out[k];
    }
    return rc;
}

/* What the compiler says of a loop's items it has guessed: of a list within an item it says that it is of the type of another
 * member, and of each of its items that it is a string. A list is taken as one where it is iterated, and the text of an item as
 * the value that the step declares. A new reference; NULL: neither, the declared types count. */
static struct json *fit_item(const struct inst *i, const struct ir_input *in, enum ptype type, jval *v)
{
    if (i->is_loop && i->t->iter == IR_ITER_PARAM && in == &i->t->params[i->t->iter_input] && jv_is(v, J_ARRAY))
        return json_from(v);
    if (in->bind != IR_BIND_PARENT || in->selector || type == PT_STRING || !jv_is(v, J_STRING) ||
        !strstr(i->up->c->in_params[in->parent_at].key, "loop-item"))
        return NULL;
    return value_from_text(type, jv_str(v), jv_len(v), NULL);
}

static int fit_params(struct binding *b)
{
    struct inst *i = b->i;
    for (int k = 0; k < i->t->n_params; k++) {
        const struct ir_input *in = &i->t->params[k];
        if (in->at == IR_NONE || !b->v[k])
            continue;
        const struct ir_param *p = &i->c->in_params[in->at];
        if (in->bind == IR_BIND_CONSTANT && value_in_literals(p->literals, in->key, json_root(b->v[k]), b->err) < 0)
            return -1;
        struct json *v = fit_item(i, in, p->type, json_root(b->v[k]));
        if (!v)
            v = value_fit(p->type, in->key, json_root(b->v[k]), b->err);
        if (!v)
            return -1;
        json_unref(b->v[k]);
        b->v[k] = v;
        if (json_mem(v) > PARAM_VALUE_MAX && value_bounded("input", in->key, json_root(v), b->err) < 0)
            return -1;
        json_unref(i->in_params[in->at]);
        i->in_params[in->at] = json_ref(v);
    }
    return 0;
}

/* Values that the component gives itself. A container leaves a missing optional input out, so that the code's own default counts.
 */
static void apply_defaults(struct inst *i)
{
    for (int k = 0; k < i->c->n_in_params; k++) {
        const struct ir_param *p = &i->c->in_params[k];
        if (i->in_params[k] || !p->dflt || (i->c->kind != IR_DAG && p->optional))
            continue;
        ERR(e);
        i->in_params[k] = value_fit(p->type, p->key, p->dflt, &e);
    }
}

static int bind_artifacts(struct inst *i, struct err *err)
{
    uint64_t sum = 0;
    for (int k = 0; k < i->t->n_artifacts; k++) {
        const struct ir_input *in = &i->t->artifacts[k];
        struct artlist *v = NULL;
        const char *producer = i->up->row.name;
        if (in->bind == IR_BIND_PARENT) {
            v = i->up->in_artifacts[in->parent_at];
        } else {
            struct inst *from = i->up->kids[in->task];
            producer = from->row.name;
            if (outputs_visible(from, i))
                v = from->out_artifacts[in->output_at];
        }
        artlist_unref(i->in_artifacts[in->at]);
        i->in_artifacts[in->at] = artlist_ref(v);
        for (int n = 0; v && n < v->n; n++)
            if (limit_values(v->v[n]->metadata, &sum, err) < 0)
                return err_wrap(err, "input artifact \"%s\"", in->key);
        if (!v && !i->c->in_artifacts[in->at].optional)
            return bad(err, "input artifact \"%s\": \"%s\" has no artifact for it, and the input is not optional", in->key,
                       producer);
    }
    return 0;
}

/* ---- the condition -------------------------------------------------------------------------------------------- */

static jmval *artifact_json(struct jm *m, const struct art *a)
{
    jmval *o = jm_obj(m), *type = jm_obj(m);
    jm_put(m, o, "name", jm_str(m, a->a.name));
    jm_put(m, o, "uri", jm_str(m, a->a.uri));
    jm_put(m, type, "schema_title", jm_str(m, a->a.schema_title));
    jm_put(m, o, "type", type);
    jm_put(m, o, ART_METADATA, jm_val(m, json_root(a->metadata)));
    return o;
}

static struct json *condition_inputs(struct binding *b)
{
    struct inst *i = b->i;
    JM_NEW(m);
    jmval *o = jm_obj(m), *params = jm_obj(m), *artifacts = jm_obj(m);
    jm_set_root(m, o);
    for (int k = 0; k < i->c->n_in_params; k++)
        if (i->in_params[k])
            jm_put(m, params, i->c->in_params[k].key, jm_val(m, json_root(i->in_params[k])));
    for (int k = 0; k < i->t->n_params; k++)
        if (b->v[k] && i->t->params[k].at == IR_NONE)
            jm_put(m, params, i->t->params[k].key, jm_val(m, json_root(b->v[k])));
    for (int k = 0; k < i->c->n_in_artifacts; k++) {
        if (!i->in_artifacts[k])
            continue;
        jmval *entry = jm_obj(m), *list = jm_arr(m);
        for (int n = 0; n < i->in_artifacts[k]->n; n++)
            jm_push(list, artifact_json(m, i->in_artifacts[k]->v[n]));
        jm_put(m, entry, "artifacts", list);
        jm_put(m, artifacts, i->c->in_artifacts[k].key, entry);
    }
    jm_put(m, o, "parameter_values", params);
    jm_put(m, o, "artifacts", artifacts);
    return jm_freeze(m);
}

static int eval_condition(struct binding *b, bool *go)
{
    struct inst *i = b->i;
    *go = true;
    if (!i->t->condition)
        return 0;
    JSON_REF(in) = condition_inputs(b);
    JSON_REF(out) = json_parse_str("{}", NULL);
    jval *const values[] = {json_root(in), json_root(out)};
    struct cel_input input = {.values = values};
    ERR(e);
    if (cel_eval_bool(i->t->condition, &input, go, &e) < 0)
        return bad(b->err, "condition %s: %s", i->t->condition_text, err_text(&e));
    return 0;
}

/* ---- where inputs came from ----------------------------------------------------------------------------------- */

static enum md_io io_of(const struct inst *i, const struct ir_input *in)
{
    switch (in->bind) {
    case IR_BIND_PARENT:
        return MD_IO_COMPONENT_INPUT;
    case IR_BIND_TASK:
        return i->up->kids[in->task]->is_loop ? MD_IO_COLLECTED_INPUTS : MD_IO_TASK_OUTPUT_INPUT;
    case IR_BIND_CONSTANT:
        return MD_IO_RUNTIME_VALUE_INPUT;
    case IR_BIND_STATUS:
        return MD_IO_TASK_FINAL_STATUS_OUTPUT;
    }
    return MD_IO_UNSPECIFIED;
}

static void record_io(struct inst *i)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    for (int pass = 0; pass < 2; pass++) {
        const struct ir_input *v = pass ? i->t->artifacts : i->t->params;
        int n = pass ? i->t->n_artifacts : i->t->n_params;
        for (int k = 0; k < n; k++) {
            jmval *e = jm_obj(m);
            jm_put(m, e, "io", jm_i64(m, io_of(i, &v[k])));
            if (v[k].bind == IR_BIND_TASK)
                jm_put(m, e, "producer", jm_str(m, i->up->kids[v[k].task]->row.name));
            jm_put(m, o, v[k].key, e);
        }
    }
    BUF(b);
    jmv_write(o, JW_COMPACT, &b);
    free(i->row.io);
    i->row.io = buf_steal(&b, NULL);
}

void record_inputs(struct inst *i)
{
    inst_set_inputs(i, values_text(i->c->in_params, i->c->n_in_params, i->in_params, i->c->in_artifacts, i->c->n_in_artifacts,
                                   i->in_artifacts));
    inst_dirty(i);
}

void record_outputs(struct inst *i)
{
    inst_set_outputs(i, values_text(i->c->out_params, i->c->n_out_params, i->out_params, i->c->out_artifacts,
                                    i->c->n_out_artifacts, i->out_artifacts));
}

int resolve_inputs(struct inst *i, struct db *db, bool *go, struct err *err)
{
    AUTOFREE struct json **v = xcalloc((size_t)i->t->n_params + 1, sizeof *v);
    struct binding b = {.i = i, .v = v, .err = err};
    int rc = limit_run_values(i->live, err) < 0 ? -1 : bind_params(&b);
    if (rc == 0)
        rc = substitute_constants(&b);
    if (rc == 0)
        rc = fit_params(&b);
    if (rc == 0)
        rc = bind_artifacts(i, err);
    if (rc == 0) {
        apply_defaults(i);
        rc = eval_condition(&b, go);
    }
    record_io(i);
    record_inputs(i);
    for (int k = 0; k < i->t->n_params; k++)
        json_unref(v[k]);
    return rc;
}

int resolve_root(struct inst *root, struct err *err)
{
    const struct ir_component *c = root->c;
    jval *given = root->live->parameters ? json_root(root->live->parameters) : NULL;
    ERR(e);
    if (ir_check_parameters(root->live->ir, given, &e) < 0)
        return bad(err, "%s", err_text(&e));
    for (int k = 0; k < c->n_in_params; k++) {
        jval *v = jv_get(given, c->in_params[k].key);
        if (!jv_present(v))
            v = c->in_params[k].dflt;
        if (!jv_present(v))
            continue;
        root->in_params[k] = value_fit(c->in_params[k].type, c->in_params[k].key, v, err);
        if (!root->in_params[k])
            return -1;
    }
    record_inputs(root);
    for (int k = 0; k < c->n_in_artifacts; k++)
        if (!c->in_artifacts[k].optional)
            return bad(err,
                       "input artifact \"%s\" of the pipeline is required, and a run cannot be given artifacts; use dsl.importer",
                       c->in_artifacts[k].key);
    return 0;
}
