/* The tree that a layer becomes. Every name is looked up below the root by the kernel (openat2 with RESOLVE_IN_ROOT); the last
 * part is never followed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cluster/node/images/unpack_priv.h"

enum { PART_MAX = 255, NAME_MAX_BYTES = 4096, DEPTH_MAX = 500, XATTR_MAX = 65536, XATTRS_MAX = 100 };

static int open_in_root(int root, const char *path, uint64_t flags, mode_t mode)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
}

int tree_open(struct tree *t, const char *dir, struct err *err)
{
    *t = (struct tree){.parent = -1, .root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    return t->root < 0 ? err_errno(err, "opening %s", dir) : 0;
}

void tree_close(struct tree *t)
{
    if (t->parent >= 0)
        close(t->parent);
    if (t->root >= 0)
        close(t->root);
    for (size_t i = 0; i < t->n_dirs; i++)
        free(t->dirs[i].path);
    free(t->dirs);
    free(t->parent_path);
}

/* ---- names ------------------------------------------------------------------------------------------------------------ */

char *tree_clean_name(const char *name, struct err *err)
{
    BUF(out);
    size_t depth = 0;
    if (strlen(name) > NAME_MAX_BYTES) {
        err_set(err, ERR_BAD_REQUEST, "a name of %zu bytes", strlen(name));
        return NULL;
    }
    for (const char *at = name; *at;) {
        size_t n = strcspn(at, "/");
        if (n == 2 && at[0] == '.' && at[1] == '.') {
            err_set(err, ERR_BAD_REQUEST, "\"%s\" would leave the image", name);
            return NULL;
        }
        if (n > PART_MAX || ++depth > DEPTH_MAX) {
            err_set(err, ERR_BAD_REQUEST, "\"%.300s\" has a part that is too long, or too many", name);
            return NULL;
        }
        if (n && !(n == 1 && at[0] == '.')) {
            if (out.len)
                buf_addc(&out, '/');
            buf_add(&out, at, n);
        }
        at += n + (at[n] == '/');
    }
    return buf_steal(&out, NULL);
}

/* The directory, with what is missing on the way made. Links on the way lead inside of the root. */
static int open_dir(struct tree *t, const char *path, struct err *err)
{
    int fd = open_in_root(t->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0 || errno != ENOENT)
        return fd >= 0 ? fd : err_errno(err, "opening directory \"%s\" of the image", path);
    AUTOFREE char *up = xstrdup(path);
    char *slash = strrchr(up, '/');
    const char *base = slash ? slash + 1 : up;
    AUTOFREE char *name = xstrdup(base);
    if (slash)
        *slash = 0;
    AUTOCLOSE int above = open_dir(t, slash ? up : "", err);
    if (above < 0)
        return -1;
    if (mkdirat(above, name, 0755) < 0 && errno != EEXIST)
        return err_errno(err, "making directory \"%s\" of the image", path);
    fd = open_in_root(t->root, path, O_RDONLY | O_DIRECTORY, 0);
    return fd >= 0 ? fd : err_errno(err, "opening directory \"%s\" of the image", path);
}

/* Splits a path; t->parent becomes the directory. Entries come sorted mostly, so that it is the last one's. */
static int enter_parent(struct tree *t, const char *path, char **base, struct err *err)
{
    const char *slash = strrchr(path, '/');
    AUTOFREE char *dir = xstrndup(path, slash ? (size_t)(slash - path) : 0);
    *base = xstrdup(slash ? slash + 1 : path);
    if (t->parent >= 0 && str_eq(dir, t->parent_path))
        return 0;
    int fd = open_dir(t, dir, err);
    if (fd < 0)
        return -1;
    if (t->parent >= 0)
        close(t->parent);
    free(t->parent_path);
    t->parent = fd;
    t->parent_path = TAKE(dir);
    return 0;
}

static void forget_parent(struct tree *t)
{
    free(t->parent_path);
    t->parent_path = NULL;
    if (t->parent >= 0)
        close(t->parent);
    t->parent = -1;
}

