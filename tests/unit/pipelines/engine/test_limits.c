/* What small pipelines grow to is bounded: the run that asks for it fails, and says why. */
#include <stdlib.h>

#include "kit.h"

/* A value of one MiB in the run's parameter p. */
static char *big_parameters(void)
{
    AUTOFREE char *a = xcalloc(1, (1 << 20) + 1);
    memset(a, 'a', 1 << 20);
    return xasprintf("{\"p\": \"%s\"}", a);
}

static char *repeated(const char *s, int n)
{
    BUF(b);
    while (n--)
        buf_adds(&b, s);
    return buf_steal(&b, NULL);
}

static void fails_with(struct kit *k, const char *yaml, const char *parameters, const char *part)
{
    AUTOFREE char *id = kit_run(k, yaml, parameters, RUN_FAILED);
    AUTOFREE char *message = NULL;
    kit_state(k, id, &message);
    if (!message || !strstr(message, part))
        fail_msg("wanted \"%s\", got: %.300s", part, message);
}

#define VALUE "{{$.inputs.parameters[''v'']}}"

/* One task whose input v is the run's parameter p, with this constant beside it and this executor. */
static char *one_task(const char *constant, const char *executor)
{
    AUTOFREE char *task = xasprintf("      t: {componentRef: {name: c}, taskInfo: {name: t}, inputs: {parameters: {v: "
                                    "{componentInputParameter: p}, c: {runtimeValue: {constant: '%s'}}}}}\n",
                                    constant);
    AUTOFREE char *component = xasprintf(
        "  c: {executorLabel: z, inputDefinitions: {parameters: {v: {parameterType: STRING}, c: {parameterType: STRING}}}%s}\n",
        str_starts(executor, "importer")
            ? ", outputDefinitions: {artifacts: {artifact: {artifactType: {schemaTitle: system.Dataset}}}}"
            : "");
    AUTOFREE char *yaml = kit_yaml("p: {parameterType: STRING}", task, component);
    const char *place = strstr(yaml, "components:\n");
    return xasprintf("%.*s    z: {%s}\n%s", (int)(place - yaml), yaml, executor, place);
}

/* The same value again and again: in a constant, in the elements of a list, in the command, in one element of it, in the
 * environment, in what an importer notes. */
static void texts(void **state)
{
    AUTOFREE char *big = big_parameters(), *many = repeated(VALUE, 30), *quoted = repeated("\"" VALUE "\", ", 30);
    AUTOFREE char *list = xasprintf("[%s \"\"]", quoted), *strings = repeated("'" VALUE "', ", 30),
                  *variables = repeated("{name: A, value: '" VALUE "'}, ", 30);
    AUTOFREE char *args = xasprintf("container: {image: host, command: [echo], args: [%s]}", strings);
    AUTOFREE char *concat = xasprintf("container: {image: host, command: [echo], args: ['{\"Concat\": %s}']}", list);
    AUTOFREE char *env = xasprintf("container: {image: host, command: [echo], env: [%s]}", variables);
    AUTOFREE char *importer = xasprintf("importer: {artifactUri: {constant: 's3://b/k'}, typeSchema: {schemaTitle: "
                                        "system.Dataset}, metadata: {m: [%s]}}",
                                        strings);
    const char *plain = "container: {image: host, command: [echo]}";
    const char *const cases[][2] = {{many, plain}, {list, plain}, {"x", args}, {"x", concat}, {"x", env}, {"x", importer}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        struct kit k;
        kit_open(&k, NULL, 0);
        AUTOFREE char *yaml = one_task(cases[n][0], cases[n][1]);
        fails_with(&k, yaml, big, "MiB");
        assert_int_equal(k.starts, 0);
        kit_close(&k);
    }
}

/* Loops in loops, of items that cost nothing. */
static void tasks(void **state)
{
    AUTOFREE char *items = repeated("0,", 999);
    AUTOFREE char *iterator = xasprintf("parameterIterator: {itemInput: i, items: {raw: '[%s 0]'}}", items);
    AUTOFREE char *root = xasprintf("      l: {componentRef: {name: outer}, %s}\n", iterator);
    AUTOFREE char *components = xasprintf(
        "  outer: {inputDefinitions: {parameters: {i: {parameterType: NUMBER_INTEGER}}}, dag: {tasks: {in: {componentRef: "
        "{name: inner}, %s}}}}\n"
        "  inner: {inputDefinitions: {parameters: {i: {parameterType: NUMBER_INTEGER}}}, dag: {tasks: {s: {componentRef: "
        "{name: step}, triggerPolicy: {condition: '1 == 2'}}}}}\n" STEP,
        iterator);
    AUTOFREE char *yaml = kit_yaml("", root, components);
    struct kit k;
    kit_open(&k, NULL, 0);
    fails_with(&k, yaml, NULL, "more than 200000 tasks");
    kit_close(&k);
}

/* A value that each iteration is given is in each iteration's row. */
static void values(void **state)
{
    AUTOFREE char *big = big_parameters(), *items = repeated("0,", 399);
    AUTOFREE char *root =
        xasprintf("      l: {componentRef: {name: body}, inputs: {parameters: {v: {componentInputParameter: p}}}, "
                  "parameterIterator: {itemInput: i, items: {raw: '[%s 0]'}}}\n",
                  items);
    AUTOFREE char *yaml = kit_yaml("p: {parameterType: STRING}", root,
                                   STEP "  body: {inputDefinitions: {parameters: {i: {parameterType: NUMBER_INTEGER}, v: "
                                        "{parameterType: STRING}}}, dag: {tasks: {s: {componentRef: {name: step}, triggerPolicy: "
                                        "{condition: '1 == 2'}}}}}\n");
    struct kit k;
    kit_open(&k, NULL, 0);
    fails_with(&k, yaml, big, "256 MiB together");
    kit_close(&k);
}

TEST_GROUP(limits, cmocka_unit_test(texts), cmocka_unit_test(tasks), cmocka_unit_test(values))
