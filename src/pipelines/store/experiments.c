/* experiments.c - rows of `experiments`. */
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "pipelines/store/catalog.h"
#include "pipelines/store/catalog_util.h"
#include "pipelines/store/recurring.h"

const struct row_word STORAGE_STATES[] = {
    {"AVAILABLE", 0}, {"STORAGESTATE_AVAILABLE", 0}, {"ARCHIVED", 1}, {"STORAGESTATE_ARCHIVED", 1}, {NULL, 0}};

#define F(member) ROW_AT(struct experiment, member)

static const struct row_field FIELDS[] = {
    {"experiment_id", "e.experiment_id", ROW_TEXT, F(experiment_id), ROW_SHOWN | ROW_FIXED},
    {"id", "e.experiment_id", ROW_TEXT, ROW_ALIAS},
    {"display_name", "e.name", ROW_TEXT, F(name), ROW_SHOWN},
    {"name", "e.name", ROW_TEXT, ROW_ALIAS},
    {"description", "e.description", ROW_TEXT, F(description), ROW_SHOWN},
    {"created_at", "e.created_at", ROW_TIME, F(created_ns), ROW_SHOWN},
    {"namespace", "e.namespace", ROW_TEXT, F(ns)},
    {"storage_state", "e.storage_state", ROW_FLAG, F(archived), ROW_SHOWN, STORAGE_STATES},
    {"last_run_created_at", "e.last_run_created_at", ROW_TIME, F(last_run_ns), ROW_SHOWN},
};
ROW_TABLE(EXPERIMENT_ROWS, "Experiment", "experiments", "e", "e.experiment_id", struct experiment, FIELDS);

void experiment_clear(struct experiment *e) { row_clear(&EXPERIMENT_ROWS, e); }

int experiment_insert(struct db *db, const struct experiment *e, struct err *err)
{
    return row_insert(&EXPERIMENT_ROWS, db, e, err);
}

int experiment_get(struct db *db, const char *id, struct experiment *out, struct err *err)
{
    return row_get(&EXPERIMENT_ROWS, db, id, out, err);
}

int experiment_default(struct db *db, int64_t now_ns, char *id, struct err *err)
{
    static const char SQL[] =
        "SELECT experiment_id FROM experiments WHERE namespace = '' AND name = '" DEFAULT_EXPERIMENT_NAME "'";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    int rc = stmt_step(s, err);
    if (rc < 0)
        return -1;
    if (rc == 1) {
        strncpy(id, stmt_text(s, 0), UUID_TEXT - 1);
        id[UUID_TEXT - 1] = '\0';
        return 0;
    }
    char name[] = DEFAULT_EXPERIMENT_NAME;
    char description[] = "All runs created without specifying an experiment will be grouped here.";
    const struct experiment e = {.experiment_id = uuid4(id), .name = name, .description = description, .created_ns = now_ns};
    return experiment_insert(db, &e, err);
}

int experiment_set_archived(struct db *db, const char *id, bool archived, int64_t now_ns, struct err *err)
{
    static const char SQL[] = "UPDATE experiments SET storage_state = ?2 WHERE experiment_id = ?1";
    static const char SQL_RUNS[] =
        "UPDATE runs SET storage_state = 1, archived_at = ?2 WHERE experiment_id = ?1 AND storage_state <> 1";
    {
        STMT(s, db, SQL, err);
        if (!s)
            return -1;
        stmt_bind_text(s, 1, id);
        stmt_bind_i64(s, 2, archived);
        if (run_on_one(db, s, "Experiment", id, err) < 0)
            return -1;
    }
    if (!archived)
        return 0;
    STMT(r, db, SQL_RUNS, err);
    if (!r)
        return -1;
    stmt_bind_text(r, 1, id);
    stmt_bind_i64(r, 2, now_ns);
    return stmt_run(r, err) < 0 ? -1 : recurring_disable_all(db, id, now_ns, err);
}

int experiment_delete(struct db *db, const char *id, struct err *err)
{
    static const char SQL[] = "DELETE FROM experiments WHERE experiment_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    return run_on_one(db, s, "Experiment", id, err);
}

int experiment_touch(struct db *db, const char *id, int64_t last_run_ns, struct err *err)
{
    static const char SQL[] =
        "UPDATE experiments SET last_run_created_at = max(last_run_created_at, ?2) WHERE experiment_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    stmt_bind_i64(s, 2, last_run_ns);
    return run_on_one(db, s, "Experiment", id, err);
}
