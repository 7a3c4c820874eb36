/* fit.h - whether a pod fits a node: pure functions on documents and sums. Source: kube.md 14. */
#ifndef TM_SCHEDULER_FIT_H
#define TM_SCHEDULER_FIT_H

#include "base/str.h"
#include "kube/amounts.h"
#include "value/json.h"

/* "TCP/8080" and the like, one for each hostPort. */
void pod_host_ports(jval *pod, struct strlist *out);

/* What is taken on a node. */
struct usage {
    struct amounts used;
    size_t pods;
    struct strlist ports;
};
/* NULL when the pod fits; else why not, in Kubernetes' words, one for each thing that is missing (appended to why). *helps: some
 * of it would be cured if pods went. */
bool node_fits(jval *pod, jval *node, const struct usage *u, struct strlist *why, bool *helps);
bool node_affinity_matches(jval *pod, jval *node);
bool node_selector_matches(jval *selector, jval *node); /* any of its terms */
/* The key of the first taint that keeps the pod away; NULL: none. */
const char *untolerated_taint(jval *pod, jval *node);

#endif
