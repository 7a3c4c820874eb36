#include <stdlib.h>

#include "base/fault.h"
#include "base/id.h"
#include "pipelines/store/hash.h"
#include "pipelines/store/internal.h"
#include "pipelines/store/store.h"

static const char *or_empty(const char *s) { return s ? s : ""; }

void run_clear(struct run *r)
{
    char *const owned[] = {
        r->run_id,           r->name,
        r->display_name,     r->description,
        r->experiment_id,    r->ns,
        r->pipeline_id,      r->pipeline_version_id,
        r->pipeline_name,    r->spec_hash,
        r->parameters,       r->pipeline_root_given,
        r->pipeline_root,    r->service_account,
        r->recurring_run_id, r->plugins_input,
        r->plugins_output,   r->state_history,
        r->error_message,    r->terminated_by,
    };
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        free(owned[i]);
    *r = (struct run){0};
}

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
        " AND NOT EXISTS (SELECT 1 FROM pipeline_versions WHERE spec_hash = ?1)";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, hash);
    return stmt_run(s, err);
}

/* ---- rows ----------------------------------------------------------------------------------------------------- */

void run_row(struct stmt *s, struct run *out)
{
    int c = 0;
#define TEXT() xstrdup(stmt_text(s, c++))
#define INT()  stmt_i64(s, c++)
    *out = (struct run){0};
    out->run_id = TEXT();
    out->name = TEXT();
    out->display_name = TEXT();
    out->description = TEXT();
    out->experiment_id = TEXT();
    out->ns = TEXT();
    out->pipeline_id = TEXT();
    out->pipeline_version_id = TEXT();
    out->pipeline_name = TEXT();
    out->spec_hash = TEXT();
    out->inline_spec = INT() != 0;
    out->parameters = TEXT();
    out->pipeline_root_given = TEXT();
    out->pipeline_root = TEXT();
    out->service_account = TEXT();
    out->recurring_run_id = TEXT();
    out->plugins_input = TEXT();
    out->plugins_output = TEXT();
    out->archived = INT() != 0;
    out->state = (enum run_state)INT();
    out->state_history = TEXT();
    out->error_code = (int)INT();
    out->error_message = TEXT();
    out->terminated_by = TEXT();
    out->created_ns = INT();
    out->scheduled_ns = INT();
    out->started_ns = INT();
    out->finished_ns = INT();
    out->generation = INT();
#undef TEXT
#undef INT
}

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
    static const char SQL[] =
        "INSERT INTO runs (run_id, name, display_name, description, experiment_id, namespace, pipeline_id, pipeline_version_id, "
        "pipeline_name, spec_hash, inline_spec, parameters, pipeline_root_given, service_account, recurring_run_id, "
        "plugins_input, "
        "state, state_history, created_at, scheduled_at) "
        "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)";
    ASSERT(r->run_id && r->spec_hash);
    if (r->created_ns == 0)
        r->created_ns = clock->wall_ns(clock);
    if (r->scheduled_ns == 0)
        r->scheduled_ns = r->created_ns;
    if (!r->name)
        r->name = make_name(or_empty(r->pipeline_name));
    r->state = RUN_PENDING;
    if (!r->state_history)
        r->state_history = history_add(NULL, RUN_PENDING, r->created_ns, 0, NULL);
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    const char *const text[] = {
        r->run_id,
        r->name,
        or_empty(r->display_name),
        or_empty(r->description),
        or_empty(r->experiment_id),
        or_empty(r->ns),
        or_empty(r->pipeline_id),
        or_empty(r->pipeline_version_id),
        or_empty(r->pipeline_name),
        r->spec_hash,
    };
    for (size_t i = 0; i < ARRAY_LEN(text); i++)
        stmt_bind_text(s, (int)i + 1, text[i]);
    stmt_bind_i64(s, 11, r->inline_spec);
    stmt_bind_text(s, 12, r->parameters);
    stmt_bind_text(s, 13, r->pipeline_root_given);
    stmt_bind_text(s, 14, or_empty(r->service_account));
    stmt_bind_text(s, 15, or_empty(r->recurring_run_id));
    stmt_bind_text(s, 16, r->plugins_input);
    stmt_bind_i64(s, 17, r->state);
    stmt_bind_text(s, 18, r->state_history);
    stmt_bind_i64(s, 19, r->created_ns);
    stmt_bind_i64(s, 20, r->scheduled_ns);
    FAULT("runs.insert");
    return stmt_run(s, err);
}

int run_get(struct db *db, const char *run_id, struct run *out, struct err *err)
{
    static const char SQL[] = "SELECT " RUN_COLUMNS " FROM runs r WHERE r.run_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    int rc = stmt_step(s, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "Run %s not found", run_id);
    run_row(s, out);
    return 0;
}

int run_update(struct db *db, struct run *r, enum run_state state, int64_t now_ns, struct err *err)
{
    static const char SQL[] =
        "UPDATE runs SET state = ?2, state_history = ?3, error_code = ?4, error_message = ?5, pipeline_root = ?6, "
        "started_at = ?7, finished_at = ?8 WHERE run_id = ?1 AND generation = ?9 AND state = ?10";
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
    if (stmt_run(s, err) < 0)
        return -1;
    if (db_changes(db) != 1)
        return err_set(err, ERR_CONFLICT, "run %s was changed meanwhile", r->run_id);
    free(r->state_history);
    r->state_history = TAKE(history);
    r->state = state;
    return 0;
}

int run_set_archived(struct db *db, const char *run_id, bool archived, struct err *err)
{
    static const char SQL[] = "UPDATE runs SET storage_state = ?2 WHERE run_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    stmt_bind_i64(s, 2, archived);
    if (stmt_run(s, err) < 0)
        return -1;
    return db_changes(db) == 1 ? 0 : err_set(err, ERR_NOT_FOUND, "Run %s not found", run_id);
}

int run_terminate(struct db *db, const char *run_id, const char *user, int64_t now_ns, bool *changed, struct err *err)
{
    static const char SQL[] = "UPDATE runs SET state = 6, state_history = ?2, terminated_by = ?3 WHERE run_id = ?1";
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
    *changed = true;
    return stmt_run(s, err);
}

int run_retry(struct db *db, const char *run_id, int64_t now_ns, struct err *err)
{
    static const char SQL[] =
        "UPDATE runs SET state = 1, state_history = ?2, terminated_by = NULL, error_code = 0, error_message = NULL, "
        "started_at = 0, finished_at = 0, generation = generation + 1 WHERE run_id = ?1";
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
    int rc;
    while ((rc = stmt_step(s, err)) == 1)
        strlist_add(ids, stmt_text(s, 0));
    return rc;
}
