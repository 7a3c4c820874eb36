/* fake_node.c - see fake_node.h. */
#include "fake_node.h"

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "base/thread.h"

extern char **environ;

/* ---- programs ---- */

struct program {
    pid_t pid;
    int status; /* our end: it is told how the program ended; its hang-up ends the program */
};

static void *wait_for(void *arg)
{
    struct program *p = arg;
    int status;
    while (waitpid(p->pid, &status, WNOHANG) == 0) {
        struct pollfd fd = {.fd = p->status};
        if (poll(&fd, 1, 5) > 0)
            kill(p->pid, SIGKILL);
    }
    AUTOFREE char *text = xasprintf("exit %d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    send(p->status, text, strlen(text), MSG_NOSIGNAL);
    close(p->status);
    free(p);
    return NULL;
}

static int process_open(void *self, const struct ctx *ctx, jval *pod, const struct node_process_opts *o, struct node_process *out,
                        struct err *err)
{
    int status[2], in[2], text[2], bad[2];
    *out = (struct node_process)NODE_PROCESS_NONE;
    if (strcmp(o->container, "asleep") == 0)
        return err_set(err, ERR_INTERNAL, "container not found (\"asleep\")");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, status), 0);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(text, O_CLOEXEC), 0);
    assert_int_equal(pipe2(bad, O_CLOEXEC), 0);
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], 0);
    posix_spawn_file_actions_adddup2(&files, text[1], 1);
    posix_spawn_file_actions_adddup2(&files, bad[1], 2);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attr, &none);
    struct program *p = xcalloc(1, sizeof *p);
    p->status = status[1];
    int rc = posix_spawnp(&p->pid, o->command[0], &files, &attr, (char *const *)o->command, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    assert_int_equal(rc, 0);
    close(in[0]);
    close(text[1]);
    close(bad[1]);
    const int ours[] = {in[1], text[0], bad[0]};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        fcntl(ours[i], F_SETFL, O_NONBLOCK);
    if (!o->in)
        close(in[1]);
    *out = (struct node_process){.in = o->in ? in[1] : -1, .out = text[0], .err = bad[0], .status = status[0]};
    pthread_detach(thread_start("fake-program", wait_for, p));
    return 0;
}

/* ---- logs ---- */

struct log {
    struct node_log face; /* first member */
    void (*notify)(void *arg);
    void *arg;
    pthread_t writer;
    atomic_int said; /* lines so far; 3: it is over */
    int given;
};

static void *write_lines(void *arg)
{
    struct log *l = arg;
    while (atomic_load(&l->said) < 3) {
        usleep(200000);
        atomic_fetch_add(&l->said, 1);
        if (l->notify)
            l->notify(l->arg);
    }
    return NULL;
}

static int log_read(struct node_log *face, size_t max, struct buf *out, struct err *err)
{
    struct log *l = (struct log *)face;
    int said = atomic_load(&l->said);
    for (; l->given < said && l->given < 2; l->given++)
        buf_addf(out, "line %d\n", l->given + 1);
    return said == 3 ? 2 : 0;
}

static void log_close(struct node_log *face)
{
    struct log *l = (struct log *)face;
    pthread_join(l->writer, NULL);
    free(l);
}

static struct node_log *log_open(void *self, const struct ctx *ctx, jval *pod, const struct kube_log_opts *o,
                                 void (*notify)(void *arg), void *arg, struct err *err)
{
    struct log *l = xcalloc(1, sizeof *l);
    *l = (struct log){.face = {.read = log_read, .close = log_close}, .notify = notify, .arg = arg};
    atomic_init(&l->said, o->follow ? 1 : 3);
    l->writer = thread_start("fake-log", write_lines, l);
    return &l->face;
}

/* ---- ports ---- */

static int dial(void *self, const struct ctx *ctx, jval *pod, int port, int *fd, struct err *err)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(*fd >= 0);
    if (connect(*fd, (struct sockaddr *)&a, sizeof a) == 0 || errno == EINPROGRESS || errno == ECONNREFUSED)
        return 0;
    return err_errno(err, "connecting");
}

const struct node_api fake_node = {.log_open = log_open, .process_open = process_open, .dial = dial};
