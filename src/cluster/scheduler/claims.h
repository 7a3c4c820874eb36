/* claims.h - the claims of a pod: whether they let it be scheduled, and where. Source: kube.md 13.13, 14. */
#ifndef TM_SCHEDULER_CLAIMS_H
#define TM_SCHEDULER_CLAIMS_H

#include "base/str.h"
#include "kube/informer.h"

struct pod_claims {
    char *missing;         /* what keeps the pod from every node, in Kubernetes' words; NULL: nothing */
    struct json **unbound; /* claims whose class waits for their first consumer */
    size_t n_unbound;
    struct json **volumes; /* of those that are bound, where they say on which nodes they are */
    size_t n_volumes;
    struct strlist exclusive; /* names of claims that only one pod may use */
};
void pod_claims_free(struct pod_claims *c);
#define POD_CLAIMS(name) CLEANUP(pod_claims_free) struct pod_claims name = {0}
/* -1 only when the API cannot be asked. */
int pod_claims_find(struct kube *kube, const struct ctx *ctx, struct informer *claims, jval *pod, struct pod_claims *out,
                    struct err *err);
/* What is said when one of the exclusive claims is used by another pod that has a node, and whether other is such a pod. */
#define CLAIM_TAKEN "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
bool pod_claims_share(const struct pod_claims *c, jval *pod, jval *other);
/* Whether the bound volumes may be mounted on that node; if not, why is added to. */
bool pod_claims_fit(const struct pod_claims *c, jval *node, struct strlist *why);
/* Says for which node the unbound ones are to be bound. */
int pod_claims_select(struct kube *kube, const struct ctx *ctx, const struct pod_claims *c, const char *node, struct err *err);

#endif
