/* Values on their way through a run: from a step's file to the next step's input and command, type by type. */
#include <stdlib.h>

#include "kit.h"

/* Steps a (gives x) and b (takes it), and how b takes it. */
static char *pair(const char *gives, const char *takes)
{
    AUTOFREE char *components =
        xasprintf("  give: {executorLabel: e, outputDefinitions: {parameters: {Output: {parameterType: %s}}}}\n"
                  "  take: {executorLabel: e, inputDefinitions: {parameters: {x: {%s}}}}\n",
                  gives, takes);
    return kit_yaml("", RUNS("a", "give") END RUNS("b", "take") FROM("a") END, components);
}

static void failed_with(struct kit *k, const char *id, const char *path, const char *part)
{
    struct task_row row = kit_row(k, id, path);
    if (row.state != TASK_FAILED || !strstr(row.error_message ? row.error_message : "", part))
        fail_msg("%s: wanted \"%s\", got: %.300s", path, part, row.error_message);
    task_row_clear(&row);
}

/* What b got: in the executor input as compact JSON, and in its command. */
static void passed_as(struct kit *k, const char *value, const char *text)
{
    JSON_REF(in) = json_parse_str(strmap_get(&k->inputs, "b"), NULL);
    AUTOFREE char *got = jv_text(jv_path(json_root(in), "inputs", "parameterValues", "x", NULL), JW_COMPACT | JW_SORTED);
    AUTOFREE char *end = xasprintf("|%s", text);
    assert_string_equal(got, value);
    if (!str_ends(k->last_argv, end))
        fail_msg("%s does not end with %s", k->last_argv, end);
}

static void files(void **state)
{
    static const struct {
        const char *type, *file, *value, *text; /* value NULL: a fails, and text says why */
    } cases[] = {
        {"STRING", " a \"b\"\n", "\" a \\\"b\\\"\\n\"", " a \"b\"\n"},
        {"STRING", "", "\"\"", ""},
        {"NUMBER_INTEGER", " 3\n", "3", "3"},
        {"NUMBER_INTEGER", "9223372036854775807", "9223372036854775807", "9223372036854775807"},
        {"NUMBER_INTEGER", "3.0", NULL, "output parameter \"Output\": expected a whole number, got \"3.0\""},
        {"NUMBER_DOUBLE", "0.10\n", "0.1", "0.1"},
        {"NUMBER_DOUBLE", "1e3", "1000", "1000"},
        {"NUMBER_DOUBLE", "nan", NULL, "output parameter \"Output\": expected a finite number, got \"nan\""},
        {"BOOLEAN", "True\n", "true", "true"},
        {"BOOLEAN", "0", "false", "false"},
        {"BOOLEAN", "yes", NULL, "output parameter \"Output\": expected true or false, got \"yes\""},
        {"LIST", "[1, \"a\", [2.0]]\n", "[1,\"a\",[2]]", "[1,\"a\",[2]]"},
        {"LIST", "{}", NULL, "output parameter \"Output\": expected a JSON list, got \"{}\""},
        {"STRUCT", "{\"b\": 1.0, \"a\": {\"d\": 1, \"c\": 2}}", "{\"a\":{\"c\":2,\"d\":1},\"b\":1}",
         "{\"a\":{\"c\":2,\"d\":1},\"b\":1}"},
        {"STRUCT", "[]", NULL, "output parameter \"Output\": expected a JSON object, got \"[]\""},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        const struct script scripts[] = {{.task = "a", .params = {{"Output", cases[n].file}}}};
        struct kit k;
        kit_open(&k, scripts, 1);
        AUTOFREE char *takes = xasprintf("parameterType: %s", cases[n].type), *y = pair(cases[n].type, takes);
        AUTOFREE char *id = kit_run(&k, y, NULL, cases[n].value ? RUN_SUCCEEDED : RUN_FAILED);
        if (cases[n].value)
            passed_as(&k, cases[n].value, cases[n].text);
        else
            failed_with(&k, id, "root/a", cases[n].text);
        kit_close(&k);
    }
}

