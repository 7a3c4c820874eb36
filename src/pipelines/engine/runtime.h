/* runtime.h - the seam between deciding and running: how one attempt of one container task is started, watched and stopped.
 *
 * Two implementations: pods through `struct kube` (pods.h) and a scripted one in tests. All functions block briefly, may be
 * called from any thread, and are idempotent: a turn that died is done again. An attempt is named by its pod name, which derives
 * from (run, task path, attempt) and nothing else. */
#ifndef TM_PIPELINES_ENGINE_RUNTIME_H
#define TM_PIPELINES_ENGINE_RUNTIME_H

#include "base/ctx.h"
#include "launch/task.h"
#include "value/json.h"

/* A directory of this machine that the container sees. */
struct task_mount {
    char *host_path, *container_path;
    bool read_only, is_file;
};

/* A Secret of the pod's namespace, as files. */
struct task_secret {
    char *name, *path;
};

/* A container image of which the container sees the directory /models. */
struct task_image {
    char *reference, *path;
};

/* Everything that an attempt needs. Owned by the engine, valid during the call. */
struct task_start {
    const char *run_id, *run_name, *run_display_name, *task_id, *task_name;
    const char *ns, *pod_name;
    const char *service_account;
    int attempt;
    bool has_retry; /* KFP_RETRY_INDEX is set */
    const char *image;
    jval *env;             /* array of EnvVar objects, in order */
    jval *resources;       /* ResourceRequirements object, may be empty */
    jval *kubernetes;      /* KubernetesExecutorConfig with its refs resolved to constants; NULL: none */
    const char *task_dir;  /* host directory with task.json, to be mounted at LAUNCH_DIR */
    const char *task_text; /* instead of it, when no directory is shared: what stands in LAUNCH_IN_DIR/task.json; else NULL */
    const struct launch_task *task;
    const struct task_mount *mounts;
    size_t n_mounts;
    const struct task_secret *secrets;
    size_t n_secrets;
    const struct task_image *images;
    size_t n_images;
    const char *setup; /* a directory of this machine, seen read-only at LAUNCH_SETUP_DIR; NULL: none */
    jval *fill_env; /* array of EnvVar objects: with it the image fills that directory first (`tidemill-agent setup`); NULL: it is
                       complete */
};

enum attempt_phase {
    ATTEMPT_MISSING, /* nothing is known of it */
    ATTEMPT_PENDING, /* exists, has not started */
    ATTEMPT_RUNNING,
    ATTEMPT_ENDED, /* succeeded or failed; the result file says more when there is one */
};
struct attempt_view {
    enum attempt_phase phase;
    bool succeeded; /* ENDED: as the pod says */
    bool deleting;  /* deletion was asked for */
    char *pod_uid;  /* malloc'd, may be NULL */
    char *reason;   /* malloc'd: "OOMKilled", "ErrImagePull", "Evicted", "DeadlineExceeded", ...; may be NULL */
    char *message;  /* malloc'd: for a person; may be NULL */
    int exit_code;  /* ENDED; -1: unknown */
    bool hopeless;  /* PENDING that will not start by itself (image cannot be pulled, unknown config map): fail the attempt */
    int64_t
        hopeless_at_ns; /* PENDING that may pass by itself (a registry does not answer): hopeless from then on; 0: it is not so */
};
void attempt_view_clear(struct attempt_view *v);

struct task_runtime {
    void *self;
    /* Makes the attempt start; 0 when it exists already. ERR_INVALID, ERR_BAD_REQUEST, ERR_FORBIDDEN: it never will, the attempt
     * fails with the message; any other error: try again later. */
    int (*start)(void *self, const struct ctx *ctx, const struct task_start *t, struct err *err);
    int (*observe)(void *self, const struct ctx *ctx, const char *ns, const char *pod_name, struct attempt_view *out,
                   struct err *err);
    /* Asks it to end, with its grace period; missing is fine. */
    int (*stop)(void *self, const struct ctx *ctx, const char *ns, const char *pod_name, struct err *err);
    /* Last lines of its log (lines < 0: all, but at most 16 MiB), appended; for attempts that left no result file. */
    int (*tail)(void *self, const struct ctx *ctx, const char *ns, const char *pod_name, int lines, struct buf *out,
                struct err *err);
    /* Removes all that a run left (pods), in any namespace: the run was deleted. 1: some are still going, ask again. */
    int (*forget)(void *self, const struct ctx *ctx, const char *run_id, struct err *err);
    /* The engine is told of each pod that changes (engine_pod_changed), and looks at those only; without it at all in each turn.
     */
    bool tells;
};

#endif
