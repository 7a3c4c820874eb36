#include "cluster/node/helper/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "cluster/node/helper/helper_mount.h"
#include "cluster/node/helper/helper_net.h"
#include "cluster/node/helper/proc.h"
#include "cluster/node/node.h"
#include "cluster/node/runtime/cgroup.h"

#define LOG_ROOM "node-helper"
#include "base/log.h"

struct reply {
    int rc, fd;
    char *text;
    bool later; /* a child answers */
};
typedef int op_fn(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err);

static int op_init(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    struct cgroup_info info;
    bool fresh;
    free(s->node_dir);
    free(s->instance);
    s->node_dir = xstrdup(p->v[0]);
    s->instance = xstrdup(p->v[1]);
    AUTOFREE char *net = fs_join(s->node_dir, "net"), *ipc = fs_join(s->node_dir, "ipc");
    if (mount_ns_enter(s->node_dir, &fresh, err) < 0 || fs_mkdir_p(net, 0700, err) < 0 || fs_mkdir_p(ipc, 0700, err) < 0)
        return -1;
    cgroup_detect(&info, true);
    if (cgroup_enter(&info, s->instance, err) < 0) {
        info.mode = CGROUP_NONE;
        info.controllers = 0;
        snprintf(info.detail, sizeof info.detail, "%.200s", err_text(err));
        err_clear(err);
    }
    if (info.mode == CGROUP_NONE)
        cgroup_hide();
    free(s->cgroup_procs);
    s->cgroup_procs = info.mode == CGROUP_NONE ? NULL : cgroup_own_procs();
    r->text = xasprintf("%s %d %u %s", cgroup_mode_name(info.mode), info.swap_limit, info.controllers, info.detail);
    return 0;
}

static int op_net_up(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    static const char *const nft[] = {"/usr/sbin/nft", "-f", "-", NULL};
    const char *bridge = p->v[0];
    if (net_bridge_up(bridge, p->v[1], atoi(p->v[2]), atoi(p->v[3]), err) < 0 ||
        (*p->v[5] && net_route_up(bridge, p->v[5], err) < 0))
        return -1;
    /* Pods reach services that listen on the machine's loopback only through the rules' DNAT, which needs route_localnet. */
    AUTOFREE char *localnet = xasprintf("/proc/sys/net/ipv4/conf/%s/route_localnet", bridge);
    BUF(was);
    if (proc_write(localnet, "1", err) < 0 || fs_read("/proc/sys/net/ipv4/ip_forward", 16, &was, err) < 0)
        return -1;
    if (was.data[0] != '1' && proc_write("/proc/sys/net/ipv4/ip_forward", "1", err) < 0)
        return -1;
    r->text = xstrdup(was.data[0] == '1' ? "1" : "0");
    return helper_feed(nft, p->v[4], err);
}

static int op_net_down(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    static const char *const nft[] = {"/usr/sbin/nft", "-f", "-", NULL};
    /* A table that is declared and then deleted may or may not have been there. */
    AUTOFREE char *script =
        xasprintf("table inet %s {}\ndelete table inet %s\ntable inet %s-services {}\ndelete table inet %s-services\n", p->v[1],
                  p->v[1], p->v[1], p->v[1]);
    if (net_link_delete(p->v[0], err) < 0 || helper_feed(nft, script, err) < 0)
        return -1;
    return str_eq(p->v[2], "1") ? proc_write("/proc/sys/net/ipv4/ip_forward", "0", err) : 0;
}

/* The pod's end of a link goes with its namespace, ours with the pod's; its name is that of the namespace. */
static int netns_del(struct helper_state *s, const char *name, struct err *err)
{
    AUTOFREE char *net = xasprintf("%s/net/%s", s->node_dir, name), *ipc = xasprintf("%s/ipc/%s", s->node_dir, name);
    if (net_link_delete(name, err) < 0)
        return -1;
    umount2(net, MNT_DETACH);
    umount2(ipc, MNT_DETACH);
    unlink(net);
    unlink(ipc);
    return 0;
}

static int do_netns_add(struct helper_state *s, const struct helper_packet *p, struct err *err)
{
    const char *name = p->v[0];
    AUTOFREE char *net = xasprintf("%s/net/%s", s->node_dir, name), *ipc = xasprintf("%s/ipc/%s", s->node_dir, name);
    struct net_pod np = {.net_path = net,
                         .ipc_path = ipc,
                         .link = name,
                         .address = p->v[1],
                         .gateway = p->v[2],
                         .bridge = p->v[3],
                         .mtu = atoi(p->v[4])};
    if (netns_del(s, name, err) < 0)
        return -1;
    if (net_pod_up(&np, err) == 0)
        return 0;
    netns_del(s, name, NULL);
    return -1;
}

