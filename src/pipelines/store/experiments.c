/* experiments.c - rows of `experiments`. */
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "pipelines/store/catalog.h"
#include "pipelines/store/catalog_util.h"

void experiment_clear(struct experiment *e)
{
    free(e->experiment_id);
    free(e->name);
    free(e->description);
    free(e->ns);
    *e = (struct experiment){0};
}

void experiment_row(struct stmt *s, struct experiment *out)
{
    *out = (struct experiment){
        .experiment_id = column_copy(s, 0),
        .name = column_copy(s, 1),
        .description = column_copy(s, 2),
        .ns = column_copy(s, 3),
        .archived = stmt_i64(s, 4) != 0,
        .created_ns = stmt_i64(s, 5),
        .last_run_ns = stmt_i64(s, 6),
    };
}

int experiment_insert(struct db *db, const struct experiment *e, struct err *err)
{
    static const char SQL[] = "INSERT INTO experiments (experiment_id, name, description, namespace, storage_state, created_at)"
                              " VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, e->experiment_id);
    stmt_bind_text(s, 2, e->name);
    bind_text_or_empty(s, 3, e->description);
    bind_text_or_empty(s, 4, e->ns);
    stmt_bind_i64(s, 5, e->archived);
    stmt_bind_i64(s, 6, e->created_ns);
    return stmt_run(s, err);
}

int experiment_get(struct db *db, const char *id, struct experiment *out, struct err *err)
{
    static const char SQL[] = "SELECT " EXPERIMENT_COLUMNS " FROM experiments e WHERE e.experiment_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    int rc = stmt_step(s, err);
    if (rc == 1)
        experiment_row(s, out);
    else if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "Experiment %s not found", id);
    return rc < 0 ? -1 : 0;
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

int experiment_set_archived(struct db *db, const char *id, bool archived, struct err *err)
{
    static const char SQL[] = "UPDATE experiments SET storage_state = ?2 WHERE experiment_id = ?1";
    static const char SQL_RUNS[] = "UPDATE runs SET storage_state = 1 WHERE experiment_id = ?1 AND storage_state <> 1";
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
    return stmt_run(r, err);
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
