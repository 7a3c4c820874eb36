/* apply_priv.h - types of places in objects, for the files of server-side apply. */
#ifndef TM_KUBE_APPLY_PRIV_H
#define TM_KUBE_APPLY_PRIV_H

#include "kube/apply/apply.h"

/* The type as this value has it: where anything may stand, the value decides. */
struct ftype ftype_for(const struct ftype *t, jval *v);
/* The type of a member. False: the type does not name it (of a map, out is that of its values; of a struct, anything). */
bool ftype_member(const struct ftype *t, const char *name, struct ftype *out);
struct ftype ftype_element(const struct ftype *list);
/* The step of an item of a keyed list or set; an error where it has none. */
int ftype_step(const struct ftype *list, jval *item, struct buf *step, struct err *err);
/* True when members that the type does not name are not allowed. */
bool ftype_closed(const struct ftype *t);

#endif
