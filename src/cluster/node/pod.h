/* pod.h - the pod worker: makes one pod as its object says, level-triggered.
 *
 * A `struct pod` is what this node knows of one pod (by uid) beyond its object; its fields that must outlive us are rows of
 * node.db. It belongs to the worker that has its key (the queue gives a key to one worker at a time). pod_sync() looks at what
 * is, takes the steps that can be taken now, writes the status if it changed, and says when to be called again at the latest.
 * Killed anywhere and called again it ends in the same state.
 *
 *   state       what is done in it                                    leaves to
 *   ---------   --------------------------------------------------- ------------------------------------------------------------
 *   NEW         nothing is made yet                                   SETUP; ENDED if it is being deleted
 *   SETUP       directories, volumes, network; again until it works   INIT; ENDED if it is being deleted or its time is over
 *   INIT        init containers, one after the other                  RUN when all ended with 0; ENDED when one failed for good;
 *                                                                     STOPPING if it is being deleted or its time is over
 *   RUN         regular containers, restarted by policy               ENDED when none runs nor will; STOPPING as above
 *   STOPPING    SIGTERM, and SIGKILL when the grace is over           ENDED when none runs
 *   ENDED       final status is made durable, then everything is      GONE
 *               taken back but the logs
 *   GONE        the object is deleted if that was asked               (forgotten, logs removed, once the object is gone)
 *
 *   container   means                                                 leaves to
 *   ---------   --------------------------------------------------- ------------------------------------------------------------
 *   WAITING     not started, or waiting for its next attempt          PREPARED (row first, then created)
 *   PREPARED    being created; nothing of it has run                  RUNNING (row first, then started); EXITED: cannot be
 * started; WAITING: our own failure, tried again RUNNING     started, or about to be                               EXITED EXITED
 * ended, its code is known (or known to be lost)        WAITING, next attempt, by restart policy
 */
#ifndef TM_NODE_POD_H
#define TM_NODE_POD_H

#include "cluster/node/checks/checks.h"
#include "cluster/node/env.h"
#include "cluster/node/nodedb.h"
#include "cluster/node/runtime/runtime.h"
#include "kube/events.h"
#include "kube/kube.h"
#include "kube/rules/service_range.h"

enum pod_state { POD_NEW, POD_SETUP, POD_INIT, POD_RUN, POD_STOPPING, POD_ENDED, POD_GONE };
/* How far the end of a container that runs is: see pod_end.c. */
enum box_ending { END_NO, END_HOOK, END_TURN, END_TERM, END_KILL };
enum box_state { BOX_WAITING, BOX_PREPARED, BOX_RUNNING, BOX_EXITED };

struct image_job;
struct images;

/* BOX_EPHEMERAL: came to a pod that was there, to look into it; it is started whatever the others do, never again, and the pod's
 * phase is not its. BOX_VOLUME: no container, but a volume that is an image (pod_image_volume.c). */
enum box_kind { BOX_CONTAINER, BOX_EPHEMERAL, BOX_VOLUME };

/* One container of a pod, in its current attempt. */
struct box {
    char *name;
    enum box_kind kind;
    bool init;
    int attempt; /* status.restartCount */
    enum box_state state;
    char *cid;                       /* NULL before the first attempt is prepared */
    int64_t started_ns, finished_ns; /* wall clock */
    int exit_code;                   /* BOX_EXITED */
    char *reason, *message;          /* of state.terminated */
    char *last;                      /* JSON of lastState.terminated; NULL: none */
    char *image_id;
    char *wait_reason, *wait_message; /* BOX_WAITING: why; NULL: the usual */
    int64_t backoff_ns;               /* the wait before the next attempt */
    int64_t retry_mono_ns;            /* not before this; 0: now */
    int64_t retry_wait_ns;            /* doubles with each failure of ours */
    bool created_event;
    bool hooked;         /* its postStart hook is over, or there is none */
    bool started, ready; /* what its probes say */
    bool adopted;        /* runs since an earlier life of ours */
    bool must_restart;   /* a probe had it ended: whatever its code is */
    enum box_ending end;
    char *end_why;                      /* it is to be ended by itself, the pod goes on; NULL: no */
    int64_t kill_mono_ns;               /* end_why: when its grace is over */
    int64_t least_mono_ns;              /* and not before this */
    int stop_signal;                    /* of the image; 0: SIGTERM */
    bool held;                          /* waits for a volume that is an image, whose reason it shows */
    struct image_job *pull;             /* its image is being fetched; NULL: no */
    int64_t tell_mono_ns, tell_wait_ns; /* when a long fetch is spoken of next */
};

