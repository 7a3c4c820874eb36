#include "data_test.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "data/sql.h"

static const struct migration MIGRATIONS[] = {
    {1, "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER, f REAL, b BLOB) WITHOUT ROWID; CREATE TABLE u (x INTEGER NOT NULL CHECK "
        "(x > 0));"},
    {2, "ALTER TABLE t ADD COLUMN extra TEXT; INSERT INTO t (k, n) VALUES ('from-2', 2);"},
};
static const char SQL_PUT[] = "INSERT INTO t (k, n) VALUES (?1, ?2)";
static const char SQL_COUNT[] = "SELECT count(*) FROM t";

static struct db *open_all(const char *path)
{
    ERR(e);
    struct db *db = db_open(path, MIGRATIONS, ARRAY_LEN(MIGRATIONS), &e);
    if (!db)
        fail_msg("%s", err_text(&e));
    return db;
}

static int put(struct db *db, const char *k, int64_t n, struct err *err)
{
    STMT(s, db, SQL_PUT, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, k);
    stmt_bind_i64(s, 2, n);
    return stmt_run(s, err);
}

static int64_t count(struct db *db)
{
    ERR(e);
    STMT(s, db, SQL_COUNT, &e);
    assert_non_null(s);
    assert_int_equal(stmt_step(s, &e), 1);
    return stmt_i64(s, 0);
}

