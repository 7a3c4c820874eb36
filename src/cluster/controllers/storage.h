/* storage.h - claims and volumes: binding, making volumes as directories of this machine, taking them back, protection, claims
 * of ephemeral volumes. Source: kube.md 13.13.
 *
 *   claim      is                                              what a reconcile does
 *   Pending    unbound                                         binds it to the volume that it names, or to the smallest that
 * fits; else makes one, when its class is ours and, should the class wait for a consumer, a node was selected Bound annotation
 * bind-completed                       grows its volume when more is asked for Lost       its volume is gone or is another
 * claim's        says so deleting   held by pvc-protection                          lets go once no pod uses it
 *
 *   volume     is                                              what a reconcile does
 *   Available  without a claim                                 -
 *   Bound      its claim is there                              -
 *   -          its claim is there, and has another volume      what was made for it: as Released; else Available again
 *   Released   its claim is gone                               Retain: nothing. Delete: removes what we made, then the volume
 *   Failed     cannot be taken back                            says why
 *   deleting   held by pv-protection                           as Released, unless it is bound
 *
 * A volume's name, and its directory <volumes_dir>/<name>, are made of its claim's uid: it is provisioned once, however often
 * this is tried. Only such directories are ever removed. */
#ifndef TM_CLUSTER_CONTROLLERS_STORAGE_H
#define TM_CLUSTER_CONTROLLERS_STORAGE_H

#include "cluster/controllers/controllers.h"
#include "kube/controller.h"
#include "kube/events.h"
#include "value/quantity.h"

#define STORAGE_PROVISIONER   "tidemill.dev/hostpath"
#define CLAIM_PROTECTION      "kubernetes.io/pvc-protection"
#define VOLUME_PROTECTION     "kubernetes.io/pv-protection"
#define PROVISIONER_FINALIZER "external-provisioner.volume.kubernetes.io/finalizer"
#define BIND_COMPLETED        "pv.kubernetes.io/bind-completed"
#define BOUND_BY_CONTROLLER   "pv.kubernetes.io/bound-by-controller"
#define PROVISIONED_BY        "pv.kubernetes.io/provisioned-by"
#define SELECTED_NODE         "volume.kubernetes.io/selected-node"
#define CLAIM_PROVISIONER     "volume.kubernetes.io/storage-provisioner"

struct storage {
    const struct controllers_config *cfg;
    struct informer *claims, *volumes, *classes, *pods;
    struct event_recorder *events;
    struct controller_run *claim_run, *volume_run, *ephemeral_run;
};
/* cfg must outlive it. Call before the informers are started. */
struct storage *storage_start(const struct controllers_config *cfg, struct informer *claims, struct informer *volumes,
                              struct informer *classes, struct informer *pods);
/* Removes directories whose volume was never made, before the controllers run: a kill came in between, and the claim may be gone
 * by now. Only empty ones: what somebody keeps (Retain, and the volume was deleted) is theirs. */
void storage_sweep(const struct controllers_config *cfg, const struct ctx *ctx);
void storage_stop(struct storage *s);

/* ---- parts --------------------------------------------------------------------------------------------------------- */

int storage_claim(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err);
int storage_volume(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err);
int storage_ephemeral(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err);
/* Makes the directory and the volume of a claim whose class is ours. */
int storage_provision(struct storage *s, const struct ctx *ctx, jval *claim, jval *class, struct err *err);
/* Removes what storage_provision made. ERR_FORBIDDEN for a volume that it did not make. */
int storage_remove(struct storage *s, jval *volume, struct err *err);

/* storage_match.c: pure. */
/* The smallest unclaimed volume that fits the claim, or one that was set aside for it; NULL: none. Borrowed from the list. */
jval *storage_match(jval *claim, struct json *const *volumes, size_t n, bool only_set_aside);
/* Whether the volume's claimRef names this claim (its uid too, if it has one). */
bool storage_is_for(jval *volume, jval *claim);
const char *storage_class_of(jval *claim); /* "" for none */
bool storage_request(jval *claim, struct quantity *out);
char *storage_claim_name(jval *pod, jval *volume); /* of a pod's volume; caller frees; NULL: it has no claim */

#endif
