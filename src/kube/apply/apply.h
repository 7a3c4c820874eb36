/* apply.h - server-side apply: what an object says by its schema, what a write changed, and the merge of what a manager applies.
 *
 * All of it walks objects along a `struct ftype`: a place in the tables of built-in kinds, in the schema of a custom kind, or
 * nowhere (then maps are merged and lists are replaced). Lists are keyed, sets, or replaced whole; maps are merged by key or
 * replaced whole; everything else is a leaf. Whose the leaves are is the server's business (it keeps metadata.managedFields).
 * Pure functions, any thread. Objects come from a parser, so their depth is bounded. Source: specs kube.md 6.4. */
#ifndef TM_KUBE_APPLY_H
#define TM_KUBE_APPLY_H

#include "base/err.h"
#include "kube/apply/fieldset.h"
#include "kube/kind.h"
#include "kube/schema/schema.h"

enum fform { FT_ANY, FT_SCALAR, FT_STRUCT, FT_MAP, FT_LIST };
struct ftype {
    enum fform form;
    bool atomic;                /* a map or list that is replaced whole */
    bool object;                /* a whole object: has apiVersion, kind, metadata */
    const struct ktype *type;   /* a struct of a built-in kind */
    const struct kfield *field; /* a list, map or scalar of one */
    jval *schema;               /* of a custom kind */
};
struct ftype ftype_of(const struct ktype *type /* NULL: custom */, const struct schema *schema /* NULL: anything */);

/* Does the object fit, so that it can be applied? ERR_BAD_REQUEST with ".data.x: expected string, got ..." */
int apply_check(const struct ftype *t, jval *obj, struct err *err);
/* All that an object says. */
struct fset *apply_set(const struct ftype *t, jval *obj);
/* What is different from old (NULL: all is new) to now: what was changed or came, and what went. */
void apply_compare(const struct ftype *t, jval *old, jval *now, struct fset *changed, struct fset *removed);
/* live with all that config says; both have been checked. */
struct json *apply_merge(const struct ftype *t, jval *live, jval *config);
/* merged without what the manager's last apply said (last) and now nobody owns. */
struct json *apply_prune(const struct ftype *t, jval *merged, const struct fset *last, const struct fset *owned);

#endif
