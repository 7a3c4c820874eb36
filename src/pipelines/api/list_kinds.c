/* list_kinds.c - what each kind can be sorted and filtered by (spec 3.2). */
#include "pipelines/api/listing.h"

#define KIND(var, text, table, id, columns, list)                                                                                \
    const struct list_kind var = {.name = (text),                                                                                \
                                  .from = (table),                                                                               \
                                  .id_column = (id),                                                                             \
                                  .row_sql = "SELECT " columns " FROM " table " WHERE " id " = ?1",                              \
                                  .fields = (list),                                                                              \
                                  .n_fields = ARRAY_LEN(list)}

static const struct list_field PIPELINE_FIELDS[] = {
    {"pipeline_id", "p.pipeline_id", LIST_TEXT},
    {"id", "p.pipeline_id", LIST_TEXT},
    {"name", "p.name", LIST_TEXT},
    {"display_name", "p.display_name", LIST_TEXT},
    {"created_at", "p.created_at", LIST_TIME},
    {"description", "p.description", LIST_TEXT},
    {"namespace", "p.namespace", LIST_TEXT},
    {"tags", "p.tags", LIST_TAGS, NULL, LIST_NO_SORT},
};
KIND(PIPELINE_LIST, "Pipeline", "pipelines p", "p.pipeline_id", PIPELINE_COLUMNS, PIPELINE_FIELDS);

static const struct list_word VERSION_STATES[] = {{"READY", 0}, {NULL, 0}};
static const struct list_field VERSION_FIELDS[] = {
    {"pipeline_version_id", "v.pipeline_version_id", LIST_TEXT},
    {"id", "v.pipeline_version_id", LIST_TEXT},
    {"name", "v.name", LIST_TEXT},
    {"display_name", "v.display_name", LIST_TEXT},
    {"created_at", "v.created_at", LIST_TIME},
    {"status", "0", LIST_WORDS, VERSION_STATES},
    {"description", "v.description", LIST_TEXT},
    {"pipeline_spec", "(SELECT s.spec FROM pipeline_specs s WHERE s.hash = v.spec_hash)", LIST_TEXT},
    {"tags", "v.tags", LIST_TAGS, NULL, LIST_NO_SORT},
};
KIND(VERSION_LIST, "PipelineVersion", "pipeline_versions v", "v.pipeline_version_id", VERSION_COLUMNS, VERSION_FIELDS);

static const struct list_word STORAGE_STATES[] = {
    {"AVAILABLE", 0}, {"STORAGESTATE_AVAILABLE", 0}, {"ARCHIVED", 1}, {"STORAGESTATE_ARCHIVED", 1}, {NULL, 0}};
static const struct list_field EXPERIMENT_FIELDS[] = {
    {"experiment_id", "e.experiment_id", LIST_TEXT},
    {"id", "e.experiment_id", LIST_TEXT},
    {"name", "e.name", LIST_TEXT},
    {"display_name", "e.name", LIST_TEXT},
    {"created_at", "e.created_at", LIST_TIME},
    {"last_run_created_at", "e.last_run_created_at", LIST_TIME},
    {"description", "e.description", LIST_TEXT},
    {"namespace", "e.namespace", LIST_TEXT},
    {"storage_state", "e.storage_state", LIST_WORDS, STORAGE_STATES},
};
KIND(EXPERIMENT_LIST, "Experiment", "experiments e", "e.experiment_id", EXPERIMENT_COLUMNS, EXPERIMENT_FIELDS);

/* Both vocabularies: RuntimeState, and the status words of v1. */
static const struct list_word RUN_STATES[] = {
    {"RUNTIME_STATE_UNSPECIFIED", RUN_STATE_UNSPECIFIED},
    {"UNKNOWN", RUN_STATE_UNSPECIFIED},
    {"PENDING", RUN_PENDING},
    {"RUNNING", RUN_RUNNING},
    {"SUCCEEDED", RUN_SUCCEEDED},
    {"SKIPPED", RUN_SKIPPED},
    {"FAILED", RUN_FAILED},
    {"ERROR", RUN_FAILED},
    {"CANCELING", RUN_CANCELING},
    {"TERMINATING", RUN_CANCELING},
    {"CANCELED", RUN_CANCELED},
    {"PAUSED", RUN_PAUSED},
    {NULL, 0},
};
static const struct list_field RUN_FIELDS[] = {
    {"run_id", "r.run_id", LIST_TEXT},
    {"id", "r.run_id", LIST_TEXT},
    {"display_name", "r.display_name", LIST_TEXT},
    {"name", "r.display_name", LIST_TEXT},
    {"created_at", "r.created_at", LIST_TIME},
    {"finished_at", "r.finished_at", LIST_TIME},
    {"scheduled_at", "r.scheduled_at", LIST_TIME},
    {"description", "r.description", LIST_TEXT},
    {"storage_state", "r.storage_state", LIST_WORDS, STORAGE_STATES},
    {"status", "r.state", LIST_WORDS, RUN_STATES},
    {"state", "r.state", LIST_WORDS, RUN_STATES},
    {"state_history", "r.state_history", LIST_TEXT},
    {"namespace", "''", LIST_TEXT}, /* the API's; r.namespace is where the pods are */
    {"experiment_id", "r.experiment_id", LIST_TEXT},
    {"recurring_run_id", "r.recurring_run_id", LIST_TEXT},
    {"runtime_details", "''", LIST_TEXT},
    {"metric", "r.run_id", LIST_METRIC, NULL, LIST_NO_FILTER},
};
KIND(RUN_LIST, "Run", "runs r", "r.run_id", RUN_COLUMNS, RUN_FIELDS);
