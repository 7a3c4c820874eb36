/* What steps are told and what they leave: artifacts, placeholders, cache, importers. */
#include "kit.h"

#include <sys/stat.h>

#include "base/fs.h"

#define TASK(id, path, want) assert_int_equal(kit_task(&k, id, path), TASK_##want)
#define OPEN(...)                                                                                                                \
    struct kit k;                                                                                                                \
    static const struct script scripts[] = {__VA_ARGS__};                                                                        \
    kit_open(&k, scripts, ARRAY_LEN(scripts))

#define ARTIFACTS                                                                                                                \
    "  make: {executorLabel: e, outputDefinitions: {artifacts: {d: {artifactType: {schemaTitle: system.Dataset, schemaVersion: " \
    "0.0.1}, metadata: {rows: 0, kind: a}}}}}\n"                                                                                 \
    "  use: {executorLabel: e, inputDefinitions: {artifacts: {d: {artifactType: {schemaTitle: system.Dataset}}, more: "          \
    "{artifactType: {schemaTitle: system.Model}, isOptional: true}}}}\n"
#define USES(t) ", inputs: {artifacts: {d: {taskOutputArtifact: {producerTask: " t ", outputArtifactKey: d}}}}"
#define CACHED  ", cachingOptions: {enableCache: true}"

static jval *artifact_in(struct json *doc, const char *side)
{
    return jv_path(json_root(doc), side, "artifacts", "d", "artifacts", "0", NULL);
}

static void artifacts(void **state)
{
    OPEN({.task = "m",
          .artifacts = true,
          .executor_output = "{\"artifacts\": {\"d\": {\"artifacts\": [{\"name\": \"d\", \"metadata\": {\"rows\": 10, \"ok\": "
                             "true, \"l\": [1.0], \"bad\": NaN}}]}}}"});
    AUTOFREE char *y = kit_yaml("", RUNS("m", "make") END RUNS("u", "use") USES("m") END, STEP ARTIFACTS);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    JSON_REF(made) = json_parse_str(strmap_get(&k.inputs, "m"), NULL);
    JSON_REF(used) = json_parse_str(strmap_get(&k.inputs, "u"), NULL);
    jval *out = artifact_in(made, "outputs"), *in = artifact_in(used, "inputs");
    const char *uri = jv_str(jv_get(out, "uri"));
    AUTOFREE char *prefix = xasprintf("minio://mlpipeline/v2/artifacts/test-pipeline/%s/m/", id);
    assert_true(str_starts(uri, prefix));
    assert_true(str_ends(uri, "/d"));
    assert_string_equal(jv_str(jv_get(out, "name")), "d");
    assert_int_equal(jv_i64_or(jv_path(out, "metadata", "rows", NULL), -1), 0);
    assert_string_equal(jv_str(jv_get(in, "uri")), uri);
    int64_t n;
    assert_true(str_to_i64(jv_str(jv_get(in, "name")), &n) && n > 0);
    AUTOFREE char *metadata = jv_text(jv_get(in, "metadata"), JW_COMPACT | JW_SORTED);
    assert_string_equal(metadata, "{\"bad\":\"NaN\",\"display_name\":\"d\",\"kind\":\"a\",\"l\":[1],\"ok\":true,\"rows\":10}");
    assert_string_equal(jv_str(jv_path(in, "type", "schemaTitle", NULL)), "system.Dataset");
    assert_null(jv_path(json_root(used), "inputs", "artifacts", "more", NULL));
    assert_int_equal(kit_count(&k, "SELECT count(*) FROM artifact_tasks WHERE run_id = ?1", id), 2);
    assert_true(str_starts(jv_str(jv_path(json_root(made), "outputs", "outputFile", NULL)),
                           "/minio/mlpipeline/v2/artifacts/test-pipeline/"));
    kit_close(&k);
}

