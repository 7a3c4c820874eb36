#include "cluster/node/runtime/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"

#define LOG_ROOM "node-helper"
#include "base/log.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
enum { PATIENCE_US = 10000000, LOOK_EVERY_US = 2000 };

const char *cgroup_mode_name(enum cgroup_mode m) { return m == CGROUP_V1 ? "v1" : m == CGROUP_V2 ? "v2" : "none"; }

bool cgroup_mode_parse(const char *name, enum cgroup_mode *out)
{
    for (enum cgroup_mode m = CGROUP_NONE; m <= CGROUP_V2; m++)
        if (str_eq(name, cgroup_mode_name(m))) {
            *out = m;
            return true;
        }
    return false;
}

static bool file_has_text(const char *path)
{
    BUF(b);
    if (fs_read(path, 65536, &b, NULL) < 0)
        return false;
    return b.len && strspn(buf_str(&b), " \n") < b.len;
}

/* Whether a group can be made below dir. */
static bool writable(const char *dir)
{
    AUTOFREE char *probe = xasprintf("%s/tidemill-probe-%d", dir, (int)getpid());
    if (mkdir(probe, 0755) < 0)
        return false;
    rmdir(probe);
    return true;
}

static const struct {
    unsigned bit;
    const char *name;
} known[] = {{CGROUP_MEMORY, "memory"}, {CGROUP_CPU, "cpu"}, {CGROUP_PIDS, "pids"}};

const char *cgroup_names(unsigned set, char buf[32])
{
    *buf = 0;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (set & known[i].bit)
            snprintf(buf + strlen(buf), 32 - strlen(buf), "%s%s", *buf ? ", " : "", known[i].name);
    return buf;
}

static unsigned controllers_v1(void)
{
    unsigned set = 0;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        AUTOFREE char *dir = fs_join(CGROUP_ROOT, known[i].name);
        struct statfs s;
        if (statfs(dir, &s) == 0 && s.f_type == CGROUP_SUPER_MAGIC)
            set |= known[i].bit;
    }
    return set;
}

static unsigned controllers_v2(void)
{
    BUF(b);
    STRLIST(words);
    unsigned set = 0;
    if (fs_read(CGROUP_ROOT "/cgroup.controllers", 4096, &b, NULL) < 0)
        return 0;
    while (b.len && b.data[b.len - 1] == '\n')
        b.data[--b.len] = 0;
    str_split(buf_str(&b), ' ', &words);
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strlist_has(&words, known[i].name))
            set |= known[i].bit;
    return set;
}

static void detect_v1(struct cgroup_info *out, bool unmount_unified)
{
    const char *extra = "";
    if (file_has_text(CGROUP_ROOT "/unified/cgroup.controllers")) {
        extra = ", hybrid with a controller in unified: unmounted in the node's own mount namespace";
        if (unmount_unified && umount2(CGROUP_ROOT "/unified", MNT_DETACH) < 0) {
            snprintf(out->detail, sizeof out->detail,
                     "hybrid hierarchy with a controller in unified, which cannot be unmounted: %s", strerror(errno));
            return;
        }
    }
    if (!fs_is_dir(CGROUP_ROOT "/memory") || !fs_is_dir(CGROUP_ROOT "/cpu")) {
        snprintf(out->detail, sizeof out->detail, "no memory and cpu hierarchies below " CGROUP_ROOT);
        return;
    }
    if (!writable(CGROUP_ROOT "/memory")) {
        snprintf(out->detail, sizeof out->detail, CGROUP_ROOT "/memory cannot be written");
        return;
    }
    out->mode = CGROUP_V1;
    out->controllers = controllers_v1();
    out->swap_limit = fs_exists(CGROUP_ROOT "/memory/memory.memsw.limit_in_bytes");
    snprintf(out->detail, sizeof out->detail, "cgroup v1%s", extra);
}

