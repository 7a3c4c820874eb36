/* doc.h - making the documents of discovery and OpenAPI. Of this room only. */
#ifndef TM_KUBE_DOC_H
#define TM_KUBE_DOC_H

#include "kube/documents/discovery.h"
#include "value/json.h"

/* Served kinds in groups: built-in groups first, in Kubernetes' order of preference, then others by name; versions by preference,
 * kinds by plural name. Sorts in place and returns how many are served. */
size_t kinds_sort_served(const struct kind **kinds, size_t n);

void kube_doc_set(struct kube_doc *doc, jmval *root); /* writes it and takes its hash */
void kube_doc_clear(struct kube_doc *doc);
/* SHA-512 in upper-case hexadecimal; the caller frees. */
char *kube_doc_hash(const void *p, size_t n);

#endif
