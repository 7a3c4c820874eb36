/* One transaction for all that a turn decided. */
#include <stdlib.h>

#include "base/fault.h"
#include "pipelines/engine/live.h"

static void link_list(struct inst *i, enum md_io io, const char *key, const char *producer, const struct artlist *list)
{
    for (int n = 0; list && n < list->n; n++) {
        struct pending_link *p = xcalloc(1, sizeof *p);
        p->l = (struct md_link){
            .artifact_id = list->v[n]->a.id,
            .task_id = i->row.id,
            .run_id = xstrdup(i->live->run.run_id),
            .io = io,
            .key = xstrdup(key),
            .position = n,
            .producer = xstrdup(producer),
            .producer_iteration = -1,
        };
        p->next = i->live->links;
        i->live->links = p;
    }
}

void live_link_inputs(struct inst *i, enum md_io io)
{
    for (int k = 0; k < i->c->n_in_artifacts; k++) {
        enum md_io kind = io == MD_IO_UNSPECIFIED ? MD_IO_COMPONENT_INPUT : io;
        const char *producer = "";
        for (int n = 0; io == MD_IO_UNSPECIFIED && n < i->t->n_artifacts; n++) {
            const struct ir_input *in = &i->t->artifacts[n];
            if (in->at != k || in->bind != IR_BIND_TASK)
                continue;
            const struct inst *from = i->up->kids[in->task];
            kind = from->is_loop ? MD_IO_COLLECTED_INPUTS : MD_IO_TASK_OUTPUT_INPUT;
            producer = from->row.name;
        }
        link_list(i, kind, i->c->in_artifacts[k].key, producer, i->in_artifacts[k]);
    }
}

void live_link_outputs(struct inst *i)
{
    for (int k = 0; k < i->c->n_out_artifacts; k++) {
        enum md_io kind = i->is_loop ? MD_IO_ITERATOR_OUTPUT : MD_IO_OUTPUT;
        if (!i->is_loop && i->c->kind == IR_DAG && i->c->dag_artifacts[k].n_from > 1)
            kind = MD_IO_ONE_OF_OUTPUT;
        link_list(i, kind, i->c->out_artifacts[k].key, "", i->out_artifacts[k]);
    }
}

void live_link_output(struct inst *i, const char *key, const struct art *a)
{
    struct artlist *list = artlist_new(1);
    list->v[0] = (struct art *)(uintptr_t)a;
    link_list(i, MD_IO_OUTPUT, key, "", list);
    list->n = 0;
    artlist_unref(list);
}

static void free_link(struct pending_link *p)
{
    free(p->l.run_id);
    free(p->l.key);
    free(p->l.producer);
    free(p);
}

static void free_entry(struct cache_entry *c)
{
    free(c->key);
    free(c->parts);
    free(c->outputs);
    free(c);
}

void commit_forget(struct live *l)
{
    while (l->links) {
        struct pending_link *p = l->links;
        l->links = p->next;
        free_link(p);
    }
    while (l->cache) {
        struct cache_entry *c = l->cache;
        l->cache = c->next;
        free_entry(c);
    }
}

/* Nothing new is said of what is being deleted. */
static int check_places(struct db *db, const struct live *l, struct err *err)
{
    for (size_t k = 0; k < l->n_new_arts; k++) {
        bool takes;
        if (trash_takes(db, l->new_arts[k]->a.uri, &takes, err) < 0)
            return -1;
        if (takes)
            return err_set(err, ERR_CONFLICT, "%s is being deleted", l->new_arts[k]->a.uri);
    }
    return 0;
}

static int write_all(struct db *db, void *arg, struct err *err)
{
    struct live *l = arg;
    int64_t now = engine_now(l->e);
    enum run_state to = l->want != RUN_STATE_UNSPECIFIED ? l->want : l->run.state;
    /* First of all, for it says whether the run is still what we think: nobody terminated, retried or deleted it. */
    if (run_update(db, &l->run, to, now, err) < 0)
        return -1;
    if (check_places(db, l, err) < 0)
        return -1;
    for (size_t k = 0; k < l->n_new_arts; k++)
        if (md_artifact_insert(db, &l->new_arts[k]->a, err) < 0)
            return -1;
    for (size_t k = 0; k < l->n_changed; k++)
        if (task_put(db, &l->changed[k]->row, err) < 0)
            return err_wrap(err, "task %s", l->changed[k]->row.path);
    for (struct pending_link *p = l->links; p; p = p->next)
        if (md_link_insert(db, &p->l, err) < 0)
            return -1;
    for (struct cache_entry *c = l->cache; c; c = c->next)
        if (cache_put(db, l, c, now, err) < 0)
            return -1;
    FAULT("engine.commit.inside");
    return 0;
}

/* An iteration that is over and stored needs its outputs only; its tasks leave memory. */
static bool is_over(const struct inst *i) { return i->row.iteration_index >= 0 && task_settled(i->row.state); }

static void shed(struct inst *i)
{
    for (int k = 0; k < i->n_kids; k++)
        inst_free(i->kids[k]);
    free(TAKE(i->kids));
    i->n_kids = 0;
}

/* The outermost iterations that are over; those inside one of them go with it. Frees instances that `changed` still names: call
 * it last. */
static void shed_all(struct live *l)
{
    size_t n = 0;
    for (size_t k = 0; k < l->n_changed; k++) {
        struct inst *i = l->changed[k], *u = i->up;
        while (u && !is_over(u))
            u = u->up;
        if (is_over(i) && !u)
            l->changed[n++] = i;
    }
    for (size_t k = 0; k < n; k++)
        shed(l->changed[k]);
}

static void clean_attempts(struct inst *i)
{
    engine_remove_later(i->live->e, task_dir(i));
    i->clean_up = false;
}

int live_commit(struct live *l, const struct ctx *ctx, struct err *err)
{
    live_name_attempts(l);
    if (l->n_changed == 0 && l->n_new_arts == 0 && !l->links && !l->cache && l->want == RUN_STATE_UNSPECIFIED)
        return 0;
    FAULT("engine.commit.before");
    if (db_writer_run(l->e->cfg.store->writer, ctx, write_all, l, err) < 0)
        return -1;
    FAULT("engine.commit.after");
    changes_tell(l->e->cfg.store->changes, l->run.run_id);
    for (size_t k = 0; k < l->n_changed; k++) {
        struct inst *i = l->changed[k];
        i->dirty = false;
        if (i->clean_up)
            clean_attempts(i);
    }
    shed_all(l);
    l->n_changed = 0;
    for (size_t k = 0; k < l->n_new_arts; k++)
        art_unref(l->new_arts[k]);
    l->n_new_arts = 0;
    l->want = RUN_STATE_UNSPECIFIED;
    commit_forget(l);
    return 0;
}
