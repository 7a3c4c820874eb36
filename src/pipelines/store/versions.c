/* versions.c - rows of `pipeline_versions` and `version_sources`. */
#include <stdlib.h>

#include "pipelines/store/catalog.h"
#include "pipelines/store/catalog_util.h"
#include "pipelines/store/store.h"

void version_clear(struct pipeline_version *v)
{
    free(v->version_id);
    free(v->pipeline_id);
    free(v->name);
    free(v->display_name);
    free(v->description);
    free(v->code_source_url);
    free(v->package_url);
    free(v->tags);
    free(v->spec_hash);
    *v = (struct pipeline_version){0};
}

void version_row(struct stmt *s, struct pipeline_version *out)
{
    *out = (struct pipeline_version){
        .version_id = column_copy(s, 0),
        .pipeline_id = column_copy(s, 1),
        .name = column_copy(s, 2),
        .display_name = column_copy(s, 3),
        .description = column_copy(s, 4),
        .code_source_url = column_copy(s, 5),
        .package_url = column_copy(s, 6),
        .tags = column_copy(s, 7),
        .spec_hash = column_copy(s, 8),
        .created_ns = stmt_i64(s, 9),
    };
}

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
    static const char SQL[] =
        "INSERT INTO pipeline_versions (pipeline_version_id, pipeline_id, name, display_name, description,"
        " code_source_url, package_url, tags, spec_hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, v->version_id);
    stmt_bind_text(s, 2, v->pipeline_id);
    stmt_bind_text(s, 3, v->name);
    stmt_bind_text(s, 4, v->display_name);
    bind_text_or_empty(s, 5, v->description);
    bind_text_or_empty(s, 6, v->code_source_url);
    bind_text_or_empty(s, 7, v->package_url);
    bind_text_or_null(s, 8, v->tags);
    stmt_bind_text(s, 9, v->spec_hash);
    stmt_bind_i64(s, 10, v->created_ns);
    return stmt_run(s, err) < 0 ? -1 : source_insert(db, v->version_id, source, n, err);
}

static int read_one(struct stmt *s, struct pipeline_version *out, struct err *err)
{
    int rc = stmt_step(s, err);
    if (rc == 1)
        version_row(s, out);
    return rc;
}

int version_get(struct db *db, const char *id, struct pipeline_version *out, struct err *err)
{
    static const char SQL[] = "SELECT " VERSION_COLUMNS " FROM pipeline_versions v WHERE v.pipeline_version_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    int rc = read_one(s, out, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "PipelineVersion %s not found", id);
    return rc < 0 ? -1 : 0;
}

int version_latest(struct db *db, const char *pipeline_id, struct pipeline_version *out, struct err *err)
{
    static const char SQL[] = "SELECT " VERSION_COLUMNS " FROM pipeline_versions v WHERE v.pipeline_id = ?1"
                              " ORDER BY v.created_at DESC, v.pipeline_version_id DESC LIMIT 1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, pipeline_id);
    int rc = read_one(s, out, err);
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
        int rc;
        while ((rc = stmt_step(s, err)) == 1)
            strlist_add(&ids, stmt_text(s, 0));
        if (rc < 0)
            return -1;
    }
    for (size_t i = 0; i < ids.n; i++) {
        if (version_delete(db, ids.v[i], err) < 0)
            return -1;
    }
    return 0;
}
