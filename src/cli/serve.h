/* serve.h - the wiring of `tidemill serve`: parts of tidemill against a Kubernetes that is somebody else's.
 *
 * Any of the pipelines component, a node, the scheduler and the core controllers, each through a `struct kube` of its own to the
 * same API server. Which Kubernetes it is, no part knows. Main thread only. */
#ifndef TM_CLI_SERVE_H
#define TM_CLI_SERVE_H

#include "cli/place.h"
#include "cluster/node/node.h"

struct serve_options {
    const char *kubeconfig, *context; /* may be NULL */
    bool in_cluster;
    bool pipelines, node, scheduler, controllers; /* which parts */
    const char *data_dir;                         /* absolute, exists, 0700 */
    const struct caller *caller;
    /* pipelines */
    const char *listen;
    const char *tls_cert, *tls_key; /* files of the front door; NULL: plain, on loopback only */
    const char *proxy_listen;       /* the door for what the API server passes on (services/proxy); NULL: none */
    const char *const *proxies;     /* the API server's addresses; NULL-terminated */
    const char *shared_dir;         /* absolute: task directories */
    const char *artifacts_dir;      /* below it */
    const char *claim;              /* the PersistentVolumeClaim that is shared_dir; NULL: pods run on this machine */
    bool apart;                     /* pods share no directory with us: object stores only */
    const char *agent_image;
    bool agent_from_node; /* whatever runs the pods puts the agent into them */
    const char *lease_namespace;
    bool no_engine;
    /* node */
    const char *node_name, *node_listen, *pod_cidr, *service_cidr, *node_cert, *node_key;
    bool pods_reach_metadata;
    const char *const *host_images, *const *host_envs, *const *host_paths; /* NULL-terminated */
};
struct serving;
/* Returns once all parts run. Waits for the lease of the pipelines component for as long as somebody else holds it, or until ctx
 * ends. */
struct serving *serve_start(const struct serve_options *o, const struct ctx *ctx, struct err *err);
/* Waits for the Node; 0 at once without one. -1: pods cannot run here, with the reason. */
int serve_wait_node(struct serving *s, const struct ctx *ctx, struct err *err);
const char *serve_url(const struct serving *s);    /* of the front door; NULL without pipelines */
const char *serve_server(const struct serving *s); /* of the API server */
bool serve_lost(const struct serving *s);          /* the lease was lost: the process has been sent SIGTERM */
void serve_stop(struct serving *s, enum node_stop_mode mode);

#endif