static int do_netns_del(struct helper_state *s, const struct helper_packet *p, struct err *err)
{
    return netns_del(s, p->v[0], err);
}

/* The kernel takes some 15 ms to let go of a link. */
static int op_netns_add(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    r->later = true;
    return helper_child(s, p, do_netns_add, err);
}

static int op_netns_del(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    r->later = true;
    return helper_child(s, p, do_netns_del, err);
}

static int op_tmpfs(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    if (mount_tmpfs(p->v[0], p->v[1], err) < 0)
        return -1;
    r->fd = open(p->v[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return r->fd < 0 ? err_errno(err, "opening %s", p->v[0]) : 0;
}

static int op_bind_sub(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    if (!str_starts(p->v[2], s->node_dir))
        return err_set(err, ERR_BAD_REQUEST, "a mount's target must be below %s", s->node_dir);
    return mount_sub(p->v[0], p->v[1], p->v[2], err);
}

static int op_overlay(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    if (!str_starts(p->v[0], s->node_dir))
        return err_set(err, ERR_BAD_REQUEST, "a container's root must be below %s", s->node_dir);
    return mount_overlay(p->v[0], p->v + 1, p->h.n - 1, err);
}

static int op_image(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    if (!str_starts(p->v[0], s->node_dir))
        return err_set(err, ERR_BAD_REQUEST, "a volume must be below %s", s->node_dir);
    return mount_image(p->v[0], p->v + 1, p->h.n - 1, err);
}

static int op_unmount(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    return unmount_below(p->v[0], err);
}

static int op_spawn(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    r->rc = helper_spawn(s, p, err);
    return r->rc < 0 ? -1 : 0;
}

static int op_run(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    r->later = true;
    return helper_run(s, p, err);
}

static int do_remove(struct helper_state *s, const struct helper_packet *p, struct err *err)
{
    return unmount_below(p->v[0], err) < 0 ? -1 : fs_rm_rf(p->v[0], err);
}

/* Large trees take a while. */
static int op_remove(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    if (p->v[0][0] != '/' || !str_starts(p->v[0], s->node_dir))
        return err_set(err, ERR_BAD_REQUEST, "remove needs one path below %s", s->node_dir);
    r->later = true;
    return helper_child(s, p, do_remove, err);
}

static int op_kill(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    int64_t pid, start, sig;
    if (!str_to_i64(p->v[0], &pid) || !str_to_i64(p->v[1], &start) || !str_to_i64(p->v[2], &sig) || pid < 2)
        return err_set(err, ERR_BAD_REQUEST, "kill needs a pid, a start time and a signal");
    return proc_kill((pid_t)pid, start, (int)sig, err);
}

static int op_exec(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    return helper_exec(s, p, err);
}

static int op_dial(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    int64_t port;
    if (!str_to_i64(p->v[1], &port) || port < 1 || port > 65535)
        return err_set(err, ERR_BAD_REQUEST, "dial needs a port");
    r->fd = net_dial_loopback(p->v[0], (int)port, str_eq(p->v[2], "6"), err);
    return r->fd < 0 ? -1 : 0;
}

static int op_pidns(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    if (!str_starts(p->v[0], s->node_dir))
        return err_set(err, ERR_BAD_REQUEST, "a pod's directory must be below %s", s->node_dir);
    r->later = true;
    return helper_child(s, p, helper_pidns, err);
}

static int op_cgroup_rm(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    return cgroup_remove(p->v[0], err);
}

static int do_cgroup_stir(struct helper_state *s, const struct helper_packet *p, struct err *err)
{
    return cgroup_stir(s->cgroup_procs, err);
}

static int op_cgroup_stir(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    return s->cgroup_procs ? helper_aside(s, p, do_cgroup_stir, err) : 0;
}

static int op_sweep(struct helper_state *s, const struct helper_packet *p, struct reply *r, struct err *err)
{
    return unmount_below(s->node_dir, err) < 0 ? -1 : mount_ns_unpin(s->node_dir, err);
}

static const struct {
    op_fn *fn;
    uint32_t min_strings;
} ops[] = {
    [HELPER_INIT] = {op_init, 2},           [HELPER_NET_UP] = {op_net_up, 6},       [HELPER_NET_DOWN] = {op_net_down, 3},
    [HELPER_NETNS_ADD] = {op_netns_add, 5}, [HELPER_NETNS_DEL] = {op_netns_del, 1}, [HELPER_TMPFS] = {op_tmpfs, 2},
    [HELPER_UNMOUNT] = {op_unmount, 1},     [HELPER_SPAWN] = {op_spawn, 3},         [HELPER_RUN] = {op_run, 1},
    [HELPER_REMOVE] = {op_remove, 1},       [HELPER_KILL] = {op_kill, 3},           [HELPER_CGROUP_RM] = {op_cgroup_rm, 1},
    [HELPER_PIDNS] = {op_pidns, 2},         [HELPER_EXEC] = {op_exec, 6},           [HELPER_DIAL] = {op_dial, 3},
    [HELPER_SWEEP] = {op_sweep, 0},         [HELPER_BIND_SUB] = {op_bind_sub, 3},   [HELPER_CGROUP_STIR] = {op_cgroup_stir, 0},
    [HELPER_OVERLAY] = {op_overlay, 2},     [HELPER_IMAGE] = {op_image, 1},
};

static void serve(struct helper_state *s, struct helper_packet *p)
{
    ERR(e);
    struct reply r = {.fd = -1};
    int rc;
    if (p->h.op >= ARRAY_LEN(ops) || !ops[p->h.op].fn || p->h.n < ops[p->h.op].min_strings)
        rc = err_set(&e, ERR_BAD_REQUEST, "the node helper has no operation %u with %u arguments", p->h.op, p->h.n);
    else if (!s->node_dir && p->h.op != HELPER_INIT)
        rc = err_set(&e, ERR_PRECONDITION, "the node helper has not been told its directory");
    else
        rc = ops[p->h.op].fn(s, p, &r, &e);
    for (unsigned i = 0; i < p->n_fds; i++)
        close(p->fds[i]);
    if (rc == 0 && r.later)
        return;
    struct helper_header h = {
        .id = p->h.id, .rc = rc < 0 ? -1 : r.rc, .err_no = rc < 0 ? (e.sys_errno ? e.sys_errno : EINVAL) : 0, .n = 1};
    const char *text = rc < 0 ? err_text(&e) : r.text ? r.text : "";
    if (helper_packet_send(s->sock, &h, &text, &r.fd, r.fd >= 0 ? 1 : 0, &e) < 0)
        log_error("%s", err_text(&e));
    if (r.fd >= 0)
        close(r.fd);
    free(r.text);
}

static int helper_loop(struct helper_state *s)
{
    struct helper_packet *p = xmalloc(sizeof *p);
    int rc = 0;
    for (;;) {
        ERR(e);
        struct pollfd fds[] = {{.fd = s->sock, .events = POLLIN}, {.fd = s->signals, .events = POLLIN}};
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents) {
            struct signalfd_siginfo info;
            while (read(s->signals, &info, sizeof info) > 0)
                ;
            helper_reap(s);
        }
        if (!fds[0].revents)
            continue;
        rc = helper_packet_recv(s->sock, p, &e);
        if (rc == 0)
            break;
        if (rc < 0) {
            log_error("%s", err_text(&e));
            break;
        }
        serve(s, p);
    }
    free(p);
    return rc < 0 ? 1 : 0;
}

int node_helper_main(int argc, char **argv)
{
    int64_t fd = -1;
    for (int i = 1; i + 1 < argc; i++)
        if (str_eq(argv[i], "--fd") && !str_to_i64(argv[i + 1], &fd))
            fd = -1;
    if (fd < 0) {
        fprintf(stderr, "tidemill node-helper: started by the server itself, with --fd N\n");
        return 2;
    }
    /* The server's Ctrl-C is the server's; we end when it does. */
    setsid();
    umask(022);
    prctl(PR_SET_NAME, "tm-node-helper");
    signal(SIGPIPE, SIG_IGN);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_SETMASK, &child, NULL);
    struct helper_state s = {.sock = (int)fd, .signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK)};
    fcntl(s.sock, F_SETFD, FD_CLOEXEC);
    if (chdir("/") < 0 || s.signals < 0)
        return 1;
    int rc = helper_loop(&s);
    free(s.node_dir);
    free(s.instance);
    free(s.cgroup_procs);
    free(s.children);
    return rc;
}
