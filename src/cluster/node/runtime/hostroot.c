#include "cluster/node/runtime/hostroot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fs.h"
#include "cluster/node/runtime/rootstock.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { CONFIG_MAX = 65536, SCAN_DEPTH = 24 };

extern char **environ;

struct hostroot {
    char *mask;           /* <dir>/<top> lies in front of /<top> */
    struct strlist tops;  /* "usr", "etc" ...: directories that become overlays */
    struct strlist links; /* "bin" ...: links, made again as they are */
    struct strlist link_to;
    struct strlist paths;                  /* further read-only binds */
    struct strlist envs;                   /* further overlays */
    struct strlist env;                    /* what passes from our environment */
    struct strlist home_files, home_texts; /* "pip" settings of the server's user: path below HOME, content */
};

/* ---- what is seen ------------------------------------------------------------------------------------------------- */

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static bool is_visible(const struct hostroot *h, const char *path)
{
    for (size_t i = 0; i < h->tops.n; i++)
        if (path[0] == '/' && is_below(path + 1, h->tops.v[i]))
            return true;
    for (size_t i = 0; i < h->links.n; i++)
        if (path[0] == '/' && is_below(path + 1, h->links.v[i]))
            return true;
    for (size_t i = 0; i < h->paths.n; i++)
        if (is_below(path, h->paths.v[i]))
            return true;
    for (size_t i = 0; i < h->envs.n; i++)
        if (is_below(path, h->envs.v[i]))
            return true;
    return false;
}

/* Makes a path visible unless it is, or does not exist. Paths that are not plain are left out. */
static void show(struct hostroot *h, const char *path)
{
    if (path[0] != '/' || strpbrk(path, ":,\\") || is_visible(h, path) || !fs_exists(path) || str_eq(path, "/"))
        return;
    static const char *const never[] = {"/proc", "/sys", "/dev", "/run", "/tmp", "/boot"};
    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        if (str_eq(path, never[i])) {
            log_warn("host path %s is not shown to pods: they have their own", path);
            return;
        }
    strlist_add(&h->paths, path);
}

