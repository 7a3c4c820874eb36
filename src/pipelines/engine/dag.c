/* What follows from what: the rules of DAGs and loops. */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/id.h"
#include "pipelines/engine/live.h"
#include "pipelines/store/internal.h"

/* What one pass needs. */
struct pass {
    struct live *l;
    const struct ctx *ctx;
    struct db *db;
    int64_t now;
    struct err *err;
};

static int advance(struct pass *p, struct inst *i);
static int begin(struct pass *p, struct inst *i);

/* ---- making instances ----------------------------------------------------------------------------------------- */

static enum task_type type_of(const struct ir_task *t, const struct ir_component *c, bool iteration)
{
    if (c->kind == IR_CONTAINER)
        return t->iter != IR_ITER_NONE && !iteration ? TASK_LOOP : TASK_RUNTIME;
    if (c->kind == IR_IMPORTER)
        return TASK_IMPORTER;
    if (iteration)
        return TASK_DAG;
    switch (t->group) {
    case IR_GROUP_LOOP:
        return TASK_LOOP;
    case IR_GROUP_CONDITION:
        return TASK_CONDITION;
    case IR_GROUP_BRANCHES:
        return TASK_CONDITION_BRANCH;
    case IR_GROUP_EXIT_HANDLER:
        return TASK_EXIT_HANDLER;
    case IR_GROUP_DAG:
        break;
    }
    return TASK_DAG;
}

static void fill_row(struct inst *i, int64_t id, const char *name, const char *display, char *path, int64_t now)
{
    struct task_row *r = &i->row;
    char uuid[UUID_TEXT];
    r->id = id;
    r->task_id = xstrdup(uuid4(uuid));
    r->run_id = xstrdup(i->live->run.run_id);
    r->parent = i->up ? i->up->row.id : 0;
    r->name = xstrdup(name);
    r->display_name = xstrdup(display);
    r->path = path;
    r->iteration_index = r->iteration_count = -1;
    r->state = TASK_WAITING;
    r->created_ns = now;
}

int dag_make_kids(struct inst *dag, const struct ctx *ctx, struct err *err)
{
    const struct ir_component *c = dag->c;
    struct live *l = dag->live;
    int64_t id = 0, now = engine_now(l->e);
    int missing = c->n_tasks;
    for (int k = 0; k < dag->n_kids; k++)
        missing -= dag->kids[k] != NULL;
    if (missing == 0)
        return 0;
    if (md_ids_take(l->e->cfg.store->ids, ctx, MD_SEQ_TASK, missing, &id, err) < 0)
        return -1;
    struct inst **kids = xcalloc((size_t)c->n_tasks, sizeof(struct inst *));
    if (dag->n_kids)
        memcpy(kids, dag->kids, (size_t)dag->n_kids * sizeof *kids);
    free(dag->kids);
    dag->kids = kids;
    dag->n_kids = c->n_tasks;
    for (int k = 0; k < c->n_tasks; k++) {
        if (kids[k])
            continue;
        const struct ir_task *t = &c->tasks[k];
        struct inst *i = kids[k] = inst_new(l, dag, t, &l->ir->components[t->component]);
        i->is_loop = t->iter != IR_ITER_NONE;
        fill_row(i, id++, t->name, t->display_name, xasprintf("%s/%s", dag->row.path, t->name), now);
        i->row.type = type_of(t, i->c, false);
        i->unwritten = true;
    }
    dag->touched = true;
    return 0;
}

static int open_dag(struct pass *p, struct inst *dag)
{
    ERR(e);
    if (limit_tasks(p->l, (size_t)dag->c->n_tasks, &e) < 0) {
        inst_move(dag, TASK_FAILED, p->now, RPC_INVALID_ARGUMENT, err_text(&e));
        return 0;
    }
    inst_move(dag, TASK_RUNNING, p->now, 0, NULL);
    return dag_make_kids(dag, p->ctx, p->err);
}

int live_begin(struct live *l, const struct ctx *ctx, struct db *db, struct err *err)
{
    struct pass p = {l, ctx, db, engine_now(l->e), err};
    int64_t id = 0;
    if (md_ids_take(l->e->cfg.store->ids, ctx, MD_SEQ_TASK, 1, &id, err) < 0)
        return -1;
    l->root = inst_new(l, NULL, NULL, &l->ir->components[l->ir->root]);
    fill_row(l->root, id, ROOT_NAME, ROOT_NAME, xstrdup(ROOT_NAME), p.now);
    l->root->row.type = TASK_ROOT;
    inst_dirty(l->root);
    ERR(e);
    if (resolve_root(l->root, &e) < 0) {
        inst_move(l->root, TASK_FAILED, p.now, RPC_INVALID_ARGUMENT, err_text(&e));
        return 0;
    }
    return open_dag(&p, l->root);
}

