/* node.h - the node: runs the pods that are bound to this machine.
 *
 * The node knows the cluster through a `struct kube` only, as a kubelet does. It watches the pods whose spec.nodeName is its own,
 * makes the machine look as they say (network namespace, volumes, containers under crun and conmon), and writes their status.
 * Everything that needs root or fork is done by one single-threaded helper process (`tidemill node-helper --fd N`, see helper.h).
 *
 *     struct node_config cfg = {.data_dir = "/var/lib/tidemill", .kube_addr = "127.0.0.1:6443", ...};
 *     struct node *n = node_start(&cfg, kube, err);
 *     server_use(node_api(n));
 *     ...
 *     node_stop(n, NODE_KEEP);      // pods go on running; the next start adopts them
 *
 * What may fail: node_start fails only for what the caller has to mend (data directory unusable, a broken node.db). A machine
 * that cannot run containers is no failure: the Node object is then NotReady with the cure in its message, and node_ready() says
 * so.
 *
 * Threads: all functions may be called from any thread; node_stop once, last. Source: kube.md 13.17, 15-18; DESIGN 2, 4, 6. */
#ifndef TM_CLUSTER_NODE_NODE_H
#define TM_CLUSTER_NODE_NODE_H

#include "kube/kube.h"
#include "kube/node_api.h"

struct runtime;

/* Strings are copied by node_start; lists are NULL-terminated and may be NULL. */
struct node_config {
    const char *data_dir;                   /* absolute path without ':' ',' or '\'; <data>/node and <data>/logs are the node's */
    const char *node_name;                  /* NULL: the host name in lower case */
    const char *agent_path;                 /* tidemill-agent, seen read-only at /tidemill/agent in every container; NULL: none */
    const char *const *host_images;         /* globs of image names that image `host` stands in for ("python:*") */
    const char *const *host_paths;          /* more of the machine, read-only, seen by image `host` at the same path */
    const char *const *image_mirrors;       /* "docker.io=https://mirror.example.com" */
    const char *const *insecure_registries; /* "registry.local:5000" */
    const char *registries_file;            /* NULL: <data>/registries; see images/registries.h */
    const char *docker_config;              /* a file of credentials like ~/.docker/config.json; NULL: none */
    unsigned image_gc_high, image_gc_low;   /* percent of the disk; 0: 85 and 80 */
    const char *const *host_envs;           /* prefixes (venv, conda, pyenv) seen copy-on-write, their bin first in PATH */
    const char
        *kube_addr; /* where the Kubernetes API listens ("127.0.0.1:6443"); reached by pods as Service default/kubernetes */
    const char *front_addr;         /* the front door; reached by pods as <bridge address>:<its port>. May be NULL */
    const char *pod_cidr;           /* a /16 or smaller; NULL: derived from the instance id, avoiding the machine's routes */
    const char *service_cidr;       /* where Services have their addresses; NULL: the usual (kube/rules/service_range.h) */
    bool pods_reach_metadata;       /* the cloud's metadata address, where the machine's credentials are; else refused */
    unsigned max_pods;              /* 0: 500 */
    int64_t log_max_bytes;          /* a log file is rotated beyond this; 0: 10 MiB */
    unsigned log_max_files;         /* per container, the current one included; 0: 5 */
    int64_t backoff_base_ns;        /* first wait of CrashLoopBackOff; 0: 10 s */
    bool heartbeats;                /* signs of life for those who wait for them, or look (see heartbeat.h) */
    int kubelet_port;               /* where the API server reaches the node's HTTPS face; 0: it needs none */
    const struct clock *clock;      /* NULL: clock_system */
    struct runtime *runtime;        /* tests: the scripted one (taken over); NULL: crun */
    const char *const *helper_argv; /* how the helper is started, without "--fd N"; NULL: {"/proc/self/exe", "node-helper"} */
};

struct node;
struct node *node_start(const struct node_config *cfg, struct kube *kube, struct err *err);

enum node_stop_mode {
    NODE_KEEP,   /* pods go on running under conmon; addresses, rules and mounts stay; the next node_start adopts them */
    NODE_REMOVE, /* pods are stopped (grace of at most a few seconds) and all that the node made on the machine is taken back */
};
void node_stop(struct node *n, enum node_stop_mode mode);

/* Takes back what a node that is no longer running left on the machine (containers, mounts, links, rules, cgroups). For `down
 * --purge`. */
int node_sweep(const struct node_config *cfg, struct err *err);

/* The range of Services for a data directory, to be known before its API server starts (network/service_claim.h). The caller
 * frees; *hold is dropped after node_stop (-1: nothing to drop). */
char *node_service_range(const char *data_dir, const char *wanted, int *hold, struct err *err);
void node_service_range_drop(int hold);

/* What the API server asks of the node. Valid until node_stop. */
const struct node_api *node_api(struct node *n);
const char *node_name(struct node *n);
/* The address under which pods see this machine; NULL where pods have no network of their own. */
const char *node_gateway(struct node *n);
/* What identifies the image that was fetched under this name (malloc'd); NULL: none was. */
char *node_image_id(struct node *n, const char *image);
/* True once pods can run; else *why (may be NULL) gets a malloc'd sentence with the cure. */
bool node_ready(struct node *n, char **why);
/* Waits until the Node object says Ready or NotReady for good; -1 with the reason in the latter case or when the context ends. */
int node_wait_ready(struct node *n, const struct ctx *ctx, struct err *err);

/* What `tidemill doctor` prints. node_check needs no running node and changes nothing that lasts. */
struct node_check_item {
    char *what, *detail;
    bool ok;
    char *cure; /* NULL when ok */
};
struct node_checks {
    struct node_check_item *v;
    size_t n;
};
void node_check(const struct node_config *cfg, struct node_checks *out);
void node_checks_free(struct node_checks *c);

/* main() of the helper process: `tidemill node-helper --fd N`. Returns the exit code once its socket is closed. */
int node_helper_main(int argc, char **argv);

#endif
