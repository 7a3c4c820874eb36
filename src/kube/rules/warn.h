/* warn.h - warnings about objects that are taken as they are, but hardly meant so.
 *
 * Pods are looked at when they are created, not when they change, as with Kubernetes. Pure functions, any thread. Source: specs
 * kube.md 2.1, 4.2. */
#ifndef TM_KUBE_WARN_H
#define TM_KUBE_WARN_H

#include "base/str.h"
#include "value/json.h"

/* Appends a text for each doubt about a decoded pod, in the order of Kubernetes. */
void warn_pod(jval *pod, struct strlist *out);
/* What a Service says and nobody will look at. */
void warn_service(jval *service, struct strlist *out);
/* Finalizers of custom objects without a domain that old (may be NULL) does not have. */
void warn_finalizers(jval *old, jval *now, struct strlist *out);

#endif
