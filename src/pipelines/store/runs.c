/* runs.c - rows of `runs`, and the specs that they are made of. */
#include <stdlib.h>

#include "base/fault.h"
#include "base/id.h"
#include "pipelines/store/catalog_util.h"
#include "pipelines/store/hash.h"
#include "pipelines/store/internal.h"
#include "pipelines/store/store.h"

static const char *or_empty(const char *s) { return s ? s : ""; }

#define F(member) ROW_AT(struct run, member)

/* Both vocabularies: RuntimeState, and the status words of v1. */
static const struct row_word RUN_STATES[] = {
    {"RUNTIME_STATE_UNSPECIFIED", RUN_STATE_UNSPECIFIED},
    {"UNKNOWN", RUN_STATE_UNSPECIFIED},
    {"PENDING", RUN_PENDING},
    {"RUNNING", RUN_RUNNING},
    {"SUCCEEDED", RUN_SUCCEEDED},
    {"SKIPPED", RUN_SKIPPED},
    {"FAILED", RUN_FAILED},
    {"ERROR", RUN_FAILED},
    {"CANCELING", RUN_CANCELING},
    {"TERMINATING", RUN_CANCELING},
    {"CANCELED", RUN_CANCELED},
    {"PAUSED", RUN_PAUSED},
    {NULL, 0},
};
static const struct row_field FIELDS[] = {
    {"run_id", "r.run_id", ROW_TEXT, F(run_id), ROW_SHOWN | ROW_FIXED},
    {"id", "r.run_id", ROW_TEXT, ROW_ALIAS},
    {"display_name", "r.display_name", ROW_TEXT, F(display_name), ROW_SHOWN},
    {"name", "r.display_name", ROW_TEXT, ROW_ALIAS},
    {"kubernetes_name", "r.name", ROW_TEXT, F(name), ROW_HIDDEN},
    {"description", "r.description", ROW_TEXT, F(description), ROW_SHOWN},
    {"experiment_id", "r.experiment_id", ROW_TEXT, F(experiment_id), ROW_SHOWN | ROW_COUNTED},
    {"namespace", "''", ROW_TEXT, ROW_ALIAS}, /* the API's; r.namespace is where the pods are */
    {"pods_namespace", "r.namespace", ROW_TEXT, F(ns), ROW_HIDDEN},
    {"pipeline_id", "r.pipeline_id", ROW_TEXT, F(pipeline_id), ROW_HIDDEN},
    {"pipeline_version_id", "r.pipeline_version_id", ROW_TEXT, F(pipeline_version_id), ROW_HIDDEN},
    {"pipeline_name", "r.pipeline_name", ROW_TEXT, F(pipeline_name), ROW_HIDDEN},
    {"spec_hash", "r.spec_hash", ROW_TEXT, F(spec_hash), ROW_HIDDEN},
    {"inline_spec", "r.inline_spec", ROW_FLAG, F(inline_spec), ROW_HIDDEN},
    {"parameters", "r.parameters", ROW_JSON, F(parameters), ROW_HIDDEN},
    {"pipeline_root_given", "r.pipeline_root_given", ROW_OPT, F(pipeline_root_given), ROW_HIDDEN},
    {"pipeline_root", "r.pipeline_root", ROW_OPT, F(pipeline_root), ROW_HIDDEN},
    {"stores", "r.stores", ROW_OPT, F(stores), ROW_HIDDEN},
    {"service_account", "r.service_account", ROW_TEXT, F(service_account), ROW_SHOWN | ROW_HIDDEN},
    {"recurring_run_id", "r.recurring_run_id", ROW_TEXT, F(recurring_run_id), ROW_SHOWN},
    {"recurring_index", "r.recurring_index", ROW_INT, F(recurring_index), ROW_HIDDEN | ROW_FIXED},
    {"changed_at", "r.changed_at", ROW_STAMP, F(changed), ROW_HIDDEN},
    {"archived_at", "r.archived_at", ROW_TIME, F(archived_ns), ROW_HIDDEN},
    {"plugins_input", "r.plugins_input", ROW_JSON, F(plugins_input), ROW_SHOWN | ROW_HIDDEN},
    {"plugins_output", "r.plugins_output", ROW_JSON, F(plugins_output), ROW_SHOWN | ROW_HIDDEN},
    {"storage_state", "r.storage_state", ROW_FLAG, F(archived), ROW_SHOWN | ROW_COUNTED, STORAGE_STATES},
    {"state", "r.state", ROW_SMALL, F(state), ROW_SHOWN | ROW_COUNTED, RUN_STATES},
    {"status", "r.state", ROW_SMALL, ROW_ALIAS, ROW_COUNTED, RUN_STATES},
    {"state_history", "r.state_history", ROW_JSON, F(state_history), ROW_SHOWN | ROW_NO_SORT},
    /* Histories begin with the time at which the run was made. */
    {"state_history", "r.created_at", ROW_TIME, ROW_ALIAS, ROW_NO_FILTER},
    {"error_code", "r.error_code", ROW_SMALL, F(error_code), ROW_HIDDEN},
    {"error_message", "r.error_message", ROW_OPT, F(error_message), ROW_HIDDEN},
    {"terminated_by", "r.terminated_by", ROW_OPT, F(terminated_by), ROW_HIDDEN},
    {"created_at", "r.created_at", ROW_TIME, F(created_ns), ROW_SHOWN},
    {"scheduled_at", "r.scheduled_at", ROW_TIME, F(scheduled_ns), ROW_SHOWN},
    {"started_at", "r.started_at", ROW_TIME, F(started_ns), ROW_HIDDEN},
    {"finished_at", "r.finished_at", ROW_TIME, F(finished_ns), ROW_SHOWN},
    {"generation", "r.generation", ROW_INT, F(generation), ROW_HIDDEN},
    {"runtime_details", "''", ROW_TEXT, ROW_ALIAS},
    {"metric", "r.run_id", ROW_METRIC, ROW_ALIAS, ROW_NO_FILTER},
};
ROW_TABLE_COUNTED(RUN_ROWS, "Run", "runs", "r", "r.run_id", struct run, FIELDS, "run_counts");

