/* openapi.h - OpenAPI v3: the index and one document a group and version, made of the kinds' tables and of definitions' schemas;
 * and of the schemas alone one document of OpenAPI v2.
 *
 * kubectl asks the index, then the document of the object at hand: it looks for a PATCH operation of that kind with
 * `fieldValidation` (and `dryRun`) before it creates or applies, and reads schemas for `explain`. Documents are made when first
 * asked for and kept; the index names each with the hash of its content, so that clients may cache it for ever. A struct openapi
 * stands for one set of kinds: when a definition comes, goes or changes, make a new one. Thread-safe but for openapi_free.
 * Source: specs kube.md 2.4. */
#ifndef TM_KUBE_OPENAPI_H
#define TM_KUBE_OPENAPI_H

#include "kube/documents/discovery.h"
#include "value/json.h"

/* A kind, and for custom ones the schema of its version: a value of doc, to which a reference is kept (both NULL for built-in
 * kinds, and for a version without a schema). */
struct openapi_kind {
    const struct kind *kind; /* must stay while the openapi lives */
    struct json *doc;
    jval *schema;
};
struct openapi;
struct openapi *openapi_new(const struct openapi_kind *kinds, size_t n);
void openapi_free(struct openapi *o);

const struct kube_doc *openapi_index(struct openapi *o); /* GET /openapi/v3 */
/* GET /openapi/v3/api/v1, /openapi/v3/apis/{group}/{version}. NULL: there is no such version. doc->etag is the hash that the
 * index shows. */
const struct kube_doc *openapi_group(struct openapi *o, const char *group, const char *version);
/* GET /openapi/v2: JSON, or a message openapi.v2.Document of gnostic. */
const struct kube_doc *openapi_v2(struct openapi *o, bool protobuf);

#endif
