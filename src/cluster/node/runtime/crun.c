/* The runtime on crun and conmon, through the helper process.
 *
 *   <node>/instance             our name on this machine and the pods' range, made once
 *   <node>/host/<random>        the mask of image host (hostroot.h), one for each life of the node
 *   <node>/stock                roots of containers made ahead (rootstock.h)
 *   <node>/ns/mnt               the pinned mount namespace (helper_mount.h)
 *   <node>/net, ipc/<name>      pinned namespaces of pods (podnet.h)
 *   <node>/run/crun             crun's own state
 *   <node>/run/exits/<id>       exit code, put there by conmon through a rename; the proof of an exit
 *   <bundle>/config.json, rootfs, upper, work
 *   <bundle>/procs              pid and start time of the workload's first process and of conmon, ours
 *   <bundle>/pid, conmon.pid, ctl, oom    conmon's
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/thread.h"
#include "cluster/node/helper/proc.h"
#include "cluster/node/images/ref.h"
#include "cluster/node/network/service_claim.h"
#include "cluster/node/node.h"
#include "cluster/node/runtime/crun_priv.h"
#include "cluster/node/runtime/rootstock.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { ID_LEN = 64, AHEAD_PAUSE_US = 30000 };

/* ---- making one ------------------------------------------------------------------------------------------------------ */

static char *find_program(const char *name)
{
    static const char *const dirs[] = {"/usr/bin",        "/usr/local/bin", "/usr/sbin",
                                       "/usr/local/sbin", "/bin",           "/usr/libexec/podman"};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        AUTOFREE char *path = fs_join(dirs[i], name);
        if (access(path, X_OK) == 0)
            return TAKE(path);
    }
    return NULL;
}

/* Name and range are kept: what an earlier run made must be found again. */
static int instance_load(struct crun *c, const char *cidr, char **range, struct err *err)
{
    AUTOFREE char *path = fs_join(c->node_dir, "instance");
    BUF(b);
    STRLIST(lines);
    if (fs_read(path, 4096, &b, NULL) == 0) {
        str_split(buf_str(&b), '\n', &lines);
        if (lines.n < 2 || !str_starts(lines.v[0], "tm") || strlen(lines.v[0]) != 10)
            return err_set(err, ERR_PRECONDITION, "%s is damaged: it should hold a name and a network", path);
        c->instance = xstrdup(lines.v[0]);
        *range = xstrdup(cidr ? cidr : lines.v[1]);
        range_claim(SERVICE_CLAIMS_DIR, "pods", *range, &c->range_hold);
        if (str_eq(*range, lines.v[1]))
            return 0;
    } else {
        char hex[9];
        c->instance = xasprintf("tm%s", random_hex(hex, 4));
        *range = cidr ? xstrdup(cidr) : podnet_choose_cidr(c->instance, SERVICE_CLAIMS_DIR, &c->range_hold);
        if (!*range)
            return err_set(err, ERR_CONFLICT,
                           "every /16 between 10.64.0.0 and 10.191.0.0 is in use on this machine; choose one with --pod-cidr");
    }
    AUTOFREE char *text = xasprintf("%s\n%s\n", c->instance, *range);
    return fs_write_atomic(path, text, strlen(text), 0600, err);
}

static void copy_list(struct strlist *out, const char *const *v)
{
    for (; v && *v; v++)
        strlist_add(out, *v);
}

static int services(struct runtime *r, const char *rules, struct err *err)
{
    return podnet_services(crun_of(r)->net, rules, err);
}

static const struct runtime_ops crun_ops;

