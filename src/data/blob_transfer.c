/* blob_transfer.c - trees between a store and this machine, several files at a time. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/thread.h"
#include "data/beneath.h"
#include "data/blob_crypto.h"
#include "data/blob_priv.h"

enum { WORKERS = 8, FILES_MAX = 1000000, DEPTH_MAX = 128, PIECE = 1 << 20 };

/* One file: a key in the store, and a path relative to the top directory. */
struct item {
    char *key, *rel;
    int64_t size;
};
struct job {
    struct blob_store *store;
    const struct ctx *ctx;
    const char *bucket;
    int top;         /* directory that the paths are relative to */
    const char *dir; /* its path, for messages */
    struct item *items;
    size_t n;
    struct blob_transfer *t;
    int (*one)(struct job *j, const struct item *i, struct err *err);
    pthread_mutex_t lock; /* guards next, err, t->bytes, t->files, calls of t->progress */
    size_t next;
    struct err err;
};

static void add_item(struct job *j, char *key, char *rel, int64_t size)
{
    if ((j->n & (j->n + 1)) == 0) /* grows by doubling: n is 2^k - 1 */
        j->items = xreallocarray(j->items, 2 * j->n + 2, sizeof *j->items);
    j->items[j->n++] = (struct item){key, rel, size};
}

static void clear_items(struct job *j)
{
    for (size_t i = 0; i < j->n; i++) {
        free(j->items[i].key);
        free(j->items[i].rel);
    }
    free(TAKE(j->items));
    j->n = j->next = 0;
}

static void moved(struct job *j, int64_t bytes, int64_t files)
{
    LOCK_GUARD(&j->lock);
    j->t->bytes += bytes;
    j->t->files += files;
    if (j->t->progress)
        j->t->progress(j->t->self, j->t->bytes, j->t->files);
}

static const struct item *next_item(struct job *j)
{
    LOCK_GUARD(&j->lock);
    return j->err.code || j->next >= j->n ? NULL : &j->items[j->next++];
}

static void *work(void *arg)
{
    struct job *j = arg;
    const struct item *i;
    while ((i = next_item(j))) {
        ERR(e);
        if (j->one(j, i, &e) == 0) {
            moved(j, 0, 1);
            continue;
        }
        LOCK_GUARD(&j->lock);
        if (!j->err.code)
            err_move(&j->err, &e);
    }
    return NULL;
}

/* All items; the first error ends it. */
static int run_job(struct job *j, struct err *err)
{
    unsigned n = j->t->workers ? j->t->workers : WORKERS;
    if (n > j->n)
        n = (unsigned)j->n;
    if (n <= 1) {
        work(j);
    } else {
        AUTOFREE pthread_t *threads = xcalloc(n, sizeof *threads);
        for (unsigned i = 0; i < n; i++)
            threads[i] = thread_start("transfer", work, j);
        for (unsigned i = 0; i < n; i++)
            pthread_join(threads[i], NULL);
    }
    return j->err.code ? err_move(err, &j->err) : 0;
}

/* ---- from the store ------------------------------------------------------------------------------------------- */

struct landing {
    struct job *j;
    int fd;
};

static int land(void *self, const void *p, size_t n, struct err *err)
{
    struct landing *l = self;
    if (fs_write(l->fd, p, n, err) < 0)
        return -1;
    moved(l->j, (int64_t)n, 0);
    return 0;
}

/* The name of an unfinished file says which object it is part of. */
static char *part_name(const char *last, const struct blob_info *info)
{
    AUTOFREE char *what = xasprintf("%s %lld", info->etag, (long long)info->size);
    unsigned char d[BLOB_SHA256_SIZE];
    blob_digest(BLOB_SHA256, what, strlen(what), d);
    AUTOFREE char *hex = hex_encode(d, 6);
    return xasprintf("%.200s.%s.part", last, hex);
}

