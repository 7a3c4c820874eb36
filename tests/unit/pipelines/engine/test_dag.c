/* The rules of DAGs: who runs, who does not, how a run ends. */
#include "kit.h"

#include "pipelines/engine/live.h"

#define TASK(id, path, want) assert_int_equal(kit_task(&k, id, path), TASK_##want)
#define OPEN(...)                                                                                                                \
    struct kit k;                                                                                                                \
    static const struct script scripts[] = {__VA_ARGS__};                                                                        \
    kit_open(&k, scripts, ARRAY_LEN(scripts))

static void chain(void **state)
{
    OPEN({.task = "a", .params = {{"Output", "hello \"you\"\n"}}});
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END RUNS("b", "step") FROM("a") END RUNS("c", "step") AFTER("b") END, STEP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 3);
    assert_string_equal(k.order.v[1], "b");
    TASK(id, "root/c", SUCCEEDED);
    JSON_REF(in) = json_parse_str(strmap_get(&k.inputs, "b"), NULL);
    assert_string_equal(jv_str(jv_path(json_root(in), "inputs", "parameterValues", "x", NULL)), "hello \"you\"\n");
    assert_string_equal(jv_str(jv_path(json_root(in), "outputs", "parameters", "Output", "outputFile", NULL)),
                        "/tmp/kfp/outputs/Output");
    struct task_row row = kit_row(&k, id, "root/b");
    assert_non_null(strstr(row.inputs, "hello"));
    assert_non_null(row.pod_name);
    assert_true(strlen(row.pod_name) <= 63);
    task_row_clear(&row);
    kit_close(&k);
}

