#include "metadata/schema_sql.h"

/* Times are Unix nanoseconds, 0 = not yet; JSON is text. */
const char schema_runs_sql[] =
    "CREATE TABLE sequences (name TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;"

    "CREATE TABLE pipeline_specs (hash TEXT PRIMARY KEY, spec TEXT NOT NULL, platform TEXT) WITHOUT ROWID;"

    "CREATE TABLE runs ("
    " run_id TEXT PRIMARY KEY, name TEXT NOT NULL, display_name TEXT NOT NULL, description TEXT NOT NULL DEFAULT '',"
    " experiment_id TEXT NOT NULL DEFAULT '', namespace TEXT NOT NULL DEFAULT '', pipeline_id TEXT NOT NULL DEFAULT '',"
    " pipeline_version_id TEXT NOT NULL DEFAULT '', pipeline_name TEXT NOT NULL DEFAULT '', spec_hash TEXT NOT NULL,"
    " inline_spec INTEGER NOT NULL DEFAULT 0, parameters TEXT, pipeline_root_given TEXT, pipeline_root TEXT,"
    " service_account TEXT NOT NULL DEFAULT '', recurring_run_id TEXT NOT NULL DEFAULT '', plugins_input TEXT,"
    " plugins_output TEXT, storage_state INTEGER NOT NULL DEFAULT 0, state INTEGER NOT NULL, state_history TEXT NOT NULL,"
    " error_code INTEGER NOT NULL DEFAULT 0, error_message TEXT, terminated_by TEXT, created_at INTEGER NOT NULL,"
    " scheduled_at INTEGER NOT NULL, started_at INTEGER NOT NULL DEFAULT 0, finished_at INTEGER NOT NULL DEFAULT 0,"
    " generation INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX runs_created ON runs (created_at, run_id);"
    "CREATE INDEX runs_experiment ON runs (experiment_id, created_at);"
    "CREATE INDEX runs_live ON runs (state) WHERE state NOT IN (3, 4, 5, 7);"
    "CREATE INDEX runs_spec ON runs (spec_hash);"

    /* An execution: one instance of a task of the pipeline, with all its attempts. */
    "CREATE TABLE tasks ("
    " id INTEGER PRIMARY KEY, task_id TEXT NOT NULL, run_id TEXT NOT NULL, parent INTEGER NOT NULL, name TEXT NOT NULL,"
    " display_name TEXT NOT NULL, path TEXT NOT NULL, type INTEGER NOT NULL, iteration_index INTEGER NOT NULL DEFAULT -1,"
    " iteration_count INTEGER NOT NULL DEFAULT -1, state INTEGER NOT NULL, state_history TEXT NOT NULL DEFAULT '[]',"
    " error_code INTEGER NOT NULL DEFAULT 0, error_message TEXT, created_at INTEGER NOT NULL,"
    " started_at INTEGER NOT NULL DEFAULT 0, finished_at INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0,"
    " next_attempt_at INTEGER NOT NULL DEFAULT 0, pod_name TEXT, pod_uid TEXT, pods TEXT, inputs TEXT, outputs TEXT, io TEXT,"
    " cache_key TEXT, cache_parts TEXT, cached_from INTEGER NOT NULL DEFAULT 0, image TEXT);"
    "CREATE UNIQUE INDEX tasks_path ON tasks (run_id, path);"
    "CREATE UNIQUE INDEX tasks_task_id ON tasks (task_id);"

    "CREATE TABLE artifacts ("
    " id INTEGER PRIMARY KEY, name TEXT NOT NULL, schema_title TEXT NOT NULL, schema_version TEXT NOT NULL DEFAULT '',"
    " uri TEXT NOT NULL, metadata TEXT NOT NULL DEFAULT '{}', namespace TEXT NOT NULL DEFAULT '',"
    " pipeline TEXT NOT NULL DEFAULT '', custom_path TEXT, run_id TEXT, task_id INTEGER NOT NULL DEFAULT 0,"
    " created_at INTEGER NOT NULL, size INTEGER NOT NULL DEFAULT -1);"
    "CREATE INDEX artifacts_uri ON artifacts (uri);"
    "CREATE INDEX artifacts_run ON artifacts (run_id);"

    "CREATE TABLE artifact_tasks ("
    " id INTEGER PRIMARY KEY, artifact_id INTEGER NOT NULL, run_id TEXT NOT NULL, task_id INTEGER NOT NULL, io INTEGER NOT NULL,"
    " key TEXT NOT NULL, position INTEGER NOT NULL DEFAULT 0, producer TEXT NOT NULL DEFAULT '',"
    " producer_iteration INTEGER NOT NULL DEFAULT -1);"
    "CREATE INDEX artifact_tasks_task ON artifact_tasks (run_id, task_id);"
    "CREATE INDEX artifact_tasks_artifact ON artifact_tasks (artifact_id);"

    "CREATE TABLE metrics (artifact_id INTEGER NOT NULL, name TEXT NOT NULL, run_id TEXT NOT NULL, task_id INTEGER NOT NULL,"
    " value REAL NOT NULL, PRIMARY KEY (artifact_id, name)) WITHOUT ROWID;"
    "CREATE INDEX metrics_run ON metrics (run_id, name);"

    /* What a step with this fingerprint made last. */
    "CREATE TABLE step_cache (key TEXT NOT NULL, namespace TEXT NOT NULL, pipeline TEXT NOT NULL, task_id INTEGER NOT NULL,"
    " run_id TEXT NOT NULL, outputs TEXT NOT NULL, parts TEXT, created_at INTEGER NOT NULL,"
    " PRIMARY KEY (key, namespace, pipeline)) WITHOUT ROWID;"
    "CREATE INDEX step_cache_run ON step_cache (run_id);";
