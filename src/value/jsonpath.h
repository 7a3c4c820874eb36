/* jsonpath.h - the subset of JSONPath that CRDs use (printer columns, scale, selectable fields): .a.b, ['a.b'], [0], [*], [-1],
 * [?(@.type=="Ready")], {} around the whole. Compiled once, shared by threads. */
#ifndef TM_VALUE_JSONPATH_H
#define TM_VALUE_JSONPATH_H

#include "value/json.h"

struct jsonpath;
struct jsonpath *jsonpath_compile(const char *text, struct err *err);
void jsonpath_free(struct jsonpath *p);
/* Calls fn for each value found, in document order; stops when fn returns false. */
void jsonpath_eval(const struct jsonpath *p, jval *root, bool (*fn)(void *self, jval *v), void *self);
jval *jsonpath_first(const struct jsonpath *p, jval *root); /* NULL when nothing is found */

#endif
