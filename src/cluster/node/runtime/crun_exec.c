/* The crun runtime: programs beside a container's own, what that one reads and writes, and connections into a pod. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "cluster/node/runtime/crun_priv.h"

enum { CONFIG_MAX = 8 << 20, PTY_TIMEOUT_MS = 30000, DIAL_TIMEOUT_MS = 10000 };

/* ---- exec --------------------------------------------------------------------------------------------------------------- */

static void set_args(struct jm *m, jmval *process, const char *const *v)
{
    jmval *args = jm_arr(m);
    for (; *v; v++)
        jm_push(args, jm_str(m, *v));
    jm_put(m, process, "args", args);
}

static void add_term(struct jm *m, jmval *process)
{
    jmval *env = jmv_get(process, "env");
    for (size_t i = 0; i < jmv_len(env); i++)
        if (str_starts(jmv_str(jmv_at(env, i)) ? jmv_str(jmv_at(env, i)) : "", "TERM="))
            return;
    jm_push(env, jm_str(m, "TERM=xterm"));
}

/* The container's own process with other arguments: same user, rights, environment and limits. */
static int write_process(const char *bundle, const char *dir, const struct exec_spec *spec, struct err *err)
{
    AUTOFREE char *config = fs_join(bundle, "config.json"), *path = fs_join(dir, "process.json");
    BUF(b);
    if (fs_read(config, CONFIG_MAX, &b, err) < 0)
        return -1;
    JSON_REF(doc) = json_parse(b.data, b.len, NULL, err);
    if (!doc)
        return -1;
    JM(m, jv_get(json_root(doc), "process"));
    jm_put(m, jm_root(m), "terminal", jm_bool(m, spec->tty));
    jm_del(jm_root(m), "consoleSize");
    set_args(m, jm_root(m), spec->args);
    if (spec->tty)
        add_term(m, jm_root(m));
    BUF(text);
    jmv_write(jm_root(m), JW_COMPACT, &text);
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd < 0 ? err_errno(err, "writing %s", path) : fs_write(fd, text.data, text.len, err);
}

static int pipe_for(bool asked, bool to_program, int *ours, int *theirs, struct err *err)
{
    int p[2];
    *theirs = -1;
    if (!asked)
        return 0;
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_errno(err, "pipe");
    *ours = p[to_program];
    *theirs = p[!to_program];
    fcntl(*ours, F_SETFL, O_NONBLOCK);
    return 0;
}

/* The first packet of a program with a terminal is that terminal. What else it may be is left for node_process_ended. */
static int await_pty(struct node_process *p, struct err *err)
{
    char text[16] = "", control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {.iov_base = text, .iov_len = sizeof text};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct pollfd fd = {.fd = p->status, .events = POLLIN};
    int rc, pty = -1;
    while ((rc = poll(&fd, 1, PTY_TIMEOUT_MS)) < 0 && errno == EINTR)
        ;
    if (rc == 0)
        return err_set(err, ERR_TIMEOUT, "no terminal within %d s", PTY_TIMEOUT_MS / 1000);
    if (recv(p->status, text, sizeof text, MSG_PEEK | MSG_DONTWAIT) != 3 || memcmp(text, "pty", 3) != 0)
        return 0;
    if (recvmsg(p->status, &msg, MSG_CMSG_CLOEXEC) < 0)
        return err_errno(err, "receiving the terminal");
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(&pty, CMSG_DATA(c), sizeof pty);
    if (pty < 0)
        return err_set(err, ERR_INTERNAL, "the terminal did not come along");
    fcntl(pty, F_SETFL, O_NONBLOCK);
    p->out = pty;
    p->in = fcntl(pty, F_DUPFD_CLOEXEC, 3);
    return p->in < 0 ? err_errno(err, "dup") : 0;
}

