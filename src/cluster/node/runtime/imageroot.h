/* imageroot.h - the root of a container of an image that has layers: an overlay on them at <bundle>/rootfs, mounted by the helper
 * in the node's mount namespace; whoever removes the bundle's tree unmounts it. The counterpart of hostroot.h. Any thread. */
#ifndef TM_NODE_IMAGEROOT_H
#define TM_NODE_IMAGEROOT_H

#include "cluster/node/helper/helper_call.h"
#include "cluster/node/runtime/runtime.h"

/* Makes and mounts <bundle>/rootfs; with a read-only root, the image's volumes at <bundle>/volumes/<n> as well, which stay
 * writable. */
int imageroot_make(struct helper *helper, const struct container_spec *spec, struct err *err);
/* Where the n-th volume is to be mounted from; the caller frees. */
char *imageroot_volume(const struct container_spec *spec, size_t n);
/* Whether the pod mounts something of its own there. */
bool imageroot_volume_is_taken(const struct container_spec *spec, const char *path);

#endif
