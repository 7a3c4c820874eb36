/* sql_internal.h - what sql.c (connections) and stmt.c (statements) know of each other. Not for other rooms. */
#ifndef TM_DATA_SQL_INTERNAL_H
#define TM_DATA_SQL_INTERNAL_H

#include <sqlite3.h>
#include <uthash.h>

#include "data/sql.h"
#include "data/touched.h"

struct stmt {
    struct db *db;
    sqlite3_stmt *h;
    const char *sql; /* the key of the cache: the address of a literal */
    int bind_rc;     /* the first binding that failed; reported by the next step */
    bool busy;       /* between db_prepare and stmt_done */
    bool cached;
    UT_hash_handle hh;
};

struct db {
    sqlite3 *h;
    char *path;
    int lock_fd;                /* -1 for readers */
    struct stmt *cache;         /* by address of the SQL text */
    struct db_touched *touched; /* may be NULL */
};

/* Fills err from a result code of this connection. what: what was being done, for the message. Returns -1. */
int sql_error(struct db *db, int rc, const char *what, struct err *err);
void sql_cache_free(struct db *db);
void sql_touched_settle(struct db_touched *t); /* a transaction of the watched connection has ended */

/* Takes the lock file of a database: an fd, or -1 with ERR_CONFLICT that names the holder. */
int sql_lock(const char *db_path, struct err *err);

#endif
