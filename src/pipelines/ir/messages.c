/* The messages of pipeline_spec.proto that a compiled pipeline is made of. */
#include "pipelines/ir/proto.h"

#define END                                                                                                                      \
    {                                                                                                                            \
        0                                                                                                                        \
    }
#define S(n)                                                                                                                     \
    {                                                                                                                            \
        n, P_STRING, P_ONE, NULL, 0                                                                                              \
    }
#define B(n)                                                                                                                     \
    {                                                                                                                            \
        n, P_BOOL, P_ONE, NULL, 0                                                                                                \
    }
#define M(n, msg)                                                                                                                \
    {                                                                                                                            \
        n, P_MESSAGE, P_ONE, &(msg), 0                                                                                           \
    }
#define MAPOF(n, msg)                                                                                                            \
    {                                                                                                                            \
        n, P_MESSAGE, P_MAP, &(msg), 0                                                                                           \
    }
#define LISTOF(n, msg)                                                                                                           \
    {                                                                                                                            \
        n, P_MESSAGE, P_LIST, &(msg), 0                                                                                          \
    }
#define MESSAGE(var, label, ...)                                                                                                 \
    static const struct proto_field var##_fields[] = {__VA_ARGS__, END};                                                         \
    static const struct proto_message var = {label, var##_fields}

static const char *const primitive_values[] = {"PRIMITIVE_TYPE_UNSPECIFIED", "INT", "DOUBLE", "STRING", NULL};
static const struct proto_enum primitive = {"PrimitiveType", primitive_values};
static const char *const parameter_values[] = {
    "PARAMETER_TYPE_ENUM_UNSPECIFIED",
    "NUMBER_DOUBLE",
    "NUMBER_INTEGER",
    "STRING",
    "BOOLEAN",
    "LIST",
    "STRUCT",
    "TASK_FINAL_STATUS",
    "TASK_CONFIG",
    NULL,
};
static const struct proto_enum parameter_type = {"ParameterType", parameter_values};
static const char *const strategy_values[] = {
    "TRIGGER_STRATEGY_UNSPECIFIED",
    "ALL_UPSTREAM_TASKS_SUCCEEDED",
    "ALL_UPSTREAM_TASKS_COMPLETED",
    NULL,
};
static const struct proto_enum strategy = {"TriggerStrategy", strategy_values};
static const char *const passthrough_values[] = {
    "NONE", "RESOURCES", "ENV", "KUBERNETES_AFFINITY", "KUBERNETES_TOLERATIONS", "KUBERNETES_NODE_SELECTOR", "KUBERNETES_VOLUMES",
    NULL,
};
static const struct proto_enum passthrough_type = {"TaskConfigPassthroughType", passthrough_values};

/* ---- values --------------------------------------------------------------------------------------------------- */

MESSAGE(old_value, "Value", {"intValue", P_INT64, P_ONE, NULL, 1}, {"doubleValue", P_DOUBLE, P_ONE, NULL, 1},
        {"stringValue", P_STRING, P_ONE, NULL, 1});
MESSAGE(runtime_value, "ValueOrRuntimeParameter", {"constantValue", P_MESSAGE, P_ONE, &old_value, 1},
        {"runtimeParameter", P_STRING, P_ONE, NULL, 1}, {"constant", P_VALUE, P_ONE, NULL, 1});
MESSAGE(artifact_type, "ArtifactTypeSchema", {"schemaTitle", P_STRING, P_ONE, NULL, 1}, {"schemaUri", P_STRING, P_ONE, NULL, 1},
        {"instanceSchema", P_STRING, P_ONE, NULL, 1}, S("schemaVersion"));

/* ---- component interfaces ------------------------------------------------------------------------------------- */

MESSAGE(in_artifact, "ArtifactSpec", M("artifactType", artifact_type), B("isArtifactList"), B("isOptional"), S("description"));
MESSAGE(in_parameter, "ParameterSpec", {"type", P_ENUM, P_ONE, &primitive, 0},
        {"parameterType", P_ENUM, P_ONE, &parameter_type, 0}, {"defaultValue", P_VALUE, P_ONE, NULL, 0}, B("isOptional"),
        S("description"), {"literals", P_VALUE, P_LIST, NULL, 0});
MESSAGE(inputs, "ComponentInputsSpec", MAPOF("artifacts", in_artifact), MAPOF("parameters", in_parameter));
MESSAGE(out_artifact, "ArtifactSpec", M("artifactType", artifact_type), MAPOF("properties", runtime_value),
        MAPOF("customProperties", runtime_value), {"metadata", P_STRUCT, P_ONE, NULL, 0}, B("isArtifactList"), S("description"));
MESSAGE(out_parameter, "ParameterSpec", {"type", P_ENUM, P_ONE, &primitive, 0},
        {"parameterType", P_ENUM, P_ONE, &parameter_type, 0}, S("description"));
MESSAGE(outputs, "ComponentOutputsSpec", MAPOF("artifacts", out_artifact), MAPOF("parameters", out_parameter));

/* ---- tasks ---------------------------------------------------------------------------------------------------- */

MESSAGE(task_info, "PipelineTaskInfo", S("name"));
MESSAGE(task_output_parameter, "TaskOutputParameterSpec", S("producerTask"), S("outputParameterKey"));
MESSAGE(task_output_artifact, "TaskOutputArtifactSpec", S("producerTask"), S("outputArtifactKey"));
MESSAGE(final_status, "TaskFinalStatus", S("producerTask"));
MESSAGE(input_parameter, "InputParameterSpec", {"taskOutputParameter", P_MESSAGE, P_ONE, &task_output_parameter, 1},
        {"runtimeValue", P_MESSAGE, P_ONE, &runtime_value, 1}, {"componentInputParameter", P_STRING, P_ONE, NULL, 1},
        {"taskFinalStatus", P_MESSAGE, P_ONE, &final_status, 1}, S("parameterExpressionSelector"));
MESSAGE(input_artifact, "InputArtifactSpec", {"taskOutputArtifact", P_MESSAGE, P_ONE, &task_output_artifact, 1},
        {"componentInputArtifact", P_STRING, P_ONE, NULL, 1});
MESSAGE(task_inputs, "TaskInputsSpec", MAPOF("parameters", input_parameter), MAPOF("artifacts", input_artifact));
MESSAGE(caching, "CachingOptions", B("enableCache"), S("cacheKey"));
MESSAGE(component_ref, "ComponentRef", S("name"));
MESSAGE(trigger, "TriggerPolicy", S("condition"), {"strategy", P_ENUM, P_ONE, &strategy, 0});
MESSAGE(artifact_items, "ItemsSpec", S("inputArtifact"));
MESSAGE(artifact_iterator, "ArtifactIteratorSpec", M("items", artifact_items), S("itemInput"));
MESSAGE(parameter_items, "ItemsSpec", {"raw", P_STRING, P_ONE, NULL, 1}, {"inputParameter", P_STRING, P_ONE, NULL, 1});
MESSAGE(parameter_iterator, "ParameterIteratorSpec", M("items", parameter_items), S("itemInput"));
MESSAGE(retry_policy, "RetryPolicy", {"maxRetryCount", P_INT32, P_ONE, NULL, 0}, {"backoffDuration", P_DURATION, P_ONE, NULL, 0},
        {"backoffFactor", P_DOUBLE, P_ONE, NULL, 0}, {"backoffMaxDuration", P_DURATION, P_ONE, NULL, 0});
MESSAGE(iterator_policy, "IteratorPolicy", {"parallelismLimit", P_INT32, P_ONE, NULL, 0});
MESSAGE(task, "PipelineTaskSpec", M("taskInfo", task_info), M("inputs", task_inputs),
        {"dependentTasks", P_STRING, P_LIST, NULL, 0}, M("cachingOptions", caching), M("componentRef", component_ref),
        M("triggerPolicy", trigger), {"artifactIterator", P_MESSAGE, P_ONE, &artifact_iterator, 1},
        {"parameterIterator", P_MESSAGE, P_ONE, &parameter_iterator, 1}, M("retryPolicy", retry_policy),
        M("iteratorPolicy", iterator_policy));

/* ---- DAGs ----------------------------------------------------------------------------------------------------- */

MESSAGE(artifact_selector, "ArtifactSelectorSpec", S("producerSubtask"), S("outputArtifactKey"));
MESSAGE(dag_out_artifact, "DagOutputArtifactSpec", LISTOF("artifactSelectors", artifact_selector));
MESSAGE(parameter_selector, "ParameterSelectorSpec", S("producerSubtask"), S("outputParameterKey"));
MESSAGE(parameter_selectors, "ParameterSelectorsSpec", LISTOF("parameterSelectors", parameter_selector));
MESSAGE(dag_out_parameter, "DagOutputParameterSpec", {"valueFromParameter", P_MESSAGE, P_ONE, &parameter_selector, 1},
        {"valueFromOneof", P_MESSAGE, P_ONE, &parameter_selectors, 1});
MESSAGE(dag_outputs, "DagOutputsSpec", MAPOF("artifacts", dag_out_artifact), MAPOF("parameters", dag_out_parameter));
MESSAGE(dag, "DagSpec", MAPOF("tasks", task), M("outputs", dag_outputs));

/* ---- platforms ------------------------------------------------------------------------------------------------ */

MESSAGE(platform_deployment, "PlatformDeploymentConfig", {"executors", P_STRUCT, P_MAP, NULL, 0});
MESSAGE(workspace_kubernetes, "KubernetesWorkspaceConfig", {"pvcSpecPatch", P_STRUCT, P_ONE, NULL, 0});
MESSAGE(workspace, "WorkspaceConfig", S("size"), M("kubernetes", workspace_kubernetes));
MESSAGE(pipeline_config, "PipelineConfig", {"resourceTtlOnCompletion", P_INT32, P_ONE, NULL, 0}, M("workspace", workspace),
        {"resourceTtlOnSuccess", P_INT32, P_ONE, NULL, 0}, {"resourceTtlOnFailure", P_INT32, P_ONE, NULL, 0},
        {"activeDeadlineSeconds", P_INT32, P_ONE, NULL, 0});
MESSAGE(single_platform, "SinglePlatformSpec", M("deploymentSpec", platform_deployment), S("platform"),
        {"config", P_STRUCT, P_ONE, NULL, 0}, M("pipelineConfig", pipeline_config));
static const struct proto_field platform_fields[] = {MAPOF("platforms", single_platform), END};
const struct proto_message proto_platform_spec = {"PlatformSpec", platform_fields};

/* ---- the whole ------------------------------------------------------------------------------------------------ */

MESSAGE(passthrough, "TaskConfigPassthrough", {"field", P_ENUM, P_ONE, &passthrough_type, 0}, B("applyToTask"));
MESSAGE(component, "ComponentSpec", M("inputDefinitions", inputs), M("outputDefinitions", outputs),
        {"dag", P_MESSAGE, P_ONE, &dag, 1}, {"executorLabel", P_STRING, P_ONE, NULL, 1},
        LISTOF("singlePlatformSpecs", single_platform), LISTOF("taskConfigPassthroughs", passthrough));
MESSAGE(pipeline_info, "PipelineInfo", S("name"), S("displayName"), S("description"));
static const struct proto_field pipeline_fields[] = {
    M("pipelineInfo", pipeline_info),
    {"deploymentSpec", P_STRUCT, P_ONE, NULL, 0},
    S("sdkVersion"),
    S("schemaVersion"),
    MAPOF("components", component),
    M("root", component),
    S("defaultPipelineRoot"),
    END,
};
const struct proto_message proto_pipeline_spec = {"PipelineSpec", pipeline_fields};

/* ---- executors (inside the free deploymentSpec) --------------------------------------------------------------- */

MESSAGE(exec_hook, "Exec", {"command", P_STRING, P_LIST, NULL, 0}, {"args", P_STRING, P_LIST, NULL, 0});
MESSAGE(lifecycle, "Lifecycle", M("preCacheCheck", exec_hook));
MESSAGE(accelerator, "AcceleratorConfig", S("type"), {"count", P_INT64, P_ONE, NULL, 0}, S("resourceType"), S("resourceCount"));
MESSAGE(resources, "ResourceSpec", {"cpuLimit", P_DOUBLE, P_ONE, NULL, 0}, {"memoryLimit", P_DOUBLE, P_ONE, NULL, 0},
        {"cpuRequest", P_DOUBLE, P_ONE, NULL, 0}, {"memoryRequest", P_DOUBLE, P_ONE, NULL, 0}, S("resourceCpuLimit"),
        S("resourceMemoryLimit"), S("resourceCpuRequest"), S("resourceMemoryRequest"), M("accelerator", accelerator));
MESSAGE(env_var, "EnvVar", S("name"), S("value"));
MESSAGE(container, "PipelineContainerSpec", S("image"), {"command", P_STRING, P_LIST, NULL, 0},
        {"args", P_STRING, P_LIST, NULL, 0}, M("lifecycle", lifecycle), M("resources", resources), LISTOF("env", env_var));
MESSAGE(importer, "ImporterSpec", M("artifactUri", runtime_value), M("typeSchema", artifact_type),
        MAPOF("properties", runtime_value), MAPOF("customProperties", runtime_value), B("reimport"),
        {"metadata", P_STRUCT, P_ONE, NULL, 0}, B("downloadToWorkspace"));
MESSAGE(executor, "ExecutorSpec", {"container", P_MESSAGE, P_ONE, &container, 1}, {"importer", P_MESSAGE, P_ONE, &importer, 1},
        {"resolver", P_STRUCT, P_ONE, NULL, 1}, {"customJob", P_STRUCT, P_ONE, NULL, 1});
static const struct proto_field deployment_fields[] = {MAPOF("executors", executor), END};
const struct proto_message proto_deployment = {"PipelineDeploymentConfig", deployment_fields};
