/* kubelet.h - the node's HTTPS face: what an API server that is not in this process asks of it.
 *
 *     struct kubelet *k = kubelet_listen(&cfg, &port, err);       // the port goes into the Node
 *     struct node *n = node_start(&(struct node_config){.kubelet_port = port, ...}, kube, err);
 *     kubelet_start(k, n, err);
 *     ...
 *     kubelet_stop(k);                                            // before the node
 *
 * Served is what kube/streaming/kubelet_paths.h has, as a kubelet does. Who asks is told by a client
 * certificate of the cluster's authority (from ConfigMap kube-system/extension-apiserver-authentication), or by a token that a
 * TokenReview knows; whether they may, by a SubjectAccessReview on nodes/proxy of this Node. Source: kube.md 9; kubelet
 * authentication and authorization. */
#ifndef TM_NODE_KUBELET_H
#define TM_NODE_KUBELET_H

#include "cluster/node/node.h"

struct kubelet_config {
    struct kube *kube;              /* asks the reviews; outlives it */
    const char *listen;             /* "0.0.0.0:10250"; port 0 takes a free one */
    const char *cert_pem, *key_pem; /* NULL: self-signed, made now */
};
struct kubelet;
struct kubelet *kubelet_listen(const struct kubelet_config *cfg, int *port, struct err *err);
int kubelet_start(struct kubelet *k, struct node *n, struct err *err);
void kubelet_stop(struct kubelet *k); /* NULL is fine */

#endif