void cgroup_detect(struct cgroup_info *out, bool unmount_unified)
{
    struct statfs s;
    *out = (struct cgroup_info){.mode = CGROUP_NONE};
    if (statfs(CGROUP_ROOT, &s) < 0) {
        snprintf(out->detail, sizeof out->detail, "no " CGROUP_ROOT ": %s", strerror(errno));
    } else if (s.f_type == CGROUP2_SUPER_MAGIC) {
        if (!writable(CGROUP_ROOT)) {
            snprintf(out->detail, sizeof out->detail, CGROUP_ROOT " (v2) cannot be written");
            return;
        }
        char missing[32];
        unsigned all = CGROUP_MEMORY | CGROUP_CPU | CGROUP_PIDS;
        out->mode = CGROUP_V2;
        out->controllers = controllers_v2();
        snprintf(out->detail, sizeof out->detail, "cgroup v2%s%s", out->controllers == all ? "" : " without ",
                 cgroup_names(all & ~out->controllers, missing));
    } else if (s.f_type == TMPFS_MAGIC) {
        detect_v1(out, unmount_unified);
    } else {
        snprintf(out->detail, sizeof out->detail, CGROUP_ROOT " is no cgroup file system");
    }
}

/* Calls fn for the root directory of each hierarchy that is mounted (in v2 there is one), also after one that failed; the first
 * failure is told. */
static int each_hierarchy(int (*fn)(const char *dir, const char *arg, struct err *err), const char *arg, struct err *err)
{
    struct statfs s;
    if (statfs(CGROUP_ROOT, &s) < 0)
        return 0;
    if (s.f_type == CGROUP2_SUPER_MAGIC)
        return fn(CGROUP_ROOT, arg, err);
    DIR *d = opendir(CGROUP_ROOT);
    if (!d)
        return 0;
    ERR(first);
    struct dirent *e;
    while ((e = readdir(d))) {
        ERR(now);
        AUTOFREE char *dir = fs_join(CGROUP_ROOT, e->d_name);
        if (e->d_name[0] == '.' || e->d_type == DT_LNK || statfs(dir, &s) < 0)
            continue;
        if (s.f_type == CGROUP_SUPER_MAGIC || s.f_type == CGROUP2_SUPER_MAGIC)
            if (fn(dir, arg, &now) < 0 && !first.code)
                err_move(&first, &now);
    }
    closedir(d);
    return first.code ? err_move(err, &first) : 0;
}

static int write_text(const char *path, const char *text)
{
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

/* A new cpuset group of v1 has no processors until they are written; crun does so for its own. */
static void cpuset_inherit(const char *root, const char *dir)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        BUF(b);
        AUTOFREE char *from = fs_join(root, files[i]), *to = fs_join(dir, files[i]);
        if (fs_read(from, 4096, &b, NULL) == 0 && !file_has_text(to))
            write_text(to, buf_str(&b));
    }
}

/* A process in the root group of a hierarchy shares its fate with nobody: moving it would only cost time. */
static bool in_root_group(const char *hierarchy_dir)
{
    const char *name = strrchr(hierarchy_dir, '/') + 1;
    BUF(b);
    STRLIST(lines);
    if (fs_read("/proc/self/cgroup", 65536, &b, NULL) < 0)
        return false;
    str_split(buf_str(&b), '\n', &lines);
    for (size_t i = 0; i < lines.n; i++) {
        const char *controllers = strchr(lines.v[i], ':');
        const char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        AUTOFREE char *list = xstrndup(controllers + 1, (size_t)(path - controllers - 1));
        const char *shown = str_starts(list, "name=") ? list + 5 : *list ? list : "unified";
        if (str_eq(shown, name))
            return str_eq(path + 1, "/");
    }
    return false;
}

void cgroup_hide(void)
{
    if (mount("tmpfs", CGROUP_ROOT, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, "size=4k") < 0)
        log_warn("an empty " CGROUP_ROOT " for crun: %s", strerror(errno));
}

