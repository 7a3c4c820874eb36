#include "cluster/node/helper/helper_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"

/* Mount points of this namespace at path or below, in the order of the table. Octal escapes are undone. */
static int mounts_below(const char *path, struct strlist *out, struct err *err)
{
    BUF(b);
    STRLIST(lines);
    if (fs_read("/proc/self/mountinfo", 64 << 20, &b, err) < 0)
        return -1;
    str_split(buf_str(&b), '\n', &lines);
    size_t plen = strlen(path);
    for (size_t i = 0; i < lines.n; i++) {
        STRLIST(f);
        str_split(lines.v[i], ' ', &f);
        if (f.n < 5)
            continue;
        char *w = f.v[4];
        for (const char *r = f.v[4]; *r; r++)
            if (r[0] == '\\' && r[1] && r[2] && r[3]) {
                *w++ = (char)((r[1] - '0') << 6 | (r[2] - '0') << 3 | (r[3] - '0'));
                r += 3;
            } else {
                *w++ = *r;
            }
        *w = 0;
        if (strncmp(f.v[4], path, plen) == 0 && (f.v[4][plen] == 0 || f.v[4][plen] == '/'))
            strlist_add(out, f.v[4]);
    }
    return 0;
}

int unmount_below(const char *path, struct err *err)
{
    STRLIST(points);
    if (mounts_below(path, &points, err) < 0)
        return -1;
    for (size_t i = points.n; i-- > 0;)
        if (umount2(points.v[i], MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
            return err_errno(err, "unmounting %s", points.v[i]);
    return 0;
}

int mount_tmpfs(const char *path, const char *options, struct err *err)
{
    struct statfs s;
    if (fs_mkdir_p(path, 0755, err) < 0)
        return -1;
    STRLIST(points);
    if (mounts_below(path, &points, err) < 0)
        return -1;
    if (strlist_has(&points, path) && statfs(path, &s) == 0 && s.f_type == TMPFS_MAGIC)
        return 0;
    return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0 ? err_errno(err, "mounting a tmpfs at %s", path) : 0;
}

static int open_beneath(int dir, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

/* Makes the missing directories of a path, each inside the root that its parent is looked up in. */
static void make_beneath(int root, const char *sub)
{
    AUTOFREE char *at = xstrdup(sub);
    for (char *s = at; s; s = s ? s + 1 : NULL) {
        s = strchr(s, '/');
        if (s)
            *s = 0;
        AUTOFREE char *parent = xstrdup(at);
        char *name = strrchr(parent, '/');
        if (name)
            *name++ = 0;
        AUTOCLOSE int dir = open_beneath(root, name ? parent : ".", O_PATH | O_DIRECTORY);
        if (dir >= 0)
            mkdirat(dir, name ? name : at, 0755);
        if (!s)
            return;
        *s = '/';
    }
}

int mount_sub(const char *base, const char *sub, const char *target, struct err *err)
{
    char source[64];
    struct stat st;
    AUTOCLOSE int root = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_errno(err, "opening volume %s", base);
    AUTOCLOSE int fd = open_beneath(root, sub, O_PATH);
    if (fd < 0 && errno == ENOENT) {
        make_beneath(root, sub);
        fd = open_beneath(root, sub, O_PATH);
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, "failed to prepare subPath \"%s\" of volume %s", sub, base);
    if (S_ISDIR(st.st_mode) ? mkdir(target, 0700) < 0 : mknod(target, S_IFREG | 0600, 0) < 0)
        return err_errno(err, "making %s", target);
    snprintf(source, sizeof source, "/proc/self/fd/%d", fd);
    return mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0
               ? err_errno(err, "mounting subPath \"%s\" of volume %s", sub, base)
               : 0;
}

/* mount(2) takes one page of options: layers are named by descriptors, which are short. */
static int layer_options(const char *const *layers, size_t n, int *fds, struct buf *out, struct err *err)
{
    buf_adds(out, "userxattr,lowerdir=");
    for (size_t i = 0; i < n; i++) {
        fds[i] = open(layers[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fds[i] < 0)
            return err_errno(err, "opening layer %s", layers[i]);
        buf_addf(out, "%s/proc/self/fd/%d", i ? ":" : "", fds[i]);
    }
    return 0;
}

int mount_overlay(const char *bundle, const char *const *layers, size_t n, struct err *err)
{
    AUTOFREE char *root = fs_join(bundle, "rootfs"), *upper = fs_join(bundle, "upper"), *work = fs_join(bundle, "work");
    AUTOFREE int *fds = xcalloc(n, sizeof *fds);
    struct stat st;
    BUF(options);
    if (n == 0 || stat(layers[0], &st) < 0)
        return err_errno(err, "looking at the layers of %s", bundle);
    memset(fds, -1, n * sizeof *fds);
    /* The root directory has the upper one's owner and mode. */
    if (mkdir(root, 0755) < 0 || mkdir(upper, 0755) < 0 || mkdir(work, 0700) < 0 || chmod(upper, st.st_mode & 07777) < 0 ||
        chown(upper, st.st_uid, st.st_gid) < 0)
        return err_errno(err, "making a container's root in %s", bundle);
    int rc = layer_options(layers, n, fds, &options, err);
    buf_addf(&options, ",volatile,upperdir=%s,workdir=%s", upper, work);
    if (rc == 0 && options.len >= 4096)
        rc = err_set(err, ERR_TOO_LARGE, "an image of %zu layers cannot be mounted", n);
    if (rc == 0 && mount("overlay", root, "overlay", 0, buf_str(&options)) < 0)
        rc = err_errno(err, "mounting the image at %s", root);
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return rc;
}

/* An overlay without an upper directory has two layers at least: one more is empty. */
int mount_image(const char *place, const char *const *layers, size_t n, struct err *err)
{
    AUTOFREE char *root = fs_join(place, "root"), *empty = fs_join(place, "empty");
    AUTOFREE const char **all = xcalloc(n + 2, sizeof *all);
    AUTOFREE int *fds = xcalloc(n + 2, sizeof *fds);
    BUF(options);
    STRLIST(points);
    if (fs_mkdir_p(root, 0755, err) < 0 || fs_mkdir_p(empty, 0755, err) < 0 || mounts_below(root, &points, err) < 0)
        return -1;
    if (strlist_has(&points, root))
        return 0;
    for (size_t i = 0; i < n; i++)
        all[i] = layers[i];
    while (n < 2)
        all[n++] = empty;
    memset(fds, -1, n * sizeof *fds);
    int rc = layer_options(all, n, fds, &options, err);
    if (rc == 0 && options.len >= 4096)
        rc = err_set(err, ERR_TOO_LARGE, "an image of %zu layers cannot be mounted", n);
    if (rc == 0 && mount("overlay", root, "overlay", MS_RDONLY | MS_NOEXEC | MS_NOSUID | MS_NODEV, buf_str(&options)) < 0)
        rc = err_errno(err, "mounting the image at %s", root);
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return rc;
}

static bool is_nsfs(const char *path)
{
    struct statfs s;
    return statfs(path, &s) == 0 && s.f_type == NSFS_MAGIC;
}

/* The kernel pins a mount namespace only at a mount point outside of it, and not at a shared one: the directory of the pin is
 * mounted on itself as private first. */
static int pin_place(const char *dir, const char *pin, struct err *err)
{
    if (fs_mkdir_p(dir, 0700, err) < 0)
        return -1;
    STRLIST(points);
    if (mounts_below(dir, &points, err) < 0)
        return -1;
    if (!strlist_has(&points, dir) && mount(dir, dir, NULL, MS_BIND, NULL) < 0)
        return err_errno(err, "mounting %s on itself", dir);
    if (mount(NULL, dir, NULL, MS_PRIVATE, NULL) < 0)
        return err_errno(err, "making %s private", dir);
    AUTOCLOSE int fd = open(pin, O_RDONLY | O_CREAT | O_CLOEXEC, 0400);
    return fd < 0 ? err_errno(err, "creating %s", pin) : 0;
}

/* The namespace this process was started in, which is the machine's as the server sees it. Where the pin is. */
static int outer_ns = -1;

/* Runs in a child that is in the outer namespace: waits until the parent is in the new one, and pins it. */
NORETURN static void pin_from_outside(int ready, pid_t parent, const char *pin)
{
    char c, ns[64];
    snprintf(ns, sizeof ns, "/proc/%d/ns/mnt", (int)parent);
    if (unshare(CLONE_FS) < 0 || setns(outer_ns, CLONE_NEWNS) < 0)
        _exit(errno);
    if (read(ready, &c, 1) != 1)
        _exit(ECANCELED);
    _exit(mount(ns, pin, NULL, MS_BIND, NULL) < 0 ? errno : 0);
}

static int make_and_pin(const char *pin, struct err *err)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_errno(err, "pipe");
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        return err_errno(err, "fork");
    if (child == 0) {
        close(p[1]);
        pin_from_outside(p[0], parent, pin);
    }
    close(p[0]);
    int rc = 0;
    if (unshare(CLONE_NEWNS) < 0)
        rc = err_errno(err, "making a mount namespace");
    else if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        rc = err_errno(err, "making the mounts of the new namespace slaves");
    if (rc == 0 && write(p[1], "x", 1) != 1)
        rc = err_errno(err, "pipe");
    close(p[1]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (rc == 0 && status != 0) {
        errno = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
        rc = err_errno(err, "pinning the mount namespace at %s", pin);
    }
    return rc;
}

/* A namespace can be pinned only inside one with a smaller number, so that there are no rings, and the kernel hands the numbers
 * out a batch a processor (since 6.18): the new one may have the smaller number when we are not in the machine's first namespace
 * ourselves. The processor that numbered the outer one goes on above it. */
static int make_and_pin_anywhere(const char *pin, struct err *err)
{
    cpu_set_t was;
    int rc = make_and_pin(pin, err);
    if (rc == 0 || err->sys_errno != EINVAL || sched_getaffinity(0, sizeof was, &was) < 0)
        return rc;
    for (int cpu = 0; cpu < CPU_SETSIZE && rc < 0 && err->sys_errno == EINVAL; cpu++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (!CPU_ISSET(cpu, &was) || sched_setaffinity(0, sizeof one, &one) < 0)
            continue;
        err_clear(err);
        rc = make_and_pin(pin, err);
    }
    sched_setaffinity(0, sizeof was, &was);
    return rc;
}

int mount_ns_enter(const char *node_dir, bool *fresh, struct err *err)
{
    if (outer_ns < 0 && (outer_ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC)) < 0)
        return err_errno(err, "opening our own mount namespace");
    AUTOFREE char *dir = fs_join(node_dir, "ns"), *pin = fs_join(dir, "mnt");
    *fresh = !is_nsfs(pin);
    if (!*fresh) {
        AUTOCLOSE int fd = open(pin, O_RDONLY | O_CLOEXEC);
        /* A process of several threads (a sanitizer has some) shares its root and working directory; such a one may not enter. */
        if (fd < 0 || unshare(CLONE_FS) < 0 || setns(fd, CLONE_NEWNS) < 0)
            return err_errno(err, "entering the mount namespace pinned at %s", pin);
        return 0;
    }
    if (pin_place(dir, pin, err) < 0)
        return -1;
    return make_and_pin_anywhere(pin, err);
}

int mount_ns_unpin(const char *node_dir, struct err *err)
{
    AUTOFREE char *dir = fs_join(node_dir, "ns"), *pin = fs_join(dir, "mnt");
    pid_t child = fork();
    if (child < 0)
        return err_errno(err, "fork");
    if (child == 0) {
        if (unshare(CLONE_FS) < 0 || setns(outer_ns, CLONE_NEWNS) < 0)
            _exit(errno);
        umount2(pin, MNT_DETACH);
        _exit(umount2(dir, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT ? errno : 0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (status == 0)
        return 0;
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
    return err_errno(err, "unpinning the mount namespace at %s", pin);
}
