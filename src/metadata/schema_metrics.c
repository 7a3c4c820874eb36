/* Runs sorted by a metric, up and down: src/pipelines/api/listing_metric.c. */
#include "metadata/schema_sql.h"

const char schema_metrics_sql[] = "CREATE INDEX metrics_up ON metrics (name, value, run_id);"
                                  "CREATE INDEX metrics_down ON metrics (name, value DESC, run_id);";
