/* run_out.c - a run as JSON, and its tasks (spec 6.1, 6.3). */
#include <stdlib.h>
#include <string.h>

#include "pipelines/api/resource.h"

/* ---- tasks -------------------------------------------------------------------------------------------------------- */

struct tasks {
    struct task_row *v; /* in order of id */
    size_t n, cap;
};
static void tasks_clear(struct tasks *t)
{
    for (size_t i = 0; i < t->n; i++)
        task_row_clear(&t->v[i]);
    free(t->v);
}

static int keep_task(void *self, struct task_row *t, struct err *err)
{
    struct tasks *all = self;
    if (all->n == all->cap) {
        all->cap = all->cap ? all->cap * 2 : 32;
        all->v = xreallocarray(all->v, all->cap, sizeof *all->v);
    }
    all->v[all->n++] = *t; /* taken */
    *t = (struct task_row){0};
    return 0;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = ((const struct task_row *)a)->id, y = ((const struct task_row *)b)->id;
    return (x > y) - (x < y);
}

static const struct task_row *task_by_id(const struct tasks *all, int64_t id)
{
    const struct task_row key = {.id = id};
    return all->n ? bsearch(&key, all->v, all->n, sizeof *all->v, by_id) : NULL;
}

static void out_error(struct jm *m, jmval *obj, int code, const char *message)
{
    if (code == 0 && str_empty(message))
        return;
    jmval *e = jm_obj_at(m, obj, "error");
    out_i32(m, e, "code", code);
    out_str(m, e, "message", message);
}

/* {"artifacts": {"data": [3]}} becomes {"data": {"artifact_ids": ["3"]}}. */
static void out_artifacts(struct jm *m, jmval *obj, const char *key, const char *io_text)
{
    JSON_REF(io) = str_empty(io_text) ? NULL : json_parse_str(io_text, NULL);
    struct jiter it = jv_iter(jv_get(json_root(io), "artifacts"));
    const char *name;
    jval *ids;
    while (jv_next(&it, &name, &ids)) {
        jmval *list = jm_arr(m);
        for (size_t i = 0; i < jv_len(ids); i++)
            jm_push(list, jm_strf(m, "%lld", (long long)jv_i64_or(jv_at(ids, i), 0)));
        jm_put(m, jm_obj_at(m, jm_obj_at(m, obj, key), name), "artifact_ids", list);
    }
}

static void out_pods(struct jm *m, jmval *obj, const struct task_row *t)
{
    out_str(m, obj, "pod_name", t->pod_name);
    if (str_empty(t->pod_name))
        return;
    jmval *detail = jm_obj_at(m, obj, "executor_detail");
    out_str(m, detail, "main_job", t->pod_name);
    JSON_REF(pods) = str_empty(t->pods) ? NULL : json_parse_str(t->pods, NULL);
    for (size_t i = 0; i < jv_len(json_root(pods)); i++) {
        jval *pod = jv_at(json_root(pods), i);
        if (jv_bool(jv_get(pod, "failed"), false))
            jm_push(jm_arr_at(m, detail, "failed_main_jobs"), jm_str(m, jv_str_or(jv_get(pod, "name"), "")));
    }
}

static jmval *task_out(struct jm *m, const char *run_id, const struct tasks *all, const struct task_row *t)
{
    jmval *o = jm_obj(m);
    out_str(m, o, "run_id", run_id);
    out_str(m, o, "task_id", t->task_id);
    out_str(m, o, "display_name", str_empty(t->display_name) ? t->name : t->display_name);
    out_time(m, o, "create_time", t->created_ns);
    out_time(m, o, "start_time", t->started_ns);
    out_time(m, o, "end_time", t->finished_ns);
    out_str(m, o, "state", run_state_name(task_state_run(t->state)));
    jm_put(m, o, "execution_id", jm_strf(m, "%lld", (long long)t->id));
    const struct task_row *parent = task_by_id(all, t->parent);
    out_str(m, o, "parent_task_id", parent ? parent->task_id : NULL);
    out_json(m, o, "state_history", t->state_history);
    out_artifacts(m, o, "inputs", t->inputs);
    out_artifacts(m, o, "outputs", t->outputs);
    out_error(m, o, t->error_code, t->error_message);
    out_pods(m, o, t);
    return o;
}

/* Absent until the first task exists. */
static int out_tasks(struct db *db, struct jm *m, jmval *run, const char *run_id, struct err *err)
{
    CLEANUP(tasks_clear) struct tasks all = {0};
    if (tasks_each(db, run_id, keep_task, &all, err) < 0)
        return -1;
    if (all.n == 0)
        return 0;
    jmval **outs = xcalloc(all.n, sizeof *outs);
    for (size_t i = 0; i < all.n; i++) {
        outs[i] = task_out(m, run_id, &all, &all.v[i]);
        const struct task_row *parent = task_by_id(&all, all.v[i].parent);
        if (parent && parent < &all.v[i]) { /* parents come first */
            jmval *child = jm_obj(m);
            out_str(m, child, "task_id", all.v[i].task_id);
            out_str(m, child, "pod_name", all.v[i].pod_name);
            jm_push(jm_arr_at(m, outs[parent - all.v], "child_tasks"), child);
        }
    }
    jmval *list = jm_arr(m);
    for (size_t i = 0; i < all.n; i++)
        jm_push(list, outs[i]);
    free(outs);
    jm_put(m, jm_obj_at(m, run, "run_details"), "task_details", list);
    return 0;
}

/* ---- the run ------------------------------------------------------------------------------------------------------ */

void out_runtime_config(struct jm *m, jmval *obj, const char *parameters, const char *pipeline_root)
{
    jmval *config = jm_obj(m);
    out_json(m, config, "parameters", parameters);
    out_str(m, config, "pipeline_root", pipeline_root);
    if (jmv_len(config) > 0)
        jm_put(m, obj, "runtime_config", config);
}

int out_source(struct db *db, struct jm *m, jmval *obj, const struct origin *from, struct err *err)
{
    if (from->inline_spec)
        return package_out(db, from->spec_hash, m, obj, err);
    jmval *ref = jm_obj_at(m, obj, "pipeline_version_reference");
    out_str(m, ref, "pipeline_id", from->pipeline_id);
    out_str(m, ref, "pipeline_version_id", from->version_id);
    return 0;
}

static int run_more(struct db *db, struct jm *m, jmval *o, const void *row, int view, struct err *err)
{
    const struct run *r = row;
    const struct origin from = {r->inline_spec, r->spec_hash, r->pipeline_id, r->pipeline_version_id};
    if (out_source(db, m, o, &from, err) < 0)
        return -1;
    out_runtime_config(m, o, r->parameters, r->pipeline_root_given);
    out_error(m, o, r->error_code, r->error_message);
    if ((view == VIEW_FULL || view == VIEW_ALL) && out_run_tasks(db, m, o, r->run_id, err) < 0)
        return -1;
    return view == VIEW_ONE || view == VIEW_FULL ? out_tasks(db, m, o, r->run_id, err) : 0;
}

const struct resource RUNS = {
    .table = &RUN_ROWS,
    .list_key = "runs",
    .bad_options = "Failed to create list options",
    .list_failed = "Failed to list runs",
    .more = run_more,
};
