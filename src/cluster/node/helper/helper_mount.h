/* helper_mount.h - the node's own mount namespace, and mounts in it. Used inside the helper process.
 *
 * Every mount of the node lives in one mount namespace, pinned at <node>/ns/mnt, so that the machine's own mount table stays
 * clean and a new helper finds what an older one mounted. */
#ifndef TM_NODE_HELPER_MOUNT_H
#define TM_NODE_HELPER_MOUNT_H

#include "base/err.h"

/* Enters the namespace pinned below node_dir, or makes and pins one. *fresh says which. */
int mount_ns_enter(const char *node_dir, bool *fresh, struct err *err);
/* Takes the pin away. The calling process stays inside. */
int mount_ns_unpin(const char *node_dir, struct err *err);
/* A tmpfs at path (made when missing) unless one is there. */
int mount_tmpfs(const char *path, const char *options, struct err *err);
/* Mounts what sub names inside the directory base at target. Links are followed inside of base only, missing directories are
 * made. The name is looked at once: what it becomes later does not matter. */
int mount_sub(const char *base, const char *sub, const char *target, struct err *err);
/* Mounts an overlay of these directories (the top first) at <bundle>/rootfs, with an upper directory in the bundle, all made
 * here. The form of its whiteouts is images/unpack.h's. */
int mount_overlay(const char *bundle, const char *const *layers, size_t n, struct err *err);
/* Mounts these layers (the top first, there may be none), read-only and without programs, at <place>/root, unless that is done.
 */
int mount_image(const char *place, const char *const *layers, size_t n, struct err *err);
/* Unmounts path and everything below it in this namespace. Nothing there is fine. */
int unmount_below(const char *path, struct err *err);

#endif
