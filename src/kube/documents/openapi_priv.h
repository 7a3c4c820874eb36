/* openapi_priv.h - the parts of an OpenAPI document. */
#ifndef TM_KUBE_OPENAPI_PRIV_H
#define TM_KUBE_OPENAPI_PRIV_H

#include "base/str.h"
#include "kube/documents/openapi.h"

/* A document while it is made. */
struct openapi_draft {
    struct jm *m;
    jmval *paths, *schemas;
    struct strmap types; /* schemas that are in already, and those that are still to be written (value: struct ktype, or NULL) */
};

#define REF_PREFIX "#/components/schemas/"
/* {"$ref": ...}; the type it names is written as well. */
jmval *openapi_ref(struct openapi_draft *d, const struct ktype *t);
/* The schemas of one kind: its own and its list's. */
void openapi_put_kind(struct openapi_draft *d, const struct openapi_kind *k);
/* All types that were referred to. Call once, at the end. */
void openapi_put_types(struct openapi_draft *d);
/* Name of a kind's schema; the caller frees. */
char *openapi_schema_name(const struct kind *k, bool list);
/* openapi_v2.c: the same schemas as a document of the older version. */
void openapi_make_v2(jmval *schemas, bool protobuf, struct kube_doc *out);
/* The operations of one kind. */
void openapi_put_paths(struct openapi_draft *d, const struct kind *k);

#endif
