/* server.h - the wiring: everything that one `tidemill up` runs, put together and taken apart.
 *
 * The only place that knows both the embedded cluster and the components. server_start returns once all APIs answer;
 * server_wait_node waits for the Node. Not thread-safe: the main thread starts and stops. */
#ifndef TM_CLI_SERVER_H
#define TM_CLI_SERVER_H

#include "base/ctx.h"
#include "base/err.h"
#include "cli/place.h"
#include "cluster/node/node.h"

struct server_options {
    const char *data_dir;      /* absolute, exists, 0700 */
    const char *artifacts_dir; /* absolute; made when it is missing */
    const char *listen, *kube_listen;
    bool no_node, no_engine;
    const char *const *host_images, *const *host_envs, *const *host_paths; /* NULL-terminated */
    const char *const *image_mirrors, *const *insecure_registries;         /* NULL-terminated */
    const char *registries_file, *docker_config;                           /* NULL: the usual one; none */
    unsigned image_gc_high, image_gc_low;                                  /* percent; 0: the usual */
    const char *pod_cidr, *service_cidr;                                   /* NULL: chosen */
    bool pods_reach_metadata;                                              /* of the cloud that this machine is in */
    const struct caller *caller;
};
struct server;
struct server *server_start(const struct server_options *o, struct err *err);
/* Ready, or -1 with why pods cannot run (the APIs serve all the same). 0 at once with no_node. */
int server_wait_node(struct server *s, const struct ctx *ctx, struct err *err);
void server_stop(struct server *s, enum node_stop_mode mode);

const char *server_url(const struct server *s);                      /* "http://127.0.0.1:8080" */
const char *server_kube_url(const struct server *s);                 /* "https://127.0.0.1:6443" */
char *server_kubeconfig(struct server *s, struct err *err);          /* text; caller frees */
void server_set_kubeconfig_path(struct server *s, const char *path); /* shown by the status; borrowed until server_stop */
/* The agent, beside this program. Caller frees; NULL with ERR_NOT_FOUND. */
char *server_agent_path(struct err *err);

#endif
