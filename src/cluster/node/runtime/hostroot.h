/* hostroot.h - image `host`: the machine's own root file system, copy-on-write, as an allow-list.
 *
 * /usr /opt /etc (and /bin /sbin /lib* where they are no links) are overlays with an upper directory of the container's own; what
 * is beside them is new and empty but for what packages need. In front of the machine's files lies a mask that is made once a
 * start: it whites out the secrets of /etc (whatever not everybody may read, and known places) and Python's EXTERNALLY-MANAGED,
 * and adds `python` where only `python3` exists. All mounts are the container's own: they end with it, and nothing is left to
 * unmount. Immutable once made; any thread. Source: kube.md 17. */
#ifndef TM_NODE_HOSTROOT_H
#define TM_NODE_HOSTROOT_H

#include "cluster/node/runtime/runtime.h"

struct hostroot;
/* Makes the mask below dir (emptied first). Lists may be NULL. */
struct hostroot *hostroot_new(const char *dir, const char *const *host_paths, const char *const *host_envs, struct err *err);
void hostroot_free(struct hostroot *h);
/* PATH, LANG, and what the server's own environment says about pip, uv, proxies and certificates. */
void hostroot_image(const struct hostroot *h, struct image_info *out);
/* Home directory and group of a user; the caller frees *home. */
void hostroot_user(const struct hostroot *h, int64_t uid, char **home, int64_t *gid);
/* Makes what is the same for every container: <dir>/rootfs with the directories to mount upon, <dir>/upper and work. */
int hostroot_lay(const struct hostroot *h, const char *dir, struct err *err);
/* Fills a bundle with that (out of the stock, if there is one and it has one) and the user's home, and appends the OCI mounts
 * that make a root of it to arr. */
struct rootstock;
int hostroot_make(const struct hostroot *h, struct rootstock *stock, const struct container_spec *spec, struct jm *m, jmval *arr,
                  struct err *err);
/* Which python3 a pod gets: its path as seen inside; NULL when there is none. The caller frees. */
char *hostroot_python(const struct hostroot *h);
/* Whether a name in /etc is kept from pods, whatever its mode. For tests. */
bool hostroot_is_secret(const char *path);

#endif
