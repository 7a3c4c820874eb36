/* quota.h - ResourceQuota and LimitRange as pure functions: what an object counts, which quotas it counts in, and what the limits
 * of a namespace make of a pod and refuse. The API server and the controller of quota status stand on them; any thread.
 * Source: kube.md 11.1, recorded answers. */
#ifndef TM_KUBE_QUOTA_H
#define TM_KUBE_QUOTA_H

#include "base/str.h"
#include "kube/amounts.h"
#include "kube/kube.h"

/* ---- quotas -------------------------------------------------------------------------------------------------------- */

/* Whether objects of the kind count under a name of `hard`: "pods", "requests.cpu", "count/deployments.apps", ... */
bool quota_counts(const struct kube_res *res, const char *name);
/* What an object counts, under every name that it counts under. A pod that has ended counts as an object only. */
void quota_usage(const struct kube_res *res, jval *obj, struct amounts *out);
/* Whether the scopes of the quota take the object in. */
bool quota_covers(jval *quota, const struct kube_res *res, jval *obj);
/* What containers of a pod must say and do not, as "limits.cpu for: a,b; requests.cpu for: c"; false: nothing is missing. */
bool quota_missing(jval *quota, jval *pod, struct buf *out);
/* "name=quantity,..." in the order of the list, of those in only. */
void quota_text(const struct amounts *a, const struct strlist *only, struct buf *out);

/* ---- limits -------------------------------------------------------------------------------------------------------- */

/* Fills the requests and limits that a pod's containers leave open, and writes the annotation that tells so. True: something was
 * filled in. */
bool limits_fill(jval *range, struct jm *m);
/* What the range has against a pod or a claim, in Kubernetes' words. */
void limits_check(jval *range, const struct kube_res *res, jval *obj, struct strlist *out);

#endif
