/* Runs that are deleted together with the bytes of their artifacts. */
#include "kit.h"

#include <stdlib.h>

#include "pipelines/engine/live.h"

#define OWN "v2/artifacts/test-pipeline/%s/%s"

static void put(struct kit *k, const char *key)
{
    struct ctx ctx = ctx_background();
    ERR(e);
    if (blob_write(k->blobs, &ctx, "mlpipeline", key, "x", 1, &e) < 0)
        fail_msg("%s", err_text(&e));
}

static bool is_there(struct kit *k, const char *key)
{
    struct ctx ctx = ctx_background();
    struct blob_info info;
    return blob_stat(k->blobs, &ctx, "mlpipeline", key, &info, NULL) == 0;
}

static void put_own(struct kit *k, const char *id, const char *name)
{
    AUTOFREE char *key = xasprintf(OWN, id, name);
    put(k, key);
}

static bool has_own(struct kit *k, const char *id, const char *name)
{
    AUTOFREE char *key = xasprintf(OWN, id, name);
    return is_there(k, key);
}

static int sql_job(struct db *db, void *sql, struct err *err) { return db_exec(db, sql, err); }

static void write_sql(struct kit *k, char *sql)
{
    struct ctx ctx = ctx_background();
    ERR(e);
    if (db_writer_run(k->store.writer, &ctx, sql_job, sql, &e) < 0)
        fail_msg("%s: %s", sql, err_text(&e));
}

/* Another run's artifact with this URI. */
static void refer(struct kit *k, const char *uri)
{
    static int n = 1000000;
    AUTOFREE char *sql = xasprintf("INSERT INTO artifacts (id, name, schema_title, uri, created_at, run_id) VALUES (%d, 'x', "
                                   "'system.Model', '%s', 1, 'another')",
                                   n++, uri);
    write_sql(k, sql);
}

static void refer_own(struct kit *k, const char *id, const char *name)
{
    AUTOFREE char *uri = xasprintf("minio://mlpipeline/" OWN, id, name);
    refer(k, uri);
}

static const struct script SCRIPTS[] = {{.task = "a"}};

/* A run that is over, with a few files. */
static char *ended_run(struct kit *k)
{
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END, STEP);
    char *id = kit_run(k, y, NULL, RUN_SUCCEEDED);
    static const char *const names[] = {"a/1/d", "a/1/.tidemill/0-0/log", "a/1/tree/x/y", "a/1/tree/z", "b/2/model"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        put_own(k, id, names[i]);
    return id;
}

static void delete_it(struct kit *k, const char *id, bool artifacts)
{
    struct ctx ctx = ctx_background();
    ERR(e);
    if (engine_delete(k->engine, &ctx, id, artifacts, &e) < 0)
        fail_msg("%s", err_text(&e));
}

/* Its pods end, and what follows. */
static void turn(struct kit *k, const char *id)
{
    for (int i = 0; i < 4; i++)
        kit_turn(k, id);
}

static int trash(struct kit *k) { return kit_count(k, "SELECT count(*) FROM artifact_trash WHERE ?1 = ?1", "x"); }

static void all_of_it_goes(void **state)
{
    struct kit k;
    kit_open(&k, SCRIPTS, ARRAY_LEN(SCRIPTS));
    AUTOFREE char *id = ended_run(&k);
    AUTOFREE char *other = ended_run(&k);
    AUTOFREE char *longer = xasprintf("v2/artifacts/test-pipeline/%s0/d", id); /* its name begins alike */
    put(&k, longer);
    put(&k, "v2/artifacts/test-pipeline/d");
    delete_it(&k, id, true);
    assert_int_equal(trash(&k), 1);
    assert_true(has_own(&k, id, "a/1/d")); /* its pods may still write */
    turn(&k, id);
    assert_int_equal(trash(&k), 0);
    assert_false(has_own(&k, id, ""));
    assert_true(has_own(&k, other, "a/1/d"));
    assert_true(is_there(&k, longer));
    assert_true(is_there(&k, "v2/artifacts/test-pipeline/d"));
    /* Without the word for it, nothing goes. */
    delete_it(&k, other, false);
    turn(&k, other);
    assert_true(has_own(&k, other, "a/1/d"));
    kit_close(&k);
}

static void what_others_refer_to_stays(void **state)
{
    struct kit k;
    kit_open(&k, SCRIPTS, ARRAY_LEN(SCRIPTS));
    AUTOFREE char *id = ended_run(&k);
    refer_own(&k, id, "a/1/tree/"); /* a directory: what is in it */
    refer_own(&k, id, "b/2/model");
    delete_it(&k, id, true);
    turn(&k, id);
    assert_int_equal(trash(&k), 0);
    assert_true(has_own(&k, id, "a/1/tree/x/y"));
    assert_true(has_own(&k, id, "a/1/tree/z"));
    assert_true(has_own(&k, id, "b/2/model"));
    assert_false(has_own(&k, id, "a/1/d"));
    assert_false(has_own(&k, id, "a/1/.tidemill/0-0/log"));
    /* A directory above it: all. */
    AUTOFREE char *next = ended_run(&k);
    refer(&k, "minio://mlpipeline/v2/artifacts/test-pipeline");
    delete_it(&k, next, true);
    turn(&k, next);
    assert_int_equal(trash(&k), 0);
    assert_true(has_own(&k, next, "a/1/d"));
    kit_close(&k);
}

