/* messages.c - the messages of the API as tables (spec 3.3, 4, 5, 6, 7). */
#include "pipelines/api/proto_json.h"

#define MESSAGE(var, text, table)                                                                                                \
    const struct pj_message var = {.name = (text), .fields = (table), .n = sizeof(table) / sizeof *(table)}

static const struct pj_word STORAGE_STATES[] = {{"STORAGE_STATE_UNSPECIFIED", 0}, {"AVAILABLE", 1}, {"ARCHIVED", 2}, {0}};
static const struct pj_word RUNTIME_STATES[] = {
    {"RUNTIME_STATE_UNSPECIFIED", 0},
    {"PENDING", 1},
    {"RUNNING", 2},
    {"SUCCEEDED", 3},
    {"SKIPPED", 4},
    {"FAILED", 5},
    {"CANCELING", 6},
    {"CANCELED", 7},
    {"PAUSED", 8},
    {0},
};
static const struct pj_word MODES[] = {{"MODE_UNSPECIFIED", 0}, {"ENABLE", 1}, {"DISABLE", 2}, {0}};
static const struct pj_word STATUSES[] = {{"STATUS_UNSPECIFIED", 0}, {"ENABLED", 1}, {"DISABLED", 3}, {0}};
static const struct pj_word OPERATIONS[] = {
    {"OPERATION_UNSPECIFIED", 0},
    {"EQUALS", 1},
    {"NOT_EQUALS", 2},
    {"GREATER_THAN", 3},
    {"GREATER_THAN_EQUALS", 5},
    {"LESS_THAN", 6},
    {"LESS_THAN_EQUALS", 7},
    {"IN", 8},
    {"IS_SUBSTRING", 9},
    {0},
};

static const struct pj_field ANY_FIELDS[] = {{"type_url", PJ_STRING}, {"value", PJ_STRING}};
static MESSAGE(ANY, "Any", ANY_FIELDS);
static const struct pj_field STATUS_FIELDS[] = {
    {"code", PJ_INT32},
    {"message", PJ_STRING},
    {"details", PJ_MESSAGE, PJ_LIST, &ANY},
};
static MESSAGE(STATUS, "Status", STATUS_FIELDS);

static const struct pj_field PIPELINE_FIELDS[] = {
    {"pipeline_id", PJ_STRING}, {"name", PJ_STRING},      {"display_name", PJ_STRING}, {"description", PJ_STRING},
    {"created_at", PJ_TIME},    {"namespace", PJ_STRING}, {"tags", PJ_STRING, PJ_MAP}, {"error", PJ_MESSAGE, PJ_ONE, &STATUS},
};
MESSAGE(PJ_PIPELINE, "Pipeline", PIPELINE_FIELDS);

static const struct pj_field URL_FIELDS[] = {{"pipeline_url", PJ_STRING}};
static MESSAGE(URL, "Url", URL_FIELDS);
static const struct pj_field VERSION_FIELDS[] = {
    {"pipeline_id", PJ_STRING},
    {"pipeline_version_id", PJ_STRING},
    {"name", PJ_STRING},
    {"display_name", PJ_STRING},
    {"description", PJ_STRING},
    {"created_at", PJ_TIME},
    {"package_url", PJ_MESSAGE, PJ_ONE, &URL},
    {"code_source_url", PJ_STRING},
    {"pipeline_spec", PJ_STRUCT},
    {"tags", PJ_STRING, PJ_MAP},
    {"error", PJ_MESSAGE, PJ_ONE, &STATUS},
};
MESSAGE(PJ_PIPELINE_VERSION, "PipelineVersion", VERSION_FIELDS);

static const struct pj_field CREATE_FIELDS[] = {
    {"pipeline", PJ_MESSAGE, PJ_ONE, &PJ_PIPELINE},
    {"pipeline_version", PJ_MESSAGE, PJ_ONE, &PJ_PIPELINE_VERSION},
};
MESSAGE(PJ_CREATE_PIPELINE, "CreatePipelineAndVersionRequest", CREATE_FIELDS);

static const struct pj_field EXPERIMENT_FIELDS[] = {
    {"experiment_id", PJ_STRING},     {"display_name", PJ_STRING}, {"description", PJ_STRING},
    {"created_at", PJ_TIME},          {"namespace", PJ_STRING},    {"storage_state", PJ_ENUM, .words = STORAGE_STATES},
    {"last_run_created_at", PJ_TIME},
};
MESSAGE(PJ_EXPERIMENT, "Experiment", EXPERIMENT_FIELDS);

