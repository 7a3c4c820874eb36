/* What filters chose, kept: every answer is the one that the database gives when it is asked anew. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "base/thread.h"
#include "metadata/schema.h"
#include "pipelines/api/matches.h"

enum { ROWS = 5000 }; /* more than are looked up one by one */

struct world {
    char *dir;
    struct db_touched *log;
    struct db_writer *writer;
    struct db_readers *readers;
    struct matches *known;
    struct store store; /* for packing */
};

static int sql_job(struct db *db, void *sql, struct err *err) { return db_exec(db, sql, err); }

static void write_sql(struct world *w, const char *sql)
{
    struct ctx ctx = ctx_background();
    ERR(e);
    AUTOFREE char *copy = xstrdup(sql);
    if (db_writer_run(w->writer, &ctx, sql_job, copy, &e) < 0)
        fail_msg("%s: %s", sql, err_text(&e));
}

/* A history with times, of some a text that looks nearly like one. */
#define HISTORY_SQL                                                                                                              \
    "printf('[{\"update_time\":\"2025-11-%%02dT12:%%02d:00Z\",\"state\":\"PENDING\"},{\"update_time\":\"2025-11-25T12:00:05Z\"," \
    "\"state\":\"%%s\"%%s}]', i %% 28 + 1, i %% 60, CASE i %% 7 WHEN 0 THEN 'FAILED' ELSE 'SUCCEEDED' END, CASE i %% 501 WHEN "  \
    "0 "                                                                                                                         \
    "THEN ',\"error\":{\"message\":\"it stood at 12:00, Zone 2025-11-25T\"}' ELSE '' END)"

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    w->dir = xstrdup("/tmp/tm-matches-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    AUTOFREE char *path = fs_join(w->dir, "tidemill.db");
    struct db *db = db_open(path, tidemill_migrations, n_tidemill_migrations, NULL);
    assert_non_null(db);
    w->log = db_touched_new("runs");
    db_watch_touched(db, w->log);
    w->writer = db_writer_new(db, "writer");
    w->readers = db_readers_new(path, 4);
    w->known = matches_new(&RUN_ROWS, w->log, 1);
    w->store = (struct store){.writer = w->writer, .readers = w->readers, .clock = &clock_system, .touched = w->log};
    AUTOFREE char *sql = xasprintf(
        "WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
        "INSERT INTO runs (run_id, name, display_name, description, experiment_id, spec_hash, storage_state, state, "
        "state_history, created_at, scheduled_at, finished_at) SELECT printf('%%08x', (i * 7919) %% 1000003), 'r', "
        "printf('%%s %%d', CASE i %% 3 WHEN 0 THEN 'Run' WHEN 1 THEN 'run' ELSE 'Lauf' END, (i * 31) %% 997), 'about ' || (i %% "
        "10), "
        "'e' || (i %% 4), 'h', i %% 10 = 0, CASE i %% 7 WHEN 0 THEN 5 ELSE 3 END, " HISTORY_SQL
        ", 1764000000000000000 + i * 500000000, "
        "1764000000000000000 + i * 500000000, 1764000000000000000 + (i * 37 %% 5000) * 1000000000 FROM n",
        ROWS - 1);
    write_sql(w, sql);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    matches_free(w->known);
    db_readers_free(w->readers);
    db_writer_stop(w->writer);
    db_touched_free(w->log);
    fs_rm_rf(w->dir, NULL);
    free(w->dir);
    free(w);
    return 0;
}

static int add_id(void *self, struct stmt *s, struct err *err)
{
    buf_addf(self, "%s ", stmt_text(s, 0));
    return 0;
}

/* The first pages of a list: totals and ids. Caller frees. */
static char *pages(struct world *w, struct matches *m, const char *sort, const char *filter, int size, const char *where)
{
    static const char *const values[] = {"e1"};
    BUF(b);
    AUTOFREE char *token = NULL;
    for (int page = 0; page < 4; page++) {
        ERR(e);
        LIST_QUERY(q);
        struct db *db = db_reader_get(w->readers, &e);
        if (!db || list_open(&RUN_ROWS, size, token, sort, filter, &q, &e) < 0 ||
            list_run(&q, db, m, where, values, where ? 1 : 0, add_id, &b, &e) < 0)
            fail_msg("%s %s: %s", sort, filter, err_text(&e));
        db_reader_put(w->readers, db);
        buf_addf(&b, "of %lld; ", (long long)q.total);
        free(token);
        token = xstrdup(q.next_token);
        if (!token)
            break;
    }
    return xstrdup(buf_str(&b));
}