void run_clear(struct run *r) { row_clear(&RUN_ROWS, r); }

/* ---- specs ---------------------------------------------------------------------------------------------------- */

int spec_put(struct db *db, const char *pipeline_spec, const char *platform_spec, char hash[65], struct err *err)
{
    static const char SQL[] =
        "INSERT INTO pipeline_specs (hash, spec, platform) VALUES (?1, ?2, ?3) ON CONFLICT (hash) DO NOTHING";
    BUF(both);
    buf_adds(&both, pipeline_spec);
    buf_addc(&both, 0);
    if (platform_spec)
        buf_adds(&both, platform_spec);
    sha256_hex(both.data, both.len, hash);
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, hash);
    stmt_bind_text(s, 2, pipeline_spec);
    stmt_bind_text(s, 3, platform_spec);
    return stmt_run(s, err);
}

int spec_get(struct db *db, const char *hash, char **pipeline_spec, char **platform_spec, struct err *err)
{
    static const char SQL[] = "SELECT spec, platform FROM pipeline_specs WHERE hash = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, hash);
    int rc = stmt_step(s, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "pipeline spec %s not found", or_empty(hash));
    *pipeline_spec = xstrdup(stmt_text(s, 0));
    *platform_spec = xstrdup(stmt_text(s, 1));
    return 0;
}

int spec_release(struct db *db, const char *hash, struct err *err)
{
    static const char SQL[] =
        "DELETE FROM pipeline_specs WHERE hash = ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE spec_hash = ?1)"
        " AND NOT EXISTS (SELECT 1 FROM pipeline_versions WHERE spec_hash = ?1)"
        " AND NOT EXISTS (SELECT 1 FROM recurring_runs WHERE spec_hash = ?1)";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, hash);
    return stmt_run(s, err);
}

/* ---- rows ----------------------------------------------------------------------------------------------------- */

/* Pods are named after the run's name: a lower-case label of at most 40 characters, made of the last segment of the pipeline's
 * name. */
static char *make_name(const char *pipeline)
{
    const char *slash = strrchr(pipeline, '/');
    const char *p = slash ? slash + 1 : pipeline;
    char base[36], suffix[8];
    size_t n = 0;
    for (; *p && n < sizeof base - 1; p++) {
        char c = *p;
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (word)
            base[n++] = c;
        else if (n > 0 && base[n - 1] != '-')
            base[n++] = '-';
    }
    while (n > 0 && base[n - 1] == '-')
        n--;
    base[n] = 0;
    return xasprintf("%s-%s", n ? base : "run", random_suffix(suffix, 5));
}

int run_insert(struct db *db, struct run *r, const struct clock *clock, struct err *err)
{
    ASSERT(r->run_id && r->spec_hash);
    if (r->created_ns == 0)
        r->created_ns = clock->wall_ns(clock);
    if (r->scheduled_ns == 0)
        r->scheduled_ns = r->created_ns;
    if (!r->name)
        r->name = make_name(or_empty(r->pipeline_name));
    r->state = RUN_PENDING;
    r->changed = row_stamp();
    if (str_empty(r->recurring_run_id))
        r->recurring_index = -1;
    if (!r->state_history)
        r->state_history = history_add(NULL, RUN_PENDING, r->created_ns, 0, NULL);
    FAULT("runs.insert");
    return row_insert(&RUN_ROWS, db, r, err);
}

int run_get(struct db *db, const char *run_id, struct run *out, struct err *err)
{
    return row_get(&RUN_ROWS, db, run_id, out, err);
}

