#include "data_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"
#include "data/writer.h"

static const struct migration MIGRATIONS[] = {{1, "CREATE TABLE t (k INTEGER PRIMARY KEY, who INTEGER)"}};
static const char SQL_PUT[] = "INSERT INTO t (k, who) VALUES (?1, ?2)";

struct put {
    int64_t k, who;
    bool fail_after;
};

static int put_job(struct db *db, void *arg, struct err *err)
{
    const struct put *p = arg;
    STMT(s, db, SQL_PUT, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, p->k);
    stmt_bind_i64(s, 2, p->who);
    if (stmt_run(s, err) < 0)
        return -1;
    return p->fail_after ? err_set(err, ERR_PRECONDITION, "changed its mind") : 0;
}

static struct db_writer *start(const char *path)
{
    struct db *db = db_open(path, MIGRATIONS, 1, NULL);
    assert_non_null(db);
    return db_writer_new(db, "test-writer");
}

static int64_t count(const char *path)
{
    struct db *db = db_open_reader(path, NULL);
    assert_non_null(db);
    struct stmt *s = db_prepare_dynamic(db, "SELECT count(*) FROM t", NULL);
    assert_int_equal(stmt_step(s, NULL), 1);
    int64_t n = stmt_i64(s, 0);
    stmt_done(s);
    db_close(db);
    return n;
}

static void test_run(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db_writer *w = start(path);
    struct ctx ctx = ctx_background();
    ERR(e);
    struct put a = {.k = 1}, again = {.k = 1}, undone = {.k = 2, .fail_after = true};
    assert_int_equal(db_writer_run(w, &ctx, put_job, &a, &e), 0);
    assert_int_equal(count(path), 1); /* durable and visible once it returned */
    assert_int_equal(db_writer_run(w, &ctx, put_job, &again, &e), -1);
    assert_int_equal(e.code, ERR_EXISTS);
    assert_int_equal(db_writer_run(w, &ctx, put_job, &undone, &e), -1);
    assert_int_equal(e.code, ERR_PRECONDITION);
    assert_int_equal(count(path), 1);
    db_writer_stop(w);
}

enum { THREADS = 8, EACH = 60 };
struct many {
    struct db_writer *w;
    int64_t who;
    int good, bad;
};

static void *many_main(void *arg)
{
    struct many *m = arg;
    struct ctx ctx = ctx_background();
    for (int64_t i = 0; i < EACH; i++) {
        struct put p = {.k = m->who * 1000 + i, .who = m->who, .fail_after = i % 3 == 0};
        *(db_writer_run(m->w, &ctx, put_job, &p, NULL) == 0 ? &m->good : &m->bad) += 1;
    }
    return NULL;
}

/* Failing jobs share batches with good ones, and take nothing of theirs away. */
static void test_many_threads(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db_writer *w = start(path);
    pthread_t threads[THREADS];
    struct many m[THREADS];
    for (int i = 0; i < THREADS; i++) {
        m[i] = (struct many){.w = w, .who = i};
        assert_int_equal(pthread_create(&threads[i], NULL, many_main, &m[i]), 0);
    }
    int good = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(m[i].bad, EACH / 3);
        good += m[i].good;
    }
    assert_int_equal(count(path), good);
    db_writer_stop(w);
}

static int full_job(struct db *db, void *arg, struct err *err)
{
    db_rollback(db); /* as SQLite does on a full disk */
    return err_set(err, ERR_IO, "full");
}

static int wait_job(struct db *db, void *arg, struct err *err)
{
    atomic_int *gate = arg;
    atomic_store(gate, 1);
    while (atomic_load(gate) != 2)
        usleep(1000);
    return 0;
}

struct call {
    struct db_writer *w;
    db_job_fn *fn;
    void *arg;
    int rc;
};
static void *call_main(void *arg)
{
    struct call *c = arg;
    struct ctx ctx = ctx_background();
    c->rc = db_writer_run(c->w, &ctx, c->fn, c->arg, NULL);
    return NULL;
}

