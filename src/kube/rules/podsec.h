/* podsec.h - the Pod Security Standards: what of a pod goes beyond a level.
 *
 * A namespace says in its labels (pod-security.kubernetes.io/enforce, -version, and the same for audit and warn) which level its
 * pods must keep to, and as of which version of Kubernetes. podsec_policy_of reads them, podsec_check looks at a pod. Nothing
 * here knows a server; what follows from a finding is its business. Pure functions, any thread. Source: specs kube.md 11.1 (7),
 * and the texts of Kubernetes 1.34. */
#ifndef TM_KUBE_PODSEC_H
#define TM_KUBE_PODSEC_H

#include <limits.h>

#include "base/buf.h"
#include "kube/rules/validate.h"

enum podsec_level { PODSEC_PRIVILEGED, PODSEC_BASELINE, PODSEC_RESTRICTED };
#define PODSEC_LATEST INT_MAX
struct podsec_rule {
    enum podsec_level level;
    int minor; /* of version 1; PODSEC_LATEST */
};
struct podsec_policy {
    struct podsec_rule enforce, audit, warn;
};

/* Labels that cannot be read are faults at metadata.labels[key] (f may be NULL); the policy is then as strict as Kubernetes takes
 * it: an unreadable enforce level is restricted, the others are privileged. Without a warn label, warn follows enforce. */
void podsec_policy_of(jval *labels, struct podsec_policy *out, struct faults *f);
void podsec_rule_text(const struct podsec_rule *r, struct buf *out); /* "restricted:latest" */

/* True when the pod keeps to the rule. Else what is wrong is appended: reasons alone ("host namespaces, privileged") and with
 * details ("host namespaces (hostNetwork=true), ..."). Either may be NULL. */
bool podsec_check(const struct podsec_rule *r, jval *metadata, jval *spec, struct buf *reasons, struct buf *details);

#endif
