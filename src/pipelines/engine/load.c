/* Rows to memory. */
#include <stdlib.h>

#include <uthash.h>

#include "pipelines/engine/live.h"
#include "pipelines/store/macros.h"

struct live_art {
    int64_t id;
    struct art *a;
    UT_hash_handle hh;
};

/* ---- instances ------------------------------------------------------------------------------------------------ */

struct inst *inst_new(struct live *l, struct inst *up, const struct ir_task *t, const struct ir_component *c)
{
    struct inst *i = xcalloc(1, sizeof *i);
    i->live = l;
    i->up = up;
    i->t = t;
    i->c = c;
    i->in_params = xcalloc((size_t)c->n_in_params + 1, sizeof(struct json *));
    i->out_params = xcalloc((size_t)c->n_out_params + 1, sizeof(struct json *));
    i->in_artifacts = xcalloc((size_t)c->n_in_artifacts + 1, sizeof(struct artlist *));
    i->out_artifacts = xcalloc((size_t)c->n_out_artifacts + 1, sizeof(struct artlist *));
    return i;
}

static void free_values(struct json **pv, int n_params, struct artlist **av, int n_arts)
{
    for (int k = 0; k < n_params; k++)
        json_unref(pv[k]);
    for (int k = 0; k < n_arts; k++)
        artlist_unref(av[k]);
    free(pv);
    free(av);
}

void inst_free(struct inst *i)
{
    if (!i)
        return;
    for (int k = 0; k < i->n_kids; k++)
        inst_free(i->kids[k]);
    free(i->kids);
    free_values(i->in_params, i->c->n_in_params, i->in_artifacts, i->c->n_in_artifacts);
    free_values(i->out_params, i->c->n_out_params, i->out_artifacts, i->c->n_out_artifacts);
    json_unref(i->items);
    free(i->fills);
    free(i->waits_for);
    free(i->uses);
    task_row_clear(&i->row);
    free(i);
}

void live_add_leaf(struct live *l, struct inst *i)
{
    if (i->leaf_at)
        return;
    if (l->n_leaves == l->cap_leaves) {
        l->cap_leaves = l->cap_leaves ? 2 * l->cap_leaves : 32;
        l->leaves = xreallocarray(l->leaves, l->cap_leaves, sizeof(struct inst *));
    }
    l->leaves[l->n_leaves++] = i;
    i->leaf_at = l->n_leaves;
    i->look = true;
    if (i->row.pod_name)
        strmap_put(&l->by_pod, i->row.pod_name, i);
}

void live_drop_leaf(struct live *l, struct inst *i)
{
    if (!i->leaf_at)
        return;
    if (i->row.pod_name)
        strmap_del(&l->by_pod, i->row.pod_name);
    struct inst *last = l->leaves[--l->n_leaves];
    l->leaves[i->leaf_at - 1] = last;
    last->leaf_at = i->leaf_at;
    i->leaf_at = 0;
}

/* ---- artifacts ------------------------------------------------------------------------------------------------ */

void live_add_art(struct live *l, struct art *a)
{
    struct live_art *e;
    HASH_FIND(hh, l->arts, &a->a.id, sizeof a->a.id, e);
    if (e)
        return;
    e = xcalloc(1, sizeof *e);
    e->id = a->a.id;
    e->a = art_ref(a);
    HASH_ADD(hh, l->arts, id, sizeof e->id, e);
}

struct art *live_art(struct live *l, struct db *db, int64_t id, struct err *err)
{
    struct live_art *e;
    HASH_FIND(hh, l->arts, &id, sizeof id, e);
    if (e)
        return e->a;
    struct art *a = xcalloc(1, sizeof *a);
    a->refs = 1;
    if (md_artifact_get(db, id, &a->a, err) == 0)
        a->metadata = json_parse_str(a->a.metadata ? a->a.metadata : "{}", err);
    if (!a->metadata) {
        art_unref(a);
        return NULL;
    }
    live_add_art(l, a);
    art_unref(a); /* the table keeps it */
    return a;
}

/* ---- loading -------------------------------------------------------------------------------------------------- */

struct by_id {
    int64_t id;
    struct inst *i;
    UT_hash_handle hh;
};
struct loading {
    struct live *l;
    struct db *db;
    struct by_id *table;
};

static void put_kid(struct inst *up, int at, struct inst *i)
{
    if (at >= up->n_kids) {
        up->kids = xreallocarray(up->kids, (size_t)at + 1, sizeof(struct inst *));
        memset(up->kids + up->n_kids, 0, (size_t)(at + 1 - up->n_kids) * sizeof(struct inst *));
        up->n_kids = at + 1;
    }
    up->kids[at] = i;
}

