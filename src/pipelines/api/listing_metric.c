/* listing_metric.c - runs sorted by a metric: by the largest value that a run has under this name, and after them, whatever the
 * direction, the runs that have none.
 *
 * Two parts, each walked along an index: metrics by value, then runs by id. The key of a row is [0, value] (the value negated in
 * a descending list, so that keys always grow), or [1, 0]. */
#include "pipelines/api/listing.h"

static int token_value(const struct list_query *q, size_t i, double *out, struct err *err)
{
    jval *v = jv_at(jv_get(json_root(q->token), "key"), i);
    return jv_f64(v, out) ? 0 : err_set(err, ERR_INVALID, "Invalid page token: its key holds a %s", jtype_name(jv_type(v)));
}

/* A run's largest value; of equal ones, one. Without the name of the index SQLite takes one by value, and looks at every run's.
 */
static void with_metric(const struct list_query *q, const struct list_sql *cond, struct list_sql *sql)
{
    sql_add(sql,
            "SELECT 0, %sx.value, r.run_id, r.rowid FROM metrics x CROSS JOIN runs r ON r.run_id = x.run_id WHERE x.name = ?"
            " AND NOT EXISTS (SELECT 1 FROM metrics y INDEXED BY metrics_run WHERE y.run_id = x.run_id AND y.name = x.name"
            " AND (y.value > x.value OR (y.value = x.value AND y.artifact_id < x.artifact_id))) AND (",
            q->desc ? "-" : "");
    sql_bind_text(sql, q->metric);
    sql_append(sql, cond);
    sql_add(sql, ")");
}

static void without_metric(const struct list_query *q, const struct list_sql *cond, struct list_sql *sql)
{
    sql_add(sql, "SELECT 1, 0.0, r.run_id, r.rowid FROM runs r"
                 " WHERE NOT EXISTS (SELECT 1 FROM metrics x WHERE x.run_id = r.run_id AND x.name = ?) AND (");
    sql_bind_text(sql, q->metric);
    sql_append(sql, cond);
    sql_add(sql, ")");
}

int metric_sql(const struct list_query *q, bool having, const struct list_sql *cond, struct list_sql *sql, struct err *err)
{
    double part = 0, value = 0;
    if (q->token) {
        if (jv_len(jv_get(json_root(q->token), "key")) != 2)
            return err_set(err, ERR_INVALID, "Invalid page token: its key does not fit the sort field");
        if (token_value(q, 0, &part, err) < 0 || token_value(q, 1, &value, err) < 0)
            return -1;
    }
    bool behind = part != 0;
    if (having && behind)
        return 0;
    const char *id = jv_str_or(jv_get(json_root(q->token), "id"), "");
    if (having) {
        with_metric(q, cond, sql);
        if (q->token) {
            sql_add(sql, q->desc ? " AND x.value <= ? AND (x.value < ? OR x.run_id >= ?)"
                                 : " AND x.value >= ? AND (x.value > ? OR x.run_id >= ?)");
            sql_bind_real(sql, q->desc ? -value : value);
            sql_bind_real(sql, q->desc ? -value : value);
            sql_bind_text(sql, id);
        }
        sql_add(sql, q->desc ? " ORDER BY x.value DESC, x.run_id" : " ORDER BY x.value, x.run_id");
        return 1;
    }
    without_metric(q, cond, sql);
    if (behind) {
        sql_add(sql, " AND r.run_id >= ?");
        sql_bind_text(sql, id);
    }
    sql_add(sql, " ORDER BY r.run_id");
    return 1;
}
