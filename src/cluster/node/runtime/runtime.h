/* runtime.h - what runs containers: the seam between the pod worker and the machine.
 *
 * Two implementations: crun.c (crun and conmon through the helper process, host root file system, real network) and scripted.c
 * (nothing runs; a function says how each container ends), with which the pod worker, the engine and the controllers are tested
 * without root.
 *
 * A container's life here: create (prepared, not running a single instruction) -> start -> exits -> remove. All calls block, are
 * safe from any thread, and may be repeated: a container is known by its id and its bundle directory alone, so a node that was
 * killed goes on with what it finds in node.db. Exits are told by the callback; state() is the truth. */
#ifndef TM_NODE_RUNTIME_H
#define TM_NODE_RUNTIME_H

#include "base/ctx.h"
#include "base/str.h"
#include "kube/node_api.h"
#include "value/json.h"

struct runtime;

/* ---- pods ------------------------------------------------------------------------------------------------------- */

struct sandbox {
    char *name;                /* of its link and pinned namespaces; "" with the host's network */
    char *ip;                  /* address of the pod */
    char *net_path, *ipc_path; /* namespaces to join; NULL: the machine's network, an ipc namespace of each container's own */
};
void sandbox_free(struct sandbox *s);

/* ---- containers ------------------------------------------------------------------------------------------------- */

enum mount_kind {
    MOUNT_BIND,  /* source is a file or directory as the node sees it */
    MOUNT_TMPFS, /* a tmpfs of its own; source is its options ("size=64m") */
};
struct container_mount {
    enum mount_kind kind;
    char *source, *target;
    bool readonly, readonly_below; /* readonly_below: what is mounted below it too */
    bool follows;                  /* sees what the machine mounts below it later */
    bool noexec;                   /* no programs, devices and set-user-id files */
};

struct container_spec {
    const char *id;           /* 64 hex digits */
    const char *name;         /* for people: pod and container */
    const char *bundle;       /* directory of this attempt, existing, empty */
    const char *log_path;     /* its directory exists */
    struct strlist args, env; /* complete: nothing is expanded any more */
    char *cwd, *hostname;
    int64_t uid, gid;
    struct strlist groups; /* supplementary, decimal */
    struct strlist caps;   /* "CAP_CHOWN" ...: what it may have at most */
    bool privileged, no_new_privs, readonly_root, seccomp_default, tty, stdin_open, stdin_once;
    struct container_mount *mounts; /* in the order of mounting */
    size_t n_mounts;
    int64_t cpu_shares, cpu_quota_us; /* 0: none; the period is 100 ms */
    int64_t memory_limit;             /* bytes, 0: none */
    int64_t pids_limit;               /* 0: none */
    int oom_score_adj;
    const struct sandbox *sandbox;
    bool host_network, host_pid, host_ipc, proc_unmasked;
    struct strlist sysctls; /* "net.ipv4.tcp_syncookies=1" */
    char *seccomp;          /* a profile of its own, JSON in the form of the OCI; NULL: seccomp_default says */
    char *pid_path;         /* a process namespace to join; NULL: one of its own */
    char *pids_of;          /* bundle of a container that runs, whose process namespace is joined; NULL: pid_path says */
    char *apparmor;         /* name of a loaded profile; NULL: none */
    bool own_image;         /* its root is made of these layers, bottom first; else the machine's own (image `host`) */
    struct strlist layers;
    struct strlist volumes; /* of the image: stay writable when the root is not */
};
void container_spec_free(struct container_spec *s);
void container_spec_mount(struct container_spec *s, enum mount_kind kind, const char *source, const char *target, bool readonly);

struct container_ref {
    const char *id, *bundle;
};

enum container_run { RUN_ABSENT, RUN_CREATED, RUN_RUNNING, RUN_EXITED, RUN_LOST /* it ran, and how it ended is not known */ };
struct container_state {
    enum container_run run;
    int exit_code;       /* RUN_EXITED */
    bool oom;            /* the kernel killed something in it for memory */
    int64_t finished_ns; /* wall clock */
};

/* Defaults that an image gives to its containers. */
struct image_info {
    char *id; /* for the status: "host@...", "docker.io/library/busybox@sha256:..." */
    struct strlist env, entrypoint, cmd;
    char *cwd;
    /* Of an image from a registry or an archive; of image `host` image is NULL and nothing else is set. */
    char *image;            /* its id in the store */
    char *user;             /* as the image says it: "", "1000", "name:group" */
    int stop_signal;        /* 0: the usual */
    struct strlist volumes; /* paths that are written even when the root is read-only */
    struct strlist layers;  /* directories, bottom first */
    int64_t size;
};
void image_info_free(struct image_info *i);

/* A program to be run beside a container's own, in what it sees and as who it is. */
struct exec_spec {
    const char *const *args; /* NULL-terminated; NULL for attach */
    bool in, out, err, tty;
};

