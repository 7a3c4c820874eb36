/* convert.h - kinds with two faces: one set of objects that is served under two groups or versions.
 *
 * Objects are stored in one form (struct kind: store_group, store_version). Today this is Event, stored as v1 and served as
 * events.k8s.io/v1 too, with other names for most of its fields. Pure functions, any thread. Source: specs kube.md 13.12. */
#ifndef TM_KUBE_CONVERT_H
#define TM_KUBE_CONVERT_H

#include "kube/kind.h"
#include "value/json.h"

/* Whether k is served in another form than it is stored in. */
bool convert_needed(const struct kind *k);
/* A decoded object of kind k in the form in which it is stored, and back. Returns a reference; for kinds that need no
 * conversion a copy. */
struct json *convert_to_stored(const struct kind *k, jval *obj);
struct json *convert_from_stored(const struct kind *k, jval *stored);

#endif
