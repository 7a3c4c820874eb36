/* catalog_util.h - small helpers of the catalog's files. Not for other rooms. */
#ifndef TM_PIPELINES_STORE_CATALOG_UTIL_H
#define TM_PIPELINES_STORE_CATALOG_UTIL_H

#include "base/str.h"
#include "data/sql.h"

static inline char *column_copy(struct stmt *s, int col) { return xstrdup(stmt_text(s, col)); }

/* NULL and "" both are stored as ''. */
static inline void bind_text_or_empty(struct stmt *s, int i, const char *v) { stmt_bind_text(s, i, v ? v : ""); }
static inline void bind_text_or_null(struct stmt *s, int i, const char *v) { stmt_bind_text(s, i, str_empty(v) ? NULL : v); }

/* Runs a prepared change; ERR_NOT_FOUND with this text when it met no row. */
static inline int run_on_one(struct db *db, struct stmt *s, const char *what, const char *id, struct err *err)
{
    if (stmt_run(s, err) < 0)
        return -1;
    return db_changes(db) > 0 ? 0 : err_set(err, ERR_NOT_FOUND, "%s %s not found", what, id);
}

#endif
