#include "unit.h"

#include <glob.h>

#include "base/fs.h"
#include "pipelines/ir/ir.h"

#define HEAD "pipelineInfo: {name: p}\nschemaVersion: 2.1.0\n"
#define EXEC "deploymentSpec: {executors: {e: {container: {image: i, command: [c]}}}}\n"
#define COMP                                                                                                                     \
    "components: {c: {executorLabel: e, inputDefinitions: {parameters: {x: {parameterType: STRING}}}, "                          \
    "outputDefinitions: {parameters: {o: {parameterType: STRING}}}}, free: {executorLabel: e, outputDefinitions: {parameters: "  \
    "{o: {parameterType: STRING}}}}, "                                                                                           \
    "inner: {inputDefinitions: {parameters: {i: {parameterType: LIST}}}, dag: {tasks: {t: {componentRef: {name: free}}}}}}\n"
#define ROOT(t)       HEAD EXEC COMP "root: {inputDefinitions: {parameters: {p: {parameterType: STRING}}}, dag: {tasks: {" t "}}}\n"
#define T(name, more) name ": {componentRef: {name: c}" more "}"
#define F(name, more) name ": {componentRef: {name: free}" more "}"

static struct ir_pipeline *parse(const char *s, struct err *e) { return ir_parse(s, strlen(s), e); }

static void accepted(void **state)
{
    static const char *const cases[] = {
        ROOT(F("a", "")),
        ROOT(T("a", ", inputs: {parameters: {x: {componentInputParameter: p}}}")),
        ROOT(T("a", ", inputs: {parameters: {x: {runtimeValue: {constantValue: {stringValue: s}}}}}")),
        ROOT(F("a", "") ", " T("b",
                               ", inputs: {parameters: {x: {taskOutputParameter: {producerTask: a, outputParameterKey: o}}}}")),
        ROOT(F("a", ", caching_options: {enable_cache: true}, trigger_policy: {strategy: 1}")),
        ROOT(F("a", ", retryPolicy: {maxRetryCount: '2', backoffDuration: 1.5s}")),
        "# PIPELINE DEFINITION\n---\n---\n" ROOT(
            F("a", "")) "---\nplatforms: {kubernetes: {deploymentSpec: {executors: {e: {imagePullPolicy: Always}}}}}\n",
        ROOT(F("a", "")) "---\nother: document\n",
        "spec: {pipelineSpec: {pipelineInfo: {name: p}, schemaVersion: 2.1.0, deploymentSpec: {executors: {e: {container: "
        "{image: i}}}}, "
        "components: {c: {executorLabel: e}}, root: {dag: {tasks: {a: {componentRef: {name: c}}}}}}}\n",
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        IR_REF(p) = parse(cases[n], &e);
        if (!p)
            fail_msg("case %zu: %s", n, err_text(&e));
    }
}

