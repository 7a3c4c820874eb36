/* metadata.h - lineage: artifacts, who made them, who used them, and the scalars they carry.
 *
 * An execution is a row of `tasks` (pipelines/store): its integer id is the execution id here. An artifact is immutable once
 * written. A link ties an artifact to an execution with a direction and the name of the input or output. Metrics are the numbers
 * of `system.Metrics` artifacts, one row each, so that runs can be sorted by them. The older shapes (contexts, typed executions,
 * events) are derived by readers, not stored.
 *
 * Writers take a `struct db *` and run inside a transaction of the database's writer (data/writer.h). Ids come from md_ids:
 * blocks are reserved durably, so that an id is known before its row is written and is never given twice. Source:
 * pipelines-runtime spec 19; pipelines-api spec 8. */
#ifndef TM_METADATA_METADATA_H
#define TM_METADATA_METADATA_H

#include "data/writer.h"
#include "value/json.h"

/* ---- ids ------------------------------------------------------------------------------------------------------ */

enum md_seq { MD_SEQ_ARTIFACT, MD_SEQ_TASK, MD_SEQ_LINK, MD_SEQ_COUNT };
/* Thread-safe. Reserves blocks through the writer when it runs out; never call it from a writer job (use the _tx form there). */
struct md_ids;
struct md_ids *md_ids_new(struct db_writer *w);
void md_ids_free(struct md_ids *ids);
/* Reserves n consecutive ids; the first one in *first. */
int md_ids_take(struct md_ids *ids, const struct ctx *ctx, enum md_seq seq, int64_t n, int64_t *first, struct err *err);
int md_ids_take_tx(struct db *db, enum md_seq seq, int64_t n, int64_t *first, struct err *err);

/* ---- artifacts ------------------------------------------------------------------------------------------------ */

/* Owned by whoever filled it; md_artifact_clear frees the strings. */
struct md_artifact {
    int64_t id;
    char *name;         /* output key at its producer ("model"), or what an importer or caller named it */
    char *schema_title; /* "system.Model", "google.VertexModel", ... */
    char *schema_version;
    char *uri;
    char *metadata;    /* JSON object text */
    char *ns;          /* namespace; "" in single-user mode */
    char *pipeline;    /* pipeline name; importers look for existing ones in it */
    char *custom_path; /* NULL unless the producer set one */
    char *run_id;      /* of the producer; NULL when made outside runs */
    int64_t task_id;   /* execution id of the producer; 0: none */
    int64_t created_ns;
    int64_t size; /* bytes when known, else -1 */
};
void md_artifact_clear(struct md_artifact *a);
void md_artifact_free(void *a); /* clear and free */
/* a->id is given by the caller (md_ids). Metrics rows are made of the numbers of a `system.Metrics` artifact. */
int md_artifact_insert(struct db *db, const struct md_artifact *a, struct err *err);
/* 0 and *out filled, or -1 with ERR_NOT_FOUND. */
int md_artifact_get(struct db *db, int64_t id, struct md_artifact *out, struct err *err);
/* An artifact of the same pipeline with the same type, URI and metadata; *id = 0 when there is none. */
int md_artifact_find(struct db *db, const struct md_artifact *like, int64_t *id, struct err *err);

/* Columns in the order that md_artifact_row reads them, for queries of a caller's own: "SELECT " MD_ARTIFACT_COLUMNS " FROM
 * artifacts a WHERE ..." */
#define MD_ARTIFACT_COLUMNS                                                                                                      \
    "a.id, a.name, a.schema_title, a.schema_version, a.uri, a.metadata, a.namespace, a.pipeline, a.custom_path, a.run_id, "      \
    "a.task_id, a.created_at, a.size"
void md_artifact_row(struct stmt *s, struct md_artifact *out);
/* "Artifact", "Model", "Metric", ...: the type's name in the tasks-and-artifacts API. */
const char *md_artifact_type(const char *schema_title);

/* ---- links ---------------------------------------------------------------------------------------------------- */

/* What kind of input or output: names and numbers of the API's IOType. */
enum md_io {
    MD_IO_UNSPECIFIED,
    MD_IO_COMPONENT_DEFAULT_INPUT,
    MD_IO_TASK_OUTPUT_INPUT,
    MD_IO_COMPONENT_INPUT,
    MD_IO_RUNTIME_VALUE_INPUT,
    MD_IO_COLLECTED_INPUTS,
    MD_IO_ITERATOR_INPUT,
    MD_IO_ITERATOR_INPUT_RAW,
    MD_IO_ITERATOR_OUTPUT,
    MD_IO_OUTPUT,
    MD_IO_ONE_OF_OUTPUT,
    MD_IO_TASK_FINAL_STATUS_OUTPUT,
};
const char *md_io_name(enum md_io io);

struct md_link {
    int64_t artifact_id, task_id;
    char *run_id;
    enum md_io io;
    char *key;              /* name of the input or output */
    int position;           /* index in an artifact list */
    char *producer;         /* task that produced it, "" when this one */
    int producer_iteration; /* -1: none */
};
/* ERR_CONFLICT: there is no such artifact, any more: it went with the run that made it. */
int md_link_insert(struct db *db, const struct md_link *l, struct err *err);
typedef int md_link_fn(void *self, const struct md_link *l, const struct md_artifact *a);
/* Calls fn for each link of a run's executions (task_id 0) or of one; in order of execution, key, position. */
int md_links(struct db *db, const char *run_id, int64_t task_id, md_link_fn *fn, void *self, struct err *err);

/* ---- metrics -------------------------------------------------------------------------------------------------- */

struct md_metric {
    const char *task;     /* display name of the execution */
    const char *artifact; /* name of the artifact */
    const char *name;
    double value;
    int64_t artifact_id, task_id;
};
typedef int md_metric_fn(void *self, const struct md_metric *m);
int md_metrics(struct db *db, const char *run_id, md_metric_fn *fn, void *self, struct err *err);

/* Removes what a run's executions made: links, metrics, and artifacts that no other run uses. Cache entries of those artifacts go
 * with them. */
int md_run_delete(struct db *db, const char *run_id, struct err *err);

#endif
