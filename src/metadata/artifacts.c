#include <math.h>
#include <stdlib.h>

#include "metadata/metadata.h"

#include "base/str.h"

void md_artifact_clear(struct md_artifact *a)
{
    free(a->name);
    free(a->schema_title);
    free(a->schema_version);
    free(a->uri);
    free(a->metadata);
    free(a->ns);
    free(a->pipeline);
    free(a->custom_path);
    free(a->run_id);
    *a = (struct md_artifact){0};
}

void md_artifact_free(void *a)
{
    if (a)
        md_artifact_clear(a);
    free(a);
}

static const char *or_empty(const char *s) { return s ? s : ""; }

/* One row for each number in the metadata of a Metrics artifact. Names are what the user logged; numbers that JSON cannot hold
 * (Infinity, NaN) are strings there and stay in the metadata alone. */
static int insert_metrics(struct db *db, const struct md_artifact *a, struct err *err)
{
    static const char SQL[] =
        "INSERT OR REPLACE INTO metrics (artifact_id, name, run_id, task_id, value) VALUES (?1, ?2, ?3, ?4, ?5)";
    JSON_REF(doc) = json_parse_str(a->metadata, err);
    if (!doc)
        return err_wrap(err, "metadata of artifact \"%s\"", a->name);
    struct jiter it = jv_iter(json_root(doc));
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        double d;
        if (!key || !jv_f64(v, &d) || !isfinite(d))
            continue;
        STMT(s, db, SQL, err);
        if (!s)
            return -1;
        stmt_bind_i64(s, 1, a->id);
        stmt_bind_text(s, 2, key);
        stmt_bind_text(s, 3, or_empty(a->run_id));
        stmt_bind_i64(s, 4, a->task_id);
        stmt_bind_f64(s, 5, d);
        if (stmt_run(s, err) < 0)
            return -1;
    }
    return 0;
}

int md_artifact_insert(struct db *db, const struct md_artifact *a, struct err *err)
{
    static const char SQL[] =
        "INSERT INTO artifacts (id, name, schema_title, schema_version, uri, metadata, namespace, pipeline, "
        "custom_path, run_id, task_id, created_at, size) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)";
    ASSERT(a->id > 0 && a->name && a->uri);
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, a->id);
    stmt_bind_text(s, 2, a->name);
    stmt_bind_text(s, 3, or_empty(a->schema_title));
    stmt_bind_text(s, 4, or_empty(a->schema_version));
    stmt_bind_text(s, 5, a->uri);
    stmt_bind_text(s, 6, a->metadata ? a->metadata : "{}");
    stmt_bind_text(s, 7, or_empty(a->ns));
    stmt_bind_text(s, 8, or_empty(a->pipeline));
    stmt_bind_text(s, 9, a->custom_path);
    stmt_bind_text(s, 10, a->run_id);
    stmt_bind_i64(s, 11, a->task_id);
    stmt_bind_i64(s, 12, a->created_ns);
    stmt_bind_i64(s, 13, a->size);
    if (stmt_run(s, err) < 0)
        return -1;
    if (a->metadata && str_eq(a->schema_title, "system.Metrics"))
        return insert_metrics(db, a, err);
    return 0;
}

static char *col_dup(struct stmt *s, int col) { return xstrdup(stmt_text(s, col)); }

static void artifact_at(struct stmt *s, int c, struct md_artifact *out)
{
    *out = (struct md_artifact){
        .id = stmt_i64(s, c),
        .name = col_dup(s, c + 1),
        .schema_title = col_dup(s, c + 2),
        .schema_version = col_dup(s, c + 3),
        .uri = col_dup(s, c + 4),
        .metadata = col_dup(s, c + 5),
        .ns = col_dup(s, c + 6),
        .pipeline = col_dup(s, c + 7),
        .custom_path = col_dup(s, c + 8),
        .run_id = col_dup(s, c + 9),
        .task_id = stmt_i64(s, c + 10),
        .created_ns = stmt_i64(s, c + 11),
        .size = stmt_i64(s, c + 12),
    };
}

void md_artifact_row(struct stmt *s, struct md_artifact *out) { artifact_at(s, 0, out); }

int md_artifact_get(struct db *db, int64_t id, struct md_artifact *out, struct err *err)
{
    static const char SQL[] = "SELECT " MD_ARTIFACT_COLUMNS " FROM artifacts a WHERE a.id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, id);
    int rc = stmt_step(s, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "artifact %lld not found", (long long)id);
    md_artifact_row(s, out);
    return 0;
}

int md_artifact_find(struct db *db, const struct md_artifact *like, int64_t *id, struct err *err)
{
    static const char SQL[] = "SELECT id, metadata FROM artifacts WHERE uri = ?1 AND schema_title = ?2 AND pipeline = ?3 "
                              "AND namespace = ?4 ORDER BY id DESC";
    *id = 0;
    JSON_REF(want) = json_parse_str(like->metadata ? like->metadata : "{}", err);
    if (!want)
        return -1;
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, like->uri);
    stmt_bind_text(s, 2, or_empty(like->schema_title));
    stmt_bind_text(s, 3, or_empty(like->pipeline));
    stmt_bind_text(s, 4, or_empty(like->ns));
    int rc;
    while ((rc = stmt_step(s, err)) == 1) {
        JSON_REF(have) = json_parse_str(stmt_text(s, 1), NULL);
        if (have && jv_equal(json_root(have), json_root(want))) {
            *id = stmt_i64(s, 0);
            return 0;
        }
    }
    return rc;
}