static void crun_free(struct crun *c)
{
    free(c->node_dir);
    free(c->root_arg);
    free(c->crun_root);
    free(c->exits);
    free(c->instance);
    free(c->crun);
    free(c->crun_run);
    if (c->sealed > 0)
        close(c->sealed);
    free(c->conmon);
    free(c->version);
    strlist_free(&c->host_images);
    strlist_free(&c->host_paths);
    strlist_free(&c->host_envs);
    json_unref(c->seccomp);
    seccomp_cache_free(c->compiled);
    rootstock_free(c->stock);
    hostroot_free(c->root);
    if (c->wake >= 0)
        close(c->wake);
    service_claim_drop(c->range_hold);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

struct runtime *runtime_crun_new(const struct node_config *cfg, struct err *err)
{
    struct service_range services;
    if (service_range_parse(cfg->service_cidr, &services, err) < 0)
        return NULL;
    struct crun *c = xcalloc(1, sizeof *c);
    AUTOFREE char *range = NULL;
    c->base.ops = &crun_ops;
    c->wake = c->range_hold = -1;
    c->compiled = seccomp_cache_new();
    pthread_mutex_init(&c->lock, NULL);
    c->node_dir = fs_join(cfg->data_dir, "node");
    c->crun_root = fs_join(c->node_dir, "run/crun");
    c->root_arg = xasprintf("--root=%s", c->crun_root);
    c->exits = fs_join(c->node_dir, "run/exits");
    copy_list(&c->host_images, cfg->host_images);
    copy_list(&c->host_paths, cfg->host_paths);
    copy_list(&c->host_envs, cfg->host_envs);
    if (fs_mkdir_p(c->crun_root, 0700, err) < 0 || fs_mkdir_p(c->exits, 0700, err) < 0 ||
        instance_load(c, cfg->pod_cidr, &range, err) < 0) {
        crun_free(c);
        return NULL;
    }
    c->helper = helper_new(&(struct helper_config){.argv = cfg->helper_argv, .node_dir = c->node_dir, .instance = c->instance});
    c->net = podnet_new(&(struct podnet_config){.helper = c->helper,
                                                .node_dir = c->node_dir,
                                                .instance = c->instance,
                                                .cidr = range,
                                                .services = services,
                                                .reach_metadata = cfg->pods_reach_metadata,
                                                .kube_addr = cfg->kube_addr,
                                                .front_addr = cfg->front_addr},
                        err);
    if (!c->net) {
        helper_free(c->helper);
        crun_free(c);
        return NULL;
    }
    return &c->base;
}

char *runtime_crun_gateway(struct runtime *r) { return xstrdup(podnet_gateway(crun_of(r)->net)); }
bool runtime_crun_has_services(struct runtime *r) { return podnet_has_services(crun_of(r)->net); }
char *runtime_crun_instance(struct runtime *r) { return xstrdup(crun_of(r)->instance); }

/* ---- exits -------------------------------------------------------------------------------------------------------------- */

static bool is_id(const char *s) { return strlen(s) == ID_LEN && strspn(s, "0123456789abcdef") == ID_LEN; }

static void *watch_exits(void *arg)
{
    struct crun *c = arg;
    AUTOCLOSE int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0 || inotify_add_watch(fd, c->exits, IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
        log_error("watching %s: %s; ends of containers are seen late", c->exits, strerror(errno));
        return NULL;
    }
    for (;;) {
        struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = c->wake, .events = POLLIN}};
        char events[16384] __attribute__((aligned(8)));
        if (poll(p, ARRAY_LEN(p), -1) < 0 && errno != EINTR)
            return NULL;
        if (p[1].revents)
            return NULL;
        ssize_t n = read(fd, events, sizeof events);
        for (char *at = events; n > 0 && at < events + n;) {
            struct inotify_event e;
            memcpy(&e, at, sizeof e);
            const char *name = at + sizeof e;
            if (e.len && is_id(name) && c->base.exited)
                c->base.exited(c->base.self, name);
            at += sizeof e + e.len;
        }
    }
}

/* ---- ready ---------------------------------------------------------------------------------------------------------------- */

/* crun runs from a sealed copy of itself, so that no container can write to the program that made it (CVE-2019-5736). It makes
 * that copy at each start unless it finds itself in one already: made once, here. Without it (an old kernel, no memory) crun does
 * as it always does. */
