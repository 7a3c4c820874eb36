/* tasks.c - the tasks of a run (spec 8): lists, one task, and what the cache knows. Tasks are written by the engine alone. */
#include <stdlib.h>
#include <string.h>

#include "pipelines/api/listing.h"
#include "pipelines/api/proto_json.h"
#include "pipelines/api/resource.h"

/* ---- as JSON ---------------------------------------------------------------------------------------------------------- */

static void out_pods(struct jm *m, jmval *o, const struct task_row *t)
{
    JSON_REF(pods) = str_empty(t->pods) ? NULL : json_parse_str(t->pods, NULL);
    for (size_t i = 0; pods && i < jv_len(json_root(pods)); i++) {
        jval *p = jv_at(json_root(pods), i);
        jmval *pod = jm_obj(m);
        out_str(m, pod, "name", jv_str(jv_get(p, "name")));
        out_str(m, pod, "uid", jv_str(jv_get(p, "uid")));
        out_str(m, pod, "type", "EXECUTOR");
        jm_push(jm_arr_at(m, o, "pods"), pod);
    }
}

/* Rows keep RuntimeState words; a task has its own, in which waiting is not a state and a cached one is known by its row. */
static void out_history(struct jm *m, jmval *o, const struct task_row *t)
{
    JSON_REF(h) = str_empty(t->state_history) ? NULL : json_parse_str(t->state_history, NULL);
    for (size_t i = 0; h && i < jv_len(json_root(h)); i++) {
        jval *e = jv_at(json_root(h), i);
        const char *state = jv_str_or(jv_get(e, "state"), "");
        if (strcmp(state, "SKIPPED") == 0 && t->state == TASK_CACHED)
            state = "CACHED";
        if (strcmp(state, "CANCELED") == 0)
            state = "FAILED";
        if (strcmp(state, "PENDING") == 0)
            continue;
        jmval *entry = jm_obj(m);
        out_str(m, entry, "update_time", jv_str(jv_get(e, "update_time")));
        out_str(m, entry, "state", state);
        if (jv_get(e, "error"))
            jm_put(m, entry, "error", jm_val(m, jv_get(e, "error")));
        jm_push(jm_arr_at(m, o, "state_history"), entry);
    }
}

static void out_attributes(struct jm *m, jmval *o, const struct task_row *t)
{
    if (t->iteration_index >= 0)
        jm_put(m, jm_obj_at(m, o, "type_attributes"), "iteration_index", jm_strf(m, "%d", t->iteration_index));
    if (t->iteration_count >= 0)
        jm_put(m, jm_obj_at(m, o, "type_attributes"), "iteration_count", jm_strf(m, "%d", t->iteration_count));
}

/* "root/loop[3]/train" is root.loop.3.train. */
static void out_scope(struct jm *m, jmval *o, const char *path)
{
    BUF(b);
    for (const char *p = path ? path : ""; *p; p++) {
        if (*p == '/' || *p == '[')
            buf_addc(&b, '.');
        else if (*p != ']')
            buf_addc(&b, *p);
    }
    out_str(m, o, "scope_path", buf_str(&b));
}

/* Who made an input and in which way, as the engine noted it. */
static void out_origin(struct jm *m, jmval *item, jval *io, const char *key, enum md_io otherwise)
{
    jval *note = jv_get(io, key);
    out_str(m, item, "type", md_io_name((enum md_io)jv_i64_or(jv_get(note, "io"), otherwise)));
    const char *producer = jv_str_or(jv_get(note, "producer"), "");
    int64_t iteration;
    if (*producer) {
        jmval *p = jm_obj_at(m, item, "producer");
        out_str(m, p, "task_name", producer);
        if (jv_i64(jv_get(note, "iteration"), &iteration) && iteration >= 0)
            jm_put(m, p, "iteration", jm_strf(m, "%lld", (long long)iteration));
    }
}

static int out_artifact_list(struct db *db, struct jm *m, jmval *item, jval *ids, struct err *err)
{
    jmval *list = jm_arr_at(m, item, "artifacts");
    for (size_t i = 0; i < jv_len(ids); i++) {
        CLEANUP(md_artifact_clear) struct md_artifact a = {0};
        ERR(e);
        if (md_artifact_get(db, jv_i64_or(jv_at(ids, i), 0), &a, &e) < 0) {
            if (e.code == ERR_NOT_FOUND)
                continue;
            return err_move(err, &e);
        }
        jmval *o = resource_out(&ARTIFACTS, db, m, &a, VIEW_LIST, err);
        if (!o)
            return -1;
        jm_push(list, o);
    }
    return 0;
}

static int out_values(struct db *db, struct jm *m, jmval *o, const char *member, const char *text, jval *io, enum md_io otherwise,
                      struct err *err)
{
    JSON_REF(doc) = str_empty(text) ? NULL : json_parse_str(text, NULL);
    const char *key;
    jval *v;
    struct jiter it = jv_iter(doc ? jv_get(json_root(doc), "parameters") : NULL);
    while (jv_next(&it, &key, &v)) {
        jmval *item = jm_obj(m);
        jm_put(m, item, "value", jm_val(m, v));
        jm_put(m, item, "parameter_key", jm_str(m, key));
        out_origin(m, item, io, key, otherwise);
        jm_push(jm_arr_at(m, jm_obj_at(m, o, member), "parameters"), item);
    }
    it = jv_iter(doc ? jv_get(json_root(doc), "artifacts") : NULL);
    while (jv_next(&it, &key, &v)) {
        jmval *item = jm_obj(m);
        jm_put(m, item, "artifact_key", jm_str(m, key));
        out_origin(m, item, io, key, otherwise);
        if (out_artifact_list(db, m, item, v, err) < 0)
            return -1;
        jm_push(jm_arr_at(m, jm_obj_at(m, o, member), "artifacts"), item);
    }
    return 0;
}

