/* live.h - a run in memory: what the rows hold, in a form that can be walked. Private to engine/.
 *
 * A live run belongs to the worker that has taken its key; nobody else touches it. It is a cache: when a write fails it is
 * dropped and loaded again. `inst` is one instance of a task:
 *
 *   root            the whole pipeline                         up = NULL, t = NULL
 *   task            a task of its DAG                          up = DAG instance, t = the task
 *   loop            a task with an iterator                    as task, with one kid for each iteration in progress or done
 *   iteration       one round of a loop, instance of the same component   up = loop, t = the loop's task, row.iteration_index >=
 * 0
 *
 * The kids of a DAG instance are indexed by the task's number, those of a loop by iteration. */
#ifndef TM_PIPELINES_ENGINE_LIVE_H
#define TM_PIPELINES_ENGINE_LIVE_H

#include "base/thread.h"
#include "pipelines/engine/engine.h"
#include "pipelines/ir/ir.h"

/* An artifact as steps see it. Shared by reference count; belongs to one run's worker. */
struct art {
    int refs;
    struct md_artifact a;
    struct json *metadata; /* object */
    bool fresh;            /* its row is not written yet */
};
struct art *art_ref(struct art *a);
void art_unref(struct art *a);

/* What is bound to an artifact input or output. NULL pointer: nothing; n == 0: an empty list. */
struct artlist {
    int refs;
    int n;
    struct art *v[];
};
struct artlist *artlist_new(int n); /* elements to be filled by the caller */
struct artlist *artlist_ref(struct artlist *l);
void artlist_unref(struct artlist *l);

struct live;
struct inst {
    struct task_row row;
    struct live *live;
    struct inst *up;
    const struct ir_task *t;
    const struct ir_component *c;
    bool is_loop;
    /* Values by the component's tables; NULL: absent. Outputs are there once settled. */
    struct json **in_params, **out_params;
    struct artlist **in_artifacts, **out_artifacts;
    struct inst **kids;
    int n_kids;
    int active, next_iter;    /* loop: iterations in progress, first one not started */
    struct json *items;       /* loop: array of items (parameters); artifacts use in_artifacts */
    bool dirty;               /* the row must be written */
    bool unwritten;           /* a task of a DAG that is made in rounds: its row is in none yet */
    bool touched;             /* DAG or loop: something below settled since the last look */
    bool started;             /* STARTING: runtime.start was called and answered 0 in this process */
    bool stopping;            /* runtime.stop was called */
    bool clean_up;            /* settled in this turn: its task directory can go once that is durable */
    size_t leaf_at;           /* 1 + position in live.leaves, 0: not there */
    char *fills, *waits_for;  /* the set-up that this attempt fills, or that another one does meanwhile (fills.c) */
    char *uses;               /* the complete one that it sees */
    bool look;                /* the attempt's pod may be another than it was when it was looked at last */
    int64_t look_at_ns;       /* it is to be looked at again then, though it does not change; 0: it is not so */
    int64_t first_started_ns; /* start of the first attempt, for backoffMaxDuration */
};

/* Something to write beside the rows of the instances. */
struct pending_link {
    struct md_link l;
    struct pending_link *next;
};
struct cache_entry {
    char *key, *parts, *outputs;
    int64_t task_id;
    struct cache_entry *next;
};

