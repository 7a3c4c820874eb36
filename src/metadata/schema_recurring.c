/* Recurring runs, what follows changes of runs and tasks, and what lists of a million runs are sorted by:
 * src/pipelines/store/recurring.h. */
#include "metadata/schema_sql.h"

/* trigger: 0 none (once), 1 cron, 2 periodic. last_at is the newest slot that was run, 0 for none. A slot is a run: the index
 * makes sure of it. changed_at of runs and tasks grows with every change of a state (store.h row_stamp). */
const char schema_recurring_sql[] =
    "CREATE TABLE recurring_runs ("
    " recurring_run_id TEXT PRIMARY KEY, display_name TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL DEFAULT '',"
    " experiment_id TEXT NOT NULL, namespace TEXT NOT NULL, pipeline_id TEXT NOT NULL DEFAULT '',"
    " pipeline_version_id TEXT NOT NULL DEFAULT '', inline_spec INTEGER NOT NULL, spec_hash TEXT NOT NULL DEFAULT '',"
    " parameters TEXT, pipeline_root TEXT NOT NULL DEFAULT '', service_account TEXT NOT NULL DEFAULT '', plugins_input TEXT,"
    " max_concurrency INTEGER NOT NULL, no_catchup INTEGER NOT NULL, enabled INTEGER NOT NULL, trigger INTEGER NOT NULL,"
    " cron TEXT NOT NULL DEFAULT '', time_zone TEXT NOT NULL DEFAULT '', interval_s INTEGER NOT NULL DEFAULT 0,"
    " start_at INTEGER NOT NULL DEFAULT 0, end_at INTEGER NOT NULL DEFAULT 0, last_at INTEGER NOT NULL DEFAULT 0,"
    " last_index INTEGER NOT NULL DEFAULT 0, error_code INTEGER NOT NULL DEFAULT 0, error_message TEXT,"
    " created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, object_uid TEXT NOT NULL DEFAULT '') WITHOUT ROWID;"
    "CREATE INDEX recurring_created ON recurring_runs (created_at, recurring_run_id);"
    "CREATE INDEX recurring_experiment ON recurring_runs (experiment_id, created_at);"
    "CREATE INDEX recurring_enabled ON recurring_runs (enabled) WHERE enabled;"
    "CREATE INDEX recurring_spec ON recurring_runs (spec_hash);"

    "ALTER TABLE runs ADD COLUMN recurring_index INTEGER NOT NULL DEFAULT -1;"
    "ALTER TABLE runs ADD COLUMN changed_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE runs ADD COLUMN archived_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE tasks ADD COLUMN changed_at INTEGER NOT NULL DEFAULT 0;"
    "CREATE UNIQUE INDEX runs_slot ON runs (recurring_run_id, scheduled_at) WHERE recurring_run_id <> '';"
    "CREATE INDEX runs_recurring_live ON runs (recurring_run_id) WHERE recurring_run_id <> '' AND state NOT IN (3, 4, 5, 7);"
    "CREATE INDEX tasks_changed ON tasks (run_id, changed_at);"
    "CREATE INDEX tasks_parent ON tasks (run_id, parent, id);";