static int out_children(struct db *db, struct jm *m, jmval *o, const struct task_row *t, struct err *err)
{
    static const char SQL[] = "SELECT task_id, name FROM tasks WHERE run_id = ?1 AND parent = ?2 ORDER BY id";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, t->run_id);
    stmt_bind_i64(s, 2, t->id);
    int rc;
    while ((rc = stmt_step(s, err)) == 1) {
        jmval *child = jm_obj(m);
        out_str(m, child, "task_id", stmt_text(s, 0));
        out_str(m, child, "name", stmt_text(s, 1));
        jm_push(jm_arr_at(m, o, "child_tasks"), child);
    }
    return rc;
}

static int out_parent(struct db *db, struct jm *m, jmval *o, const struct task_row *t, struct err *err)
{
    static const char SQL[] = "SELECT task_id FROM tasks WHERE id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, t->parent);
    int rc = t->parent ? stmt_step(s, err) : 0;
    if (rc == 1)
        out_str(m, o, "parent_task_id", stmt_text(s, 0));
    return rc < 0 ? -1 : 0;
}

static int task_more(struct db *db, struct jm *m, jmval *o, const void *row, int view, struct err *err)
{
    const struct task_row *t = row;
    out_pods(m, o, t);
    if (!str_empty(t->error_message))
        out_str(m, jm_obj_at(m, o, "status_metadata"), "message", t->error_message);
    out_history(m, o, t);
    out_attributes(m, o, t);
    out_scope(m, o, t->path);
    if (out_parent(db, m, o, t, err) < 0 || out_children(db, m, o, t, err) < 0)
        return -1;
    JSON_REF(io) = str_empty(t->io) ? NULL : json_parse_str(t->io, NULL);
    if (out_values(db, m, o, "inputs", t->inputs, io ? json_root(io) : NULL, MD_IO_COMPONENT_INPUT, err) < 0)
        return -1;
    return out_values(db, m, o, "outputs", t->outputs, NULL, MD_IO_OUTPUT, err);
}

const struct resource TASKS = {
    .table = &TASK_ROWS,
    .list_key = "tasks",
    .bad_options = "Failed to create list options",
    .list_failed = "Failed to list tasks",
    .more = task_more,
};

/* ---- calls ------------------------------------------------------------------------------------------------------------ */

int tasks_list_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *parent, *run_id = http_param(req, "run_id");
    if (query_text(req, "parent_id", &parent, err) < 0)
        return -1;
    {
        READER(r, (struct pipelines_api *)self, err);
        RUN(run);
        if (!r.db || run_get(r.db, run_id, &run, err) < 0)
            return api_wrap(err, "Failed to list tasks");
    }
    const char *const values[] = {run_id, parent};
    if (str_empty(parent))
        return resource_list(self, req, res, &TASKS, "t.run_id = ?", values, 1, VIEW_LIST, err);
    return resource_list(self, req, res, &TASKS, "t.run_id = ? AND t.parent = (SELECT u.id FROM tasks u WHERE u.task_id = ?)",
                         values, 2, VIEW_LIST, err);
}

int task_get_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct task_row t = {0};
    int rc;
    {
        READER(r, (struct pipelines_api *)self, err);
        rc = r.db ? task_get(r.db, http_param(req, "run_id"), http_param(req, "task_id"), &t, err) : -1;
    }
    if (rc == 0)
        rc = resource_send(self, res, &TASKS, &t, VIEW_ONE, err);
    task_row_clear(&t);
    return rc < 0 ? api_wrap(err, "Failed to get a task") : 0;
}

/* What a step with this fingerprint made: the task whose outputs would be taken. {} when there is none. */
int task_find_cached_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    static const char TAIL[] =
        "WHERE t.id = (SELECT c.task_id FROM step_cache c WHERE c.key = ?1 ORDER BY c.created_at DESC LIMIT 1)";
    JSON_REF(body) = pj_decode(&PJ_FIND_CACHED, req->body, req->body_len, err);
    if (!body)
        return -1;
    const char *key = jv_str_or(jv_get(json_root(body), "cache_fingerprint"), "");
    if (!*key)
        return err_set(err, ERR_INVALID, "give cache_fingerprint");
    struct task_row t = {0};
    int rc;
    {
        READER(r, (struct pipelines_api *)self, err);
        rc = r.db ? row_first(&TASK_ROWS, r.db, TAIL, &key, 1, &t, err) : -1;
    }
    if (rc == 0)
        out_empty(res);
    else if (rc > 0)
        rc = resource_send(self, res, &TASKS, &t, VIEW_ONE, err);
    task_row_clear(&t);
    return rc < 0 ? -1 : 0;
}

/* ---- for answers about runs ------------------------------------------------------------------------------------------- */

struct all {
    struct db *db;
    struct jm *m;
    jmval *list;
};
static int add_task(void *self, struct task_row *t, struct err *err)
{
    struct all *a = self;
    jmval *o = resource_out(&TASKS, a->db, a->m, t, VIEW_LIST, err);
    if (!o)
        return -1;
    jm_push(a->list, o);
    return 0;
}

int out_run_tasks(struct db *db, struct jm *m, jmval *run, const char *run_id, struct err *err)
{
    struct all a = {db, m, jm_arr(m)};
    if (tasks_each(db, run_id, add_task, &a, err) < 0)
        return -1;
    out_i32(m, run, "task_count", (int64_t)jmv_len(a.list));
    if (jmv_len(a.list) > 0)
        jm_put(m, run, "tasks", a.list);
    return 0;
}
