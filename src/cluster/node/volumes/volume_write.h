/* volume_write.h - files of configMap, secret, downwardAPI and projected volumes, replaced as a whole.
 *
 * The files are in a directory "..<time>.<random>", "..data" is a link to it, and each entry of the volume is a link to
 * ..data/<entry>; an update writes a new directory and swaps ..data by rename, so that a reader sees the old set or the new one.
 * Works on a directory descriptor: the volume may be in a mount namespace that is not ours. Source: kube.md 15.5. */
#ifndef TM_NODE_VOLUME_WRITE_H
#define TM_NODE_VOLUME_WRITE_H

#include <sys/types.h>

#include "base/err.h"

struct volume_file {
    char *path; /* relative, with '/' for directories */
    char *data;
    size_t len;
    mode_t mode;
    int64_t uid; /* owner, -1: root */
};
struct volume_files {
    struct volume_file *v;
    size_t n;
};
void volume_files_add(struct volume_files *f, const char *path, const void *data, size_t len, mode_t mode);
void volume_files_free(struct volume_files *f);
/* gid < 0: the server's. Nothing is written when the volume holds just this already. */
int volume_write(int dir, const struct volume_files *files, int64_t gid, struct err *err);

#endif
