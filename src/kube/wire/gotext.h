/* gotext.h - JSON values as Go's fmt prints them ("%v"), because Kubernetes' messages show them so. */
#ifndef TM_KUBE_GOTEXT_H
#define TM_KUBE_GOTEXT_H

#include "value/json.h"

/* map[a:1 b:[x y]], keys in byte order, strings bare, null as <nil>. Appends at most about max bytes and then "...". */
void gotext_print(jval *v, size_t max, struct buf *out);

#endif
