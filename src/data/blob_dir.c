/* blob_dir.c - the blob store in a directory: root/bucket/key.
 *
 * Users' containers write into mounted parts of it, so what lies there is not to be trusted: every path is opened beneath the
 * root without following links, and only regular files are read. */
#include <dirent.h>
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
#include "data/blob_priv.h"

#define TEMP_PREFIX ".tmp-"
enum { PIECE = 1 << 20, DEPTH_MAX = 256 };
enum { DIR_MODE = 0755, FILE_MODE = 0644 }; /* the root is 0700; below it, containers with other user ids read */

struct dir {
    int root; /* O_PATH would do, but fsync needs more */
    char *path;
};

/* ---- names ---------------------------------------------------------------------------------------------------- */

/* Names were checked. key "" is the bucket itself. Caller frees. */
static char *rel_path(const char *bucket, const char *key) { return *key ? fs_join(bucket, key) : xstrdup(bucket); }

static int open_error(struct err *err, const char *rel)
{
    if (errno == ELOOP || errno == EXDEV)
        return err_set(err, ERR_INVALID, "artifact %s: there is a symbolic link on the way, which is not followed", rel);
    return err_errno_asked(err, "artifact %s", rel);
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

static int dir_stat(void *self, const struct ctx *ctx, const char *bucket, const char *key, struct blob_info *out,
                    struct err *err)
{
    const struct dir *s = self;
    AUTOFREE char *rel = rel_path(bucket, key);
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

static int open_file(const struct dir *s, const char *rel, struct stat *st, struct err *err)
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

static int dir_get(void *self, const struct ctx *ctx, const char *bucket, const char *key, int64_t offset, int64_t length,
                   blob_sink_fn *sink, void *to, struct err *err)
{
    AUTOFREE char *rel = rel_path(bucket, key);
    struct stat st;
    AUTOCLOSE int fd = open_file(self, rel, &st, err);
    if (fd < 0)
        return -1;
    int64_t left = st.st_size > offset ? st.st_size - offset : 0;
    if (length >= 0 && length < left)
        left = length;
    AUTOFREE char *piece = xmalloc(PIECE);
    while (left > 0) {
        if (ctx_check(ctx, err) < 0)
            return -1;
        ssize_t n = pread(fd, piece, left < PIECE ? (size_t)left : PIECE, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "artifact %s: reading", rel);
        if (n == 0)
            break; /* it became shorter meanwhile */
        if (sink(to, piece, (size_t)n, err) < 0)
            return -1;
        offset += n;
        left -= n;
    }
    return 0;
}

static int dir_open(void *self, const char *bucket, const char *key, int *fd, struct err *err)
{
    AUTOFREE char *rel = rel_path(bucket, key);
    struct stat st;
    *fd = open_file(self, rel, &st, err);
    return *fd < 0 ? -1 : 0;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static int write_temp(int dir, const char *temp, const struct ctx *ctx, blob_source_fn *source, void *from, struct err *err)
{
    AUTOCLOSE int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (fd < 0)
        return err_errno(err, "creating a file");
    AUTOFREE char *piece = xmalloc(PIECE);
    for (;;) {
        ssize_t n = source(from, piece, PIECE, err);
        if (n < 0 || ctx_check(ctx, err) < 0)
            return -1;
        if (n == 0)
            break;
        if (fs_write(fd, piece, (size_t)n, err) < 0)
            return -1;
    }
    return fsync(fd) < 0 ? err_errno(err, "fsync") : 0;
}

static int dir_put(void *self, const struct ctx *ctx, const char *bucket, const char *key, blob_source_fn *source, void *from,
                   struct err *err)
{
    const struct dir *s = self;
    AUTOFREE char *rel = rel_path(bucket, key);
    AUTOFREE char *work = xstrdup(rel);
    const char *last, *parent = split_parent(work, &last);
    AUTOCLOSE int dir = beneath_mkdirs(s->root, parent, DIR_MODE);
    if (dir < 0)
        return open_error(err, rel);
    char temp[32] = TEMP_PREFIX;
    random_hex(temp + strlen(TEMP_PREFIX), 8);
    FAULT("blob.write.before_rename");
    if (write_temp(dir, temp, ctx, source, from, err) < 0 ||
        (renameat(dir, temp, dir, last) < 0 && err_errno(err, "rename") < 0)) {
        unlinkat(dir, temp, 0);
        return err_wrap(err, "writing artifact %s", rel);
    }
    return fsync(dir) < 0 ? err_errno(err, "writing artifact %s: fsync", rel) : 0;
}

static int dir_remove(void *self, const struct ctx *ctx, const char *bucket, const char *key, struct err *err)
{
    const struct dir *s = self;
    AUTOFREE char *rel = rel_path(bucket, key);
    AUTOFREE char *work = xstrdup(rel);
    const char *last, *parent = split_parent(work, &last);
    AUTOCLOSE int dir = beneath_open(s->root, parent, O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0)
        return errno == ENOENT ? 0 : open_error(err, rel);
    /* Through the open directory, so that nobody can turn a parent into a link between the check and the removal. */
    AUTOFREE char *place = xasprintf("/proc/self/fd/%d/%s", dir, last);
    return fs_rm_rf(place, err) < 0 ? err_wrap(err, "removing artifact %s", rel) : 0;
}

static char *dir_as_path(void *self, const char *bucket, const char *key, bool create, struct err *err)
{
    const struct dir *s = self;
    AUTOFREE char *rel = rel_path(bucket, key);
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

/* ---- listing -------------------------------------------------------------------------------------------------- */

/* A walk in the order of strcmp over whole keys is not that of directories ("a.b" comes between "a" and "a/b"); any order will do
 * as long as it is always the same: names within a directory, depth first. The token is the last key of the page before. */
struct walk {
    const struct ctx *ctx;
    const char *after; /* NULL once it has been passed */
    size_t max;
    struct blob_page *page;
    bool full;
    int depth;
};

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int keep_name(const struct dirent *d)
{
    return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 && !str_starts(d->d_name, TEMP_PREFIX);
}

/* Where the token lies: compared part by part, as the walk goes. < 0: key comes before it. */
static int walk_order(const char *key, const char *after)
{
    while (*key && *key == *after)
        key++, after++;
    int a = *key == '/' ? 1 : (unsigned char)*key + (*key ? 1 : 0),
        b = *after == '/' ? 1 : (unsigned char)*after + (*after ? 1 : 0);
    return a - b;
}

static int walk_dir(struct walk *w, int dir, const char *prefix, struct err *err);

static int visit(struct walk *w, int dir, const char *name, const char *prefix, struct err *err)
{
    AUTOFREE char *key = *prefix ? fs_join(prefix, name) : xstrdup(name);
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_errno(err, "artifact %s", key);
    if (S_ISDIR(st.st_mode)) {
        AUTOCLOSE int below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return below < 0 ? 0 : walk_dir(w, below, key, err);
    }
    if (!S_ISREG(st.st_mode) || (w->after && walk_order(key, w->after) <= 0))
        return 0;
    if (w->page->n == w->max) {
        w->full = true;
        w->page->next = xstrdup(w->page->v[w->max - 1].key);
        return 0;
    }
    blob_page_add(w->page, TAKE(key), st.st_size);
    return 0;
}

static int walk_dir(struct walk *w, int dir, const char *prefix, struct err *err)
{
    struct dirent **names = NULL;
    if (ctx_check(w->ctx, err) < 0)
        return -1;
    if (++w->depth > DEPTH_MAX)
        return err_set(err, ERR_INVALID, "artifact %.100s...: directories are nested more than %d deep", prefix, DEPTH_MAX);
    int n = scandirat(dir, ".", &names, keep_name, by_name), rc = n < 0 ? err_errno(err, "artifact %s", prefix) : 0;
    for (int i = 0; i < n; i++) {
        if (rc == 0 && !w->full)
            rc = visit(w, dir, names[i]->d_name, prefix, err);
        free(names[i]);
    }
    free(names);
    w->depth--;
    return rc;
}

static int dir_list(void *self, const struct ctx *ctx, const char *bucket, const char *prefix, const char *token, size_t max,
                    struct blob_page *out, struct err *err)
{
    const struct dir *s = self;
    AUTOFREE char *rel = rel_path(bucket, prefix);
    AUTOCLOSE int fd = beneath_open(s->root, rel, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    struct stat st;
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        return open_error(err, rel);
    if (S_ISREG(st.st_mode) && !token)
        blob_page_add(out, xstrdup(prefix), st.st_size);
    if (!S_ISDIR(st.st_mode))
        return 0;
    struct walk w = {.ctx = ctx, .after = token, .max = max, .page = out};
    return walk_dir(&w, fd, prefix, err);
}

/* ---- opening -------------------------------------------------------------------------------------------------- */

static void dir_free(void *self)
{
    struct dir *s = self;
    close(s->root);
    free(s->path);
    free(s);
}

static const struct blob_ops ops = {.stat = dir_stat,
                                    .get = dir_get,
                                    .put = dir_put,
                                    .remove = dir_remove,
                                    .list = dir_list,
                                    .as_path = dir_as_path,
                                    .open = dir_open,
                                    .remove_tree = dir_remove,
                                    .free = dir_free};

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
    struct dir *s = xcalloc(1, sizeof *s);
    *s = (struct dir){.root = fd, .path = TAKE(real)};
    struct blob_store *b = xcalloc(1, sizeof *b);
    *b = (struct blob_store){.ops = &ops, .self = s, .root = s->path, .local = true};
    return b;
}
