/* wellknown.h - the Services that the embedded cluster has from its start: the API (default/kubernetes), the cluster's name
 * server (kube-system/kube-dns) and the front door under the name that clients look for (kubeflow/ml-pipeline). */
#ifndef TM_CLI_WELLKNOWN_H
#define TM_CLI_WELLKNOWN_H

#include "kube/kube.h"

struct wellknown {
    int kube_port, front_port;
    const char *api_ip, *dns_ip; /* addresses of the first two */
    const char *gateway;         /* under which pods see this machine; NULL: Services without endpoints */
};
/* Makes them, or brings them to what they should be. */
int wellknown_services(struct kube *k, const struct ctx *ctx, const struct wellknown *w, struct err *err);

#endif
