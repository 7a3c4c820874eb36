/* gotext.h - JSON values as Go's fmt prints them ("%v"), and faults of JSON texts in the words of its decoder, because
 * Kubernetes' messages show them so. */
#ifndef TM_KUBE_GOTEXT_H
#define TM_KUBE_GOTEXT_H

#include "value/json.h"

/* map[a:1 b:[x y]], keys in byte order, strings bare, null as <nil>. Appends at most about max bytes and then "...". */
void gotext_print(jval *v, size_t max, struct buf *out);

/* What Go's decoder says of a text that is no JSON ("invalid character 'o' in literal null (expecting 'u')"), appended to out.
 * False: it finds nothing wrong (bad UTF-8 and too deep a nesting are no faults of form). */
bool gotext_json_fault(const char *text, size_t len, struct buf *out);

#endif
