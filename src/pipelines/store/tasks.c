#include <stdlib.h>

#include "pipelines/store/store.h"

static const char *or_empty(const char *s) { return s ? s : ""; }

void task_row_clear(struct task_row *t)
{
    char *const owned[] = {
        t->task_id, t->run_id, t->name,   t->display_name, t->path, t->state_history, t->error_message, t->pod_name,
        t->pod_uid, t->pods,   t->inputs, t->outputs,      t->io,   t->cache_key,     t->cache_parts,   t->image,
    };
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        free(owned[i]);
    *t = (struct task_row){0};
}

void task_row_read(struct stmt *s, struct task_row *out)
{
    int c = 0;
#define TEXT() xstrdup(stmt_text(s, c++))
#define INT()  stmt_i64(s, c++)
    *out = (struct task_row){0};
    out->id = INT();
    out->task_id = TEXT();
    out->run_id = TEXT();
    out->parent = INT();
    out->name = TEXT();
    out->display_name = TEXT();
    out->path = TEXT();
    out->type = (enum task_type)INT();
    out->iteration_index = (int)INT();
    out->iteration_count = (int)INT();
    out->state = (enum task_state)INT();
    out->state_history = TEXT();
    out->error_code = (int)INT();
    out->error_message = TEXT();
    out->created_ns = INT();
    out->started_ns = INT();
    out->finished_ns = INT();
    out->attempt = (int)INT();
    out->next_attempt_ns = INT();
    out->pod_name = TEXT();
    out->pod_uid = TEXT();
    out->pods = TEXT();
    out->inputs = TEXT();
    out->outputs = TEXT();
    out->io = TEXT();
    out->cache_key = TEXT();
    out->cache_parts = TEXT();
    out->cached_from = INT();
    out->image = TEXT();
#undef TEXT
#undef INT
}

int tasks_each(struct db *db, const char *run_id, task_fn *fn, void *self, struct err *err)
{
    static const char SQL[] = "SELECT " TASK_COLUMNS " FROM tasks t WHERE t.run_id = ?1 ORDER BY t.id";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    int rc;
    while ((rc = stmt_step(s, err)) == 1) {
        struct task_row t;
        task_row_read(s, &t);
        rc = fn(self, &t, err);
        task_row_clear(&t);
        if (rc)
            return rc;
    }
    return rc;
}

int task_get(struct db *db, const char *run_id, const char *task_id, struct task_row *out, struct err *err)
{
    static const char SQL[] = "SELECT " TASK_COLUMNS " FROM tasks t WHERE t.task_id = ?1 AND t.run_id = ?2";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, task_id);
    stmt_bind_text(s, 2, run_id);
    int rc = stmt_step(s, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "task %s of run %s not found", task_id, run_id);
    task_row_read(s, out);
    return 0;
}

int task_put(struct db *db, const struct task_row *t, struct err *err)
{
    static const char SQL[] =
        "INSERT INTO tasks (id, task_id, run_id, parent, name, display_name, path, type, iteration_index, iteration_count, "
        "state, "
        "state_history, error_code, error_message, created_at, started_at, finished_at, attempt, next_attempt_at, pod_name, "
        "pod_uid, "
        "pods, inputs, outputs, io, cache_key, cache_parts, cached_from, image) "
        "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27,?28,?29) "
        "ON CONFLICT (id) DO UPDATE SET iteration_count = ?10, state = ?11, state_history = ?12, error_code = ?13, error_message "
        "= ?14, "
        "started_at = ?16, finished_at = ?17, attempt = ?18, next_attempt_at = ?19, pod_name = ?20, pod_uid = ?21, pods = ?22, "
        "inputs = ?23, outputs = ?24, io = ?25, cache_key = ?26, cache_parts = ?27, cached_from = ?28, image = ?29";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, t->id);
    stmt_bind_text(s, 2, t->task_id);
    stmt_bind_text(s, 3, t->run_id);
    stmt_bind_i64(s, 4, t->parent);
    stmt_bind_text(s, 5, t->name);
    stmt_bind_text(s, 6, or_empty(t->display_name));
    stmt_bind_text(s, 7, t->path);
    stmt_bind_i64(s, 8, t->type);
    stmt_bind_i64(s, 9, t->iteration_index);
    stmt_bind_i64(s, 10, t->iteration_count);
    stmt_bind_i64(s, 11, t->state);
    stmt_bind_text(s, 12, t->state_history ? t->state_history : "[]");
    stmt_bind_i64(s, 13, t->error_code);
    stmt_bind_text(s, 14, t->error_message);
    stmt_bind_i64(s, 15, t->created_ns);
    stmt_bind_i64(s, 16, t->started_ns);
    stmt_bind_i64(s, 17, t->finished_ns);
    stmt_bind_i64(s, 18, t->attempt);
    stmt_bind_i64(s, 19, t->next_attempt_ns);
    stmt_bind_text(s, 20, t->pod_name);
    stmt_bind_text(s, 21, t->pod_uid);
    stmt_bind_text(s, 22, t->pods);
    stmt_bind_text(s, 23, t->inputs);
    stmt_bind_text(s, 24, t->outputs);
    stmt_bind_text(s, 25, t->io);
    stmt_bind_text(s, 26, t->cache_key);
    stmt_bind_text(s, 27, t->cache_parts);
    stmt_bind_i64(s, 28, t->cached_from);
    stmt_bind_text(s, 29, t->image);
    return stmt_run(s, err);
}