/* Finds what a row is an instance of, and makes it. */
static struct inst *place_row(struct loading *ld, const struct task_row *t, struct err *err)
{
    struct live *l = ld->l;
    const struct ir_pipeline *ir = l->ir;
    if (t->parent == 0) {
        if (!l->root)
            l->root = inst_new(l, NULL, NULL, &ir->components[ir->root]);
        return l->root;
    }
    struct by_id *e;
    HASH_FIND(hh, ld->table, &t->parent, sizeof t->parent, e);
    if (!e) {
        err_set(err, ERR_INTERNAL, "task %s of run %s has no parent", t->path, t->run_id);
        return NULL;
    }
    struct inst *up = e->i;
    const struct ir_task *task = up->t;
    int at = t->iteration_index;
    if (at < 0) {
        at = up->c->kind == IR_DAG && !up->is_loop ? ir_task_at(up->c, t->name) : IR_NONE;
        if (at == IR_NONE) {
            err_set(err, ERR_INTERNAL, "task %s of run %s is not in its pipeline", t->path, t->run_id);
            return NULL;
        }
        task = &up->c->tasks[at];
    }
    struct inst *i = inst_new(l, up, task, &ir->components[task->component]);
    i->is_loop = t->iteration_index < 0 && task->iter != IR_ITER_NONE;
    put_kid(up, at, i);
    return i;
}

static int load_row(void *self, struct task_row *t, struct err *err)
{
    struct loading *ld = self;
    struct inst *i = place_row(ld, t, err);
    if (!i)
        return -1;
    i->row = *t;
    *t = (struct task_row){0};
    inst_count_values(i);
    if (values_parse(ld->l, ld->db, i->row.inputs, i->c->in_params, i->c->n_in_params, i->in_params, i->c->in_artifacts,
                     i->c->n_in_artifacts, i->in_artifacts, err) < 0 ||
        values_parse(ld->l, ld->db, i->row.outputs, i->c->out_params, i->c->n_out_params, i->out_params, i->c->out_artifacts,
                     i->c->n_out_artifacts, i->out_artifacts, err) < 0)
        return err_wrap(err, "task %s", i->row.path);
    if (i->row.iteration_index >= 0)
        share_items(i);
    struct by_id *e = xcalloc(1, sizeof *e);
    e->id = i->row.id;
    e->i = i;
    HASH_ADD(hh, ld->table, id, sizeof e->id, e);
    return 0;
}

/* What the rows imply: loops' counts, open attempts, everything to be looked at once. */
static int settle_in(struct inst *i, const struct ctx *ctx, struct err *err)
{
    i->touched = true;
    if (i->c->kind == IR_DAG && !i->is_loop && !task_settled(i->row.state) && (i->row.state != TASK_WAITING || i->n_kids > 0) &&
        dag_make_kids(i, ctx, err) < 0)
        return -1;
    if (inst_is_leaf(i)) {
        i->first_started_ns = i->row.started_ns;
        if (i->row.state == TASK_STARTING || i->row.state == TASK_RUNNING || i->row.state == TASK_BACKOFF)
            live_add_leaf(i->live, i);
    }
    if (i->is_loop && i->row.iteration_count >= 0 && resolve_items(i, err) < 0)
        return -1;
    i->live->n_tasks += (size_t)(i->is_loop && i->row.iteration_count > 0 ? i->row.iteration_count : i->n_kids);
    for (int k = 0; k < i->n_kids; k++) {
        if (!i->kids[k])
            continue;
        if (i->is_loop) {
            i->next_iter = k + 1;
            i->active += !task_settled(i->kids[k]->row.state);
        }
        if (settle_in(i->kids[k], ctx, err) < 0)
            return -1;
    }
    return 0;
}

/* Pods of attempts that failed make way for those to come. That they are still there does no harm: they have names of their own.
 */
static void remove_pods(struct inst *i, const struct ctx *ctx)
{
    struct engine *e = i->live->e;
    JSON_REF(d) = i->row.pods ? json_parse_str(i->row.pods, NULL) : NULL;
    struct jiter it = jv_iter(d ? json_root(d) : NULL);
    jval *pod;
    while (d && jv_next(&it, NULL, &pod))
        if (jv_bool(jv_get(pod, "failed"), false) && jv_str(jv_get(pod, "name")))
            e->rt.stop(e->rt.self, ctx, i->live->run.ns, jv_str(jv_get(pod, "name")), NULL);
}

