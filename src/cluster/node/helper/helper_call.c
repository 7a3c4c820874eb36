#include "cluster/node/helper/helper_call.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "base/thread.h"

#define LOG_ROOM "node"
#include "base/log.h"

extern char **environ;

/* A thread that waits for its answer; lives on that thread's stack. */
struct waiter {
    struct waiter *next;
    uint64_t id;
    bool done, died;
    struct helper_header h;
    char *text;
    int fd;
    pthread_cond_t cond;
};

struct helper {
    struct strlist argv;
    char *node_dir, *instance;
    pthread_mutex_t lock; /* all below */
    int sock;             /* -1: not running */
    pid_t pid;
    pthread_t reader;
    bool has_reader, stopping;
    uint64_t next_id;
    struct waiter *waiters;
    struct cgroup_info cgroups;
};

void helper_answer_free(struct helper_answer *a)
{
    free(a->text);
    if (a->fd >= 0)
        close(a->fd);
    *a = (struct helper_answer){.fd = -1};
}

struct helper *helper_new(const struct helper_config *cfg)
{
    static const char *const self[] = {"/proc/self/exe", "node-helper", NULL};
    struct helper *h = xcalloc(1, sizeof *h);
    for (const char *const *a = cfg->argv ? cfg->argv : self; *a; a++)
        strlist_add(&h->argv, *a);
    h->node_dir = xstrdup(cfg->node_dir);
    h->instance = xstrdup(cfg->instance);
    h->sock = -1;
    pthread_mutex_init(&h->lock, NULL);
    return h;
}

/* Hands an answer to the thread that waits for it. Lock held. */
static void deliver(struct helper *h, struct helper_packet *p)
{
    for (struct waiter **w = &h->waiters; *w; w = &(*w)->next)
        if ((*w)->id == p->h.id) {
            struct waiter *found = *w;
            *w = found->next;
            found->h = p->h;
            found->text = xstrdup(p->h.n ? p->v[0] : "");
            if (p->n_fds)
                found->fd = p->fds[--p->n_fds];
            found->done = true;
            pthread_cond_signal(&found->cond);
            break;
        }
    while (p->n_fds)
        close(p->fds[--p->n_fds]);
}

/* Reads answers until the helper is gone. */
static void *reader_main(void *arg)
{
    struct helper *h = arg;
    struct helper_packet *p = xmalloc(sizeof *p);
    int sock;
    {
        LOCK_GUARD(&h->lock);
        sock = h->sock;
    }
    for (;;) {
        ERR(e);
        int rc = helper_packet_recv(sock, p, &e);
        if (rc <= 0) {
            if (rc < 0)
                log_error("%s", err_text(&e));
            break;
        }
        LOCK_GUARD(&h->lock);
        deliver(h, p);
    }
    free(p);
    LOCK_GUARD(&h->lock);
    if (!h->stopping)
        log_warn("the node helper process %d ended; the next request starts another", (int)h->pid);
    close(h->sock);
    h->sock = -1;
    while (h->waiters) {
        struct waiter *w = h->waiters;
        h->waiters = w->next;
        w->done = w->died = true;
        pthread_cond_signal(&w->cond);
    }
    waitpid(h->pid, NULL, 0);
    return NULL;
}

/* Lock held. */
static int spawn(struct helper *h, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(err, "making the socket of the node helper");
    int room = HELPER_PACKET_MAX * 2;
    for (int i = 0; i < 2; i++)
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    char **argv = xcalloc(h->argv.n + 3, sizeof *argv);
    for (size_t i = 0; i < h->argv.n; i++)
        argv[i] = h->argv.v[i];
    argv[h->argv.n] = (char *)"--fd";
    argv[h->argv.n + 1] = (char *)"3";
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    /* dup2 onto itself would keep close-on-exec: move it out of the way first. */
    int theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, 10);
    posix_spawn_file_actions_adddup2(&fa, theirs, 3);
    posix_spawn_file_actions_addclosefrom_np(&fa, 4);
    posix_spawnattr_t attr;
    posix_spawnattr_init(&attr);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn(&h->pid, argv[0], &fa, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    close(theirs);
    close(pair[1]);
    free(argv);
    if (rc != 0) {
        close(pair[0]);
        errno = rc;
        return err_errno(err, "starting the node helper %s", h->argv.v[0]);
    }
    h->sock = pair[0];
    h->has_reader = true;
    h->reader = thread_start("node-helper", reader_main, h);
    return 0;
}

