/* sql.h - SQL databases behind one face. Today SQLite (WAL, synchronous=FULL); PostgreSQL has its place beside it.
 *
 * A `struct db` is one connection and belongs to one thread at a time; db_open_reader gives further read-only ones on
 * the same file. Statements are prepared once (db_prepare caches by the address of the SQL text: pass literals) and reset by
 * stmt_done.
 *
 *     static const char SQL_GET[] = "SELECT body FROM objects WHERE key = ?1";
 *     STMT(s, db, SQL_GET);
 *     if (!s)
 *         return -1;
 *     stmt_bind_text(s, 1, key);
 *     while ((rc = stmt_step(s, err)) == 1) ...
 *
 * Errors of sql functions carry: ERR_EXISTS (a uniqueness rule), ERR_CONFLICT (another constraint), ERR_UNAVAILABLE (locked by
 * somebody else for longer than 5 s), ERR_IO with sys_errno (ENOSPC: the disk is full; the message says so), ERR_INTERNAL (a
 * damaged file, our own mistakes). */
#ifndef TM_DATA_SQL_H
#define TM_DATA_SQL_H

#include "base/base.h"
#include "base/err.h"
#include "base/str.h"

struct db;
struct stmt;

struct migration {
    int version;     /* 1, 2, 3 ... without gaps */
    const char *sql; /* several statements */
};

/* Opens or creates a database and brings it to the newest migration in one transaction per step. A file of a newer version is
 * refused with ERR_PRECONDITION and both versions in the message; a damaged one with ERR_INTERNAL. Takes an exclusive advisory
 * lock, so that a second process gets ERR_CONFLICT with the holder's pid. */
struct db *db_open(const char *path, const struct migration *m, size_t n, struct err *err);
struct db *db_open_reader(const char *path, struct err *err);
void db_close(struct db *db);
int db_exec(struct db *db, const char *sql, struct err *err);
int db_begin(struct db *db, struct err *err);  /* BEGIN IMMEDIATE */
int db_commit(struct db *db, struct err *err); /* durable when it returns 0; on failure the transaction is rolled back */
void db_rollback(struct db *db);
bool db_in_transaction(struct db *db); /* false also after an error that made the database give the transaction up */
/* A transaction inside the transaction: what was changed since db_savepoint can be undone alone. They do not nest. */
int db_savepoint(struct db *db, struct err *err);
int db_savepoint_end(struct db *db, bool keep, struct err *err);
int64_t db_changes(struct db *db); /* rows changed by the last statement */

struct stmt *db_prepare(struct db *db, const char *sql, struct err *err); /* owned by db */
/* For SQL that is put together at run time (never out of texts from outside: those are bound). Not cached; stmt_done frees it. */
struct stmt *db_prepare_dynamic(struct db *db, const char *sql, struct err *err);
/* Parameters are numbered from 1. Text and blobs are copied. NULL text binds NULL. A value that is too large fails the next step.
 */
void stmt_bind_i64(struct stmt *s, int i, int64_t v);
void stmt_bind_f64(struct stmt *s, int i, double v);
void stmt_bind_text(struct stmt *s, int i, const char *v);
void stmt_bind_textn(struct stmt *s, int i, const char *v, size_t n);
void stmt_bind_blob(struct stmt *s, int i, const void *p, size_t n);
void stmt_bind_null(struct stmt *s, int i);
/* 1: a row is there; 0: done; -1: error (ERR_EXISTS on a uniqueness violation, ERR_UNAVAILABLE on busy, ERR_IO on a full disk).
 */
int stmt_step(struct stmt *s, struct err *err);
/* Columns from 0; pointers are valid until the next step. */
int64_t stmt_i64(struct stmt *s, int col);
double stmt_f64(struct stmt *s, int col);
const char *stmt_text(struct stmt *s, int col); /* NULL for NULL */
const void *stmt_blob(struct stmt *s, int col, size_t *n);
bool stmt_is_null(struct stmt *s, int col);
/* Ends a use: resets and clears bindings. Safe on NULL. */
void stmt_done(struct stmt *s);
static inline void stmt_donep(struct stmt **s) { stmt_done(*s); }
#define STMT(name, db, sql, err)         CLEANUP(stmt_donep) struct stmt *name = db_prepare((db), (sql), (err))
#define STMT_DYNAMIC(name, db, sql, err) CLEANUP(stmt_donep) struct stmt *name = db_prepare_dynamic((db), (sql), (err))
/* Steps a statement that returns no rows. */
int stmt_run(struct stmt *s, struct err *err);
/* Steps through all rows and appends the texts of their first column. */
int stmt_texts(struct stmt *s, struct strlist *out, struct err *err);

#endif
