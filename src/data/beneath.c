#include "data/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

bool beneath_no_openat2;

enum { PATH_BYTES_MAX = 2048 };

/* The next part of *path into part (NAME_MAX + 1 bytes); false at the end. *path is moved behind it. */
static bool next_part(const char **path, char *part, bool *too_long)
{
    *path += strspn(*path, "/");
    size_t n = strcspn(*path, "/");
    *too_long = n > NAME_MAX;
    if (n == 0 || *too_long)
        return false;
    memcpy(part, *path, n);
    part[n] = '\0';
    *path += n;
    return true;
}

static bool is_last(const char *rest) { return rest[strspn(rest, "/")] == '\0'; }

/* Opens part by part, each without following a link. make: directories that are missing are made. */
static int walk(int root, const char *path, int flags, mode_t mode, bool make)
{
    int at = fcntl(root, F_DUPFD_CLOEXEC, 0);
    char part[NAME_MAX + 1];
    bool too_long = false;
    while (at >= 0 && next_part(&path, part, &too_long)) {
        if (strcmp(part, "..") == 0) {
            close(at);
            errno = EXDEV;
            return -1;
        }
        bool last = is_last(path);
        if (make && mkdirat(at, part, mode) < 0 && errno != EEXIST) {
            int saved = errno;
            close(at);
            errno = saved;
            return -1;
        }
        int how = last && !make ? flags : O_PATH | O_DIRECTORY;
        if (last && make)
            how = O_RDONLY | O_DIRECTORY;
        int next = openat(at, part, how | O_NOFOLLOW | O_CLOEXEC, mode);
        int saved = errno;
        if (next < 0 && saved == ENOTDIR) {
            struct stat st; /* O_DIRECTORY | O_NOFOLLOW on a link says ENOTDIR; openat2 says ELOOP */
            if (fstatat(at, part, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
                saved = ELOOP;
        }
        close(at);
        at = next;
        errno = saved;
    }
    if (at >= 0 && too_long) {
        close(at);
        errno = ENAMETOOLONG;
        return -1;
    }
    return at;
}

int beneath_open(int root, const char *path, int flags, mode_t mode)
{
    if (strcmp(path, ".") == 0)
        return openat(root, ".", flags | O_CLOEXEC, mode);
    static atomic_bool missing;
    if (!beneath_no_openat2 && !atomic_load_explicit(&missing, memory_order_relaxed)) {
        struct open_how how = {
            .flags = (unsigned)(flags | O_CLOEXEC),
            .mode = flags & O_CREAT ? mode : 0,
            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
        if (fd >= 0 || (errno != ENOSYS && errno != EPERM && errno != EAGAIN))
            return (int)fd;
        if (errno == ENOSYS)
            atomic_store_explicit(&missing, true, memory_order_relaxed);
        /* EPERM: a seccomp filter that does not know the call. EAGAIN: something was renamed meanwhile. Go on step by step. */
    }
    return walk(root, path, flags, mode, false);
}

int beneath_mkdirs(int root, const char *path, mode_t mode)
{
    int fd = beneath_open(root, path, O_RDONLY | O_DIRECTORY, 0);
    return fd >= 0 || errno != ENOENT ? fd : walk(root, path, 0, mode, true);
}

int beneath_check(const char *path, const char *what, struct err *err)
{
    if (!*path)
        return err_set(err, ERR_INVALID, "empty %s", what);
    if (strlen(path) > PATH_BYTES_MAX)
        return err_set(err, ERR_INVALID, "%s is longer than %d bytes: %.64s...", what, PATH_BYTES_MAX, path);
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, "/");
        if (n == 0)
            return err_set(err, ERR_INVALID, "%s \"%s\" has an empty part: it must be a relative path without repeated slashes",
                           what, path);
        if (n > NAME_MAX)
            return err_set(err, ERR_INVALID, "%s \"%.64s...\" has a part above %d bytes", what, path, NAME_MAX);
        if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return err_set(err, ERR_INVALID, "%s \"%s\" has a part \"%.*s\", which is not allowed", what, path, (int)n, p);
        p += n;
        if (!*p)
            return 0;
    }
}