static void metrics_are_rows(void **state)
{
    OPEN({.task = "m",
          .executor_output =
              "{\"artifacts\": {\"d\": {\"artifacts\": [{\"metadata\": {\"acc\": 0.5, \"n\": 3, \"text\": \"x\"}}]}}}"});
    AUTOFREE char *y = kit_yaml(
        "", RUNS("m", "make") END,
        STEP "  make: {executorLabel: e, outputDefinitions: {artifacts: {d: {artifactType: {schemaTitle: system.Metrics}}}}}\n");
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(kit_count(&k, "SELECT count(*) FROM metrics WHERE run_id = ?1", id), 2);
    kit_close(&k);
}

/* Where the producer had the bytes is nothing to its consumers: they find them by the URI. */
static void custom_path(void **state)
{
    OPEN({.task = "m", .executor_output = "{\"artifacts\": {\"d\": {\"artifacts\": [{\"custom_path\": \"/tmp/x\"}]}}}"});
    AUTOFREE char *y = kit_yaml("", RUNS("m", "make") CACHED END RUNS("u", "use") USES("m") END, STEP ARTIFACTS);
    AUTOFREE char *first = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    JSON_REF(made) = json_parse_str(strmap_get(&k.inputs, "m"), NULL);
    const char *object = jv_str(jv_get(artifact_in(made, "outputs"), "uri")) + strlen("minio://");
    AUTOFREE char *bytes = xasprintf("%s/artifacts/%s", k.dir, object);
    assert_int_equal(fs_mkdir_p(bytes, 0755, NULL), 0);
    AUTOFREE char *second = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 3); /* m came from the cache */
    AUTOFREE char *inside = xasprintf("/minio/%s", object);
    assert_true(strlist_has(&k.last_mounts, inside));
    assert_false(strlist_has(&k.last_mounts, "/tmp/x"));
    JSON_REF(used) = json_parse_str(strmap_get(&k.inputs, "u"), NULL);
    assert_null(jv_get(artifact_in(used, "inputs"), "customPath"));
    kit_close(&k);
}

/* Both ways in which SDKs refer to a claim, a reference that is alone, and one to nothing. */
static void platform_references(void **state)
{
    OPEN({.task = "a"});
    AUTOFREE char *one =
        kit_yaml("claim: {parameterType: STRING}, gone: {parameterType: STRING, isOptional: true}", RUNS("a", "step") END, STEP);
    AUTOFREE char *y =
        xasprintf("%s---\nplatforms: {kubernetes: {deploymentSpec: {executors: {e: {pvcMount: ["
                  "{componentInputParameter: claim, mountPath: /old}, "
                  "{componentInputParameter: claim, mountPath: /new, pvcNameParameter: {componentInputParameter: claim}}], "
                  "secretAsVolume: [{mountPath: /s, secretNameParameter: {componentInputParameter: gone}}]}}}}}\n",
                  one);
    AUTOFREE char *id = kit_run(&k, y, "{\"claim\": \"disk\"}", RUN_SUCCEEDED);
    assert_string_equal(k.last_kubernetes, "{\"pvcMount\":[{\"constant\":\"disk\",\"mountPath\":\"/old\"},"
                                           "{\"constant\":\"disk\",\"mountPath\":\"/new\",\"pvcNameParameter\":\"disk\"}],"
                                           "\"secretAsVolume\":[{\"mountPath\":\"/s\",\"secretNameParameter\":null}]}");
    kit_close(&k);
}

