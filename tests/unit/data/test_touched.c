/* Rows that were touched: positions, what is settled, what is kept. */
#include "data_test.h"

#include "data/touched.h"

static const struct migration MIGRATIONS[] = {
    {1, "CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER); CREATE TABLE other (k INTEGER PRIMARY KEY)"}};

/* What the log has from a position on, as text. Caller frees. */
static char *since(struct db_touched *t, uint64_t from)
{
    AUTOFREE int64_t *ids = NULL;
    size_t n;
    if (!db_touched_since(t, from, &ids, &n))
        return xstrdup("gone");
    BUF(b);
    for (size_t i = 0; i < n; i++)
        buf_addf(&b, "%s%lld", i ? " " : "", (long long)ids[i]);
    buf_adds(&b, "");
    return xstrdup(buf_str(&b));
}

static void expect(struct db_touched *t, uint64_t from, const char *want)
{
    AUTOFREE char *got = since(t, from);
    assert_string_equal(got, want);
}

static void run(struct db *db, const char *sql)
{
    ERR(e);
    if (db_exec(db, sql, &e) < 0)
        fail_msg("%s", err_text(&e));
}

static void test_positions(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db *db = db_open(path, MIGRATIONS, 1, NULL);
    struct db_touched *t = db_touched_new("t");
    assert_non_null(db);
    db_watch_touched(db, t);
    expect(t, 0, "");
    assert_int_equal(db_begin(db, NULL), 0);
    run(db, "INSERT INTO t VALUES (7, 1), (3, 1), (5, 1); INSERT INTO other VALUES (1); UPDATE t SET v = 2 WHERE k = 7");
    assert_int_equal(db_touched_settled(t), 0); /* nobody can be sure to see them yet */
    expect(t, 0, "3 5 7");
    assert_int_equal(db_commit(db, NULL), 0);
    assert_int_equal(db_touched_settled(t), 4);
    expect(t, 4, "");

    assert_int_equal(db_begin(db, NULL), 0);
    run(db, "INSERT INTO t VALUES (9, 1) ON CONFLICT (k) DO NOTHING");
    run(db, "INSERT INTO t VALUES (3, 1) ON CONFLICT (k) DO UPDATE SET v = excluded.v; DELETE FROM t WHERE k = 5");
    db_rollback(db);
    expect(t, 4, "3 5 9"); /* no harm: whoever looks finds them as they were */
    assert_int_equal(db_touched_settled(t), 7);
    db_close(db);
    db_touched_free(t);
}

static void test_only_the_newest_are_kept(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db *db = db_open(path, MIGRATIONS, 1, NULL);
    struct db_touched *t = db_touched_new("t");
    assert_non_null(db);
    db_watch_touched(db, t);
    assert_int_equal(db_begin(db, NULL), 0);
    AUTOFREE char *sql = xasprintf(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO t SELECT i, 0 FROM n",
        TOUCHED_KEPT + 2);
    run(db, sql);
    assert_int_equal(db_commit(db, NULL), 0);
    expect(t, 0, "gone");
    expect(t, 1, "gone");
    AUTOFREE int64_t *ids = NULL;
    size_t n;
    assert_true(db_touched_since(t, 2, &ids, &n));
    assert_int_equal(n, TOUCHED_KEPT);
    assert_int_equal(ids[0], 3);
    assert_int_equal(ids[n - 1], TOUCHED_KEPT + 2);
    db_close(db);
    db_touched_free(t);
}

TEST_GROUP(touched, IN_DIR(test_positions), IN_DIR(test_only_the_newest_are_kept))
