/* schema.h - structural schemas of custom kinds: checked when a CRD is created, compiled once a version, then run on each
 * request.
 *
 * A compiled schema is immutable and may be shared by threads. The order of a request is: schema_prune, schema_default, then
 * validate metadata (validate.h), schema_validate. What the store gives goes through schema_prune and schema_default too (a
 * default added later shows). Source: specs kube.md 10. */
#ifndef TM_KUBE_SCHEMA_H
#define TM_KUBE_SCHEMA_H

#include "base/str.h"
#include "kube/rules/validate.h"
#include "value/json.h"

/* Structural rules, at the path of f ("spec.versions[0].schema.openAPIV3Schema"). Faults are added; compile only a clean one. */
void schema_check_structural(struct faults *f, jval *schema);

struct schema;
/* Compiles patterns and CEL rules too. NULL with ERR_INVALID when one is wrong. */
struct schema *schema_compile(jval *open_api_v3_schema, struct err *err);
void schema_free(struct schema *s);

/* Drops unknown fields of a whole object (apiVersion, kind, metadata are always kept). Their paths ("spec.x") are appended to
 * unknown when it is not NULL. True when something was dropped. */
bool schema_prune(const struct schema *s, struct jm *m, jmval *obj, struct strlist *unknown);
/* Fills in defaults and drops nulls that a default replaces. True when something was changed. */
bool schema_default(const struct schema *s, struct jm *m, jmval *obj);
/* Values, lists and CEL rules. old NULL: create. On update, faults at values that did not change are ignored. */
void schema_validate(const struct schema *s, struct faults *f, jval *obj, jval *old);

#endif
