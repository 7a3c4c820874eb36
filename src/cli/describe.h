/* describe.h - what is running, as the status command and the start page show it. */
#ifndef TM_CLI_DESCRIBE_H
#define TM_CLI_DESCRIBE_H

#include "cluster/node/node.h"
#include "pipelines/store/store.h"
#include "value/json.h"

/* The parts of a server that the description needs; fields are set as parts start. */
struct status_source {
    const char *data_dir, *url, *kube_url, *kubeconfig;
    int64_t started_ns;
    bool no_engine, remote; /* remote: of a Kubernetes that is not ours */
    const struct store *store;
    struct node *node;
};
/* {"version", "pid", "uptime", "url", "kubernetes", "kubeconfig", "data", "parts": [{name, state, ok, detail}], "runs": [...]}.
 */
void describe_status(const struct status_source *s, struct jm *m, jmval *obj);

#endif
