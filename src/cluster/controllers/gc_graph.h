/* gc_graph.h - who owns whom, by uid, over all served kinds: kept from one informer a kind. Private to the room.
 *
 * Thread-safe. Uids that something happened to are put into a work queue: the object itself when it has owners or is held by one
 * of the collector's finalizers, its dependents when it is gone, its owners when it is gone (they may wait for it). */
#ifndef TM_CLUSTER_CONTROLLERS_GC_GRAPH_H
#define TM_CLUSTER_CONTROLLERS_GC_GRAPH_H

#include "base/str.h"
#include "cluster/controllers/controllers.h"
#include "kube/controller.h"

#define FINALIZER_FOREGROUND "foregroundDeletion"
#define FINALIZER_ORPHAN     "orphan"

struct gc_graph;
struct gc_graph *gc_graph_new(const struct controllers_config *cfg, struct workqueue *q);
/* Stops the informers: nothing is put into the queue any more, and no object is found. */
void gc_graph_stop(struct gc_graph *g);
void gc_graph_free(struct gc_graph *g); /* after gc_graph_stop, with the queue's workers gone */
/* Brings the informers into line with what is served now. Blocks while informers of kinds that are gone stop. */
void gc_graph_refresh(struct gc_graph *g);

/* The newest version of an object, and where it lives: strings in *res are owned by the graph and live as long as it does. NULL
 * when it is gone. */
struct json *gc_graph_object(struct gc_graph *g, const char *uid, struct kube_res *res);
bool gc_graph_has(struct gc_graph *g, const char *uid);
/* Uids of objects with an owner reference to uid, appended. */
void gc_graph_dependents(struct gc_graph *g, const char *uid, struct strlist *out);
/* The served collection of an owner reference's apiVersion and kind; false when there is none. */
bool gc_graph_res(struct gc_graph *g, const char *api_version, const char *kind, struct kube_res *res);

#endif
