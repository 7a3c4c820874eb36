/* strategic.h - strategic merge patches: how lists and maps merge is in the kinds' tables (merge keys, strategies).
 *
 * Objects recurse, null deletes, lists with a merge key merge by it, all other lists are replaced. Directives: $patch,
 * $retainKeys, $setElementOrder/<list>, $deleteFromPrimitiveList/<list>. Behaviour and messages are those of Kubernetes, with one
 * difference in cost: lists merge in time n log n. Pure functions, any thread. Source: specs kube.md 6.3. */
#ifndef TM_KUBE_STRATEGIC_H
#define TM_KUBE_STRATEGIC_H

#include "base/str.h"
#include "kube/kind.h"
#include "value/json.h"

/* Merges and decodes: what comes out is an object of type t in stored form. Unknown fields of the result are appended to unknown
 * (may be NULL). Errors: ERR_BAD_REQUEST, the patch is no object; ERR_INTERNAL with an empty reason (Kubernetes gives these a
 * code of 500 and no reason), a directive is wrong; ERR_INVALID with cause `patch`, the result is no object of that type. */
struct json *strategic_patch(const struct ktype *t, jval *original, jval *patch, struct strlist *unknown, struct err *err);

/* Only the merge. */
struct json *strategic_merge(const struct ktype *t, jval *original, jval *patch, struct err *err);

/* The 422 that says what is wrong with a patch: ` "" is invalid: patch: Invalid value: "<patch>": <text>`. */
int strategic_refuse(jval *patch, const char *text, struct err *err);

#endif
