#include "cluster/node/volumes/volume_owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

enum { DEPTH_MAX = 200, FILE_BITS = 0660, DIR_BITS = 02770 };

/* The descriptor is O_PATH: nothing is opened that could block or do something by being opened. */
static int give(int fd, const struct stat *st, gid_t gid)
{
    mode_t mode = (st->st_mode & 07777) | (S_ISDIR(st->st_mode) ? DIR_BITS : FILE_BITS);
    char self[40];
    if (st->st_gid != gid && fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH) < 0)
        return -1;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    /* A change of the group may have taken the set-group-id bit away. */
    return (st->st_mode & 07777) != mode || st->st_gid != gid ? chmod(self, mode) : 0;
}

static int walk(int dir, const char *name, gid_t gid, int depth)
{
    struct stat st;
    AUTOCLOSE int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return errno == ENOENT ? 0 : -1;
    if (S_ISLNK(st.st_mode))
        return 0;
    if (give(fd, &st, gid) < 0)
        return -1;
    if (!S_ISDIR(st.st_mode))
        return 0;
    if (depth == DEPTH_MAX) {
        errno = ELOOP;
        return -1;
    }
    int list = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = list >= 0 ? fdopendir(list) : NULL;
    if (!d) {
        if (list >= 0)
            close(list);
        return -1;
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
            rc = walk(fd, e->d_name, gid, depth + 1);
    int saved = errno;
    closedir(d);
    errno = saved;
    return rc;
}

int volume_give_to(const char *path, int64_t gid, bool on_mismatch, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_errno(err, "looking at %s", path);
    if (on_mismatch && st.st_gid == (gid_t)gid && (st.st_mode & DIR_BITS) == DIR_BITS)
        return 0;
    return walk(AT_FDCWD, path, (gid_t)gid, 0) < 0 ? err_errno(err, "giving %s to group %lld", path, (long long)gid) : 0;
}