/* ---- what may start ------------------------------------------------------------------------------------------- */

static bool deps_settled(const struct inst *i)
{
    for (int d = 0; d < i->t->n_deps; d++)
        if (!task_settled(i->up->kids[i->t->deps[d]]->row.state))
            return false;
    return true;
}

static bool deps_succeeded(const struct inst *i)
{
    for (int d = 0; d < i->t->n_deps; d++)
        if (!task_succeeded(i->up->kids[i->t->deps[d]]->row.state))
            return false;
    return true;
}

/* While a run is being ended nothing starts but exit tasks, and those only for a while. */
static bool may_start(const struct pass *p, const struct inst *i)
{
    const struct live *l = p->l;
    if (l->expired)
        return false;
    if (!l->cancelling)
        return true;
    int64_t grace = l->e->cfg.exit_grace_s * NS_PER_S;
    if (p->now >= l->cancel_ns + grace)
        return false;
    for (; i; i = i->up)
        if (i->t && i->t->run_always)
            return true;
    return false;
}

static const char *stop_reason(const struct live *l)
{
    return l->expired ? "the run's deadline was exceeded" : "the run was terminated";
}

static void cancel_waiting(struct pass *p, struct inst *i)
{
    inst_move(i, TASK_CANCELED, p->now, p->l->expired ? RPC_DEADLINE_EXCEEDED : RPC_CANCELLED, stop_reason(p->l));
}

/* ---- rounds ---------------------------------------------------------------------------------------------------- */

void live_open_round(struct live *l)
{
    enum { ROUND_ROWS = 250 };
    l->changed_max = l->n_changed + ROUND_ROWS;
    l->cut = false;
}

bool live_is_full(struct live *l)
{
    bool full = l->n_changed >= l->changed_max;
    l->cut = l->cut || full;
    return full;
}

/* The round ends in the middle of this group: the next one comes by again. */
static bool leave_rest(struct pass *p, struct inst *i)
{
    if (!live_is_full(p->l))
        return false;
    for (; i; i = i->up)
        i->touched = true;
    return true;
}

/* ---- starting one --------------------------------------------------------------------------------------------- */

/* A claim that an earlier run made under a given name is not made again while it is there. */
static int start_claim(struct pass *p, struct inst *i)
{
    ERR(e);
    if (claim_task_may_reuse(i)) {
        if (cache_fingerprint(i, &e) < 0) {
            inst_move(i, TASK_FAILED, p->now, RPC_INVALID_ARGUMENT, err_text(&e));
            return 0;
        }
        int hit = i->row.cache_key && claim_task_is_there(i, p->ctx) ? cache_lookup(i, p->db, p->err) : 0;
        if (hit < 0)
            return -1;
        if (hit) {
            inst_move(i, TASK_CACHED, p->now, 0, NULL);
            return 0;
        }
    }
    if (claim_task(i, p->ctx, &e) == 0) {
        inst_move(i, TASK_SUCCEEDED, p->now, 0, NULL);
        if (i->row.cache_key)
            cache_remember(i);
        return 0;
    }
    if (e.code != ERR_INVALID)
        return err_move(p->err, &e);
    inst_move(i, TASK_FAILED, p->now, RPC_INVALID_ARGUMENT, err_text(&e));
    return 0;
}

static int start_container(struct pass *p, struct inst *i)
{
    ERR(e);
    if (bind_task_config(i, &e) < 0 || cache_fingerprint(i, &e) < 0) {
        inst_move(i, TASK_FAILED, p->now, RPC_INVALID_ARGUMENT, err_text(&e));
        return 0;
    }
    int hit = i->row.cache_key ? cache_lookup(i, p->db, p->err) : 0;
    if (hit < 0)
        return -1;
    if (hit) {
        inst_move(i, TASK_CACHED, p->now, 0, NULL);
        live_link_outputs(i);
        return 0;
    }
    inst_move(i, TASK_STARTING, p->now, 0, NULL);
    i->first_started_ns = p->now;
    return 0;
}

static int open_loop(struct pass *p, struct inst *loop)
{
    ERR(e);
    int n = resolve_items(loop, &e);
    if (n < 0 || limit_tasks(p->l, (size_t)n, &e) < 0) {
        inst_move(loop, TASK_FAILED, p->now, RPC_INVALID_ARGUMENT, err_text(&e));
        return 0;
    }
    loop->row.iteration_count = n;
    inst_move(loop, TASK_RUNNING, p->now, 0, NULL);
    loop->touched = true;
    return 0;
}

