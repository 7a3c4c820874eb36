/* engine.h - runs pipelines: a controller keyed by run id.
 *
 * A turn (one reconcile of one run) looks at what its pods say, moves every task that can be moved, writes all of it in one
 * transaction, and only then acts: creates and deletes pods. Pods have names made of run, task and attempt, so that a turn that
 * died between writing and acting is simply done again. Nothing is held that the rows do not hold: memory is a cache of them,
 * dropped when a write fails. There are no driver pods and no workflow object. How a task's attempt really runs is behind `struct
 * task_runtime` (runtime.h): pods through `struct kube`, or a script in tests. Threads: all functions may be called from any
 * thread. Source: pipelines-runtime spec 5-9, 21. */
#ifndef TM_PIPELINES_ENGINE_ENGINE_H
#define TM_PIPELINES_ENGINE_ENGINE_H

#include "data/blob.h"
#include "kube/kube.h"
#include "pipelines/engine/runtime.h"
#include "pipelines/store/store.h"

struct engine;
struct engine_config {
    const struct store *store;
    struct blob_store *blobs; /* the embedded artifact store; its URIs are minio://<bucket>/... */
    const struct clock *clock;
    const char *data_dir;    /* engine/<run>/<task>/<attempt>/ below it are the task directories (0700) */
    struct kube *kube;       /* identity of the pipelines' controller; may be NULL when runtime is given */
    const char *agent_path;  /* tidemill-agent on this machine, mounted into pods; may be NULL, see agent_image */
    const char *agent_image; /* an image that holds it at /usr/bin, from which pods copy it. With neither, the node has it */
    const char *claim;       /* the PersistentVolumeClaim that is data_dir here, mounted into pods in parts; NULL: data_dir
                                is on the machine that runs the pods */
    /* No directory is shared with pods: a task goes to its pod as an annotation, its result and all artifacts through the store
     * of the pipeline root; blobs is NULL. Workspaces are refused, and what pip installs is not kept. */
    bool apart;
    const struct task_runtime *runtime;  /* NULL: pods through kube */
    const char *default_root;            /* NULL: "minio://mlpipeline/v2/artifacts" */
    const char *default_service_account; /* NULL: "pipeline-runner" */
    const char *final_status; /* "v2" (COMPLETE, FAILED, CANCELED; NULL too) or "task" (SUCCEEDED, FAILED, CANCELLED) */
    /* What identifies the image that pods of this name start from now (malloc'd), where it is here; NULL: not known. NULL
     * function: never. */
    char *(*image_id)(void *self, const char *image);
    void *image_self;
    bool paused;              /* accept runs and leave them PENDING (--no-engine) */
    bool no_cache;            /* CacheEnabled=false */
    bool no_logs;             /* PUBLISH_LOGS=false: steps leave no artifact executor-logs */
    bool ignore_spec_root;    /* ignoreSpecRoot */
    bool terminated_canceled; /* runs.terminated_state=CANCELED instead of FAILED */
    int64_t exit_grace_s;     /* time for exit tasks of a run being terminated; 0: 60 */
    int max_iterations;       /* iterations of one loop in progress when it has no limit of its own; 0: 256 */
    int finished_pods;        /* pods of runs that are over: so many stay; 0: 200, -1: none */
    int64_t finished_pods_s;  /* and so long after the end of their run; 0: an hour, -1: not at all */
    int64_t image_patience_s; /* a step whose image's registry does not answer is given up after so long; 0: 300 */
    unsigned workers;         /* 0: 4 */
    int64_t base_delay_ns;    /* of retried turns; 0: 5 ms */
};

/* Starts the controller and takes up every run that is not final. The config's strings are copied, its parts must outlive the
 * engine. */
struct engine *engine_start(const struct engine_config *cfg, struct err *err);
void engine_stop(struct engine *e); /* pods stay; frees */
/* Something about this run changed: it was inserted, terminated, retried or deleted. Cheap; NULL engine is fine. */
void engine_notify(struct engine *e, const char *run_id);
/* Store change and notification in one, for the API. user is who asks. Errors as the store's functions. */
int engine_terminate(struct engine *e, const struct ctx *ctx, const char *run_id, const char *user, struct err *err);
int engine_retry(struct engine *e, const struct ctx *ctx, const char *run_id, struct err *err);
/* artifacts: what the run left below its pipeline root is deleted when its pods are gone, but for what others' lineage names. */
int engine_delete(struct engine *e, const struct ctx *ctx, const char *run_id, bool artifacts, struct err *err);

/* The object store outside of ours in which an artifact of this run lies, opened as the run's configuration says; the caller
 * frees it. *out NULL without an error: it lies in the embedded store. run: run_id, ns, stores and pipeline_root are looked at.
 */
int engine_open_store(struct engine *e, const struct ctx *ctx, const struct run *run, const char *uri, struct blob_store **out,
                      struct err *err);

/* One turn of one run, as the controller calls it; tests and benches drive an engine made by engine_new with it. */
struct engine *engine_new(const struct engine_config *cfg, struct err *err);
void engine_free(struct engine *e);
int engine_turn(struct engine *e, const struct ctx *ctx, const char *run_id, int64_t *again_after_ns, struct err *err);

#endif
