/* controllers.h - the core controllers of the embedded cluster: namespaces, garbage collection, custom resource definitions,
 * service accounts, claims and volumes, what is behind Services, quotas, the life time of Events.
 *
 * They know the API only through `struct kube` and informers, never the store; each can be run against a real API server.
 * Source: specs kube.md 13 (1, 2, 12) and 10. */
#ifndef TM_CLUSTER_CONTROLLERS_H
#define TM_CLUSTER_CONTROLLERS_H

#include "kube/kube.h"

struct controllers_config {
    struct kube *kube; /* bound to an identity that may read and delete everything */
    const struct clock *clock;
    const char *ca_pem; /* goes into ConfigMap kube-root-ca.crt of each namespace; copied */
    /* Calls fn for every served collection that can be listed, watched and deleted, custom ones included, one version a kind (the
     * preferred one). The res is borrowed for the call. Called from any of our threads. */
    void (*each_kind)(void *self, void (*fn)(void *arg, const struct kube_res *res), void *arg);
    void *self;
    int64_t event_ttl_ns; /* 0: one hour */
    size_t events_max;    /* 0: 10,000 */
    const char
        *volumes_dir; /* where volumes of class `standard` are made, as directories; NULL: they are made elsewhere. Borrowed */
};
struct controllers;
/* Starts them; returns once their first lists are in the caches (or ctx ends: -1, everything stopped). */
struct controllers *controllers_start(const struct controllers_config *cfg, const struct ctx *ctx, struct err *err);
/* Tell us that each_kind would answer differently now (a CRD came or went). Any thread; does not block. */
void controllers_kinds_changed(struct controllers *c);
void controllers_stop(struct controllers *c);

#endif