const char *md_artifact_type(const char *schema_title)
{
    static const char *const map[][2] = {
        {"system.Model", "Model"},
        {"system.Dataset", "Dataset"},
        {"system.HTML", "HTML"},
        {"system.Markdown", "Markdown"},
        {"system.Metrics", "Metric"},
        {"system.ClassificationMetrics", "ClassificationMetric"},
        {"system.SlicedClassificationMetrics", "SlicedClassificationMetric"},
    };
    for (size_t i = 0; i < ARRAY_LEN(map); i++)
        if (str_eq(schema_title, map[i][0]))
            return map[i][1];
    return "Artifact";
}

const char *md_io_name(enum md_io io)
{
    static const char *const text[] = {
        "UNSPECIFIED",      "COMPONENT_DEFAULT_INPUT",  "TASK_OUTPUT_INPUT",  "COMPONENT_INPUT", "RUNTIME_VALUE_INPUT",
        "COLLECTED_INPUTS", "ITERATOR_INPUT",           "ITERATOR_INPUT_RAW", "ITERATOR_OUTPUT", "OUTPUT",
        "ONE_OF_OUTPUT",    "TASK_FINAL_STATUS_OUTPUT",
    };
    return (unsigned)io < ARRAY_LEN(text) ? text[io] : "UNSPECIFIED";
}

int md_link_insert(struct db *db, const struct md_link *l, struct err *err)
{
    static const char SQL[] =
        "INSERT INTO artifact_tasks (artifact_id, run_id, task_id, io, key, position, producer, producer_iteration) "
        "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE EXISTS (SELECT 1 FROM artifacts WHERE id = ?1)";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, l->artifact_id);
    stmt_bind_text(s, 2, l->run_id);
    stmt_bind_i64(s, 3, l->task_id);
    stmt_bind_i64(s, 4, l->io);
    stmt_bind_text(s, 5, l->key);
    stmt_bind_i64(s, 6, l->position);
    stmt_bind_text(s, 7, or_empty(l->producer));
    stmt_bind_i64(s, 8, l->producer_iteration);
    if (stmt_run(s, err) < 0)
        return -1;
    return db_changes(db) ? 0 : err_set(err, ERR_CONFLICT, "artifact %lld is gone with its run", (long long)l->artifact_id);
}

int md_links(struct db *db, const char *run_id, int64_t task_id, md_link_fn *fn, void *self, struct err *err)
{
    static const char SQL[] =
        "SELECT l.artifact_id, l.run_id, l.task_id, l.io, l.key, l.position, l.producer, "
        "l.producer_iteration, " MD_ARTIFACT_COLUMNS " FROM artifact_tasks l JOIN artifacts a ON a.id = l.artifact_id "
        "WHERE l.run_id = ?1 AND (?2 = 0 OR l.task_id = ?2) ORDER BY l.task_id, l.io, l.key, l.position, l.id";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    stmt_bind_i64(s, 2, task_id);
    int rc;
    while ((rc = stmt_step(s, err)) == 1) {
        struct md_link l = {
            .artifact_id = stmt_i64(s, 0),
            .run_id = col_dup(s, 1),
            .task_id = stmt_i64(s, 2),
            .io = (enum md_io)stmt_i64(s, 3),
            .key = col_dup(s, 4),
            .position = (int)stmt_i64(s, 5),
            .producer = col_dup(s, 6),
            .producer_iteration = (int)stmt_i64(s, 7),
        };
        struct md_artifact a;
        artifact_at(s, 8, &a);
        rc = fn(self, &l, &a);
        md_artifact_clear(&a);
        free(l.run_id);
        free(l.key);
        free(l.producer);
        if (rc)
            return rc;
    }
    return rc;
}

int md_metrics(struct db *db, const char *run_id, md_metric_fn *fn, void *self, struct err *err)
{
    static const char SQL[] = "SELECT t.display_name, a.name, m.name, m.value, m.artifact_id, m.task_id FROM metrics m "
                              "JOIN artifacts a ON a.id = m.artifact_id LEFT JOIN tasks t ON t.id = m.task_id "
                              "WHERE m.run_id = ?1 ORDER BY m.task_id, m.artifact_id, m.name";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    int rc;
    while ((rc = stmt_step(s, err)) == 1) {
        struct md_metric m = {
            .task = or_empty(stmt_text(s, 0)),
            .artifact = stmt_text(s, 1),
            .name = stmt_text(s, 2),
            .value = stmt_f64(s, 3),
            .artifact_id = stmt_i64(s, 4),
            .task_id = stmt_i64(s, 5),
        };
        rc = fn(self, &m);
        if (rc)
            return rc;
    }
    return rc;
}

static int run_sql(struct db *db, const char *sql, const char *run_id, struct err *err)
{
    STMT(s, db, sql, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    return stmt_run(s, err);
}

int md_run_delete(struct db *db, const char *run_id, struct err *err)
{
    /* Cache entries go first: those the run wrote, for they name its artifacts. */
    static const char CACHE[] = "DELETE FROM step_cache WHERE run_id = ?1";
    static const char LINKS[] = "DELETE FROM artifact_tasks WHERE run_id = ?1";
    static const char METRICS[] =
        "DELETE FROM metrics WHERE run_id = ?1 AND artifact_id NOT IN (SELECT artifact_id FROM artifact_tasks "
        "WHERE artifact_id IN (SELECT id FROM artifacts WHERE run_id = ?1))";
    static const char ARTIFACTS[] = "DELETE FROM artifacts WHERE run_id = ?1 AND NOT EXISTS "
                                    "(SELECT 1 FROM artifact_tasks l WHERE l.artifact_id = artifacts.id)";
    if (run_sql(db, CACHE, run_id, err) < 0 || run_sql(db, LINKS, run_id, err) < 0 || run_sql(db, METRICS, run_id, err) < 0 ||
        run_sql(db, ARTIFACTS, run_id, err) < 0)
        return err_wrap(err, "removing the lineage of run %s", run_id);
    return 0;
}
