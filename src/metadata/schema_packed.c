/* Columns of runs, packed by blocks of rows, for filters that no index answers: src/pipelines/store/packed.h. */
#include "metadata/schema_sql.h"

/* A block is packed when it has a row in run_packed; whatever is written to one of its runs takes that row away, in the same
 * transaction. What is left in run_columns is replaced when the block is packed again. */
const char schema_packed_sql[] =
    "CREATE TABLE run_packed (block INTEGER PRIMARY KEY, present BLOB NOT NULL);"
    "CREATE TABLE run_columns (id INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TRIGGER runs_packed_insert AFTER INSERT ON runs BEGIN"
    " DELETE FROM run_packed WHERE block = new.rowid >> 10; END;"
    "CREATE TRIGGER runs_packed_delete AFTER DELETE ON runs BEGIN"
    " DELETE FROM run_packed WHERE block = old.rowid >> 10; END;"
    "CREATE TRIGGER runs_packed_update AFTER UPDATE ON runs BEGIN"
    " DELETE FROM run_packed WHERE block = old.rowid >> 10; END;";
