/* stmt.c - statements: the cache, parameters, rows. */
#include <stdlib.h>

#include "data/sql_internal.h"

static struct stmt *compile(struct db *db, const char *sql, unsigned flags, struct err *err)
{
    sqlite3_stmt *h = NULL;
    int rc = sqlite3_prepare_v3(db->h, sql, -1, flags, &h, NULL);
    if (rc != SQLITE_OK) {
        sql_error(db, rc, "preparing a statement", err);
        return NULL;
    }
    ASSERT(h); /* an empty text is our mistake */
    struct stmt *s = xcalloc(1, sizeof *s);
    *s = (struct stmt){.db = db, .h = h, .sql = sql, .busy = true};
    return s;
}

static void stmt_free(struct stmt *s)
{
    sqlite3_finalize(s->h);
    free(s);
}

struct stmt *db_prepare(struct db *db, const char *sql, struct err *err)
{
    struct stmt *s;
    HASH_FIND_PTR(db->cache, &sql, s);
    if (s && !s->busy) {
        s->busy = true;
        return s;
    }
    if (s) /* in use further up the stack: a second one, for this use only */
        return db_prepare_dynamic(db, sql, err);
    s = compile(db, sql, SQLITE_PREPARE_PERSISTENT, err);
    if (s) {
        s->cached = true;
        HASH_ADD_PTR(db->cache, sql, s);
    }
    return s;
}

struct stmt *db_prepare_dynamic(struct db *db, const char *sql, struct err *err) { return compile(db, sql, 0, err); }

void sql_cache_free(struct db *db)
{
    struct stmt *s, *next;
    HASH_ITER(hh, db->cache, s, next)
    {
        ASSERT(!s->busy);
        HASH_DEL(db->cache, s);
        stmt_free(s);
    }
}

static void bound(struct stmt *s, int rc)
{
    ASSERT(rc != SQLITE_RANGE && rc != SQLITE_MISUSE);
    if (rc != SQLITE_OK && s->bind_rc == SQLITE_OK)
        s->bind_rc = rc;
}

void stmt_bind_i64(struct stmt *s, int i, int64_t v) { bound(s, sqlite3_bind_int64(s->h, i, v)); }
void stmt_bind_f64(struct stmt *s, int i, double v) { bound(s, sqlite3_bind_double(s->h, i, v)); }
void stmt_bind_null(struct stmt *s, int i) { bound(s, sqlite3_bind_null(s->h, i)); }

void stmt_bind_textn(struct stmt *s, int i, const char *v, size_t n)
{
    if (!v)
        stmt_bind_null(s, i);
    else
        bound(s, sqlite3_bind_text64(s->h, i, v, n, SQLITE_TRANSIENT, SQLITE_UTF8));
}

void stmt_bind_text(struct stmt *s, int i, const char *v) { stmt_bind_textn(s, i, v, v ? __builtin_strlen(v) : 0); }

void stmt_bind_blob(struct stmt *s, int i, const void *p, size_t n)
{
    if (n == 0)
        bound(s, sqlite3_bind_zeroblob(s->h, i, 0));
    else
        bound(s, sqlite3_bind_blob64(s->h, i, p, n, SQLITE_TRANSIENT));
}

int stmt_step(struct stmt *s, struct err *err)
{
    if (s->bind_rc != SQLITE_OK)
        return sql_error(s->db, s->bind_rc, "binding a value", err);
    int rc = sqlite3_step(s->h);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    sql_error(s->db, rc, "database", err);
    sqlite3_reset(s->h); /* so that a failed statement does not keep a read lock until stmt_done */
    return -1;
}

int stmt_run(struct stmt *s, struct err *err)
{
    int rc = stmt_step(s, err);
    ASSERT(rc <= 0); /* it returned a row */
    return rc;
}

int stmt_texts(struct stmt *s, struct strlist *out, struct err *err)
{
    int rc;
    while ((rc = stmt_step(s, err)) == 1)
        strlist_add(out, stmt_text(s, 0));
    return rc;
}

int64_t stmt_i64(struct stmt *s, int col) { return sqlite3_column_int64(s->h, col); }
double stmt_f64(struct stmt *s, int col) { return sqlite3_column_double(s->h, col); }
const char *stmt_text(struct stmt *s, int col) { return (const char *)sqlite3_column_text(s->h, col); }
bool stmt_is_null(struct stmt *s, int col) { return sqlite3_column_type(s->h, col) == SQLITE_NULL; }

const void *stmt_blob(struct stmt *s, int col, size_t *n)
{
    const void *p = sqlite3_column_blob(s->h, col);
    *n = (size_t)sqlite3_column_bytes(s->h, col);
    return p;
}

void stmt_done(struct stmt *s)
{
    if (!s)
        return;
    if (!s->cached) {
        stmt_free(s);
        return;
    }
    sqlite3_reset(s->h);
    sqlite3_clear_bindings(s->h);
    s->bind_rc = SQLITE_OK;
    s->busy = false;
}