int run_update(struct db *db, struct run *r, enum run_state state, int64_t now_ns, struct err *err)
{
    static const char SQL[] =
        "UPDATE runs SET state = ?2, state_history = ?3, error_code = ?4, error_message = ?5, pipeline_root = ?6, "
        "stores = ?12, started_at = ?7, finished_at = ?8, changed_at = CASE WHEN state = ?2 THEN changed_at ELSE ?11 END "
        "WHERE run_id = ?1 AND generation = ?9 AND state = ?10";
    AUTOFREE char *history = history_add(r->state_history, state, now_ns, r->error_code, r->error_message);
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, r->run_id);
    stmt_bind_i64(s, 2, state);
    stmt_bind_text(s, 3, history);
    stmt_bind_i64(s, 4, r->error_code);
    stmt_bind_text(s, 5, r->error_message);
    stmt_bind_text(s, 6, r->pipeline_root);
    stmt_bind_i64(s, 7, r->started_ns);
    stmt_bind_i64(s, 8, r->finished_ns);
    stmt_bind_i64(s, 9, r->generation);
    stmt_bind_i64(s, 10, r->state);
    stmt_bind_i64(s, 11, row_stamp());
    stmt_bind_text(s, 12, r->stores);
    if (stmt_run(s, err) < 0)
        return -1;
    if (db_changes(db) != 1)
        return err_set(err, ERR_CONFLICT, "run %s was changed meanwhile", r->run_id);
    free(r->state_history);
    r->state_history = TAKE(history);
    r->state = state;
    return 0;
}

int run_set_archived(struct db *db, const char *run_id, bool archived, int64_t now_ns, struct err *err)
{
    static const char SQL[] = "UPDATE runs SET storage_state = ?2, archived_at = ?3 WHERE run_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    stmt_bind_i64(s, 2, archived);
    stmt_bind_i64(s, 3, archived ? now_ns : 0);
    if (stmt_run(s, err) < 0)
        return -1;
    return db_changes(db) == 1 ? 0 : err_set(err, ERR_NOT_FOUND, "Run %s not found", run_id);
}

int run_terminate(struct db *db, const char *run_id, const char *user, int64_t now_ns, bool *changed, struct err *err)
{
    static const char SQL[] =
        "UPDATE runs SET state = 6, state_history = ?2, terminated_by = ?3, changed_at = ?4 WHERE run_id = ?1";
    RUN(r);
    *changed = false;
    if (run_get(db, run_id, &r, err) < 0)
        return -1;
    if (run_state_final(r.state) || r.state == RUN_CANCELING)
        return 0;
    AUTOFREE char *history = history_add(r.state_history, RUN_CANCELING, now_ns, 0, NULL);
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    stmt_bind_text(s, 2, history);
    stmt_bind_text(s, 3, or_empty(user));
    stmt_bind_i64(s, 4, row_stamp());
    *changed = true;
    return stmt_run(s, err);
}

int run_retry(struct db *db, const char *run_id, int64_t now_ns, struct err *err)
{
    static const char SQL[] =
        "UPDATE runs SET state = 1, state_history = ?2, terminated_by = NULL, error_code = 0, error_message = NULL, "
        "started_at = 0, finished_at = 0, generation = generation + 1, changed_at = ?3 WHERE run_id = ?1";
    RUN(r);
    if (run_get(db, run_id, &r, err) < 0)
        return -1;
    if (r.state != RUN_FAILED && r.state != RUN_CANCELED)
        return err_set(err, ERR_CONFLICT, "run %s is %s; only a run that is FAILED or CANCELED can be retried", run_id,
                       run_state_name(r.state));
    AUTOFREE char *history = history_add(r.state_history, RUN_PENDING, now_ns, 0, NULL);
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    stmt_bind_text(s, 2, history);
    stmt_bind_i64(s, 3, row_stamp());
    return stmt_run(s, err);
}

int run_delete(struct db *db, const char *run_id, struct err *err)
{
    static const char RUNS[] = "DELETE FROM runs WHERE run_id = ?1";
    static const char TASKS[] = "DELETE FROM tasks WHERE run_id = ?1";
    RUN(r);
    if (run_get(db, run_id, &r, err) < 0 || md_run_delete(db, run_id, err) < 0)
        return -1;
    const char *const sql[] = {RUNS, TASKS};
    for (size_t i = 0; i < ARRAY_LEN(sql); i++) {
        STMT(s, db, sql[i], err);
        if (!s)
            return -1;
        stmt_bind_text(s, 1, run_id);
        if (stmt_run(s, err) < 0)
            return err_wrap(err, "deleting run %s", run_id);
    }
    return spec_release(db, r.spec_hash, err);
}

int runs_live(struct db *db, struct strlist *ids, struct err *err)
{
    static const char SQL[] = "SELECT run_id FROM runs WHERE state NOT IN (3, 4, 5, 7) ORDER BY created_at, run_id";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    return stmt_texts(s, ids, err);
}