#define P(key, op, value) "{\"predicates\":[{\"key\":\"" key "\",\"operation\":\"" op "\"," value "}]}"
static const char *const FILTERS[] = {
    P("name", "IS_SUBSTRING", "\"string_value\":\"RUN 5\""),
    P("name", "IS_SUBSTRING", "\"string_value\":\"u\""),
    P("name", "IS_SUBSTRING", "\"string_value\":\"nowhere\""),
    P("name", "EQUALS", "\"string_value\":\"run 31\""),
    P("name", "NOT_EQUALS", "\"string_value\":\"run 31\""),
    P("name", "GREATER_THAN", "\"string_value\":\"Run 5\""),
    P("description", "EQUALS", "\"string_value\":\"about 7\""),
    P("state", "EQUALS", "\"string_value\":\"FAILED\""),
    P("state", "NOT_EQUALS", "\"string_value\":\"FAILED\""),
    P("state", "IN", "\"string_values\":{\"values\":[\"FAILED\",\"CANCELED\"]}"),
    P("storage_state", "NOT_EQUALS", "\"string_value\":\"ARCHIVED\""),
    P("storage_state", "EQUALS", "\"string_value\":\"ARCHIVED\""),
    P("finished_at", "LESS_THAN", "\"timestamp_value\":\"2030-01-01T00:00:00Z\""),
    P("finished_at", "GREATER_THAN_EQUALS", "\"long_value\":\"1764004990\""),
    P("created_at", "LESS_THAN", "\"long_value\":\"1764002000\""),
    P("created_at", "GREATER_THAN", "\"long_value\":\"1764000100\""),
    P("created_at", "EQUALS", "\"long_value\":\"1764000100\""),
    P("scheduled_at", "GREATER_THAN", "\"long_value\":\"1764001000\""), /* the later half by any age */
    P("created_at", "IS_SUBSTRING", "\"string_value\":\"17640012\""),
    "{\"predicates\":[{\"key\":\"name\",\"operation\":9,\"string_value\":\"run\"},"
    "{\"key\":\"created_at\",\"operation\":5,\"long_value\":\"1764000500\"}]}",
    "{\"predicates\":[]}",
};
static const char *const SORTS[] = {
    "",   "created_at desc",    "name",     "name desc", "finished_at", "finished_at desc", "state",
    "id", "experiment_id desc", "metric:x",
};

/* Of all filters and orders every `step`th, from `first` on. */
static void compare_some(struct world *w, size_t first, size_t step)
{
    for (size_t f = 0; f < ARRAY_LEN(FILTERS); f++) {
        for (size_t s = 0; s < ARRAY_LEN(SORTS); s++) {
            if ((f * ARRAY_LEN(SORTS) + s + f) % step != first)
                continue;
            const char *where = (f + s) % 3 == 0 ? "r.experiment_id = ?" : NULL;
            AUTOFREE char *want = pages(w, NULL, SORTS[s], FILTERS[f], 7, where);
            for (int again = 0; again < 2; again++) {
                AUTOFREE char *got = pages(w, w->known, SORTS[s], FILTERS[f], 7, where);
                if (strcmp(got, want) != 0)
                    fail_msg("%s, sorted by \"%s\":\nwant %s\ngot  %s", FILTERS[f], SORTS[s], want, got);
            }
        }
    }
}

static void compare(struct world *w) { compare_some(w, 0, 1); }

static void test_same_as_the_database(void **state) { compare(*state); }

