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
/* Components that give and take artifacts. */
#define DATASET "artifactType: {schemaTitle: system.Dataset}"
#define ARTS                                                                                                                     \
    HEAD EXEC "components: {make: {executorLabel: e, outputDefinitions: {artifacts: {d: {" DATASET "}}}}, "                      \
              "use: {executorLabel: e, inputDefinitions: {artifacts: {d: {" DATASET "}}}}, "                                     \
              "each: {inputDefinitions: {artifacts: {i: {" DATASET "}, all: {" DATASET                                           \
              ", isArtifactList: true}}}, dag: {tasks: {u: {componentRef: {name: make}}}}}}\n"
#define A_ROOT(t)   ARTS "root: {inputDefinitions: {artifacts: {p: {" DATASET "}}}, dag: {tasks: {" t "}}}\n"
#define MAKE        "m: {componentRef: {name: make}}"
#define USE(source) "u: {componentRef: {name: use}, inputs: {artifacts: {d: {" source "}}}}"
#define OF(task, k) "taskOutputArtifact: {producerTask: " task ", outputArtifactKey: " k "}"
#define A_OUT(selectors)                                                                                                         \
    ARTS "root: {outputDefinitions: {artifacts: {r: {" DATASET "}}}, dag: {tasks: {" MAKE "}, outputs: {artifacts: {" selectors  \
         "}}}}\n"
/* A component with this executor, parameters, and platform. */
#define ONE(executor, component, more)                                                                                           \
    HEAD "deploymentSpec: {executors: {e: {" executor "}}}\ncomponents: {c: {executorLabel: e" component "}}\n"                  \
         "root: {dag: {tasks: {a: {componentRef: {name: c}}}}}\n" more
#define IMAGE       "container: {image: i}"
#define PARAM(d)    ONE(IMAGE, ", inputDefinitions: {parameters: {x: {isOptional: true, " d "}}}", "")
#define OUTPUT(d)   ONE(IMAGE, ", outputDefinitions: {parameters: {x: {" d "}}}", "")
#define PLATFORM(d) ONE(IMAGE, "", "---\nplatforms: {" d "}\n")
/* Task a has a volume of a Secret whose name comes from there. */
#define SECRET(source)                                                                                                           \
    HEAD "deploymentSpec: {executors: {e: {container: {image: i}}, f: {container: {image: i}}}}\ncomponents: {c: "               \
         "{executorLabel: e}, "                                                                                                  \
         "give: {executorLabel: f, outputDefinitions: {parameters: {o: {parameterType: STRING}}}}}\n"                            \
         "root: {inputDefinitions: {parameters: {p: {parameterType: STRING}}}, dag: {tasks: {a: {componentRef: {name: c}}, b: "  \
         "{componentRef: {name: give}}}}}\n---\nplatforms: {kubernetes: {deploymentSpec: {executors: {e: {secretAsVolume: "      \
         "[{mountPath: /s, "                                                                                                     \
         "secretNameParameter: {" source "}}]}}}}}\n"