static void no_fail_fast(void **state)
{
    OPEN({.task = "a", .fail_attempts = 1, .exit_code = 3});
    AUTOFREE char *y = kit_yaml(
        "", RUNS("a", "step") END RUNS("b", "step") FROM("a") END RUNS("c", "step") END RUNS("d", "step") AFTER("c") END, STEP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    TASK(id, "root/a", FAILED);
    TASK(id, "root/b", NEVER);
    TASK(id, "root/d", SUCCEEDED);
    AUTOFREE char *message = NULL;
    kit_state(&k, id, &message);
    assert_non_null(strstr(message, "exit status 3"));
    assert_non_null(strstr(message, "the last line"));
    assert_non_null(strstr(message, "root/a"));
    kit_close(&k);
}

#define COND(e) ", triggerPolicy: {condition: \"" e "\"}"
#define GROUP                                                                                                                    \
    "  group: {inputDefinitions: {parameters: {v: {parameterType: STRING}}}, dag: {tasks: {in: {componentRef: {name: "           \
    "step}}}}}\n"
#define GIVES ", inputs: {parameters: {v: {taskOutputParameter: {producerTask: a, outputParameterKey: Output}}}}"

static void conditions(void **state)
{
    OPEN({.task = "a", .params = {{"Output", "heads"}}});
    AUTOFREE char *y =
        kit_yaml("",
                 RUNS("a", "step") END RUNS("win", "group") GIVES COND("inputs.parameter_values['v'] == 'heads'")
                     END RUNS("lose", "group") GIVES COND("inputs.parameter_values['v'] == 'tails'") END RUNS("then", "step")
                         AFTER("lose") END RUNS("cleanup", "step") AFTER("lose") ALWAYS END,
                 STEP GROUP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    TASK(id, "root/win/in", SUCCEEDED);
    TASK(id, "root/lose", SKIPPED);
    TASK(id, "root/then", NEVER);
    TASK(id, "root/cleanup", SUCCEEDED);
    kit_close(&k);
}

static void condition_error_fails(void **state)
{
    OPEN({.task = "a", .params = {{"Output", "x"}}});
    AUTOFREE char *y = kit_yaml(
        "", RUNS("a", "step") END RUNS("win", "group") GIVES COND("inputs.parameter_values['w'] == 'heads'") END, STEP GROUP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    TASK(id, "root/win", FAILED);
    struct task_row row = kit_row(&k, id, "root/win");
    assert_non_null(strstr(row.error_message, "condition"));
    task_row_clear(&row);
    kit_close(&k);
}

#define ONEOF                                                                                                                    \
    "  branches: {inputDefinitions: {parameters: {v: {parameterType: STRING}}}, outputDefinitions: {parameters: {out: "          \
    "{parameterType: STRING}}}, dag: {"                                                                                          \
    "outputs: {parameters: {out: {valueFromOneof: {parameterSelectors: [{producerSubtask: c1, outputParameterKey: o}, "          \
    "{producerSubtask: c2, outputParameterKey: o}]}}}}, "                                                                        \
    "tasks: {c1: {componentRef: {name: br1}, inputs: {parameters: {v: {componentInputParameter: v}}}, triggerPolicy: "           \
    "{condition: \"inputs.parameter_values['v'] == 'one'\"}}, "                                                                  \
    "c2: {componentRef: {name: br2}, inputs: {parameters: {v: {componentInputParameter: v}}}, triggerPolicy: {condition: "       \
    "\"!(inputs.parameter_values['v'] == 'one')\"}}}}}\n"                                                                        \
    "  br1: {inputDefinitions: {parameters: {v: {parameterType: STRING}}}, outputDefinitions: {parameters: {o: {parameterType: " \
    "STRING}}}, dag: {outputs: {parameters: {o: {valueFromParameter: {producerSubtask: first, outputParameterKey: Output}}}}, "  \
    "tasks: {first: {componentRef: {name: step}}}}}\n"                                                                           \
    "  br2: {inputDefinitions: {parameters: {v: {parameterType: STRING}}}, outputDefinitions: {parameters: {o: {parameterType: " \
    "STRING}}}, dag: {outputs: {parameters: {o: {valueFromParameter: {producerSubtask: second, outputParameterKey: Output}}}}, " \
    "tasks: {second: {componentRef: {name: step}}}}}\n"

static void one_of(void **state)
{
    static const char *const cases[][2] = {{"one", "first"}, {"other", "second"}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        const struct script scripts[] = {{.task = "a", .params = {{"Output", cases[n][0]}}}};
        struct kit k;
        kit_open(&k, scripts, 1);
        AUTOFREE char *y = kit_yaml(
            "",
            RUNS("a", "step") END RUNS("b", "branches") GIVES END RUNS(
                "use",
                "step") ", inputs: {parameters: {x: {taskOutputParameter: {producerTask: b, outputParameterKey: out}}}}" END,
            STEP ONEOF);
        AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
        struct task_row row = kit_row(&k, id, "root/use");
        assert_non_null(strstr(row.inputs, cases[n][1]));
        task_row_clear(&row);
        kit_close(&k);
    }
}

#define HANDLER                                                                                                                  \
    "  body: {dag: {tasks: {work: {componentRef: {name: step}}, more: {componentRef: {name: step}, dependentTasks: [work]}}}}\n" \
    "  tell: {executorLabel: e, inputDefinitions: {parameters: {status: {parameterType: TASK_FINAL_STATUS}}}}\n"
#define EXIT_HANDLER                                                                                                             \
    RUNS("exit-handler-1", "body")                                                                                               \
    END RUNS("tell", "tell") AFTER("exit-handler-1") ALWAYS                                                                      \
        ", inputs: {parameters: {status: {taskFinalStatus: {producerTask: exit-handler-1}}}}" END

static void check_status(struct kit *k, const char *want)
{
    JSON_REF(in) = json_parse_str(strmap_get(&k->inputs, "tell"), NULL);
    jval *status = jv_path(json_root(in), "inputs", "parameterValues", "status", NULL);
    assert_string_equal(jv_str(jv_get(status, "state")), want);
    assert_string_equal(jv_str(jv_get(status, "pipelineTaskName")), "exit-handler-1");
}

static void exit_handler_after_failure(void **state)
{
    OPEN({.task = "work", .fail_attempts = 1});
    AUTOFREE char *y = kit_yaml("", EXIT_HANDLER, STEP HANDLER);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    TASK(id, "root/tell", SUCCEEDED);
    TASK(id, "root/exit-handler-1/more", NEVER);
    check_status(&k, "FAILED");
    assert_non_null(strstr((char *)strmap_get(&k.inputs, "tell"), "exit status 1"));
    kit_close(&k);
}

static void exit_handler_after_success(void **state)
{
    OPEN({.task = "nobody"});
    AUTOFREE char *y = kit_yaml("", EXIT_HANDLER, STEP HANDLER);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    check_status(&k, "COMPLETE");
    kit_close(&k);
}

static void exit_task_that_fails(void **state)
{
    OPEN({.task = "tell", .fail_attempts = 1});
    AUTOFREE char *y = kit_yaml("", EXIT_HANDLER, STEP HANDLER);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    TASK(id, "root/exit-handler-1", SUCCEEDED);
    kit_close(&k);
}

static void ignore_upstream_failure(void **state)
{
    OPEN({.task = "a", .fail_attempts = 1});
    AUTOFREE char *y =
        kit_yaml("", RUNS("a", "step") END RUNS("b", "step") FROM("a") ALWAYS END RUNS("c", "strict") FROM("a") ALWAYS END,
                 STEP "  strict: {executorLabel: e, inputDefinitions: {parameters: {x: {parameterType: STRING}}}}\n");
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    TASK(id, "root/b", SUCCEEDED);
    TASK(id, "root/c", FAILED);
    struct task_row row = kit_row(&k, id, "root/c");
    assert_non_null(strstr(row.error_message, "task \"a\" did not succeed"));
    task_row_clear(&row);
    kit_close(&k);
}

static void root_parameters(void **state)
{
    static const struct {
        const char *given, *want; /* want NULL: the run fails with text */
        const char *text;
    } cases[] = {
        {NULL, "dflt", NULL},
        {"{\"p\": \"given\"}", "given", NULL},
        {"{\"p\": 3}", NULL, "requires type string"},
        {"{\"q\": \"x\"}", NULL, "not required by pipeline: q"},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        struct kit k;
        kit_open(&k, NULL, 0);
        AUTOFREE char *y = kit_yaml("p: {parameterType: STRING, defaultValue: dflt}",
                                    RUNS("a", "step") ", inputs: {parameters: {x: {componentInputParameter: p}}}" END, STEP);
        AUTOFREE char *id = kit_run(&k, y, cases[n].given, cases[n].want ? RUN_SUCCEEDED : RUN_FAILED);
        AUTOFREE char *message = NULL;
        kit_state(&k, id, &message);
        if (cases[n].want)
            assert_non_null(strstr(k.last_argv, cases[n].want));
        else
            assert_non_null(strstr(message, cases[n].text));
        kit_close(&k);
    }
}

static void self_references(void **state)
{
    OPEN({.task = "a", .params = {{"Output", "say \"{{$.inputs.parameters['x']}}\""}}});
    AUTOFREE char *y = kit_yaml(
        "",
        RUNS("a", "step") END RUNS(
            "b", "step") ", inputs: {parameters: {x: {runtimeValue: {constant: \"Hello "
                         "{{$.inputs.parameters['pipelinechannel--a-Output']}}!\"}}, "
                         "pipelinechannel--a-Output: {taskOutputParameter: {producerTask: a, outputParameterKey: Output}}}}" END,
        STEP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    JSON_REF(in) = json_parse_str(strmap_get(&k.inputs, "b"), NULL);
    /* One pass: what the other task wrote is data. */
    assert_string_equal(jv_str(jv_path(json_root(in), "inputs", "parameterValues", "x", NULL)),
                        "Hello say \"{{$.inputs.parameters['x']}}\"!");
    kit_close(&k);
}

static void type_mismatch(void **state)
{
    OPEN({.task = "a", .params = {{"Output", "text"}}});
    AUTOFREE char *y =
        kit_yaml("", RUNS("a", "step") END RUNS("b", "flag") FROM("a") END,
                 STEP "  flag: {executorLabel: e, inputDefinitions: {parameters: {x: {parameterType: BOOLEAN}}}}\n");
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    struct task_row row = kit_row(&k, id, "root/b");
    assert_string_equal(row.error_message, "input parameter \"x\" type mismatch: expect BOOLEAN, got string");
    assert_null(row.pod_name);
    task_row_clear(&row);
    kit_close(&k);
}

/* A DAG of many tasks is written in rounds, between which others write; killed after any of them it goes on, and each task is
 * there once. So is a group of many that is skipped. */
static void many_tasks_are_written_in_rounds(void **state)
{
    enum { N = 700, ROUND = 260 };
    for (int skipped = 0; skipped < 2; skipped++) {
        struct kit k;
        struct ctx ctx = ctx_background();
        kit_open(&k, NULL, 0);
        BUF(plain);
        BUF(group);
        buf_adds(&group, STEP "  many:\n    dag:\n      tasks:\n");
        for (int n = 0; n < N; n++) { /* each third one waits for one that comes later by its name */
            AUTOFREE char *after = n % 3 == 0 && n > 0 ? xasprintf(", dependentTasks: [t%d]", N - n) : xstrdup("");
            AUTOFREE char *line =
                xasprintf("      t%d: {componentRef: {name: step}, taskInfo: {name: t%d}%s}\n", n, n, n % 2 ? after : "");
            buf_adds(&plain, line);
            buf_addf(&group, "  %s", line);
        }
        AUTOFREE char *y =
            skipped
                ? kit_yaml("",
                           "      g: {componentRef: {name: many}, taskInfo: {name: g}, triggerPolicy: {condition: 'false'}}\n",
                           buf_str(&group))
                : kit_yaml("", buf_str(&plain), STEP);
        AUTOFREE char *id = kit_submit(&k, y, NULL);
        struct db *db = db_reader_get(k.store.readers, NULL);
        int before = 0;
        for (int round = 0; round < 2; round++) { /* each by a process of its own */
            struct run run = {0};
            ERR(e);
            assert_int_equal(run_get(db, id, &run, &e), 0);
            struct live *l = live_load(k.engine, &ctx, db, &run, &e);
            assert_non_null(l);
            live_open_round(l);
            if (!l->root) {
                l->run.started_ns = 1;
                l->run.pipeline_root = xstrdup("minio://mlpipeline/v2/artifacts");
                assert_int_equal(live_begin(l, &ctx, db, &e), 0);
                live_want(l, RUN_RUNNING, 0, NULL);
            }
            assert_int_equal(live_advance(l, &ctx, db, &e), 0);
            assert_true(l->n_changed > 100 && l->n_changed <= ROUND);
            assert_int_equal(live_commit(l, &ctx, &e), 0);
            live_free(l);
            int now = kit_count(&k, "SELECT count(*) FROM tasks WHERE run_id = ?1", id);
            assert_true(now >= before + 100 && now <= before + ROUND);
            before = now;
        }
        db_reader_put(k.store.readers, db);
        kit_restart(&k);
        kit_drive(&k, id);
        assert_int_equal(kit_state(&k, id, NULL), RUN_SUCCEEDED);
        assert_int_equal(k.starts, skipped ? 0 : N);
        assert_int_equal(k.twice, 0);
        assert_int_equal(kit_count(&k, "SELECT count(DISTINCT path) FROM tasks WHERE run_id = ?1", id), N + 1 + skipped);
        assert_int_equal(kit_count(&k, "SELECT count(*) FROM tasks WHERE run_id = ?1", id), N + 1 + skipped);
        assert_int_equal(kit_task(&k, id, skipped ? "root/g/t3" : "root/t3"), skipped ? TASK_SKIPPED : TASK_SUCCEEDED);
        kit_close(&k);
    }
}

TEST_GROUP(dag, cmocka_unit_test(chain), cmocka_unit_test(no_fail_fast), cmocka_unit_test(conditions),
           cmocka_unit_test(condition_error_fails), cmocka_unit_test(one_of), cmocka_unit_test(exit_handler_after_failure),
           cmocka_unit_test(exit_handler_after_success), cmocka_unit_test(exit_task_that_fails),
           cmocka_unit_test(ignore_upstream_failure), cmocka_unit_test(root_parameters), cmocka_unit_test(self_references),
           cmocka_unit_test(type_mismatch), cmocka_unit_test(many_tasks_are_written_in_rounds))
