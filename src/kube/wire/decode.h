/* decode.h - request bodies to objects in one stored form.
 *
 * Whatever way an object came (JSON, YAML, protobuf), the result is the document that Kubernetes itself would write: fields of
 * the type only, in its order; null and empty optional values dropped, values that are always written there even when empty;
 * quantities canonical, times in UTC. So two bodies that mean the same are stored as the same bytes (the no-op rule of updates
 * stands on this). What a decoder refuses is ERR_BAD_REQUEST in the words of Kubernetes. Defaults and admission come after.
 *
 *     STRLIST(warnings);
 *     struct json *pod = decode_body(kind, DECODE_JSON, FIELDS_WARN, bytes, len, &warnings, err);
 *
 * Pure functions, any thread. Source: specs kube.md 2.3, 3, 4.7. */
#ifndef TM_KUBE_DECODE_H
#define TM_KUBE_DECODE_H

#include "base/str.h"
#include "kube/kind.h"
#include "value/json.h"

enum decode_format { DECODE_JSON, DECODE_YAML, DECODE_PROTOBUF };
enum field_validation { FIELDS_WARN, FIELDS_STRICT, FIELDS_IGNORE };

/* The body of a create or update of a built-in kind: parsed, its kind and version checked against k (absent ones are filled in),
 * normalised. Unknown and duplicate fields become warnings (`unknown field "spec.foo"`), or the error of Strict.
 * Returns a reference, or NULL. */
struct json *decode_body(const struct kind *k, enum decode_format format, enum field_validation fields, const char *body,
                         size_t len, struct strlist *warnings, struct err *err);

/* Only the parse: duplicates are appended to dups (may be NULL) as `duplicate field "a.b"`. For JSON and YAML. */
struct json *decode_parse(enum decode_format format, const char *body, size_t len, struct strlist *dups, struct err *err);

/* Kubernetes' strict error tells repeated keys of YAML by line, and all in one text: puts it in place of what was found. */
void decode_name_lines(struct strlist *dups, const char *body, size_t len);

/* A value to the normal form of type t. unknown (may be NULL) gets `unknown field "path"` texts, at most 100, each once. For a
 * type with kind and apiVersion, these are as in v. The error is the decoder's own text, without "... cannot be handled as".
 * Patches use this on their results. */
struct json *decode_value(const struct ktype *t, jval *v, struct strlist *unknown, struct err *err);

/* The same for the result of a strategic merge, which Kubernetes converts by another way: integers may be written 1.0, and the
 * errors read `cannot restore slice from map`. */
struct json *decode_merged(const struct ktype *t, jval *v, struct strlist *unknown, struct err *err);

/* Options in a body ("DeleteOptions"): any kind and apiVersion of that name, or none. Unknown fields are ignored. An empty body
 * gives an empty object. */
struct json *decode_options(const char *kind, enum decode_format format, const char *body, size_t len, struct err *err);

/* The error for what a decoder said about a body of this kind and version: `Pod in version "v1" cannot be handled as a Pod:
 * <text>`. */
int decode_refuse(const struct kind *want, const char *kind, const char *version, const char *text, struct err *err);

#endif
