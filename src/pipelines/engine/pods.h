/* pods.h - the task runtime on Kubernetes: one pod an attempt, through `struct kube`. Private to engine/.
 *
 * The pods of all runs are kept in one informer (label pipeline/runid); a change of a pod queues its run. */
#ifndef TM_PIPELINES_ENGINE_PODS_H
#define TM_PIPELINES_ENGINE_PODS_H

#include "kube/controller.h"
#include "pipelines/engine/runtime.h"

struct pods;
/* kube, clock and agent_path must outlive it. */
struct pods *pods_new(struct kube *kube, const struct clock *clock, const char *agent_path);
void pods_free(struct pods *p); /* stops the informer */
struct task_runtime pods_runtime(struct pods *p);
struct controller_source pods_source(struct pods *p);
/* Starts the informer and waits for its first list. */
int pods_start(struct pods *p, const struct ctx *ctx, struct err *err);
/* The pod of an attempt as an object; the caller unrefs. ERR_INVALID: the configuration cannot be a pod. */
struct json *pod_make(const struct task_start *t, const char *agent_path, struct err *err);

#endif