/* Lock held; let go of while waiting. */
static int exchange(struct helper *h, enum helper_op op, const char *const *v, const int *fds, unsigned n_fds,
                    struct helper_answer *out, struct err *err)
{
    struct waiter w = {.id = ++h->next_id, .fd = -1};
    struct helper_header req = {.id = w.id, .op = op};
    while (v[req.n])
        req.n++;
    thread_cond_init(&w.cond);
    w.next = h->waiters;
    h->waiters = &w;
    int rc = helper_packet_send(h->sock, &req, v, fds, n_fds, err);
    if (rc < 0) {
        for (struct waiter **p = &h->waiters; *p; p = &(*p)->next)
            if (*p == &w) {
                *p = w.next;
                break;
            }
    } else {
        while (!w.done)
            pthread_cond_wait(&w.cond, &h->lock);
        if (w.died)
            rc = err_set(err, ERR_UNAVAILABLE, "the node helper process ended before it had answered");
        else if (w.h.err_no) {
            rc = err_set(err, ERR_IO, "%s", w.text);
            err->sys_errno = w.h.err_no;
        }
    }
    pthread_cond_destroy(&w.cond);
    if (rc == 0 && out) {
        *out = (struct helper_answer){.rc = w.h.rc, .text = w.text ? w.text : xstrdup(""), .fd = w.fd};
        return 0;
    }
    free(w.text);
    if (w.fd >= 0)
        close(w.fd);
    return rc;
}

/* Starts the helper when there is none. Lock held. */
static int ensure(struct helper *h, struct err *err)
{
    if (h->sock >= 0)
        return 0;
    if (h->stopping)
        return err_set(err, ERR_UNAVAILABLE, "the node is stopping");
    if (h->has_reader) {
        pthread_t old = h->reader;
        h->has_reader = false;
        pthread_mutex_unlock(&h->lock);
        pthread_join(old, NULL);
        pthread_mutex_lock(&h->lock);
        if (h->sock >= 0)
            return 0;
    }
    if (spawn(h, err) < 0)
        return -1;
    HELPER_ANSWER(a);
    ERR(e);
    if (exchange(h, HELPER_INIT, (const char *const[]){h->node_dir, h->instance, NULL}, NULL, 0, &a, &e) < 0) {
        shutdown(h->sock, SHUT_RDWR);
        err_wrap(&e, "setting up the node helper");
        return err_move(err, &e);
    }
    char mode[8];
    int swap, at = 0;
    ASSERT(sscanf(a.text, "%7s %d %u %n", mode, &swap, &h->cgroups.controllers, &at) == 3 && at);
    ASSERT(cgroup_mode_parse(mode, &h->cgroups.mode));
    h->cgroups.swap_limit = swap;
    snprintf(h->cgroups.detail, sizeof h->cgroups.detail, "%s", a.text + at);
    return 0;
}

int helper_call(struct helper *h, enum helper_op op, const char *const *v, const int *fds, unsigned n_fds,
                struct helper_answer *out, struct err *err)
{
    ERR(e);
    LOCK_GUARD(&h->lock);
    if (ensure(h, &e) < 0 || exchange(h, op, v, fds, n_fds, out, &e) < 0)
        return err_move(err, &e);
    return 0;
}

int helper_ask(struct helper *h, enum helper_op op, struct helper_answer *out, struct err *err, ...)
{
    const char *v[HELPER_STRINGS_MAX + 1];
    size_t n = 0;
    va_list ap;
    va_start(ap, err);
    while (n < HELPER_STRINGS_MAX && (v[n] = va_arg(ap, const char *)))
        n++;
    v[n] = NULL;
    va_end(ap);
    return helper_call(h, op, v, NULL, 0, out, err);
}

bool helper_runs(struct helper *h)
{
    LOCK_GUARD(&h->lock);
    return h->sock >= 0;
}

int helper_cgroups(struct helper *h, struct cgroup_info *out, struct err *err)
{
    LOCK_GUARD(&h->lock);
    if (ensure(h, err) < 0)
        return -1;
    *out = h->cgroups;
    return 0;
}

void helper_free(struct helper *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    if (h->sock >= 0)
        shutdown(h->sock, SHUT_RDWR);
    bool join = h->has_reader;
    pthread_mutex_unlock(&h->lock);
    if (join)
        pthread_join(h->reader, NULL);
    pthread_mutex_destroy(&h->lock);
    strlist_free(&h->argv);
    free(h->node_dir);
    free(h->instance);
    free(h);
}