struct runtime_ops {
    /* One line for Node.status.nodeInfo.containerRuntimeVersion. 0 when pods can be run; else -1 with the cure: the Node is
     * NotReady. Called again until it succeeds. */
    int (*ready)(struct runtime *, char **version, struct err *err);
    /* How limits of resources are applied, for people (malloc'd); NULL: nothing to say. */
    char *(*limits)(struct runtime *);
    /* Why limits of memory or of cpu, whichever is asked about, will not hold here (malloc'd); NULL: they will. */
    char *(*unenforced)(struct runtime *, bool memory, bool cpu);
    /* The image's defaults, or ERR_NOT_FOUND with the cure in the message; ERR_BAD_REQUEST for a name that is none. */
    int (*image)(struct runtime *, const char *name, struct image_info *out, struct err *err);
    /* User id -> home directory and primary group inside the image. *home is malloc'd. */
    void (*user)(struct runtime *, const char *image, int64_t uid, char **home, int64_t *gid);
    /* Network and addresses of a pod. What a node that was killed had taken but not noted down is taken away by the next
     * sandbox_adopt. */
    int (*sandbox_up)(struct runtime *, const char *pod_uid, bool host_network, struct sandbox *out, struct err *err);
    int (*sandbox_down)(struct runtime *, const char *pod_uid, const struct sandbox *s, struct err *err);
    /* A node that starts tells which sandboxes are in use; all others of its own are taken away. */
    int (*sandbox_adopt)(struct runtime *, const struct sandbox *const *used, size_t n, struct err *err);

    /* Replaces the rules that lead Services' addresses to their pods (service_rules.h). May be NULL. */
    int (*services)(struct runtime *, const char *rules, struct err *err);

    int (*create)(struct runtime *, const struct container_spec *, struct err *err);
    int (*start)(struct runtime *, const struct container_ref *, struct err *err);
    int (*signal)(struct runtime *, const struct container_ref *, int sig, struct err *err);
    int (*state)(struct runtime *, const struct container_ref *, struct container_state *out, struct err *err);
    int (*remove)(struct runtime *, const struct container_ref *,
                  struct err *err); /* ends it if it runs; keeps the bundle directory */
    int (*reopen_log)(struct runtime *, const struct container_ref *, struct err *err); /* after its log was renamed */

    /* A program in a running container, and the container's own program by what it reads and writes: see struct node_process.
     * ERR_NOT_FOUND when it does not run (any more). */
    int (*exec)(struct runtime *, const struct container_ref *, const struct exec_spec *, struct node_process *out,
                struct err *err);
    int (*attach)(struct runtime *, const struct container_ref *, const struct exec_spec *, struct node_process *out,
                  struct err *err);
    /* A connection to a port of a pod's loopback: see struct node_api. */
    int (*dial)(struct runtime *, const struct sandbox *, int port, int *fd, struct err *err);

    /* Makes (or takes back) the process namespace that a pod's containers share, at <pod_dir>/pidns. Repeated calls are fine. */
    int (*share_pids)(struct runtime *, const char *pod_dir, bool up, struct err *err);
    /* A tmpfs for secrets and memory volumes. fd is a directory of it for *at() calls: it may not be visible at path to this
     * process. */
    int (*tmpfs)(struct runtime *, const char *path, const char *options, int *fd, struct err *err);
    /* Mounts what `sub` names inside the directory base (missing directories are made, links followed inside of it only) at
     * target, which is made. Whatever happens to the name later, target stays what it is. remove_tree of a directory around
     * target takes it back. */
    int (*bind_sub)(struct runtime *, const char *base, const char *sub, const char *target, struct err *err);
    /* Mounts an image's layers (bottom first), read-only, at <place>/root; place is there. Done already is fine; remove_tree
     * takes
     * it back. NULL where no image has layers. */
    int (*image_volume)(struct runtime *, const char *place, const char *const *layers, size_t n, struct err *err);
    int (*remove_tree)(struct runtime *, const char *path, struct err *err); /* unmounts below, removes files of any owner */
    /* Runs `tidemill image-unpack dir` with fd as the layer's stream; *said is what it said (malloc'd), also when it failed. */
    int (*unpack)(struct runtime *, int fd, const char *dir, char **said, struct err *err);
    /* The last call; frees. remove takes back bridge, rules, namespaces, control groups. */
    void (*stop)(struct runtime *, bool remove);
};

struct runtime {
    const struct runtime_ops *ops;
    /* Set by the node before anything is created. Called from any thread, must not block: something ended. */
    void (*exited)(void *self, const char *id);
    void *self;
};

/* ---- the two ------------------------------------------------------------------------------------------------------- */

struct node_config;
/* Does not touch the machine before the first ready(). */
struct runtime *runtime_crun_new(const struct node_config *cfg, struct err *err);
char *runtime_crun_gateway(struct runtime *r);     /* the bridge's address; the caller frees */
bool runtime_crun_has_services(struct runtime *r); /* see podnet_has_services */
char *runtime_crun_instance(struct runtime *r);    /* what its things are called on the machine; the caller frees */

/* How a scripted container behaves; asked once at its start. */
struct script {
    int64_t run_ns; /* ends after so long; < 0: only when it is killed */
    int exit_code;
    bool oom;
    const char *log;         /* written to its log as one stdout line; static or NULL */
    const char *termination; /* its termination message; static or NULL */
    const char *fail_start;  /* not NULL: cannot be started, with this text */
    int ignore_term;         /* goes on after SIGTERM */
};
/* decide may be NULL: everything ends at once with 0. It is called from worker threads. Every image name is known but those that
 * begin with "missing". */
struct runtime *runtime_scripted_new(void (*decide)(void *self, const struct container_spec *, struct script *out), void *self);

/* What a program started by exec does: writes to out and gives its exit code; < 0: goes on until it is closed. */
typedef int script_exec(void *self, const char *const *args, struct buf *out);
void runtime_scripted_exec(struct runtime *r, script_exec *fn);

#endif
