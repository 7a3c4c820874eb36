/* crd.h - CustomResourceDefinitions as objects: their defaults, their rules, and what their status must say.
 *
 * How a run-time kind is made of one is in kind.h. Source: specs kube.md 10. */
#ifndef TM_KUBE_CRD_H
#define TM_KUBE_CRD_H

#include "kube/documents/table.h"
#include "kube/schema/schema.h"

/* Fills in names.singular, names.listKind, conversion. True when something was changed. */
bool crd_default(struct jm *m, jmval *crd);
/* Rules of create (old NULL) and update; ERR_INVALID with causes. Metadata is checked too. */
int crd_validate(jval *crd, jval *old, struct err *err);
/* Puts status.storedVersions (adding the storage version), and for a new one empty acceptedNames and conditions, on create and
 * update. */
void crd_prepare_status(struct jm *m, jmval *crd, jval *old);
/* Puts the accepted names and the conditions NamesAccepted and Established, given all definitions there are (itself among them is
 * fine): names that another definition of the group has are not accepted. What was established stays so. True when something was
 * changed. */
bool crd_accept(struct jm *m, jmval *crd, jval *const *all, size_t n, int64_t now_ns);
bool crd_established(jval *crd);

/* One served version, compiled: what a request for a custom object needs. Immutable. */
struct crd_version {
    char *name;
    bool served, storage, deprecated;
    char *deprecation_warning; /* the whole text of the Warning header; NULL when not deprecated */
    struct schema *schema;
    struct table_columns *columns;
    struct field_labels *field_labels;
    bool status_subresource, scale_subresource;
    char *scale_spec_path, *scale_status_path, *scale_selector_path; /* JSONPath as given; NULL when absent */
};
struct crd_info {
    char *group, *plural, *singular, *kind, *list_kind;
    struct strlist short_names, categories;
    bool namespaced;
    struct crd_version *versions;
    size_t n_versions;
};
/* NULL with ERR_INVALID when a schema does not compile. The caller frees. */
struct crd_info *crd_compile(jval *crd, struct err *err);
void crd_info_free(struct crd_info *c);
const struct crd_version *crd_find_version(const struct crd_info *c, const char *version); /* NULL when there is none */

#endif
