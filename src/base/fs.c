/* fs.c - see fs.h. */
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/id.h"
#include "base/str.h"

static int read_all(int fd, const char *path, size_t max, struct buf *out, struct err *err)
{
    size_t total = 0;
    for (;;) {
        buf_reserve(out, 16384);
        ssize_t n = read(fd, out->data + out->len, out->cap - out->len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "%s", path);
        if (n == 0)
            break;
        total += (size_t)n;
        if (total > max)
            return err_set(err, ERR_TOO_LARGE, "%s: larger than %zu bytes", path, max);
        out->len += (size_t)n;
    }
    out->data[out->len] = '\0';
    return 0;
}

int fs_read(const char *path, size_t max, struct buf *out, struct err *err)
{
    AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_errno(err, "%s", path) : read_all(fd, path, max, out, err);
}

int fs_read_plain(const char *path, size_t max, struct buf *out, struct err *err)
{
    struct stat st;
    AUTOCLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ELOOP)
        return err_set(err, ERR_BAD_REQUEST, "%s: is a symbolic link", path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno_asked(err, "%s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_BAD_REQUEST, "%s: is not a regular file", path);
    return read_all(fd, path, max, out, err);
}

int fs_write(int fd, const void *p, size_t n, struct err *err)
{
    const char *at = p;
    while (n) {
        ssize_t w = write(fd, at, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return err_errno(err, "write");
        at += w;
        n -= (size_t)w;
    }
    return 0;
}

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return xstrdup(".");
    return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

int fs_fsync_dir(const char *path, struct err *err)
{
    AUTOCLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_errno(err, "%s", path);
    return 0;
}

int fs_write_atomic(const char *path, const void *p, size_t n, mode_t mode, struct err *err)
{
    char suffix[17];
    AUTOFREE char *tmp = xasprintf("%s.%s.tmp", path, random_hex(suffix, 8));
    AUTOFREE char *dir = parent_of(path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_errno(err, "%s", tmp);
    int rc = fs_write(fd, p, n, err);
    if (rc < 0)
        err_wrap(err, "%s", path);
    if (rc == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
        rc = err_errno(err, "%s", tmp);
    if (close(fd) < 0 && rc == 0)
        rc = err_errno(err, "%s", tmp);
    if (rc == 0 && rename(tmp, path) < 0)
        rc = err_errno(err, "%s", path);
    if (rc < 0) {
        unlink(tmp);
        return -1;
    }
    return fs_fsync_dir(dir, err);
}

int fs_mkdir_p(const char *path, mode_t mode, struct err *err)
{
    /* Mostly only the last one is missing, or none. */
    if (mkdir(path, mode) == 0 || (errno == EEXIST && fs_is_dir(path)))
        return 0;
    AUTOFREE char *p = xstrdup(path);
    for (char *s = p + 1;; s++) {
        if (*s != '/' && *s)
            continue;
        char saved = *s;
        *s = '\0';
        if (mkdir(p, mode) < 0 && errno != EEXIST)
            return err_errno(err, "%s", p);
        if (!saved)
            break;
        *s = saved;
    }
    if (!fs_is_dir(path))
        return err_set(err, ERR_EXISTS, "%s: exists and is not a directory", path);
    return 0;
}

/* A tree may be deeper than we have descriptors for: each level holds one. What lies deeper than this is moved up to the top and
 * met again there, so that nobody can make a tree that cannot be removed. */
enum { RM_DEPTH_MAX = 64 };
struct rm {
    int top; /* the directory to be emptied */
    dev_t dev;
    bool moved; /* something waits at the top */
};

static int rm_children(struct rm *r, int dirfd, int depth, struct err *err);

static int rm_dir(struct rm *r, int dirfd, const char *name, dev_t dev, int depth, struct err *err)
{
    if (dev != r->dev)
        return err_set(err, ERR_CONFLICT, "%s: another file system is mounted there", name);
    if (depth >= RM_DEPTH_MAX) {
        char hex[17];
        AUTOFREE char *to = xasprintf(".rm-%s", random_hex(hex, 8));
        r->moved = true;
        return renameat(dirfd, name, r->top, to) < 0 ? err_errno(err, "%s", name) : 0;
    }
    int sub = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub < 0)
        return err_errno(err, "%s", name);
    if (rm_children(r, sub, depth + 1, err) < 0)
        return err_wrap(err, "%s", name);
    return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? err_errno(err, "%s", name) : 0;
}

/* Takes dirfd. */
static int rm_children(struct rm *r, int dirfd, int depth, struct err *err)
{
    DIR *d = fdopendir(dirfd);
    if (!d) {
        close(dirfd);
        return err_errno(err, "fdopendir");
    }
    int rc = 0;
    struct dirent *e;
    while (rc == 0 && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        struct stat st;
        if (fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno != ENOENT)
                rc = err_errno(err, "%s", e->d_name);
        } else if (S_ISDIR(st.st_mode)) {
            rc = rm_dir(r, dirfd, e->d_name, st.st_dev, depth, err);
        } else if (unlinkat(dirfd, e->d_name, 0) < 0 && errno != ENOENT) {
            rc = err_errno(err, "%s", e->d_name);
        }
    }
    closedir(d);
    return rc;
}

int fs_rm_rf(const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_errno(err, "%s", path);
    if (!S_ISDIR(st.st_mode))
        return unlink(path) < 0 && errno != ENOENT ? err_errno(err, "%s", path) : 0;
    AUTOCLOSE int top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0)
        return err_errno(err, "%s", path);
    struct rm r = {.top = top, .dev = st.st_dev};
    do {
        r.moved = false;
        int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return err_errno(err, "%s", path);
        if (rm_children(&r, fd, 0, err) < 0)
            return err_wrap(err, "removing %s", path);
    } while (r.moved);
    return rmdir(path) < 0 && errno != ENOENT ? err_errno(err, "%s", path) : 0;
}

bool fs_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

bool fs_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *fs_join(const char *a, const char *b)
{
    size_t n = strlen(a);
    while (n > 1 && a[n - 1] == '/')
        n--;
    while (*b == '/')
        b++;
    return xasprintf("%.*s%s%s", (int)n, a, n == 1 && a[0] == '/' ? "" : "/", b);
}

/* ---- sizes ---- */

/* A directory on the way down, by what it is: it is not held open, so that a tree may be as deep as it likes. */
struct du_level {
    dev_t dev;
    ino_t ino;
    struct strlist dirs; /* in it, still to be visited */
};
struct du {
    struct du_level *levels;
    size_t n, cap;
    int64_t total;
};

/* Adds the files of a directory, and a level for what else is in it. */
static void du_enter(struct du *u, int fd)
{
    struct stat st = {0};
    fstat(fd, &st);
    if (u->n == u->cap) {
        u->cap = u->cap ? 2 * u->cap : 16;
        u->levels = xreallocarray(u->levels, u->cap, sizeof *u->levels);
    }
    struct du_level *l = &u->levels[u->n++];
    *l = (struct du_level){.dev = st.st_dev, .ino = st.st_ino};
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = own >= 0 ? fdopendir(own) : NULL;
    if (!d) {
        base_closep(&own);
        return;
    }
    for (const struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || fstatat(own, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode))
            u->total += st.st_size;
        else if (S_ISDIR(st.st_mode))
            strlist_add(&l->dirs, e->d_name);
    }
    closedir(d);
}