struct live {
    struct engine *e;
    struct run run;
    struct ir_pipeline *ir;
    struct json *parameters; /* of the run; NULL: none */
    struct json *providers;  /* object stores as configured when the run started; NULL: nothing */
    struct inst *root;
    bool cancelling;       /* the user ended it */
    bool expired;          /* pipelineConfig.activeDeadlineSeconds is over */
    int64_t cancel_ns;     /* when that was noticed */
    enum run_state want;   /* state to be written with the next transaction; RUN_STATE_UNSPECIFIED: as it is */
    struct inst **changed; /* dirty instances */
    size_t n_changed, cap_changed;
    size_t changed_max; /* a round stops deciding when so many are dirty: others wait for the transaction that writes them */
    bool cut;           /* it stopped before the end of what it could decide; what is left is still touched, or to be looked at */
    struct art **new_arts;
    size_t n_new_arts, cap_new_arts;
    struct pending_link *links;
    struct cache_entry *cache;
    bool grace_over;      /* exit tasks of a terminated run have had their time */
    int64_t wake_ns;      /* wall time of the next thing to do by itself; 0: none */
    struct inst **leaves; /* leaf instances with an attempt in progress */
    size_t n_leaves, cap_leaves;
    struct strmap by_pod;  /* pod name -> leaf, not owned */
    struct live_art *arts; /* by id: artifacts that were loaded or made (load.c) */
    size_t n_tasks;        /* instances, those of iterations to come among them (limits.c) */
    size_t values_len;     /* bytes of the rows' inputs and outputs (limits.c) */
};

/* ---- load.c: rows to memory ------------------------------------------------------------------------------------ */

struct live *live_load(struct engine *e, const struct ctx *ctx, struct db *db, struct run *run /* taken over */, struct err *err);
void live_free(struct live *l);
struct inst *inst_new(struct live *l, struct inst *up, const struct ir_task *t, const struct ir_component *c);
void inst_free(struct inst *i); /* with its kids; leaves the parent's table as it is */
/* The artifact with this id, read if need be. A borrowed pointer, NULL on error. */
struct art *live_art(struct live *l, struct db *db, int64_t id, struct err *err);
void live_add_art(struct live *l, struct art *a); /* makes it findable; keeps a reference */
void live_add_leaf(struct live *l, struct inst *i);
void live_drop_leaf(struct live *l, struct inst *i);
/* Values as the row's JSON text, and back. */
char *values_text(const struct ir_param *params, int n_params, struct json **pv, const struct ir_artifact *arts, int n_arts,
                  struct artlist **av);
int values_parse(struct live *l, struct db *db, const char *text, const struct ir_param *params, int n_params, struct json **pv,
                 const struct ir_artifact *arts, int n_arts, struct artlist **av, struct err *err);

/* ---- limits.c: what a run may grow to ---------------------------------------------------------------------------- */

/* Takes room for so many instances. -1, ERR_INVALID: the run has too many. */
int limit_tasks(struct live *l, size_t more, struct err *err);
/* -1, ERR_INVALID: the run's tasks hold so much already that nothing more may start. */
int limit_run_values(const struct live *l, struct err *err);
/* Adds a value (NULL: nothing) to a sum of those that come together in one instance. -1, ERR_INVALID: too much. */
int limit_values(const struct json *v, uint64_t *sum, struct err *err);
/* Both take text over; NULL: none. */
void inst_set_inputs(struct inst *i, char *text);
void inst_set_outputs(struct inst *i, char *text);
void inst_count_values(struct inst *i); /* a row that was read has its texts already */

/* ---- state.c: the one transition function ---------------------------------------------------------------------- */

/* Moves an instance to a state at `now`; asserts that the table in store.h allows it. message (copied) goes with FAILED,
 * CANCELED, SKIPPED. */
void inst_move(struct inst *i, enum task_state to, int64_t now_ns, int code, const char *message);
void inst_dirty(struct inst *i);
bool inst_is_leaf(const struct inst *i);
/* Retry policy that counts for this instance: its own or that of the task that made its DAG, and so on up. NULL: none. */
const struct ir_retry *inst_retry(const struct inst *i);
/* Sets the run's next state. */
void live_want(struct live *l, enum run_state s, int code, const char *message);
void live_wake_at(struct live *l, int64_t wall_ns);

/* ---- dag.c: what follows from what ------------------------------------------------------------------------------ */