struct pod {
    struct pod *next_of_key; /* the node's index */
    char *key, *uid, *ns, *name;
    struct json *obj; /* newest known */
    bool object_gone; /* deleted from the API */
    enum pod_state state;
    struct sandbox sandbox;
    bool has_sandbox;
    int64_t started_ns;
    char *reason, *message; /* status.reason when we ended it */
    struct box *boxes;      /* init containers first, in order; ephemeral ones last */
    size_t n_boxes, n_init;
    struct box *image_volumes;
    size_t n_image_volumes;
    bool adopted;         /* from a row of an earlier life, not looked at yet */
    int64_t kill_mono_ns; /* when the grace is over */
    int64_t setup_retry_mono_ns, setup_wait_ns;
    int64_t measure_mono_ns; /* when volumes are measured next; INT64_MAX: never */
    int64_t refresh_mono_ns; /* token volumes; 0: never */
};

/* What pods need of the node. Everything here lives longer than any pod and may be used by all workers. */
struct pod_host {
    struct kube *kube;
    struct runtime *runtime;
    struct images *images; /* NULL: only what the runtime has itself */
    struct nodedb *db;
    struct event_recorder *events;
    struct checks *checks;
    const struct clock *clock;
    struct service_net *services; /* may be NULL */
    struct service_range service_range;
    const char *node_name, *node_dir, *log_dir, *agent_path, *host_ip, *gateway;
    int64_t node_cpu_milli, node_memory;
    int64_t backoff_base_ns;
    int mem_fd; /* <node>/mem */
    /* Tells whose exit to report to whom, and what logs may be followed. */
    void (*track)(void *self, const char *cid, const char *key);
    void (*untrack)(void *self, const char *cid);
    void (*running)(void *self, const struct pod *p, const struct box *b, bool runs);
    /* Takes a pod in, which counts from then on until it has left. False: it is refused, with reason and message. */
    bool (*admit)(void *self, const struct pod *p, char **reason, char **message);
    void (*left)(void *self, const struct pod *p);
    /* What all other pods that were taken in ask for of a resource (cpu in thousandths). */
    int64_t (*asked)(void *self, const char *uid, const char *resource);
    void *self;
};

struct pod *pod_new(const struct pod_host *h, struct json *obj); /* a reference is taken */
struct pod *pod_from_row(const struct pod_host *h, const struct pod_row *r);
void pod_add_row(const struct pod_host *h, struct pod *p, const struct container_row *r);
void pod_free(struct pod *p);
/* The newest object; NULL when it is gone. */
void pod_set_object(struct pod *p, struct json *obj);

/* *wake_ns: again after so long; 0: when something happens. *forget: nothing is left of it. -1: try again soon. */
int pod_sync(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake_ns, bool *forget, struct err *err);
/* A ConfigMap or Secret that it needs has changed: volumes are made anew, and what waited for it is tried at once. */
void pod_sources_changed(const struct pod_host *h, struct pod *p);
/* Asks for an end of everything that runs, for a node that goes away; pod_sync then does it. */
void pod_evict(struct pod *p, const char *reason, const char *message);

/* ---- parts of it (pod_*.c) ------------------------------------------------------------------------------------------- */

/* pod_spec.c: what the runtime is told. */
int pod_container_spec(const struct pod_host *h, const struct ctx *ctx, const struct pod *p, const struct box *b,
                       const struct image_info *image, struct container_spec *out, struct err *err);
