/* namespace.h - the namespace controller: what each namespace holds from the start, and how one goes. Private to the room. */
#ifndef TM_CLUSTER_CONTROLLERS_NAMESPACE_H
#define TM_CLUSTER_CONTROLLERS_NAMESPACE_H

#include "cluster/controllers/controllers.h"
#include "kube/controller.h"

struct namespace_controller;
/* cfg must outlive it; its ca_pem is copied. informers: of namespaces, service accounts named default, config maps named
 * kube-root-ca.crt. Call before they are started. */
struct namespace_controller *namespace_controller_start(const struct controllers_config *cfg, struct informer *namespaces,
                                                        struct informer *accounts, struct informer *root_cas);
void namespace_controller_stop(struct namespace_controller *c);

#endif