/* Begins a round: so much may be decided in it. */
void live_open_round(struct live *l);
/* Whether that much is decided; notes that something is left. */
bool live_is_full(struct live *l);
/* Moves everything below the root that can be moved in one round. */
int live_advance(struct live *l, const struct ctx *ctx, struct db *db, struct err *err);
/* The instances of a DAG's tasks that are not there yet, in memory: they get their rows when their DAG is advanced, so many in a
 * round, in their order. So a DAG whose making was cut short has the rows of its first tasks. */
int dag_make_kids(struct inst *dag, const struct ctx *ctx, struct err *err);
/* Makes the instance of the root. */
int live_begin(struct live *l, const struct ctx *ctx, struct db *db, struct err *err);

/* ---- resolve.c: inputs ------------------------------------------------------------------------------------------ */

/* Binds, selects, substitutes and fits all inputs of a waiting instance, and evaluates its condition. 0: in_params, in_artifacts
 * and row.inputs are set, *go says what the condition said. -1 with ERR_INVALID: the task fails with this message; other codes:
 * our own trouble. */
int resolve_inputs(struct inst *i, struct db *db, bool *go, struct err *err);
int resolve_root(struct inst *root, struct err *err);
/* Appends the value of a placeholder that names the job or the task; false: it is none of these. */
bool job_placeholder(const struct inst *i, enum tmpl_kind kind, struct buf *out);
/* The raw value of a parameter input; NULL: absent. A new reference. */
struct json *bind_param(struct inst *i, const struct ir_input *in);
/* The value of an input that the task has and its component does not declare: what set_cpu_limit(x) and the like hand to the
 * container's placeholders. A new reference; NULL: there is no such input, or it has no value. */
struct json *undeclared_param(struct inst *i, const char *key);
void record_inputs(struct inst *i);  /* writes row.inputs */
void record_outputs(struct inst *i); /* writes row.outputs */

/* ---- items.c, references.c ---------------------------------------------------------------------------------------- */

/* The input that holds a loop's items, by number; IR_NONE when it is not one that the component declares. An iteration's row
 * leaves it out (n rows with a list of n items would be n squared), its tasks may read it all the same: share_items gives it back
 * in memory. */
int items_param(const struct inst *i);
int items_artifact(const struct inst *i);
void share_items(struct inst *iter);
/* Inputs of iteration n of a loop. */
int resolve_iteration(struct inst *loop, struct inst *iter, int n, struct err *err);
/* The items of a loop whose inputs are resolved: their number, or -1 with ERR_INVALID. */
int resolve_items(struct inst *loop, struct err *err);
/* A KubernetesExecutorConfig with its references replaced by their values. NULL on error; *out may be NULL when there is none. */
int resolve_kubernetes(struct inst *i, struct json **out, struct err *err);

/* ---- outputs.c: what DAGs and loops hand out -------------------------------------------------------------------- */

void collect_dag(struct inst *dag);
void collect_loop(struct inst *loop);

/* ---- execution.c: container tasks ------------------------------------------------------------------------------- */

/* Everything that one attempt of a container task is made of; made anew for each attempt, always the same. */
struct execution {
    struct launch_task task;
    struct json *env, *resources, *kubernetes;
    char *image;
    char *dir; /* host directory of the attempt */
    struct task_mount *mounts;
    size_t n_mounts;
    struct task_secret *secrets; /* with keys of stores that are not mounted */
    size_t n_secrets;
    struct task_image *images; /* whose files are inputs */
    size_t n_images;
    struct strlist stores; /* what tells the task's stores apart, by their number */
    char *setup;           /* the directory to be seen at LAUNCH_SETUP_DIR; NULL: none */
    struct json *fill_env; /* an init container is to fill it before, with this environment; NULL: it is complete */
    bool waits;            /* somebody else fills it: the attempt starts later */
};
int execution_make(struct inst *i, struct execution *out, struct err *err);
/* Environment, resources and platform configuration only. */
int execution_machine(struct inst *i, struct execution *x, struct err *err);
void execution_clear(struct execution *x);
/* The run's workspace on this machine, made, if the instance uses it; else *host is NULL. The caller frees it. */
int workspace_of(const struct inst *i, char **host, struct err *err);
/* Executor input as a document. */
struct json *executor_input(struct inst *i, struct err *err);
char *output_uri(const struct inst *i, const char *key); /* caller frees */
char *local_path(const char *uri);                       /* caller frees; NULL: no local form */
char *artifact_path(const struct art *a);                /* where a container sees it; caller frees; NULL: nowhere */
/* Where a URI of the store that is mounted lies on this machine (made when create is set); caller frees; NULL: it is none of its.
 */