static void find_tops(struct hostroot *h)
{
    static const char *const always[] = {"usr", "etc", "opt", "bin", "sbin"};
    STRLIST(names);
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        strlist_add(&names, always[i]);
    DIR *d = opendir("/");
    for (struct dirent *e; d && (e = readdir(d));)
        if (str_starts(e->d_name, "lib"))
            strlist_add(&names, e->d_name);
    if (d)
        closedir(d);
    for (size_t i = 0; i < names.n; i++) {
        AUTOFREE char *path = fs_join("/", names.v[i]);
        char target[PATH_MAX];
        struct stat st;
        if (lstat(path, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            strlist_add(&h->tops, names.v[i]);
        } else if (S_ISLNK(st.st_mode)) {
            ssize_t n = readlink(path, target, sizeof target - 1);
            if (n <= 0)
                continue;
            target[n] = 0;
            strlist_add(&h->links, names.v[i]);
            strlist_add(&h->link_to, target);
        }
    }
}

/* ---- the mask ------------------------------------------------------------------------------------------------------ */

bool hostroot_is_secret(const char *path)
{
    static const char *const globs[] = {
        "/etc/shadow*",
        "/etc/gshadow*",
        "/etc/ssh",
        "/etc/ssl/private",
        "/etc/sudoers*",
        "/etc/security/opasswd",
        "/etc/*.keytab",
        "/etc/*credentials*",
        "/etc/*.key",
        "/etc/*_key",
        "/etc/docker/key.json",
        "/etc/kubernetes",
        "/etc/rancher",
        "/etc/letsencrypt",
        "/etc/wireguard",
        "/etc/NetworkManager/system-connections",
        "/etc/npmrc",
        "/etc/ipsec.secrets",
        "/etc/ppp",
        "/etc/machine-id.secret",
    };
    for (size_t i = 0; i < ARRAY_LEN(globs); i++)
        if (str_glob(globs[i], path))
            return true;
    return false;
}

/* The directory of the mask that stands for a real one, made with the same mode and owner (an overlay shows those of the mask).
 */
static int mask_dir(const struct hostroot *h, const char *real, struct err *err)
{
    AUTOFREE char *path = xasprintf("%s%s", h->mask, real);
    struct stat st;
    if (fs_exists(path))
        return 0;
    AUTOFREE char *parent = xstrdup(real);
    char *slash = strrchr(parent, '/');
    if (slash && slash != parent) {
        *slash = 0;
        if (mask_dir(h, parent, err) < 0)
            return -1;
    }
    if (stat(real, &st) < 0)
        return err_errno(err, "looking at %s", real);
    if (mkdir(path, 0755) < 0 || chmod(path, st.st_mode & 07777) < 0 || chown(path, st.st_uid, st.st_gid) < 0)
        return err_errno(err, "making %s", path);
    return 0;
}

static int mask_parent(const struct hostroot *h, const char *real, struct err *err)
{
    AUTOFREE char *parent = xstrdup(real);
    *strrchr(parent, '/') = 0;
    return mask_dir(h, parent, err);
}

/* A character device 0:0 in an upper layer hides what is below it. */
static int white_out(const struct hostroot *h, const char *real, struct err *err)
{
    AUTOFREE char *path = xasprintf("%s%s", h->mask, real);
    if (mask_parent(h, real, err) < 0)
        return -1;
    if (mknod(path, S_IFCHR, makedev(0, 0)) < 0 && errno != EEXIST)
        return err_errno(err, "hiding %s from pods", real);
    return 0;
}

/* Hides what not everybody may read: containers run as root, so the mode alone would not keep them out. */
static int hide_secrets(const struct hostroot *h, const char *dir, int depth, struct err *err)
{
    DIR *d = opendir(dir);
    if (!d || depth > SCAN_DEPTH) {
        if (d)
            closedir(d);
        return white_out(h, dir, err);
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
            continue;
        AUTOFREE char *path = fs_join(dir, e->d_name);
        struct stat st;
        if (e->d_type == DT_LNK || (e->d_type == DT_UNKNOWN && lstat(path, &st) == 0 && S_ISLNK(st.st_mode)))
            continue;
        if (stat(path, &st) < 0 || hostroot_is_secret(path) || !(st.st_mode & (S_ISDIR(st.st_mode) ? S_IXOTH : S_IROTH)))
            rc = white_out(h, path, err);
        else if (S_ISDIR(st.st_mode))
            rc = hide_secrets(h, path, depth + 1, err);
    }
    closedir(d);
    return rc;
}

/* Hides EXTERNALLY-MANAGED of each python3.* below dir. */
static int free_pip(const struct hostroot *h, const char *dir, struct err *err)
{
    DIR *d = opendir(dir);
    int rc = 0;
    for (struct dirent *e; d && rc == 0 && (e = readdir(d));) {
        AUTOFREE char *path = xasprintf("%s/%s/EXTERNALLY-MANAGED", dir, e->d_name);
        if (str_starts(e->d_name, "python3") && fs_exists(path))
            rc = white_out(h, path, err);
    }
    if (d)
        closedir(d);
    return rc;
}

static int put_file(const struct hostroot *h, const char *real, struct err *err)
{
    AUTOFREE char *path = xasprintf("%s%s", h->mask, real);
    if (mask_parent(h, real, err) < 0)
        return -1;
    unlink(path);
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    return fd < 0 ? err_errno(err, "making %s", path) : 0;
}

static int make_mask(struct hostroot *h, struct err *err)
{
    if (fs_rm_rf(h->mask, err) < 0 || fs_mkdir_p(h->mask, 0755, err) < 0)
        return -1;
    for (size_t i = 0; i < h->tops.n; i++) {
        AUTOFREE char *real = fs_join("/", h->tops.v[i]);
        if (mask_dir(h, real, err) < 0)
            return -1;
    }
    /* Plain files to mount a pod's own upon: the machine's may be links. */
    static const char *const own[] = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"};
    if (hide_secrets(h, "/etc", 0, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (put_file(h, own[i], err) < 0)
            return -1;
    static const char *const libs[] = {"/usr/lib", "/usr/local/lib", "/usr/lib64"};
    for (size_t i = 0; i < ARRAY_LEN(libs); i++)
        if (free_pip(h, libs[i], err) < 0)
            return -1;
    if (fs_exists("/usr/bin/python3") && !fs_exists("/usr/bin/python")) {
        AUTOFREE char *link = xasprintf("%s/usr/bin/python", h->mask);
        if (mask_dir(h, "/usr/bin", err) < 0)
            return -1;
        if (symlink("python3", link) < 0)
            return err_errno(err, "making %s", link);
    }
    return 0;
}

/* ---- environment --------------------------------------------------------------------------------------------------- */

static bool passes(const char *var)
{
    static const char *const prefixes[] = {"PIP_", "UV_"};
    static const char *const names[] = {"http_proxy",         "https_proxy",    "ftp_proxy",      "all_proxy",
                                        "no_proxy",           "HTTP_PROXY",     "HTTPS_PROXY",    "FTP_PROXY",
                                        "ALL_PROXY",          "NO_PROXY",       "SSL_CERT_FILE",  "SSL_CERT_DIR",
                                        "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"};
    const char *eq = strchr(var, '=');
    if (!eq)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_starts(var, prefixes[i]))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strlen(names[i]) == (size_t)(eq - var) && strncmp(names[i], var, (size_t)(eq - var)) == 0)
            return true;
    return false;
}

static void read_environment(struct hostroot *h)
{
    for (char **e = environ; *e; e++) {
        if (!passes(*e) || !str_utf8_valid(*e, strlen(*e)))
            continue;
        strlist_add(&h->env, *e);
        show(h, strchr(*e, '=') + 1);
    }
    static const char *const files[] = {".config/pip/pip.conf", ".pip/pip.conf", ".config/uv/uv.toml"};
    const char *home = getenv("HOME");
    for (size_t i = 0; home && i < ARRAY_LEN(files); i++) {
        AUTOFREE char *path = fs_join(home, files[i]);
        BUF(b);
        if (fs_read(path, CONFIG_MAX, &b, NULL) == 0) {
            strlist_add(&h->home_files, files[i]);
            strlist_add(&h->home_texts, buf_str(&b));
        }
    }
}

/* A venv is links to the Python it was made from: that one's prefix must be seen too. */
static void add_env(struct hostroot *h, const char *prefix)
{
    AUTOFREE char *python = fs_join(prefix, "bin/python3");
    char real[PATH_MAX];
    strlist_add(&h->envs, prefix);
    /* Scripts of an environment name their Python by its real path. */
    if (realpath(prefix, real) && !str_eq(real, prefix))
        show(h, real);
    if (!realpath(python, real)) {
        log_warn("host environment %s has no bin/python3: is it the prefix of a venv, a conda environment or a version of pyenv?",
                 prefix);
        return;
    }
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(real, '/');
        if (!slash || slash == real)
            return;
        *slash = 0;
    }
    show(h, real);
}

