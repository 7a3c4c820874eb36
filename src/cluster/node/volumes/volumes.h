/* volumes.h - the volumes of a pod: made before its containers, kept up to date while it runs.
 *
 * Directories: <pod dir>/volumes/<name> for emptyDir, configMap; <node>/mem/<uid>/<name> on the node's own tmpfs for everything
 * that may hold a secret (secret, projected, downwardAPI). The tmpfs is in the node's mount namespace: this process reaches it
 * through a directory descriptor. Idempotent. Errors are ERR_PRECONDITION with kubelet's texts; they become event FailedMount,
 * and are tried again. Source: kube.md 15.5. */
#ifndef TM_NODE_VOLUMES_H
#define TM_NODE_VOLUMES_H

#include "cluster/node/env.h"
#include "cluster/node/runtime/runtime.h"

struct volumes_at {
    struct kube *kube;
    struct runtime *runtime;
    const struct ctx *ctx;
    const struct pod_facts *facts;
    const char *pod_dir; /* <node>/pods/<uid> */
    const char *mem_dir; /* <node>/mem/<uid>, as containers' mounts name it */
    const char *bundle;  /* of the container, for volumes_source */
    int mem_fd;          /* descriptor of <node>/mem */
    int64_t fs_group;    /* -1: none */
};
/* Makes or refreshes all volumes of the pod. *refresh_ns: when to call again for a token that ages; 0: not at all. */
int volumes_make(const struct volumes_at *at, int64_t *refresh_ns, struct err *err);
/* What is refused for good, before anything is made: a kind of volume that this node does not serve yet. */
int volumes_check(jval *pod, struct err *err);
/* The emptyDir on disk that holds more than its sizeLimit, as the text of an eviction (malloc'd); NULL: none. *watched: there are
 * limits to look after. */
char *volumes_over_limit(const struct volumes_at *at, bool *watched);
/* Whether a pod's volumes or environment need this ConfigMap or Secret of its namespace. */
bool volumes_refer(jval *pod, bool secret, const char *name);
/* Where a volume that is an image has its things, below the pod's directory; its content is mounted at root in there (the caller
 * frees). Made by pod_image_volume.c, when the image is there. */
char *volumes_image_place(const char *pod_dir, const char *volume);
bool volumes_is_image(jval *pod, jval *mount);
/* Source path of a volumeMount, subPath resolved without leaving the volume. The caller frees. */
char *volumes_source(const struct volumes_at *at, jval *mount, const struct strmap *vars, bool *readonly, struct err *err);

#endif
