/* beneath.h - opening what lies below a directory, whatever somebody has put there: no symbolic link is followed, nothing leaves
 * the directory. openat2(2) where the kernel has it, else step by step. Not for other rooms. */
#ifndef TM_DATA_BENEATH_H
#define TM_DATA_BENEATH_H

#include <sys/types.h>

#include "base/err.h"

/* open(2) of a relative path below root ("." is root itself). -1 with errno: ELOOP for a symbolic link on the way. */
int beneath_open(int root, const char *path, int flags, mode_t mode);
/* As beneath_open for a directory, making what is missing on the way with the given mode. */
int beneath_mkdirs(int root, const char *path, mode_t mode);
/* 0, or -1 and ERR_INVALID: no empty, "." or ".." part, no part above 255 bytes, at most 2048 bytes in all. what: "key",
 * "bucket". */
int beneath_check(const char *path, const char *what, struct err *err);

/* Tests set this to walk step by step. */
extern bool beneath_no_openat2;

#endif
