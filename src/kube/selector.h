/* selector.h - label and field selectors, compiled once and matched against documents.
 *
 * Compiled selectors are immutable and may be shared by threads. Parse errors are ERR_BAD_REQUEST with Kubernetes' texts.
 * Source: specs kube.md 5.6. */
#ifndef TM_KUBE_SELECTOR_H
#define TM_KUBE_SELECTOR_H

#include "base/err.h"
#include "value/json.h"

/* ---- labels ---------------------------------------------------------------------------------------------------- */

struct label_selector;
/* "a=b,c in (d,e),!f". NULL or "" selects everything. */
struct label_selector *label_selector_parse(const char *text, struct err *err);
/* A LabelSelector object (matchLabels, matchExpressions): NULL or null selects nothing, {} everything. Errors are ERR_INVALID. */
struct label_selector *label_selector_from(jval *obj, struct err *err);
/* A plain map of labels that must all be equal (ReplicationController, Service). NULL or {} selects nothing. */
struct label_selector *label_selector_from_map(jval *map);
void label_selector_free(struct label_selector *s);
bool label_selector_all(const struct label_selector *s); /* selects everything; so does NULL */
bool label_selector_matches(const struct label_selector *s, jval *labels);
static inline bool label_selector_selects(const struct label_selector *s, jval *object)
{
    return label_selector_matches(s, jv_get(jv_get(object, "metadata"), "labels"));
}
/* Canonical text ("a=b,c in (d,e)"); the caller frees. */
char *label_selector_text(const struct label_selector *s);

/* ---- fields ---------------------------------------------------------------------------------------------------- */

/* Which fields a kind can be selected by. Of built-in kinds: field_labels_of(group, kind), static, never NULL (kinds without a
 * table have metadata.name and metadata.namespace). Of custom kinds: field_labels_new(selectableFields of the version). */
struct field_labels;
const struct field_labels *field_labels_of(const char *group, const char *kind);
struct field_labels *field_labels_new(jval *selectable_fields);
void field_labels_free(struct field_labels *l); /* only of field_labels_new */

struct field_selector;
/* NULL or "" selects everything. The labels must outlive the selector. */
struct field_selector *field_selector_parse(const char *text, const struct field_labels *labels, struct err *err);
void field_selector_free(struct field_selector *s);
bool field_selector_all(const struct field_selector *s);
bool field_selector_matches(const struct field_selector *s, jval *object);
/* The value that an object must have in this field ("metadata.name", "spec.nodeName"), when the selector requires one by
 * equality; else NULL. For indexes. */
const char *field_selector_exact(const struct field_selector *s, const char *field);

#endif