/* Rows come, change, go, and come again under the rowid of one that went; what was rolled back has not been. */
static void test_writes_between(void **state)
{
    struct world *w = *state;
    static const char *const writes[] = {
        "UPDATE runs SET display_name = 'run 5 anew', state = 7 WHERE rowid % 11 = 0",
        "DELETE FROM runs WHERE rowid > 4900 OR rowid % 13 = 0",
        "INSERT INTO runs (run_id, name, display_name, description, experiment_id, spec_hash, state, state_history, created_at, "
        "scheduled_at, finished_at) VALUES ('zz1', 'r', 'RUN 55', 'about 7', 'e1', 'h', 5, '[]', 1764000100000000000, 1, 2), "
        "('zz2', 'r', 'x', '', 'e1', 'h', 5, '[]', 5, 1, 0)",
        "UPDATE runs SET finished_at = created_at, storage_state = 1 WHERE rowid % 17 = 3",
    };
    compare(w);
    for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
        write_sql(w, writes[i]);
        struct ctx ctx = ctx_background();
        ERR(e);
        char undone[] = "DELETE FROM runs WHERE rowid < 300; SELECT nothing FROM nowhere";
        assert_int_equal(db_writer_run(w->writer, &ctx, sql_job, undone, &e), -1);
        compare_some(w, i, ARRAY_LEN(writes)); /* with a sanitizer on a busy machine all of them take many minutes */
    }
}

/* More was written than the log keeps: the set is made anew. */
static void test_log_has_gone_on(void **state)
{
    struct world *w = *state;
    AUTOFREE char *before = pages(w, w->known, "", FILTERS[0], 7, NULL);
    for (int i = 0; i <= TOUCHED_KEPT / ROWS; i++)
        write_sql(w, "UPDATE runs SET display_name = 'run 5 ' || display_name, generation = generation + 1");
    AUTOFREE char *want = pages(w, NULL, "", FILTERS[0], 7, NULL), *got = pages(w, w->known, "", FILTERS[0], 7, NULL);
    assert_string_equal(got, want);
    assert_string_not_equal(got, before);
}

/* A set that a newer snapshot has filled is right for an older one, too. */
static void test_older_snapshot(void **state)
{
    struct world *w = *state;
    ERR(e);
    SQL_PIECE(cond);
    sql_add(&cond, "r.display_name = 'run 31'");
    struct db *old = db_reader_get(w->readers, &e), *new = db_reader_get(w->readers, &e);
    struct match_set *set;
    uint64_t mark = matches_mark(w->known);
    assert_int_equal(db_exec(old, "BEGIN", &e), 0);
    assert_int_equal(matches_get(w->known, old, &cond, NULL, mark, &set, &e), 1);
    size_t n = match_count(set);
    assert_true(n > 0);
    matches_put(w->known, set);
    write_sql(w, "UPDATE runs SET display_name = 'run 31' WHERE rowid <= 10");
    uint64_t later = matches_mark(w->known);
    assert_true(later > mark);
    assert_int_equal(db_exec(new, "BEGIN", &e), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(matches_get(w->known, new, &cond, NULL, later, &set, &e), 1);
        assert_true(match_count(set) > n && match_has(set, 10));
        matches_put(w->known, set);
        assert_int_equal(matches_get(w->known, old, &cond, NULL, mark, &set, &e), 1);
        assert_int_equal(match_count(set), n);
        matches_put(w->known, set);
    }
    db_reader_put(w->readers, old);
    db_reader_put(w->readers, new);
}

static void test_small_tables_are_asked(void **state)
{
    struct world *w = *state;
    ERR(e);
    SQL_PIECE(cond);
    sql_add(&cond, "1");
    struct matches *m = matches_new(&RUN_ROWS, w->log, ROWS + 1);
    struct match_set *set;
    struct db *db = db_reader_get(w->readers, &e);
    assert_int_equal(matches_get(m, db, &cond, NULL, matches_mark(m), &set, &e), 0);
    assert_null(set);
    /* A condition that the database does not take leaves nothing behind. */
    sql_add(&cond, " AND nowhere = 1");
    assert_int_equal(matches_get(w->known, db, &cond, NULL, matches_mark(w->known), &set, &e), -1);
    assert_int_equal(matches_get(w->known, db, &cond, NULL, matches_mark(w->known), &set, NULL), -1);
    db_reader_put(w->readers, db);
    matches_free(m);
}