static void refused(void **state)
{
    static const struct {
        const char *s;
        const char *text[3]; /* all of them must be in the message */
    } cases[] = {
        {"a: [", {"unable to decode yaml document"}},
        {"", {"no pipeline spec is provided"}},
        {"- 1\n", {"no pipeline spec is provided"}},
        {"root: {dag: {}}\n", {"no pipeline spec is provided"}},
        {ROOT(F("a", "")) "---\n" ROOT(F("a", "")), {"multiple pipeline specs provided"}},
        {"platforms: {kubernetes: {}}\n---\nplatforms: {kubernetes: {}}\n", {"multiple platform specs provided"}},
        {"pipelineInfo: {name: p}\nschemaVersion: 2.0.0\nroot: {dag: {tasks: {}}}\n",
         {"KFP only supports schema version 2.1.0", "has version 2.0.0"}},
        {"pipelineInfo: {name: '___'}\nschemaVersion: 2.1.0\nroot: {dag: {tasks: {}}}\n", {"name should consist of lower case"}},
        {ROOT(F("a", ", whatIsThis: 1")), {"invalid v2 pipeline spec", "root.dag.tasks.a.whatIsThis", "unknown field"}},
        {ROOT(F("a", ", dependentTasks: a")), {"root.dag.tasks.a.dependentTasks", "expected a list"}},
        {HEAD "root: {executorLabel: e}\n", {"root must be a dag"}},
        {ROOT(""), {"\"root\" has no tasks"}},
        {ROOT(F("a", ", triggerPolicy: {strategy: ALL_UPSTREAM_TASKS_COMPLETED}")), {"exit tasks only"}},
        {ROOT("a: {componentRef: {name: nope}}"), {"\"a\"", "\"nope\""}},
        {HEAD "components: {c: {executorLabel: gone}}\nroot: {dag: {tasks: {a: {componentRef: {name: c}}}}}\n",
         {"\"c\"", "\"gone\""}},
        {ROOT(T("a", "")), {"\"a\"", "\"x\"", "does not give"}},
        {ROOT(T("a", ", inputs: {parameters: {x: {componentInputParameter: q}}}")), {"\"x\"", "\"q\"", "\"root\""}},
        {ROOT(T("a", ", inputs: {parameters: {x: {taskOutputParameter: {producerTask: z, outputParameterKey: o}}}}")),
         {"\"a\"", "\"z\""}},
        {ROOT(F("a", "") ", " T("b",
                                ", inputs: {parameters: {x: {taskOutputParameter: {producerTask: a, outputParameterKey: zz}}}}")),
         {"\"b\"", "\"zz\"", "\"a\""}},
        {ROOT(T("a", ", inputs: {parameters: {x: {}}}")), {"no source"}},
        {ROOT(F("a", ", dependentTasks: [q]")), {"\"a\"", "\"q\""}},
        {ROOT(F("a", ", dependentTasks: [a]")), {"depends on itself"}},
        {ROOT(F("a", ", dependentTasks: [b]") ", " F("b", ", dependentTasks: [c]") ", " F("c", ", dependentTasks: [a]")),
         {"wait for each other", "\"a\"", "\"b\""}},
        {ROOT(F("a", ", triggerPolicy: {condition: 'inputs.x =='}")), {"condition of task \"a\"", "inputs.x =="}},
        {ROOT(F("a", ", retryPolicy: {maxRetryCount: -1}")), {"maxRetryCount"}},
        {ROOT(F("a", ", retryPolicy: {backoffDuration: soon}")), {"backoffDuration"}},
        {ROOT("l: {componentRef: {name: inner}, parameterIterator: {itemInput: i, items: {raw: '{}'}}}"), {"no JSON list"}},
        {ROOT("l: {componentRef: {name: inner}, parameterIterator: {itemInput: zz, items: {raw: '[]'}}}"),
         {"\"zz\"", "\"inner\""}},
        {ROOT("l: {componentRef: {name: inner}, parameterIterator: {itemInput: i, items: {inputParameter: zz}}}"), {"\"zz\""}},
        {ROOT("l: {componentRef: {name: inner}, parameterIterator: {}, artifactIterator: {}}"), {"exclude each other"}},
        {HEAD EXEC "components: {c: {dag: {tasks: {a: {componentRef: {name: c}}}}}}\nroot: {dag: {tasks: {a: {componentRef: "
                   "{name: c}}}}}\n",
         {"contains itself"}},
        {HEAD "deploymentSpec: {executors: {e: {resolver: {}}}}\ncomponents: {c: {executorLabel: e}}\nroot: {dag: {tasks: {a: "
              "{componentRef: {name: c}}}}}\n",
         {"resolver executors are not supported"}},
        {HEAD "deploymentSpec: {executors: {e: {customJob: {}}}}\ncomponents: {c: {executorLabel: e}}\nroot: {dag: {tasks: {a: "
              "{componentRef: {name: c}}}}}\n",
         {"Google Cloud only"}},
        {HEAD "deploymentSpec: {executors: {e: {container: {image: i, args: ['{\"Concat\": [[]]}']}}}}\ncomponents: {c: "
              "{executorLabel: e}}\n"
              "root: {dag: {tasks: {a: {componentRef: {name: c}}}}}\n",
         {"args[0]", "Concat"}},
        {HEAD EXEC COMP "root: {outputDefinitions: {parameters: {r: {parameterType: STRING}}}, dag: {tasks: {" F(
             "a", "") "}, outputs: {parameters: {r: "
                      "{valueFromParameter: {producerSubtask: a, outputParameterKey: zz}}}}}}\n",
         {"\"r\"", "\"zz\"", "\"a\""}},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        IR_REF(p) = parse(cases[n].s, &e);
        if (p)
            fail_msg("case %zu was accepted: %s", n, cases[n].s);
        assert_int_equal(e.code, ERR_BAD_REQUEST);
        for (size_t k = 0; k < 3 && cases[n].text[k]; k++)
            if (!strstr(err_text(&e), cases[n].text[k]))
                fail_msg("case %zu: \"%s\" is not in: %s", n, cases[n].text[k], err_text(&e));
    }
}

static void graph(void **state)
{
    ERR(e);
    IR_REF(p) = parse(
        ROOT(F("z", "") ", " T(
            "a",
            ", dependentTasks: [m], inputs: {parameters: {x: {taskOutputParameter: "
            "{producerTask: z, outputParameterKey: o}}}}") ", " F("m", ", retryPolicy: {maxRetryCount: 3, backoffDuration: 2s}")),
        &e);
    assert_non_null(p);
    const struct ir_component *root = &p->components[p->root];
    assert_int_equal(root->n_tasks, 3);
    assert_string_equal(root->tasks[0].name, "a"); /* sorted by name */
    assert_int_equal(root->tasks[0].n_deps, 2);
    assert_int_equal(root->tasks[0].deps[0], 1);
    assert_int_equal(root->tasks[0].deps[1], 2);
    assert_true(root->tasks[1].retry.set);
    assert_true(root->tasks[1].retry.factor == 2.0);
    assert_int_equal(root->tasks[1].retry.backoff_ns, 2000000000);
    assert_int_equal(root->tasks[1].retry.backoff_max_ns, 3600 * 1000000000LL);
}

