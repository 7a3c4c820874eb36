/* object.h - what every Kubernetes object has: names, revisions, owners, finalizers, conditions.
 *
 * Readers borrow from the document they are given, answer for absent fields as said, and never fail. Writers change a
 * mutable copy (struct jm). Pure functions, any thread. Rules for names are in names.h. Source: specs kube.md 3. */
#ifndef TM_KUBE_OBJECT_H
#define TM_KUBE_OBJECT_H

#include "base/str.h"
#include "kube/kube.h"
#include "value/json.h"

/* ---- reading (""/NULL/0 when absent) --------------------------------------------------------------------------- */

jval *obj_meta(jval *o);                              /* metadata, or NULL */
const char *obj_kind(jval *o);                        /* "" */
const char *obj_api_version(jval *o);                 /* "" */
const char *obj_name(jval *o);                        /* "" */
const char *obj_generate_name(jval *o);               /* "" */
const char *obj_namespace(jval *o);                   /* "" for cluster-scoped */
const char *obj_uid(jval *o);                         /* "" */
const char *obj_rv_text(jval *o);                     /* "" */
int64_t obj_rv(jval *o);                              /* 0 when absent or no number */
int64_t obj_generation(jval *o);                      /* 0 */
jval *obj_labels(jval *o);                            /* NULL */
const char *obj_label(jval *o, const char *key);      /* NULL */
jval *obj_annotations(jval *o);                       /* NULL */
const char *obj_annotation(jval *o, const char *key); /* NULL */
const char *obj_deletion_timestamp(jval *o);          /* NULL while not being deleted */
static inline bool obj_deleting(jval *o) { return obj_deletion_timestamp(o) != NULL; }
int64_t obj_creation_ns(jval *o); /* Unix ns; 0 when absent or malformed */

/* "group/version" to its parts; core is "". The caller frees both. */
void api_version_split(const char *api_version, char **group, char **version);
/* Same group and kind, whatever the version ("apps/v1" and "apps/v1beta1"). */
bool api_version_same_group(const char *a, const char *b);

/* ---- keys ------------------------------------------------------------------------------------------------------ */

char *obj_key(jval *o);                             /* "ns/name" or "name"; the caller frees */
char *obj_key_of(const char *ns, const char *name); /* ns NULL or "": only the name */
/* Splits at the first '/'; *ns is "" without one. The caller frees both. */
void obj_key_split(const char *key, char **ns, char **name);

/* ---- owners and finalizers ------------------------------------------------------------------------------------- */

jval *obj_owner_refs(jval *o);     /* array or NULL */
jval *obj_controller_ref(jval *o); /* the reference with controller: true, or NULL */
bool obj_has_owner(jval *o, const char *uid);
bool obj_is_controlled_by(jval *o, const char *uid);
/* A reference to owner; the caller puts it into m. blockOwnerDeletion is set with controller. */
jmval *obj_make_owner_ref(struct jm *m, jval *owner, const struct kube_res *res, bool controller);
/* A core/v1 ObjectReference to o. */
jmval *obj_make_reference(struct jm *m, jval *o, const struct kube_res *res);
bool obj_has_finalizer(jval *o, const char *name);
bool obj_has_finalizers(jval *o);
/* True when something was changed. */
bool obj_add_finalizer(struct jm *m, jmval *o, const char *name);
bool obj_remove_finalizer(jmval *o, const char *name);

/* ---- conditions ------------------------------------------------------------------------------------------------ */

jval *obj_condition(jval *o, const char *type); /* status.conditions[type], or NULL */
bool obj_condition_is(jval *o, const char *type, const char *status);
/* Sets status.conditions[type] on a mutable object. lastTransitionTime moves only when the status does. Other members of an
 * existing condition are kept. reason and message may be NULL (left out). True when something was changed. */
bool obj_set_condition(struct jm *m, jmval *o, const char *type, const char *status, const char *reason, const char *message,
                       int64_t now_ns);
bool obj_remove_condition(jmval *o, const char *type);

#endif
