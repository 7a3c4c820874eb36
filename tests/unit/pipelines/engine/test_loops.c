/* Loops, Collected, parallelism. */
#include "kit.h"

#define TASK(id, path, want) assert_int_equal(kit_task(&k, id, path), TASK_##want)

#define LOOP                                                                                                                     \
    "  loop: {inputDefinitions: {parameters: {item: {parameterType: STRING}}}, outputDefinitions: {parameters: {o: "             \
    "{parameterType: LIST}}}, "                                                                                                  \
    "dag: {outputs: {parameters: {o: {valueFromParameter: {producerSubtask: in, outputParameterKey: Output}}}}, tasks: {in: "    \
    "{componentRef: {name: echo}, "                                                                                              \
    "inputs: {parameters: {x: {componentInputParameter: item}}}}, next: {componentRef: {name: step}, dependentTasks: [in]}}}}\n" \
    "  echo: {executorLabel: e, inputDefinitions: {parameters: {x: {parameterType: STRING}}}, outputDefinitions: {parameters: "  \
    "{Output: {parameterType: STRING}}}}\n"                                                                                      \
    "  take: {executorLabel: e, inputDefinitions: {parameters: {x: {parameterType: LIST}}}}\n"
#define RAW(items, more)                                                                                                         \
    "      l: {componentRef: {name: loop}, parameterIterator: {itemInput: item, items: {raw: '" items "'}}" more "}\n"
#define TAKE_L                                                                                                                   \
    RUNS("t", "take") ", inputs: {parameters: {x: {taskOutputParameter: {producerTask: l, outputParameterKey: o}}}}" END

static jval *taken(struct kit *k, const char *task, struct json **doc)
{
    *doc = json_parse_str(strmap_get(&k->inputs, task), NULL);
    return jv_path(json_root(*doc), "inputs", "parameterValues", "x", NULL);
}

static void raw_loop(void **state)
{
    struct kit k;
    kit_open(&k, NULL, 0);
    AUTOFREE char *y = kit_yaml("", RAW("[\"a\", 2, {\"k\": true}]", "") TAKE_L, STEP LOOP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 7);
    TASK(id, "root/l[0]/in", SUCCEEDED);
    TASK(id, "root/l[2]/next", SUCCEEDED);
    struct task_row row = kit_row(&k, id, "root/l[2]");
    assert_int_equal(row.iteration_index, 2);
    assert_non_null(strstr(row.inputs, "{\\\"k\\\":true}")); /* STRING converts */
    task_row_clear(&row);
    row = kit_row(&k, id, "root/l");
    assert_int_equal(row.iteration_count, 3);
    task_row_clear(&row);
    struct json *doc;
    assert_int_equal(jv_len(taken(&k, "t", &doc)), 3);
    json_unref(doc);
    kit_close(&k);
}

