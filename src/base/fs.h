/* fs.h - files and directories. Paths are the caller's; nothing follows a path out of a directory fd unless it says so. */
#ifndef TM_BASE_FS_H
#define TM_BASE_FS_H

#include <sys/types.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

/* Reads a whole file, at most max bytes (ERR_TOO_LARGE beyond). Appends to out. */
int fs_read(const char *path, size_t max, struct buf *out, struct err *err);
/* As fs_read for a file that somebody else may have put there: the last part of the path is not followed as a link, and what is
 * no regular file is ERR_BAD_REQUEST rather than waited for. ERR_NOT_FOUND when there is none (yet). */
int fs_read_plain(const char *path, size_t max, struct buf *out, struct err *err);
/* Writes a file so that readers see the old content or the new one, never a part: temporary file in the same
 * directory, fsync, rename, fsync of the directory. */
int fs_write_atomic(const char *path, const void *p, size_t n, mode_t mode, struct err *err);
int fs_write(int fd, const void *p, size_t n, struct err *err); /* all of it, retrying short writes */
int fs_mkdir_p(const char *path, mode_t mode, struct err *err); /* existing directories are fine */
/* Removes a tree without following links and without crossing into another mounted file system. Missing is fine. */
int fs_rm_rf(const char *path, struct err *err);
bool fs_exists(const char *path);
bool fs_is_dir(const char *path);
char *fs_join(const char *a, const char *b); /* caller frees; one slash between */
int fs_fsync_dir(const char *path, struct err *err);
/* Total of the sizes of the regular files below path; 0 when missing. */
int64_t fs_du(const char *path);

#endif