/* set_env_variable(x), set_cpu_limit(x): the task gets an input that its component does not declare. */
static void undeclared_inputs(void **state)
{
    OPEN({.task = "a", .params = {{"Output", "4"}}});
    AUTOFREE char *one = kit_yaml(
        "p: {parameterType: STRING, defaultValue: 'p\"q'}",
        RUNS("a", "step") END RUNS(
            "b", "more") ", inputs: {parameters: {pipelinechannel--p: {componentInputParameter: p}, pipelinechannel--a-Output: "
                         "{taskOutputParameter: {producerTask: a, outputParameterKey: Output}}, s: {componentInputParameter: p, "
                         "parameterExpressionSelector: 'string_value.startsWith(\"p\")'}}}" END,
        STEP "  more: {executorLabel: m}\n");
    static const char executor[] =
        "    m: {container: {image: host, command: [x], env: [{name: P, value: "
        "\"<{{$.inputs.parameters['pipelinechannel--p']}}>\"}, "
        "{name: A, value: \"{{$.inputs.parameters['pipelinechannel--a-Output']}}\"}, {name: S, value: "
        "\"{{$.inputs.parameters['s']}}\"}, {name: N, value: \"{{$.inputs.parameters['none']}}\"}]}}\n";
    const char *at = strstr(one, "components:\n");
    AUTOFREE char *y = xasprintf("%.*s%s%s", (int)(at - one), one, executor, at);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    static const char *const want[] = {"{\"name\":\"P\",\"value\":\"<p\\\"q>\"}", "{\"name\":\"A\",\"value\":\"4\"}",
                                       "{\"name\":\"S\",\"value\":\"true\"}",
                                       "{\"name\":\"N\",\"value\":\"{{$.inputs.parameters['none']}}\"}"};
    for (size_t n = 0; n < ARRAY_LEN(want); n++)
        if (!strstr(k.last_env, want[n]))
            fail_msg("%s is not in %s", want[n], k.last_env);
    kit_close(&k);
}

static void cache(void **state)
{
    OPEN({.task = "m", .artifacts = true});
    AUTOFREE char *y = kit_yaml("p: {parameterType: STRING, defaultValue: one}",
                                RUNS("m", "make") CACHED END RUNS("u", "use") CACHED USES("m") END RUNS("s", "step") CACHED
                                ", inputs: {parameters: {x: {componentInputParameter: p}}}" END,
                                STEP ARTIFACTS);
    AUTOFREE char *first = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 3);
    /* The bytes of the scripted step are not there: a miss. With them: a hit, and everything that follows from it. */
    JSON_REF(made) = json_parse_str(strmap_get(&k.inputs, "m"), NULL);
    AUTOFREE char *path =
        xasprintf("%s/artifacts/%s", k.dir, jv_str(jv_get(artifact_in(made, "outputs"), "uri")) + strlen("minio://"));
    ERR(e);
    assert_int_equal(fs_mkdir_p(path, 0755, &e), 0);
    AUTOFREE char *second = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 3);
    assert_int_equal(kit_task(&k, second, "root/m"), TASK_CACHED);
    assert_int_equal(kit_task(&k, second, "root/u"), TASK_CACHED);
    struct task_row row = kit_row(&k, second, "root/m");
    assert_true(row.cached_from > 0);
    task_row_clear(&row);
    /* Another value, another key. */
    AUTOFREE char *third = kit_run(&k, y, "{\"p\": \"two\"}", RUN_SUCCEEDED);
    assert_int_equal(k.starts, 4);
    fs_rm_rf(path, NULL);
    AUTOFREE char *fourth = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(kit_task(&k, fourth, "root/m"), TASK_SUCCEEDED);
    k.cfg.no_cache = true;
    kit_restart(&k);
    int before = k.starts;
    AUTOFREE char *fifth = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, before + 3);
    kit_close(&k);
}

static void importer(void **state)
{
    OPEN({.task = "nobody"});
    AUTOFREE char *y = kit_yaml(
        "",
        RUNS("i", "get") END RUNS(
            "u", "use") ", inputs: {artifacts: {d: {taskOutputArtifact: {producerTask: i, outputArtifactKey: artifact}}}}" END,
        STEP ARTIFACTS "  get: {executorLabel: imp, outputDefinitions: {artifacts: {artifact: {artifactType: {schemaTitle: "
                       "system.Dataset}}}}}\n");
    AUTOFREE char *a = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    AUTOFREE char *b = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.starts, 2);
    JSON_REF(used) = json_parse_str(strmap_get(&k.inputs, "u"), NULL);
    assert_string_equal(jv_str(jv_get(artifact_in(used, "inputs"), "uri")), "gs://b/data.csv");
    /* reimport is off: one record. */
    assert_int_equal(kit_count(&k, "SELECT count(*) FROM artifacts WHERE ?1 = ?1", a), 1);
    kit_close(&k);
}

