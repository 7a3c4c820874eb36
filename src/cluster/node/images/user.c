#include "cluster/node/images/user.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { FILE_MAX = 4 << 20 };

void image_user_free(struct image_user *u)
{
    strlist_free(&u->groups);
    free(u->home);
    *u = (struct image_user){0};
}

static int open_in(int root, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

static bool read_some(int fd, size_t max, struct buf *out)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    while (out->len < max) {
        buf_reserve(out, 65536);
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        out->len += (size_t)n;
        out->data[out->len] = 0;
    }
    return true;
}

/* 1: read; 0: look below; -1: it is not there. */
static int look_in(const char *layer, const char *dir, const char *name, size_t max, struct buf *out)
{
    AUTOFREE char *path = xasprintf("%s/%s", dir, name);
    char opaque = 0;
    struct stat st;
    AUTOCLOSE int root = open(layer, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTOCLOSE int above = root < 0 ? -1 : open_in(root, dir, O_RDONLY | O_DIRECTORY);
    if (above < 0) {
        AUTOCLOSE int any = root < 0 ? -1 : open_in(root, dir, O_PATH);
        return any >= 0 ? -1 : 0; /* something else is in the directory's place: a whiteout */
    }
    if (fstatat(above, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        AUTOCLOSE int fd = S_ISREG(st.st_mode) || S_ISLNK(st.st_mode) ? open_in(root, path, O_RDONLY | O_NONBLOCK) : -1;
        return fd >= 0 && read_some(fd, max, out) ? 1 : -1;
    }
    return fgetxattr(above, "user.overlay.opaque", &opaque, 1) == 1 && opaque == 'y' ? -1 : 0;
}

bool image_file_read(const struct strlist *layers, const char *dir, const char *name, size_t max, struct buf *out)
{
    for (size_t i = layers->n; i-- > 0;) {
        int found = look_in(layers->v[i], dir, name, max, out);
        if (found)
            return found > 0;
    }
    return false;
}

/* The first line whose field `at` is key; its fields. */
static bool find_line(const struct buf *text, size_t at, const char *key, size_t min, struct strlist *fields)
{
    STRLIST(lines);
    str_split(buf_str(text), '\n', &lines);
    for (size_t i = 0; i < lines.n; i++) {
        STRLIST(f);
        str_split(lines.v[i], ':', &f);
        if (f.n >= min && str_eq(f.v[at], key)) {
            *fields = f;
            f = (struct strlist){0};
            return true;
        }
    }
    return false;
}

static bool is_id(const char *s, int64_t *id) { return *s >= '0' && *s <= '9' && str_to_i64(s, id) && *id < UINT32_MAX; }

static void find_groups(const struct buf *group, const char *name, struct image_user *out)
{
    STRLIST(lines);
    str_split(buf_str(group), '\n', &lines);
    for (size_t i = 0; i < lines.n; i++) {
        STRLIST(f);
        STRLIST(members);
        int64_t id;
        str_split(lines.v[i], ':', &f);
        if (f.n < 4 || !is_id(f.v[2], &id))
            continue;
        str_split(f.v[3], ',', &members);
        if (strlist_has(&members, name) && !strlist_has(&out->groups, f.v[2]))
            strlist_add(&out->groups, f.v[2]);
    }
}

int image_user_find(const struct strlist *layers, const char *user, struct image_user *out, struct err *err)
{
    BUF(passwd);
    BUF(group);
    STRLIST(fields);
    STRLIST(group_fields);
    AUTOFREE char *name = xstrndup(str_empty(user) ? "0" : user, strcspn(str_empty(user) ? "0" : user, ":"));
    const char *wanted = strchr(user ? user : "", ':');
    *out = (struct image_user){0};
    image_file_read(layers, "etc", "passwd", FILE_MAX, &passwd);
    image_file_read(layers, "etc", "group", FILE_MAX, &group);
    bool numeric = is_id(name, &out->uid), known = find_line(&passwd, numeric ? 2 : 0, name, 6, &fields);
    if (!known && !numeric)
        return err_set(err, ERR_PRECONDITION, "unable to find user %s: no matching entries in passwd file", name);
    if (known && (!is_id(fields.v[2], &out->uid) || !is_id(fields.v[3], &out->gid)))
        return err_set(err, ERR_PRECONDITION, "the image's passwd file has no numbers for user %s", name);
    if (known)
        find_groups(&group, fields.v[0], out);
    out->home = xstrdup(known && fields.v[5][0] == '/' ? fields.v[5] : "/");
    if (!wanted || !wanted[1])
        return 0;
    strlist_free(&out->groups);
    if (is_id(wanted + 1, &out->gid))
        return 0;
    if (!find_line(&group, 0, wanted + 1, 3, &group_fields) || !is_id(group_fields.v[2], &out->gid)) {
        image_user_free(out);
        return err_set(err, ERR_PRECONDITION, "unable to find group %s: no matching entries in group file", wanted + 1);
    }
    return 0;
}
