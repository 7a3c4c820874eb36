/* env.h - what a container is told: environment, $(VAR) expansion, and the downward API. Source: kube.md 15.4.
 *
 * Errors are ERR_PRECONDITION with kubelet's texts; they become CreateContainerConfigError. */
#ifndef TM_NODE_ENV_H
#define TM_NODE_ENV_H

#include "base/str.h"
#include "cluster/node/runtime/runtime.h"
#include "kube/kube.h"

struct service_net;

/* Facts about a pod on this machine that its object does not hold. */
struct pod_facts {
    jval *pod;
    const char *pod_ip, *host_ip, *node_name;
    const char *api_ip;                  /* of Service default/kubernetes */
    struct service_net *services;        /* may be NULL */
    int64_t node_cpu_milli, node_memory; /* what the node has: the limit of those that have none */
};

/* Value of a fieldRef path ("metadata.name", "metadata.labels['k']", "status.podIP"). Whole maps (for volumes) only when maps is
 * set. The caller frees. */
char *downward_field(const struct pod_facts *f, const char *path, bool maps, struct err *err);
/* Value of a resourceFieldRef; container is the one meant when it names none. The caller frees. */
char *downward_resource(const struct pod_facts *f, jval *ref, const char *container, struct err *err);

/* "$(NAME)" by what is in vars (char * values), "$$" is "$"; unknown names stay as they are. The caller frees. */
char *env_expand(const char *text, const struct strmap *vars);

/* Fills vars (STRMAP_INIT(free)) with everything a container gets, lowest first: image, HOSTNAME and HOME, KUBERNETES_*, envFrom,
 * env. skipped gets the names from envFrom that are no variable names, as "source: a, b". */
int env_build(struct kube *kube, const struct ctx *ctx, const struct pod_facts *f, jval *container,
              const struct image_info *image, const char *hostname, const char *home, struct strmap *vars,
              struct strlist *skipped, struct err *err);
/* command and args of a container over the image's, expanded. ERR_PRECONDITION when there is nothing to run. */
int env_command(jval *container, const struct image_info *image, const struct strmap *vars, struct strlist *out, struct err *err);

#endif