/* All ids of a list, over its pages. Caller frees. */
static char *all_ids(struct world *w, const char *sort, const char *filter, int size)
{
    BUF(b);
    AUTOFREE char *token = NULL;
    do {
        ERR(e);
        LIST_QUERY(q);
        struct db *db = db_reader_get(w->readers, &e);
        if (!db || list_open(&RUN_ROWS, size, token, sort, filter, &q, &e) < 0 ||
            list_run(&q, db, w->known, NULL, NULL, 0, add_id, &b, &e) < 0)
            fail_msg("%s", err_text(&e));
        db_reader_put(w->readers, db);
        free(token);
        token = xstrdup(q.next_token);
    } while (token);
    return xstrdup(buf_str(&b));
}

static char *ids_of(struct world *w, const char *tail)
{
    BUF(b);
    ERR(e);
    struct db *db = db_reader_get(w->readers, &e);
    AUTOFREE char *sql = xasprintf("SELECT run_id FROM runs r WHERE r.rowid <= 900 AND %s", tail);
    struct stmt *s = db_prepare_dynamic(db, sql, &e);
    if (!s)
        fail_msg("%s", err_text(&e));
    while (stmt_step(s, &e) == 1)
        add_id(&b, s, NULL);
    stmt_done(s);
    db_reader_put(w->readers, db);
    return xstrdup(buf_str(&b));
}

/* A run counts by the largest of its values, once; those without any come last in both directions. */
static void test_sorted_by_metric(void **state)
{
    struct world *w = *state;
    write_sql(w, "DELETE FROM runs WHERE rowid > 900");
    write_sql(
        w,
        "INSERT INTO metrics (artifact_id, name, run_id, task_id, value) SELECT rowid, 'acc', run_id, 1, (rowid % 7 - 3) / 8.0 "
        "FROM runs WHERE rowid % 3 <> 0");
    write_sql(w, "INSERT INTO metrics (artifact_id, name, run_id, task_id, value) SELECT rowid + 10000, 'acc', run_id, 2, "
                 "(rowid % 5 - 2) / 8.0 FROM runs WHERE rowid % 2 = 0");
    write_sql(w,
              "INSERT INTO metrics (artifact_id, name, run_id, task_id, value) SELECT rowid, 'loss', run_id, 1, rowid FROM runs");
    static const struct {
        const char *filter, *cond;
    } filters[] = {
        {NULL, "1"},
        {P("state", "EQUALS", "\"string_value\":\"FAILED\""), "state = 5"},
        {P("name", "IS_SUBSTRING", "\"string_value\":\"run 5\""), "display_name LIKE '%run 5%'"},
        {P("name", "EQUALS", "\"string_value\":\"nobody\""), "0"},
    };
#define VALUE "(SELECT max(value) FROM metrics x WHERE x.run_id = r.run_id AND x.name = 'acc')"
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        for (int desc = 0; desc < 2; desc++) {
            AUTOFREE char *tail =
                xasprintf("%s ORDER BY " VALUE " IS NULL, " VALUE "%s, run_id", filters[i].cond, desc ? " DESC" : "");
            AUTOFREE char *want = ids_of(w, tail);
            for (int size = 3; size < 200; size += 60) {
                AUTOFREE char *got = all_ids(w, desc ? "metric:acc desc" : "metric:acc", filters[i].filter, size);
                assert_string_equal(got, want);
            }
        }
    }
    ERR(e);
    static const char *const keys[] = {"[0]", "[0,\"a\"]", "[null,1]", "[0,1,2]", "[{},[]]"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        AUTOFREE char *text =
            xasprintf("{\"kind\":\"Run\",\"sort\":\"metric\",\"metric\":\"acc\",\"key\":%s,\"id\":\"x\"}", keys[i]);
        AUTOFREE char *token = base64_encode(text, strlen(text));
        LIST_QUERY(q);
        BUF(b);
        struct db *db = db_reader_get(w->readers, &e);
        assert_int_equal(list_open(&RUN_ROWS, 5, token, NULL, NULL, &q, &e), 0);
        assert_int_equal(list_run(&q, db, w->known, NULL, NULL, 0, add_id, &b, &e), -1);
        assert_int_equal(e.code, ERR_INVALID);
        err_clear(&e);
        db_reader_put(w->readers, db);
    }
}

/* ---- packed columns -------------------------------------------------------------------------------------------------- */

