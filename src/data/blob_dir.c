/* blob_dir.c - the blob store in a directory: root/bucket/key.
 *
 * Users' containers write into mounted parts of it, so what lies there is not to be trusted: every path is opened beneath the
 * root without following links, and only regular files are read. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/str.h"
#include "data/beneath.h"
#include "data/blob.h"

enum { DIR_MODE = 0755, FILE_MODE = 0644 }; /* the root is 0700; below it, containers with other user ids read */

struct blob_store {
    int root; /* O_PATH would do, but fsync needs more */
    char *path;
};

struct blob_store *blob_store_dir(const char *root, struct err *err)
{
    if (fs_mkdir_p(root, 0700, err) < 0)
        return NULL;
    AUTOFREE char *real = realpath(root, NULL);
    if (!real) {
        err_errno(err, "artifact store %s", root);
        return NULL;
    }
    int fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        err_errno(err, "artifact store %s", real);
        return NULL;
    }
    struct blob_store *s = xcalloc(1, sizeof *s);
    s->root = fd;
    s->path = TAKE(real);
    return s;
}

void blob_store_free(struct blob_store *s)
{
    if (!s)
        return;
    close(s->root);
    free(s->path);
    free(s);
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

/* "bucket/key", checked. Caller frees. key "" is the bucket itself where allowed. */
static char *rel_path(const char *bucket, const char *key, bool whole_bucket, struct err *err)
{
    if (strchr(bucket, '/')) {
        err_set(err, ERR_INVALID, "bucket \"%s\" has a slash", bucket);
        return NULL;
    }
    if (beneath_check(bucket, "bucket", err) < 0)
        return NULL;
    if (!*key && whole_bucket)
        return xstrdup(bucket);
    if (beneath_check(key, "key", err) < 0)
        return NULL;
    return fs_join(bucket, key);
}

static int open_error(struct err *err, const char *rel)
{
    if (errno == ELOOP || errno == EXDEV)
        return err_set(err, ERR_INVALID, "artifact %s: there is a symbolic link on the way, which is not followed", rel);
    return err_errno(err, "artifact %s", rel);
}

/* Splits off the last part in place; the parent ("." for none) is the return value. */
static const char *split_parent(char *rel, const char **last)
{
    char *slash = strrchr(rel, '/');
    if (!slash) {
        *last = rel;
        return ".";
    }
    *slash = '\0';
    *last = slash + 1;
    return rel;
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

int blob_stat(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, struct blob_info *out,
              struct err *err)
{
    AUTOFREE char *rel = rel_path(bucket, key, true, err);
    if (!rel || ctx_check(ctx, err) < 0)
        return -1;
    AUTOCLOSE int fd = beneath_open(s->root, rel, O_PATH | O_NOFOLLOW, 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return open_error(err, rel);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "artifact %s is neither a file nor a directory", rel);
    *out = (struct blob_info){
        .size = S_ISREG(st.st_mode) ? st.st_size : 0,
        .mtime_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec,
        .is_dir = S_ISDIR(st.st_mode),
    };
    return 0;
}

static int open_file(struct blob_store *s, const char *rel, struct stat *st, struct err *err)
{
    /* O_NONBLOCK: opening a FIFO that somebody left there must not wait. */
    AUTOCLOSE int fd = beneath_open(s->root, rel, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0 || fstat(fd, st) < 0)
        return open_error(err, rel);
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_INVALID, "artifact %s is not a file", rel);
    int out = fd;
    fd = -1;
    return out;
}

static int read_range(int fd, int64_t offset, size_t want, const struct ctx *ctx, struct buf *out, struct err *err)
{
    size_t got = 0;
    while (got < want) {
        if (ctx_check(ctx, err) < 0)
            return -1;
        size_t piece = want - got < (1U << 20) ? want - got : 1U << 20;
        buf_reserve(out, piece);
        ssize_t n = pread(fd, out->data + out->len, piece, offset + (int64_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "reading");
        if (n == 0)
            break; /* it became shorter meanwhile */
        out->len += (size_t)n;
        out->data[out->len] = '\0';
        got += (size_t)n;
    }
    return 0;
}

int blob_read(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, int64_t offset, int64_t length,
              size_t max, struct buf *out, struct err *err)
{
    AUTOFREE char *rel = rel_path(bucket, key, false, err);
    struct stat st;
    if (!rel)
        return -1;
    AUTOCLOSE int fd = open_file(s, rel, &st, err);
    if (fd < 0)
        return -1;
    if (offset < 0 || length < -1)
        return err_set(err, ERR_INVALID, "artifact %s: no range starts at %lld and has %lld bytes", rel, (long long)offset,
                       (long long)length);
    int64_t left = st.st_size > offset ? st.st_size - offset : 0;
    if (length >= 0 && length < left)
        left = length;
    if ((uint64_t)left > max)
        return err_set(err, ERR_TOO_LARGE, "artifact %s: %lld bytes asked for, at most %zu are read at once", rel,
                       (long long)left, max);
    if (read_range(fd, offset, (size_t)left, ctx, out, err) < 0)
        return err_wrap(err, "artifact %s", rel);
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static int write_temp(int dir, const char *temp, const void *p, size_t n, struct err *err)
{
    AUTOCLOSE int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (fd < 0)
        return err_errno(err, "creating a file");
    if (fs_write(fd, p, n, err) < 0)
        return -1;
    return fsync(fd) < 0 ? err_errno(err, "fsync") : 0;
}

int blob_write(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const void *p, size_t n,
               struct err *err)
{
    AUTOFREE char *rel = rel_path(bucket, key, false, err);
    if (!rel || ctx_check(ctx, err) < 0)
        return -1;
    AUTOFREE char *work = xstrdup(rel);
    const char *last, *parent = split_parent(work, &last);
    AUTOCLOSE int dir = beneath_mkdirs(s->root, parent, DIR_MODE);
    if (dir < 0)
        return open_error(err, rel);
    char temp[32] = ".tmp-";
    random_hex(temp + 5, 8);
    FAULT("blob.write.before_rename");
    if (write_temp(dir, temp, p, n, err) < 0 || (renameat(dir, temp, dir, last) < 0 && err_errno(err, "rename") < 0)) {
        unlinkat(dir, temp, 0);
        return err_wrap(err, "writing artifact %s", rel);
    }
    return fsync(dir) < 0 ? err_errno(err, "writing artifact %s: fsync", rel) : 0;
}

int blob_delete(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, struct err *err)
{
    AUTOFREE char *rel = rel_path(bucket, key, true, err);
    if (!rel || ctx_check(ctx, err) < 0)
        return -1;
    AUTOFREE char *work = xstrdup(rel);
    const char *last, *parent = split_parent(work, &last);
    AUTOCLOSE int dir = beneath_open(s->root, parent, O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0)
        return errno == ENOENT ? 0 : open_error(err, rel);
    /* Through the open directory, so that nobody can turn a parent into a link between the check and the removal. */
    AUTOFREE char *place = xasprintf("/proc/self/fd/%d/%s", dir, last);
    return fs_rm_rf(place, err) < 0 ? err_wrap(err, "removing artifact %s", rel) : 0;
}

char *blob_as_path(struct blob_store *s, const char *bucket, const char *key, bool create, struct err *err)
{
    AUTOFREE char *rel = rel_path(bucket, key, true, err);
    if (!rel)
        return NULL;
    AUTOFREE char *work = xstrdup(rel);
    const char *last, *parent = split_parent(work, &last);
    AUTOCLOSE int dir =
        create ? beneath_mkdirs(s->root, parent, DIR_MODE) : beneath_open(s->root, parent, O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0 && (create || errno != ENOENT)) {
        open_error(err, rel);
        return NULL;
    }
    struct stat st;
    if (dir >= 0 && fstatat(dir, last, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
        errno = ELOOP;
        open_error(err, rel);
        return NULL;
    }
    return fs_join(s->path, rel);
}
