/* controllers.c - starts the core controllers on shared informers; see controllers.h. */
#include "cluster/controllers/controllers.h"

#include <stdlib.h>

#include "base/thread.h"
#include "cluster/controllers/definitions.h"
#include "cluster/controllers/endpoints.h"
#include "cluster/controllers/event_ttl.h"
#include "cluster/controllers/gc.h"
#include "cluster/controllers/namespace.h"
#include "cluster/controllers/quota.h"
#include "cluster/controllers/storage.h"
#include "kube/informer.h"
#include "kube/kinds.h"

struct controllers {
    struct controllers_config cfg;
    struct informer *namespaces, *accounts, *root_cas, *definitions, *all_events;
    struct informer *pods, *services, *slices, *endpoint_lists, *claims, *volumes, *classes, *quotas;
    struct namespace_controller *namespace;
    struct definition_controller *definition;
    struct event_ttl_controller *event_ttl;
    struct endpoints_controller *endpoints;
    struct storage *storage;
    struct quota_controller *quota;
    struct event_recorder *events;
    struct gc *gc;
    struct workqueue *refreshes; /* one key: what is served has changed */
    pthread_t refresher;
    bool refreshing; /* the thread runs */
};

/* Starting and stopping informers blocks; whoever tells us that kinds changed must not. */
static void *refresher(void *arg)
{
    struct controllers *c = arg;
    for (char *key; (key = workqueue_take(c->refreshes)); free(key)) {
        gc_refresh(c->gc);
        workqueue_finish(c->refreshes, key);
    }
    return NULL;
}

static struct informer *watch(struct controllers *c, const struct kube_res *res, const char *field_selector)
{
    struct informer_config ic = {.kube = c->cfg.kube, .res = res, .field_selector = field_selector, .clock = c->cfg.clock};
    return informer_new(&ic);
}

struct controllers *controllers_start(const struct controllers_config *cfg, const struct ctx *ctx, struct err *err)
{
    struct controllers *c = xcalloc(1, sizeof *c);
    c->cfg = *cfg;
    c->namespaces = watch(c, &KUBE_NAMESPACES, NULL);
    c->accounts = watch(c, &KUBE_SERVICEACCOUNTS, "metadata.name=default");
    c->root_cas = watch(c, &KUBE_CONFIGMAPS, "metadata.name=kube-root-ca.crt");
    c->definitions = watch(c, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL);
    c->all_events = watch(c, &KUBE_EVENTS, NULL);
    c->pods = watch(c, &KUBE_PODS, NULL);
    c->services = watch(c, &KUBE_SERVICES, NULL);
    c->slices = watch(c, &KUBE_ENDPOINTSLICES, NULL);
    c->endpoint_lists = watch(c, &KUBE_ENDPOINTS, NULL);
    c->claims = watch(c, &KUBE_PERSISTENTVOLUMECLAIMS, NULL);
    c->volumes = watch(c, &KUBE_PERSISTENTVOLUMES, NULL);
    c->classes = watch(c, &KUBE_STORAGECLASSES, NULL);
    c->quotas = watch(c, &KUBE_RESOURCEQUOTAS, NULL);
    c->definition = definition_controller_start(&c->cfg, c->definitions);
    c->event_ttl = event_ttl_controller_start(&c->cfg, c->all_events);
    c->namespace = namespace_controller_start(&c->cfg, c->namespaces, c->accounts, c->root_cas);
    c->endpoints = endpoints_controller_start(&c->cfg, c->services, c->slices, c->endpoint_lists, c->pods);
    storage_sweep(&c->cfg, ctx);
    c->storage = storage_start(&c->cfg, c->claims, c->volumes, c->classes, c->pods);
    c->quota = quota_controller_start(&c->cfg, c->quotas, c->pods, c->services, c->claims);
    /* Classes and volumes before claims, Services before pods: what is looked at before these are known would be told a lie. */
    struct informer *const all[] = {c->quotas,         c->classes,     c->volumes,    c->namespaces, c->accounts,
                                    c->root_cas,       c->definitions, c->all_events, c->services,   c->slices,
                                    c->endpoint_lists, c->pods,        c->claims};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        informer_start(all[i]);
        if (informer_wait_synced(all[i], ctx, err) < 0) {
            err_wrap(err, "starting the core controllers");
            controllers_stop(c);
            return NULL;
        }
    }
    c->events = event_recorder_new(c->cfg.kube, "garbage-collector-controller", NULL, c->cfg.clock);
    c->gc = gc_start(&c->cfg, c->events);
    c->refreshes = workqueue_new(c->cfg.clock, NS_PER_MS);
    c->refresher = thread_start("kinds-changed", refresher, c);
    c->refreshing = true;
    return c;
}

void controllers_kinds_changed(struct controllers *c)
{
    if (c && c->refreshes)
        workqueue_add(c->refreshes, "kinds");
}

void controllers_stop(struct controllers *c)
{
    if (!c)
        return;
    if (c->refreshing) {
        workqueue_shutdown(c->refreshes);
        pthread_join(c->refresher, NULL);
        workqueue_free(c->refreshes);
    }
    gc_stop(c->gc);
    event_recorder_free(c->events);
    endpoints_controller_stop(c->endpoints);
    quota_controller_stop(c->quota);
    storage_stop(c->storage);
    event_ttl_controller_stop(c->event_ttl);
    definition_controller_stop(c->definition);
    namespace_controller_stop(c->namespace);
    informer_stop(c->namespaces);
    informer_stop(c->accounts);
    informer_stop(c->root_cas);
    informer_stop(c->definitions);
    informer_stop(c->all_events);
    informer_stop(c->pods);
    informer_stop(c->services);
    informer_stop(c->slices);
    informer_stop(c->endpoint_lists);
    informer_stop(c->claims);
    informer_stop(c->volumes);
    informer_stop(c->classes);
    informer_stop(c->quotas);
    free(c);
}
