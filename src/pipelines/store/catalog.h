/* catalog.h - pipelines, their versions, and experiments, as rows.
 *
 * Functions that change something run inside a transaction of the writer; those that only read, on any connection. The structs
 * own their strings (malloc'd; NULL and "" mean the same: not given); the _clear functions free them. Times are Unix nanoseconds,
 * 0 = not yet. Nothing is checked here but what the tables themselves forbid (a name that is taken: ERR_EXISTS): rules about
 * names and lengths are the API's. A missing row is ERR_NOT_FOUND with a message that says what kind it was. Source:
 * pipelines-api spec 4, 5. */
#ifndef TM_PIPELINES_STORE_CATALOG_H
#define TM_PIPELINES_STORE_CATALOG_H

#include "pipelines/store/rows.h"

/* ---- pipelines ------------------------------------------------------------------------------------------------ */

struct pipeline {
    char *pipeline_id, *name, *display_name, *description, *ns;
    char *tags; /* JSON object text, NULL: none */
    int64_t created_ns;
};
void pipeline_clear(struct pipeline *p);
#define PIPELINE(name) CLEANUP(pipeline_clear) struct pipeline name = {0}

extern const struct row_table PIPELINE_ROWS;
int pipeline_insert(struct db *db, const struct pipeline *p, struct err *err);
int pipeline_get(struct db *db, const char *id, struct pipeline *out, struct err *err);
int pipeline_get_by_name(struct db *db, const char *ns, const char *name, struct pipeline *out, struct err *err);
/* NULL leaves a field as it is; tags "" removes them. */
int pipeline_update(struct db *db, const char *id, const char *display_name, const char *tags, struct err *err);
/* Without cascade ERR_INVALID while there are versions (the message names one). */
int pipeline_delete(struct db *db, const char *id, bool cascade, struct err *err);

/* ---- versions ------------------------------------------------------------------------------------------------- */

struct pipeline_version {
    char *version_id, *pipeline_id, *name, *display_name, *description, *code_source_url, *package_url;
    char *tags;
    char *spec_hash; /* row of pipeline_specs: store.h spec_get */
    int64_t created_ns;
};
void version_clear(struct pipeline_version *v);
#define PIPELINE_VERSION(name) CLEANUP(version_clear) struct pipeline_version name = {0}

extern const struct row_table VERSION_ROWS;
/* source: the bytes that were uploaded or fetched. */
int version_insert(struct db *db, const struct pipeline_version *v, const void *source, size_t n, struct err *err);
int version_get(struct db *db, const char *id, struct pipeline_version *out, struct err *err);
/* The version of a pipeline with the greatest created_at, ties by greatest id. ERR_NOT_FOUND when it has none. */
int version_latest(struct db *db, const char *pipeline_id, struct pipeline_version *out, struct err *err);
int version_update(struct db *db, const char *id, const char *display_name, const char *tags, struct err *err);
int version_delete(struct db *db, const char *id, struct err *err); /* and its spec, when nothing else refers to it */
int versions_delete_all(struct db *db, const char *pipeline_id, struct err *err);

/* ---- experiments ---------------------------------------------------------------------------------------------- */

#define DEFAULT_EXPERIMENT_NAME "Default"

struct experiment {
    char *experiment_id, *name, *description, *ns;
    bool archived;
    int64_t created_ns, last_run_ns;
};
void experiment_clear(struct experiment *e);
#define EXPERIMENT(name) CLEANUP(experiment_clear) struct experiment name = {0}

extern const struct row_table EXPERIMENT_ROWS;
int experiment_insert(struct db *db, const struct experiment *e, struct err *err);
int experiment_get(struct db *db, const char *id, struct experiment *out, struct err *err);
/* The default experiment's id (UUID_TEXT bytes), made when there is none. */
int experiment_default(struct db *db, int64_t now_ns, char *id, struct err *err);
/* Archiving takes the experiment's runs with it and disables its recurring runs; unarchiving restores the experiment alone. */
int experiment_set_archived(struct db *db, const char *id, bool archived, int64_t now_ns, struct err *err);
/* The row only: runs keep its id. */
int experiment_delete(struct db *db, const char *id, struct err *err);
int experiment_touch(struct db *db, const char *id, int64_t last_run_ns, struct err *err); /* last_run_created_at */

#endif