static const char *const PACKED_FILTERS[] = {
    P("state_history", "IS_SUBSTRING", "\"string_value\":\"failed\""),
    P("state_history", "IS_SUBSTRING", "\"string_value\":\"12:00\""),
    P("state_history", "IS_SUBSTRING", "\"string_value\":\"Z\""),
    P("state_history", "IS_SUBSTRING", "\"string_value\":\"T\""),
    P("state_history", "IS_SUBSTRING", "\"string_value\":\"z\\\",\\\"state\""),
    P("state_history", "IS_SUBSTRING", "\"string_value\":\", zone \""),
    P("state_history", "IS_SUBSTRING", "\"string_value\":\"2025-11-25t\""),
    P("state_history", "IS_SUBSTRING", "\"string_value\":\"\""),
    P("state_history", "EQUALS", "\"string_value\":\"FAILED\""),
    P("state_history", "EQUALS",
      "\"string_value\":\"[{\\\"update_time\\\":\\\"2025-11-02T12:01:00Z\\\",\\\"state\\\":\\\"PENDING\\\"},{"
      "\\\"update_time\\\":\\\"2025-11-25T12:00:05Z\\\",\\\"state\\\":\\\"SUCCEEDED\\\"}]\""),
    P("state_history", "NOT_EQUALS", "\"string_value\":\"x\""),
    P("state_history", "GREATER_THAN", "\"string_value\":\"[{\\\"update_time\\\":\\\"2025-11-20\""),
    P("name", "IS_SUBSTRING", "\"string_value\":\"\""),
    P("name", "IS_SUBSTRING", "\"string_value\":\"%\""),
    P("name", "LESS_THAN", "\"string_value\":\"Run 5\""),
    P("name", "LESS_THAN_EQUALS", "\"string_value\":\"Run 5\""),
    P("name", "GREATER_THAN_EQUALS", "\"int_value\":5"),
    P("name", "IN", "\"string_values\":{\"values\":[\"run 31\",\"Run 62\",\"nothing\"]}"),
    P("name", "IN", "\"string_values\":{}"),
    P("run_id", "IS_SUBSTRING", "\"string_value\":\"F00\""),
    P("experiment_id", "IS_SUBSTRING", "\"string_value\":\"E2\""),
    P("recurring_run_id", "EQUALS", "\"string_value\":\"\""),
    P("namespace", "EQUALS", "\"string_value\":\"\""),
    P("state", "GREATER_THAN", "\"string_value\":\"failed\""),
    P("state", "LESS_THAN_EQUALS", "\"string_value\":\"FAILED\""),
    P("status", "IS_SUBSTRING", "\"string_value\":\"eed\""),
    P("status", "EQUALS", "\"string_value\":\"error\""),
    P("storage_state", "IS_SUBSTRING", "\"string_value\":\"\""),
    P("finished_at", "EQUALS", "\"long_value\":\"1764000037\""),
    P("finished_at", "NOT_EQUALS", "\"long_value\":\"1764000037\""),
    P("finished_at", "LESS_THAN_EQUALS", "\"long_value\":\"0\""),
    P("finished_at", "GREATER_THAN", "\"long_value\":\"9000000000000000000\""),
    P("finished_at", "IN", "\"long_values\":{\"values\":[\"1764000037\",\"1764000074\"]}"),
    P("finished_at", "LESS_THAN", "\"string_value\":\"18\""),
    P("finished_at", "LESS_THAN", "\"string_value\":\"2025-11-24T17:00:00Z\""),
    "{\"predicates\":[{\"key\":\"name\",\"operation\":9,\"string_value\":\"run 5\"},"
    "{\"key\":\"state_history\",\"operation\":9,\"string_value\":\"T12:0\"}]}",
};

static int64_t number(struct world *w, const char *sql)
{
    ERR(e);
    struct db *db = db_reader_get(w->readers, &e);
    struct stmt *s = db_prepare_dynamic(db, sql, &e);
    assert_non_null(s);
    assert_int_equal(stmt_step(s, &e), 1);
    int64_t n = stmt_i64(s, 0);
    stmt_done(s);
    db_reader_put(w->readers, db);
    return n;
}

