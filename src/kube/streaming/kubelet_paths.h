/* kubelet_paths.h - the paths of a kubelet over a node_api: /healthz, /pods, /containerLogs, /exec, /attach and /portForward.
 *
 * Whoever has a node serves them: the node itself on its HTTPS face (cluster/node/kubelet.h), and the API server for
 * nodes/NAME/proxy of the node in its process. The routes go into a struct http_api whose `self` is a struct kubelet_paths (or
 * begins with one); each names the right on nodes that it needs, which the owner asks for. Of what a kubelet serves besides
 * (metrics, stats, the machine's own log files) nothing is there: 404.
 *
 * Source: kube.md 9; pkg/kubelet/server of Kubernetes (facts only). */
#ifndef TM_KUBE_KUBELET_PATHS_H
#define TM_KUBE_KUBELET_PATHS_H

#include "kube/streaming/streaming.h"

struct kubelet_paths {
    const struct node_api *node;
    struct pool *pool; /* reads logs, dials ports; outlives every server that a stream of ours is on, as this struct does */
    void *self;        /* of these two: */
    struct json *(*pod)(void *self, const char *ns, const char *name); /* of this node; a reference, NULL: none */
    struct json **(*pods)(void *self, size_t *n);                      /* all of them: an array and references, the caller's */
};
extern const struct route kubelet_routes[];
extern const size_t kubelet_n_routes;
/* Failures in plain text, as a kubelet tells them: the write_error of the API. */
void kubelet_write_error(void *self, struct http_req *req, struct http_res *res, const struct err *e);
/* Does that path ("exec/ns/pod/c", without its first slash) run something or connect to something, whatever the method? */
bool kubelet_path_acts(const char *path);

#endif
