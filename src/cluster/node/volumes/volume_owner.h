/* volume_owner.h - gives a volume to a group: what fsGroup of a pod means. Source: kube.md 15.5. */
#ifndef TM_NODE_VOLUME_OWNER_H
#define TM_NODE_VOLUME_OWNER_H

#include "base/base.h"
#include "base/err.h"

/* Everything below path gets the group, its members may read and write, and directories hand the group on. Links are
 * left alone and never followed, whatever a container does to the names meanwhile. on_mismatch: nothing is done when the root
 * is as it should be already. */
int volume_give_to(const char *path, int64_t gid, bool on_mismatch, struct err *err);

#endif
