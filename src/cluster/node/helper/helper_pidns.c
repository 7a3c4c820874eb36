/* A process namespace that the containers of one pod share. It lives as long as its first process, which does nothing but collect
 * those whose parents are gone:
 *
 *   <pod dir>/pidns         the namespace, mounted
 *   <pod dir>/pidns.init    pid and start time of its first process; when the file goes, so does the process
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "cluster/node/helper/helper.h"
#include "cluster/node/helper/proc.h"

enum { LOOK_EVERY_S = 10 };

/* The first process. Signals that it has no handler for do not reach it: it is ended by SIGKILL from outside, or by the file. */
NORETURN static void first_process(const char *file)
{
    sigset_t child;
    struct timespec wait = {.tv_sec = LOOK_EVERY_S};
    char *name = xstrdup(file);
    close_range(0, ~0U, 0);
    setsid();
    prctl(PR_SET_NAME, "tm-pause");
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_SETMASK, &child, NULL);
    do {
        sigtimedwait(&child, NULL, &wait);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    } while (access(name, F_OK) == 0 || errno != ENOENT);
    _exit(0);
}

static bool read_init(const char *file, pid_t *pid, int64_t *start)
{
    BUF(b);
    int n = 0;
    bool ok = fs_read(file, 128, &b, NULL) == 0 && sscanf(buf_str(&b), "%d %" SCNd64, &n, start) == 2;
    *pid = n;
    return ok;
}

static int up(const char *pin, const char *file, struct err *err)
{
    pid_t pid;
    int64_t start;
    if (read_init(file, &pid, &start) && proc_alive(pid, start))
        return 0;
    umount2(pin, MNT_DETACH);
    AUTOCLOSE int mark = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    AUTOCLOSE int at = open(pin, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (mark < 0 || at < 0)
        return err_errno(err, "making %s", pin);
    if (unshare(CLONE_NEWPID) < 0)
        return err_errno(err, "making a process namespace");
    pid = fork();
    if (pid < 0)
        return err_errno(err, "fork");
    if (pid == 0)
        first_process(file);
    AUTOFREE char *ns = xasprintf("/proc/%d/ns/pid", (int)pid),
                  *text = xasprintf("%d %" PRId64 "\n", (int)pid, proc_start_time(pid));
    if (mount(ns, pin, NULL, MS_BIND, NULL) == 0)
        return fs_write(mark, text, strlen(text), err);
    err_errno(err, "mounting the process namespace at %s", pin);
    kill(pid, SIGKILL);
    return -1;
}

static int down(const char *pin, const char *file, struct err *err)
{
    pid_t pid;
    int64_t start;
    if (read_init(file, &pid, &start) && proc_kill(pid, start, SIGKILL, err) < 0)
        return -1;
    umount2(pin, MNT_DETACH);
    unlink(pin);
    unlink(file);
    return 0;
}

int helper_pidns(struct helper_state *s, const struct helper_packet *p, struct err *err)
{
    AUTOFREE char *pin = fs_join(p->v[0], "pidns"), *file = fs_join(p->v[0], "pidns.init");
    (void)s;
    return str_eq(p->v[1], "up") ? up(pin, file, err) : down(pin, file, err);
}