char *host_path(const struct live *l, const char *uri, bool create, struct err *err);
char *executor_output_file(const struct inst *i);
char *attempt_uri(const struct inst *i, const char *name); /* of a file of the attempt, where none is shared; caller frees */
char *log_uri(const struct inst *i);                       /* of the attempt in progress; caller frees */
/* Host directories for the files of an attempt, of all attempts of a task, of all tasks of a run; caller frees. */
char *attempt_dir(const struct inst *i);
char *task_dir(const struct inst *i);
char *run_dir(const struct live *l);
void pod_name_of(const struct inst *i, char out[64]);

/* ---- taskconfig.c: what a task's pod is made of, as an input of the task ------------------------------------------ */

/* Sets the input of type TASK_CONFIG, where the component has one. -1 with ERR_INVALID: the task fails with this message. */
int bind_task_config(struct inst *i, struct err *err);
/* Whether that input has this part of the configuration (enum ir_config), and the pod is not to have it. */
bool hands_on(const struct inst *i, unsigned part);
/* Takes from an attempt what that input has and the pod is not to get. */
void strip_task_config(const struct inst *i, struct execution *x);

/* ---- stores.c: stores that are mounted, and those that are not ----------------------------------------------------- */

/* Sets run.pipeline_root and run.stores. -1 with ERR_INVALID: the run fails with this message; other codes: our own trouble. */
int live_fix_stores(struct live *l, const struct ctx *ctx, struct err *err);
int live_load_stores(struct live *l, struct err *err); /* from run.stores */
/* Is this in the store whose files steps see? */
bool live_is_mounted(const struct live *l, const char *uri);
#define FILE_SCHEME "file://"
/* "file:///DIR/bucket/key" as the "minio://bucket/key" that steps know it by, where DIR is the embedded store's directory; any
 * other file is ERR_INVALID. Caller frees. */
char *live_embedded_uri(const struct live *l, const char *uri, struct err *err);
/* Has the agent bring an input, and send the outputs, when their store is not mounted. */
int stores_bring(struct inst *i, struct execution *x, const struct art *a, struct err *err);
int stores_send(struct inst *i, struct execution *x, struct err *err);
/* Brings an object or a prefix to root/path of this machine; what steps have put below root leads nowhere else. ERR_NOT_FOUND:
 * there is nothing. */
int stores_download(struct live *l, const struct ctx *ctx, const char *uri, const char *root, const char *path, struct err *err);
/* Writes an object, wherever its store is. */
int stores_write(struct live *l, const struct ctx *ctx, const char *uri, const struct buf *text, struct err *err);
/* An object of a store that is not mounted, appended; at most max bytes. */
int stores_read(struct live *l, const struct ctx *ctx, const char *uri, size_t max, struct buf *out, struct err *err);

/* ---- apart.c: tasks and results where no directory is shared with pods -------------------------------------------- */

/* What stands in the pod for a task; the task itself is put into the store when it is too long for an annotation. */
int apart_task(struct inst *i, const struct ctx *ctx, const struct launch_task *t, struct buf *text, struct err *err);
/* The result that the attempt in progress sent to the store. ERR_NOT_FOUND: there is none. */
int apart_result(struct inst *i, const struct ctx *ctx, struct launch_result *out, struct err *err);

/* ---- prelude.c --------------------------------------------------------------------------------------------------- */

/* Recognises the generated `pip install` prelude in argv: index of the inner command, 0 when there is none; requirements are
 * added. */