/* An instance with resolved inputs goes its way. */
static int begin(struct pass *p, struct inst *i)
{
    if (i->is_loop)
        return open_loop(p, i);
    switch (i->c->kind) {
    case IR_DAG:
        return open_dag(p, i);
    case IR_CONTAINER:
        return is_claim_task(i) ? start_claim(p, i) : start_container(p, i);
    case IR_IMPORTER: {
        ERR(e);
        if (import_artifact(i, p->ctx, p->db, &e) == 0) {
            inst_move(i, TASK_SUCCEEDED, p->now, 0, NULL);
            live_link_outputs(i);
            return 0;
        }
        if (e.code != ERR_INVALID)
            return err_move(p->err, &e);
        inst_move(i, TASK_FAILED, p->now, RPC_INVALID_ARGUMENT, err_text(&e));
        return 0;
    }
    }
    return 0;
}

/* What lies inside a skipped group is skipped as well, and shown so. Loops have no iterations then. The group is skipped last:
 * until then the next round goes on with it. */
static int skip(struct pass *p, struct inst *i)
{
    bool shown = !i->is_loop && i->c->kind == IR_DAG && (i->n_kids > 0 || limit_tasks(p->l, (size_t)i->c->n_tasks, NULL) == 0);
    if (shown && dag_make_kids(i, p->ctx, p->err) < 0)
        return -1;
    for (int k = 0; shown && k < i->n_kids; k++) {
        if (i->kids[k]->row.state == TASK_SKIPPED)
            continue;
        if (k > 0 && leave_rest(p, i)) /* with the first one its own links are written */
            return 0;
        if (skip(p, i->kids[k]) < 0)
            return -1;
        if (i->kids[k]->row.state != TASK_SKIPPED)
            return 0;
    }
    inst_move(i, TASK_SKIPPED, p->now, 0, NULL);
    return 0;
}

static int decide(struct pass *p, struct inst *i)
{
    if (!i->t->run_always && !deps_succeeded(i) && !p->l->cancelling && !p->l->expired) {
        inst_move(i, TASK_NEVER, p->now, 0, NULL);
        return 0;
    }
    if (!may_start(p, i)) {
        cancel_waiting(p, i);
        return 0;
    }
    if (!i->t->run_always && !deps_succeeded(i)) {
        inst_move(i, TASK_NEVER, p->now, 0, NULL);
        return 0;
    }
    bool go = true;
    ERR(e);
    if (resolve_inputs(i, p->db, &go, &e) < 0) {
        if (e.code != ERR_INVALID && e.code != ERR_BAD_REQUEST)
            return err_move(p->err, &e);
        inst_move(i, TASK_FAILED, p->now, RPC_INVALID_ARGUMENT, err_text(&e));
        return 0;
    }
    if (go || i->n_kids == 0) /* once: a group that is skipped in rounds comes by again */
        live_link_inputs(i, MD_IO_UNSPECIFIED);
    return go ? begin(p, i) : skip(p, i);
}

/* ---- ends ----------------------------------------------------------------------------------------------------- */

/* The first thing that went wrong below, in order of tasks. */
static const struct inst *first_bad(const struct inst *i, enum task_state s)
{
    for (int k = 0; k < i->n_kids; k++)
        if (i->kids[k] && i->kids[k]->row.state == s)
            return i->kids[k];
    return NULL;
}

static void finish_group(struct pass *p, struct inst *i)
{
    ERR(e);
    if (limit_run_values(p->l, &e) < 0) {
        inst_move(i, TASK_FAILED, p->now, RPC_INVALID_ARGUMENT, err_text(&e));
        return;
    }
    if (i->is_loop)
        collect_loop(i);
    else
        collect_dag(i);
    record_outputs(i);
    const struct inst *failed = first_bad(i, TASK_FAILED), *canceled = first_bad(i, TASK_CANCELED);
    if (failed) {
        /* Groups pass the message of the task that failed on as it is, with its path, not one prefix a level. */
        const char *why = failed->row.error_message ? failed->row.error_message : "failed";
        AUTOFREE char *message = inst_is_leaf(failed) ? xasprintf("task \"%s\": %s", failed->row.path, why) : xstrdup(why);
        inst_move(i, TASK_FAILED, p->now, failed->row.error_code ? failed->row.error_code : RPC_UNKNOWN, message);
    } else if (canceled) {
        inst_move(i, TASK_CANCELED, p->now, canceled->row.error_code, canceled->row.error_message);
    } else {
        inst_move(i, TASK_SUCCEEDED, p->now, 0, NULL);
    }
    live_link_outputs(i);
}

