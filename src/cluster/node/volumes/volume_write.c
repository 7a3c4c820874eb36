#include "cluster/node/volumes/volume_write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/str.h"

enum { DEPTH_MAX = 32 };

void volume_files_add(struct volume_files *f, const char *path, const void *data, size_t len, mode_t mode)
{
    f->v = xreallocarray(f->v, f->n + 1, sizeof *f->v);
    f->v[f->n++] = (struct volume_file){.path = xstrdup(path), .data = xmemdup(data, len), .len = len, .mode = mode, .uid = -1};
}

void volume_files_free(struct volume_files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->v[i].path);
        free(f->v[i].data);
    }
    free(f->v);
    *f = (struct volume_files){0};
}

/* Relative, no empty part, no "..", nothing that is the volume's own ("..data"). */
static bool path_ok(const char *path)
{
    STRLIST(parts);
    str_split(path, '/', &parts);
    for (size_t i = 0; i < parts.n; i++)
        if (!*parts.v[i] || str_eq(parts.v[i], ".") || str_starts(parts.v[i], "..") || strlen(parts.v[i]) > 255)
            return false;
    return parts.n <= DEPTH_MAX;
}

static int remove_at(int dir, const char *name, int depth)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    int fd = depth < DEPTH_MAX + 2 ? openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    for (struct dirent *e; (e = readdir(d));)
        if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
            remove_at(fd, e->d_name, depth + 1);
    closedir(d);
    return unlinkat(dir, name, AT_REMOVEDIR);
}

static bool same_file(int data, const struct volume_file *f)
{
    AUTOCLOSE int fd = openat(data, f->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || (size_t)st.st_size != f->len || (st.st_mode & 07777) != f->mode)
        return false;
    AUTOFREE char *now = xmalloc(f->len + 1);
    size_t got = 0;
    for (ssize_t n; got < f->len && (n = read(fd, now + got, f->len - got)) > 0;)
        got += (size_t)n;
    return got == f->len && memcmp(now, f->data, f->len) == 0;
}

static size_t count_files(int dir, int depth)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    size_t n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
            continue;
        AUTOCLOSE int sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        n += sub >= 0 && depth < DEPTH_MAX ? count_files(sub, depth + 1) : 1;
    }
    if (d)
        closedir(d);
    return n;
}

static bool unchanged(int dir, const struct volume_files *files)
{
    AUTOCLOSE int data = openat(dir, "..data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (data < 0)
        return false;
    for (size_t i = 0; i < files->n; i++)
        if (!same_file(data, &files->v[i]))
            return false;
    return count_files(data, 0) == files->n;
}

static int write_one(int set, const struct volume_file *f, int64_t gid, struct err *err)
{
    AUTOFREE char *path = xstrdup(f->path);
    for (char *s = path; (s = strchr(s, '/')); *s++ = '/') {
        *s = 0;
        if (mkdirat(set, path, 0755) < 0 && errno != EEXIST)
            return err_errno(err, "making %s in a volume", path);
    }
    AUTOCLOSE int fd = openat(set, f->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "making %s in a volume", f->path);
    if (fs_write(fd, f->data, f->len, err) < 0)
        return -1;
    if ((gid >= 0 || f->uid >= 0) && fchown(fd, (uid_t)f->uid, (gid_t)gid) < 0)
        return err_errno(err, "giving %s to its group", f->path);
    return fchmod(fd, f->mode) < 0 ? err_errno(err, "setting the mode of %s", f->path) : 0;
}

/* Entries are the first parts of the paths. */
static bool is_entry(const struct volume_files *files, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < files->n; i++)
        if (strncmp(files->v[i].path, name, n) == 0 && (files->v[i].path[n] == 0 || files->v[i].path[n] == '/'))
            return true;
    return false;
}

static int link_entries(int dir, const struct volume_files *files, struct err *err)
{
    for (size_t i = 0; i < files->n; i++) {
        AUTOFREE char *entry = xstrndup(files->v[i].path, strcspn(files->v[i].path, "/"));
        AUTOFREE char *target = xasprintf("..data/%s", entry);
        if (symlinkat(target, dir, entry) < 0 && errno != EEXIST)
            return err_errno(err, "making link %s in a volume", entry);
    }
    return 0;
}

/* What is neither an entry nor the set in use: links of keys that went, older sets. */
static void sweep(int dir, const struct volume_files *files, const char *set)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, "..") && !str_eq(e->d_name, "..data") && !str_eq(e->d_name, set) &&
            !is_entry(files, e->d_name))
            remove_at(fd, e->d_name, 0);
    if (d)
        closedir(d);
}

int volume_write(int dir, const struct volume_files *files, int64_t gid, struct err *err)
{
    for (size_t i = 0; i < files->n; i++)
        if (!path_ok(files->v[i].path))
            return err_set(err, ERR_PRECONDITION, "\"%s\" is no path inside a volume", files->v[i].path);
    if (unchanged(dir, files))
        return 0;
    char hex[17], stamp[40], set[64];
    time_t now = time(NULL);
    struct tm tm;
    strftime(stamp, sizeof stamp, "..%Y_%m_%d_%H_%M_%S", gmtime_r(&now, &tm));
    snprintf(set, sizeof set, "%s.%s", stamp, random_hex(hex, 5));
    if (mkdirat(dir, set, 0755) < 0)
        return err_errno(err, "making a volume's files");
    AUTOCLOSE int fd = openat(dir, set, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "opening a volume's files");
    for (size_t i = 0; i < files->n; i++)
        if (write_one(fd, &files->v[i], gid, err) < 0) {
            remove_at(dir, set, 0);
            return -1;
        }
    remove_at(dir, "..data_tmp", 0);
    if (symlinkat(set, dir, "..data_tmp") < 0 || renameat(dir, "..data_tmp", dir, "..data") < 0)
        return err_errno(err, "swapping a volume's files");
    if (link_entries(dir, files, err) < 0)
        return -1;
    sweep(dir, files, set);
    return 0;
}
