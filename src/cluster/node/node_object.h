/* node_object.h - the Node: what this machine has, and whether pods can run. Source: kube.md 13.17. */
#ifndef TM_NODE_NODE_OBJECT_H
#define TM_NODE_NODE_OBJECT_H

#include "base/str.h"
#include "kube/kube.h"

struct machine {
    int64_t cpu_milli, memory, disk; /* bytes */
    char *host_name, *kernel, *os_image, *arch, *machine_id, *boot_id, *ip;
};
void machine_read(struct machine *m, const char *data_dir);
void machine_free(struct machine *m);

struct node_facts {
    const struct machine *machine;
    const char *name, *runtime_version; /* "" while unknown */
    unsigned max_pods;
    const char *not_ready; /* NULL: ready; else the cure */
    int kubelet_port;      /* 0: none */
    const char *cgroups;   /* annotation: how limits are applied; NULL: unknown */
};
/* Creates the Node or brings it up to date. No heartbeats: it is written when something changed. */
int node_register(struct kube *kube, const struct ctx *ctx, const struct node_facts *f, struct err *err);

/* An image as the Node's status names it: up to five names, the bytes that were fetched. */
struct node_image {
    const struct strlist *names, *digests;
    int64_t size;
};
/* Writes status.images: the 50 largest, as a kubelet does. */
int node_write_images(struct kube *kube, const struct ctx *ctx, const char *name, struct node_image *v, size_t n,
                      struct err *err);

#endif
