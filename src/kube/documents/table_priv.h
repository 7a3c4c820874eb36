/* table_priv.h - a row being written, and the columns of built-in kinds. */
#ifndef TM_KUBE_TABLE_PRIV_H
#define TM_KUBE_TABLE_PRIV_H

#include "kube/documents/table.h"

struct column {
    const char *name, *type, *format, *description;
    int priority;
};
struct row {
    struct buf *out;
    size_t n;
    int64_t now_ns;
};
void cell_str(struct row *r, const char *s);     /* NULL: "" */
void cell_or_none(struct row *r, const char *s); /* "<none>" when empty */
void cell_fmt(struct row *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
void cell_i64(struct row *r, int64_t n);
void cell_bool(struct row *r, bool b);
void cell_null(struct row *r);
void cell_value(struct row *r, jval *v);
void cell_age(struct row *r, const char *rfc3339); /* "<unknown>" when absent */
void cell_since_creation(struct row *r, jval *obj);

typedef void row_fn(struct row *r, jval *obj);
/* Columns of a custom kind own their texts in the document they were made from. */
struct table_columns {
    const struct column *columns;
    size_t n;
    row_fn *row; /* NULL: a custom kind */
    struct json *doc;
    struct column *owned;
    struct jsonpath **paths; /* one a column; NULL: the name, or a bad path */
};
struct table_kind {
    const char *group, *kind;
    struct table_columns columns;
};
extern const struct table_kind table_kinds[];
extern const size_t table_n_kinds;

void table_pod_row(struct row *r, jval *pod);
/* table_services.c */
void table_service_row(struct row *r, jval *o);
void table_endpoints_row(struct row *r, jval *o);
void table_endpoint_slice_row(struct row *r, jval *o);
void table_claim_row(struct row *r, jval *o);
void table_volume_row(struct row *r, jval *o);
void table_storage_class_row(struct row *r, jval *o);

#endif
