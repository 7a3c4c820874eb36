/* controllers.c - starts the core controllers on shared informers; see controllers.h. */
#include "cluster/controllers/controllers.h"

#include <stdlib.h>

#include "cluster/controllers/namespace.h"
#include "kube/informer.h"
#include "kube/kinds.h"

struct controllers {
    struct controllers_config cfg;
    struct informer *namespaces, *accounts, *root_cas;
    struct namespace_controller *namespace;
};

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
    c->namespace = namespace_controller_start(&c->cfg, c->namespaces, c->accounts, c->root_cas);
    struct informer *const all[] = {c->namespaces, c->accounts, c->root_cas};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        informer_start(all[i]);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (informer_wait_synced(all[i], ctx, err) < 0) {
            err_wrap(err, "starting the core controllers");
            controllers_stop(c);
            return NULL;
        }
    return c;
}

void controllers_kinds_changed(struct controllers *c) { (void)c; }

void controllers_stop(struct controllers *c)
{
    if (!c)
        return;
    namespace_controller_stop(c->namespace);
    informer_stop(c->namespaces);
    informer_stop(c->accounts);
    informer_stop(c->root_cas);
    free(c);
}