int prelude_find(const struct strlist *argv, struct strlist *requirements);

/* ---- setup.c: what `pip install` added, kept for the next time ----------------------------------------------------- */

/* Sets x->setup, x->fill_env and the task's part of it. x has its image, environment and platform configuration already. */
int setup_prepare(struct inst *i, struct execution *x, struct err *err);
/* The step has begun: what was installed before it is complete, and nobody's any more. */
void setup_keep(struct inst *i);
/* The attempt is over: the same, and what is not kept goes. */
void setup_settle(struct inst *i);
/* What it used was made for another image: the next one installs anew. */
void setup_drop(struct inst *i);
/* A set-up that an attempt fills was found in its directory; before the first turn. */
void setup_restore(struct engine *e, const char *place, const struct task_row *t);

/* ---- fills.c: of the steps that want one set-up, one fills it ------------------------------------------------------- */

void fills_init(struct engine *e);
/* True: the attempt is to fill it (i->fills), or it is not worth while to wait; false: another one does (i->waits_for), and the
 * run is woken when that is over. */
bool fills_take(struct inst *i, const char *key);
/* Whether the one that i->waits_for is in somebody's hands still. */
bool fills_is_held(struct inst *i);
/* The attempt fills nothing any more, whatever came of it. */
void fills_leave(struct inst *i);
/* It is complete: nobody has to know any more who failed before. */
void fills_done(struct engine *e, const char *key);
void fills_restore(struct engine *e, const char *key, const struct task_row *t);

/* ---- collect.c: results of attempts ------------------------------------------------------------------------------ */

/* Turns a result into outputs of the instance. -1 with ERR_INVALID: the attempt failed with this message. */
int collect_result(struct inst *i, const struct ctx *ctx, const struct launch_result *r, struct err *err);

/* Records the log that an attempt left, also a failed one: it outlives the pod. r NULL: there is no result, and what the pod says
 * is stored. */
int collect_log(struct inst *i, const struct ctx *ctx, const struct launch_result *r, struct err *err);

/* A new artifact of an instance, to be written with the next transaction. The caller owns one reference. */
struct art *art_make(struct inst *i, int64_t id, const char *name, const char *title, const char *version, const char *uri,
                     struct json *metadata /* taken over */);

/* ---- importer.c --------------------------------------------------------------------------------------------------- */

int import_artifact(struct inst *i, const struct ctx *ctx, struct db *db, struct err *err);

/* ---- claims.c: volume claims that a task makes or deletes ----------------------------------------------------------- */

bool is_claim_task(const struct inst *i);
/* Asks the cluster, and sets the output. -1 with ERR_INVALID: the task fails with this message; other codes: our own trouble. */
int claim_task(struct inst *i, const struct ctx *ctx, struct err *err);
/* Whether the cache may answer for it (its name is given, not made), and whether that claim is there still. */
bool claim_task_may_reuse(const struct inst *i);
bool claim_task_is_there(struct inst *i, const struct ctx *ctx);

/* ---- cache.c ------------------------------------------------------------------------------------------------------ */

/* Computes row.cache_key and row.cache_parts (nothing when caching is off for the task). */
int cache_fingerprint(struct inst *i, struct err *err);
/* 1: outputs are set from an earlier execution; 0: no entry. */
int cache_lookup(struct inst *i, struct db *db, struct err *err);
void cache_remember(struct inst *i);
int cache_put(struct db *db, const struct live *l, const struct cache_entry *c, int64_t now_ns, struct err *err);

/* ---- touched.c: which attempts a turn has to look at ---------------------------------------------------------------- */

void touched_init(struct engine *e);
/* Names of pods of the run that changed since they were taken last; the caller frees the list. */
struct strlist touched_take(struct engine *e, const char *run_id);
void live_touch(struct live *l, const struct strlist *pods);
/* Gives an attempt its pod's name (copied), of which nothing is known yet; NULL: it has none. */
void inst_set_pod(struct inst *i, const char *name);