static void test_open_migrates(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    ERR(e);
    struct db *db = db_open(path, MIGRATIONS, 1, &e);
    assert_non_null(db);
    assert_int_equal(count(db), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    db_close(db);

    db = open_all(path);
    assert_int_equal(count(db), 1);
    db_close(db);
    db = open_all(path); /* nothing more to do */
    assert_int_equal(count(db), 1);
    db_close(db);

    assert_null(db_open(path, MIGRATIONS, 1, &e)); /* an older program */
    assert_int_equal(e.code, ERR_PRECONDITION);
    assert_non_null(strstr(e.message, "version 2"));
    assert_non_null(strstr(e.message, "up to 1"));
}

static void test_failed_migration_leaves_nothing(void **state)
{
    static const struct migration bad[] = {{1, "CREATE TABLE good (x)"}, {2, "CREATE TABLE half (x); CREATE TABLE good (x)"}};
    static const char SQL[] = "SELECT count(*) FROM sqlite_schema WHERE name = 'half'";
    AUTOFREE char *path = fs_join(*state, "a.db");
    ERR(e);
    assert_null(db_open(path, bad, 2, &e));
    assert_non_null(strstr(e.message, "version 2"));
    err_clear(&e);
    struct db *db = db_open(path, bad, 1, &e);
    assert_non_null(db); /* version 1 is there, version 2 is not */
    {
        STMT(s, db, SQL, &e);
        assert_int_equal(stmt_step(s, &e), 1);
        assert_int_equal(stmt_i64(s, 0), 0);
    }
    db_close(db);
}

static void test_lock(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db *db = open_all(path);
    ERR(e);
    assert_null(db_open(path, MIGRATIONS, 2, &e)); /* in the same process too */
    assert_int_equal(e.code, ERR_CONFLICT);
    AUTOFREE char *pid = xasprintf("process %d", (int)getpid());
    assert_non_null(strstr(e.message, pid));
    db_close(db);
    db_close(open_all(path));
}

static void test_damaged(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    char junk[4096];
    memset(junk, 'x', sizeof junk);
    assert_int_equal(fs_write_atomic(path, junk, sizeof junk, 0600, NULL), 0);
    ERR(e);
    assert_null(db_open(path, MIGRATIONS, 2, &e));
    assert_int_equal(e.code, ERR_INTERNAL);
    assert_non_null(strstr(e.message, path));
    assert_null(db_open("/nonexistent/dir/a.db", MIGRATIONS, 2, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(e.sys_errno, ENOENT);
}

static void test_values(void **state)
{
    static const char PUT[] = "INSERT INTO t (k, n, f, b, extra) VALUES (?1, ?2, ?3, ?4, ?5)";
    static const char GET[] = "SELECT k, n, f, b, extra FROM t WHERE k = ?1";
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db *db = open_all(path);
    ERR(e);
    {
        STMT(s, db, PUT, &e);
        stmt_bind_textn(s, 1, "keyXX", 3);
        stmt_bind_i64(s, 2, INT64_MIN);
        stmt_bind_f64(s, 3, 0.5);
        stmt_bind_blob(s, 4, "a\0b", 3);
        stmt_bind_text(s, 5, NULL);
        assert_int_equal(stmt_run(s, &e), 0);
        assert_int_equal(db_changes(db), 1);
    }
    {
        STMT(s, db, GET, &e);
        stmt_bind_text(s, 1, "key");
        assert_int_equal(stmt_step(s, &e), 1);
        assert_string_equal(stmt_text(s, 0), "key");
        assert_true(stmt_i64(s, 1) == INT64_MIN);
        assert_true(stmt_f64(s, 2) == 0.5);
        size_t n;
        const void *p = stmt_blob(s, 3, &n);
        assert_int_equal(n, 3);
        assert_memory_equal(p, "a\0b", 3);
        assert_true(stmt_is_null(s, 4));
        assert_null(stmt_text(s, 4));
        assert_int_equal(stmt_step(s, &e), 0);
    }
    {
        STMT(s, db, GET, &e); /* bindings of the last use are gone */
        assert_int_equal(stmt_step(s, &e), 0);
    }
    db_close(db);
}

static void test_statement_in_use_twice(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db *db = open_all(path);
    static const char ALL[] = "SELECT k FROM t ORDER BY k";
    ERR(e);
    assert_int_equal(put(db, "a", 1, &e), 0);
    {
        STMT(outer, db, ALL, &e);
        assert_int_equal(stmt_step(outer, &e), 1);
        STMT(inner, db, ALL, &e);
        assert_ptr_not_equal(outer, inner);
        assert_int_equal(stmt_step(inner, &e), 1);
        assert_int_equal(stmt_step(outer, &e), 1);
        assert_string_equal(stmt_text(inner, 0), "a");
        assert_string_equal(stmt_text(outer, 0), "from-2");
    }
    db_close(db);
}

static void test_errors(void **state)
{
    static const char CHECK[] = "INSERT INTO u (x) VALUES (0)", BAD[] = "SELEKT 1";
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db *db = open_all(path);
    ERR(e);
    assert_int_equal(put(db, "a", 1, &e), 0);
    assert_int_equal(put(db, "a", 2, &e), -1);
    assert_int_equal(e.code, ERR_EXISTS);
    assert_int_equal(put(db, "b", 2, &e), 0); /* the statement is usable again */
    {
        STMT(s, db, CHECK, &e);
        assert_int_equal(stmt_run(s, &e), -1);
        assert_int_equal(e.code, ERR_CONFLICT);
    }
    assert_null(db_prepare(db, BAD, &e));
    assert_int_equal(e.code, ERR_INTERNAL);
    assert_non_null(strstr(e.message, "SELEKT"));
    db_close(db);
}

/* A limit on pages stands for the full disk: SQLite answers with the same code. */
static void test_disk_full(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db *db = open_all(path);
    ERR(e);
    assert_int_equal(db_exec(db, "PRAGMA max_page_count = 10", &e), 0);
    AUTOFREE char *big = xmalloc(100001);
    memset(big, 'k', 100000);
    big[100000] = '\0';
    assert_int_equal(db_begin(db, &e), 0);
    assert_int_equal(put(db, big, 1, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(e.sys_errno, ENOSPC);
    assert_non_null(strstr(e.message, "no space left"));
    db_rollback(db); /* whether or not SQLite did so itself */
    assert_false(db_in_transaction(db));
    assert_int_equal(count(db), 1);
    db_close(db);
}

static void test_readers_see_commits_only(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db *db = open_all(path);
    ERR(e);
    struct db *reader = db_open_reader(path, &e);
    assert_non_null(reader);
    assert_int_equal(db_begin(db, &e), 0);
    assert_int_equal(put(db, "a", 1, &e), 0);
    assert_int_equal(count(reader), 1);
    assert_int_equal(db_commit(db, &e), 0);
    assert_int_equal(count(reader), 2);
    assert_int_equal(put(reader, "c", 1, &e), -1); /* it only reads */
    db_close(reader);
    db_close(db);
}

static void test_savepoint(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db *db = open_all(path);
    ERR(e);
    assert_int_equal(db_begin(db, &e), 0);
    assert_int_equal(db_savepoint(db, &e), 0);
    assert_int_equal(put(db, "kept", 1, &e), 0);
    assert_int_equal(db_savepoint_end(db, true, &e), 0);
    assert_int_equal(db_savepoint(db, &e), 0);
    assert_int_equal(put(db, "undone", 1, &e), 0);
    assert_int_equal(db_savepoint_end(db, false, &e), 0);
    assert_int_equal(db_commit(db, &e), 0);
    assert_int_equal(count(db), 2);
    db_close(db);
}

/* A child commits rows and says so for each; it is killed in the middle. What was said is there, and it is a whole number of
 * commits. */
static void test_killed(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    db_close(open_all(path));
    int said[2];
    assert_int_equal(pipe(said), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct db *db = db_open(path, MIGRATIONS, 2, NULL);
        for (int64_t i = 0; db; i++) {
            char a[32], b[32];
            snprintf(a, sizeof a, "a%ld", (long)i);
            snprintf(b, sizeof b, "b%ld", (long)i);
            if (db_begin(db, NULL) < 0 || put(db, a, i, NULL) < 0 || put(db, b, i, NULL) < 0 || db_commit(db, NULL) < 0 ||
                write(said[1], "x", 1) != 1)
                break;
        }
        _exit(1);
    }
    close(said[1]);
    char byte;
    int64_t heard = 0;
    while (heard < 50 && read(said[0], &byte, 1) == 1)
        heard++;
    assert_int_equal(heard, 50);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (read(said[0], &byte, 1) == 1)
        heard++;
    close(said[0]);
    struct db *db = open_all(path); /* the lock went with the process */
    int64_t rows = count(db) - 1;
    assert_int_equal(rows % 2, 0);
    assert_true(rows / 2 >= heard);
    db_close(db);
}

TEST_GROUP(sql, IN_DIR(test_open_migrates), IN_DIR(test_failed_migration_leaves_nothing), IN_DIR(test_lock), IN_DIR(test_damaged),
           IN_DIR(test_values), IN_DIR(test_statement_in_use_twice), IN_DIR(test_errors), IN_DIR(test_disk_full),
           IN_DIR(test_readers_see_commits_only), IN_DIR(test_savepoint), IN_DIR(test_killed))
