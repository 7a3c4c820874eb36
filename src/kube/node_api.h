/* node_api.h - what an API server asks of a node: logs, programs in containers with their streams, and connections into pods.
 * (Stats have their place here.) */
#ifndef TM_KUBE_NODE_API_H
#define TM_KUBE_NODE_API_H

#include "kube/kube.h"

/* An open log. read() is called from a pool that may block on files, never from an event loop. */
struct node_log {
    /* Appends up to max bytes of finished output. Returns 1: there may be more now; 0: nothing more at the moment (follow: wait
     * for notify); 2: the log is over; -1: error. */
    int (*read)(struct node_log *log, size_t max, struct buf *out, struct err *err);
    void (*close)(struct node_log *log);
};

/* ---- programs ------------------------------------------------------------------------------------------------------------ */

struct node_process_opts {
    const char *container;      /* never NULL */
    const char *const *command; /* NULL-terminated; NULL: the container's own program is attached to */
    bool in, out, err, tty;     /* with a terminal everything it writes comes on out */
};
/* A program that runs in a container, by its descriptors. They are non-blocking, and the caller's. Closing `status` ends the
 * program and those of its process group; so does the death of the caller. */
struct node_process {
    int in, out, err; /* -1: not asked for. With a terminal in and out are two descriptors of it */
    int status;       /* readable when node_process_ended has something to say; -1 (attached): the end of out is the end */
    /* Attached: out gives packets that begin with a byte 2 (stdout) or 3 (stderr); in takes packets of at most 32 KiB, and its
     * end is told by shutdown(SHUT_WR), since both are one socket. */
    bool packets;
    char *control; /* attached: where its terminal's size is told; else NULL */
};
#define NODE_PROCESS_NONE                                                                                                        \
    {                                                                                                                            \
        .in = -1, .out = -1, .err = -1, .status = -1                                                                             \
    }
/* 1: it ended with *code (128 + n for signal n); 0: not yet; -1: it could not be started, the error says why (ERR_NOT_FOUND:
 * there is no such program, ERR_FORBIDDEN: it cannot be executed), or how it ended will never be known. Does not block. */
int node_process_ended(struct node_process *p, int *code, struct err *err);
/* Tells the terminal its size. false: a size told before has not been taken yet; say it again in a while (conmon 2.1 takes two
 * sizes that it reads at once for the first one). Does not block; other failures are no matter. */
bool node_process_resize(const struct node_process *p, int columns, int rows);
void node_process_close(struct node_process *p);

/* ---- the node ------------------------------------------------------------------------------------------------------------- */

struct node_api {
    void *self;
    const char *name; /* of its Node; NULL where it is not to be asked for */
    /* Opens a container's log (opts->container is never NULL). notify(arg) is called from any thread when a following reader
     * should read again; it must not block. ERR_BAD_REQUEST with Kubernetes' texts when there is no such log (yet). */
    struct node_log *(*log_open)(void *self, const struct ctx *ctx, jval *pod, const struct kube_log_opts *opts,
                                 void (*notify)(void *arg), void *arg, struct err *err);
    /* Starts a program in a running container, or attaches to the container's own. ERR_INTERNAL "container not found (...)" when
     * it does not run. Blocks for some milliseconds. */
    int (*process_open)(void *self, const struct ctx *ctx, jval *pod, const struct node_process_opts *opts,
                        struct node_process *out, struct err *err);
    /* A connection to a port of the pod's own loopback, non-blocking (and maybe not made yet: it is writable when it is). */
    int (*dial)(void *self, const struct ctx *ctx, jval *pod, int port, int *fd, struct err *err);
};

#endif
