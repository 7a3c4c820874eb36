/* What `tidemill doctor` says about this machine as a node, and taking back what a dead node left. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "cluster/node/images/images.h"
#include "cluster/node/network/podnet.h"
#include "cluster/node/network/service_claim.h"
#include "cluster/node/node.h"
#include "cluster/node/nodedb.h"
#include "cluster/node/runtime/cgroup.h"
#include "cluster/node/runtime/hostroot.h"
#include "cluster/node/runtime/runtime.h"
#include "net/client.h"

enum { SCRIPT_MAX = 4096, DISK_LOW_MIB = 1024, IMAGE_GC_HIGH = 85 };
#define REGISTRY_WAIT (3 * NS_PER_S)

static void add(struct node_checks *c, const char *what, bool ok, char *detail, const char *cure)
{
    c->v = xreallocarray(c->v, c->n + 1, sizeof *c->v);
    c->v[c->n++] = (struct node_check_item){.what = xstrdup(what), .ok = ok, .detail = detail, .cure = ok ? NULL : xstrdup(cure)};
}

void node_checks_free(struct node_checks *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->v[i].what);
        free(c->v[i].detail);
        free(c->v[i].cure);
    }
    free(c->v);
    *c = (struct node_checks){0};
}

/* First line that a command prints. These are questions of a person's command line: nothing here is on a server's way. */
static char *ask(const char *command, bool *ok)
{
    char line[512] = "";
    FILE *f = popen(command, "re");
    if (f && !fgets(line, sizeof line, f))
        line[0] = 0;
    *ok = f && pclose(f) == 0;
    line[strcspn(line, "\n")] = 0;
    return xstrdup(line);
}

static void check_program(struct node_checks *c, const char *what, const char *command, const char *package)
{
    bool ok;
    AUTOFREE char *said = ask(command, &ok);
    AUTOFREE char *cure = xasprintf("install package %s (apt-get install %s)", package, package);
    add(c, what, ok && *said, ok && *said ? xstrdup(said) : xstrdup("not found in PATH"), cure);
}

/* Runs fn in a child of its own and says with which errno it failed; 0 when it did not. What it makes dies with the child's
 * namespaces. */
static int in_child(int (*fn)(const char *arg), const char *arg)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn(arg));
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return EIO;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static int try_namespaces(const char *arg)
{
    return unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS) < 0 ? errno : 0;
}

/* An overlay with its upper directory where containers will have theirs. */
static int try_overlay(const char *dir)
{
    AUTOFREE char *options = xasprintf("lowerdir=/usr,upperdir=%s/upper,workdir=%s/work", dir, dir), *at = fs_join(dir, "merged");
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return errno;
    return mount("overlay", at, "overlay", 0, options) < 0 ? errno : 0;
}

static void check_kernel(struct node_checks *c, const struct node_config *cfg)
{
    int e = in_child(try_namespaces, NULL);
    add(c, "namespaces", e == 0, xasprintf("mount, network, pid, ipc, uts: %s", e ? strerror(e) : "can be made"),
        "run tidemill as root; inside a container, give it --privileged or CAP_SYS_ADMIN");
    const char *parent = fs_is_dir(cfg->data_dir) ? cfg->data_dir : "/tmp";
    AUTOFREE char *dir = xasprintf("%s/.doctor-XXXXXX", parent);
    static const char *const subs[] = {"upper", "work", "merged"};
    if (!mkdtemp(dir)) {
        add(c, "overlay", false, xasprintf("%s cannot be written: %s", parent, strerror(errno)),
            "choose another directory with --data");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(subs); i++) {
        AUTOFREE char *sub = fs_join(dir, subs[i]);
        mkdir(sub, 0755);
    }
    e = in_child(try_overlay, dir);
    fs_rm_rf(dir, NULL);
    add(c, "overlay", e == 0, xasprintf("upper directory in %s: %s", parent, e ? strerror(e) : "works"),
        "put --data on a file system that can hold overlays' upper directories (ext4, xfs, btrfs; not an overlay itself)");
}

static void check_cgroups(struct node_checks *c)
{
    struct cgroup_info info;
    cgroup_detect(&info, false);
    add(c, "cgroups", info.mode != CGROUP_NONE, xstrdup(info.detail),
        "limits of pods are advisory without; mount a writable cgroup hierarchy at /sys/fs/cgroup");
}

static void check_disk(struct node_checks *c, const struct node_config *cfg)
{
    struct statvfs v;
    const char *dir = fs_is_dir(cfg->data_dir) ? cfg->data_dir : "/";
    if (statvfs(dir, &v) < 0) {
        add(c, "disk", false, xasprintf("%s: %s", dir, strerror(errno)), "choose another directory with --data");
        return;
    }
    long long mib = (long long)(v.f_bavail * v.f_frsize >> 20);
    add(c, "disk", mib >= DISK_LOW_MIB, xasprintf("%lld MiB free in %s", mib, dir),
        "free at least 1 GiB, or choose another directory with --data");
}

