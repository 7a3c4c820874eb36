/* store.h - runs and their tasks, as rows. Pipelines, versions and experiments have their own headers beside this one.
 *
 * Who writes what: the API inserts runs and changes what a person may change (archive, terminate, retry, delete); everything that
 * happens to a run while it goes is written by the engine, in one transaction per turn. Functions that take a `struct db *` run
 * inside a transaction of the writer, or on a reader's connection when they only read; the others take the store and do that
 * themselves. All are thread-safe in that sense. Times are Unix nanoseconds, 0 = not yet. Sources: pipelines-api spec 6,
 * pipelines-runtime spec 5, 19. */
#ifndef TM_PIPELINES_STORE_STORE_H
#define TM_PIPELINES_STORE_STORE_H

#include "base/str.h"
#include "data/touched.h"
#include "data/writer.h"
#include "metadata/metadata.h"
#include "pipelines/store/changes.h"
#include "pipelines/store/rows.h"
#include "value/json.h"

/* What every function of the room stands on. The parts belong to whoever wired them (cli). */
struct store {
    struct db_writer *writer;
    struct db_readers *readers;
    struct md_ids *ids;
    const struct clock *clock;
    struct changes *changes;    /* told after each commit that changed a run (changes.h); may be NULL */
    struct db_touched *touched; /* rows of runs that the writer wrote; may be NULL */
};

/* ---- runs ----------------------------------------------------------------------------------------------------- */

/* Numbers and names of the API's RuntimeState. Tasks use the same. */
enum run_state {
    RUN_STATE_UNSPECIFIED,
    RUN_PENDING,
    RUN_RUNNING,
    RUN_SUCCEEDED,
    RUN_SKIPPED,
    RUN_FAILED,
    RUN_CANCELING,
    RUN_CANCELED,
    RUN_PAUSED
};
const char *run_state_name(enum run_state s);             /* "PENDING" ... */
bool run_state_parse(const char *s, enum run_state *out); /* any case */
bool run_state_final(enum run_state s);                   /* SUCCEEDED, SKIPPED, FAILED, CANCELED */

/* A run. All strings are malloc'd and owned; run_clear frees them. NULL and "" mean the same: not given. */
struct run {
    char *run_id; /* UUID */
    char *name;   /* "<last segment of the pipeline's name>-<5 random characters>": prefix of pod names */
    char *display_name, *description;
    char *experiment_id;
    char *ns;                                /* Kubernetes namespace of its pods */
    char *pipeline_id, *pipeline_version_id; /* reference, when it was made from a version */
    char *pipeline_name;                     /* pipelineInfo.name of the IR: scope of cache and lineage */
    char *spec_hash;                         /* row of pipeline_specs */
    bool inline_spec;                        /* made from pipeline_spec rather than a reference: answers carry the spec */
    char *parameters;                        /* runtime_config.parameters, JSON object text; NULL: none given */
    char *pipeline_root_given;               /* runtime_config.pipeline_root as given; NULL: none */
    char *pipeline_root;                     /* as used, fixed when the run starts; NULL before */
    char *stores;                            /* object stores as configured when it started, JSON object text; NULL: none */
    char *service_account;
    char *recurring_run_id;
    int64_t recurring_index;              /* number of a recurring run's run, from 1; -1: not one */
    char *plugins_input, *plugins_output; /* JSON object text or NULL */
    bool archived;                        /* storage_state */
    enum run_state state;
    char *state_history; /* JSON array text [{update_time, state, error?}] */
    int error_code;      /* google.rpc.Code; 0: none */
    char *error_message;
    char *terminated_by; /* user who asked for the end; NULL: nobody */
    int64_t created_ns, scheduled_ns, started_ns, finished_ns;
    int64_t archived_ns; /* when it was archived; 0: not, or before this was kept */
    int64_t changed;     /* row_stamp of the last change of state */
    int64_t generation;  /* counts retries of the run, from 0 */
};
void run_clear(struct run *r);
#define RUN(name) CLEANUP(run_clear) struct run name = {0}

