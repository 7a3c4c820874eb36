/* tasks.c - rows of `tasks`. */
#include "base/str.h"
#include "pipelines/store/store.h"

#define F(member) ROW_AT(struct task_row, member)

/* The API's TaskState words. */
static const struct row_word TASK_STATES[] = {
    {"RUNTIME_STATE_UNSPECIFIED", TASK_WAITING},
    {"RUNNING", TASK_STARTING},
    {"RUNNING", TASK_RUNNING},
    {"RUNNING", TASK_BACKOFF},
    {"SUCCEEDED", TASK_SUCCEEDED},
    {"CACHED", TASK_CACHED},
    {"SKIPPED", TASK_SKIPPED},
    {"SKIPPED", TASK_NEVER},
    {"FAILED", TASK_FAILED},
    {"FAILED", TASK_CANCELED},
    {NULL, 0},
};
static const struct row_word TASK_TYPES[] = {
    {"ROOT", TASK_ROOT},           {"RUNTIME", TASK_RUNTIME}, {"CONDITION_BRANCH", TASK_CONDITION_BRANCH},
    {"CONDITION", TASK_CONDITION}, {"LOOP", TASK_LOOP},       {"EXIT_HANDLER", TASK_EXIT_HANDLER},
    {"IMPORTER", TASK_IMPORTER},   {"DAG", TASK_DAG},         {NULL, 0},
};
static const struct row_field FIELDS[] = {
    {"execution_id", "t.id", ROW_INT, F(id), ROW_FIXED},
    {"task_id", "t.task_id", ROW_TEXT, F(task_id), ROW_SHOWN | ROW_FIXED},
    {"id", "t.task_id", ROW_TEXT, ROW_ALIAS},
    {"run_id", "t.run_id", ROW_TEXT, F(run_id), ROW_SHOWN | ROW_FIXED},
    {"parent", "t.parent", ROW_INT, F(parent), ROW_HIDDEN | ROW_FIXED},
    /* Never NULL, which pages could not go on from. */
    {"parent_task_id", "coalesce((SELECT u.task_id FROM tasks u WHERE u.id = t.parent), '')", ROW_TEXT, ROW_ALIAS},
    {"name", "t.name", ROW_TEXT, F(name), ROW_SHOWN | ROW_FIXED},
    {"display_name", "t.display_name", ROW_TEXT, F(display_name), ROW_SHOWN | ROW_FIXED},
    {"path", "t.path", ROW_TEXT, F(path), ROW_HIDDEN | ROW_FIXED},
    {"type", "t.type", ROW_SMALL, F(type), ROW_SHOWN | ROW_FIXED, TASK_TYPES},
    {"iteration_index", "t.iteration_index", ROW_SMALL, F(iteration_index), ROW_HIDDEN | ROW_FIXED},
    {"iteration_count", "t.iteration_count", ROW_SMALL, F(iteration_count), ROW_HIDDEN},
    {"state", "t.state", ROW_SMALL, F(state), ROW_SHOWN, TASK_STATES},
    {"state_history", "t.state_history", ROW_TEXT, F(state_history), ROW_HIDDEN},
    {"error_code", "t.error_code", ROW_SMALL, F(error_code), ROW_HIDDEN},
    {"error_message", "t.error_message", ROW_OPT, F(error_message), ROW_HIDDEN},
    {"create_time", "t.created_at", ROW_TIME, F(created_ns), ROW_SHOWN | ROW_FIXED},
    {"created_at", "t.id", ROW_INT, ROW_ALIAS, ROW_NO_FILTER}, /* tasks are numbered in the order in which they were made */
    {"start_time", "t.started_at", ROW_TIME, F(started_ns), ROW_SHOWN},
    {"end_time", "t.finished_at", ROW_TIME, F(finished_ns), ROW_SHOWN},
    {"attempt", "t.attempt", ROW_SMALL, F(attempt), ROW_HIDDEN},
    {"next_attempt", "t.next_attempt_at", ROW_TIME, F(next_attempt_ns), ROW_HIDDEN},
    {"pod_name", "t.pod_name", ROW_OPT, F(pod_name), ROW_HIDDEN},
    {"pod_uid", "t.pod_uid", ROW_OPT, F(pod_uid), ROW_HIDDEN},
    {"pods", "t.pods", ROW_OPT, F(pods), ROW_HIDDEN},
    {"inputs", "t.inputs", ROW_OPT, F(inputs), ROW_HIDDEN},
    {"outputs", "t.outputs", ROW_OPT, F(outputs), ROW_HIDDEN},
    {"io", "t.io", ROW_OPT, F(io), ROW_HIDDEN},
    {"cache_fingerprint", "t.cache_key", ROW_OPT, F(cache_key), ROW_SHOWN},
    {"fingerprint", "coalesce(t.cache_key, '')", ROW_TEXT, ROW_ALIAS},
    {"cache_parts", "t.cache_parts", ROW_OPT, F(cache_parts), ROW_HIDDEN},
    {"cached_from", "t.cached_from", ROW_INT, F(cached_from), ROW_HIDDEN},
    {"changed_at", "t.changed_at", ROW_STAMP, F(changed), ROW_HIDDEN},
    {"image", "t.image", ROW_OPT, F(image), ROW_HIDDEN},
};
/* Lists and gets go by the API's id; the engine's writes by the execution id, which is the primary key. */
ROW_TABLE(TASK_ROWS, "Task", "tasks", "t", "t.task_id", struct task_row, FIELDS);

const char *task_state_next(enum task_state s) { return row_word(TASK_STATES, s); }

const char *task_type_name(enum task_type t)
{
    const char *name = row_word(TASK_TYPES, t);
    return name ? name : "TASK_TYPE_UNSPECIFIED";
}

void task_row_clear(struct task_row *t) { row_clear(&TASK_ROWS, t); }

struct walk {
    task_fn *fn;
    void *self;
};
static int on_row(void *self, void *row, struct err *err)
{
    const struct walk *w = self;
    return w->fn(w->self, row, err);
}

int tasks_each(struct db *db, const char *run_id, task_fn *fn, void *self, struct err *err)
{
    struct walk w = {fn, self};
    return row_each(&TASK_ROWS, db, "WHERE t.run_id = ?1 ORDER BY t.id", &run_id, 1, on_row, &w, err);
}

int task_get(struct db *db, const char *run_id, const char *task_id, struct task_row *out, struct err *err)
{
    const char *const values[] = {task_id, run_id};
    int rc = row_first(&TASK_ROWS, db, "WHERE t.task_id = ?1 AND t.run_id = ?2", values, 2, out, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "task %s of run %s not found", task_id, run_id);
    return rc < 0 ? -1 : 0;
}

int task_put(struct db *db, struct task_row *t, struct err *err)
{
    t->changed = row_stamp();
    return row_put(&TASK_ROWS, db, t, err);
}
