/* cgroup.h - which control groups this machine has, and ours among them. Used inside the helper process.
 *
 *   v2      /sys/fs/cgroup is cgroup2                       limits by v2
 *   v1      tmpfs with a hierarchy a controller             limits by v1
 *   hybrid  v1 and a cgroup2 at unified that holds a        as v1, once unified is unmounted in our own mount namespace:
 *           controller                                      crun refuses it otherwise
 *   none    nothing there, or not writable                  --cgroup-manager=disabled; limits are advisory
 *
 * A limit whose controller is missing is left out of the container's configuration, and its pod says so in an event.
 *
 * All our groups are below /<instance>/ of each hierarchy: one a container, and "helper" for the helper and the conmons, so that
 * whoever ends the server's own group does not end the pods. Source: kube.md 16.2 */
#ifndef TM_NODE_CGROUP_H
#define TM_NODE_CGROUP_H

#include "base/err.h"

enum cgroup_mode { CGROUP_NONE, CGROUP_V1, CGROUP_V2 };
/* What a container's share can be limited by here. */
enum { CGROUP_MEMORY = 1, CGROUP_CPU = 2, CGROUP_PIDS = 4 };
struct cgroup_info {
    enum cgroup_mode mode;
    unsigned controllers; /* CGROUP_MEMORY ...: in v2 a controller may be held by a hierarchy of v1 or switched off */
    bool swap_limit;      /* memory.memsw / memory.swap can be set */
    char detail[256];     /* how it was decided; for people */
};
/* Decides. In a private mount namespace, with unmount_unified, a hybrid hierarchy is made usable; else only described. */
void cgroup_detect(struct cgroup_info *out, bool unmount_unified);
/* "memory, cpu": the names of controllers, for people. buf has room for all. */
const char *cgroup_names(unsigned controllers, char buf[32]);
/* Makes /<instance>/helper and moves this process into it where it is not in a root group already. In v2 our groups get the
 * controllers, and swap_limit is found out. */
int cgroup_enter(struct cgroup_info *info, const char *instance, struct err *err);
/* With mode none, in our own mount namespace: an empty tmpfs at /sys/fs/cgroup. crun looks there even when it is told to use no
 * control groups, and refuses what it does not know. */
void cgroup_hide(void);
/* cgroup.procs of the group that this process is in, of any one hierarchy; NULL when there is none. The caller frees. */
char *cgroup_own_procs(void);
/* Moves this process to where it is. The kernel guards every move between groups with a lock whose first taker in a while waits
 * for a grace period of RCU (5 to 20 ms on an idle machine); for some milliseconds after that it costs nothing. A container's
 * start moves a process in each hierarchy: whoever does this when a pod begins spares it the wait. Blocks. */
int cgroup_stir(const char *own_procs, struct err *err);
/* Removes a group and what is below it from every hierarchy. Missing is fine; a group with processes is an error. */
int cgroup_remove(const char *path, struct err *err);
const char *cgroup_mode_name(enum cgroup_mode m);
bool cgroup_mode_parse(const char *name, enum cgroup_mode *out);

#endif