/* Stores a spec by content and returns its hash (SHA-256 hex, 65 bytes with NUL). Texts are JSON; platform may be NULL.
 * Idempotent. */
int spec_put(struct db *db, const char *pipeline_spec, const char *platform_spec, char hash[65], struct err *err);
/* Caller frees both; *platform_spec may come back NULL. */
int spec_get(struct db *db, const char *hash, char **pipeline_spec, char **platform_spec, struct err *err);
/* Removes a spec that neither a run nor a pipeline version refers to any more. */
int spec_release(struct db *db, const char *hash, struct err *err);

/* Columns are the fields above by name with these differences: namespace (ns), created_at, scheduled_at, started_at, finished_at
 * (INTEGER ns), state (INTEGER, enum run_state), storage_state (0 available, 1 archived). */
extern const struct row_table RUN_ROWS;

/* Inserts a run in state PENDING; name and state_history are made here when NULL, created_ns and scheduled_ns when 0. ERR_EXISTS
 * when the id is taken. */
int run_insert(struct db *db, struct run *r, const struct clock *clock, struct err *err);
int run_get(struct db *db, const char *run_id, struct run *out, struct err *err); /* ERR_NOT_FOUND */
/* Writes state, history, error, pipeline_root, started, finished of a run whose row still has r->generation and r->state:
 * ERR_CONFLICT when it was terminated or retried meanwhile. The engine's. Adds to state_history when the state differs. */
int run_update(struct db *db, struct run *r, enum run_state state, int64_t now_ns, struct err *err);
int run_set_archived(struct db *db, const char *run_id, bool archived, int64_t now_ns, struct err *err);
/* PENDING, RUNNING, PAUSED -> CANCELING. *changed = false when the run was CANCELING or final already. ERR_NOT_FOUND. */
int run_terminate(struct db *db, const char *run_id, const char *user, int64_t now_ns, bool *changed, struct err *err);
/* FAILED, CANCELED -> PENDING with the next generation, finished_at 0, and its tasks reset as the runtime spec 7 says; else
 * ERR_CONFLICT. */
int run_retry(struct db *db, const char *run_id, int64_t now_ns, struct err *err);
/* Removes the run, its tasks and lineage. Its pods are the engine's to end: call engine_notify afterwards. ERR_NOT_FOUND. */
int run_delete(struct db *db, const char *run_id, struct err *err);
/* The run is about to be deleted, in the same transaction, and the bytes of its artifacts with it: leaves a row that says where
 * they lie. Deleting them is the engine's (engine/trash.c). ERR_NOT_FOUND. */
int run_trash(struct db *db, const char *run_id, struct err *err);
struct trash {
    char *uri;      /* the run's own directory below its pipeline root */
    struct run run; /* run_id, ns, pipeline_root and stores: what opens its store */
};
void trash_clear(struct trash *t);
int trash_get(struct db *db, const char *run_id, struct trash *out, struct err *err); /* 1, 0 when there is none, -1 */
int trash_runs(struct db *db, struct strlist *ids, struct err *err);
int trash_done(struct db *db, const char *run_id, struct err *err);
/* URIs of artifacts that are still known, and lie in this directory or have it in them. */
int trash_kept(struct db *db, const char *uri, struct strlist *kept, struct err *err);
/* The directory is about to be emptied, in the transaction that found what is kept: from now on nobody may begin to refer to what
 * is in it, but for what is kept. */
int trash_begin(struct db *db, const char *run_id, struct err *err);
/* Whether an artifact that lies there would be one of those. */
int trash_takes(struct db *db, const char *uri, bool *takes, struct err *err);
/* Ids of runs that are not final. */
int runs_live(struct db *db, struct strlist *ids, struct err *err);

/* ---- tasks ---------------------------------------------------------------------------------------------------- */

