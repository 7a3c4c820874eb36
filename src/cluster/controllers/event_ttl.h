/* event_ttl.h - Events live for an hour after they were last written, and at most 10,000 live at once: a busy
 * hour would otherwise fill memory with what nobody reads. The oldest go first. Source: kube.md 13.12. */
#ifndef TM_CLUSTER_CONTROLLERS_EVENT_TTL_H
#define TM_CLUSTER_CONTROLLERS_EVENT_TTL_H

#include "cluster/controllers/controllers.h"
#include "kube/controller.h"

struct event_ttl_controller;
/* Call before the informer is started, stop before it is stopped. cfg is borrowed. */
struct event_ttl_controller *event_ttl_controller_start(const struct controllers_config *cfg, struct informer *events);
void event_ttl_controller_stop(struct event_ttl_controller *c);

#endif
