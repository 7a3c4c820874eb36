/* node_priv.h - the node's inside: shared by node.c (its life) and node_pods.c (its pods). */
#ifndef TM_NODE_NODE_PRIV_H
#define TM_NODE_NODE_PRIV_H

#include "base/thread.h"
#include "cluster/node/heartbeat.h"
#include "cluster/node/logs.h"
#include "cluster/node/network/services.h"
#include "cluster/node/node.h"
#include "cluster/node/node_object.h"
#include "cluster/node/nodedb.h"
#include "cluster/node/pod.h"
#include "kube/controller.h"
#include "kube/events.h"

/* What programs and connections from outside need of a container that runs. */
struct live_box {
    char *cid, *bundle;
    struct sandbox sandbox;
};

struct node {
    char *name, *node_dir, *log_dir, *agent_path, *gateway;
    struct kube *kube;
    const struct clock *clock;
    unsigned max_pods;
    struct machine machine;
    struct runtime *runtime;
    struct images *images; /* NULL with the runtime of a test */
    struct nodedb *db;
    struct logs *logs;
    struct event_recorder *events;
    struct checks *checks;
    struct service_net *services; /* NULL: there are no Services here */
    struct informer *pods, *config_maps, *secrets;
    struct controller_run *run;
    struct pod_host host;
    struct node_api api;
    struct cancel cancel;
    pthread_t keeper;
    struct heartbeat *heartbeat; /* NULL: none is asked for */
    bool heartbeats;
    bool told;     /* the keeper's: an event says that we have started */
    bool cordoned; /* the heart's: as the Node was at its last beat */
    int kubelet_port;
    char *version, *limits; /* what the runtime said when it was ready; the keeper's, then constant */

    pthread_mutex_t admitting; /* held while a pod is looked at and taken in, so that of two that fit alone only one is */

    pthread_mutex_t lock; /* all below; never held while a pod is synced */
    pthread_cond_t changed;
    bool ready, decided, stopping;
    bool images_changed;     /* the Node's list of images is to be written */
    char *why;               /* not ready: the cure */
    struct strmap records;   /* uid -> struct pod; a pod itself belongs to the worker that has its key */
    struct strmap by_key;    /* key -> struct pod, further ones of the same key behind it */
    struct strmap by_cid;    /* container id -> key, owned */
    struct strmap live;      /* "uid/container" -> struct live_box, of containers that run */
    struct strmap forgotten; /* key -> uid of a pod that is over and gone, while the cache still has it */
    struct strmap admitted;  /* uids of pods that were taken in and are not over */
    struct strmap refresh;   /* keys of pods one of whose ConfigMaps or Secrets has changed */
    size_t n_running;
};

/* The controller: one pod, by key. */
int node_reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err);
void node_config_map_changed(void *self, struct json *old, struct json *now, struct workqueue *q);
void node_secret_changed(void *self, struct json *old, struct json *now, struct workqueue *q);
/* Syncs one pod that is the caller's; *at becomes NULL when it is forgotten. */
int node_sync_pod(struct node *n, const struct ctx *ctx, struct pod **at, struct reconcile_result *res, struct err *err);
/* Ends every pod: they get a moment, then SIGKILL. The workers have stopped: the records are ours, and that many threads share
 * them, since most of an end is waiting for the kernel and the disk. */
void node_end_pods(struct node *n, size_t n_threads);
/* Records from the rows of an earlier life, and the sandboxes that they use. */
int node_load(struct node *n, struct err *err);
int node_adopt_sandboxes(struct node *n, struct err *err);

/* node_exec.c: programs in containers and connections into pods, as node_api.h says. */
void node_live(struct node *n, const struct pod *p, const struct box *b, bool runs);
void node_live_free(void *live_box);
int node_process_open(void *self, const struct ctx *ctx, jval *pod, const struct node_process_opts *opts,
                      struct node_process *out, struct err *err);
int node_dial(void *self, const struct ctx *ctx, jval *pod, int port, int *fd, struct err *err);

#endif