static void deep_nesting(void **state)
{
    BUF(b);
    buf_adds(&b, HEAD EXEC "components:\n  c100: {executorLabel: e}\n");
    for (int n = 0; n < 100; n++)
        buf_addf(&b, "  c%d: {dag: {tasks: {t: {componentRef: {name: c%d}}}}}\n", n, n + 1);
    buf_adds(&b, "root: {dag: {tasks: {t: {componentRef: {name: c0}}}}}\n");
    ERR(e);
    IR_REF(p) = ir_parse(b.data, b.len, &e);
    assert_null(p);
    assert_non_null(strstr(err_text(&e), "nested more than"));
}

static void explosion(void **state)
{
    BUF(b);
    buf_adds(&b, HEAD EXEC "components:\n  c40: {executorLabel: e}\n");
    for (int n = 0; n < 40; n++)
        buf_addf(&b, "  c%d: {dag: {tasks: {s: {componentRef: {name: c%d}}, t: {componentRef: {name: c%d}}}}}\n", n, n + 1,
                 n + 1);
    buf_adds(&b, "root: {dag: {tasks: {t: {componentRef: {name: c0}}}}}\n");
    ERR(e);
    IR_REF(p) = ir_parse(b.data, b.len, &e);
    assert_null(p);
    assert_non_null(strstr(err_text(&e), "expands to more than"));
}

static void parameters(void **state)
{
    static const struct {
        const char *given, *text; /* text NULL: fine */
    } cases[] = {
        {NULL, "parameter s is not optional, yet has neither default value nor user provided value"},
        {"{\"s\": \"x\"}", NULL},
        {"{\"s\": \"x\", \"n\": 2.5, \"b\": true, \"l\": [], \"d\": {}}", NULL},
        {"{\"s\": 1}", "requires type string"},
        {"{\"s\": null}", "requires type string"},
        {"{\"s\": \"x\", \"b\": 1}", "requires type bool"},
        {"{\"s\": \"x\", \"l\": {}}", "requires type list"},
        {"{\"s\": \"x\", \"d\": []}", "requires type struct"},
        {"{\"s\": \"x\", \"n\": \"3\"}", "requires type double or integer"},
        {"{\"s\": \"x\", \"z\": 1, \"y\": 2}", "parameter(s) provided are not required by pipeline: y, z"},
        {"{\"s\": \"x\", \"c\": \"blue\"}", "must be one of [\"red\",\"green\"]"},
        {"{\"s\": \"x\", \"c\": \"red\"}", NULL},
    };
    ERR(pe);
    IR_REF(p) =
        parse(HEAD EXEC "components: {c: {executorLabel: e}}\nroot: {inputDefinitions: {parameters: {s: {parameterType: STRING}, "
                        "n: {parameterType: NUMBER_INTEGER, isOptional: true}, b: {parameterType: BOOLEAN, defaultValue: false}, "
                        "l: {parameterType: LIST, isOptional: true}, "
                        "d: {parameterType: STRUCT, isOptional: true}, c: {parameterType: STRING, isOptional: true, literals: "
                        "[red, green]}}}, dag: {tasks: {a: {componentRef: {name: c}}}}}\n",
              &pe);
    if (!p)
        fail_msg("%s", err_text(&pe));
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        JSON_REF(v) = cases[n].given ? json_parse_str(cases[n].given, NULL) : NULL;
        int rc = ir_check_parameters(p, json_root(v), &e);
        assert_int_equal(rc, cases[n].text ? -1 : 0);
        if (cases[n].text && !strstr(err_text(&e), cases[n].text))
            fail_msg("case %zu: %s", n, err_text(&e));
    }
}

/* Every compiled file that the SDK's authors test with is accepted; those they refuse are refused. Skipped where they are not at
 * hand. */
static void corpus(void **state)
{
    const char *dir = getenv("TIDEMILL_CORPUS");
    if (!dir)
        skip();
    AUTOFREE char *pattern = xasprintf("%s/valid/*.yaml", dir);
    AUTOFREE char *nested = xasprintf("%s/valid/*/*.yaml", dir);
    AUTOFREE char *invalid = xasprintf("%s/invalid/*.yaml", dir);
    glob_t g = {0};
    glob(pattern, 0, NULL, &g);
    glob(nested, GLOB_APPEND, NULL, &g);
    size_t valid = g.gl_pathc;
    glob(invalid, GLOB_APPEND, NULL, &g);
    assert_true(valid > 50 && g.gl_pathc > valid);
    for (size_t n = 0; n < g.gl_pathc; n++) {
        BUF(b);
        ERR(e);
        assert_int_equal(fs_read(g.gl_pathv[n], IR_TEXT_MAX, &b, &e), 0);
        IR_REF(p) = ir_parse(buf_str(&b), b.len, &e);
        if (!p != (n >= valid))
            fail_msg("%s: %s", g.gl_pathv[n], p ? "was accepted" : err_text(&e));
    }
    globfree(&g);
}

TEST_GROUP(ir, cmocka_unit_test(accepted), cmocka_unit_test(refused), cmocka_unit_test(graph), cmocka_unit_test(deep_nesting),
           cmocka_unit_test(explosion), cmocka_unit_test(parameters), cmocka_unit_test(corpus))