/* Its own artifact that another run took (from the cache, or as an input) has a link of that run. */
static void what_others_linked_stays(void **state)
{
    struct kit k;
    kit_open(&k, SCRIPTS, ARRAY_LEN(SCRIPTS));
    AUTOFREE char *id = ended_run(&k);
    AUTOFREE char *sql = xasprintf(
        "INSERT INTO artifacts (id, name, schema_title, uri, created_at, run_id) VALUES "
        "(77, 'd', 'system.Model', 'minio://mlpipeline/" OWN "', 1, '%s'), (78, 'e', 'system.Model', 'minio://mlpipeline/" OWN
        "', 1, '%s'); INSERT INTO artifact_tasks (id, artifact_id, run_id, task_id, io, key) VALUES (1001, 77, '%s', 1, 9, 'd'), "
        "(1002, 77, 'another', 2, 2, 'd'), (1003, 78, '%s', 1, 9, 'e')",
        id, "a/1/d", id, id, "b/2/model", id, id, id);
    write_sql(&k, sql);
    delete_it(&k, id, true);
    turn(&k, id);
    assert_true(has_own(&k, id, "a/1/d"));
    assert_false(has_own(&k, id, "b/2/model"));
    kit_close(&k);
}

/* Never outside: names that would lead there are refused by the store, and asked once. */
static void never_outside(void **state)
{
    struct kit k;
    kit_open(&k, SCRIPTS, ARRAY_LEN(SCRIPTS));
    put(&k, "v2/artifacts/elsewhere/d");
    static const char *const uris[] = {"minio://mlpipeline/v2/artifacts/x/../elsewhere",
                                       "minio://../elsewhere",
                                       "minio://mlpipeline",
                                       "elsewhere",
                                       "azblob://x/y",
                                       "minio://mlpipeline/v2/artifacts",
                                       "minio://mlpipeline/v2/artifacts/elsewhere"};
    for (size_t i = 0; i < ARRAY_LEN(uris); i++) {
        AUTOFREE char *sql = xasprintf("INSERT INTO artifact_trash (run_id, uri, namespace, pipeline_root, stores) VALUES "
                                       "('gone', '%s', 'kubeflow', 'minio://mlpipeline/v2/artifacts', NULL)",
                                       uris[i]);
        write_sql(&k, sql);
        turn(&k, "gone");
        assert_int_equal(trash(&k), 0);
        assert_true(is_there(&k, "v2/artifacts/elsewhere/d"));
    }
    kit_close(&k);
}

/* A start finds what is left to do; here the engine that is made anew is told by hand, as engine_start tells it. */
static void goes_on_after_a_kill(void **state)
{
    struct kit k;
    kit_open(&k, SCRIPTS, ARRAY_LEN(SCRIPTS));
    AUTOFREE char *id = ended_run(&k);
    refer_own(&k, id, "b/2/model");
    delete_it(&k, id, true);
    AUTOFREE char *half = xasprintf(OWN, id, "a/1/tree"); /* a kill in the middle: some of it is gone */
    struct ctx ctx = ctx_background();
    assert_int_equal(blob_delete(k.blobs, &ctx, "mlpipeline", half, NULL), 0);
    kit_restart(&k);
    STRLIST(ids);
    struct db *db = db_reader_get(k.store.readers, NULL);
    assert_int_equal(trash_runs(db, &ids, NULL), 0);
    db_reader_put(k.store.readers, db);
    assert_int_equal(ids.n, 1);
    assert_string_equal(ids.v[0], id);
    turn(&k, id);
    assert_int_equal(trash(&k), 0);
    assert_false(has_own(&k, id, "a/1/d"));
    assert_true(has_own(&k, id, "b/2/model"));
    turn(&k, id);
    kit_close(&k);
}

