/* scheduler.h - gives pods a node: filter by requests, nodeSelector, taints, unschedulable and the number of pods; bind.
 *
 * Knows the cluster through a `struct kube` only. Watches pods and nodes, keeps what each node's pods ask for as sums that change
 * with each pod event (no pass over all pods), binds through pods/binding, and writes condition PodScheduled=False with
 * Kubernetes' texts where nothing fits. A pod that did not fit is tried again when a pod goes or a node changes, not by a timer.
 * Source: kube.md 14.
 *
 * Served: schedulerName default-scheduler, schedulingGates, nodeSelector, required nodeAffinity, taints and tolerations,
 * unschedulable, requests of cpu, memory, ephemeral-storage and extended resources, pods, host ports. Inter-pod affinity and
 * topology spread are trivially true on one node unless they forbid something; a pod that asks for required anti-affinity is
 * refused with an event that says so. */
#ifndef TM_CLUSTER_SCHEDULER_SCHEDULER_H
#define TM_CLUSTER_SCHEDULER_SCHEDULER_H

#include "kube/kube.h"

struct scheduler;
/* clock: NULL is clock_system. The kube must outlive the scheduler. */
struct scheduler *scheduler_start(struct kube *kube, const struct clock *clock, struct err *err);
void scheduler_stop(struct scheduler *s);

#endif