/* Types and literals of the one who takes it. Literals are compared before a value becomes text. */
static void inputs(void **state)
{
    static const struct {
        const char *gives, *file, *takes, *value, *text; /* value NULL: b fails, and text says why */
    } cases[] = {
        {"NUMBER_INTEGER", "3", "parameterType: STRING", "\"3\"", "3"},
        {"NUMBER_DOUBLE", "0.10", "parameterType: STRING", "\"0.1\"", "0.1"},
        {"BOOLEAN", "1", "parameterType: STRING", "\"true\"", "true"},
        {"LIST", "[1, 2]", "parameterType: STRING", "\"[1,2]\"", "[1,2]"},
        {"STRUCT", "{\"b\": 1, \"a\": 2}", "parameterType: STRING", "\"{\\\"a\\\":2,\\\"b\\\":1}\"", "{\"a\":2,\"b\":1}"},
        {"NUMBER_INTEGER", "3", "parameterType: NUMBER_DOUBLE", "3", "3"},
        {"NUMBER_DOUBLE", "2.5", "parameterType: NUMBER_INTEGER", "2.5", "2.5"},
        {"NUMBER_INTEGER", "3", "type: STRING", "\"3\"", "3"},
        {"STRING", "3", "type: INT", NULL, "input parameter \"x\" type mismatch: expect NUMBER_INTEGER, got string"},
        {"STRING", "3", "type: DOUBLE", NULL, "input parameter \"x\" type mismatch: expect NUMBER_DOUBLE, got string"},
        {"STRING", "true", "parameterType: BOOLEAN", NULL, "input parameter \"x\" type mismatch: expect BOOLEAN, got string"},
        {"NUMBER_INTEGER", "1", "parameterType: BOOLEAN", NULL,
         "input parameter \"x\" type mismatch: expect BOOLEAN, got number"},
        {"STRING", "[]", "parameterType: LIST", NULL, "input parameter \"x\" type mismatch: expect LIST, got string"},
        {"LIST", "[]", "parameterType: STRUCT", NULL, "input parameter \"x\" type mismatch: expect STRUCT, got array"},
        {"STRING", "red", "parameterType: STRING, literals: [red, green]", "\"red\"", "red"},
        {"STRING", "blue", "parameterType: STRING, literals: [red, green]", NULL,
         "must be one of [\"red\",\"green\"], got \"blue\""},
        {"NUMBER_INTEGER", "3", "parameterType: STRING, literals: [3]", "\"3\"", "3"},
        {"NUMBER_INTEGER", "3", "parameterType: STRING, literals: ['3']", NULL, "must be one of [\"3\"], got 3"},
        {"STRUCT", "{\"a\": [1], \"b\": 2.0}", "parameterType: STRUCT, literals: [{b: 2, a: [1]}]", "{\"a\":[1],\"b\":2}",
         "{\"a\":[1],\"b\":2}"},
        {"STRUCT", "{\"a\": [1, 2]}", "parameterType: STRUCT, literals: [{a: [1]}]", NULL, "must be one of"},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        const struct script scripts[] = {{.task = "a", .params = {{"Output", cases[n].file}}}};
        struct kit k;
        kit_open(&k, scripts, 1);
        AUTOFREE char *y = pair(cases[n].gives, cases[n].takes);
        AUTOFREE char *id = kit_run(&k, y, NULL, cases[n].value ? RUN_SUCCEEDED : RUN_FAILED);
        if (cases[n].value)
            passed_as(&k, cases[n].value, cases[n].text);
        else
            failed_with(&k, id, "root/b", cases[n].text);
        assert_int_equal(k.starts, cases[n].value ? 2 : 1); /* refused before there is a pod */
        kit_close(&k);
    }
}

/* Constants and what comes from the surrounding pipeline are held to literals as well. */
static void literals(void **state)
{
    static const struct {
        const char *binding, *text; /* text NULL: fine */
    } cases[] = {
        {"runtimeValue: {constant: red}", NULL},
        {"runtimeValue: {constant: blue}", "must be one of [\"red\",\"green\"], got \"blue\""},
        {"runtimeValue: {constantValue: {stringValue: blue}}", "must be one of [\"red\",\"green\"], got \"blue\""},
        {"componentInputParameter: p", "must be one of [\"red\",\"green\"], got \"dflt\""},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        struct kit k;
        kit_open(&k, NULL, 0);
        AUTOFREE char *task = xasprintf(RUNS("b", "take") ", inputs: {parameters: {x: {%s}}}" END, cases[n].binding);
        AUTOFREE char *y =
            kit_yaml("p: {parameterType: STRING, defaultValue: dflt}", task,
                     "  take: {executorLabel: e, inputDefinitions: {parameters: {x: {parameterType: STRING, literals: "
                     "[red, green]}}}}\n");
        AUTOFREE char *id = kit_run(&k, y, NULL, cases[n].text ? RUN_FAILED : RUN_SUCCEEDED);
        if (cases[n].text)
            failed_with(&k, id, "root/b", cases[n].text);
        kit_close(&k);
    }
}

