/* affinity.h - which pods want to be beside one another, which do not, and how they spread: pure functions. Source: kube.md 14.
 */
#ifndef TM_SCHEDULER_AFFINITY_H
#define TM_SCHEDULER_AFFINITY_H

#include "base/str.h"
#include "value/json.h"

/* The pods that have a node, and all nodes. Borrowed. */
struct peer {
    jval *pod, *node; /* node NULL: it is not known any more */
};
struct surroundings {
    struct peer *peers;
    size_t n_peers;
    jval **nodes;
    size_t n_nodes;
    jval *(*namespace_labels)(void *arg, const char *name); /* for namespace selectors; NULL: nothing is known */
    void *arg;
};
/* True when no rule of required affinity, anti-affinity (the pod's, or that of a pod that is there) or spread keeps the pod from
 * the node. Else why not is appended, in Kubernetes' words; *helps: some of it would be cured if pods went. */
bool pod_affinity_fits(jval *pod, jval *node, const struct surroundings *s, struct strlist *why, bool *helps);
/* Whether a pod that comes can let this one be scheduled. */
bool pod_looks_at_others(jval *pod);

#endif