char *cgroup_own_procs(void)
{
    BUF(b);
    STRLIST(lines);
    struct statfs fs;
    if (fs_read("/proc/self/cgroup", 65536, &b, NULL) < 0)
        return NULL;
    bool unified = statfs(CGROUP_ROOT, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
    str_split(buf_str(&b), '\n', &lines);
    for (size_t i = 0; i < lines.n; i++) {
        const char *controllers = strchr(lines.v[i], ':');
        const char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        AUTOFREE char *list = xstrndup(controllers + 1, (size_t)(path - controllers - 1));
        AUTOFREE char *file = xasprintf(CGROUP_ROOT "/%s%s/cgroup.procs", unified ? "" : list, path + 1);
        if ((unified ? !*list : *list && !strchr(list, '=')) && access(file, W_OK) == 0)
            return TAKE(file);
    }
    return NULL;
}

int cgroup_stir(const char *own_procs, struct err *err)
{
    return write_text(own_procs, "0") < 0 ? err_errno(err, "writing %s", own_procs) : 0;
}

static int enter_one(const char *dir, const char *instance, struct err *err)
{
    AUTOFREE char *top = fs_join(dir, instance), *helper = fs_join(top, "helper");
    AUTOFREE char *procs = fs_join(helper, "cgroup.procs");
    if (in_root_group(dir))
        return 0;
    if ((mkdir(top, 0755) < 0 && errno != EEXIST) || (mkdir(helper, 0755) < 0 && errno != EEXIST))
        return err_errno(err, "making control group %s", helper);
    if (str_ends(dir, "/cpuset")) {
        cpuset_inherit(dir, top);
        cpuset_inherit(top, helper);
    }
    return write_text(procs, "0") < 0 ? err_errno(err, "moving into control group %s", helper) : 0;
}

/* A group of v2 has the controllers that the group above hands down. One that cannot be had is found missing here. */
static void hand_down(struct cgroup_info *info, const char *dir)
{
    AUTOFREE char *file = fs_join(dir, "cgroup.subtree_control");
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        char word[16];
        snprintf(word, sizeof word, "+%s", known[i].name);
        if ((info->controllers & known[i].bit) && write_text(file, word) < 0)
            info->controllers &= ~known[i].bit;
    }
}

int cgroup_enter(struct cgroup_info *info, const char *instance, struct err *err)
{
    if (info->mode == CGROUP_NONE)
        return 0;
    if (each_hierarchy(enter_one, instance, err) < 0)
        return -1;
    if (info->mode == CGROUP_V2) {
        AUTOFREE char *top = fs_join(CGROUP_ROOT, instance), *swap = fs_join(top, "memory.swap.max");
        hand_down(info, CGROUP_ROOT);
        hand_down(info, top);
        info->swap_limit = fs_exists(swap);
    }
    return 0;
}

/* What is left of the time that stragglers have to end, in all groups of one removal together. The helper has one thread. */
static int patience_us;

/* Groups nest at most a few levels (what a workload made in its own is below its container's). */
static int remove_tree(const char *dir, int depth, struct err *err)
{
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : err_errno(err, "opening control group %s", dir);
    struct dirent *e;
    int rc = 0;
    while (rc == 0 && (e = readdir(d)))
        if (e->d_type == DT_DIR && e->d_name[0] != '.' && depth < 16) {
            AUTOFREE char *below = fs_join(dir, e->d_name);
            rc = remove_tree(below, depth + 1, err);
        }
    closedir(d);
    if (rc < 0)
        return -1;
    /* The kernel lets go of a group a moment after its last process was reaped; and what the helper started for a container
     * (conmon) ends a moment after that, which a busy machine may draw out. */
    for (; rmdir(dir) < 0; patience_us -= LOOK_EVERY_US) {
        if (errno == ENOENT)
            return 0;
        if (errno != EBUSY || patience_us <= 0)
            return err_errno(err, "removing control group %s", dir);
        usleep(LOOK_EVERY_US);
    }
    return 0;
}

static int leave_one(const char *dir, const char *path, struct err *err)
{
    AUTOFREE char *group = fs_join(dir, path), *helper = fs_join(group, "helper"), *own = fs_join(helper, "cgroup.procs");
    AUTOFREE char *root = fs_join(dir, "cgroup.procs");
    BUF(b);
    if (fs_read(own, 65536, &b, NULL) == 0 && b.len)
        write_text(root, "0");
    return remove_tree(group, 0, err);
}

int cgroup_remove(const char *path, struct err *err)
{
    patience_us = PATIENCE_US;
    return each_hierarchy(leave_one, path, err);
}
