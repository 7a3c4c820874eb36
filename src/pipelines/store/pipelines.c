/* pipelines.c - rows of `pipelines`. */
#include <stdlib.h>

#include "pipelines/store/catalog.h"
#include "pipelines/store/catalog_util.h"

#define F(member) ROW_AT(struct pipeline, member)

static const struct row_field FIELDS[] = {
    {"pipeline_id", "p.pipeline_id", ROW_TEXT, F(pipeline_id), ROW_SHOWN | ROW_FIXED},
    {"id", "p.pipeline_id", ROW_TEXT, ROW_ALIAS},
    {"name", "p.name", ROW_TEXT, F(name), ROW_SHOWN},
    {"display_name", "p.display_name", ROW_TEXT, F(display_name), ROW_SHOWN},
    {"description", "p.description", ROW_TEXT, F(description), ROW_SHOWN},
    {"created_at", "p.created_at", ROW_TIME, F(created_ns), ROW_SHOWN},
    {"namespace", "p.namespace", ROW_TEXT, F(ns)},
    {"tags", "p.tags", ROW_TAGS, F(tags), ROW_SHOWN | ROW_NO_SORT},
};
ROW_TABLE(PIPELINE_ROWS, "Pipeline", "pipelines", "p", "p.pipeline_id", struct pipeline, FIELDS);

void pipeline_clear(struct pipeline *p) { row_clear(&PIPELINE_ROWS, p); }

int pipeline_insert(struct db *db, const struct pipeline *p, struct err *err) { return row_insert(&PIPELINE_ROWS, db, p, err); }

int pipeline_get(struct db *db, const char *id, struct pipeline *out, struct err *err)
{
    return row_get(&PIPELINE_ROWS, db, id, out, err);
}

int pipeline_get_by_name(struct db *db, const char *ns, const char *name, struct pipeline *out, struct err *err)
{
    const char *const values[] = {ns ? ns : "", name};
    int rc = row_first(&PIPELINE_ROWS, db, "WHERE p.namespace = ?1 AND p.name = ?2", values, 2, out, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "Namespace/Pipeline %s/%s not found", values[0], name);
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