struct hostroot *hostroot_new(const char *dir, const char *const *host_paths, const char *const *host_envs, struct err *err)
{
    struct hostroot *h = xcalloc(1, sizeof *h);
    h->mask = xstrdup(dir);
    find_tops(h);
    for (; host_envs && *host_envs; host_envs++) {
        if ((*host_envs)[0] != '/' || strpbrk(*host_envs, ":,\\") || !fs_is_dir(*host_envs)) {
            err_set(err, ERR_BAD_REQUEST,
                    "host environment \"%s\" is no existing directory with an absolute path without ':', ',' and '\\'",
                    *host_envs);
            hostroot_free(h);
            return NULL;
        }
        add_env(h, *host_envs);
    }
    for (; host_paths && *host_paths; host_paths++) {
        if ((*host_paths)[0] != '/' || strpbrk(*host_paths, ":,\\") || !fs_exists(*host_paths)) {
            err_set(err, ERR_BAD_REQUEST, "host path \"%s\" is no existing absolute path without ':', ',' and '\\'", *host_paths);
            hostroot_free(h);
            return NULL;
        }
        show(h, *host_paths);
    }
    read_environment(h);
    if (make_mask(h, err) < 0) {
        hostroot_free(h);
        return NULL;
    }
    return h;
}

void hostroot_free(struct hostroot *h)
{
    if (!h)
        return;
    free(h->mask);
    strlist_free(&h->tops);
    strlist_free(&h->links);
    strlist_free(&h->link_to);
    strlist_free(&h->paths);
    strlist_free(&h->envs);
    strlist_free(&h->env);
    strlist_free(&h->home_files);
    strlist_free(&h->home_texts);
    free(h);
}

