/* helper_call.h - the node's side of the helper process: start it, ask it, start it again when it died.
 *
 * Calls block until the answer is there; any thread. Requests of several threads overlap: those that wait for a program
 * (HELPER_RUN, HELPER_REMOVE, HELPER_NETNS_*) do not hold up the others.
 * When the helper dies, the calls in flight fail with ERR_UNAVAILABLE, and the next call starts a new helper, which enters the
 * same pinned namespaces. What the helper started (conmon) goes on. */
#ifndef TM_NODE_HELPER_CALL_H
#define TM_NODE_HELPER_CALL_H

#include "cluster/node/helper/helper_proto.h"
#include "cluster/node/runtime/cgroup.h"

struct helper;
struct helper_config {
    const char *const *argv; /* NULL: {"/proc/self/exe", "node-helper"} */
    const char *node_dir;
    const char *instance; /* "tm3fa81c07": names of bridge, table and control groups */
};
/* Starts nothing yet; the first call does. Strings are copied. */
struct helper *helper_new(const struct helper_config *cfg);
void helper_free(struct helper *h); /* closes the socket: the helper process ends by itself, and is waited for */

struct helper_answer {
    int rc;     /* exit code for HELPER_RUN, pid for HELPER_SPAWN, else 0 */
    char *text; /* what the answer says; never NULL */
    int fd;     /* -1 when there is none */
};
void helper_answer_free(struct helper_answer *a);
#define HELPER_ANSWER(name) CLEANUP(helper_answer_free) struct helper_answer name = {.fd = -1}

/* v is NULL-terminated. out may be NULL. -1 when the helper could not do it (for HELPER_RUN: could not run it). */
int helper_call(struct helper *h, enum helper_op op, const char *const *v, const int *fds, unsigned n_fds,
                struct helper_answer *out, struct err *err);
/* helper_ask(h, HELPER_UNMOUNT, NULL, err, path, NULL) */
int helper_ask(struct helper *h, enum helper_op op, struct helper_answer *out, struct err *err, ...) __attribute__((sentinel));
bool helper_runs(struct helper *h);
/* What the helper found about control groups, once started. Starts it. */
int helper_cgroups(struct helper *h, struct cgroup_info *out, struct err *err);

#endif