#define NAMED(name)   "pipelineInfo: {name: " name "}\nschemaVersion: 2.1.0\n" EXEC COMP "root: {dag: {tasks: {" F("a", "") "}}}\n"
#define GIVE(binding) ROOT(T("a", ", inputs: {parameters: {x: {" binding "}}}"))

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
        /* documents */
        "{\"pipelineInfo\": {\"name\": \"p\"}, \"schemaVersion\": \"2.1.0\", \"deploymentSpec\": {\"executors\": {\"e\": "
        "{\"container\": {\"image\": \"i\"}}}}, \"components\": {\"c\": {\"executorLabel\": \"e\"}}, \"root\": {\"dag\": "
        "{\"tasks\": {\"a\": {\"componentRef\": {\"name\": \"c\"}}}}}}",
        "null\n---\n- a list\n---\ntext\n---\n" ROOT(F("a", "")),
        "platforms: {kubernetes: {}}\n---\n" ROOT(F("a", "")),
        PLATFORM("google_cloud: {config: {a: 1}}") "---\nplatforms: {google_cloud: {}}\n",
        PLATFORM("kubernetes: {}, google_cloud: {}"),
        "schemaVersion: 2.1.0\n---\n" ROOT(
            F("a", "")) "---\nroot: {dag: {}}\n---\npipelineInfo: {name: q}\n---\ncomponents: {}\n",
        "spec:\n  pipeline_spec: {pipelineInfo: {name: p}, schemaVersion: 2.1.0, deploymentSpec: {executors: {e: {container: "
        "{image: "
        "i}}}}, components: {c: {executorLabel: e}}, root: {dag: {tasks: {a: {componentRef: {name: c}}}}}}\n"
        "  platform_spec: {platforms: {kubernetes: {}}}\n",
        NAMED("'My Pipeline, v2!'"),
        NAMED("'___0'"),
        /* proto3 JSON */
        "pipeline_info: {name: p, display_name: P}\nschema_version: 2.1.0\nsdk_version: kfp-2.0.0\ndefault_pipeline_root: "
        "s3://b\n"
        "deployment_spec: {executors: {e: {container: {image: i, resources: {cpu_limit: 1, accelerator: {type: t, count: "
        "'1'}}}}}}\n"
        "components: {c: {executor_label: e, input_definitions: {parameters: {x: {parameter_type: STRING, is_optional: "
        "true}}}}}\n"
        "root: {dag: {tasks: {a: {component_ref: {name: c}, task_info: {name: a}, retry_policy: {max_retry_count: 1}}}}}\n",
        PARAM("parameterType: 3"),
        PARAM("parameterType: NUMBER_DOUBLE"),
        PARAM("type: INT"),
        PARAM("type: 2"),
        PARAM("parameterType: PARAMETER_TYPE_ENUM_UNSPECIFIED, type: STRING"),
        PARAM("parameterType: STRING, defaultValue: null, description: null"),
        ROOT(F("a", ", triggerPolicy: {strategy: TRIGGER_STRATEGY_UNSPECIFIED}")),
        ROOT(F("a", ", triggerPolicy: {strategy: 0}")),
        ROOT(F("a",
               ", retryPolicy: {maxRetryCount: 2.0, backoffDuration: '0s', backoffFactor: '2.5', backoffMaxDuration: 3600s}")),
        ONE("'@type': x, " IMAGE, "", ""),
        ONE("container: {image: i, unheardOf: {a: 1}}, dummy: 1", "", ""),
        PLATFORM("kubernetes: {pipelineConfig: {activeDeadlineSeconds: '20'}}"),
        /* the graph */
        GIVE("runtimeValue: {constantValue: {intValue: '3'}}"),
        GIVE("runtimeValue: {runtimeParameter: p}"),
        PARAM("parameterType: STRING, literals: [a, b]"),
        ONE(IMAGE, ", inputDefinitions: {parameters: {x: {parameterType: TASK_FINAL_STATUS}}}", ""),
        SECRET("componentInputParameter: p"),
        SECRET("taskOutputParameter: {producerTask: b, outputParameterKey: o}"),
        A_ROOT(MAKE ", " USE(OF("m", "d"))),
        A_ROOT(USE("componentInputArtifact: p")),
        A_ROOT("l: {componentRef: {name: each}, inputs: {artifacts: {all: {componentInputArtifact: p}}}, artifactIterator: "
               "{itemInput: "
               "i, items: {inputArtifact: all}}}"),
        A_OUT("r: {artifactSelectors: [{producerSubtask: m, outputArtifactKey: d}]}"),
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
        {"pipelineInfo: {name: p}\nschemaVersion: v2alpha1\ntasks: [{}]\n",
         {"has version v2alpha1", "compile the pipeline again"}},
        {"pipelineInfo: {name: '___'}\nschemaVersion: 2.1.0\nroot: {dag: {tasks: {}}}\n", {"name should consist of lower case"}},
        {ROOT(F("a", ", whatIsThis: 1")), {"invalid v2 pipeline spec", "root.dag.tasks.a.whatIsThis", "unknown field"}},
        {ROOT(F("a", ", dependentTasks: a")), {"root.dag.tasks.a.dependentTasks", "expected a list"}},
        /* documents */
        {ROOT(F("a", "")) "---\na: [", {"unable to decode yaml document"}},
        {"{\"pipelineInfo\": ", {"unable to decode yaml document"}},
        {"---\n---\n", {"no pipeline spec is provided"}},
        {"some: document\n", {"no pipeline spec is provided"}},
        {NAMED("''"), {"no pipeline spec is provided"}},
        {"pipelineInfo: {displayName: p}\nschemaVersion: 2.1.0\nroot: {dag: {}}\n", {"no pipeline spec is provided"}},
        {HEAD, {"no pipeline spec is provided"}},
        {HEAD "root: null\n", {"no pipeline spec is provided"}},
        {"platforms: {kubernetes: {}}\n", {"no pipeline spec is provided"}},
        {"pipelineInfo: {name: p}\nroot: {dag: {}}\n", {"KFP only supports schema version 2.1.0", "has version \"\""}},
        {"pipelineInfo: {name: p}\nschemaVersion: 2.1.0.\nroot: {dag: {}}\n", {"KFP only supports schema version 2.1.0"}},
        {NAMED("'A_B'"), {"name should consist of lower case", "\"A_B\""}},
        {PLATFORM("kubernetes: {}") "---\nplatforms: {kubernetes: {}}\n", {"multiple platform specs provided"}},
        /* proto3 JSON: the field, and where it stands */
        {HEAD "root: {dag: {}}\nsurprise: 1\n", {"invalid v2 pipeline spec", "surprise", "unknown field"}},
        {"pipelineInfo: {name: p}\nschemaVersion: 2.1\nroot: {dag: {}}\n",
         {"invalid v2 pipeline spec", "schemaVersion", "expected a string, got number"}},
        {"pipelineInfo: p\nschemaVersion: 2.1.0\nroot: {dag: {}}\n",
         {"invalid v2 pipeline spec", "pipelineInfo", "expected an object"}},
        {HEAD "root: []\n", {"invalid v2 pipeline spec", "root", "expected an object"}},
        {HEAD "root: {dag: {tasks: [a]}}\n", {"invalid v2 pipeline spec", "root.dag.tasks", "expected an object"}},
        {ROOT(F("a", ", dependentTasks: [b, 1]")), {"root.dag.tasks.a.dependentTasks[1]", "expected a string"}},
        {ROOT(F("a", ", cachingOptions: {enableCache: 'true'}")), {"cachingOptions.enableCache", "expected true or false"}},
        {ROOT(F("a", ", triggerPolicy: {strategy: SOMETIMES}")), {"triggerPolicy.strategy", "SOMETIMES"}},
        {ROOT(F("a", ", triggerPolicy: {strategy: 3}")), {"triggerPolicy.strategy", "no value 3"}},
        {ROOT(F("a", ", triggerPolicy: {strategy: -1}")), {"triggerPolicy.strategy", "no value -1"}},
        {PARAM("parameterType: TEXT"), {"components.c.inputDefinitions.parameters.x.parameterType", "TEXT"}},
        {PARAM("parameterType: STRING, default: 1"), {"components.c.inputDefinitions.parameters.x.default", "unknown field"}},
        {PARAM("description: d"), {"\"c\"", "\"x\"", "no parameterType"}},
        {ROOT(F("a", ", retryPolicy: {maxRetryCount: two}")), {"retryPolicy.maxRetryCount", "expected an integer, got \"two\""}},
        {ROOT(F("a", ", retryPolicy: {maxRetryCount: 1.5}")), {"retryPolicy.maxRetryCount", "expected an integer"}},
        {ROOT(F("a", ", retryPolicy: {maxRetryCount: 3000000000}")), {"retryPolicy.maxRetryCount", "32 bits"}},
        {ROOT(F("a", ", retryPolicy: {backoffFactor: much}")), {"retryPolicy.backoffFactor", "expected a number"}},
        {ROOT(F("a", ", retryPolicy: {backoffDuration: 30}")), {"retryPolicy.backoffDuration", "expected a duration"}},
        {ROOT(F("a", ", retryPolicy: {backoffDuration: '30'}")), {"retryPolicy.backoffDuration", "expected a duration"}},
        {ROOT(F("a", ", retryPolicy: {backoffDuration: 1m30s}")), {"retryPolicy.backoffDuration", "expected a duration"}},
        {ROOT(F("a", ", retryPolicy: {backoffDuration: s}")), {"retryPolicy.backoffDuration", "expected a duration"}},
        {ROOT(F("a", ", retryPolicy: {backoffDuration: '-1s'}")), {"\"a\"", "backoffDuration", "-1s"}},
        {HEAD "deploymentSpec: [e]\nroot: {dag: {}}\n", {"invalid v2 pipeline spec", "deploymentSpec", "expected an object"}},
        {ONE("container: {image: 3}", "", ""),
         {"invalid v2 pipeline spec: deploymentSpec", "executors.e.container.image", "expected a string"}},
        {ONE("container: {image: i, command: c}", "", ""), {"executors.e.container.command", "expected a list"}},
        {PLATFORM("kubernetes: {surprise: 1}"), {"invalid v2 platform spec", "platforms.kubernetes.surprise", "unknown field"}},
        {PLATFORM("kubernetes: {pipelineConfig: {activeDeadlineSeconds: soon}}"),
         {"invalid v2 platform spec", "activeDeadlineSeconds", "expected an integer"}},
        {PLATFORM("kubernetes: {deploymentSpec: {executors: {e: 1}}}"),
         {"invalid v2 platform spec", "executors.e", "expected an object"}},
        /* the graph */
        {GIVE("taskFinalStatus: {producerTask: z}"), {"\"a\"", "\"x\"", "\"z\""}},
        {GIVE("runtimeValue: {runtimeParameter: q}"), {"\"x\"", "\"q\"", "\"root\""}},
        {GIVE("runtimeValue: {}"), {"\"a\"", "\"x\"", "without a value"}},
        {GIVE("componentInputParameter: p, parameterExpressionSelector: 'parseJson(string_value)['"),
         {"\"a\"", "selector of input \"x\"", "parseJson(string_value)["}},
        {GIVE("taskOutputParameter: {producerTask: a, outputParameterKey: o}"), {"\"a\"", "\"x\"", "the task itself"}},
        {ROOT(T("a", ", inputs: {parameters: {x: {taskOutputParameter: {producerTask: b, outputParameterKey: o}}}}") ", " T(
             "b", ", inputs: {parameters: {x: {taskOutputParameter: {producerTask: a, outputParameterKey: o}}}}")),
         {"wait for each other", "\"a\"", "\"b\""}},
        {HEAD EXEC "components: {c: {dag: {tasks: {a: {componentRef: {name: d}}}}}, d: {dag: {tasks: {a: {componentRef: {name: "
                   "c}}}}}}\nroot: {dag: {tasks: {a: {componentRef: {name: c}}}}}\n",
         {"contains itself"}},
        {HEAD EXEC "components: {c: {dag: {tasks: {}}}}\nroot: {dag: {tasks: {a: {componentRef: {name: c}}}}}\n",
         {"\"c\" has no tasks"}},
        {HEAD EXEC
         "components: {c: {dag: {tasks: {a: {componentRef: {name: nope}}}}}}\nroot: {dag: {tasks: {a: {componentRef: {name: "
         "c}}}}}\n",
         {"\"a\"", "\"c\"", "\"nope\""}},
        {HEAD "components: {c: {}}\nroot: {dag: {tasks: {a: {componentRef: {name: c}}}}}\n", {"\"c\"", "neither a dag nor"}},
        {ROOT("a: {}"), {"\"a\"", "\"\""}},
        {ROOT("l: {componentRef: {name: inner}, parameterIterator: {itemInput: i}}"), {"\"l\"", "no items"}},
        {OUTPUT("parameterType: TASK_FINAL_STATUS"), {"\"c\"", "\"x\"", "TASK_FINAL_STATUS"}},
        {OUTPUT("parameterType: TASK_CONFIG"), {"\"c\"", "\"x\"", "TASK_CONFIG"}},
        {SECRET("componentInputParameter: q"), {"\"a\"", "kubernetes configuration", "\"q\""}},
        {SECRET("taskOutputParameter: {producerTask: z, outputParameterKey: o}"), {"\"a\"", "kubernetes configuration", "\"z\""}},
        {SECRET("taskOutputParameter: {producerTask: b, outputParameterKey: zz}"), {"\"a\"", "\"zz\"", "\"b\""}},
        {GIVE("runtimeValue: {constant: .inf}"), {"unable to decode yaml document", ".inf has no JSON form"}},
        {A_ROOT(MAKE ", u: {componentRef: {name: use}}"), {"\"u\"", "\"d\"", "does not give"}},
        {A_ROOT(MAKE ", " USE(OF("z", "d"))), {"\"u\"", "\"d\"", "\"z\""}},
        {A_ROOT(MAKE ", " USE(OF("m", "zz"))), {"\"u\"", "\"zz\"", "\"m\""}},
        {A_ROOT(USE("componentInputArtifact: q")), {"\"u\"", "\"q\"", "\"root\""}},
        {A_ROOT(USE("")), {"\"u\"", "\"d\"", "no source"}},
        {A_ROOT("m: {componentRef: {name: make}, inputs: {artifacts: {q: {componentInputArtifact: p}}}}"), {"\"q\"", "\"make\""}},
        {A_ROOT("l: {componentRef: {name: each}, artifactIterator: {itemInput: i, items: {inputArtifact: zz}}}"),
         {"\"l\"", "\"zz\""}},
        {A_ROOT("l: {componentRef: {name: each}, artifactIterator: {itemInput: zz, items: {inputArtifact: i}}}"),
         {"\"zz\"", "\"each\""}},
        {A_OUT("r: {artifactSelectors: [{producerSubtask: z, outputArtifactKey: d}]}"), {"\"r\"", "\"z\"", "\"root\""}},
        {A_OUT("r: {artifactSelectors: [{producerSubtask: m, outputArtifactKey: zz}]}"), {"\"r\"", "\"zz\"", "\"m\""}},
        {A_OUT("q: {artifactSelectors: [{producerSubtask: m, outputArtifactKey: d}]}"),
         {"\"q\"", "\"root\"", "does not declare"}},
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