struct pod_facts pod_facts(const struct pod_host *h, const struct pod *p);
jval *pod_box_container(const struct pod *p, const struct box *b); /* its entry in the spec; NULL when it has none */
char *pod_dir(const struct pod_host *h, const struct pod *p);
char *pod_mem_dir(const struct pod_host *h, const struct pod *p);
char *pod_bundle(const struct pod_host *h, const struct pod *p, const struct box *b);
char *pod_log_dir(const struct pod_host *h, const struct pod *p, const char *container); /* container NULL: of the pod */
char *pod_hostname(const struct pod_host *h, const struct pod *p);
/* Files of its own in <pod dir>/etc. */
int pod_write_etc(const struct pod_host *h, const struct pod *p, struct err *err);
const char *pod_qos(jval *pod);
/* Whether any container has a limit of memory, of cpu. */
void pod_limits(jval *pod, bool *memory, bool *cpu);

/* pod_box.c: one container. */
int box_start(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b, struct err *err);
int box_observe(const struct pod_host *h, struct pod *p, struct box *b, struct err *err);
/* Ends the attempt and readies the next one: back-off as Kubernetes has it. */
int box_restart(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b, struct err *err);
int box_save(const struct pod_host *h, const struct pod *p, const struct box *b, struct err *err);
int box_remove(const struct pod_host *h, struct pod *p, struct box *b, struct err *err);

/* What events name as their field; NULL for a volume. The caller frees. */
char *box_field(const struct box *b);
/* An event about a container. */
void box_event(const struct pod_host *h, const struct pod *p, const struct box *b, const char *type, const char *reason,
               const char *text);
void box_set_waiting(struct box *b, const char *reason, const char *message);
/* The next attempt waits, twice as long with each failure in a row. */
void box_wait(const struct pod_host *h, struct box *b, const char *reason, const char *message, int64_t first, int64_t max);
void box_set_image(struct box *b, const struct image_info *image);

/* pod_image.c: the image of a container. False when it is not here now: it is being fetched, or the container waits with a
 * reason. */
bool box_have_image(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b, struct image_info *image);
/* After a restart of ours: what image a container that is there has. */
void box_recall_image(const struct pod_host *h, const struct pod *p, struct box *b);
bool box_pull_is_over(const struct box *b);
void box_drop_pull(struct box *b);
/* When a waiting container is to be looked at next (monotonic); 0: no time is known. */
int64_t box_image_wake(const struct pod_host *h, struct pod *p, struct box *b);

/* pod_image_volume.c: volumes that are images. */
void pod_add_image_volumes(struct pod *p);                        /* from its object, once */
jval *pod_image_volume(const struct pod *p, const struct box *v); /* its source in the spec */
/* Brings those on that the container mounts. False when one is not there yet: the container waits, with its reason. */
bool box_have_image_volumes(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b);
/* As box_image_wake, for the container or what it waits for. */
int64_t box_wake(const struct pod_host *h, struct pod *p, struct box *b);

/* pod_admit.c: true when this node does not take the pod; both texts are the caller's. */
bool pod_refused(const struct pod_host *h, const struct pod *p, char **reason, char **message);
int64_t pod_asks(jval *pod, const char *resource);
char *pod_sysctl_name(const char *name); /* with dots; the caller frees */
bool machine_has_apparmor(void);

/* pod_end.c: hooks, probes, and the end of one container. */
bool box_is_sidecar(const struct pod *p, const struct box *b);
/* What is known of a container that runs; a probe or a hook may have condemned it (end_why). */
void box_look(const struct pod_host *h, struct pod *p, struct box *b);
/* One more step towards its end; again whenever the pod is looked at. why: for the event; NULL: its pod ends. */
int box_end(const struct pod_host *h, struct pod *p, struct box *b, const char *why, int64_t kill_mono, int64_t *wake,
            struct err *err);
void box_begin_anew(struct box *b); /* forgets what was said of the attempt before */
void pod_wake_at(const struct pod_host *h, int64_t *wake, int64_t mono);

/* pod_status.c: the status subresource. */
int pod_write_status(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct err *err);
void box_terminated(struct jm *m, jmval *out, const struct box *b);
/* The status that the record means, from the one that the object has. For tests. */
struct json *pod_build_status(const struct pod_host *h, const struct pod *p);

#endif
