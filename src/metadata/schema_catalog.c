/* pipelines, their versions and experiments: src/pipelines/store/catalog.h reads and writes them. */
#include "metadata/schema_sql.h"

/* tags: a JSON object text, NULL for none. Times are Unix nanoseconds. version_sources keeps what was uploaded, byte for byte,
 * out of the way of lists. */
const char schema_catalog_sql[] =
    "CREATE TABLE pipelines ("
    " pipeline_id TEXT PRIMARY KEY, name TEXT NOT NULL, display_name TEXT NOT NULL, description TEXT NOT NULL DEFAULT '',"
    " namespace TEXT NOT NULL DEFAULT '', tags TEXT, created_at INTEGER NOT NULL,"
    " UNIQUE (namespace, name)) WITHOUT ROWID;"
    "CREATE INDEX pipelines_created ON pipelines (created_at, pipeline_id);"
    "CREATE INDEX pipelines_shown ON pipelines (display_name COLLATE NOCASE, display_name, pipeline_id);"
    "CREATE TABLE pipeline_versions ("
    " pipeline_version_id TEXT PRIMARY KEY, pipeline_id TEXT NOT NULL REFERENCES pipelines (pipeline_id), name TEXT NOT NULL,"
    " display_name TEXT NOT NULL, description TEXT NOT NULL DEFAULT '', code_source_url TEXT NOT NULL DEFAULT '',"
    " package_url TEXT NOT NULL DEFAULT '', tags TEXT, spec_hash TEXT NOT NULL, created_at INTEGER NOT NULL,"
    " UNIQUE (pipeline_id, name)) WITHOUT ROWID;"
    "CREATE INDEX pipeline_versions_created ON pipeline_versions (pipeline_id, created_at, pipeline_version_id);"
    "CREATE INDEX pipeline_versions_spec ON pipeline_versions (spec_hash);"
    "CREATE TABLE version_sources ("
    " pipeline_version_id TEXT PRIMARY KEY REFERENCES pipeline_versions (pipeline_version_id) ON DELETE CASCADE,"
    " body BLOB NOT NULL);"
    "CREATE TABLE experiments ("
    " experiment_id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL DEFAULT '',"
    " namespace TEXT NOT NULL DEFAULT '', storage_state INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL,"
    " last_run_created_at INTEGER NOT NULL DEFAULT 0, UNIQUE (namespace, name)) WITHOUT ROWID;"
    "CREATE INDEX experiments_created ON experiments (created_at, experiment_id);"
    "CREATE INDEX experiments_shown ON experiments (name COLLATE NOCASE, name, experiment_id);"
    /* What lists of runs are sorted and counted by, beside runs_created. */
    "CREATE INDEX runs_shown ON runs (display_name COLLATE NOCASE, display_name, run_id);"
    "CREATE INDEX runs_kept ON runs (storage_state, created_at, run_id);"
    "CREATE INDEX runs_experiment_kept ON runs (experiment_id, storage_state, created_at, run_id);";
