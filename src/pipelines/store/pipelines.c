/* pipelines.c - rows of `pipelines`. */
#include <stdlib.h>

#include "pipelines/store/catalog.h"
#include "pipelines/store/catalog_util.h"

void pipeline_clear(struct pipeline *p)
{
    free(p->pipeline_id);
    free(p->name);
    free(p->display_name);
    free(p->description);
    free(p->ns);
    free(p->tags);
    *p = (struct pipeline){0};
}

void pipeline_row(struct stmt *s, struct pipeline *out)
{
    *out = (struct pipeline){
        .pipeline_id = column_copy(s, 0),
        .name = column_copy(s, 1),
        .display_name = column_copy(s, 2),
        .description = column_copy(s, 3),
        .ns = column_copy(s, 4),
        .tags = column_copy(s, 5),
        .created_ns = stmt_i64(s, 6),
    };
}

int pipeline_insert(struct db *db, const struct pipeline *p, struct err *err)
{
    static const char SQL[] = "INSERT INTO pipelines (pipeline_id, name, display_name, description, namespace, tags, created_at)"
                              " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, p->pipeline_id);
    stmt_bind_text(s, 2, p->name);
    stmt_bind_text(s, 3, p->display_name);
    bind_text_or_empty(s, 4, p->description);
    bind_text_or_empty(s, 5, p->ns);
    bind_text_or_null(s, 6, p->tags);
    stmt_bind_i64(s, 7, p->created_ns);
    return stmt_run(s, err);
}

int pipeline_get(struct db *db, const char *id, struct pipeline *out, struct err *err)
{
    static const char SQL[] = "SELECT " PIPELINE_COLUMNS " FROM pipelines p WHERE p.pipeline_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    int rc = stmt_step(s, err);
    if (rc == 1)
        pipeline_row(s, out);
    else if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "Pipeline %s not found", id);
    return rc < 0 ? -1 : 0;
}

int pipeline_get_by_name(struct db *db, const char *ns, const char *name, struct pipeline *out, struct err *err)
{
    static const char SQL[] = "SELECT " PIPELINE_COLUMNS " FROM pipelines p WHERE p.namespace = ?1 AND p.name = ?2";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    bind_text_or_empty(s, 1, ns);
    stmt_bind_text(s, 2, name);
    int rc = stmt_step(s, err);
    if (rc == 1)
        pipeline_row(s, out);
    else if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "Namespace/Pipeline %s/%s not found", ns ? ns : "", name);
    return rc < 0 ? -1 : 0;
}

int pipeline_update(struct db *db, const char *id, const char *display_name, const char *tags, struct err *err)
{
    static const char SQL[] = "UPDATE pipelines SET display_name = coalesce(?2, display_name),"
                              " tags = CASE WHEN ?3 IS NULL THEN tags WHEN ?3 = '' THEN NULL ELSE ?3 END WHERE pipeline_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    stmt_bind_text(s, 2, display_name);
    stmt_bind_text(s, 3, tags);
    return run_on_one(db, s, "Pipeline", id, err);
}

static int refuse_with_versions(struct db *db, const char *id, struct err *err)
{
    static const char SQL[] = "SELECT pipeline_version_id FROM pipeline_versions WHERE pipeline_id = ?1 LIMIT 1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    int rc = stmt_step(s, err);
    if (rc == 1)
        return err_set(err, ERR_INVALID,
                       "Failed to delete pipeline with id %s as it has existing pipeline versions (e.g. %s). Set cascade=true to "
                       "delete all versions",
                       id, stmt_text(s, 0));
    return rc;
}

int pipeline_delete(struct db *db, const char *id, bool cascade, struct err *err)
{
    static const char SQL[] = "DELETE FROM pipelines WHERE pipeline_id = ?1";
    if ((cascade ? versions_delete_all(db, id, err) : refuse_with_versions(db, id, err)) < 0)
        return -1;
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    return run_on_one(db, s, "Pipeline", id, err);
}