static void empty_loop(void **state)
{
    struct kit k;
    kit_open(&k, NULL, 0);
    AUTOFREE char *y = kit_yaml("", RAW("[]", "") TAKE_L, STEP LOOP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    struct json *doc;
    jval *v = taken(&k, "t", &doc);
    assert_true(jv_is(v, J_ARRAY));
    assert_int_equal(jv_len(v), 0);
    json_unref(doc);
    kit_close(&k);
}

static void dynamic_loop(void **state)
{
    static const struct {
        const char *given;
        enum run_state want;
        int starts;
    } cases[] = {{"[1, 2]", RUN_SUCCEEDED, 5}, {"\"[1,2,3]\"", RUN_SUCCEEDED, 7}, {"\"no list\"", RUN_FAILED, 0}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        struct kit k;
        kit_open(&k, NULL, 0);
        AUTOFREE char *y =
            kit_yaml(n == 0 ? "p: {parameterType: LIST}" : "p: {parameterType: STRING}",
                     "      l: {componentRef: {name: loop}, inputs: {parameters: {items: {componentInputParameter: p}}}, "
                     "parameterIterator: {itemInput: item, items: {inputParameter: items}}}\n" TAKE_L,
                     STEP LOOP);
        AUTOFREE char *p = xasprintf("{\"p\": %s}", cases[n].given);
        AUTOFREE char *id = kit_run(&k, y, p, cases[n].want);
        assert_int_equal(k.starts, cases[n].starts);
        if (cases[n].want == RUN_FAILED) {
            struct task_row row = kit_row(&k, id, "root/l");
            assert_non_null(strstr(row.error_message, "cannot be iterated"));
            task_row_clear(&row);
        }
        kit_close(&k);
    }
}

static void parallelism(void **state)
{
    enum { NEVER, EVERY_TURN, ONCE, CASES };
    for (int restart = NEVER; restart < CASES; restart++) {
        struct kit k;
        kit_open(&k, NULL, 0);
        k.restart_every_turn = restart == EVERY_TURN;
        AUTOFREE char *y = kit_yaml("", RAW("[1,2,3,4,5,6,7]", ", iteratorPolicy: {parallelismLimit: 2}") TAKE_L, STEP LOOP);
        AUTOFREE char *id = kit_submit(&k, y, NULL);
        for (int turn = 0; restart == ONCE && turn < 4; turn++)
            assert_true(kit_turn(&k, id));
        if (restart == ONCE)
            kit_restart(&k);
        kit_drive(&k, id);
        assert_int_equal(kit_state(&k, id, NULL), RUN_SUCCEEDED);
        assert_int_equal(k.starts, 15);
        assert_true(k.most_running <= 2);
        struct json *doc;
        AUTOFREE char *text = jv_text(taken(&k, "t", &doc), JW_COMPACT);
        assert_string_equal(text, "[\"in\",\"in\",\"in\",\"in\",\"in\",\"in\",\"in\"]");
        json_unref(doc);
        kit_close(&k);
    }
}

#define NESTED                                                                                                                   \
    "  outer: {inputDefinitions: {parameters: {item: {parameterType: LIST}}}, outputDefinitions: {parameters: {o: "              \
    "{parameterType: LIST}}}, "                                                                                                  \
    "dag: {outputs: {parameters: {o: {valueFromParameter: {producerSubtask: l2, outputParameterKey: o}}}}, tasks: {l2: "         \
    "{componentRef: {name: loop}, "                                                                                              \
    "inputs: {parameters: {items: {componentInputParameter: item}}}, parameterIterator: {itemInput: item, items: "               \
    "{inputParameter: items}}}}}}\n"

static void nested_loops(void **state)
{
    for (int restart = 0; restart < 2; restart++) {
        struct kit k;
        kit_open(&k, NULL, 0);
        k.restart_every_turn = restart;
        AUTOFREE char *y = kit_yaml("",
                                    "      l: {componentRef: {name: outer}, parameterIterator: {itemInput: item, items: {raw: "
                                    "'[[1,2],[],[3]]'}}}\n" TAKE_L,
                                    STEP LOOP NESTED);
        AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
        TASK(id, "root/l[0]/l2[1]/next", SUCCEEDED);
        struct json *doc;
        AUTOFREE char *text = jv_text(taken(&k, "t", &doc), JW_COMPACT);
        assert_string_equal(text, "[[\"in\",\"in\"],[],[\"in\"]]");
        json_unref(doc);
        assert_int_equal(k.starts, 7);
        kit_close(&k);
    }
}

#define HOLES                                                                                                                    \
    "  holes: {inputDefinitions: {parameters: {item: {parameterType: NUMBER_INTEGER}}}, outputDefinitions: {parameters: {o: "    \
    "{parameterType: LIST}}}, "                                                                                                  \
    "dag: {outputs: {parameters: {o: {valueFromOneof: {parameterSelectors: [{producerSubtask: c, outputParameterKey: o}]}}}}, "  \
    "tasks: {c: {componentRef: {name: some}, "                                                                                   \
    "inputs: {parameters: {item: {componentInputParameter: item}}}, triggerPolicy: {condition: "                                 \
    "\"int(inputs.parameter_values['item']) > 1\"}}}}}\n"                                                                        \
    "  some: {inputDefinitions: {parameters: {item: {parameterType: NUMBER_INTEGER}}}, outputDefinitions: {parameters: {o: "     \
    "{parameterType: STRING}}}, "                                                                                                \
    "dag: {outputs: {parameters: {o: {valueFromParameter: {producerSubtask: in, outputParameterKey: Output}}}}, tasks: {in: "    \
    "{componentRef: {name: step}}}}}\n"

static void holes(void **state)
{
    struct kit k;
    kit_open(&k, NULL, 0);
    AUTOFREE char *y = kit_yaml(
        "", "      l: {componentRef: {name: holes}, parameterIterator: {itemInput: item, items: {raw: '[1,2,3]'}}}\n" TAKE_L,
        STEP LOOP HOLES);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    struct json *doc;
    assert_int_equal(jv_len(taken(&k, "t", &doc)), 2);
    json_unref(doc);
    TASK(id, "root/l[0]/c", SKIPPED);
    kit_close(&k);
}

static void one_iteration_fails(void **state)
{
    static const struct script scripts[] = {{.task = "next", .fail_attempts = 1}};
    struct kit k;
    kit_open(&k, scripts, 1);
    AUTOFREE char *y =
        kit_yaml("",
                 RAW("[1,2]", "") TAKE_L RUNS("all", "take") ALWAYS
                 ", inputs: {parameters: {x: {taskOutputParameter: {producerTask: l, outputParameterKey: o}}}}" END,
                 STEP LOOP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    TASK(id, "root/l[0]", FAILED);
    TASK(id, "root/l[1]", FAILED);
    TASK(id, "root/t", NEVER);
    TASK(id, "root/all", SUCCEEDED);
    kit_close(&k);
}

static void many_iterations_are_lazy(void **state)
{
    struct kit k;
    kit_open(&k, NULL, 0);
    k.cfg.max_iterations = 10;
    kit_restart(&k);
    BUF(items);
    buf_addc(&items, '[');
    for (int n = 0; n < 200; n++)
        buf_addf(&items, "%s%d", n ? "," : "", n);
    buf_addc(&items, ']');
    AUTOFREE char *tasks =
        xasprintf("      l: {componentRef: {name: loop}, parameterIterator: {itemInput: item, items: {raw: '%s'}}}\n" TAKE_L,
                  buf_str(&items));
    AUTOFREE char *y = kit_yaml("", tasks, STEP LOOP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_true(k.most_running <= 10);
    assert_int_equal(k.starts, 401);
    kit_close(&k);
}

/* The body may read the whole list, and no iteration's row holds it. */
static void items_are_shared(void **state)
{
    for (int restart = 0; restart < 2; restart++) {
        struct kit k;
        kit_open(&k, NULL, 0);
        k.restart_every_turn = restart;
        AUTOFREE char *y = kit_yaml(
            "p: {parameterType: LIST}",
            "      l: {componentRef: {name: body}, inputs: {parameters: {items: {componentInputParameter: p}}}, "
            "parameterIterator: {itemInput: item, items: {inputParameter: items}}}\n",
            STEP LOOP "  body: {inputDefinitions: {parameters: {item: {parameterType: STRING}, items: {parameterType: LIST}}}, "
                      "dag: {tasks: {"
                      "all: {componentRef: {name: take}, inputs: {parameters: {x: {componentInputParameter: items}}}}}}}\n");
        AUTOFREE char *id = kit_run(&k, y, "{\"p\": [\"one\", \"two\"]}", RUN_SUCCEEDED);
        struct json *doc;
        assert_int_equal(jv_len(taken(&k, "all", &doc)), 2);
        json_unref(doc);
        struct task_row row = kit_row(&k, id, "root/l[1]");
        assert_string_equal(row.inputs, "{\"parameters\":{\"item\":\"two\"},\"artifacts\":{}}");
        task_row_clear(&row);
        kit_close(&k);
    }
}

/* ---- many at once ------------------------------------------------------------------------------------------------------ */

static int sql_job(struct db *db, void *sql, struct err *err) { return db_exec(db, sql, err); }

static void write_sql(struct kit *k, const char *sql)
{
    struct ctx ctx = ctx_background();
    ERR(e);
    AUTOFREE char *copy = xstrdup(sql);
    if (db_writer_run(k->store.writer, &ctx, sql_job, copy, &e) < 0)
        fail_msg("%s: %s", sql, err_text(&e));
}

/* A transaction begins with the run's row: counts the rows of tasks that each writes. */
static void count_transactions(struct kit *k)
{
    write_sql(
        k,
        "CREATE TABLE sizes (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);"
        "CREATE TRIGGER opens AFTER UPDATE ON runs BEGIN INSERT INTO sizes (n) VALUES (0); END;"
        "CREATE TRIGGER adds AFTER INSERT ON tasks BEGIN UPDATE sizes SET n = n + 1 WHERE id = (SELECT max(id) FROM sizes); END;"
        "CREATE TRIGGER changes AFTER UPDATE ON tasks BEGIN UPDATE sizes SET n = n + 1 WHERE id = (SELECT max(id) FROM "
        "sizes); END;");
}

enum { MANY = 900, AT_MOST = 600 };

static char *many_items(void)
{
    BUF(b);
    for (int i = 0; i < MANY; i++)
        buf_addf(&b, "%s\"%d\"", i ? ", " : "", i);
    return xasprintf("[%s]", buf_str(&b));
}

/* So many iterations that are decided at once are written by many small transactions, for which others wait less. With a turn
 * that dies between two of them (here: the database refuses one), what was written is gone on with. */
static void by_small_transactions(void **state)
{
    static const char *const components[] = {
        /* steps, all of them at a time; groups of which nothing is to be done */
        "{componentRef: {name: echo}, parameterIterator: {itemInput: x, items: {raw: '%s'}}, iteratorPolicy: {parallelismLimit: "
        "5000}}\n",
        "{componentRef: {name: idle}, parameterIterator: {itemInput: item, items: {raw: '%s'}}}\n",
    };
    for (size_t n = 0; n < 2 * ARRAY_LEN(components); n++) {
        struct kit k;
        kit_open(&k, NULL, 0);
        AUTOFREE char *items = many_items();
        AUTOFREE char *how = xasprintf(components[n / 2], items);
        AUTOFREE char *task = xasprintf("      l: %s", how);
        AUTOFREE char *y =
            kit_yaml("", task,
                     STEP LOOP "  idle: {inputDefinitions: {parameters: {item: {parameterType: STRING}}}, dag: {tasks: {in: "
                               "{componentRef: {name: step}, triggerPolicy: {condition: \"'a' == 'b'\"}}}}}\n");
        count_transactions(&k);
        AUTOFREE char *id = kit_submit(&k, y, NULL);
        if (n % 2) {
            write_sql(&k, "CREATE TRIGGER refuses BEFORE UPDATE ON runs WHEN (SELECT count(*) FROM sizes) >= 3 BEGIN SELECT "
                          "RAISE(ABORT, 'no'); END;");
            struct ctx ctx = ctx_background();
            ERR(e);
            int64_t again;
            assert_int_equal(engine_turn(k.engine, &ctx, id, &again, &e), -1);
            int rows = kit_count(&k, "SELECT count(*) FROM tasks WHERE run_id = ?1", id);
            assert_true(rows > 10 && rows < MANY);
            write_sql(&k, "DROP TRIGGER refuses");
            kit_restart(&k);
        }
        kit_drive(&k, id);
        assert_int_equal(kit_state(&k, id, NULL), RUN_SUCCEEDED);
        if (n % 2 == 0) /* else those that waited still are asked for again, under the names that they have */
            assert_int_equal(k.twice, 0);
        assert_int_equal(k.starts, n / 2 == 0 ? MANY : 0);
        assert_int_equal(kit_count(&k, "SELECT count(*) FROM tasks WHERE run_id = ?1", id), 2 + MANY * (n / 2 == 0 ? 1 : 2));
        int most = kit_count(&k, "SELECT max(n) FROM sizes WHERE ?1 = ?1", id);
        if (most > AT_MOST)
            fail_msg("case %zu: a transaction wrote %d rows", n, most);
        kit_close(&k);
    }
}

/* The SDK declares a list within an item as a number, because another member is one, and its items as strings. */
static void lists_within_items(void **state)
{
    struct kit k;
    kit_open(&k, NULL, 0);
    static const char comps[] =
        "  num: {executorLabel: e, inputDefinitions: {parameters: {x: {parameterType: NUMBER_INTEGER}}}}\n"
        "  outer: {dag: {tasks: {for-loop-2: {componentRef: {name: inner}, taskInfo: {name: for-loop-2}, inputs: {parameters: "
        "{pipelinechannel--loop-item-param-1-subvar-b: {componentInputParameter: pipelinechannel--loop-item-param-1, "
        "parameterExpressionSelector: 'parseJson(string_value)[\"b\"]'}}}, parameterIterator: {itemInput: "
        "pipelinechannel--loop-item-param-1-subvar-b-loop-item, items: {inputParameter: "
        "pipelinechannel--loop-item-param-1-subvar-b}}}}}, "
        "inputDefinitions: {parameters: {pipelinechannel--loop-item-param-1: {parameterType: STRUCT}}}}\n"
        "  inner: {dag: {tasks: {n: {componentRef: {name: num}, taskInfo: {name: n}, inputs: {parameters: {x: "
        "{componentInputParameter: "
        "pipelinechannel--loop-item-param-1-subvar-b-loop-item}}}}}}, inputDefinitions: {parameters: "
        "{pipelinechannel--loop-item-param-1-subvar-b: {parameterType: NUMBER_INTEGER}, "
        "pipelinechannel--loop-item-param-1-subvar-b-loop-item: {parameterType: STRING}}}}\n";
    static const char loop[] =
        "      l: {componentRef: {name: outer}, taskInfo: {name: l}, parameterIterator: {itemInput: "
        "pipelinechannel--loop-item-param-1, items: {raw: '[{\"a\":1,\"b\":[1,2]},{\"a\":2,\"b\":%s}]'}}}\n";
    AUTOFREE char *good = xasprintf(loop, "[3]"), *word = xasprintf(loop, "[\"three\"]"), *none = xasprintf(loop, "7");
    AUTOFREE char *y = kit_yaml("", good, comps), *w = kit_yaml("", word, comps), *z = kit_yaml("", none, comps);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 3);
    assert_int_equal(kit_task(&k, id, "root/l[1]/for-loop-2[0]/n"), TASK_SUCCEEDED);
    struct task_row row = kit_row(&k, id, "root/l[1]/for-loop-2[0]/n");
    assert_non_null(strstr(row.inputs, ":3"));
    assert_null(strstr(row.inputs, "\"3\""));
    task_row_clear(&row);
    static const char *const why[] = {"input parameter \"x\" type mismatch: expect NUMBER_INTEGER, got string",
                                      "cannot be iterated"};
    for (int n = 0; n < 2; n++) {
        AUTOFREE char *bad = kit_run(&k, n ? z : w, NULL, RUN_FAILED), *message = NULL;
        kit_state(&k, bad, &message);
        assert_non_null(strstr(message, why[n]));
    }
    kit_close(&k);
}

TEST_GROUP(loops, cmocka_unit_test(by_small_transactions), cmocka_unit_test(items_are_shared), cmocka_unit_test(raw_loop),
           cmocka_unit_test(empty_loop), cmocka_unit_test(dynamic_loop), cmocka_unit_test(parallelism),
           cmocka_unit_test(nested_loops), cmocka_unit_test(holes), cmocka_unit_test(one_iteration_fails),
           cmocka_unit_test(many_iterations_are_lazy), cmocka_unit_test(lists_within_items))