static void go_again(struct inst *i, const struct ctx *ctx, enum task_state to, int64_t now_ns)
{
    struct task_row *r = &i->row;
    remove_pods(i, ctx);
    inst_move(i, to, now_ns, 0, NULL);
    r->attempt = 0;
    r->next_attempt_ns = 0;
    if (to == TASK_WAITING)
        r->started_ns = 0;
    free(TAKE(r->pod_name));
    free(TAKE(r->pod_uid));
    inst_set_outputs(i, NULL);
    for (int k = 0; k < i->c->n_out_params; k++)
        json_unref(TAKE(i->out_params[k]));
    for (int k = 0; k < i->c->n_out_artifacts; k++)
        artlist_unref(TAKE(i->out_artifacts[k]));
}

/* A retried run: what failed, was stopped or never started goes again; what was done stays, but for the exit tasks of a group
 * that goes again. */
static void reset(struct inst *i, const struct ctx *ctx, int64_t now_ns)
{
    enum task_state s = i->row.state;
    bool exit_task = i->t && i->t->run_always && inst_is_leaf(i) && s == TASK_SUCCEEDED;
    if (!exit_task && (s == TASK_SUCCEEDED || s == TASK_CACHED || s == TASK_SKIPPED))
        return;
    bool group = i->n_kids > 0 || (i->is_loop && i->row.iteration_count >= 0);
    for (int k = 0; k < i->n_kids; k++)
        if (i->kids[k])
            reset(i->kids[k], ctx, now_ns);
    if (task_settled(s))
        go_again(i, ctx, group ? TASK_RUNNING : TASK_WAITING, now_ns);
}

static struct ir_pipeline *ir_for(struct engine *e, struct db *db, const char *hash, struct err *err)
{
    struct ir_pipeline *have = engine_known_ir(e, hash);
    if (have)
        return have;
    AUTOFREE char *spec = NULL;
    AUTOFREE char *platform = NULL;
    if (spec_get(db, hash, &spec, &platform, err) < 0)
        return NULL;
    JSON_REF(sd) = json_parse_str(spec, err);
    JSON_REF(pd) = sd && platform ? json_parse_str(platform, err) : NULL;
    if (!sd || (platform && !pd))
        return NULL;
    struct ir_pipeline *p = ir_from_json(json_root(sd), json_root(pd), err);
    if (p)
        engine_keep_ir(e, hash, p);
    return p;
}

/* As given, with macros replaced: from the row alone, so that every load gives the same. */
static struct json *parameters_of(const struct run *r, struct err *err)
{
    const struct macro_values v = {
        .run_id = r->run_id, .scheduled_ns = r->scheduled_ns, .current_ns = r->created_ns, .index = r->recurring_index};
    JSON_REF(given) = json_parse_str(r->parameters, err);
    return given ? macros_parameters(json_root(given), &v) : NULL;
}

struct live *live_load(struct engine *e, const struct ctx *ctx, struct db *db, struct run *run, struct err *err)
{
    struct live *l = xcalloc(1, sizeof *l);
    l->e = e;
    l->run = *run;
    *run = (struct run){0};
    struct loading ld = {.l = l, .db = db};
    l->ir = ir_for(e, db, l->run.spec_hash, err);
    bool ok = l->ir != NULL;
    if (ok && l->run.parameters)
        ok = (l->parameters = parameters_of(&l->run, err)) != NULL;
    ok = ok && live_load_stores(l, err) == 0;
    ok = ok && tasks_each(db, l->run.run_id, load_row, &ld, err) == 0;
    struct by_id *x, *tmp;
    HASH_ITER(hh, ld.table, x, tmp)
    {
        HASH_DEL(ld.table, x);
        free(x);
    }
    if (ok && l->root) {
        if (l->run.state == RUN_PENDING && task_settled(l->root->row.state))
            reset(l->root, ctx, engine_now(e));
        ok = settle_in(l->root, ctx, err) == 0;
    }
    if (ok)
        return l;
    err_wrap(err, "loading run %s", l->run.run_id);
    live_free(l);
    return NULL;
}

void live_free(struct live *l)
{
    if (!l)
        return;
    inst_free(l->root);
    struct live_art *e, *tmp;
    HASH_ITER(hh, l->arts, e, tmp)
    {
        HASH_DEL(l->arts, e);
        art_unref(e->a);
        free(e);
    }
    for (size_t k = 0; k < l->n_new_arts; k++)
        art_unref(l->new_arts[k]);
    free(l->new_arts);
    free(l->changed);
    free(l->leaves);
    strmap_free(&l->by_pod);
    commit_forget(l);
    run_clear(&l->run);
    ir_unref(l->ir);
    json_unref(l->parameters);
    json_unref(l->providers);
    free(l);
}
