/* helper.h - the helper process: one thread, one socket, one request and one answer at a time.
 *
 * A threaded server must not fork and setns; so all that needs root or fork is done here: the node's mount namespace, network
 * namespaces, addresses, nftables, crun, conmon, removing trees that belong to other users. It is the seam at which the server
 * can drop its privileges. It ends when its socket is closed; what it started goes on. Its faces: helper_proto.h (packets),
 * helper_call.h (the server's side), node_helper_main in node.h. */
#ifndef TM_NODE_HELPER_H
#define TM_NODE_HELPER_H

#include <sys/types.h>

#include "cluster/node/helper/helper_proto.h"

struct helper_child {
    uint64_t id; /* of the request that gets the answer; 0: nobody waits */
    pid_t pid;
    int output;      /* memfd with what it wrote to stderr, or -1 */
    bool is_request; /* helper_child: its exit code is an errno, its output the error's text */
};
struct helper_state {
    int sock, signals;
    char *node_dir, *instance;
    char *cgroup_procs; /* of the group that the helper is in; NULL without control groups */
    struct helper_child *children;
    size_t n_children;
};

/* helper_exec.c: programs. Each answers by itself or leaves a child that will. */
int helper_spawn(struct helper_state *s, const struct helper_packet *p, struct err *err); /* pid */
int helper_run(struct helper_state *s, const struct helper_packet *p, struct err *err);
/* Runs fn in a child process, so that what takes the kernel a while holds up no other request; its error is the answer's. */
typedef int helper_fn(struct helper_state *s, const struct helper_packet *p, struct err *err);
int helper_child(struct helper_state *s, const struct helper_packet *p, helper_fn *fn, struct err *err);
/* The same for what nobody waits for. */
int helper_aside(struct helper_state *s, const struct helper_packet *p, helper_fn *fn, struct err *err);
/* helper_minder.c: a program in a container, with a process that minds it. */
int helper_exec(struct helper_state *s, const struct helper_packet *p, struct err *err);
/* helper_pidns.c: the process namespace that a pod's containers share. In a child. */
int helper_pidns(struct helper_state *s, const struct helper_packet *p, struct err *err);
/* Runs a program with text as its standard input and waits; its stderr is in the error. */
int helper_feed(const char *const *argv, const char *text, struct err *err);
/* Its end is waited for, and nobody told. */
void helper_child_add(struct helper_state *s, pid_t pid);
void helper_reap(struct helper_state *s);

#endif