/* ---- attempt.c: attempts and pods --------------------------------------------------------------------------------- */

/* Looks at each attempt in progress and moves its instance. */
int live_observe(struct live *l, const struct ctx *ctx, struct err *err);
/* Starts and stops what the stored state asks for. *again: something changed that wants another round. */
int live_act(struct live *l, const struct ctx *ctx, bool *again, struct err *err);
/* Gives new attempts their pod names; before they are written. */
void live_name_attempts(struct live *l);
/* Decides what follows a failed attempt: another one after a delay, or the end. */
void attempt_failed(struct inst *i, int64_t now_ns, int code, const char *message);

/* ---- commit.c ------------------------------------------------------------------------------------------------------ */

/* Writes all that changed in one transaction. ERR_CONFLICT: the run was changed by somebody else, load it again. */
int live_commit(struct live *l, const struct ctx *ctx, struct err *err);
void live_link_inputs(struct inst *i, enum md_io io);
void live_link_outputs(struct inst *i);
void live_link_output(struct inst *i, const char *key, const struct art *a); /* one that the component does not declare */
void commit_forget(struct live *l);                                          /* frees what waits to be written */

/* ---- the engine ----------------------------------------------------------------------------------------------------- */

struct engine {
    struct engine_config cfg;
    struct task_runtime rt;
    pthread_mutex_t lock;  /* guards runs, irs, touched and fills */
    struct strmap runs;    /* run id -> struct live, between turns */
    struct strmap irs;     /* spec hash -> struct ir_pipeline */
    struct strmap touched; /* run id -> struct strlist of pods that changed */
    struct strmap fills;   /* set-up -> struct fill (fills.c) */
    struct strmap stays;   /* hash of a spec -> struct stay (retire.c); belongs to the one turn that retires pods */
    struct pods *pods;     /* the runtime through kube; NULL when another one was given */
    struct controller_run *controller;
    struct pool *cleaner; /* removes scratch directories: nobody waits for that */
    char *own_strings[12];
};
/* What a root task is called: a literal in many places otherwise. */
#define ROOT_NAME        "root"
#define WORKSPACE_PATH   "/kfp-workspace"
#define WORKSPACE_VOLUME "kfp-workspace"
#define ART_IN_WORKSPACE "_kfp_workspace" /* metadata of an artifact that consumers read below the workspace; the SDK's word */
#define ART_METADATA     "metadata"       /* member of an artifact in JSON; no Kubernetes object has to do with it */
int64_t engine_now(const struct engine *e);
/* A pod of a run was made, changed or went; from any thread, before the run is queued. Told by runtimes with `tells`. */
void engine_pod_changed(struct engine *e, const char *run_id, const char *pod_name);
/* Takes the path over and removes the tree soon. */
void engine_remove_later(struct engine *e, char *path);
/* Removes scratch directories of runs that are over or gone. Before the first turn: nobody makes any meanwhile. */
void engine_sweep(struct engine *e);
/* Deletes the artifacts' bytes of a run that is gone with its pods, if they are to go. -1: to be tried again. */
int engine_empty_trash(struct engine *e, const struct ctx *ctx, const char *run_id, struct err *err);
/* Removes pods of runs that are over whose time has come. *again: when to look the next time. */
int engine_retire(struct engine *e, const struct ctx *ctx, int64_t *again, struct err *err);
/* Compiled pipelines by content, shared between runs; both give or take a reference of the caller's own. */
struct ir_pipeline *engine_known_ir(struct engine *e, const char *hash);
void engine_keep_ir(struct engine *e, const char *hash, struct ir_pipeline *p);

/* google.rpc.Code numbers used in errors of tasks and runs. */
enum rpc_code {
    RPC_CANCELLED = 1,
    RPC_UNKNOWN = 2,
    RPC_INVALID_ARGUMENT = 3,
    RPC_DEADLINE_EXCEEDED = 4,
    RPC_INTERNAL = 13,
    RPC_UNAVAILABLE = 14
};

#endif
