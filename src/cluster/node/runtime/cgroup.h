/* cgroup.h - which control groups this machine has, and ours among them. Used inside the helper process.
 *
 *   v2      /sys/fs/cgroup is cgroup2                       limits by v2
 *   v1      tmpfs with a hierarchy a controller             limits by v1
 *   hybrid  v1 and a cgroup2 at unified that holds a        as v1, once unified is unmounted in our own mount namespace:
 *           controller                                      crun refuses it otherwise
 *   none    nothing there, or not writable                  --cgroup-manager=disabled; limits are advisory
 *
 * All our groups are below /<instance>/ of each hierarchy: one a container, and "helper" for the helper and the conmons, so that
 * whoever ends the server's own group does not end the pods. Source: kube.md 16.2 */
#ifndef TM_NODE_CGROUP_H
#define TM_NODE_CGROUP_H

#include "base/err.h"

enum cgroup_mode { CGROUP_NONE, CGROUP_V1, CGROUP_V2 };
struct cgroup_info {
    enum cgroup_mode mode;
    bool swap_limit;  /* memory.memsw / memory.swap can be set */
    char detail[256]; /* how it was decided; for people */
};
/* Decides. In a private mount namespace, with unmount_unified, a hybrid hierarchy is made usable; else only described. */
void cgroup_detect(struct cgroup_info *out, bool unmount_unified);
/* Makes /<instance>/helper and moves this process into it where it is not in a root group already. */
int cgroup_enter(const struct cgroup_info *info, const char *instance, struct err *err);
/* Removes a group and what is below it from every hierarchy. Missing is fine; a group with processes is an error. */
int cgroup_remove(const char *path, struct err *err);
const char *cgroup_mode_name(enum cgroup_mode m);
bool cgroup_mode_parse(const char *name, enum cgroup_mode *out);

#endif
