/* catalog_util.h - small helpers of the catalog's files. Not for other rooms. */
#ifndef TM_PIPELINES_STORE_CATALOG_UTIL_H
#define TM_PIPELINES_STORE_CATALOG_UTIL_H

#include "base/str.h"
#include "data/sql.h"
#include "pipelines/store/rows.h"

/* 0 available, 1 archived; both API's spellings. */
extern const struct row_word STORAGE_STATES[];

/* Runs a prepared change; ERR_NOT_FOUND with this text when it met no row. */
static inline int run_on_one(struct db *db, struct stmt *s, const char *what, const char *id, struct err *err)
{
    if (stmt_run(s, err) < 0)
        return -1;
    return db_changes(db) > 0 ? 0 : err_set(err, ERR_NOT_FOUND, "%s %s not found", what, id);
}

#endif