/* ---- what is there already ------------------------------------------------------------------------------------------------- */

static bool is_whiteout(const struct stat *st) { return S_ISCHR(st->st_mode) && st->st_rdev == 0; }

static int remove_at(int dir, const char *name, int depth, struct err *err)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_errno(err, "removing \"%s\" of the image", name);
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "removing \"%s\" of the image", name);
    DIR *d = fdopendir(fd);
    int rc = depth > DEPTH_MAX ? err_set(err, ERR_BAD_REQUEST, "directories nested too deep") : 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
            rc = remove_at(fd, e->d_name, depth + 1, err);
    closedir(d);
    return rc < 0 ? -1 : unlinkat(dir, name, AT_REMOVEDIR) < 0 ? err_errno(err, "removing \"%s\" of the image", name) : 0;
}

static int make_opaque(int fd, struct err *err)
{
    return fsetxattr(fd, "user.overlay.opaque", "y", 1, 0) < 0 ? err_errno(err, "marking a directory of the image as opaque") : 0;
}

/* Makes room for an entry. *was_hidden: a whiteout of this layer was there, so that a directory must hide what is below. */
static int make_room(struct tree *t, const char *base, bool keep_dir, bool *was_hidden, struct err *err)
{
    struct stat st;
    *was_hidden = false;
    if (fstatat(t->parent, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_errno(err, "looking at \"%s\" of the image", base);
    *was_hidden = is_whiteout(&st);
    if (S_ISDIR(st.st_mode) && keep_dir)
        return 0;
    return remove_at(t->parent, base, 0, err);
}

/* ---- whiteouts ---------------------------------------------------------------------------------------------------------------
 */

static int add_whiteout(struct tree *t, const char *base, struct err *err)
{
    struct stat st;
    if (str_eq(base, ".wh..wh..opq"))
        return make_opaque(t->parent, err);
    if (str_starts(base, ".wh..wh."))
        return 0; /* what aufs kept for itself */
    const char *name = base + strlen(".wh.");
    if (!*name || str_eq(name, ".") || str_eq(name, ".."))
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" hides nothing that could be", base);
    /* It hides what lies in layers below; what this layer has itself stays, and hides it as well. */
    if (fstatat(t->parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (!S_ISDIR(st.st_mode))
            return 0;
        AUTOCLOSE int fd = openat(t->parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? err_errno(err, "opening \"%s\" of the image", name) : make_opaque(fd, err);
    }
    return mknodat(t->parent, name, S_IFCHR, 0) < 0 ? err_errno(err, "hiding \"%s\" of the image", name) : 0;
}

/* ---- entries ------------------------------------------------------------------------------------------------------------------
 */

static int write_content(int fd, struct archive *a, const char *name, struct err *err)
{
    const void *p;
    size_t n;
    la_int64_t offset, end = 0;
    int rc;
    while ((rc = archive_read_data_block(a, &p, &n, &offset)) == ARCHIVE_OK) {
        for (size_t done = 0; done < n;) {
            ssize_t w = pwrite(fd, (const char *)p + done, n - done, offset + (la_int64_t)done);
            if (w < 0 && errno == EINTR)
                continue;
            if (w < 0)
                return err_errno(err, "writing \"%s\" of the image", name);
            done += (size_t)w;
        }
        end = offset + (la_int64_t)n;
    }
    if (rc != ARCHIVE_EOF)
        return err_set(err, ERR_BAD_REQUEST, "the content of \"%s\": %s", name, archive_error_string(a));
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_size < end && ftruncate(fd, end) < 0)
        return err_errno(err, "writing \"%s\" of the image", name);
    return 0;
}

static bool keep_xattr(const char *name)
{
    return str_eq(name, "security.capability") || (str_starts(name, "user.") && !str_starts(name, "user.overlay."));
}

static int set_xattrs(int fd, struct archive_entry *e, const char *name, struct err *err)
{
    const char *key;
    const void *value;
    size_t n;
    archive_entry_xattr_reset(e);
    for (int i = 0; archive_entry_xattr_next(e, &key, &value, &n) == ARCHIVE_OK; i++) {
        if (!key || !keep_xattr(key))
            continue;
        if (i > XATTRS_MAX || n > XATTR_MAX)
            return err_set(err, ERR_TOO_LARGE, "the attributes of \"%s\" are too large", name);
        if (fsetxattr(fd, key, value, n, 0) < 0 && errno != ENOTSUP)
            return err_errno(err, "setting %s of \"%s\"", key, name);
    }
    return 0;
}

static void times_of(struct archive_entry *e, struct timespec t[2])
{
    long ns = archive_entry_mtime_nsec(e);
    t[0] = t[1] = (struct timespec){.tv_sec = archive_entry_mtime(e), .tv_nsec = ns >= 0 && ns < 1000000000L ? ns : 0};
    if (!archive_entry_mtime_is_set(e))
        t[0] = t[1] = (struct timespec){0};
}

static int owner_of(struct archive_entry *e, uid_t *uid, gid_t *gid, const char *name, struct err *err)
{
    la_int64_t u = archive_entry_uid(e), g = archive_entry_gid(e);
    if (u < 0 || g < 0 || u >= UINT32_MAX || g >= UINT32_MAX)
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" belongs to user %lld and group %lld, which cannot be", name, (long long)u,
                       (long long)g);
    *uid = (uid_t)u;
    *gid = (gid_t)g;
    return 0;
}

/* Of an open file or directory. The owner first: changing it takes set-user bits and capabilities away. */
static int set_meta(int fd, struct archive_entry *e, const char *name, struct err *err)
{
    uid_t uid;
    gid_t gid;
    if (owner_of(e, &uid, &gid, name, err) < 0)
        return -1;
    if (fchown(fd, uid, gid) < 0 || fchmod(fd, archive_entry_perm(e) & 07777) < 0)
        return err_errno(err, "owner and mode of \"%s\"", name);
    return set_xattrs(fd, e, name, err);
}

static int set_meta_at(int dir, const char *base, struct archive_entry *e, bool mode, struct err *err)
{
    uid_t uid;
    gid_t gid;
    struct timespec times[2];
    times_of(e, times);
    if (owner_of(e, &uid, &gid, base, err) < 0)
        return -1;
    if (fchownat(dir, base, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        (mode && fchmodat(dir, base, archive_entry_perm(e) & 07777, 0) < 0))
        return err_errno(err, "owner and mode of \"%s\"", base);
    utimensat(dir, base, times, AT_SYMLINK_NOFOLLOW);
    return 0;
}

static int add_file(struct tree *t, struct archive *a, struct archive_entry *e, const char *base, struct err *err)
{
    struct timespec times[2];
    AUTOCLOSE int fd = openat(t->parent, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "making \"%s\" of the image", base);
    times_of(e, times);
    if (write_content(fd, a, base, err) < 0 || set_meta(fd, e, base, err) < 0)
        return -1;
    futimens(fd, times);
    return 0;
}

static int add_dir(struct tree *t, struct archive_entry *e, const char *path, const char *base, bool was_hidden, struct err *err)
{
    if (base && mkdirat(t->parent, base, 0755) < 0 && errno != EEXIST)
        return err_errno(err, "making directory \"%s\" of the image", path);
    AUTOCLOSE int fd = base ? openat(t->parent, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : dup(t->root);
    if (fd < 0)
        return err_errno(err, "opening directory \"%s\" of the image", path);
    if ((was_hidden && make_opaque(fd, err) < 0) || set_meta(fd, e, path, err) < 0)
        return -1;
    if ((t->n_dirs & (t->n_dirs - 1)) == 0)
        t->dirs = xreallocarray(t->dirs, t->n_dirs ? t->n_dirs * 2 : 1, sizeof *t->dirs);
    struct dir_time *d = &t->dirs[t->n_dirs++];
    d->path = xstrdup(path);
    times_of(e, d->times);
    return 0;
}

static int add_hard_link(struct tree *t, const char *target, const char *base, struct err *err)
{
    AUTOFREE char *clean = tree_clean_name(target, err);
    struct stat st;
    if (!clean)
        return -1;
    char *slash = strrchr(clean, '/');
    AUTOFREE char *name = xstrdup(slash ? slash + 1 : clean);
    if (slash)
        *slash = 0;
    AUTOCLOSE int dir = open_in_root(t->root, slash ? clean : "", O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0 || !*name || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is a hard link to \"%s\", which is not in this layer", base, target);
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is a hard link to \"%s\", which is no file", base, target);
    return linkat(dir, name, t->parent, base, 0) < 0 ? err_errno(err, "linking \"%s\" to \"%s\" in the image", base, target) : 0;
}

static int add_other(struct tree *t, struct archive_entry *e, const char *path, const char *base, struct err *err)
{
    const char *target = archive_entry_symlink(e);
    switch (archive_entry_filetype(e)) {
    case AE_IFLNK:
        if (str_empty(target) || strlen(target) >= NAME_MAX_BYTES)
            return err_set(err, ERR_BAD_REQUEST, "\"%s\" is a link to nowhere", path);
        if (symlinkat(target, t->parent, base) < 0)
            return err_errno(err, "making link \"%s\" of the image", path);
        return set_meta_at(t->parent, base, e, false, err);
    case AE_IFIFO:
        if (mknodat(t->parent, base, S_IFIFO | 0600, 0) < 0)
            return err_errno(err, "making \"%s\" of the image", path);
        return set_meta_at(t->parent, base, e, true, err);
    case AE_IFSOCK:
        return 0;
    default:
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is of a kind that no image may have", path);
    }
}

static const char *name_of(struct archive_entry *e)
{
    const char *name = archive_entry_pathname(e);
    return name ? name : archive_entry_pathname_utf8(e);
}

int tree_add(struct tree *t, struct archive *a, struct archive_entry *e, struct err *err)
{
    const char *name = name_of(e), *link = archive_entry_hardlink(e);
    unsigned type = archive_entry_filetype(e);
    if (!name)
        return err_set(err, ERR_BAD_REQUEST, "an entry has no name that can be read");
    AUTOFREE char *path = tree_clean_name(name, err), *base = NULL;
    bool was_hidden, is_dir = type == AE_IFDIR && !link;
    if (!path)
        return -1;
    if (!link && (type == AE_IFCHR || type == AE_IFBLK))
        return str_starts(path, "dev/") ? 0 : err_set(err, ERR_BAD_REQUEST, "\"%s\" is a device, which no image may bring", path);
    if (!*path)
        return is_dir ? add_dir(t, e, path, NULL, false, err)
                      : err_set(err, ERR_BAD_REQUEST, "\"%s\" is no name of a file", name);
    if (enter_parent(t, path, &base, err) < 0)
        return -1;
    if (str_starts(base, ".wh."))
        return add_whiteout(t, base, err);
    /* A hard link to itself would remove what it links to. */
    if (link) {
        AUTOFREE char *target = tree_clean_name(link, err);
        if (!target)
            return -1;
        if (str_eq(target, path))
            return 0;
    }
    if (make_room(t, base, is_dir, &was_hidden, err) < 0)
        return -1;
    if (link)
        return add_hard_link(t, link, base, err);
    if (is_dir)
        return add_dir(t, e, path, base, was_hidden, err);
    if (type == AE_IFREG)
        return add_file(t, a, e, base, err);
    /* The directory that was open may be gone. */
    int rc = add_other(t, e, path, base, err);
    forget_parent(t);
    return rc;
}

int tree_finish(struct tree *t, struct err *err)
{
    for (size_t i = t->n_dirs; i-- > 0;) {
        AUTOCLOSE int fd = open_in_root(t->root, t->dirs[i].path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd >= 0)
            futimens(fd, t->dirs[i].times);
    }
    return 0;
}