void hostroot_image(const struct hostroot *h, struct image_info *out)
{
    BUF(path);
    BUF(id);
    for (size_t i = 0; i < h->envs.n; i++)
        buf_addf(&path, "%s/bin:", h->envs.v[i]);
    buf_adds(&path, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    *out = (struct image_info){.cwd = xstrdup("/")};
    strlist_addf(&out->env, "PATH=%s", buf_str(&path));
    strlist_add(&out->env, "LANG=C.UTF-8");
    static const char *const marks[][2] = {{"pyvenv.cfg", "VIRTUAL_ENV"}, {"conda-meta", "CONDA_PREFIX"}};
    for (size_t k = 0; k < ARRAY_LEN(marks); k++)
        for (size_t i = 0; i < h->envs.n; i++) {
            AUTOFREE char *mark = fs_join(h->envs.v[i], marks[k][0]);
            if (fs_exists(mark)) {
                strlist_addf(&out->env, "%s=%s", marks[k][1], h->envs.v[i]);
                break;
            }
        }
    for (size_t i = 0; i < h->env.n; i++)
        strlist_add(&out->env, h->env.v[i]);
    if (fs_read("/etc/machine-id", 64, &id, NULL) < 0)
        buf_adds(&id, "unknown");
    while (id.len && id.data[id.len - 1] == '\n')
        id.data[--id.len] = 0;
    out->id = xasprintf("host@%s", buf_str(&id));
}

void hostroot_user(const struct hostroot *h, int64_t uid, char **home, int64_t *gid)
{
    struct passwd pw, *found = NULL;
    char buf[8192];
    *gid = 0;
    if (getpwuid_r((uid_t)uid, &pw, buf, sizeof buf, &found) == 0 && found) {
        *gid = found->pw_gid;
        if (found->pw_dir && str_starts(found->pw_dir, "/") &&
            (str_starts(found->pw_dir, "/home/") || str_eq(found->pw_dir, "/root"))) {
            *home = xstrdup(found->pw_dir);
            return;
        }
    }
    *home = xasprintf("/home/%lld", (long long)uid);
}

char *hostroot_python(const struct hostroot *h)
{
    for (size_t i = 0; i < h->envs.n; i++) {
        AUTOFREE char *p = fs_join(h->envs.v[i], "bin/python3");
        if (access(p, X_OK) == 0)
            return xstrdup(p);
    }
    static const char *const places[] = {"/usr/local/bin/python3", "/usr/bin/python3"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (access(places[i], X_OK) == 0)
            return xstrdup(places[i]);
    return NULL;
}

/* ---- a container's root ---------------------------------------------------------------------------------------------- */

static int make_dir(int root, const char *path, mode_t mode, struct err *err)
{
    if (mkdirat(root, path, mode) < 0 && errno != EEXIST)
        return err_errno(err, "making %s in a container's root", path);
    return fchmodat(root, path, mode, 0) < 0 ? err_errno(err, "making %s in a container's root", path) : 0;
}

/* The user's home, with the server's pip settings; parents are everybody's to pass. */
static int make_home(const struct hostroot *h, int root, int64_t uid, int64_t gid, struct err *err)
{
    AUTOFREE char *home = NULL;
    int64_t own_gid;
    hostroot_user(h, uid, &home, &own_gid);
    for (char *s = home + 1; (s = strchr(s, '/')); s++) {
        *s = 0;
        int rc = make_dir(root, home + 1, 0755, err);
        *s = '/';
        if (rc < 0)
            return -1;
    }
    /* /root stays passable: prefixes below it may be shown to other users as well. */
    if (make_dir(root, home + 1, 0755, err) < 0 || fchownat(root, home + 1, (uid_t)uid, (gid_t)gid, 0) < 0)
        return err_errno(err, "making %s in a container's root", home);
    for (size_t i = 0; i < h->home_files.n; i++) {
        AUTOFREE char *path = fs_join(home + 1, h->home_files.v[i]);
        for (char *s = path + strlen(home); (s = strchr(s, '/')); s++) {
            *s = 0;
            if (mkdirat(root, path, 0755) == 0 && fchownat(root, path, (uid_t)uid, (gid_t)gid, 0) < 0)
                return err_errno(err, "making %s", path);
            *s = '/';
        }
        AUTOCLOSE int fd = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || fchown(fd, (uid_t)uid, (gid_t)gid) < 0)
            return err_errno(err, "making %s in a container's root", path);
        if (fs_write(fd, h->home_texts.v[i], strlen(h->home_texts.v[i]), err) < 0)
            return -1;
    }
    return 0;
}

static int make_skeleton(const struct hostroot *h, int root, struct err *err)
{
    static const struct {
        const char *path;
        mode_t mode;
    } dirs[] = {
        {"proc", 0555},    {"sys", 0555},       {"dev", 0755},     {"run", 0755},       {"tmp", 01777},     {"home", 0755},
        {"root", 0755},    {"srv", 0755},       {"mnt", 0755},     {"media", 0755},     {"var", 0755},      {"var/tmp", 01777},
        {"var/lib", 0755}, {"var/cache", 0755}, {"var/log", 0755}, {"var/spool", 0755}, {"tidemill", 0755},
    };
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        if (make_dir(root, dirs[i].path, dirs[i].mode, err) < 0)
            return -1;
    for (size_t i = 0; i < h->tops.n; i++)
        if (make_dir(root, h->tops.v[i], 0755, err) < 0)
            return -1;
    for (size_t i = 0; i < h->links.n; i++)
        if (symlinkat(h->link_to.v[i], root, h->links.v[i]) < 0 && errno != EEXIST)
            return err_errno(err, "making link %s in a container's root", h->links.v[i]);
    if (symlinkat("/run", root, "var/run") < 0 && errno != EEXIST)
        return err_errno(err, "making link var/run in a container's root");
    return 0;
}

static void add_bind(struct jm *m, jmval *arr, const char *path)
{
    static const char *const options[] = {"rbind", "ro", "nosuid", "nodev"};
    jmval *mount = jm_obj(m), *o = jm_arr(m);
    jm_put(m, mount, "destination", jm_str(m, path));
    jm_put(m, mount, "type", jm_str(m, "bind"));
    jm_put(m, mount, "source", jm_str(m, path));
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        jm_push(o, jm_str(m, options[i]));
    jm_put(m, mount, "options", o);
    jm_push(arr, mount);
}

/* Upper and work directories of one overlay: upper/<n> and work/<n> in dir. */
static int make_layers(const char *dir, size_t n, const char *path, struct err *err)
{
    AUTOFREE char *upper = xasprintf("%s/upper/%zu", dir, n), *work = xasprintf("%s/work/%zu", dir, n);
    struct stat st;
    if (stat(path, &st) < 0)
        return err_errno(err, "looking at %s", path);
    if (mkdir(upper, 0755) < 0 || chmod(upper, st.st_mode & 07777) < 0 || chown(upper, st.st_uid, st.st_gid) < 0 ||
        mkdir(work, 0700) < 0)
        return err_errno(err, "making %s", upper);
    return 0;
}

int hostroot_lay(const struct hostroot *h, const char *dir, struct err *err)
{
    AUTOFREE char *rootfs = fs_join(dir, "rootfs"), *upper = fs_join(dir, "upper"), *work = fs_join(dir, "work");
    if (mkdir(rootfs, 0755) < 0 || mkdir(upper, 0755) < 0 || mkdir(work, 0700) < 0)
        return err_errno(err, "making a container's root in %s", dir);
    AUTOCLOSE int root = open(rootfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_errno(err, "opening %s", rootfs);
    if (make_skeleton(h, root, err) < 0)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < h->tops.n; i++) {
        AUTOFREE char *path = fs_join("/", h->tops.v[i]);
        if (make_layers(dir, n++, path, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < h->envs.n; i++)
        if (make_layers(dir, n++, h->envs.v[i], err) < 0)
            return -1;
    return 0;
}

/* "volatile" spares the sync of the whole disk at unmount: what a container wrote to its root is gone with it anyway. */
static void add_overlay(struct jm *m, jmval *arr, const struct container_spec *spec, size_t n, const char *path, const char *mask)
{
    jmval *mount = jm_obj(m), *o = jm_arr(m);
    jm_put(m, mount, "destination", jm_str(m, path));
    jm_put(m, mount, "type", jm_str(m, "overlay"));
    jm_put(m, mount, "source", jm_str(m, "overlay"));
    jm_push(o, mask ? jm_strf(m, "lowerdir=%s%s:%s", mask, path, path) : jm_strf(m, "lowerdir=%s", path));
    jm_push(o, jm_strf(m, "upperdir=%s/upper/%zu", spec->bundle, n));
    jm_push(o, jm_strf(m, "workdir=%s/work/%zu", spec->bundle, n));
    jm_push(o, jm_str(m, "volatile"));
    if (spec->readonly_root)
        jm_push(o, jm_str(m, "ro"));
    jm_put(m, mount, "options", o);
    jm_push(arr, mount);
}

int hostroot_make(const struct hostroot *h, struct rootstock *stock, const struct container_spec *spec, struct jm *m, jmval *arr,
                  struct err *err)
{
    AUTOFREE char *rootfs = fs_join(spec->bundle, "rootfs");
    int taken = stock ? rootstock_take(stock, spec->bundle, err) : 0;
    if (taken < 0 || (!taken && hostroot_lay(h, spec->bundle, err) < 0))
        return -1;
    AUTOCLOSE int root = open(rootfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_errno(err, "opening %s", rootfs);
    if (make_home(h, root, spec->uid, spec->gid, err) < 0)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < h->tops.n; i++) {
        AUTOFREE char *path = fs_join("/", h->tops.v[i]);
        add_overlay(m, arr, spec, n++, path, h->mask);
    }
    for (size_t i = 0; i < h->paths.n; i++)
        add_bind(m, arr, h->paths.v[i]);
    for (size_t i = 0; i < h->envs.n; i++)
        add_overlay(m, arr, spec, n++, h->envs.v[i], NULL);
    if (fs_is_dir("/var/lib/dpkg"))
        add_bind(m, arr, "/var/lib/dpkg");
    return 0;
}
