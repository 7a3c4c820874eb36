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
    jmval *fill;              /* the init container that fills the set-up; NULL: none */
    size_t n_own;             /* volumes of ours, which the configuration cannot name */
    const struct task_start *t;
    const struct pod_place *place; /* NULL: there will be no pod, only its parts are told */
    struct err *err;
};
/* A volume with this name, once; NULL when it is there already. */
jmval *pod_volume(struct pod_build *b, const char *name);
/* What a volume is called that the configuration calls so: another name when one of ours has it, since that is not the
 * configuration's to see. The caller frees. */
char *pod_user_volume(const struct pod_build *b, const char *name);
void pod_mount(struct pod_build *b, const char *volume, const char *path, const char *sub_path, bool read_only);
void pod_mount_agent(struct pod_build *b, jmval *container); /* for a container that runs it beside the main one */
void pod_drop_privileges(struct jm *m, jmval *container);
/* podimage.c: lets the main container see the task's images. */
void pod_images(struct pod_build *b);
/* Whether the API server kept all n image volumes of a pod: one that does not know them leaves them out without a word. */
bool pod_kept_images(jval *pod, size_t n);
/* Applies the task's KubernetesExecutorConfig (references already replaced by values). */
int pod_apply_config(struct pod_build *b, jval *config);
/* Calls fn for the entries of one of the configuration's lists; that it is one, and they are objects, is checked here alone. */
int pod_each(struct pod_build *b, jval *config, const char *name, int (*fn)(struct pod_build *b, jval *entry));
/* podplace.c: parts of it. */
int pod_apply_affinity(struct pod_build *b, jval *config);
int pod_apply_init_containers(struct pod_build *b, jval *config);

#endif