static void pack(struct world *w, int64_t block)
{
    struct ctx ctx = ctx_background();
    ERR(e);
    bool done = false;
    if (packed_pack(&w->store, &ctx, block, &done, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_true(done);
}

/* Each filter is asked for the first time: by sets that know nothing yet. */
static void compare_first(struct world *w)
{
    for (size_t i = 0; i < ARRAY_LEN(FILTERS) + ARRAY_LEN(PACKED_FILTERS); i++) {
        const char *filter = i < ARRAY_LEN(FILTERS) ? FILTERS[i] : PACKED_FILTERS[i - ARRAY_LEN(FILTERS)];
        for (int scoped = 0; scoped < 2; scoped++) {
            const char *where = scoped ? "r.experiment_id = ?" : NULL;
            struct matches *fresh = matches_new(&RUN_ROWS, w->log, 1);
            AUTOFREE char *want = pages(w, NULL, "name", filter, 100, where);
            AUTOFREE char *got = pages(w, fresh, "name", filter, 100, where);
            if (strcmp(got, want) != 0)
                fail_msg("%s:\nwant %s\ngot  %s", filter, want, got);
            matches_free(fresh);
        }
    }
}

static void test_packed_is_the_same(void **state)
{
    struct world *w = *state;
    for (int64_t b = 0; b < 4; b++)
        pack(w, b); /* the fifth is asked of the table */
    assert_int_equal(number(w, "SELECT count(*) FROM run_packed"), 4);
    compare_first(w);
    /* What is written takes the marks of its blocks away, and of no others. */
    write_sql(w, "UPDATE runs SET display_name = 'RUN 5 anew', state = 7 WHERE rowid BETWEEN 1100 AND 1110");
    write_sql(w, "DELETE FROM runs WHERE rowid = 2100");
    assert_int_equal(number(w, "SELECT sum(block) FROM run_packed"), 0 + 3);
    compare_first(w);
    write_sql(w, "INSERT INTO runs (rowid, run_id, name, display_name, spec_hash, state, state_history, created_at, "
                 "scheduled_at) VALUES (2100, 'new', 'r', 'run 5\n', 'h', 5, '[\"FAILED\"]', 7, 8)");
    pack(w, 1);
    pack(w, 2);
    pack(w, 4);
    compare_first(w);
    assert_int_equal(number(w, "SELECT count(*) FROM run_packed"), 5);
    write_sql(w, "DELETE FROM runs WHERE rowid < 1024");
    pack(w, 0); /* a block of which nothing is left */
    compare_first(w);
}

/* Whose first rows lie far from the order's beginning, up and down; some of them in a block that is not packed. */
static void test_far_from_the_beginning(void **state)
{
    struct world *w = *state;
    enum { MANY = 20000 };
    AUTOFREE char *sql = xasprintf(
        "WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
        "INSERT INTO runs (run_id, name, display_name, experiment_id, spec_hash, state, state_history, created_at, scheduled_at, "
        "finished_at) SELECT 'far' || i, 'r', CASE WHEN i > 9000 AND i < 12000 THEN 'middle' ELSE 'edge' END, 'e1', 'h', 3, "
        "'[]', "
        "1764100000000000000 + i * 250000000, 5, 6 FROM n",
        MANY - 1);
    write_sql(w, sql);
    for (int64_t b = 0; b < (ROWS + MANY) >> PACKED_SHIFT; b++)
        pack(w, b);
    for (int round = 0; round < 2; round++) {
        for (int desc = 0; desc < 2; desc++) {
            const char *sort = desc ? "created_at desc" : "created_at",
                       *filter = P("name", "IS_SUBSTRING", "\"string_value\":\"middle\"");
            struct matches *fresh = matches_new(&RUN_ROWS, w->log, 1);
            AUTOFREE char *want = pages(w, NULL, sort, filter, 5, NULL), *got = pages(w, fresh, sort, filter, 5, NULL);
            AUTOFREE char *again = pages(w, fresh, sort, filter, 5, NULL);
            assert_string_equal(got, want);
            assert_string_equal(again, want);
            matches_free(fresh);
        }
        write_sql(
            w, "UPDATE runs SET created_at = created_at - 3 WHERE display_name = 'middle'"); /* their blocks are not packed now */
    }
}

/* What the packer packs by itself: blocks that are full, and again those that were written. */
static void test_packer(void **state)
{
    struct world *w = *state;
    write_sql(
        w, "INSERT INTO runs (run_id, name, display_name, spec_hash, state, state_history, created_at, scheduled_at) "
           "SELECT run_id || 'x', name, display_name, spec_hash, state, state_history, created_at + 1, scheduled_at FROM runs");
    struct packer *p = packer_start(&w->store, 10 * NS_PER_MS);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 6000 && number(w, "SELECT count(*) FROM run_packed") < 9; i++)
            usleep(10000);
        assert_int_equal(number(w, "SELECT count(*) FROM run_packed"), 9);
        if (round == 0)
            write_sql(w, "UPDATE runs SET display_name = 'run 5' WHERE rowid % 1000 = 0");
    }
    packer_stop(p);
    compare_first(w);
}