/* ---- images ---- */

static void check_store(struct node_checks *c, const struct node_config *cfg)
{
    AUTOFREE char *dir = fs_join(cfg->data_dir, "images"), *pods = fs_join(cfg->data_dir, "node/pods");
    CLEANUP(image_list_free) struct image_list list = {0};
    struct statvfs v;
    ERR(e);
    if (!fs_is_dir(dir)) { /* a question makes nothing */
        add(c, "images", true, xasprintf("none yet; they will be in %s", dir), NULL);
        return;
    }
    struct image_store *s = image_store_open(dir, pods, &e);
    if (!s || image_store_list(s, &list, &e) < 0) {
        add(c, "images", false, xstrdup(err_text(&e)), "take the directory of images away, and what is in it is fetched again");
        image_store_close(s);
        return;
    }
    long long bytes = 0;
    for (size_t i = 0; i < list.n; i++)
        bytes += list.v[i].size;
    image_store_close(s);
    unsigned high = cfg->image_gc_high ? cfg->image_gc_high : IMAGE_GC_HIGH;
    double used = statvfs(dir, &v) == 0 && v.f_blocks ? 100.0 - 100.0 * (double)v.f_bavail / (double)v.f_blocks : 0;
    add(c, "images", used < high,
        xasprintf("%zu, %lld MiB as they were fetched; the disk is %.0f %% full, above %u %% unused ones go", list.n, bytes >> 20,
                  used, high),
        "free space on that disk, or raise the mark with --image-gc: images that are not in use are removed all the time");
}

/* Whether anybody answers there: any answer will do. */
static bool answers(const struct endpoint *at, struct err *err)
{
    AUTOFREE char *url = xasprintf("%s://%s/v2/", at->scheme ? at->scheme : "https", at->host);
    struct http_client *client =
        http_client_new(&(struct http_client_config){.insecure = at->insecure, .ca_pem = at->ca_pem}, err);
    if (!client)
        return false;
    struct ctx base = ctx_background(), ctx = ctx_with_timeout(&base, REGISTRY_WAIT);
    struct http_call call = {.method = HTTP_GET, .url = url};
    CLEANUP(http_answer_free) struct http_answer answer = {0};
    int rc = http_fetch(client, &ctx, &call, &answer, err);
    http_client_free(client);
    return rc == 0;
}

/* A machine without any registry is no broken one: images come from archives, too. */
static void check_registries(struct node_checks *c, const struct node_config *cfg)
{
    IMAGE_REF(ref);
    ERR(e);
    struct registries *r =
        images_registries(cfg->data_dir, cfg->registries_file, cfg->image_mirrors, cfg->insecure_registries, &e);
    if (!r || image_ref_parse("docker.io/library/busybox:latest", &ref, &e) < 0) {
        add(c, "registries", false, xstrdup(err_text(&e)), "mend that line (tidemill image pull --help says what there is)");
        registries_free(r);
        return;
    }
    size_t n;
    struct endpoint *at = registries_endpoints(r, &ref, &n);
    BUF(said);
    for (size_t i = 0; i < n; i++) {
        ERR(why);
        bool ok = answers(&at[i], &why);
        buf_addf(&said, "%s%s %s", i ? "; " : "", at[i].host, ok ? "answers" : "does not answer: ");
        buf_adds(&said, ok ? "" : err_text(&why));
        if (!ok && i + 1 == n)
            buf_adds(&said, " (tidemill image load, mirrors and --host-image do without)");
    }
    add(c, "registries", true, xstrdup(buf_str(&said)), NULL);
    endpoints_free(at, n);
    registries_free(r);
}

static void check_network(struct node_checks *c, const struct node_config *cfg)
{
    bool ok;
    free(ask("nft list tables >/dev/null && echo ok", &ok));
    add(c, "nftables", ok, xstrdup(ok ? "the kernel answers" : "the kernel does not answer nft"),
        "load the kernel module nf_tables, and run tidemill as root");
    AUTOFREE char *path = xasprintf("%s/node/instance", cfg->data_dir);
    BUF(b);
    STRLIST(lines);
    if (fs_read(path, 4096, &b, NULL) == 0)
        str_split(buf_str(&b), '\n', &lines);
    const char *cidr = cfg->pod_cidr ? cfg->pod_cidr : lines.n > 1 ? lines.v[1] : NULL;
    int hold = -1;
    AUTOFREE char *chosen = cidr ? xstrdup(cidr) : podnet_choose_cidr("tm00000000", SERVICE_CLAIMS_DIR, &hold);
    service_claim_drop(hold);
    AUTOFREE char *conflict = chosen ? podnet_conflict(chosen, lines.n ? lines.v[0] : NULL) : NULL;
    add(c, "pod network", chosen && !conflict,
        conflict ? xasprintf("%s overlaps route %s", chosen, conflict) : xstrdup(chosen ? chosen : "no free range"),
        "choose a range that the machine has no route to, with --pod-cidr 10.200.0.0/16");
    free(ask("nft list chain ip filter FORWARD 2>/dev/null | grep -q 'policy drop' && echo drop", &ok));
    add(c, "forwarding", !ok,
        xstrdup(ok ? "the machine's own firewall drops what is forwarded (Docker does so)"
                   : "not dropped by the machine's firewall"),
        "pods reach the outside only once it is allowed: nft insert rule ip filter FORWARD iifname \"tm*\" accept; nft insert "
        "rule ip filter "
        "FORWARD oifname \"tm*\" accept");
}

