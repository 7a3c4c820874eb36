/* schema_sql.h - the SQL of each migration, one file each; private to schema.c. */
#ifndef TM_METADATA_SCHEMA_SQL_H
#define TM_METADATA_SCHEMA_SQL_H

extern const char schema_runs_sql[];      /* 1: runs, tasks, lineage, step cache */
extern const char schema_catalog_sql[];   /* 2: pipelines, versions, experiments */
extern const char schema_recurring_sql[]; /* 3: recurring runs */
extern const char schema_stores_sql[];    /* 4: object stores of runs */
extern const char schema_lists_sql[];     /* 5: indexes and counts for lists */
extern const char schema_metrics_sql[];   /* 6: runs sorted by a metric */
extern const char schema_packed_sql[];    /* 7: columns of runs, packed for filters */
extern const char schema_trash_sql[];     /* 8: artifacts of deleted runs that are to be deleted */
extern const char schema_emptying_sql[];  /* 9: which of them are being deleted */

#endif
