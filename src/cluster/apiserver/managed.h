/* managed.h - who owns which fields: the entries of metadata.managedFields. Its story is in managed.c. */
#ifndef TM_CLUSTER_APISERVER_MANAGED_H
#define TM_CLUSTER_APISERVER_MANAGED_H

#include "cluster/apiserver/internal.h"
#include "kube/apply/apply.h"

struct manager {
    char *name, *api_version, *sub, *time; /* sub, time: may be NULL */
    bool apply;
    struct fset *set;
};
struct managers {
    struct manager *v;
    size_t n;
};
void managers_free(struct managers *s);
struct conflict {
    const struct manager *manager;
    struct strlist paths;
};

struct ftype managed_type(const struct resource *r);
/* Puts the entries of a new object (m has its defaults), or after an update of old, into metadata. */
void managed_create(struct op *op, struct jm *m);
void managed_update(struct op *op, jval *old, struct jm *m);
/* live with config applied by op->o->field_manager, with its entries; ERR_CONFLICT when it says otherwise than another manager.
 */
struct json *managed_apply(struct op *op, jval *live, jval *config, struct err *err);

#endif