/* A run that never began has no root, and leaves nothing to do. */
static void never_began(void **state)
{
    struct kit k;
    kit_open(&k, SCRIPTS, ARRAY_LEN(SCRIPTS));
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END, STEP);
    AUTOFREE char *id = kit_submit(&k, y, NULL);
    delete_it(&k, id, true);
    assert_int_equal(trash(&k), 0);
    struct ctx ctx = ctx_background();
    ERR(e);
    assert_int_equal(engine_delete(k.engine, &ctx, id, true, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    kit_close(&k);
}

/* A step that was found in the cache is not there yet when the run that it is from goes: it is done again. */
static void the_cache_is_asked_anew(void **state)
{
    static const struct script scripts[] = {{.task = "a"}};
    struct kit k;
    struct ctx ctx = ctx_background();
    kit_open(&k, scripts, ARRAY_LEN(scripts));
    AUTOFREE char *both =
        kit_yaml("", RUNS("a", "made") ", cachingOptions: {enableCache: true}" AFTER("slow") END RUNS("slow", "step") END,
                 STEP "  made: {executorLabel: e, outputDefinitions: {artifacts: {d: {artifactType: {schemaTitle: "
                      "system.Dataset, schemaVersion: 0.0.1}}}}}\n");
    AUTOFREE char *first = kit_run(&k, both, NULL, RUN_SUCCEEDED);
    AUTOFREE char *second = kit_submit(&k, both, NULL);
    int starts = k.starts;
    for (int n = 0; n < 10 && kit_task(&k, second, "root/slow") != TASK_RUNNING; n++)
        kit_turn(&k, second);
    struct live *l = strmap_take(&k.engine->runs, second);
    struct db *db = db_reader_get(k.store.readers, NULL);
    live_open_round(l);
    ERR(e);
    assert_int_equal(live_observe(l, &ctx, &e), 0);
    assert_int_equal(live_advance(l, &ctx, db, &e), 0);
    const struct inst *a = l->root->kids[0];
    assert_string_equal(a->row.name, "a");
    assert_int_equal(a->row.state, TASK_CACHED);
    delete_it(&k, first, true);
    turn(&k, first);
    assert_int_equal(live_commit(l, &ctx, &e), -1);
    assert_int_equal(e.code, ERR_CONFLICT);
    live_free(l);
    db_reader_put(k.store.readers, db);
    kit_drive(&k, second);
    assert_int_equal(kit_state(&k, second, NULL), RUN_SUCCEEDED);
    assert_int_equal(k.starts, starts + 2);
    assert_int_equal(kit_task(&k, second, "root/a"), TASK_SUCCEEDED);
    assert_int_equal(
        kit_count(&k,
                  "SELECT count(*) FROM artifact_tasks l WHERE run_id = ?1 AND NOT EXISTS (SELECT 1 FROM artifacts a "
                  "WHERE a.id = l.artifact_id)",
                  second),
        0);
    kit_close(&k);
}

/* What is being deleted is not imported; what is kept, is. Before it begins an import keeps it, and afterwards nobody knows. */
static void importing_what_goes(void **state)
{
    static const struct {
        const char *of; /* what a row of another run names; NULL: none */
        const char *import;
        int emptying;
        enum run_state want;
        const char *dir;
    } cases[] = {{NULL, "p/RUN/a/d", 1, RUN_FAILED},
                 {NULL, "p/RUN", 1, RUN_FAILED},
                 {NULL, "p/RUN/", 1, RUN_FAILED},
                 {NULL, "p", 1, RUN_FAILED},
                 {NULL, "p/RUNNING/a", 1, RUN_SUCCEEDED},
                 {"p/RUN/a/d", "p/RUN/a/d", 1, RUN_SUCCEEDED},
                 {"p/RUN/a", "p/RUN/a/d", 1, RUN_SUCCEEDED},
                 {"p/RUN/a/d/e", "p/RUN/a/d", 1, RUN_FAILED},
                 {NULL, "p/RUN/a/d", 0, RUN_SUCCEEDED}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        struct kit k;
        kit_open(&k, SCRIPTS, ARRAY_LEN(SCRIPTS));
        AUTOFREE char *row =
            xasprintf("INSERT INTO artifact_trash (run_id, uri, namespace, emptying) VALUES ('gone', 'minio://b/p/RUN', "
                      "'', %d)",
                      cases[n].emptying);
        write_sql(&k, row);
        AUTOFREE char *of = cases[n].of ? xasprintf("minio://b/%s", cases[n].of) : NULL;
        if (of)
            refer(&k, of);
        AUTOFREE char *one =
            kit_yaml("", RUNS("i", "imp") END,
                     "  imp: {executorLabel: imp2, outputDefinitions: {artifacts: {artifact: {artifactType: {schemaTitle: "
                     "system.Dataset, schemaVersion: 0.0.1}}}}}\n");
        const char *at = strstr(one, "components:\n");
        AUTOFREE char *y =
            xasprintf("%.*s    imp2: {importer: {artifactUri: {constant: 'minio://b/%s'}, reimport: true, typeSchema: "
                      "{schemaTitle: system.Dataset}}}\n%s",
                      (int)(at - one), one, cases[n].import, at);
        AUTOFREE char *id = kit_submit(&k, y, NULL), *message = NULL;
        kit_drive(&k, id);
        if (kit_state(&k, id, &message) != cases[n].want)
            fail_msg("case %zu: %s", n, message ? message : "it succeeded");
        if (cases[n].want == RUN_FAILED)
            assert_non_null(strstr(message, "it is being deleted together with the run"));
        kit_close(&k);
    }
}

TEST_GROUP(trash, cmocka_unit_test(all_of_it_goes), cmocka_unit_test(what_others_refer_to_stays),
           cmocka_unit_test(what_others_linked_stays), cmocka_unit_test(never_outside), cmocka_unit_test(goes_on_after_a_kill),
           cmocka_unit_test(never_began), cmocka_unit_test(the_cache_is_asked_anew), cmocka_unit_test(importing_what_goes))
