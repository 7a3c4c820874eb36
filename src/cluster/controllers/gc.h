/* gc.h - the garbage collector: what an owner leaves behind goes too. Private to the room.
 *
 *   what is found                                     what is done
 *   all owners are gone                               the object is deleted in the background
 *   some owners are gone                              the dead references are taken away
 *   deleting with finalizer foregroundDeletion        its dependents are deleted in the foreground; the finalizer goes when no
 * blocking one is left deleting with finalizer orphan                    the references to it are taken away, then the finalizer
 *
 * An owner counts as gone only when the API says so: absence in a cache is no proof. Source: kube.md 13.2. */
#ifndef TM_CLUSTER_CONTROLLERS_GC_H
#define TM_CLUSTER_CONTROLLERS_GC_H

#include "cluster/controllers/controllers.h"
#include "kube/events.h"

struct gc;
struct gc *gc_start(const struct controllers_config *cfg, struct event_recorder *events);
/* What is served has changed: takes new kinds up, lets go of old ones. Any thread. */
void gc_refresh(struct gc *gc);
void gc_stop(struct gc *gc);

#endif
