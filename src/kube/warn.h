/* warn.h - warnings about pods that are taken as they are, but hardly meant so.
 *
 * Given when a pod is created (updates are not looked at, as with Kubernetes). Pure functions, any thread. Source: specs kube.md 2.1, 4.2. */
#ifndef TM_KUBE_WARN_H
#define TM_KUBE_WARN_H

#include "base/str.h"
#include "value/json.h"

/* Appends a text for each doubt about a decoded pod, in the order of Kubernetes. */
void warn_pod(jval *pod, struct strlist *out);

#endif
