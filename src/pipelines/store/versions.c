/* versions.c - rows of `pipeline_versions` and `version_sources`. */
#include <stdlib.h>

#include "pipelines/store/catalog.h"
#include "pipelines/store/catalog_util.h"
#include "pipelines/store/store.h"

#define F(member) ROW_AT(struct pipeline_version, member)

static const struct row_word STATES[] = {{"READY", 0}, {NULL, 0}};
static const struct row_field FIELDS[] = {
    {"pipeline_id", "v.pipeline_id", ROW_TEXT, F(pipeline_id), ROW_SHOWN | ROW_HIDDEN},
    {"pipeline_version_id", "v.pipeline_version_id", ROW_TEXT, F(version_id), ROW_SHOWN | ROW_FIXED},
    {"id", "v.pipeline_version_id", ROW_TEXT, ROW_ALIAS},
    {"name", "v.name", ROW_TEXT, F(name), ROW_SHOWN},
    {"display_name", "v.display_name", ROW_TEXT, F(display_name), ROW_SHOWN},
    {"description", "v.description", ROW_TEXT, F(description), ROW_SHOWN},
    {"created_at", "v.created_at", ROW_TIME, F(created_ns), ROW_SHOWN},
    {"code_source_url", "v.code_source_url", ROW_TEXT, F(code_source_url), ROW_SHOWN | ROW_HIDDEN},
    {"package_url", "v.package_url", ROW_TEXT, F(package_url), ROW_HIDDEN},
    {"status", "0", ROW_SMALL, ROW_ALIAS, 0, STATES},
    {"pipeline_spec", "(SELECT s.spec FROM pipeline_specs s WHERE s.hash = v.spec_hash)", ROW_TEXT, ROW_ALIAS},
    {"spec_hash", "v.spec_hash", ROW_TEXT, F(spec_hash), ROW_HIDDEN},
    {"tags", "v.tags", ROW_TAGS, F(tags), ROW_SHOWN | ROW_NO_SORT},
};
ROW_TABLE(VERSION_ROWS, "PipelineVersion", "pipeline_versions", "v", "v.pipeline_version_id", struct pipeline_version, FIELDS);

void version_clear(struct pipeline_version *v) { row_clear(&VERSION_ROWS, v); }

static int source_insert(struct db *db, const char *id, const void *source, size_t n, struct err *err)
{
    static const char SQL[] = "INSERT INTO version_sources (pipeline_version_id, body) VALUES (?1, ?2)";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    stmt_bind_blob(s, 2, source, n);
    return stmt_run(s, err);
}

int version_insert(struct db *db, const struct pipeline_version *v, const void *source, size_t n, struct err *err)
{
    return row_insert(&VERSION_ROWS, db, v, err) < 0 ? -1 : source_insert(db, v->version_id, source, n, err);
}

int version_get(struct db *db, const char *id, struct pipeline_version *out, struct err *err)
{
    return row_get(&VERSION_ROWS, db, id, out, err);
}

int version_latest(struct db *db, const char *pipeline_id, struct pipeline_version *out, struct err *err)
{
    static const char TAIL[] = "WHERE v.pipeline_id = ?1 ORDER BY v.created_at DESC, v.pipeline_version_id DESC LIMIT 1";
    int rc = row_first(&VERSION_ROWS, db, TAIL, &pipeline_id, 1, out, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "Pipeline %s has no versions: upload one first", pipeline_id);
    return rc < 0 ? -1 : 0;
}

int version_update(struct db *db, const char *id, const char *display_name, const char *tags, struct err *err)
{
    static const char SQL[] =
        "UPDATE pipeline_versions SET display_name = coalesce(?2, display_name),"
        " tags = CASE WHEN ?3 IS NULL THEN tags WHEN ?3 = '' THEN NULL ELSE ?3 END WHERE pipeline_version_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    stmt_bind_text(s, 2, display_name);
    stmt_bind_text(s, 3, tags);
    return run_on_one(db, s, "PipelineVersion", id, err);
}

int version_delete(struct db *db, const char *id, struct err *err)
{
    static const char SQL[] = "DELETE FROM pipeline_versions WHERE pipeline_version_id = ?1";
    PIPELINE_VERSION(v);
    if (version_get(db, id, &v, err) < 0)
        return -1;
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    return stmt_run(s, err) < 0 ? -1 : spec_release(db, v.spec_hash, err);
}

int versions_delete_all(struct db *db, const char *pipeline_id, struct err *err)
{
    static const char SQL[] = "SELECT pipeline_version_id FROM pipeline_versions WHERE pipeline_id = ?1";
    STRLIST(ids);
    {
        STMT(s, db, SQL, err);
        if (!s)
            return -1;
        stmt_bind_text(s, 1, pipeline_id);
        if (stmt_texts(s, &ids, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < ids.n; i++) {
        if (version_delete(db, ids.v[i], err) < 0)
            return -1;
    }
    return 0;
}
