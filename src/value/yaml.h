/* yaml.h - YAML 1.1 as Kubernetes and PyYAML read it, to and from JSON documents.
 *
 * Scalars become what sigs.k8s.io/yaml makes of them: true/false (also yes/no/on/off only when
 * PyYAML's safe loader would: y and n stay strings unless json_opts.short_bools), null and ~, integers (also 0x, 0o,
 * underscores), floats, everything else a string; quoted scalars are strings always; timestamps stay strings. Anchors and merge
 * keys (<<) are expanded under a limit on the total number of nodes, so that an alias bomb is an error. Non-string keys become
 * their text. */
#ifndef TM_VALUE_YAML_H
#define TM_VALUE_YAML_H

#include "value/json.h"

/* Parses all documents of a stream. On success *docs is a malloc'd array of *n references, some of which may hold
 * null (an empty document); the caller unrefs each and frees the array. Errors name line and column. */
int yaml_parse(const char *text, size_t len, const struct json_opts *opts, struct json ***docs, size_t *n, struct err *err);
/* Exactly one document (empty input is ERR_BAD_REQUEST). JSON is YAML: this reads both, JSON by the faster way. */
struct json *yaml_parse_one(const char *text, size_t len, const struct json_opts *opts, struct err *err);
/* Writes block-style YAML that reads back as the same value. */
void yaml_write(jval *v, struct buf *out);

#endif
