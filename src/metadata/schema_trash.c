/* Artifact bytes of deleted runs that are still to be deleted: src/pipelines/store/trash.c. */
#include "metadata/schema_sql.h"

/* uri: the directory of the run below its pipeline root. What else is kept of the run says how its store is opened. */
const char schema_trash_sql[] =
    "CREATE TABLE artifact_trash (run_id TEXT PRIMARY KEY, uri TEXT NOT NULL, namespace TEXT NOT NULL, pipeline_root TEXT,"
    " stores TEXT) WITHOUT ROWID;";

/* emptying: what stays has been decided, and nothing that lies there may be referred to any more. */
const char schema_emptying_sql[] = "ALTER TABLE artifact_trash ADD COLUMN emptying INTEGER NOT NULL DEFAULT 0;";
