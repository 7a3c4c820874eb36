/* quota.h - keeps the status of ResourceQuotas: what may be used, and what is. What is refused is the API server's affair.
 *
 * Pods, Services and claims are watched; what a quota counts of other kinds is counted again every few seconds. */
#ifndef TM_CLUSTER_CONTROLLERS_QUOTA_H
#define TM_CLUSTER_CONTROLLERS_QUOTA_H

#include "cluster/controllers/controllers.h"
#include "kube/controller.h"

struct quota_controller;
struct quota_controller *quota_controller_start(const struct controllers_config *cfg, struct informer *quotas,
                                                struct informer *pods, struct informer *services, struct informer *claims);
void quota_controller_stop(struct quota_controller *c);

#endif
