#include "metadata/schema.h"

#include "metadata/schema_sql.h"

const struct migration tidemill_migrations[] = {
    {1, schema_runs_sql},    {2, schema_catalog_sql}, {3, schema_recurring_sql}, {4, schema_stores_sql},   {5, schema_lists_sql},
    {6, schema_metrics_sql}, {7, schema_packed_sql},  {8, schema_trash_sql},     {9, schema_emptying_sql},
};
const size_t n_tidemill_migrations = ARRAY_LEN(tidemill_migrations);
