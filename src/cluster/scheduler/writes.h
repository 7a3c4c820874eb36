/* writes.h - what the scheduler writes of a pod: its node, why it has none, and that it has to go for another. Source:
 * kube.md 14. */
#ifndef TM_SCHEDULER_WRITES_H
#define TM_SCHEDULER_WRITES_H

#include "kube/events.h"
#include "kube/kube.h"

#define SCHEDULER_NAME "default-scheduler"

int bind_pod(struct kube *kube, const struct ctx *ctx, jval *pod, const char *node, struct err *err);
/* Writes PodScheduled=False, and the node where room is being made (NULL: as it was); does nothing when it says so already, or
 * when the pod has a node by now. */
int say_unscheduled(struct kube *kube, const struct ctx *ctx, struct json *seen, const char *reason, const char *message,
                    const char *nominated, struct err *err);
/* The victim is told why, and goes with its own grace. One that is gone, or going, is left alone. */
int preempt_pod(struct kube *kube, struct event_recorder *events, const struct ctx *ctx, jval *pod, jval *victim,
                const char *node, struct err *err);

#endif
