/* fieldset.h - sets of fields: what a manager owns of an object, as metadata.managedFields writes it.
 *
 * A set is a tree. An element is one step of a path in the words of FieldsV1: `f:name` a member, `k:{"name":"c"}` an item of a
 * keyed list, `v:"x"` an item of a set, `i:0` an index. An element may be in the set itself, or only on the way to others below
 * it. Elements are written in order, so that equal sets are written alike; many are found by a hash. A set belongs to one thread
 * and is freed with all below it. Source: kube.md 6.4. */
#ifndef TM_KUBE_FIELDSET_H
#define TM_KUBE_FIELDSET_H

#include "base/str.h"
#include "value/json.h"

struct fset;
struct felem {
    char *step;
    bool member;
    struct fset *sub; /* NULL: nothing below */
};
struct fset {
    struct felem *v; /* in the order in which they came */
    size_t n, cap;
    struct strmap index; /* step -> place in v + 1; only of large sets */
};

struct fset *fset_new(void);
void fset_free(struct fset *s); /* NULL is fine */
static inline void fset_freep(struct fset **s) { fset_free(*s); }
#define FSET(name) CLEANUP(fset_freep) struct fset *name

/* Readers take NULL for the empty set. */
bool fset_empty(const struct fset *s);
bool fset_equal(const struct fset *a, const struct fset *b);
bool fset_has(const struct fset *s, const char *step); /* as a member */
const struct fset *fset_sub(const struct fset *s, const char *step);

/* The element, made when it is absent. */
struct felem *fset_at(struct fset *s, const char *step);
void fset_insert(struct fset *s, const char *const *path, size_t n);

/* New sets. minus takes away equal elements only; without also all that lies below what it takes away. */
struct fset *fset_copy(const struct fset *s);
struct fset *fset_union(const struct fset *a, const struct fset *b);
struct fset *fset_minus(const struct fset *a, const struct fset *b);
struct fset *fset_without(const struct fset *a, const struct fset *b);
struct fset *fset_and(const struct fset *a, const struct fset *b);

/* FieldsV1. NULL when it is malformed. */
struct fset *fset_parse(jval *fields_v1);
jmval *fset_write(const struct fset *s, struct jm *m);
/* Appends each path as people read it (".spec.containers[name=\"c\"].image"), members before what is below. */
void fset_paths(const struct fset *s, struct strlist *out);
void fset_step_text(const char *step, struct buf *out);

#endif