/* A job whose failure loses the transaction: its neighbours of the batch hear that they failed. */
static void test_transaction_lost(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db_writer *w = start(path);
    atomic_int gate = 0;
    struct put p = {.k = 1}, q = {.k = 2};
    struct call calls[] = {{w, wait_job, &gate, 0}, {w, put_job, &p, 0}, {w, full_job, NULL, 0}};
    pthread_t t[3];
    pthread_create(&t[0], NULL, call_main, &calls[0]);
    while (atomic_load(&gate) != 1)
        usleep(1000);
    for (int i = 1; i < 3; i++) {
        pthread_create(&t[i], NULL, call_main, &calls[i]);
        usleep(500000); /* in this order, both behind the one that holds the thread */
    }
    atomic_store(&gate, 2);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(calls[0].rc, 0);
    assert_int_equal(calls[1].rc, -1);
    assert_int_equal(calls[2].rc, -1);
    assert_int_equal(count(path), 0);
    struct ctx ctx = ctx_background();
    assert_int_equal(db_writer_run(w, &ctx, put_job, &q, NULL), 0); /* and it goes on */
    db_writer_stop(w);
}

static void test_context_ends(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db_writer *w = start(path);
    atomic_int gate = 0;
    struct call holder = {w, wait_job, &gate, 0};
    pthread_t t;
    pthread_create(&t, NULL, call_main, &holder);
    while (atomic_load(&gate) != 1)
        usleep(1000);
    struct ctx base = ctx_background(), soon = ctx_with_timeout(&base, 20 * NS_PER_MS);
    struct put p = {.k = 1};
    ERR(e);
    assert_int_equal(db_writer_run(w, &soon, put_job, &p, &e), -1);
    assert_int_equal(e.code, ERR_TIMEOUT);
    atomic_store(&gate, 2);
    pthread_join(t, NULL);
    db_writer_stop(w);
    assert_int_equal(count(path), 0); /* it was withdrawn */
}

static void test_stopping(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db_writer *w = start(path);
    atomic_int gate = 0;
    struct put p = {.k = 1};
    struct call calls[] = {{w, wait_job, &gate, 0}, {w, put_job, &p, 0}};
    pthread_t t[2];
    pthread_create(&t[0], NULL, call_main, &calls[0]);
    while (atomic_load(&gate) != 1)
        usleep(1000);
    pthread_create(&t[1], NULL, call_main, &calls[1]);
    usleep(20000);
    atomic_store(&gate, 2);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    db_writer_stop(w);
    assert_int_equal(calls[1].rc, 0);
    assert_int_equal(count(path), 1);
}

static void *reader_main(void *arg)
{
    struct db_readers *r = arg;
    for (int i = 0; i < 50; i++) {
        struct db *db = db_reader_get(r, NULL);
        STMT(s, db, SQL_PUT, NULL); /* prepared only */
        stmt_done(TAKE(s));
        db_reader_put(r, db);
    }
    return NULL;
}

static void test_readers(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    struct db_writer *w = start(path);
    struct db_readers *r = db_readers_new(path, 2);
    pthread_t t[6];
    for (int i = 0; i < 6; i++)
        pthread_create(&t[i], NULL, reader_main, r);
    for (int i = 0; i < 6; i++)
        pthread_join(t[i], NULL);
    db_readers_free(r);
    db_writer_stop(w);
}

/* Killed while eight threads write: each answer that was heard is in the database. */
static void test_killed(void **state)
{
    AUTOFREE char *path = fs_join(*state, "a.db");
    int said[2];
    assert_int_equal(pipe(said), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct db_writer *w = start(path);
        struct many m[4];
        for (int i = 0; i < 4; i++) {
            m[i] = (struct many){.w = w, .who = i};
            pthread_t t;
            pthread_create(&t, NULL, many_main, &m[i]);
        }
        struct ctx ctx = ctx_background();
        for (int64_t i = 0;; i++) {
            struct put p = {.k = 1000000 + i, .who = 9};
            if (db_writer_run(w, &ctx, put_job, &p, NULL) < 0 || write(said[1], "x", 1) != 1)
                _exit(1);
        }
    }
    close(said[1]);
    char byte;
    int64_t heard = 0;
    while (heard < 40 && read(said[0], &byte, 1) == 1)
        heard++;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (read(said[0], &byte, 1) == 1)
        heard++;
    close(said[0]);
    db_writer_stop(start(path));
    struct db *db = db_open_reader(path, NULL);
    struct stmt *s = db_prepare_dynamic(db, "SELECT count(*) FROM t WHERE who = 9", NULL);
    assert_int_equal(stmt_step(s, NULL), 1);
    assert_true(stmt_i64(s, 0) >= heard);
    stmt_done(s);
    db_close(db);
}

TEST_GROUP(writer, IN_DIR(test_run), IN_DIR(test_many_threads), IN_DIR(test_transaction_lost), IN_DIR(test_context_ends),
           IN_DIR(test_stopping), IN_DIR(test_readers), IN_DIR(test_killed))
