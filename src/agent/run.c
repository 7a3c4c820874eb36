/* run.c - runs one command, relays its output and keeps the end of it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/ctx.h"
#include "base/fs.h"

static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

/* Keeps the last lines: when the buffer has twice what it may hold, its front goes. */
static void keep_tail(struct buf *tail, const char *p, size_t n)
{
    if (n > LAUNCH_TAIL_MAX) {
        p += n - LAUNCH_TAIL_MAX;
        n = LAUNCH_TAIL_MAX;
    }
    buf_add(tail, p, n);
    if (tail->len > 2 * LAUNCH_TAIL_MAX)
        buf_consume(tail, tail->len - LAUNCH_TAIL_MAX);
}

static void cut_tail(struct buf *tail)
{
    if (tail->len > LAUNCH_TAIL_MAX)
        buf_consume(tail, tail->len - LAUNCH_TAIL_MAX);
    size_t lines = 0, at = tail->len;
    while (at > 0) {
        if (tail->data[at - 1] == '\n' && at != tail->len && ++lines == LAUNCH_TAIL_LINES)
            break;
        at--;
    }
    buf_consume(tail, at);
}

/* The child's side. Errors of exec are told through report, which closes by itself on success. */
NORETURN static void child(char *const *argv, int out, int report, const sigset_t *old_mask)
{
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    sigprocmask(SIG_SETMASK, old_mask, NULL);
    execvp(argv[0], argv);
    int e = errno;
    ssize_t unused = write(report, &e, sizeof e);
    (void)unused;
    _exit(127);
}

/* Reads once; returns false at the end of the output. */
static bool relay(int from, struct run_outcome *o, bool *sink_broken)
{
    static char chunk[65536];
    ssize_t n = read(from, chunk, sizeof chunk);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n == 0)
        return false;
    keep_tail(&o->tail, chunk, (size_t)n);
    if (o->log_fd > 0 && !o->log_ended && fs_write(o->log_fd, chunk, (size_t)n, NULL) < 0)
        o->log_ended = true;
    /* When nobody takes the log any more the command still goes on to its end. */
    if (!*sink_broken && fs_write(STDOUT_FILENO, chunk, (size_t)n, NULL) < 0)
        *sink_broken = true;
    return true;
}

/* Takes signals; true once the command itself has ended. */
static bool take_signals(int sfd, pid_t pid, int *wait_status)
{
    struct signalfd_siginfo si;
    bool ended = false;
    while (read(sfd, &si, sizeof si) == (ssize_t)sizeof si) {
        if (si.ssi_signo != SIGCHLD) {
            kill(pid, (int)si.ssi_signo);
            continue;
        }
        int status;
        pid_t p;
        while ((p = waitpid(-1, &status, WNOHANG)) > 0) {
            if (p == pid) {
                *wait_status = status;
                ended = true;
            }
        }
    }
    return ended;
}

/* Until the command ends; then what is left in the pipe, without waiting for processes that it left behind. */
static void follow(int out, int sfd, pid_t pid, struct run_outcome *o)
{
    bool open = true, ended = false, sink_broken = false;
    while (!ended) {
        struct pollfd fds[2] = {{.fd = sfd, .events = POLLIN}, {.fd = open ? out : -1, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            open = relay(out, o, &sink_broken);
        if (fds[0].revents)
            ended = take_signals(sfd, pid, &o->wait_status);
    }
    struct pollfd rest = {.fd = out, .events = POLLIN};
    while (open && poll(&rest, 1, 0) > 0 && (rest.revents & POLLIN))
        open = relay(out, o, &sink_broken);
}

int agent_run(char *const *argv, struct run_outcome *o, struct err *err)
{
    int out[2], report[2];
    sigset_t mask, old;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
        sigaddset(&mask, forwarded[i]);
    sigprocmask(SIG_BLOCK, &mask, &old);
    AUTOCLOSE int sfd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (sfd < 0 || pipe2(out, O_CLOEXEC) < 0)
        return err_errno(err, "starting %s", argv[0]);
    if (pipe2(report, O_CLOEXEC) < 0) {
        close(out[0]);
        close(out[1]);
        return err_errno(err, "starting %s", argv[0]);
    }
    o->started_ns = clock_system.wall_ns(&clock_system);
    pid_t pid = fork();
    if (pid == 0)
        child(argv, out[1], report[1], &old);
    int saved = errno;
    close(out[1]);
    close(report[1]);
    AUTOCLOSE int out_fd UNUSED = out[0];
    AUTOCLOSE int report_fd UNUSED = report[0];
    if (pid < 0) {
        errno = saved;
        return err_errno(err, "starting %s", argv[0]);
    }
    o->started = read(report[0], &o->exec_errno, sizeof o->exec_errno) != (ssize_t)sizeof o->exec_errno;
    follow(out[0], sfd, pid, o);
    o->finished_ns = clock_system.wall_ns(&clock_system);
    cut_tail(&o->tail);
    return 0;
}