static bool du_is(const struct du_level *l, int fd, const char *name)
{
    struct stat st;
    return fstatat(fd, name, &st, 0) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

/* From where fd is to the next directory; -1 when there is none, or somebody has moved what we were in. Takes fd. */
static int du_next(struct du *u, int fd)
{
    while (u->n) {
        struct du_level *l = &u->levels[u->n - 1];
        AUTOFREE char *name = l->dirs.n ? l->dirs.v[--l->dirs.n] : NULL;
        int to = openat(fd, name ? name : "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC | (name ? O_NOFOLLOW : 0));
        if (name && (to < 0 || !du_is(l, to, ".."))) { /* one that there is no way back from is left out */
            base_closep(&to);
            continue;
        }
        close(fd);
        fd = to;
        if (name)
            return fd;
        strlist_free(&l->dirs);
        if (--u->n && (fd < 0 || !du_is(l - 1, fd, ".")))
            break;
    }
    base_closep(&fd);
    return -1;
}

int64_t fs_du(const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return 0;
    if (!S_ISDIR(st.st_mode))
        return S_ISREG(st.st_mode) ? st.st_size : 0;
    struct du u = {0};
    for (int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); fd >= 0; fd = du_next(&u, fd))
        du_enter(&u, fd);
    while (u.n)
        strlist_free(&u.levels[--u.n].dirs);
    free(u.levels);
    return u.total;
}