static void seal_program(struct crun *c)
{
    struct stat st;
    AUTOCLOSE int from = open(c->crun, O_RDONLY | O_CLOEXEC);
    AUTOCLOSE int to = memfd_create("crun", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    off_t at = 0;
    if (from < 0 || to < 0 || fstat(from, &st) < 0)
        return;
    while (at < st.st_size)
        if (sendfile(to, from, &at, (size_t)(st.st_size - at)) <= 0)
            return;
    if (fchmod(to, 0755) < 0 || fcntl(to, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return;
    free(c->crun_run);
    if (c->sealed > 0)
        close(c->sealed);
    c->sealed = to;
    to = -1;
    c->crun_run = xasprintf("/proc/%d/fd/%d", (int)getpid(), c->sealed);
}

static int check_programs(struct crun *c, struct err *err)
{
    static const struct {
        const char *name, *package;
    } needed[] = {{"crun", "crun"}, {"conmon", "conmon"}, {"nft", "nftables"}};
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        AUTOFREE char *path = find_program(needed[i].name);
        if (!path)
            return err_set(err, ERR_PRECONDITION, "%s not found; install package %s", needed[i].name, needed[i].package);
        if (i == 0 && !c->crun)
            c->crun = TAKE(path);
        else if (i == 1 && !c->conmon)
            c->conmon = TAKE(path);
    }
    seal_program(c);
    if (!c->crun_run)
        c->crun_run = xstrdup(c->crun);
    return 0;
}

/* "crun version 1.8.1": asked of the program itself, once. */
static char *crun_version(const char *path)
{
    AUTOFREE char *cmd = xasprintf("%s --version", path);
    char line[128] = "";
    FILE *f = popen(cmd, "re");
    if (f) {
        if (!fgets(line, sizeof line, f))
            line[0] = 0;
        pclose(f);
    }
    line[strcspn(line, "\n")] = 0;
    return xasprintf("crun://%s", str_starts(line, "crun version ") ? line + strlen("crun version ") : "unknown");
}

static void load_seccomp(struct crun *c)
{
    static const char *const places[] = {"/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json"};
    for (size_t i = 0; i < ARRAY_LEN(places) && !c->seccomp; i++) {
        BUF(b);
        ERR(e);
        if (fs_read(places[i], 1 << 20, &b, NULL) < 0)
            continue;
        c->seccomp = json_parse(b.data, b.len, NULL, &e);
        if (!c->seccomp)
            log_warn("seccomp profile %s: %s", places[i], err_text(&e));
    }
    if (!c->seccomp)
        log_warn("no seccomp profile in %s or %s: containers run without a filter of system calls; install package "
                 "golang-github-containers-common",
                 places[0], places[1]);
}

struct surroundings {
    struct crun *c;
    char *mask, *version;
    struct hostroot *root;
    struct err err;
};

/* What containers will ask for, once the Node has had the time to be registered. */
static void *make_ahead(void *arg)
{
    struct crun *c = arg;
    usleep(AHEAD_PAUSE_US);
    oci_seccomp_ahead(&c->machine);
    return NULL;
}

/* Whether a directory has no entries, or is not there. */
static bool is_empty(const char *path)
{
    DIR *d = opendir(path);
    bool empty = true;
    for (struct dirent *e; d && empty && (e = readdir(d));)
        empty = e->d_name[0] == '.';
    if (d)
        closedir(d);
    return empty;
}

/* A directory of its own for each mask: containers of an earlier life look through theirs, which must stay as it is. */
static int mask_place(struct crun *c, char **out, struct err *err)
{
    AUTOFREE char *dir = fs_join(c->node_dir, "host"), *pods = fs_join(c->node_dir, "pods");
    char hex[9];
    if (is_empty(pods) && fs_rm_rf(dir, err) < 0)
        return -1;
    *out = xasprintf("%s/%s", dir, random_hex(hex, 4));
    return 0;
}

/* What ready needs and the network does not: done while the helper sets that up. */
static void *look_around(void *arg)
{
    struct surroundings *s = arg;
    struct crun *c = s->c;
    s->root = hostroot_new(s->mask, (const char *const *)c->host_paths.v, (const char *const *)c->host_envs.v, &s->err);
    s->version = crun_version(c->crun);
    return NULL;
}

static int ready(struct runtime *r, char **version, struct err *err)
{
    struct crun *c = crun_of(r);
    AUTOFREE char *mask = NULL;
    LOCK_GUARD(&c->lock);
    if (c->is_ready) {
        *version = xstrdup(c->version);
        return 0;
    }
    if (geteuid() != 0)
        return err_set(err, ERR_PRECONDITION, "containers need root; start tidemill with sudo");
    if (check_programs(c, err) < 0 || helper_cgroups(c->helper, &c->machine.cgroup, err) < 0)
        return -1;
    rootstock_free(c->stock);
    c->stock = NULL;
    hostroot_free(c->root);
    c->root = NULL;
    if (mask_place(c, &mask, err) < 0)
        return -1;
    struct surroundings s = {.c = c, .mask = mask};
    pthread_t looking = thread_start("node-look", look_around, &s);
    int rc = podnet_up(c->net, err);
    load_seccomp(c);
    pthread_join(looking, NULL);
    c->root = s.root;
    free(c->version);
    c->version = s.version;
    if (rc < 0 || !c->root) {
        if (rc == 0)
            err_move(err, &s.err);
        err_clear(&s.err);
        return -1;
    }
    AUTOFREE char *stock = fs_join(c->node_dir, "stock");
    c->stock = rootstock_new(c->root, stock, err);
    if (!c->stock)
        return -1;
    c->machine.stock = c->stock;
    c->machine.root = c->root;
    c->machine.cgroup_parent = c->instance;
    c->machine.seccomp = c->seccomp;
    c->machine.compiled = c->compiled;
    oci_limits(&c->machine);
    c->wake = eventfd(0, EFD_CLOEXEC);
    c->watcher = thread_start("node-exits", watch_exits, c);
    c->ahead = thread_start("node-ahead", make_ahead, c);
    c->has_watcher = true;
    c->is_ready = true;
    *version = xstrdup(c->version);
    return 0;
}

static char *limits(struct runtime *r)
{
    struct crun *c = crun_of(r);
    LOCK_GUARD(&c->lock);
    return c->is_ready ? xasprintf("%s: %s", cgroup_mode_name(c->machine.cgroup.mode), c->machine.cgroup.detail) : NULL;
}

static char *unenforced(struct runtime *r, bool memory, bool cpu)
{
    struct crun *c = crun_of(r);
    char names[32];
    LOCK_GUARD(&c->lock);
    unsigned asked = (memory ? CGROUP_MEMORY : 0) | (cpu ? CGROUP_CPU : 0);
    unsigned missing = c->is_ready ? asked & ~c->machine.cgroup.controllers : 0;
    return missing ? xasprintf("limits of %s are not enforced: this machine has no such control groups (%s: %s)",
                               cgroup_names(missing, names), cgroup_mode_name(c->machine.cgroup.mode), c->machine.cgroup.detail)
                   : NULL;
}

/* ---- images --------------------------------------------------------------------------------------------------------------- */

static bool is_host_image(const char *name)
{
    static const char *const names[] = {"host", "host:latest", "tidemill/host", "tidemill/host:latest",
                                        "docker.io/library/host:latest"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(name, names[i]))
            return true;
    return false;
}

static int image(struct runtime *r, const char *name, struct image_info *out, struct err *err)
{
    struct crun *c = crun_of(r);
    IMAGE_REF(ref);
    if (image_ref_parse(name, &ref, err) < 0)
        return -1;
    bool host = is_host_image(name);
    for (size_t i = 0; i < c->host_images.n && !host; i++)
        host = str_glob(c->host_images.v[i], name);
    if (!host)
        return err_set(err, ERR_NOT_FOUND, "\"%s\" is not image host", name);
    hostroot_image(c->root, out);
    return 0;
}

static void user(struct runtime *r, const char *image_name, int64_t uid, char **home, int64_t *gid)
{
    hostroot_user(crun_of(r)->root, uid, home, gid);
}

/* ---- sandboxes ------------------------------------------------------------------------------------------------------------ */

static int sandbox_up(struct runtime *r, const char *pod_uid, bool host_network, struct sandbox *out, struct err *err)
{
    crun_stir(crun_of(r));
    if (!host_network)
        return podnet_take(crun_of(r)->net, out, err);
    *out = (struct sandbox){.name = xstrdup(""), .ip = proc_machine_ip()};
    return 0;
}

static int sandbox_down(struct runtime *r, const char *pod_uid, const struct sandbox *s, struct err *err)
{
    return str_empty(s->name) ? 0 : podnet_give_back(crun_of(r)->net, s->name, err);
}

static int sandbox_adopt(struct runtime *r, const struct sandbox *const *used, size_t n, struct err *err)
{
    return podnet_adopt(crun_of(r)->net, used, n, err);
}

/* ---- volumes and the end ------------------------------------------------------------------------------------------------- */

static int tmpfs(struct runtime *r, const char *path, const char *options, int *fd, struct err *err)
{
    HELPER_ANSWER(a);
    if (helper_ask(crun_of(r)->helper, HELPER_TMPFS, &a, err, path, options, NULL) < 0)
        return -1;
    *fd = a.fd;
    a.fd = -1;
    return 0;
}

static int bind_sub(struct runtime *r, const char *base, const char *sub, const char *target, struct err *err)
{
    return helper_ask(crun_of(r)->helper, HELPER_BIND_SUB, NULL, err, base, sub, target, NULL);
}

static int unpack(struct runtime *r, int fd, const char *dir, char **said, struct err *err)
{
    const char *const argv[] = {"/proc/self/exe", "image-unpack", dir, NULL};
    HELPER_ANSWER(a);
    if (helper_call(crun_of(r)->helper, HELPER_RUN, argv, &fd, 1, &a, err) < 0)
        return -1;
    if (a.rc != 0)
        return err_set(err, ERR_BAD_REQUEST, "%s", *a.text ? a.text : "unpacking a layer was interrupted");
    *said = TAKE(a.text);
    return 0;
}

static int image_volume(struct runtime *r, const char *place, const char *const *layers, size_t n, struct err *err)
{
    AUTOFREE const char **v = xcalloc(n + 2, sizeof *v);
    v[0] = place;
    for (size_t i = 0; i < n; i++)
        v[i + 1] = layers[n - 1 - i];
    return helper_call(crun_of(r)->helper, HELPER_IMAGE, v, NULL, 0, NULL, err);
}

static int share_pids(struct runtime *r, const char *pod_dir, bool up, struct err *err)
{
    return helper_ask(crun_of(r)->helper, HELPER_PIDNS, NULL, err, pod_dir, up ? "up" : "down", NULL);
}

static int remove_tree(struct runtime *r, const char *path, struct err *err)
{
    return helper_ask(crun_of(r)->helper, HELPER_REMOVE, NULL, err, path, NULL);
}

static void stop(struct runtime *r, bool remove)
{
    struct crun *c = crun_of(r);
    if (c->has_watcher) {
        uint64_t one = 1;
        ASSERT(write(c->wake, &one, sizeof one) == sizeof one);
        pthread_join(c->watcher, NULL);
        pthread_join(c->ahead, NULL);
    }
    /* A helper that runs has a group and mounts, also where the node never was ready; unless pods of an earlier life stand on
     * them. */
    AUTOFREE char *pods = fs_join(c->node_dir, "pods");
    bool took = remove && (c->is_ready || (helper_runs(c->helper) && is_empty(pods)));
    podnet_free(c->net, took);
    static const enum helper_op back[] = {HELPER_CGROUP_RM, HELPER_SWEEP};
    for (size_t i = 0; took && i < ARRAY_LEN(back); i++) {
        ERR(e);
        if (helper_ask(c->helper, back[i], NULL, &e, c->instance, NULL) < 0)
            log_warn("taking back what the node made: %s", err_text(&e));
    }
    helper_free(c->helper);
    crun_free(c);
}

static const struct runtime_ops crun_ops = {
    .ready = ready,
    .limits = limits,
    .unenforced = unenforced,
    .image = image,
    .user = user,
    .sandbox_up = sandbox_up,
    .sandbox_down = sandbox_down,
    .sandbox_adopt = sandbox_adopt,
    .services = services,
    .create = crun_create,
    .start = crun_start,
    .signal = crun_signal,
    .state = crun_state,
    .remove = crun_remove,
    .reopen_log = crun_reopen_log,
    .exec = crun_exec,
    .attach = crun_attach,
    .dial = crun_dial,
    .tmpfs = tmpfs,
    .bind_sub = bind_sub,
    .share_pids = share_pids,
    .image_volume = image_volume,
    .remove_tree = remove_tree,
    .unpack = unpack,
    .stop = stop,
};