static const struct pj_field REFERENCE_FIELDS[] = {{"pipeline_id", PJ_STRING}, {"pipeline_version_id", PJ_STRING}};
static MESSAGE(REFERENCE, "PipelineVersionReference", REFERENCE_FIELDS);
static const struct pj_field RUNTIME_CONFIG_FIELDS[] = {{"parameters", PJ_STRUCT}, {"pipeline_root", PJ_STRING}};
static MESSAGE(RUNTIME_CONFIG, "RuntimeConfig", RUNTIME_CONFIG_FIELDS);
static const struct pj_field RUNTIME_STATUS_FIELDS[] = {
    {"update_time", PJ_TIME},
    {"state", PJ_ENUM, .words = RUNTIME_STATES},
    {"error", PJ_MESSAGE, PJ_ONE, &STATUS},
};
static MESSAGE(RUNTIME_STATUS, "RuntimeStatus", RUNTIME_STATUS_FIELDS);
static const struct pj_field RUN_FIELDS[] = {
    {"experiment_id", PJ_STRING},
    {"run_id", PJ_STRING},
    {"display_name", PJ_STRING},
    {"storage_state", PJ_ENUM, .words = STORAGE_STATES},
    {"description", PJ_STRING},
    {"pipeline_version_id", PJ_STRING, .oneof = 1},
    {"pipeline_spec", PJ_STRUCT, .oneof = 1},
    {"pipeline_version_reference", PJ_MESSAGE, PJ_ONE, &REFERENCE, .oneof = 1},
    {"runtime_config", PJ_MESSAGE, PJ_ONE, &RUNTIME_CONFIG},
    {"service_account", PJ_STRING},
    {"created_at", PJ_TIME},
    {"scheduled_at", PJ_TIME},
    {"finished_at", PJ_TIME},
    {"state", PJ_ENUM, .words = RUNTIME_STATES},
    {"error", PJ_MESSAGE, PJ_ONE, &STATUS},
    {"run_details", PJ_STRUCT},
    {"recurring_run_id", PJ_STRING},
    {"state_history", PJ_MESSAGE, PJ_LIST, &RUNTIME_STATUS},
    {"plugins_input", PJ_STRUCT, PJ_MAP},
    {"plugins_output", PJ_STRUCT, PJ_MAP},
};
MESSAGE(PJ_RUN, "Run", RUN_FIELDS);

static const struct pj_field CRON_FIELDS[] = {
    {"start_time", PJ_TIME}, {"end_time", PJ_TIME}, {"cron", PJ_STRING}, {"time_zone", PJ_STRING}, /* ours */
};
static MESSAGE(CRON, "CronSchedule", CRON_FIELDS);
static const struct pj_field PERIODIC_FIELDS[] = {{"start_time", PJ_TIME}, {"end_time", PJ_TIME}, {"interval_second", PJ_INT64}};
static MESSAGE(PERIODIC, "PeriodicSchedule", PERIODIC_FIELDS);
static const struct pj_field TRIGGER_FIELDS[] = {
    {"cron_schedule", PJ_MESSAGE, PJ_ONE, &CRON, .oneof = 1},
    {"periodic_schedule", PJ_MESSAGE, PJ_ONE, &PERIODIC, .oneof = 1},
};
static MESSAGE(TRIGGER, "Trigger", TRIGGER_FIELDS);
static const struct pj_field RECURRING_FIELDS[] = {
    {"recurring_run_id", PJ_STRING},
    {"display_name", PJ_STRING},
    {"description", PJ_STRING},
    {"pipeline_version_id", PJ_STRING, .oneof = 1},
    {"pipeline_spec", PJ_STRUCT, .oneof = 1},
    {"pipeline_version_reference", PJ_MESSAGE, PJ_ONE, &REFERENCE, .oneof = 1},
    {"runtime_config", PJ_MESSAGE, PJ_ONE, &RUNTIME_CONFIG},
    {"service_account", PJ_STRING},
    {"max_concurrency", PJ_INT64},
    {"trigger", PJ_MESSAGE, PJ_ONE, &TRIGGER},
    {"mode", PJ_ENUM, .words = MODES},
    {"created_at", PJ_TIME},
    {"updated_at", PJ_TIME},
    {"status", PJ_ENUM, .words = STATUSES},
    {"error", PJ_MESSAGE, PJ_ONE, &STATUS},
    {"no_catchup", PJ_BOOL},
    {"namespace", PJ_STRING},
    {"experiment_id", PJ_STRING},
    {"plugins_input", PJ_STRUCT, PJ_MAP},
};
MESSAGE(PJ_RECURRING_RUN, "RecurringRun", RECURRING_FIELDS);

static const struct pj_field FIND_CACHED_FIELDS[] = {{"namespace", PJ_STRING}, {"cache_fingerprint", PJ_STRING}};
MESSAGE(PJ_FIND_CACHED, "FindCachedTaskRequest", FIND_CACHED_FIELDS);

static const struct pj_field INTS_FIELDS[] = {{"values", PJ_INT32, PJ_LIST}};
static MESSAGE(INTS, "IntValues", INTS_FIELDS);
static const struct pj_field LONGS_FIELDS[] = {{"values", PJ_INT64, PJ_LIST}};
static MESSAGE(LONGS, "LongValues", LONGS_FIELDS);
static const struct pj_field TEXTS_FIELDS[] = {{"values", PJ_STRING, PJ_LIST}};
static MESSAGE(TEXTS, "StringValues", TEXTS_FIELDS);
static const struct pj_field PREDICATE_FIELDS[] = {
    {"operation", PJ_ENUM, .words = OPERATIONS},
    {"key", PJ_STRING},
    {"int_value", PJ_INT32, .oneof = 1},
    {"long_value", PJ_INT64, .oneof = 1},
    {"string_value", PJ_STRING, .oneof = 1},
    {"timestamp_value", PJ_TIME, .oneof = 1},
    {"int_values", PJ_MESSAGE, PJ_ONE, &INTS, .oneof = 1},
    {"long_values", PJ_MESSAGE, PJ_ONE, &LONGS, .oneof = 1},
    {"string_values", PJ_MESSAGE, PJ_ONE, &TEXTS, .oneof = 1},
};
static MESSAGE(PREDICATE, "Predicate", PREDICATE_FIELDS);
static const struct pj_field FILTER_FIELDS[] = {{"predicates", PJ_MESSAGE, PJ_LIST, &PREDICATE}};
MESSAGE(PJ_FILTER, "Filter", FILTER_FIELDS);
