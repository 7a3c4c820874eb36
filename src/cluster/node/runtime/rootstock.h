/* rootstock.h - root directories of containers made ahead.
 *
 * Some 40 directories and links are made for a container's root before anything is mounted there. That is little, but the file
 * system's journal may make each of them wait, and a pod that is being started should not. A few roots lie ready in a directory
 * of their own and are renamed into the bundle; a worker makes new ones once the start is over. What a stock holds is nobody's:
 * it is removed with it, and by the next one that uses the directory. */
#ifndef TM_NODE_ROOTSTOCK_H
#define TM_NODE_ROOTSTOCK_H

#include "base/err.h"

struct hostroot;
struct rootstock;
/* root must outlive the stock; dir is on the file system of the bundles. */
struct rootstock *rootstock_new(const struct hostroot *root, const char *dir, struct err *err);
/* Moves a root (hostroot_lay) into a bundle. 1: done; 0: none is ready; -1: error. Any thread. */
int rootstock_take(struct rootstock *s, const char *bundle, struct err *err);
void rootstock_free(struct rootstock *s);

#endif
