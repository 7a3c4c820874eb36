/* defaults.h - the values that Kubernetes fills into built-in kinds before admission, on create and on update.
 *
 * Defaults belong to types, wherever these stand: a pod spec inside a template gets those of a pod spec. What depends on other
 * objects (priority, service account, addresses) is admission, and what a new object gets once (finalizers, generation) is its
 * creation: neither is here. Pure functions, any thread. Source: specs kube.md 12. */
#ifndef TM_KUBE_DEFAULTS_H
#define TM_KUBE_DEFAULTS_H

#include "kube/kind.h"
#include "value/json.h"

/* obj is a decoded object of kind k (kube/wire/decode.h). Idempotent. */
void defaults_apply(const struct kind *k, struct jm *m, jmval *obj);

#endif