static bool is_open_group(const struct inst *i) { return i->row.state == TASK_RUNNING && !inst_is_leaf(i); }

static int advance_dag(struct pass *p, struct inst *dag)
{
    bool open = false;
    for (int k = 0; k < dag->n_kids; k++) {
        if (leave_rest(p, dag))
            return 0;
        struct inst *i = dag->kids[k];
        if (i->unwritten)
            inst_dirty(i);
        if (i->row.state == TASK_WAITING) {
            if (deps_settled(i)) {
                if (decide(p, i) < 0)
                    return -1;
            } else if (!may_start(p, i) && !i->t->run_always) {
                cancel_waiting(p, i);
            }
        }
        if (is_open_group(i) && i->touched && advance(p, i) < 0)
            return -1;
        open = open || !task_settled(i->row.state);
    }
    if (!open)
        finish_group(p, dag);
    return 0;
}

/* ---- loops ---------------------------------------------------------------------------------------------------- */

static int start_iteration(struct pass *p, struct inst *loop, int n)
{
    int64_t id = 0;
    if (md_ids_take(p->l->e->cfg.store->ids, p->ctx, MD_SEQ_TASK, 1, &id, p->err) < 0)
        return -1;
    struct inst *i = inst_new(p->l, loop, loop->t, loop->c);
    if (loop->n_kids < loop->row.iteration_count) {
        /* Those that were read from rows are there already. */
        size_t have = (size_t)loop->n_kids, want = (size_t)loop->row.iteration_count;
        loop->kids = xreallocarray(loop->kids, want, sizeof(struct inst *));
        memset(loop->kids + have, 0, (want - have) * sizeof(struct inst *));
        loop->n_kids = loop->row.iteration_count;
    }
    fill_row(i, id, loop->row.name, loop->row.display_name, xasprintf("%s[%d]", loop->row.path, n), p->now);
    i->row.type = type_of(loop->t, loop->c, true);
    i->row.iteration_index = n;
    inst_dirty(i);
    loop->kids[n] = i;
    loop->active++;
    ERR(e);
    if (resolve_iteration(loop, i, n, &e) < 0) {
        inst_move(i, TASK_FAILED, p->now, RPC_INVALID_ARGUMENT, err_text(&e));
        return 0;
    }
    live_link_inputs(i, MD_IO_ITERATOR_INPUT);
    return begin(p, i);
}

static int advance_loop(struct pass *p, struct inst *loop)
{
    int count = loop->row.iteration_count;
    int limit = loop->t->parallelism > 0 ? loop->t->parallelism : p->l->e->cfg.max_iterations;
    loop->active = 0;
    for (int k = 0; k < loop->n_kids; k++) {
        struct inst *i = loop->kids[k];
        if (!i)
            continue;
        if (leave_rest(p, loop))
            return 0;
        if (i->row.state == TASK_WAITING && begin(p, i) < 0) /* reset by the retry of its run */
            return -1;
        if (is_open_group(i) && i->touched && advance(p, i) < 0)
            return -1;
        loop->active += !task_settled(i->row.state);
    }
    while (loop->active < limit && loop->next_iter < count && may_start(p, loop)) {
        if (leave_rest(p, loop))
            return 0;
        int n = loop->next_iter++;
        if (start_iteration(p, loop, n) < 0)
            return -1;
        struct inst *i = loop->kids[n];
        if (is_open_group(i) && i->touched && advance(p, i) < 0)
            return -1;
        loop->active -= task_settled(i->row.state);
    }
    if (loop->active > 0)
        return 0;
    if (loop->next_iter < count) {
        if (may_start(p, loop))
            return 0;
        inst_move(loop, TASK_CANCELED, p->now, p->l->expired ? RPC_DEADLINE_EXCEEDED : RPC_CANCELLED, stop_reason(p->l));
        return 0;
    }
    finish_group(p, loop);
    return 0;
}

static int advance(struct pass *p, struct inst *i)
{
    do {
        i->touched = false;
        if ((i->is_loop ? advance_loop(p, i) : advance_dag(p, i)) < 0)
            return -1;
    } while (i->touched && i->row.state == TASK_RUNNING && !p->l->cut);
    return 0;
}

int live_advance(struct live *l, const struct ctx *ctx, struct db *db, struct err *err)
{
    struct pass p = {l, ctx, db, engine_now(l->e), err};
    if (l->root->row.state == TASK_RUNNING && l->root->touched && advance(&p, l->root) < 0)
        return -1;
    FAULT("engine.advanced");
    return 0;
}
