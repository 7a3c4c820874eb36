/* table.h - objects as `kubectl get` prints them: Table answers and PartialObjectMetadata.
 *
 * Columns of built-in kinds are static tables; those of custom kinds are made from additionalPrinterColumns. Both are immutable
 * and may be shared by threads. Source: specs kube.md 8. */
#ifndef TM_KUBE_TABLE_H
#define TM_KUBE_TABLE_H

#include "kube/kube.h"

struct table_columns;
/* Never NULL: kinds without a table have Name and Created At. Static. */
const struct table_columns *table_columns_of(const char *group, const char *kind);
/* From a CRD version's additionalPrinterColumns (NULL or empty: Name and Age). Bad JSONPaths give empty cells. */
struct table_columns *table_columns_new(jval *additional_printer_columns);
void table_columns_free(struct table_columns *c); /* only of table_columns_new */

enum table_include { TABLE_METADATA, TABLE_NONE, TABLE_OBJECT };
/* The query parameter includeObject; NULL or "" is Metadata. -1 when it is none of them. */
int table_include_parse(const char *text, enum table_include *out);

struct table_list_meta {
    const char *resource_version; /* "" when unknown */
    const char *continue_token;   /* may be NULL */
    int64_t remaining;            /* -1: do not say */
    const char *api_version;      /* NULL: "meta.k8s.io/v1" */
};
/* Appends a whole Table. columns false leaves columnDefinitions out (null): all events of a watch but the first. */
void table_write(const struct table_columns *c, jval *const *items, size_t n, enum table_include include,
                 const struct table_list_meta *meta, bool columns, int64_t now_ns, struct buf *out);
/* Appends {kind: PartialObjectMetadata, apiVersion, metadata}; api_version NULL: "meta.k8s.io/v1". */
void partial_write(jval *obj, const char *api_version, struct buf *out);
void partial_list_write(jval *const *items, size_t n, const struct table_list_meta *meta, struct buf *out);
/* "95s", "3m12s", "5h10m", "400d": the time between; "<unknown>" when then is 0. Returns out. */
#define AGE_TEXT 32
char *age_format(char out[AGE_TEXT], int64_t then_ns, int64_t now_ns);

#endif
