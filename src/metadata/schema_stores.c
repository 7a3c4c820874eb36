#include "metadata/schema_sql.h"

/* The object stores of a run as they were configured when it started: JSON object text, NULL for none. */
const char schema_stores_sql[] = "ALTER TABLE runs ADD COLUMN stores TEXT;";