/* Old and new names of types: the new one counts where both stand. */
static void parameter_types(void **state)
{
    static const struct {
        const char *s;
        enum ptype want;
    } cases[] = {
        {PARAM("type: INT"), PT_INTEGER},
        {PARAM("type: DOUBLE"), PT_DOUBLE},
        {PARAM("type: STRING"), PT_STRING},
        {PARAM("type: 2"), PT_DOUBLE},
        {PARAM("type: STRING, parameterType: LIST"), PT_LIST},
        {PARAM("type: DOUBLE, parameterType: PARAMETER_TYPE_ENUM_UNSPECIFIED"), PT_DOUBLE},
        {PARAM("type: DOUBLE, parameterType: 0"), PT_DOUBLE},
        {PARAM("parameterType: 1"), PT_DOUBLE},
        {PARAM("parameterType: 2"), PT_INTEGER},
        {PARAM("parameterType: 3"), PT_STRING},
        {PARAM("parameterType: 4"), PT_BOOLEAN},
        {PARAM("parameterType: 5"), PT_LIST},
        {PARAM("parameterType: 6"), PT_STRUCT},
        {PARAM("parameterType: 7"), PT_TASK_FINAL_STATUS},
        {PARAM("parameterType: 8"), PT_TASK_CONFIG},
        {PARAM("parameterType: NUMBER_DOUBLE"), PT_DOUBLE},
        {PARAM("parameterType: NUMBER_INTEGER"), PT_INTEGER},
        {PARAM("parameterType: STRING"), PT_STRING},
        {PARAM("parameterType: BOOLEAN"), PT_BOOLEAN},
        {PARAM("parameterType: LIST"), PT_LIST},
        {PARAM("parameterType: STRUCT"), PT_STRUCT},
        {PARAM("parameterType: TASK_FINAL_STATUS"), PT_TASK_FINAL_STATUS},
        {PARAM("parameterType: TASK_CONFIG"), PT_TASK_CONFIG},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        IR_REF(p) = parse(cases[n].s, &e);
        if (!p)
            fail_msg("case %zu: %s", n, err_text(&e));
        const struct ir_param *x = &p->components[1].in_params[0];
        if (x->type != cases[n].want)
            fail_msg("case %zu is %s", n, ptype_name(x->type));
    }
}

