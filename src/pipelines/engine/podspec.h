/* podspec.h - the pod of an attempt, part by part. Private to engine/. */
#ifndef TM_PIPELINES_ENGINE_PODSPEC_H
#define TM_PIPELINES_ENGINE_PODSPEC_H

#include "pipelines/engine/pods.h"

/* By this label the engine knows its own pods. "pipeline/runid", which clients look for, is on the pods of other engines as well.
 */
#define RUN_LABEL "pipelines.tidemill.dev/run"
#define TASK_NOTE "pipelines.tidemill.dev/task" /* the annotation with the task, where no directory is shared */

/* A pod being made. */
struct pod_build {
    struct jm *m;
    jmval *pod, *spec, *main; /* main: the container */
    const struct task_start *t;
    const struct pod_place *place;
    struct err *err;
};
/* A volume with this name, once; NULL when it is there already. */
jmval *pod_volume(struct pod_build *b, const char *name);
void pod_mount(struct pod_build *b, const char *volume, const char *path, const char *sub_path, bool read_only);
/* Applies the task's KubernetesExecutorConfig (references already replaced by values). */
int pod_apply_config(struct pod_build *b, jval *config);
/* podplace.c: parts of it. */
int pod_apply_affinity(struct pod_build *b, jval *config);
int pod_apply_init_containers(struct pod_build *b, jval *list);

#endif
