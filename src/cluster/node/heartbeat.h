/* heartbeat.h - signs of life: what a cluster whose controllers did not grow up with this node waits for.
 *
 * A Lease of the node's name in kube-node-lease is renewed every ten seconds; after 40 s without, a node lifecycle controller
 * calls the node dead and its pods lost. When somebody has written that the node's state is unknown, or it was written long ago,
 * the Node is brought up to date. The embedded cluster has nobody who waits for it; there it is for those who look (`kubectl
 * describe node`). Source: kube.md 13.17. */
#ifndef TM_NODE_HEARTBEAT_H
#define TM_NODE_HEARTBEAT_H

#include "kube/kube.h"

struct heartbeat;
/* Both are called from the heart's thread. Strings are copied. */
struct heartbeat_config {
    struct kube *kube;
    const char *node;
    const struct clock *clock;
    int (*refresh)(void *self, const struct ctx *ctx, struct err *err); /* writes the Node's status anew */
    void (*seen)(void *self, jval *node);                               /* the Node as it is at each beat; may be NULL */
    void *self;
};
struct heartbeat *heartbeat_start(const struct heartbeat_config *cfg);
void heartbeat_stop(struct heartbeat *h); /* NULL is fine */

#endif