/* Bytes that are none of ours are an error, not a crash. */
static void test_damaged(void **state)
{
    struct world *w = *state;
    static const char *const damage[] = {
        "x''", "x'00'", "zeroblob(2049)", "x'ffff' || zeroblob(3000)", "zeroblob(4097)", "x'0100' || zeroblob(2047) || x'0500'"};
    for (int64_t b = 0; b < 4; b++)
        pack(w, b);
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        AUTOFREE char *sql = xasprintf("UPDATE run_columns SET data = CAST(%s AS BLOB)", damage[i]);
        write_sql(w, sql);
        for (size_t f = 0; f < 4; f++) {
            static const char *const columns[] = {"r.display_name", "r.state_history", "r.finished_at", "r.run_id"};
            PACKED_TESTS(t);
            PACKED_ANSWER(a);
            ERR(e);
            packed_add_value(packed_add(&t, packed_column(columns[f]), f == 2 ? PACKED_EQ : PACKED_CONTAINS), "x", 1764000037);
            struct db *db = db_reader_get(w->readers, &e);
            assert_int_equal(packed_scan(db, &t, 1 << 20, &a, &e), -1);
            assert_int_equal(e.code, ERR_INTERNAL);
            db_reader_put(w->readers, db);
        }
    }
}

/* ---- many at once ---------------------------------------------------------------------------------------------------- */

struct crowd {
    struct world *w;
    atomic_bool stop;
    atomic_int asked;
};

/* run_counts are kept by the database itself: the total of a counted column is known without any set. */
static void *ask_on(void *arg)
{
    struct crowd *c = arg;
    while (!atomic_load(&c->stop)) {
        ERR(e);
        struct db *db = db_reader_get(c->w->readers, &e);
        SQL_PIECE(cond);
        sql_add(&cond, "r.state = 7");
        struct match_set *set;
        uint64_t mark = matches_mark(c->w->known);
        ASSERT(db && db_exec(db, "BEGIN", &e) == 0 && matches_get(c->w->known, db, &cond, NULL, mark, &set, &e) == 1);
        struct stmt *s = db_prepare_dynamic(db, "SELECT coalesce(sum(n), 0) FROM run_counts WHERE state = 7", &e);
        ASSERT(s && stmt_step(s, &e) == 1);
        ASSERT(match_count(set) == (size_t)stmt_i64(s, 0));
        stmt_done(s);
        matches_put(c->w->known, set);
        db_reader_put(c->w->readers, db);
        atomic_fetch_add(&c->asked, 1);
    }
    return NULL;
}

static void test_writers_and_askers(void **state)
{
    struct crowd c = {.w = *state};
    pthread_t threads[3];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        threads[i] = thread_start("asker", ask_on, &c);
    for (int i = 0; i < 100 || (atomic_load(&c.asked) < 100 && i < 5000); i++) {
        AUTOFREE char *sql =
            xasprintf("UPDATE runs SET state = CASE state WHEN 7 THEN 3 ELSE 7 END WHERE rowid %% 101 = %d", i % 101);
        write_sql(c.w, sql);
    }
    atomic_store(&c.stop, true);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
TEST_GROUP(matches, IN_WORLD(test_same_as_the_database), IN_WORLD(test_writes_between), IN_WORLD(test_log_has_gone_on),
           IN_WORLD(test_older_snapshot), IN_WORLD(test_small_tables_are_asked), IN_WORLD(test_sorted_by_metric),
           IN_WORLD(test_writers_and_askers), IN_WORLD(test_packed_is_the_same), IN_WORLD(test_packer),
           IN_WORLD(test_far_from_the_beginning), IN_WORLD(test_damaged))
