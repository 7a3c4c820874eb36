/* service_claim.h - which range of addresses this cluster's Services have: each tidemill of a machine has its own, so that
 * processes of the machine, which belong to none of them, are led to the right one.
 *
 * Chosen once, when the data directory is new, and kept there (<data>/service-range): Services keep their addresses. The usual
 * range unless somebody has it: a route of the machine leads there (nodes make one, podnet.h), or another tidemill that is about
 * to make one has claimed it. Source: kube.md 18.1. */
#ifndef TM_NODE_SERVICE_CLAIM_H
#define TM_NODE_SERVICE_CLAIM_H

#include "base/err.h"

/* wanted: a range that somebody asks for, or NULL. The range is malloc'd; NULL on failure. *hold is what service_claim_drop
 * gets when the node has ended (-1: there is nothing to drop). claims_dir: where claims lie, made when missing. */
char *service_claim(const char *data_dir, const char *claims_dir, const char *wanted, int *hold, struct err *err);
/* Claims another range in the same way; use: whose addresses it has ("pods"). False: somebody has claimed it. *hold as above. */
bool range_claim(const char *claims_dir, const char *use, const char *cidr, int *hold);
/* Takes the claim's file away and closes it. */
void service_claim_drop(int hold);
#define SERVICE_CLAIMS_DIR "/run/tidemill"

#endif