/* The engine's own states; task_state_run() and task_state_next() give the API's two vocabularies.
 *
 *   state      meaning                                            leaves to
 *   WAITING    dependencies not settled, or no slot               STARTING RUNNING(dag) SUCCEEDED CACHED SKIPPED NEVER FAILED
 * CANCELED STARTING   an attempt was decided, its pod not yet seen       RUNNING BACKOFF SUCCEEDED FAILED CANCELED RUNNING    pod
 * seen, or a DAG with open children              SUCCEEDED FAILED BACKOFF CANCELED BACKOFF    waits for its next attempt STARTING
 * FAILED CANCELED SUCCEEDED CACHED SKIPPED (condition false) NEVER (upstream not succeeded) FAILED CANCELED : settled, for good
 * until the run is retried */
enum task_state {
    TASK_WAITING,
    TASK_STARTING,
    TASK_RUNNING,
    TASK_BACKOFF,
    TASK_SUCCEEDED,
    TASK_CACHED,
    TASK_SKIPPED,
    TASK_NEVER,
    TASK_FAILED,
    TASK_CANCELED
};
enum task_type { /* numbers of the API's TaskType */
                 TASK_TYPE_UNSPECIFIED,
                 TASK_ROOT,
                 TASK_RUNTIME,
                 TASK_CONDITION_BRANCH,
                 TASK_CONDITION,
                 TASK_LOOP,
                 TASK_EXIT_HANDLER,
                 TASK_IMPORTER,
                 TASK_DAG
};
enum run_state task_state_run(enum task_state s); /* PENDING, RUNNING, SUCCEEDED, SKIPPED ... */
const char *task_state_next(enum task_state s);   /* "RUNNING", "CACHED", ...; RUNTIME_STATE_UNSPECIFIED while waiting */
const char *task_type_name(enum task_type t);
static inline bool task_settled(enum task_state s) { return s >= TASK_SUCCEEDED; }
static inline bool task_succeeded(enum task_state s) { return s == TASK_SUCCEEDED || s == TASK_CACHED; }

struct task_row {
    int64_t id;    /* execution id */
    char *task_id; /* UUID; names the task's directory in the artifact store too */
    char *run_id;
    int64_t parent; /* execution id; 0 for the root */
    char *name;     /* key in its DAG; "root" */
    char *display_name;
    char *path; /* "root/for-loop-2[3]/train": unique in the run */
    enum task_type type;
    int iteration_index; /* -1: no iteration of a loop */
    int iteration_count; /* of a loop once its items are known, else -1 */
    enum task_state state;
    char *state_history; /* JSON array text [{update_time, state, error?}] with RuntimeState words */
    int error_code;
    char *error_message; /* first cause, last log lines, hint */
    int64_t created_ns, started_ns, finished_ns;
    int attempt;              /* 0-based, of the newest attempt */
    int64_t next_attempt_ns;  /* BACKOFF */
    char *pod_name, *pod_uid; /* of the newest attempt; NULL when none */
    char *pods;               /* JSON array text of all attempts, oldest first: [{name, uid, attempt, failed}] */
    char *inputs, *outputs;   /* JSON text {"parameters": {k: v}, "artifacts": {k: [ids]}}; outputs NULL until settled */
    char *io;            /* JSON text: kinds and producers of inputs {"k": {"io": n, "producer": "..", "iteration": n}} or NULL */
    char *cache_key;     /* fingerprint; NULL: not cacheable */
    char *cache_parts;   /* JSON text: hashes of the key's parts */
    int64_t cached_from; /* execution whose outputs were taken; 0: none */
    char *image;         /* of a container task */
    int64_t changed;     /* row_stamp of the last change of state */
};
void task_row_clear(struct task_row *t);

extern const struct row_table TASK_ROWS;
/* The callee may take the row (and leave an empty one); what it leaves is cleared. */
typedef int task_fn(void *self, struct task_row *t, struct err *err);
/* Calls fn for each task of a run in order of id (parents before children); a non-zero return stops it and is returned. */
int tasks_each(struct db *db, const char *run_id, task_fn *fn, void *self, struct err *err);
int task_get(struct db *db, const char *run_id, const char *task_id, struct task_row *out, struct err *err);
/* Inserts or replaces by id. The engine's. */
int task_put(struct db *db, struct task_row *t, struct err *err);

#endif
