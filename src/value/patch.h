/* patch.h - JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386). Both are pure: a new document or an error. */
#ifndef TM_VALUE_PATCH_H
#define TM_VALUE_PATCH_H

#include "value/json.h"

/* Applies a list of operations. ERR_BAD_REQUEST: patch is not a list of operations; ERR_TOO_LARGE: more than max_ops;
 * ERR_INVALID: an operation failed (the message says which, by index and path). As Kubernetes' library does: `replace` adds a
 * missing member of an object, an absent `value` is null, `copy` of a missing member copies null, what stands before a path's
 * first slash is passed over. Array indexes, `-`, ~0 and ~1 as in RFC 6901. */
struct json *json_patch(jval *doc, jval *patch, size_t max_ops, struct err *err);
/* Recursion is bounded by the documents' own depth. */
struct json *json_merge_patch(jval *doc, jval *patch, struct err *err);

#endif
