/* The one transition function of task instances. */
#include <stdlib.h>

#include "pipelines/engine/live.h"
#include "pipelines/store/internal.h"

#define S(x) (1u << TASK_##x)

/* Row: from; bits: to. The table in store.h in words. */
static const unsigned allowed[] = {
    [TASK_WAITING] = S(STARTING) | S(RUNNING) | S(SUCCEEDED) | S(CACHED) | S(SKIPPED) | S(NEVER) | S(FAILED) | S(CANCELED),
    [TASK_STARTING] = S(RUNNING) | S(BACKOFF) | S(STARTING) | S(SUCCEEDED) | S(FAILED) | S(CANCELED),
    [TASK_RUNNING] = S(SUCCEEDED) | S(FAILED) | S(BACKOFF) | S(STARTING) | S(CANCELED),
    [TASK_BACKOFF] = S(STARTING) | S(FAILED) | S(CANCELED),
    /* Settled states are left by the retry of a whole run only. */
    [TASK_SUCCEEDED] = S(WAITING),
    [TASK_CACHED] = 0,
    [TASK_SKIPPED] = 0,
    [TASK_NEVER] = S(WAITING),
    [TASK_FAILED] = S(WAITING) | S(RUNNING),
    [TASK_CANCELED] = S(WAITING) | S(RUNNING),
};

bool inst_is_leaf(const struct inst *i) { return !i->is_loop && i->c->kind != IR_DAG; }

void inst_dirty(struct inst *i)
{
    struct live *l = i->live;
    i->unwritten = false;
    if (i->dirty)
        return;
    i->dirty = true;
    if (l->n_changed == l->cap_changed) {
        l->cap_changed = l->cap_changed ? 2 * l->cap_changed : 32;
        l->changed = xreallocarray(l->changed, l->cap_changed, sizeof(struct inst *));
    }
    l->changed[l->n_changed++] = i;
}

void inst_move(struct inst *i, enum task_state to, int64_t now_ns, int code, const char *message)
{
    struct task_row *r = &i->row;
    ASSERT(allowed[r->state] & (1u << to));
    enum run_state seen = task_state_run(to);
    char *history = history_add(r->state_history, seen, now_ns, code, message);
    free(r->state_history);
    r->state_history = history;
    r->state = to;
    r->error_code = code;
    free(r->error_message);
    r->error_message = xstrdup(message);
    if (to != TASK_WAITING && r->started_ns == 0 && !(to == TASK_SKIPPED || to == TASK_NEVER))
        r->started_ns = now_ns;
    r->finished_ns = task_settled(to) ? now_ns : 0;
    if (to != TASK_STARTING)
        fills_leave(i);
    if (to == TASK_STARTING)
        i->started = i->stopping = false;
    if (inst_is_leaf(i) && (to == TASK_STARTING || to == TASK_BACKOFF))
        live_add_leaf(i->live, i);
    if (task_settled(to)) {
        live_drop_leaf(i->live, i);
        for (struct inst *u = i->up; u && !u->touched; u = u->up)
            u->touched = true;
    }
    inst_dirty(i);
}

const struct ir_retry *inst_retry(const struct inst *i)
{
    for (; i; i = i->up)
        if (i->t && i->t->retry.set)
            return &i->t->retry;
    return NULL;
}

void live_want(struct live *l, enum run_state s, int code, const char *message)
{
    l->want = s;
    l->run.error_code = code;
    char *copy = xstrdup(message);
    free(l->run.error_message);
    l->run.error_message = copy;
}

void live_wake_at(struct live *l, int64_t wall_ns)
{
    if (l->wake_ns == 0 || wall_ns < l->wake_ns)
        l->wake_ns = wall_ns;
}