/* One record as well where both imports happen in the same turn, before anything of them is stored. */
static void two_importers_at_once(void **state)
{
    OPEN({.task = "nobody"});
    AUTOFREE char *y =
        kit_yaml("", RUNS("i", "get") END RUNS("j", "get") END,
                 "  get: {executorLabel: imp, outputDefinitions: {artifacts: {artifact: {artifactType: {schemaTitle: "
                 "system.Dataset}}}}}\n");
    AUTOFREE char *a = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(kit_count(&k, "SELECT count(*) FROM artifacts WHERE ?1 = ?1", a), 1);
    kit_close(&k);
}

/* What goes into an input of type TASK_CONFIG is not on the pod, unless it is to be applied as well. Whole numbers of a document,
 * which are doubles in it, are integers for Kubernetes. */
static void task_config(void **state)
{
    static const char platform[] =
        "---\nplatforms: {kubernetes: {deploymentSpec: {executors: {m: {"
        "nodeSelector: {nodeSelectorJson: {runtimeValue: {constant: {disk: ssd}}}}, "
        "tolerations: [{tolerationJson: {runtimeValue: {constant: {key: k, operator: Exists, tolerationSeconds: 5.0}}}}], "
        "secretAsEnv: [{secretNameParameter: {runtimeValue: {constant: s}}, keyToEnv: [{secretKey: a, envVar: A}]}], "
        "pvcMount: [{pvcNameParameter: {runtimeValue: {constant: c}}, mountPath: /c}], "
        "emptyDirMounts: [{volumeName: e, mountPath: /e}]}}}}}\n";
    static const char executor[] =
        "    m: {container: {image: host, command: [x], args: ['{{$}}'], env: [{name: P, value: q}], resources: "
        "{resourceCpuLimit: '64'}}}\n";
    static const struct {
        const char *passed, *input, *kubernetes, *env;
    } cases[] = {
        {"[{field: RESOURCES}, {field: KUBERNETES_TOLERATIONS}, {field: ENV, applyToTask: true}]",
         "{\"affinity\":null,\"tolerations\":[{\"key\":\"k\",\"operator\":\"Exists\",\"tolerationSeconds\":5}],\"nodeSelector\":"
         "null,"
         "\"env\":[{\"name\":\"P\",\"value\":\"q\"},{\"name\":\"A\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s\",\"key\":"
         "\"a\","
         "\"optional\":false}}}],\"volumes\":null,\"volumeMounts\":null,\"resources\":{\"limits\":{\"cpu\":\"64\"}}}",
         "{\"emptyDirMounts\":[{\"mountPath\":\"/"
         "e\",\"volumeName\":\"e\"}],\"nodeSelector\":{\"nodeSelectorJson\":{\"disk\":\"ssd\"}},"
         "\"pvcMount\":[{\"mountPath\":\"/c\",\"pvcNameParameter\":\"c\"}],\"secretAsEnv\":[{\"keyToEnv\":[{\"envVar\":\"A\","
         "\"secretKey\":\"a\"}],\"secretNameParameter\":\"s\"}]}",
         "[{\"name\":\"P\",\"value\":\"q\"}]"},
        {"[{field: KUBERNETES_VOLUMES}, {field: KUBERNETES_NODE_SELECTOR}, {field: ENV}]",
         "{\"affinity\":null,\"tolerations\":null,\"nodeSelector\":{\"disk\":\"ssd\"},\"env\":[{\"name\":\"P\",\"value\":\"q\"},"
         "{\"name\":\"A\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s\",\"key\":\"a\",\"optional\":false}}}],\"volumes\":[{"
         "\"name\":\"c\","
         "\"persistentVolumeClaim\":{\"claimName\":\"c\"}}],\"volumeMounts\":[{\"name\":\"c\",\"mountPath\":\"/"
         "c\"}],\"resources\":{}}",
         "{\"emptyDirMounts\":[{\"mountPath\":\"/e\",\"volumeName\":\"e\"}],\"tolerations\":[{\"tolerationJson\":{\"key\":\"k\","
         "\"operator\":\"Exists\",\"tolerationSeconds\":5}}]}",
         "[]"},
        {"[]",
         "{\"affinity\":null,\"tolerations\":null,\"nodeSelector\":null,\"env\":null,\"volumes\":null,\"volumeMounts\":null,"
         "\"resources\":{}}",
         NULL, "[{\"name\":\"P\",\"value\":\"q\"}]"},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        OPEN({.task = "a"});
        AUTOFREE char *comp =
            xasprintf("  more: {executorLabel: m, taskConfigPassthroughs: %s, inputDefinitions: {parameters: {c: "
                      "{parameterType: TASK_CONFIG, isOptional: true}}}}\n",
                      cases[n].passed);
        AUTOFREE char *one = kit_yaml("", RUNS("a", "more") END, comp);
        const char *at = strstr(one, "components:\n");
        AUTOFREE char *y = xasprintf("%.*s%s%s%s", (int)(at - one), one, executor, at, platform);
        AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
        JSON_REF(in) = json_parse_str(k.last_input, NULL);
        AUTOFREE char *got = jv_text(jv_path(json_root(in), "inputs", "parameterValues", "c", NULL), JW_COMPACT);
        assert_string_equal(got, cases[n].input);
        if (cases[n].kubernetes)
            assert_string_equal(k.last_kubernetes, cases[n].kubernetes);
        assert_string_equal(k.last_env, cases[n].env);
        kit_close(&k);
    }
}

