/* pods.h - the task runtime on Kubernetes: one pod an attempt, through `struct kube`. Private to engine/.
 *
 * The pods of all runs are kept in one informer (label pipeline/runid). */
#ifndef TM_PIPELINES_ENGINE_PODS_H
#define TM_PIPELINES_ENGINE_PODS_H

#include "kube/controller.h"
#include "pipelines/engine/runtime.h"

/* How pods come by what is ours. */
struct pod_place {
    /* The agent: a file of the machine that runs the pods, or an image that holds /usr/bin/tidemill-agent, from which an init
     * container copies it. Both NULL: whatever runs the pods puts it at LAUNCH_AGENT by itself, as our node does. */
    const char *agent_path, *agent_image;
    /* Task directories and artifacts: NULL, and they are mounted as paths of the machine; or the PersistentVolumeClaim in the
     * namespace of the pods whose volume is root here. */
    const char *claim, *root;
    const char *artifacts; /* without a claim: the artifact store's directory, mounted once and in parts; NULL: there is none */
    bool side_cars;        /* images as inputs are side-cars, for the API server knows no image volumes */
    int64_t image_patience_ns; /* how long a registry may be out of order before a pod is given up */
};
struct pods;
/* kube, clock and what is in place must outlive it. */
struct pods *pods_new(struct kube *kube, const struct clock *clock, const struct pod_place *place);
void pods_free(struct pods *p); /* stops the informer */
struct task_runtime pods_runtime(struct pods *p);
struct informer *pods_informer(struct pods *p); /* a change of a pod is told with engine_pod_changed */
/* Starts the informer and waits for its first list. */
int pods_start(struct pods *p, const struct ctx *ctx, struct err *err);
/* How long pods stay that have ended. Their runs are over and their logs are stored: they are kept for people with kubectl. */
struct pods_retire {
    size_t max;     /* the newest so many, by the end of their runs */
    int64_t age_ns; /* since the end of their run */
    int64_t now_ns;
    void *self;
    /* When a run ended; 0: not yet, or it is not known. *age_ns is how long its pods stay after that, and may be changed. */
    int64_t (*ended)(void *self, const char *run_id, int64_t *age_ns);
};
/* Removes those whose time has come. *left: how many ended pods of ended runs stay. */
int pods_retire(struct pods *p, const struct ctx *ctx, const struct pods_retire *how, size_t *left, struct err *err);
/* The pod of an attempt as an object; the caller unrefs. ERR_INVALID: the configuration cannot be a pod. */
struct json *pod_make(const struct task_start *t, const struct pod_place *place, struct err *err);

#endif
