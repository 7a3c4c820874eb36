/* What lists of a million runs stand on: an index for each order, and counts: src/pipelines/api/listing.c. */
#include "metadata/schema_sql.h"

/* Text is sorted without regard to case, ties by bytes, then by id: the order of these columns. Words are sorted as the lists
 * write them (sql_words): an index serves only when its expression is the same. run_counts has a row for each kind of run that
 * there is; its columns have the names that they have in runs, so that a condition on them serves both. */
const char schema_lists_sql[] =
    "CREATE INDEX runs_finished ON runs (finished_at, run_id);"
    "CREATE INDEX runs_scheduled ON runs (scheduled_at, run_id);"
    "CREATE INDEX runs_description ON runs (description COLLATE NOCASE, description, run_id);"
    "CREATE INDEX runs_experiment_text ON runs (experiment_id COLLATE NOCASE, experiment_id, run_id);"
    "CREATE INDEX runs_recurring_text ON runs (recurring_run_id COLLATE NOCASE, recurring_run_id, run_id);"
    "CREATE INDEX runs_state ON runs (state, created_at, run_id);"
    "CREATE INDEX runs_state_word ON runs (CASE state WHEN 0 THEN 'RUNTIME_STATE_UNSPECIFIED' WHEN 1 THEN "
    "'PENDING' WHEN 2 THEN 'RUNNING' WHEN 3 THEN 'SUCCEEDED' WHEN 4 THEN 'SKIPPED' WHEN 5 THEN 'FAILED' WHEN 6 "
    "THEN 'CANCELING' WHEN 7 THEN 'CANCELED' WHEN 8 THEN 'PAUSED' ELSE '' END, run_id);"
    "CREATE INDEX runs_storage_word ON runs (CASE storage_state WHEN 0 THEN 'AVAILABLE' WHEN 1 THEN 'ARCHIVED' "
    "ELSE '' END, run_id);"
    "CREATE INDEX recurring_updated ON recurring_runs (updated_at, recurring_run_id);"

    "CREATE TABLE run_counts (experiment_id TEXT NOT NULL, storage_state INTEGER NOT NULL, state INTEGER NOT NULL,"
    " n INTEGER NOT NULL, PRIMARY KEY (experiment_id, storage_state, state)) WITHOUT ROWID;"
    "INSERT INTO run_counts SELECT experiment_id, storage_state, state, count(*) FROM runs GROUP BY 1, 2, 3;"
    "CREATE TRIGGER runs_counted AFTER INSERT ON runs BEGIN"
    " INSERT INTO run_counts VALUES (new.experiment_id, new.storage_state, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;"
    " END;"
    "CREATE TRIGGER runs_uncounted AFTER DELETE ON runs BEGIN"
    " UPDATE run_counts SET n = n - 1"
    " WHERE experiment_id = old.experiment_id AND storage_state = old.storage_state AND state = old.state;"
    " DELETE FROM run_counts"
    " WHERE experiment_id = old.experiment_id AND storage_state = old.storage_state AND state = old.state AND n <= 0;"
    " END;"
    "CREATE TRIGGER runs_recounted AFTER UPDATE OF experiment_id, storage_state, state ON runs"
    " WHEN old.experiment_id <> new.experiment_id OR old.storage_state <> new.storage_state OR old.state <> new.state BEGIN"
    " UPDATE run_counts SET n = n - 1"
    " WHERE experiment_id = old.experiment_id AND storage_state = old.storage_state AND state = old.state;"
    " DELETE FROM run_counts"
    " WHERE experiment_id = old.experiment_id AND storage_state = old.storage_state AND state = old.state AND n <= 0;"
    " INSERT INTO run_counts VALUES (new.experiment_id, new.storage_state, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;"
    " END;";
