/* Programs in containers: exec, exec probes, hooks.
 *
 * Each has a minder, a child of the helper that runs `crun exec` and lives as long as it does:
 *
 *     server ---- status socket (SEQPACKET) ---- minder ---- crun exec ---- the program
 *
 *   minder -> server   "pty" with the terminal's descriptor, "exit <code>", or "fail <code> <text>": it could not be started
 *   server closes it   the minder kills the program's session and ends: nothing is left behind, whether the client went away, the
 *                      server was killed, or both
 *
 * The directory that comes with the request (process.json in it) is the minder's: log, pid, the console's socket; it is removed
 * at the end. Bytes do not pass through the minder: stdin, stdout and stderr are the program's own descriptors. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "cluster/node/helper/helper.h"

#define CHILD_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define CONSOLE    "console"
enum { STATUS = 3, FIRST = 4, LOG_MAX = 4096, KILL_TRIES = 100, KILL_PAUSE_US = 10000, NOT_FOUND = 127, NOT_EXECUTABLE = 126 };

struct minder {
    const struct helper_packet *p;
    const char *dir;
    bool tty;
    unsigned n_io;
    int signals, console; /* console: the socket that crun connects to; -1 */
    pid_t crun;
};

static void say(const char *text, int fd)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {.iov_base = (void *)text, .iov_len = strlen(text)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    while (sendmsg(STATUS, &msg, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

NORETURN static void leave(struct minder *m)
{
    fs_rm_rf(m->dir, NULL);
    _exit(0);
}

NORETURN static void give_up(struct minder *m, const char *what)
{
    AUTOFREE char *text = xasprintf("fail 1 %s: %s", what, strerror(errno));
    say(text, -1);
    leave(m);
}

/* ---- crun --------------------------------------------------------------------------------------------------------------- */

static void start_crun(struct minder *m)
{
    AUTOFREE char *log = xasprintf("--log=%s/log", m->dir), *pid = xasprintf("--pid-file=%s/pid", m->dir);
    AUTOFREE char *spec = xasprintf("--process=%s/process.json", m->dir);
    char *argv[] = {(char *)m->p->v[0], (char *)m->p->v[1], (char *)m->p->v[2], log, (char *)"exec", pid, spec, NULL, NULL, NULL};
    char *envp[] = {(char *)CHILD_PATH, NULL};
    size_t n = 7;
    if (m->tty)
        argv[n++] = (char *)"--console-socket=" CONSOLE;
    argv[n] = (char *)m->p->v[3];
    m->crun = fork();
    if (m->crun < 0)
        give_up(m, "fork");
    if (m->crun > 0)
        return;
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++) /* which of the three are asked for is said by "-" in the packet's last string */
        dup2(null, i);
    const char *which = m->p->v[5];
    for (int i = 0, at = FIRST; i < 3 && !m->tty && which[i]; i++)
        if (which[i] != '-')
            dup2(at++, i);
    close_range(3, ~0U, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    execve(argv[0], argv, envp);
    _exit(NOT_FOUND);
}

static pid_t program_pid(const struct minder *m)
{
    AUTOFREE char *path = fs_join(m->dir, "pid");
    BUF(b);
    int64_t pid;
    if (fs_read(path, 64, &b, NULL) < 0)
        return 0;
    while (b.len && isspace((unsigned char)b.data[b.len - 1]))
        b.data[--b.len] = 0;
    return str_to_i64(buf_str(&b), &pid) && pid > 1 ? (pid_t)pid : 0;
}

/* crun's last word, without the time before it. */
static char *crun_said(const struct minder *m)
{
    AUTOFREE char *path = fs_join(m->dir, "log");
    BUF(b);
    fs_read(path, LOG_MAX, &b, NULL);
    while (b.len && isspace((unsigned char)b.data[b.len - 1]))
        b.data[--b.len] = 0;
    const char *line = strrchr(buf_str(&b), '\n');
    line = line ? line + 1 : buf_str(&b);
    const char *colon = strstr(line, "Z: ");
    return xstrdup(colon && colon - line < 40 ? colon + 3 : line);
}

static void report(struct minder *m, int status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    AUTOFREE char *said = code ? crun_said(m) : NULL;
    if (str_empty(said)) {
        AUTOFREE char *text = xasprintf("exit %d", code);
        say(text, -1);
        return;
    }
    bool absent = strstr(said, "not found") || strstr(said, "No such file");
    bool refused = strstr(said, "ermission denied") || strstr(said, "not executable"); /* crun 1.8, 1.21 */
    AUTOFREE char *text = xasprintf("fail %d %s", absent ? NOT_FOUND : refused ? NOT_EXECUTABLE : 1, said);
    say(text, -1);
}

/* ---- the end by force ----------------------------------------------------------------------------------------------------- */

/* Field 6 of /proc/<pid>/stat. */
static pid_t session_of(const char *pid)
{
    BUF(b);
    AUTOFREE char *path = xasprintf("/proc/%s/stat", pid);
    int ppid, group, session;
    const char *at = fs_read(path, 4096, &b, NULL) == 0 ? strrchr(buf_str(&b), ')') : NULL;
    return at && sscanf(at + 1, " %*c %d %d %d", &ppid, &group, &session) == 3 ? session : 0;
}

/* Everything of the program's session, which is crun's or its own: a shell's jobs have process groups of their own. */
static void kill_session(pid_t program)
{
    char text[16];
    snprintf(text, sizeof text, "%d", (int)program);
    pid_t session = session_of(text);
    DIR *d = session > 1 && session != getsid(0) ? opendir("/proc") : NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        if (isdigit((unsigned char)e->d_name[0]) && session_of(e->d_name) == session)
            kill(atoi(e->d_name), SIGKILL);
    if (d)
        closedir(d);
    kill(program, SIGKILL);
}

NORETURN static void kill_all(struct minder *m)
{
    for (int i = 0; i < KILL_TRIES; i++) {
        pid_t pid = program_pid(m);
        if (pid)
            kill_session(pid);
        if (waitpid(m->crun, NULL, WNOHANG) != 0)
            leave(m);
        usleep(KILL_PAUSE_US);
    }
    kill(m->crun, SIGKILL);
    leave(m);
}

/* ---- the terminal --------------------------------------------------------------------------------------------------------- */

/* Its path may be longer than an address holds: it is bound in the directory itself. */
static void listen_console(struct minder *m)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = CONSOLE};
    if (chdir(m->dir) < 0)
        give_up(m, "entering the directory of the program");
    m->console = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (m->console < 0 || bind(m->console, (struct sockaddr *)&a, sizeof a) < 0 || listen(m->console, 1) < 0)
        give_up(m, "making the console's socket");
}

static void take_console(struct minder *m)
{
    char control[CMSG_SPACE(sizeof(int))] = {0}, byte[256];
    struct iovec iov = {.iov_base = byte, .iov_len = sizeof byte};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    AUTOCLOSE int fd = accept4(m->console, NULL, NULL, SOCK_CLOEXEC);
    AUTOCLOSE int pty = -1;
    if (fd >= 0 && recvmsg(fd, &msg, MSG_CMSG_CLOEXEC) > 0) {
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            memcpy(&pty, CMSG_DATA(c), sizeof pty);
    }
    close(m->console);
    m->console = -1;
    if (pty >= 0)
        say("pty", pty);
}

/* ---- the minder ------------------------------------------------------------------------------------------------------------ */

NORETURN static void mind(struct minder *m)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = STATUS, .events = POLLIN}, {.fd = m->signals, .events = POLLIN}, {.fd = m->console, .events = POLLIN}};
        int status;
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
            give_up(m, "poll");
        if (fds[2].revents)
            take_console(m);
        if (fds[1].revents && waitpid(m->crun, &status, WNOHANG) == m->crun) {
            report(m, status);
            leave(m);
        }
        if (fds[0].revents)
            kill_all(m);
    }
}