static void check_python(struct node_checks *c, const struct node_config *cfg)
{
    ERR(e);
    AUTOFREE char *mask = xstrdup("/tmp/.tidemill-doctor-XXXXXX");
    if (!mkdtemp(mask))
        return;
    struct hostroot *h = geteuid() == 0 ? hostroot_new(mask, cfg->host_paths, cfg->host_envs, &e) : NULL;
    AUTOFREE char *python = h ? hostroot_python(h) : access("/usr/bin/python3", X_OK) == 0 ? xstrdup("/usr/bin/python3") : NULL;
    hostroot_free(h);
    fs_rm_rf(mask, NULL);
    if (!python) {
        add(c, "python in pods", false, e.code ? xstrdup(err_text(&e)) : xstrdup("image host has no python3"),
            "install python3, or show an environment with --host-env PREFIX");
        return;
    }
    AUTOFREE char *command = xasprintf("'%s' -c 'import sys, importlib.util as u; print(sys.version.split()[0], \"with\", \", "
                                       "\".join(m for m in (\"pip\", \"kfp\", \"numpy\") if "
                                       "u.find_spec(m)) or \"none of pip, kfp, numpy\")' 2>/dev/null",
                                       python);
    bool ok;
    AUTOFREE char *said = ask(command, &ok);
    add(c, "python in pods", ok, xasprintf("%s %s", python, said),
        "this python3 does not run; show another with --host-env PREFIX");
}

void node_check(const struct node_config *cfg, struct node_checks *out)
{
    *out = (struct node_checks){0};
    bool root = geteuid() == 0;
    add(out, "root", root, xstrdup(root ? "yes" : "no"), "containers need root; start tidemill with sudo");
    check_program(out, "crun", "crun --version 2>/dev/null", "crun");
    check_program(out, "conmon", "conmon --version 2>/dev/null", "conmon");
    check_program(out, "nft", "nft --version 2>/dev/null", "nftables");
    check_kernel(out, cfg);
    check_cgroups(out);
    check_network(out, cfg);
    check_disk(out, cfg);
    check_store(out, cfg);
    check_registries(out, cfg);
    check_python(out, cfg);
}

/* ---- sweep
 * ---------------------------------------------------------------------------------------------------------------------- */

struct swept {
    struct runtime *rt;
    const char *node_dir;
};

static void sweep_container(void *self, const struct container_row *r)
{
    struct swept *s = self;
    ERR(e);
    AUTOFREE char *bundle = xasprintf("%s/pods/%s/containers/%s/%d", s->node_dir, r->pod_uid, r->name, r->attempt);
    struct container_ref ref = {.id = r->cid, .bundle = bundle};
    if (r->cid && (s->rt->ops->signal(s->rt, &ref, SIGKILL, &e) < 0 || s->rt->ops->remove(s->rt, &ref, &e) < 0))
        fprintf(stderr, "tidemill: container %s: %s\n", r->name, err_text(&e));
}

int node_sweep(const struct node_config *cfg, struct err *err)
{
    AUTOFREE char *node_dir = fs_join(cfg->data_dir, "node"), *path = fs_join(node_dir, "node.db"),
                  *instance = fs_join(node_dir, "instance");
    AUTOFREE char *pods = fs_join(node_dir, "pods"), *version = NULL;
    if (!fs_exists(instance))
        return 0;
    struct nodedb *db = nodedb_open(path, err);
    if (!db)
        return -1;
    struct runtime *rt = runtime_crun_new(cfg, err);
    int rc = rt ? 0 : -1;
    if (rc == 0)
        rc = rt->ops->ready(rt, &version, err);
    if (rc == 0) {
        struct swept s = {.rt = rt, .node_dir = node_dir};
        rc = nodedb_each_container(db, sweep_container, &s, err);
    }
    if (rc == 0)
        rc = rt->ops->remove_tree(rt, pods, err);
    nodedb_close(db);
    if (rt)
        rt->ops->stop(rt, rc == 0);
    return rc;
}
