/* validate.h - the rules of built-in kinds, with Kubernetes' exact field errors.
 *
 * Objects come in decoded (types are right), defaulted, and with server-owned metadata set. All errors are collected, in
 * Kubernetes' order; the result is ERR_INVALID with one cause each, the subject set, and the message composed as
 * `Pod "x" is invalid: spec.a: Required value` or `... is invalid: [e1, e2]`. Pure functions, any thread. Source: specs kube.md
 * 3, 4.3, 7. */
#ifndef TM_KUBE_VALIDATE_H
#define TM_KUBE_VALIDATE_H

#include "base/err.h"
#include "base/str.h"
#include "kube/kube.h"
#include "value/json.h"

/* ---- doors ------------------------------------------------------------------------------------------------------- */

/* A new object of a built-in kind, metadata included. Kinds without rules of their own get those of metadata. */
int validate_create(const struct kube_res *res, jval *obj, struct err *err);
/* An update: metadata and rules of create for the new state, then what may change. subresource NULL, "status", ... */
int validate_update(const struct kube_res *res, const char *subresource, jval *old, jval *now, struct err *err);
/* Only metadata, for custom kinds (old NULL: create). Faults are added to an open list; see below. */
struct faults;
void validate_metadata_create(struct faults *f, const struct kube_res *res, jval *obj);
void validate_metadata_update(struct faults *f, jval *old, jval *now);

/* ---- collecting faults: for whoever writes more rules ------------------------------------------------------------- */

/* A list of field errors and the path of the value that is looked at. One thread. */
struct faults {
    struct err err;        /* only causes are used while collecting */
    struct buf path;       /* "spec.containers[0]" */
    struct strlist texts;  /* "<field>: <text>" of each cause */
    const char *text_root; /* "status.": texts of schemas tell paths from there on; NULL: all of them */
    size_t bytes;          /* of texts and their paths */
};
#define FAULTS(name) CLEANUP(faults_free) struct faults name = {0}
void faults_free(struct faults *f);
static inline bool faults_any(const struct faults *f) { return f->texts.n > 0; }
/* So much is wrong that more is not told: who looks at each of many against each of many may stop. */
bool faults_full(const struct faults *f);
/* The path is extended for a block and cut again: size_t at = fault_push(f, "spec"); ... fault_pop(f, at); */
size_t fault_push(struct faults *f, const char *member);
size_t fault_push_index(struct faults *f, size_t i);
size_t fault_push_key(struct faults *f, const char *key); /* path[key] */
void fault_pop(struct faults *f, size_t at);
/* member is appended to the path (".member"); NULL means the path itself. */
void fault_required(struct faults *f, const char *member, const char *detail /* NULL or "" */);
void fault_invalid(struct faults *f, const char *member, jval *value, const char *fmt, ...) PRINTF_LIKE(4, 5);
void fault_invalid_str(struct faults *f, const char *member, const char *value, const char *fmt, ...) PRINTF_LIKE(4, 5);
void fault_invalid_i64(struct faults *f, const char *member, int64_t value, const char *fmt, ...) PRINTF_LIKE(4, 5);
void fault_type(struct faults *f, const char *member, const char *value_text, const char *detail);
void fault_unsupported(struct faults *f, const char *member, const char *value,
                       const char *const *supported /* NULL-terminated */);
void fault_forbidden(struct faults *f, const char *member, const char *fmt, ...) PRINTF_LIKE(3, 4);
void fault_duplicate(struct faults *f, const char *member, jval *value);
void fault_duplicate_str(struct faults *f, const char *member, const char *value);
void fault_not_found(struct faults *f, const char *member, const char *value);
void fault_too_long(struct faults *f, const char *member, size_t max_bytes);
void fault_too_many(struct faults *f, const char *member, size_t n, size_t max);
/* With the cause's reason given by the caller ("FieldValueForbidden", ...); text is everything behind "<path>: ". reason must be
 * static. */
void fault_add(struct faults *f, const char *reason, const char *member, const char *text);
/* 0 when there is none, else -1 with ERR_INVALID composed for the subject. */
int faults_done(struct faults *f, const char *group, const char *kind, const char *name, struct err *err);

/* Parts that several kinds share. */
void validate_label_selector(struct faults *f, jval *selector); /* at the path */
void validate_labels(struct faults *f, const char *member, jval *labels);

#endif
