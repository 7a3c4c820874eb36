#include "unit.h"

#include "base/fs.h"
#include "metadata/metadata.h"
#include "metadata/schema.h"

static char dir[40];
static struct db *db;

static int open_db(void **state)
{
    ERR(e);
    strcpy(dir, "/tmp/tidemill-metadata-XXXXXX");
    assert_non_null(mkdtemp(dir));
    AUTOFREE char *path = fs_join(dir, "t.db");
    db = db_open(path, tidemill_migrations, n_tidemill_migrations, &e);
    return db ? 0 : -1;
}

static int close_db(void **state)
{
    db_close(db);
    fs_rm_rf(dir, NULL);
    return 0;
}

static struct md_artifact artifact(int64_t id, const char *title, const char *metadata)
{
    static char name[] = "m", uri[] = "minio://b/k", pipeline[] = "p", run[] = "r1";
    return (struct md_artifact){.id = id,
                                .name = name,
                                .schema_title = (char *)(uintptr_t)title,
                                .uri = uri,
                                .metadata = (char *)(uintptr_t)metadata,
                                .pipeline = pipeline,
                                .run_id = run,
                                .task_id = 7,
                                .created_ns = 5,
                                .size = -1};
}

static void ids_are_given_once(void **state)
{
    ERR(e);
    int64_t a = 0, b = 0, c = 0;
    assert_int_equal(md_ids_take_tx(db, MD_SEQ_ARTIFACT, 10, &a, &e), 0);
    assert_int_equal(md_ids_take_tx(db, MD_SEQ_ARTIFACT, 1, &b, &e), 0);
    assert_int_equal(md_ids_take_tx(db, MD_SEQ_TASK, 1, &c, &e), 0);
    assert_int_equal(a, 1);
    assert_int_equal(b, 11);
    assert_int_equal(c, 1);
}

static void artifacts(void **state)
{
    ERR(e);
    struct md_artifact a = artifact(1, "system.Model", "{\"k\": 1}"), got;
    assert_int_equal(md_artifact_insert(db, &a, &e), 0);
    assert_int_equal(md_artifact_insert(db, &a, &e), -1);
    assert_int_equal(e.code, ERR_EXISTS);
    assert_int_equal(md_artifact_get(db, 1, &got, &e), 0);
    assert_string_equal(got.schema_title, "system.Model");
    md_artifact_clear(&got);
    assert_int_equal(md_artifact_get(db, 9, &got, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    int64_t id = 0;
    struct md_artifact like = artifact(0, "system.Model", "{ \"k\":1.0 }"); /* by value, not by text */
    assert_int_equal(md_artifact_find(db, &like, &id, &e), 0);
    assert_int_equal(id, 1);
    like = artifact(0, "system.Model", "{\"k\": 2}");
    assert_int_equal(md_artifact_find(db, &like, &id, &e), 0);
    assert_int_equal(id, 0);
    assert_string_equal(md_artifact_type("system.Metrics"), "Metric");
    assert_string_equal(md_artifact_type("google.X"), "Artifact");
}

static int count_metric(void *self, const struct md_metric *m)
{
    *(double *)self += m->value;
    return 0;
}

static void metrics(void **state)
{
    ERR(e);
    double sum = 0;
    struct md_artifact a = artifact(1, "system.Metrics", "{\"a\": 1, \"b\": 0.5, \"c\": \"Infinity\", \"d\": true}");
    assert_int_equal(md_artifact_insert(db, &a, &e), 0);
    assert_int_equal(md_metrics(db, "r1", count_metric, &sum, &e), 0);
    assert_true(sum == 1.5);
}

static int count_link(void *self, const struct md_link *l, const struct md_artifact *a)
{
    ++*(int *)self;
    return 0;
}

/* A run takes with it what it alone used; what another run uses stays. */
static void deleting_a_run(void **state)
{
    ERR(e);
    struct md_artifact a = artifact(1, "system.Model", "{}"), b = artifact(2, "system.Model", "{}"), got;
    assert_int_equal(md_artifact_insert(db, &a, &e), 0);
    assert_int_equal(md_artifact_insert(db, &b, &e), 0);
    struct md_link links[] = {
        {.artifact_id = 1, .task_id = 7, .run_id = (char[]){"r1"}, .io = MD_IO_OUTPUT, .key = (char[]){"m"}},
        {.artifact_id = 2, .task_id = 7, .run_id = (char[]){"r1"}, .io = MD_IO_OUTPUT, .key = (char[]){"n"}},
        {.artifact_id = 2, .task_id = 9, .run_id = (char[]){"r2"}, .io = MD_IO_OUTPUT, .key = (char[]){"n"}},
    };
    for (size_t n = 0; n < ARRAY_LEN(links); n++)
        assert_int_equal(md_link_insert(db, &links[n], &e), 0);
    int n = 0;
    assert_int_equal(md_links(db, "r1", 0, count_link, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_int_equal(md_run_delete(db, "r1", &e), 0);
    assert_int_equal(md_artifact_get(db, 1, &got, &e), -1);
    assert_int_equal(md_artifact_get(db, 2, &got, &e), 0);
    md_artifact_clear(&got);
    n = 0;
    assert_int_equal(md_links(db, "r2", 9, count_link, &n, &e), 0);
    assert_int_equal(n, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_db, close_db)
TEST_GROUP(metadata, TEST(ids_are_given_once), TEST(artifacts), TEST(metrics), TEST(deleting_a_run))
