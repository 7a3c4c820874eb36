/* types.h - parameter types: what value fits which, from a file's text, and as text in a command. Source: pipelines-runtime
 * spec 4. */
#ifndef TM_PIPELINES_IR_TYPES_H
#define TM_PIPELINES_IR_TYPES_H

#include "base/buf.h"
#include "value/json.h"

enum ptype { PT_UNSET, PT_STRING, PT_INTEGER, PT_DOUBLE, PT_BOOLEAN, PT_LIST, PT_STRUCT, PT_TASK_FINAL_STATUS, PT_TASK_CONFIG };
#define PARAM_VALUE_MAX (4u << 20) /* bytes of one value as text */

const char *ptype_name(enum ptype t); /* "STRING", "NUMBER_INTEGER", ... */
/* Enum name (also the old INT, DOUBLE, STRING). False when unknown. */
bool ptype_parse(const char *s, enum ptype *out);

/* A copy in which whole numbers are written without ".0": documents are Structs, whose numbers are all doubles. */
jmval *plain_numbers(struct jm *m, jval *v);
/* The text of a value inside a command: strings as they are, numbers as the shortest decimal without exponent, booleans as
 * true/false, lists and objects as compact JSON with sorted keys and plain_numbers, null as nothing. Appends. */
void value_as_text(jval *v, struct buf *out);
/* Converts an output file's text. ERR_INVALID says what was expected and shows the text. The caller unrefs. */
struct json *value_from_text(enum ptype type, const char *text, size_t len, struct err *err);
/* Fits a resolved input to its declared type: STRING converts anything, INTEGER and DOUBLE take any number, the others must
 * match. A new reference, or NULL with ERR_INVALID: `input parameter "x" type mismatch: expect BOOLEAN, got string`. */
struct json *value_fit(enum ptype type, const char *key, jval *v, struct err *err);
/* ERR_INVALID when the value is longer than PARAM_VALUE_MAX as text; side ("input", "output") and key say whose it is. */
int value_bounded(const char *side, const char *key, jval *v, struct err *err);
/* ERR_INVALID unless v equals one of the literals (NULL: anything goes). */
int value_in_literals(jval *literals, const char *key, jval *v, struct err *err);
/* Whether a JSON value is of the type as it stands (no conversion): the rule for a run's own parameters. */
bool value_is(enum ptype type, jval *v);

#endif