/* With the volumes the workspace is handed on, by its place on the machine or on the claim; on the pod it is where that is asked
 * for. */
static void task_config_with_a_workspace(void **state)
{
    static const struct {
        const char *passed, *claim, *volume, *sub_path;
        bool on_pod;
    } cases[] = {{"[{field: KUBERNETES_VOLUMES}]", NULL, "{\"hostPath\":{\"path\":\"%s/workspaces/%s\",\"type\":\"Directory\"}}",
                  "", false},
                 {"[{field: KUBERNETES_VOLUMES, applyToTask: true}]", NULL,
                  "{\"hostPath\":{\"path\":\"%s/workspaces/%s\",\"type\":\"Directory\"}}", "", true},
                 {"[{field: KUBERNETES_VOLUMES}]", "shared", "{\"persistentVolumeClaim\":{\"claimName\":\"shared\"}}",
                  ",\"subPath\":\"workspaces/%s\"", false},
                 {"[{field: ENV}]", NULL, NULL, NULL, true}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        OPEN({.task = "a"});
        k.cfg.claim = cases[n].claim;
        kit_restart(&k);
        AUTOFREE char *comp =
            xasprintf("  more: {executorLabel: e, taskConfigPassthroughs: %s, inputDefinitions: {parameters: {c: "
                      "{parameterType: TASK_CONFIG, isOptional: true}, x: {parameterType: STRING}}}}\n",
                      cases[n].passed);
        AUTOFREE char *one = kit_yaml(
            "", RUNS("a", "more") ", inputs: {parameters: {x: {runtimeValue: {constant: '{{$.workspace_path}}/d'}}}}" END, comp);
        AUTOFREE char *y =
            xasprintf("%s---\nplatforms: {kubernetes: {pipelineConfig: {workspace: {size: 1Gi, kubernetes: {pvcSpecPatch: "
                      "{accessModes: [ReadWriteMany]}}}}}}\n",
                      one);
        AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
        JSON_REF(in) = json_parse_str(k.last_input, NULL);
        jval *c = jv_path(json_root(in), "inputs", "parameterValues", "c", NULL);
        AUTOFREE char *got = jv_text(jv_get(c, "volumes"), JW_COMPACT), *mounts = jv_text(jv_get(c, "volumeMounts"), JW_COMPACT);
        if (cases[n].volume) {
            AUTOFREE char *source = xasprintf(cases[n].volume, k.dir, id), *sub = xasprintf(cases[n].sub_path, id);
            AUTOFREE char *want = xasprintf("[{\"name\":\"kfp-workspace\",%s]", source + 1);
            AUTOFREE char *at = xasprintf("[{\"name\":\"kfp-workspace\",\"mountPath\":\"/kfp-workspace\"%s}]", sub);
            assert_string_equal(got, want);
            assert_string_equal(mounts, at);
        } else {
            assert_string_equal(got, "null");
        }
        assert_int_equal(strlist_has(&k.last_mounts, "/kfp-workspace"), cases[n].on_pod);
        kit_close(&k);
    }
}