/* What stands beside the pipeline: numbers as strings are numbers, and what is for other platforms stays where it is. */
static void platforms(void **state)
{
    ERR(e);
    IR_REF(p) = parse(PLATFORM("google_cloud: {config: {a: 1}}, kubernetes: {pipeline_config: {active_deadline_seconds: '20'}, "
                               "deployment_spec: {executors: {e: {imagePullPolicy: Always}}}}"),
                      &e);
    if (!p)
        fail_msg("%s", err_text(&e));
    assert_int_equal(p->deadline_s, 20);
    assert_int_equal(jv_i64_or(jv_path(p->platform, "platforms", "google_cloud", "config", "a", NULL), 0), 1);
    const struct ir_container *c = p->components[1].container;
    assert_string_equal(jv_str(jv_get(c->kubernetes, "imagePullPolicy")), "Always");
    IR_REF(other) = parse(PLATFORM("google_cloud: {}"), &e);
    assert_non_null(other);
    assert_null(other->platform);
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
        {"{}", "parameter s is not optional"},
        {"{\"n\": 1}", "parameter s is not optional"},
        {"{\"s\": true}", "requires type string"},
        {"{\"s\": []}", "requires type string"},
        {"{\"s\": {}}", "requires type string"},
        {"{\"s\": \"\", \"n\": 3, \"f\": 3}", NULL},
        {"{\"s\": \"x\", \"n\": true}", "requires type double or integer"},
        {"{\"s\": \"x\", \"n\": null}", "requires type double or integer"},
        {"{\"s\": \"x\", \"f\": \"3\"}", "requires type double or integer"},
        {"{\"s\": \"x\", \"b\": \"true\"}", "requires type bool"},
        {"{\"s\": \"x\", \"b\": null}", "requires type bool"},
        {"{\"s\": \"x\", \"l\": \"[]\"}", "requires type list"},
        {"{\"s\": \"x\", \"d\": \"{}\"}", "requires type struct"},
        {"{\"s\": \"x\", \"t\": {}}", "TASK_FINAL_STATUS"},
        {"{\"s\": \"x\", \"i\": 2.0}", NULL},
        {"{\"s\": \"x\", \"i\": 3}", "must be one of [1,2]"},
        {"{\"s\": \"x\", \"k\": {\"b\": [2], \"a\": 1}}", NULL},
        {"{\"s\": \"x\", \"k\": {\"a\": 1}}", "must be one of"},
    };
    ERR(pe);
    IR_REF(p) =
        parse(HEAD EXEC "components: {c: {executorLabel: e}}\nroot: {inputDefinitions: {parameters: {s: {parameterType: STRING}, "
                        "n: {parameterType: NUMBER_INTEGER, isOptional: true}, b: {parameterType: BOOLEAN, defaultValue: false}, "
                        "l: {parameterType: LIST, isOptional: true}, "
                        "d: {parameterType: STRUCT, isOptional: true}, c: {parameterType: STRING, isOptional: true, literals: "
                        "[red, green]}, f: {parameterType: NUMBER_DOUBLE, isOptional: true}, "
                        "t: {parameterType: TASK_FINAL_STATUS, isOptional: true}, i: {parameterType: NUMBER_INTEGER, isOptional: "
                        "true, literals: [1, 2]}, k: {parameterType: STRUCT, isOptional: true, literals: [{a: 1, b: [2]}]}}}, "
                        "dag: {tasks: {a: {componentRef: {name: c}}}}}\n",
              &pe);
    if (!p)
        fail_msg("%s", err_text(&pe));
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        JSON_REF(v) = cases[n].given ? json_parse_str(cases[n].given, NULL) : NULL;
        int rc = ir_check_parameters(p, json_root(v), &e);
        if (rc != (cases[n].text ? -1 : 0))
            fail_msg("case %zu: %d %s", n, rc, err_text(&e));
        assert_int_equal(e.code, cases[n].text ? ERR_BAD_REQUEST : ERR_OK);
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
    AUTOFREE char *pattern = xasprintf("%s/pipelines/valid/*.yaml", dir);
    AUTOFREE char *nested = xasprintf("%s/pipelines/valid/*/*.yaml", dir);
    AUTOFREE char *invalid = xasprintf("%s/pipelines/invalid/*.yaml", dir);
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

TEST_GROUP(ir, cmocka_unit_test(accepted), cmocka_unit_test(refused), cmocka_unit_test(graph), cmocka_unit_test(parameter_types),
           cmocka_unit_test(platforms), cmocka_unit_test(deep_nesting), cmocka_unit_test(explosion), cmocka_unit_test(parameters),
           cmocka_unit_test(corpus))