NORETURN static void minder_main(struct helper_state *s, const struct helper_packet *p)
{
    struct minder m = {.p = p, .dir = p->v[4], .tty = str_eq(p->v[5], "tty"), .n_io = p->n_fds - 1, .console = -1};
    int moved[HELPER_FDS_MAX];
    (void)s;
    for (unsigned i = 0; i < p->n_fds; i++)
        moved[i] = fcntl(p->fds[i], F_DUPFD, 64);
    for (unsigned i = 0; i < p->n_fds; i++)
        dup2(moved[i], STATUS + (int)i);
    close_range(STATUS + p->n_fds, ~0U, 0);
    setsid();
    prctl(PR_SET_NAME, "tm-exec");
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_SETMASK, &child, NULL);
    m.signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (m.signals < 0)
        give_up(&m, "signalfd");
    if (m.tty)
        listen_console(&m);
    start_crun(&m);
    /* The program's ends are its own: a pipe ends when it closes it. */
    for (unsigned i = 0; i < m.n_io; i++)
        close(FIRST + (int)i);
    mind(&m);
}

int helper_exec(struct helper_state *s, const struct helper_packet *p, struct err *err)
{
    if (p->n_fds < 1 || !str_starts(p->v[4], s->node_dir))
        return err_set(err, ERR_BAD_REQUEST, "exec needs a status socket and a directory below %s", s->node_dir);
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(err, "fork");
    if (pid == 0)
        minder_main(s, p);
    helper_child_add(s, pid);
    return 0;
}
