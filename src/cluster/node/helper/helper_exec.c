/* Programs that the helper starts. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "cluster/node/helper/helper.h"

#define CHILD_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
enum { OUTPUT_MAX = 4096, CLEANER_NICE = 5, EXIT_EXEC_FAILED = 127 };

/* In the child: standard input and output, fds from 3 on, everything else closed, signals as in a new process. */
NORETURN static void child_exec(int in, int errfd, const int *fds, unsigned n_fds, char *const *argv, char *const *envp)
{
    int null = open("/dev/null", O_RDWR);
    int moved[HELPER_FDS_MAX];
    for (unsigned i = 0; i < n_fds; i++)
        moved[i] = fcntl(fds[i], F_DUPFD, 64);
    dup2(in >= 0 ? in : null, 0);
    dup2(null, 1);
    dup2(errfd >= 0 ? errfd : null, 2);
    for (unsigned i = 0; i < n_fds; i++)
        dup2(moved[i], 3 + (int)i);
    close_range(3 + n_fds, ~0U, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    execve(argv[0], argv, envp);
    dprintf(2, "%s: %s", argv[0], strerror(errno));
    _exit(EXIT_EXEC_FAILED);
}

/* What is run to its end takes back what is over or makes something ahead: the next pod's start goes first. */
static void step_back(void)
{
    int was = getpriority(PRIO_PROCESS, 0);
    setpriority(PRIO_PROCESS, 0, was + CLEANER_NICE > 19 ? 19 : was + CLEANER_NICE);
}

static void child_add(struct helper_state *s, uint64_t id, pid_t pid, int output)
{
    s->children = xreallocarray(s->children, s->n_children + 1, sizeof *s->children);
    s->children[s->n_children++] = (struct helper_child){.id = id, .pid = pid, .output = output};
}

void helper_child_add(struct helper_state *s, pid_t pid) { child_add(s, 0, pid, -1); }

int helper_spawn(struct helper_state *s, const struct helper_packet *p, struct err *err)
{
    if (p->h.n < 3)
        return err_set(err, ERR_BAD_REQUEST, "spawn needs an environment, a file and a program");
    char *argv[HELPER_STRINGS_MAX + 1] = {0};
    for (uint32_t i = 2; i < p->h.n; i++)
        argv[i - 2] = (char *)p->v[i];
    char *envp[] = {(char *)CHILD_PATH, *p->v[0] ? (char *)p->v[0] : NULL, NULL};
    AUTOCLOSE int errfd = *p->v[1] ? open(p->v[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(err, "fork");
    if (pid == 0)
        child_exec(-1, errfd, p->fds, p->n_fds, argv, envp);
    child_add(s, 0, pid, -1);
    return pid;
}

/* Forks a child whose answer comes when it ends, with what it left in *output. 0 in the child, its id here, -1: error. */
static pid_t fork_told(struct helper_state *s, uint64_t id, int *output, struct err *err)
{
    *output = memfd_create("output", MFD_CLOEXEC);
    if (*output < 0)
        return err_errno(err, "memfd_create");
    pid_t pid = fork();
    if (pid < 0) {
        close(*output);
        return err_errno(err, "fork");
    }
    if (pid == 0)
        step_back();
    else
        child_add(s, id, pid, *output);
    return pid;
}

int helper_run(struct helper_state *s, const struct helper_packet *p, struct err *err)
{
    if (p->h.n < 1)
        return err_set(err, ERR_BAD_REQUEST, "run needs a program");
    char *argv[HELPER_STRINGS_MAX + 1] = {0};
    for (uint32_t i = 0; i < p->h.n; i++)
        argv[i] = (char *)p->v[i];
    char *envp[] = {(char *)CHILD_PATH, NULL};
    int output;
    pid_t pid = fork_told(s, p->h.id, &output, err);
    if (pid == 0)
        child_exec(-1, output, p->fds, p->n_fds, argv, envp);
    return pid < 0 ? -1 : 0;
}

int helper_child(struct helper_state *s, const struct helper_packet *p, helper_fn *fn, struct err *err)
{
    int output;
    pid_t pid = fork_told(s, p->h.id, &output, err);
    if (pid < 0)
        return -1;
    if (pid == 0) {
        ERR(e);
        if (fn(s, p, &e) == 0)
            _exit(0);
        fs_write(output, err_text(&e), strlen(err_text(&e)), NULL);
        _exit(e.sys_errno > 0 && e.sys_errno < 128 ? e.sys_errno : EIO);
    }
    s->children[s->n_children - 1].is_request = true;
    return 0;
}

int helper_aside(struct helper_state *s, const struct helper_packet *p, helper_fn *fn, struct err *err)
{
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(err, "fork");
    if (pid == 0) {
        ERR(e);
        _exit(fn(s, p, &e) < 0);
    }
    child_add(s, 0, pid, -1);
    return 0;
}

static char *output_text(int fd)
{
    char *text = xcalloc(1, OUTPUT_MAX + 1);
    if (fd < 0)
        return text;
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t n = pread(fd, text, OUTPUT_MAX, size > OUTPUT_MAX ? size - OUTPUT_MAX : 0);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        text[--n] = 0;
    return text;
}

static int exit_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

void helper_reap(struct helper_state *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < s->n_children; i++) {
            struct helper_child c = s->children[i];
            if (c.pid != pid)
                continue;
            s->children[i] = s->children[--s->n_children];
            if (c.id) {
                AUTOFREE char *text = output_text(c.output);
                int code = exit_code(status);
                struct helper_header h = {.id = c.id, .rc = c.is_request && code ? -1 : code, .n = 1};
                h.err_no = c.is_request ? code : 0;
                helper_packet_send(s->sock, &h, (const char *const[]){text}, NULL, 0, NULL);
            }
            if (c.output >= 0)
                close(c.output);
            break;
        }
    }
}

int helper_feed(const char *const *argv, const char *text, struct err *err)
{
    AUTOCLOSE int in = memfd_create("stdin", MFD_CLOEXEC);
    AUTOCLOSE int output = memfd_create("stderr", MFD_CLOEXEC);
    if (in < 0 || output < 0)
        return err_errno(err, "memfd_create");
    if (fs_write(in, text, strlen(text), err) < 0 || lseek(in, 0, SEEK_SET) < 0)
        return -1;
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(err, "fork");
    if (pid == 0)
        child_exec(in, output, NULL, 0, (char *const *)argv, (char *const[]){(char *)CHILD_PATH, NULL});
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status == 0)
        return 0;
    AUTOFREE char *said = output_text(output);
    return err_set(err, ERR_INTERNAL, "%s failed with exit code %d: %s", argv[0], exit_code(status), said);
}