/* A model in a container image is no artifact of a store: the step's pod is told of the image, once. */
static void importer_of_an_image(void **state)
{
    OPEN({.task = "nobody"});
    AUTOFREE char *one = kit_yaml(
        "",
        RUNS("i", "get") END RUNS(
            "u", "use") ", inputs: {artifacts: {d: {taskOutputArtifact: {producerTask: i, outputArtifactKey: artifact}}, "
                        "same: {taskOutputArtifact: {producerTask: i, outputArtifactKey: artifact}}}}" END,
        "  use: {executorLabel: e, inputDefinitions: {artifacts: {d: {artifactType: {schemaTitle: system.Model}}, "
        "same: {artifactType: {schemaTitle: system.Model}}}}}\n"
        "  get: {executorLabel: car, outputDefinitions: {artifacts: {artifact: {artifactType: {schemaTitle: system.Model}}}}}\n");
    const char *at = strstr(one, "components:\n");
    AUTOFREE char *y = xasprintf("%.*s    car: {importer: {artifactUri: {constant: 'oci://r.example/car:1'}, typeSchema: "
                                 "{schemaTitle: system.Model}}}\n%s",
                                 (int)(at - one), one, at);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    TASK(id, "root/i", SUCCEEDED);
    assert_int_equal(k.starts, 1);
    assert_string_equal(k.last_images, "r.example/car:1 /oci/r.example_car:1/models\n");
    kit_close(&k);
}

/* What is imported into the workspace lies there, mounted; what cannot be is refused with the reason. */
static void importer_to_workspace(void **state)
{
    static const struct {
        const char *uri, *error;
    } cases[] = {
        {"minio://mlpipeline/given/data", NULL},
        {"minio://mlpipeline/given/none", "there is nothing"},
        {"https://h.example/data", "only what lies in an object store"},
    };
    OPEN({.task = "nobody"});
    AUTOFREE char *bytes = xasprintf("%s/artifacts/mlpipeline/given/data", k.dir);
    assert_int_equal(fs_mkdir_p(bytes, 0755, NULL), 0);
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        AUTOFREE char *one = kit_yaml(
            "",
            RUNS("i", "get") END RUNS(
                "u",
                "use") ", inputs: {artifacts: {d: {taskOutputArtifact: {producerTask: i, outputArtifactKey: artifact}}}}" END,
            STEP ARTIFACTS "  get: {executorLabel: ws, outputDefinitions: {artifacts: {artifact: {artifactType: {schemaTitle: "
                           "system.Dataset}}}}}\n");
        const char *at = strstr(one, "components:\n");
        AUTOFREE char *y =
            xasprintf("%.*s    ws: {importer: {artifactUri: {constant: '%s'}, typeSchema: {schemaTitle: system.Dataset}, "
                      "downloadToWorkspace: true}}\n%s---\nplatforms: {kubernetes: {pipelineConfig: {workspace: {size: 1Gi}}}}\n",
                      (int)(at - one), one, cases[n].uri, at);
        AUTOFREE char *id = kit_run(&k, y, NULL, cases[n].error ? RUN_FAILED : RUN_SUCCEEDED);
        AUTOFREE char *message = NULL;
        kit_state(&k, id, &message);
        if (cases[n].error && !strstr(message ? message : "", cases[n].error))
            fail_msg("%s: %s", cases[n].uri, message);
        if (cases[n].error)
            continue;
        assert_true(strlist_has(&k.last_mounts, "/kfp-workspace"));
        assert_true(strlist_has(&k.last_mounts, "/kfp-workspace/.artifacts/minio/mlpipeline/given/data"));
    }
    assert_int_equal(k.starts, 1);
    kit_close(&k);
}