static int fill(struct job *j, const struct item *i, int fd, int64_t size, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(err, "%s", i->rel);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s/%s: something that is no file is in the way", j->dir, i->rel);
    int64_t have = st.st_size;
    if (have > size || lseek(fd, have, SEEK_SET) < 0) {
        have = 0;
        if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
            return err_errno(err, "%s", i->rel);
    }
    struct landing l = {j, fd};
    if (have < size && blob_get(j->store, j->ctx, j->bucket, i->key, have, -1, land, &l, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0 || st.st_size != size)
        return err_set(err, ERR_IO, "%s has %lld bytes here, and %lld in the store: it was replaced meanwhile", i->rel,
                       (long long)st.st_size, (long long)size);
    return 0;
}

static int download_one(struct job *j, const struct item *i, struct err *err)
{
    struct blob_info info;
    if (j->store->ops->stat(j->store->self, j->ctx, j->bucket, i->key, &info, err) < 0)
        return -1;
    const char *slash = strrchr(i->rel, '/'), *last = slash ? slash + 1 : i->rel;
    AUTOFREE char *parent = slash ? xstrndup(i->rel, (size_t)(slash - i->rel)) : xstrdup(".");
    AUTOCLOSE int dir = beneath_mkdirs(j->top, parent, 0755);
    if (dir < 0)
        return err_errno(err, "%s/%s", j->dir, parent);
    AUTOFREE char *part = part_name(last, &info);
    AUTOCLOSE int fd = openat(dir, part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, "%s/%s", j->dir, i->rel);
    if (fill(j, i, fd, info.size, err) < 0)
        return -1;
    if (renameat(dir, part, dir, last) < 0)
        return err_errno(err, "%s/%s", j->dir, i->rel);
    return 0;
}

/* Keys come from outside, and become paths. */
static int add_key(struct job *j, const char *prefix, struct blob_entry *e, struct err *err)
{
    size_t n = strlen(prefix), len = strlen(e->key);
    const char *rel = e->key + n + (n > 0 && e->key[n] == '/');
    if (len > 0 && e->key[len - 1] == '/') /* what consoles leave to show an empty folder */
        return 0;
    if (!*rel)
        return 0;
    if (beneath_check(rel, "key", err) < 0)
        return err_wrap(err, "%s/%s cannot become a file", j->bucket, e->key);
    if (j->n >= FILES_MAX)
        return err_set(err, ERR_TOO_LARGE, "%s/%s has more than %d files", j->bucket, prefix, FILES_MAX);
    add_item(j, xstrdup(e->key), xstrdup(rel), e->size);
    return 0;
}

static int download_tree(struct job *j, const char *key, struct err *err)
{
    AUTOFREE char *token = NULL;
    int rc = 0;
    do {
        struct blob_page page;
        if (blob_list(j->store, j->ctx, j->bucket, key, token, 0, &page, err) < 0)
            return -1;
        for (size_t i = 0; i < page.n && rc == 0; i++)
            rc = add_key(j, key, &page.v[i], err);
        free(token);
        token = TAKE(page.next);
        blob_page_clear(&page);
        if (rc == 0)
            rc = run_job(j, err); /* a page at a time, so that memory does not grow with the tree */
        clear_items(j);
    } while (rc == 0 && token);
    return rc;
}

/* The directory dir, or dir/below: what lies below dir is not to be trusted then, and no link is followed there. */
static int open_top(struct job *j, const char *dir, const char *below, struct err *err)
{
    if (fs_mkdir_p(dir, 0755, err) < 0)
        return -1;
    j->dir = dir;
    j->top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (j->top < 0 || !below)
        return j->top < 0 ? err_errno(err, "%s", dir) : 0;
    AUTOCLOSE int outer = j->top;
    j->top = beneath_mkdirs(outer, below, 0755);
    if (j->top < 0 && errno == ELOOP)
        return err_set(err, ERR_INVALID, "%s/%s: there is a symbolic link on the way, which is not followed", dir, below);
    return j->top < 0 ? err_errno(err, "%s/%s", dir, below) : 0;
}

static char *parent_of(const char *path, const char **last)
{
    const char *slash = strrchr(path, '/');
    *last = slash ? slash + 1 : path;
    return slash == path ? xstrdup("/") : slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
}

static void job_init(struct job *j, struct blob_store *s, const struct ctx *ctx, const char *bucket, struct blob_transfer *t)
{
    *j = (struct job){.store = s, .ctx = ctx, .bucket = bucket, .top = -1, .t = t};
    t->bytes = t->files = 0;
    ASSERT(pthread_mutex_init(&j->lock, NULL) == 0);
}

static void job_clear(struct job *j)
{
    clear_items(j);
    base_closep(&j->top);
    err_clear(&j->err);
    pthread_mutex_destroy(&j->lock);
}

static int download(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const char *root,
                    const char *path, struct blob_transfer *t, struct err *err)
{
    struct blob_transfer own = {0};
    struct job j;
    struct blob_info info;
    if (blob_stat(s, ctx, bucket, key, &info, err) < 0)
        return -1;
    job_init(&j, s, ctx, bucket, t ? t : &own);
    j.one = download_one;
    const char *last;
    AUTOFREE char *parent = parent_of(path, &last);
    const char *top = info.is_dir ? path : parent;
    int rc = root ? open_top(&j, root, top, err) : open_top(&j, top, NULL, err);
    if (rc == 0 && info.is_dir) {
        rc = download_tree(&j, key, err);
    } else if (rc == 0) {
        add_item(&j, xstrdup(key), xstrdup(last), info.size);
        rc = run_job(&j, err);
    }
    job_clear(&j);
    return rc < 0 ? err_wrap(err, "bringing %s/%s to %s", bucket, key, path) : 0;
}

int blob_download(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const char *path,
                  struct blob_transfer *t, struct err *err)
{
    return download(s, ctx, bucket, key, NULL, path, t, err);
}

int blob_download_beneath(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const char *root,
                          const char *path, struct blob_transfer *t, struct err *err)
{
    return beneath_check(path, "path", err) < 0 ? -1 : download(s, ctx, bucket, key, root, path, t, err);
}

/* ---- to the store --------------------------------------------------------------------------------------------- */

struct sending {
    struct job *j;
    int fd;
};

static ssize_t give_file(void *self, void *p, size_t n, struct err *err)
{
    struct sending *s = self;
    ssize_t got;
    do
        got = read(s->fd, p, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_errno(err, "reading");
    moved(s->j, got, 0);
    return got;
}

static int upload_one(struct job *j, const struct item *i, struct err *err)
{
    AUTOCLOSE int fd = openat(j->top, i->rel, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, "%s/%s", j->dir, i->rel);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s/%s is no file any more", j->dir, i->rel);
    struct sending s = {j, fd};
    return blob_put(j->store, j->ctx, j->bucket, i->key, give_file, &s, err);
}

/* Does what a link names lie below the top directory? */
static bool stays_below(const struct job *j, const char *rel)
{
    char top[PATH_MAX], real[PATH_MAX];
    AUTOFREE char *path = fs_join(j->dir, rel);
    if (!realpath(j->dir, top) || !realpath(path, real))
        return false;
    size_t n = strlen(top);
    return strncmp(real, top, n) == 0 && (real[n] == '/' || n == 1);
}

static int find_files(struct job *j, const char *key, const char *rel, int depth, struct err *err);

static int found(struct job *j, const char *key, const char *rel, int depth, struct err *err)
{
    struct stat st;
    if (fstatat(j->top, rel, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_errno(err, "%s/%s", j->dir, rel);
    if (S_ISLNK(st.st_mode) && (!stays_below(j, rel) || fstatat(j->top, rel, &st, 0) < 0))
        return 0;
    if (S_ISDIR(st.st_mode))
        return find_files(j, key, rel, depth + 1, err);
    if (!S_ISREG(st.st_mode))
        return 0;
    if (j->n >= FILES_MAX)
        return err_set(err, ERR_TOO_LARGE, "%s has more than %d files", j->dir, FILES_MAX);
    add_item(j, fs_join(key, rel), xstrdup(rel), st.st_size);
    return 0;
}

static int find_files(struct job *j, const char *key, const char *rel, int depth, struct err *err)
{
    if (depth > DEPTH_MAX)
        return err_set(err, ERR_INVALID, "%s: directories are nested more than %d deep, or a link leads back", j->dir, DEPTH_MAX);
    int fd = openat(j->top, rel, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        base_closep(&fd);
        return err_errno(err, "%s/%s", j->dir, rel);
    }
    const struct dirent *e;
    int rc = 0;
    while (rc == 0 && (e = readdir(d))) {
        if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
            continue;
        AUTOFREE char *next = str_eq(rel, ".") ? xstrdup(e->d_name) : fs_join(rel, e->d_name);
        rc = found(j, key, next, depth, err);
    }
    closedir(d);
    return rc;
}

int blob_upload(struct blob_store *s, const struct ctx *ctx, const char *bucket, const char *key, const char *path,
                struct blob_transfer *t, struct err *err)
{
    struct blob_transfer own = {0};
    struct stat st;
    struct job j;
    if (stat(path, &st) < 0)
        return err_errno(err, "%s", path);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is neither a file nor a directory", path);
    job_init(&j, s, ctx, bucket, t ? t : &own);
    j.one = upload_one;
    const char *last;
    AUTOFREE char *parent = parent_of(path, &last);
    j.dir = S_ISDIR(st.st_mode) ? path : parent;
    j.top = open(j.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = j.top < 0 ? err_errno(err, "%s", j.dir) : 0;
    if (rc == 0 && S_ISDIR(st.st_mode))
        rc = find_files(&j, key, ".", 0, err);
    else if (rc == 0)
        add_item(&j, xstrdup(key), xstrdup(last), st.st_size);
    if (rc == 0)
        rc = run_job(&j, err);
    job_clear(&j);
    return rc < 0 ? err_wrap(err, "sending %s to %s/%s", path, bucket, key) : 0;
}
