/* crun_priv.h - what the two files of the crun runtime share. */
#ifndef TM_NODE_CRUN_PRIV_H
#define TM_NODE_CRUN_PRIV_H

#include <pthread.h>

#include "cluster/node/helper/helper_call.h"
#include "cluster/node/network/podnet.h"
#include "cluster/node/runtime/oci.h"
#include "cluster/node/runtime/runtime.h"

struct crun {
    struct runtime base;
    char *node_dir, *root_arg, *crun_root, *exits, *instance, *crun, *conmon, *version;
    int sealed; /* crun in a sealed memory file, and the path by which it is run: see seal_program */
    char *crun_run;
    struct strlist host_images, host_paths, host_envs;
    struct helper *helper;
    struct podnet *net;
    struct json *seccomp;
    struct seccomp_cache *compiled;
    pthread_mutex_t lock; /* ready, root, machine: written once, by the first ready() that succeeds */
    bool is_ready;
    struct hostroot *root;
    struct rootstock *stock;
    struct oci_machine machine;
    pthread_t watcher, ahead;
    bool has_watcher;
    _Atomic int64_t stirred_ns; /* monotonic, the last time */
    int range_hold;             /* the claim on the range of pods (service_claim.h); -1: none */
    int wake;                   /* eventfd that ends the watcher */
};

static inline struct crun *crun_of(struct runtime *r) { return CONTAINER_OF(r, struct crun, base); }

/* crun_container.c */
void crun_stir(struct crun *c); /* a container comes soon: see cgroup_stir. Does not wait. */
/* See struct runtime_ops. */
int crun_create(struct runtime *r, const struct container_spec *spec, struct err *err);
int crun_start(struct runtime *r, const struct container_ref *ref, struct err *err);
int crun_signal(struct runtime *r, const struct container_ref *ref, int sig, struct err *err);
int crun_state(struct runtime *r, const struct container_ref *ref, struct container_state *out, struct err *err);
int crun_remove(struct runtime *r, const struct container_ref *ref, struct err *err);
int crun_reopen_log(struct runtime *r, const struct container_ref *ref, struct err *err);

const char *crun_cgroup_arg(const struct crun *c);

/* crun_exec.c */
int crun_exec(struct runtime *r, const struct container_ref *ref, const struct exec_spec *spec, struct node_process *out,
              struct err *err);
int crun_attach(struct runtime *r, const struct container_ref *ref, const struct exec_spec *spec, struct node_process *out,
                struct err *err);
int crun_dial(struct runtime *r, const struct sandbox *s, int port, int *fd, struct err *err);

#endif
