/* preempt.h - which pods of one node have to go so that a more important one fits: pure functions. Source: kube.md 14.
 *
 * As Kubernetes does it: all less important ones are thought away; if the pod fits then, they come back one after the other, the
 * most important first, and those for which there is no room any more are the victims. */
#ifndef TM_SCHEDULER_PREEMPT_H
#define TM_SCHEDULER_PREEMPT_H

#include "cluster/scheduler/affinity.h"
#include "cluster/scheduler/fit.h"

#define POD_PRIORITY(pod) pod_spec_priority(pod_spec(pod), 0)

/* around: everybody who is anywhere, whose peers with this node are there. victim[i] says of around->peers[i] whether it has to
 * go (the caller's, n_peers long). False when the pod does not fit even without them, or fits as it is. */
bool preempt_victims(jval *pod, jval *node, const struct surroundings *around, bool *victim);
/* Adds what these pods take of a node. The caller clears it. */
void usage_of_pods(jval *const *pods, size_t n, struct usage *out);
void usage_clear(struct usage *u);

#endif