static void optional_inputs(void **state)
{
    OPEN({.task = "nobody"});
    AUTOFREE char *y = kit_yaml("o: {parameterType: STRING, isOptional: true}",
                                RUNS("a", "opt") ", inputs: {parameters: {x: {componentInputParameter: o}}}" END,
                                STEP "  opt: {executorLabel: e, inputDefinitions: {parameters: {x: {parameterType: STRING, "
                                     "isOptional: true, defaultValue: dd}, "
                                     "n: {parameterType: NUMBER_INTEGER, defaultValue: 3.0}}}}\n");
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    JSON_REF(in) = json_parse_str(strmap_get(&k.inputs, "a"), NULL);
    AUTOFREE char *values = jv_text(jv_path(json_root(in), "inputs", "parameterValues", NULL), JW_COMPACT);
    assert_string_equal(values, "{\"n\":3}");  /* left out of the executor input */
    assert_true(str_ends(k.last_argv, "|dd")); /* its default counts in the command */
    kit_close(&k);
}

static void none_of_python(void **state)
{
    OPEN({.task = "a", .executor_output = "{}"}, {.task = "b", .executor_output = "{\"parameterValues\": {\"Output\": 5}}"});
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") END RUNS("b", "step") FROM("a") END RUNS("c", "step") FROM("b") END, STEP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    JSON_REF(in) = json_parse_str(strmap_get(&k.inputs, "b"), NULL);
    assert_null(jv_path(json_root(in), "inputs", "parameterValues", NULL));
    assert_true(str_ends(k.last_argv, "|5")); /* STRING converts */
    kit_close(&k);
}

static void big_values(void **state)
{
    AUTOFREE char *big = xmalloc(200001);
    memset(big, 'x', 200000);
    big[200000] = 0;
    struct script scripts[] = {{.task = "a", .params = {{"Output", big}}}};
    struct kit k;
    kit_open(&k, scripts, 1);
    AUTOFREE char *y =
        kit_yaml("", RUNS("a", "step") END RUNS("p", "python") FROM("a") END RUNS("s", "step") FROM("a") END,
                 STEP "  python: {executorLabel: py, inputDefinitions: {parameters: {x: {parameterType: STRING}}}}\n");
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
    TASK(id, "root/p", SUCCEEDED);
    TASK(id, "root/s", FAILED);
    struct task_row row = kit_row(&k, id, "root/s");
    assert_non_null(strstr(row.error_message, "128 KiB"));
    task_row_clear(&row);
    kit_close(&k);
}

TEST_GROUP(steps, cmocka_unit_test(artifacts), cmocka_unit_test(custom_path), cmocka_unit_test(importer_of_an_image),
           cmocka_unit_test(importer_to_workspace), cmocka_unit_test(undeclared_inputs), cmocka_unit_test(platform_references),
           cmocka_unit_test(metrics_are_rows), cmocka_unit_test(cache), cmocka_unit_test(importer),
           cmocka_unit_test(two_importers_at_once), cmocka_unit_test(task_config), cmocka_unit_test(task_config_with_a_workspace),
           cmocka_unit_test(optional_inputs), cmocka_unit_test(none_of_python), cmocka_unit_test(big_values))