static int run(struct crun *c, const struct container_ref *ref, const struct exec_spec *spec, const char *dir,
               struct node_process *out, struct err *err)
{
    int theirs[] = {-1, -1, -1, -1}, sent[4], status[2];
    unsigned n = 0;
    char which[4] = "---";
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, status) < 0)
        return err_errno(err, "socketpair");
    out->status = status[0];
    theirs[0] = status[1];
    int rc = 0;
    if (!spec->tty &&
        (pipe_for(spec->in, true, &out->in, &theirs[1], err) < 0 || pipe_for(spec->out, false, &out->out, &theirs[2], err) < 0 ||
         pipe_for(spec->err, false, &out->err, &theirs[3], err) < 0))
        rc = -1;
    for (int i = 0; i < 4; i++)
        if (theirs[i] >= 0) {
            sent[n++] = theirs[i];
            if (i)
                which[i - 1] = "ioe"[i - 1];
        }
    const char *const v[] = {c->crun, c->root_arg, crun_cgroup_arg(c), ref->id, dir, spec->tty ? "tty" : which, NULL};
    if (rc == 0)
        rc = helper_call(c->helper, HELPER_EXEC, v, sent, n, NULL, err);
    for (unsigned i = 0; i < n; i++)
        close(sent[i]);
    return rc < 0 ? -1 : spec->tty ? await_pty(out, err) : 0;
}

int crun_exec(struct runtime *r, const struct container_ref *ref, const struct exec_spec *spec, struct node_process *out,
              struct err *err)
{
    char hex[17];
    AUTOFREE char *dir = xasprintf("%s/exec-%s", ref->bundle, random_hex(hex, 8));
    *out = (struct node_process)NODE_PROCESS_NONE;
    if (mkdir(dir, 0700) < 0)
        return errno == ENOENT ? err_set(err, ERR_NOT_FOUND, "the container is gone") : err_errno(err, "making %s", dir);
    if (write_process(ref->bundle, dir, spec, err) == 0 && run(crun_of(r), ref, spec, dir, out, err) == 0)
        return 0;
    node_process_close(out);
    fs_rm_rf(dir, NULL);
    return -1;
}

/* ---- attach ------------------------------------------------------------------------------------------------------------- */

/* conmon's socket lies in the bundle, whose path may be longer than an address holds. */
int crun_attach(struct runtime *r, const struct container_ref *ref, const struct exec_spec *spec, struct node_process *out,
                struct err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    *out = (struct node_process)NODE_PROCESS_NONE;
    AUTOCLOSE int dir = open(ref->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_set(err, ERR_NOT_FOUND, "the container is gone");
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/attach", dir);
    AUTOCLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, "making a socket");
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
        return errno == ENOENT || errno == ECONNREFUSED ? err_set(err, ERR_NOT_FOUND, "the container is gone")
                                                        : err_errno(err, "connecting to the container");
    out->packets = true;
    out->control = fs_join(ref->bundle, "ctl");
    if (spec->in && (out->in = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
        return err_errno(err, "dup");
    out->out = fd;
    fd = -1;
    return 0;
}

/* ---- connections into a pod ------------------------------------------------------------------------------------------------ */

/* 0 once it is connected; -1 with errno. */
static int connected(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int why = 0, rc;
    socklen_t len = sizeof why;
    while ((rc = poll(&p, 1, DIAL_TIMEOUT_MS)) < 0 && errno == EINTR)
        ;
    if (rc == 0)
        why = ETIMEDOUT;
    else if (rc < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
        why = errno;
    errno = why;
    return why ? -1 : 0;
}

int crun_dial(struct runtime *r, const struct sandbox *s, int port, int *fd, struct err *err)
{
    static const char *const families[] = {"4", "6"};
    char number[8];
    ERR(first);
    snprintf(number, sizeof number, "%d", port);
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        HELPER_ANSWER(a);
        ERR(e);
        int rc = helper_ask(crun_of(r)->helper, HELPER_DIAL, &a, &e, s->net_path ? s->net_path : "", number, families[i], NULL);
        if (rc == 0 && connected(a.fd) == 0) {
            *fd = a.fd;
            a.fd = -1;
            return 0;
        }
        if (rc == 0)
            err_errno(&e, "connecting to port %d of the pod", port);
        if (i == 0)
            err_copy(&first, &e);
    }
    return err_move(err, &first);
}
