/* place.c - see place.h. */
#include "cli/place.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"

#define RUN_FILE        "run.json"
#define KUBECONFIG_FILE "kubeconfig"

void caller_find(struct caller *c)
{
    int64_t uid, gid;
    *c = (struct caller){.uid = getuid(), .gid = getgid()};
    const char *su = getenv("SUDO_UID"), *sg = getenv("SUDO_GID");
    if (c->uid == 0 && su && sg && str_to_i64(su, &uid) && str_to_i64(sg, &gid) && uid > 0) {
        c->uid = (uid_t)uid;
        c->gid = (gid_t)gid;
        c->sudo = true;
    }
    struct passwd *pw = getpwuid(c->uid);
    const char *home = c->sudo ? NULL : getenv("HOME");
    c->name = pw ? xstrdup(pw->pw_name) : xasprintf("uid-%u", (unsigned)c->uid);
    c->home = xstrdup(!str_empty(home) ? home : pw ? pw->pw_dir : "");
}

void caller_clear(struct caller *c)
{
    free(c->name);
    free(c->home);
}

char *place_data_dir(const char *given, struct err *err)
{
    if (given) {
        if (*given == '/')
            return xstrdup(given);
        AUTOFREE char *cwd = getcwd(NULL, 0);
        if (!cwd) {
            err_errno(err, "current directory");
            return NULL;
        }
        return fs_join(cwd, given);
    }
    if (getuid() == 0)
        return xstrdup("/var/lib/tidemill");
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (!str_empty(xdg))
        return fs_join(xdg, "tidemill");
    if (str_empty(home)) {
        err_set(err, ERR_BAD_REQUEST, "HOME is not set: say where the data is with --data DIR");
        return NULL;
    }
    return fs_join(home, ".local/share/tidemill");
}

/* A run file whose process is alive, else NULL with the reason. */
static struct json *read_run_file(const char *dir, struct err *err)
{
    AUTOFREE char *path = fs_join(dir, RUN_FILE);
    BUF(text);
    if (fs_read(path, 65536, &text, err) < 0)
        return NULL;
    struct json *d = json_parse(text.data, text.len, NULL, err);
    int64_t pid = jv_i64_or(jv_get(json_root(d), "pid"), 0);
    if (d && (pid <= 0 || (kill((pid_t)pid, 0) < 0 && errno == ESRCH))) {
        err_set(err, ERR_NOT_FOUND, "tidemill (process %lld, data directory %s) is no longer running", (long long)pid, dir);
        json_unref(d);
        return NULL;
    }
    return d;
}

struct json *place_run_file(const char *data_dir, struct err *err)
{
    ERR(e);
    if (data_dir) {
        struct json *d = read_run_file(data_dir, &e);
        if (!d)
            err_set(err, ERR_NOT_FOUND, "no tidemill runs on data directory %s (%s): start it with 'tidemill up --data %s'",
                    data_dir, err_text(&e), data_dir);
        return d;
    }
    const char *home = getenv("HOME");
    AUTOFREE char *own = str_empty(home) ? NULL : fs_join(home, ".tidemill");
    AUTOFREE char *dflt = place_data_dir(NULL, &e);
    const char *const places[] = {own, dflt, "/var/lib/tidemill"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct json *d = places[i] ? read_run_file(places[i], &e) : NULL;
        if (d)
            return d;
    }
    err_set(err, ERR_NOT_FOUND,
            "no running tidemill was found: start it with 'tidemill up', or say where it is with --url or --data");
    return NULL;
}

static int give(const char *path, const struct caller *who, struct err *err)
{
    return who->sudo && chown(path, who->uid, who->gid) < 0 ? err_errno(err, "giving %s to %s", path, who->name) : 0;
}

/* ~/.tidemill of the caller of sudo, made and owned by that user. NULL when there is none to make. */
static char *caller_dir(const struct caller *who, struct err *err)
{
    if (!who->sudo || str_empty(who->home) || !fs_is_dir(who->home))
        return NULL;
    char *dir = fs_join(who->home, ".tidemill");
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        err_errno(err, "%s", dir);
    else if (give(dir, who, err) == 0)
        return dir;
    free(dir);
    return NULL;
}

static int put_file(const char *dir, const char *name, const char *text, const struct caller *who, struct err *err)
{
    AUTOFREE char *path = fs_join(dir, name);
    if (fs_write_atomic(path, text, strlen(text), 0600, err) < 0)
        return -1;
    return who ? give(path, who, err) : 0;
}

int place_publish(const struct place_run *run, const struct caller *who, const char *kubeconfig_text, const char *extra,
                  char **kubeconfig_path, struct err *err)
{
    AUTOFREE char *own = caller_dir(who, NULL);
    if (kubeconfig_text) {
        if (put_file(run->data_dir, KUBECONFIG_FILE, kubeconfig_text, NULL, err) < 0)
            return -1;
        if (own && put_file(own, KUBECONFIG_FILE, kubeconfig_text, who, err) < 0)
            return -1;
        *kubeconfig_path = fs_join(own ? own : run->data_dir, KUBECONFIG_FILE);
    }
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    jm_put(m, o, "pid", jm_i64(m, run->pid));
    jm_put(m, o, "url", jm_str(m, run->url));
    jm_put(m, o, "kubernetes", jm_str(m, run->kubernetes));
    if (kubeconfig_text)
        jm_put(m, o, "kubeconfig", jm_str(m, *kubeconfig_path));
    jm_put(m, o, "data", jm_str(m, run->data_dir));
    BUF(ready);
    BUF(text);
    jmv_write(o, JW_COMPACT, &ready);
    buf_addc(&ready, '\n');
    if (run->artifacts_dir)
        jm_put(m, o, "artifacts", jm_str(m, run->artifacts_dir));
    jmv_write(o, JW_COMPACT, &text);
    buf_addc(&text, '\n');
    if (put_file(run->data_dir, RUN_FILE, text.data, NULL, err) < 0 || (own && put_file(own, RUN_FILE, text.data, who, err) < 0))
        return -1;
    if (extra && (fs_write_atomic(extra, ready.data, ready.len, 0600, err) < 0 || give(extra, who, err) < 0))
        return err_wrap(err, "--ready-file");
    return 0;
}

void place_unpublish(const char *data_dir, const struct caller *who, pid_t pid)
{
    AUTOFREE char *own = caller_dir(who, NULL);
    const char *const dirs[] = {data_dir, own};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        if (!dirs[i])
            continue;
        AUTOFREE char *path = fs_join(dirs[i], RUN_FILE);
        BUF(text);
        if (fs_read(path, 65536, &text, NULL) < 0)
            continue;
        JSON_REF(d) = json_parse(text.data, text.len, NULL, NULL);
        if (jv_i64_or(jv_get(json_root(d), "pid"), 0) == pid)
            unlink(path);
    }
}
