/* sql.c - connections: opening, migrations, transactions, and what SQLite's errors mean here. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_ROOM "data"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "data/sql_internal.h"

enum { BUSY_MS = 5000 };

static int io_errno(struct db *db)
{
    int sys = db && db->h ? sqlite3_system_errno(db->h) : 0;
    return sys ? sys : EIO;
}

int sql_error(struct db *db, int rc, const char *what, struct err *err)
{
    const char *path = db->path;
    const char *text = db->h ? sqlite3_errmsg(db->h) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_CONSTRAINT:
        if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_ROWID)
            return err_set(err, ERR_EXISTS, "%s: %s", what, text);
        return err_set(err, ERR_CONFLICT, "%s: %s", what, text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_UNAVAILABLE, "%s: %s is locked by somebody else (%s)", what, path, text);
    case SQLITE_FULL:
        err_set(err, ERR_IO, "%s: no space left on the disk that holds %s: free some and try again", what, path);
        if (err)
            err->sys_errno = ENOSPC;
        return -1;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM: {
        int sys = io_errno(db);
        err_set(err, ERR_IO, "%s: %s: %s: %s", what, path, text, strerror(sys));
        if (err)
            err->sys_errno = sys;
        return -1;
    }
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(err, ERR_INTERNAL,
                       "%s: %s is damaged or no database of ours (%s): restore it from a backup, or move it away", what, path,
                       text);
    case SQLITE_TOOBIG:
        return err_set(err, ERR_TOO_LARGE, "%s: %s", what, text);
    case SQLITE_INTERRUPT:
        return err_set(err, ERR_CANCELLED, "%s: %s", what, text);
    default:
        return err_set(err, ERR_INTERNAL, "%s: %s (SQLite code %d)", what, text, rc);
    }
}

int db_exec(struct db *db, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(db->h, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sql_error(db, rc, "database", err);
}

/* ---- opening -------------------------------------------------------------------------------------------------- */

/* A new file is ours alone from its first byte (SQLite would apply the umask to 0644), and its name is durable. */
static int create_private(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? 0 : err_errno(err, "creating %s", path);
    close(fd);
    AUTOFREE char *dir = xstrdup(path);
    char *slash = strrchr(dir, '/');
    if (!slash)
        return fs_fsync_dir(".", err);
    *(slash == dir ? slash + 1 : slash) = '\0';
    return fs_fsync_dir(dir, err);
}

static struct db *connect_to(const char *path, int flags, struct err *err)
{
    struct db *db = xcalloc(1, sizeof *db);
    db->lock_fd = -1;
    db->path = xstrdup(path);
    int rc = sqlite3_open_v2(path, &db->h, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_extended_result_codes(db->h, 1);
    if (rc != SQLITE_OK) {
        sql_error(db, rc, "opening", err);
        db_close(db);
        return NULL;
    }
    sqlite3_busy_timeout(db->h, BUSY_MS);
    sqlite3_db_config(db->h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return db;
}

static int user_version(struct db *db, int *out, struct err *err)
{
    STMT(s, db, "PRAGMA user_version", err);
    if (!s || stmt_step(s, err) < 0)
        return -1;
    *out = (int)stmt_i64(s, 0);
    return 0;
}

static int migrate_step(struct db *db, const struct migration *m, struct err *err)
{
    if (db_begin(db, err) < 0)
        return -1;
    AUTOFREE char *stamp = xasprintf("PRAGMA user_version = %d", m->version);
    if (db_exec(db, m->sql, err) < 0 || db_exec(db, stamp, err) < 0) {
        db_rollback(db);
        return -1;
    }
    FAULT("sql.migrate.before_commit");
    return db_commit(db, err);
}

static int migrate(struct db *db, const struct migration *m, size_t n, struct err *err)
{
    int have = 0;
    if (user_version(db, &have, err) < 0)
        return -1;
    int newest = (int)n;
    if (have > newest)
        return err_set(
            err, ERR_PRECONDITION,
            "%s has version %d, but this program knows versions up to %d: use a newer tidemill, or another data directory",
            db->path, have, newest);
    for (size_t i = 0; i < n; i++) {
        ASSERT(m[i].version == (int)i + 1);
        if (m[i].version <= have)
            continue;
        if (migrate_step(db, &m[i], err) < 0)
            return err_wrap(err, "bringing %s to version %d", db->path, m[i].version);
    }
    return 0;
}

static int configure(struct db *db, struct err *err)
{
    return db_exec(db,
                   "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;"
                   "PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -4096;",
                   err);
}

struct db *db_open(const char *path, const struct migration *m, size_t n, struct err *err)
{
    int lock = sql_lock(path, err);
    if (lock < 0)
        return NULL;
    struct db *db = NULL;
    if (create_private(path, err) == 0)
        db = connect_to(path, SQLITE_OPEN_READWRITE, err);
    if (!db) {
        close(lock);
        return NULL;
    }
    db->lock_fd = lock;
    if (configure(db, err) < 0 || migrate(db, m, n, err) < 0) {
        db_close(db);
        return NULL;
    }
    return db;
}

/* Opened for writing all the same: a reader of a WAL database takes part in its shared memory. query_only keeps it from changing
 * anything. */
struct db *db_open_reader(const char *path, struct err *err)
{
    struct db *db = connect_to(path, SQLITE_OPEN_READWRITE, err);
    if (db && db_exec(db, "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024;", err) < 0) {
        db_close(db);
        return NULL;
    }
    return db;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    sql_cache_free(db);
    int rc = sqlite3_close(db->h);
    if (rc != SQLITE_OK)
        log_error("closing %s: %s", db->path, sqlite3_errstr(rc));
    ASSERT(rc == SQLITE_OK); /* a statement is still in use */
    if (db->lock_fd >= 0)
        close(db->lock_fd);
    free(db->path);
    free(db);
}

/* ---- transactions --------------------------------------------------------------------------------------------- */

int db_begin(struct db *db, struct err *err) { return db_exec(db, "BEGIN IMMEDIATE", err); }

int db_commit(struct db *db, struct err *err)
{
    FAULT("sql.commit.before");
    if (FAULT_FAILS("sql.commit.full")) {
        db_rollback(db);
        return sql_error(db, SQLITE_FULL, "committing", err);
    }
    if (db_exec(db, "COMMIT", err) < 0) {
        db_rollback(db);
        return err_wrap(err, "committing");
    }
    if (db->touched)
        sql_touched_settle(db->touched);
    FAULT("sql.commit.after");
    return 0;
}

void db_rollback(struct db *db)
{
    if (!db_in_transaction(db))
        return;
    ERR(e);
    if (db_exec(db, "ROLLBACK", &e) < 0)
        log_error("rolling back: %s", err_text(&e));
    if (db->touched)
        sql_touched_settle(db->touched);
}

bool db_in_transaction(struct db *db) { return !sqlite3_get_autocommit(db->h); }
int db_savepoint(struct db *db, struct err *err) { return db_exec(db, "SAVEPOINT job", err); }

int db_savepoint_end(struct db *db, bool keep, struct err *err)
{
    return db_exec(db, keep ? "RELEASE job" : "ROLLBACK TO job; RELEASE job", err);
}

int64_t db_changes(struct db *db) { return sqlite3_changes64(db->h); }
