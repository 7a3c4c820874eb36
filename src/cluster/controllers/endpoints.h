/* endpoints.h - where the traffic of a Service goes: EndpointSlices and, for old clients, Endpoints. Source: kube.md 13.10.
 *
 *   the Service             what a reconcile does
 *   selects pods            slices (100 endpoints at most) of the pods it selects, grouped by the ports that its own mean in each
 *                           pod; one Endpoints with the same
 *   selects nothing         slices that mirror an Endpoints of its name, if somebody wrote one
 *   ExternalName, gone      takes back what it made
 *
 * The pure part (what the slices should be) is endpoints_want. */
#ifndef TM_CLUSTER_CONTROLLERS_ENDPOINTS_H
#define TM_CLUSTER_CONTROLLERS_ENDPOINTS_H

#include "cluster/controllers/controllers.h"
#include "kube/controller.h"

#define SERVICE_NAME_LABEL "kubernetes.io/service-name"

struct endpoints_controller;
/* cfg must outlive it. Call before the informers are started. */
struct endpoints_controller *endpoints_controller_start(const struct controllers_config *cfg, struct informer *services,
                                                        struct informer *slices, struct informer *endpoints,
                                                        struct informer *pods);
void endpoints_controller_stop(struct endpoints_controller *c);

/* What slices a Service should have, each an object {"endpoints": [...], "ports": [...]}, as one array; pods are those of its
 * namespace. And the subsets of its Endpoints. */
struct json *endpoints_want(jval *service, struct json *const *pods, size_t n);
struct json *endpoints_subsets_want(jval *service, struct json *const *pods, size_t n);
/* The slices that say what an Endpoints object says. */
struct json *endpoints_mirror(jval *endpoints);

#endif
