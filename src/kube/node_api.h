/* node_api.h - what an API server asks of a node: today logs; exec, attach, port-forward and stats have their place here. */
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
struct node_api {
    void *self;
    /* Opens a container's log (opts->container is never NULL). notify(arg) is called from any thread when a following reader
     * should read again; it must not block. ERR_BAD_REQUEST with Kubernetes' texts when there is no such log (yet). */
    struct node_log *(*log_open)(void *self, const struct ctx *ctx, jval *pod, const struct kube_log_opts *opts,
                                 void (*notify)(void *arg), void *arg, struct err *err);
};

#endif
