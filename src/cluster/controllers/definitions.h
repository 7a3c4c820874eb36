/* definitions.h - CustomResourceDefinitions: are their names free (conditions NamesAccepted, Established), and their end, which
 * takes all their objects with it. Source: kube.md 10. */
#ifndef TM_CLUSTER_CONTROLLERS_DEFINITIONS_H
#define TM_CLUSTER_CONTROLLERS_DEFINITIONS_H

#include "cluster/controllers/controllers.h"
#include "kube/controller.h"

struct definition_controller;
/* Call before the informer is started, stop before it is stopped. cfg is borrowed. */
struct definition_controller *definition_controller_start(const struct controllers_config *cfg, struct informer *definitions);
void definition_controller_stop(struct definition_controller *c);

#endif