static char *letters(size_t n)
{
    char *s = xcalloc(1, n + 1);
    memset(s, 'a', n);
    return s;
}

/* 4 MiB for a value wherever it comes from: the run, a step's executor output, or what placeholders of a constant grow to. */
static void sizes(void **state)
{
    AUTOFREE char *more = letters(PARAM_VALUE_MAX + 1), *half = letters(PARAM_VALUE_MAX / 2 + 1);
    AUTOFREE char *given = xasprintf("{\"p\": \"%s\"}", more), *smaller = xasprintf("{\"p\": \"%s\"}", half);
    AUTOFREE char *output = xasprintf("{\"parameterValues\": {\"Output\": \"%s\"}}", more);
    const struct script scripts[] = {{.task = "a", .executor_output = output}};
    const struct {
        const char *tasks, *given, *text;
    } cases[] = {
        {RUNS("c", "take") ", inputs: {parameters: {x: {componentInputParameter: p}}}" END, given,
         "input parameter \"p\" has 4194305 bytes"},
        {RUNS("a", "take") ", inputs: {parameters: {x: {runtimeValue: {constant: y}}}}" END, NULL,
         "output parameter \"Output\" has 4194305 bytes"},
        {RUNS("c", "take") ", inputs: {parameters: {q: {componentInputParameter: p}, x: {runtimeValue: {constant: "
                           "\"{{$.inputs.parameters['q']}}{{$.inputs.parameters['q']}}\"}}}}" END,
         smaller, "input parameter \"x\" has 4194306 bytes"},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        struct kit k;
        kit_open(&k, scripts, 1);
        AUTOFREE char *y = kit_yaml("p: {parameterType: STRING, isOptional: true}", cases[n].tasks,
                                    "  take: {executorLabel: py, inputDefinitions: {parameters: {x: {parameterType: STRING}}}, "
                                    "outputDefinitions: {parameters: {Output: {parameterType: STRING}}}}\n");
        AUTOFREE char *id = kit_run(&k, y, cases[n].given, RUN_FAILED);
        AUTOFREE char *message = NULL;
        kit_state(&k, id, &message);
        if (!message || !strstr(message, cases[n].text))
            fail_msg("case %zu: wanted \"%s\", got: %.300s", n, cases[n].text, message);
        kit_close(&k);
    }
}

/* Five inputs of almost 4 MiB are too much for one step, and one of them is named. */
static void executor_input(void **state)
{
    AUTOFREE char *value = letters(PARAM_VALUE_MAX - 100);
    AUTOFREE char *given = xasprintf("{\"p\": \"%s\"}", value);
    BUF(bindings);
    BUF(params);
    for (int n = 0; n < 5; n++) {
        buf_addf(&bindings, "%sx%d: {componentInputParameter: p}", n ? ", " : "", n);
        buf_addf(&params, "%sx%d: {parameterType: STRING}", n ? ", " : "", n);
    }
    AUTOFREE char *task = xasprintf(RUNS("b", "take") ", inputs: {parameters: {%s}}" END, buf_str(&bindings));
    AUTOFREE char *take = xasprintf("  take: {executorLabel: py, inputDefinitions: {parameters: {%s}}}\n", buf_str(&params));
    AUTOFREE char *y = kit_yaml("p: {parameterType: STRING}", task, take);
    struct kit k;
    kit_open(&k, NULL, 0);
    AUTOFREE char *id = kit_run(&k, y, given, RUN_FAILED);
    failed_with(&k, id, "root/b", "input parameter \"x0\" has 4194204 bytes");
    failed_with(&k, id, "root/b", "at most 16777216 are allowed");
    assert_int_equal(k.starts, 0);
    kit_close(&k);
}

TEST_GROUP(values, cmocka_unit_test(files), cmocka_unit_test(inputs), cmocka_unit_test(literals), cmocka_unit_test(sizes),
           cmocka_unit_test(executor_input))
