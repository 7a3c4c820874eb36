/* The scripted runtime: nothing runs; a function says how each container ends. One thread is its passage of time. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/thread.h"
#include "base/timefmt.h"
#include "cluster/node/runtime/runtime.h"

struct act {
    enum container_run run;
    struct script script;
    char *log, *bundle;
    int64_t ends_mono; /* INT64_MAX: not by itself */
    struct container_state end;
};

struct scripted {
    struct runtime base;
    void (*decide)(void *self, const struct container_spec *, struct script *out);
    void *self;
    script_exec *exec;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    struct strmap acts; /* id -> struct act */
    unsigned next_ip;
    bool stopping, started;
    pthread_t clock;
    int *held; /* far ends of programs that go on */
    size_t n_held;
};

static struct scripted *of(struct runtime *r) { return CONTAINER_OF(r, struct scripted, base); }

static void act_free(void *p)
{
    struct act *a = p;
    free(a->log);
    free(a->bundle);
    free(a);
}

static int64_t mono(void) { return clock_system.mono_ns(&clock_system); }

/* Lock held. */
static void end(struct act *a, int code, bool oom)
{
    a->run = RUN_EXITED;
    a->end = (struct container_state){
        .run = RUN_EXITED, .exit_code = code, .oom = oom, .finished_ns = clock_system.wall_ns(&clock_system)};
    a->ends_mono = INT64_MAX;
    if (a->script.termination) {
        AUTOFREE char *path = fs_join(a->bundle, "termination-log");
        AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd >= 0)
            fs_write(fd, a->script.termination, strlen(a->script.termination), NULL);
    }
}

static void *pass_time(void *arg)
{
    struct scripted *s = arg;
    for (;;) {
        STRLIST(done);
        {
            LOCK_GUARD(&s->lock);
            if (s->stopping)
                return NULL;
            int64_t now = mono(), next = INT64_MAX;
            for (struct strmap_entry *e = strmap_first(&s->acts); e; e = strmap_next(e)) {
                struct act *a = e->value;
                if (a->run == RUN_RUNNING && a->ends_mono <= now) {
                    end(a, a->script.exit_code, a->script.oom);
                    strlist_add(&done, e->key);
                } else if (a->run == RUN_RUNNING && a->ends_mono < next) {
                    next = a->ends_mono;
                }
            }
            if (!done.n) {
                if (next == INT64_MAX)
                    pthread_cond_wait(&s->changed, &s->lock);
                else
                    thread_cond_wait_until(&s->changed, &s->lock, next);
            }
        }
        for (size_t i = 0; i < done.n; i++)
            if (s->base.exited)
                s->base.exited(s->base.self, done.v[i]);
    }
}

static int ready(struct runtime *r, char **version, struct err *err)
{
    struct scripted *s = of(r);
    *version = xstrdup("scripted://1");
    LOCK_GUARD(&s->lock);
    if (!s->started)
        s->clock = thread_start("scripted", pass_time, s);
    s->started = true;
    return 0;
}

static char *limits(struct runtime *r) { return NULL; }

/* As a machine that can limit memory and not cpu. */
static char *unenforced(struct runtime *r, bool memory, bool cpu)
{
    return cpu ? xstrdup("limits of cpu are not enforced: scripted") : NULL;
}

static int image(struct runtime *r, const char *name, struct image_info *out, struct err *err)
{
    if (str_starts(name, "missing"))
        return err_set(err, ERR_NOT_FOUND, "image \"%s\" is not on this machine", name);
    if (strchr(name, ' '))
        return err_set(err, ERR_BAD_REQUEST, "couldn't parse image name \"%s\"", name);
    *out = (struct image_info){.id = xstrdup("scripted@1"), .cwd = xstrdup("/")};
    strlist_add(&out->env, "PATH=/usr/bin:/bin");
    strlist_add(&out->entrypoint, "/entrypoint");
    strlist_add(&out->cmd, "default");
    return 0;
}

static void user(struct runtime *r, const char *image_name, int64_t uid, char **home, int64_t *gid)
{
    *home = xstrdup(uid ? "/home/user" : "/root");
    *gid = uid ? 100 : 0;
}

static int sandbox_up(struct runtime *r, const char *pod_uid, bool host_network, struct sandbox *out, struct err *err)
{
    struct scripted *s = of(r);
    LOCK_GUARD(&s->lock);
    unsigned n = ++s->next_ip;
    *out = (struct sandbox){.name = xasprintf("scripted-%u", n), .ip = xasprintf("10.0.%u.%u", n >> 8 & 255, n & 255)};
    return 0;
}

static int sandbox_down(struct runtime *r, const char *pod_uid, const struct sandbox *sandbox, struct err *err) { return 0; }
static int sandbox_adopt(struct runtime *r, const struct sandbox *const *used, size_t n, struct err *err) { return 0; }

static int create(struct runtime *r, const struct container_spec *spec, struct err *err)
{
    struct scripted *s = of(r);
    struct act *a = xcalloc(1, sizeof *a);
    a->run = RUN_CREATED;
    a->log = xstrdup(spec->log_path);
    a->bundle = xstrdup(spec->bundle);
    a->ends_mono = INT64_MAX;
    if (s->decide)
        s->decide(s->self, spec, &a->script);
    if (a->script.fail_start) {
        err_set(err, ERR_NOT_FOUND, "%s", a->script.fail_start);
        act_free(a);
        return -1;
    }
    LOCK_GUARD(&s->lock);
    strmap_put(&s->acts, spec->id, a);
    return 0;
}

static int write_log(const struct act *a, struct err *err)
{
    char t[TIME_TEXT_MAX];
    AUTOFREE char *line =
        xasprintf("%s stdout F %s\n", time_format(t, clock_system.wall_ns(&clock_system), TIME_NANOS_TRIMMED), a->script.log);
    AUTOCLOSE int fd = open(a->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return fd < 0 ? err_errno(err, "writing %s", a->log) : fs_write(fd, line, strlen(line), err);
}

static int start(struct runtime *r, const struct container_ref *ref, struct err *err)
{
    struct scripted *s = of(r);
    bool over = false;
    {
        LOCK_GUARD(&s->lock);
        struct act *a = strmap_get(&s->acts, ref->id);
        if (!a || a->run != RUN_CREATED)
            return err_set(err, ERR_PRECONDITION, "container is not in the created state");
        if (a->script.log && write_log(a, err) < 0)
            return -1;
        a->run = RUN_RUNNING;
        over = a->script.run_ns == 0;
        if (over)
            end(a, a->script.exit_code, a->script.oom);
        else if (a->script.run_ns > 0)
            a->ends_mono = mono() + a->script.run_ns;
        pthread_cond_signal(&s->changed);
    }
    if (over && s->base.exited)
        s->base.exited(s->base.self, ref->id);
    return 0;
}

static int send_signal(struct runtime *r, const struct container_ref *ref, int sig, struct err *err)
{
    struct scripted *s = of(r);
    {
        LOCK_GUARD(&s->lock);
        struct act *a = strmap_get(&s->acts, ref->id);
        if (!a || a->run == RUN_EXITED || (sig == SIGTERM && a->script.ignore_term))
            return 0;
        end(a, 128 + sig, false);
    }
    if (s->base.exited)
        s->base.exited(s->base.self, ref->id);
    return 0;
}

static int state(struct runtime *r, const struct container_ref *ref, struct container_state *out, struct err *err)
{
    struct scripted *s = of(r);
    LOCK_GUARD(&s->lock);
    struct act *a = strmap_get(&s->acts, ref->id);
    *out = a && a->run == RUN_EXITED ? a->end : (struct container_state){.run = a ? a->run : RUN_ABSENT};
    return 0;
}

static int remove_container(struct runtime *r, const struct container_ref *ref, struct err *err)
{
    struct scripted *s = of(r);
    LOCK_GUARD(&s->lock);
    strmap_del(&s->acts, ref->id);
    return 0;
}

static int reopen_log(struct runtime *r, const struct container_ref *ref, struct err *err) { return 0; }

void runtime_scripted_exec(struct runtime *r, script_exec *fn) { of(r)->exec = fn; }

static int exec_script(struct runtime *r, const struct container_ref *ref, const struct exec_spec *spec, struct node_process *out,
                       struct err *err)
{
    struct scripted *s = of(r);
    int status[2], p[2];
    BUF(text);
    *out = (struct node_process)NODE_PROCESS_NONE;
    int code = s->exec ? s->exec(s->self, spec->args, &text) : 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, status) < 0)
        return err_errno(err, "socketpair");
    out->status = status[0];
    if (spec->out && pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0) {
        fs_write(p[1], buf_str(&text), text.len, NULL);
        close(p[1]);
        out->out = p[0];
    }
    if (code >= 0) {
        AUTOFREE char *line = xasprintf("exit %d", code);
        send(status[1], line, strlen(line), MSG_NOSIGNAL);
        close(status[1]);
        return 0;
    }
    LOCK_GUARD(&s->lock);
    s->held = xreallocarray(s->held, s->n_held + 1, sizeof *s->held);
    s->held[s->n_held++] = status[1];
    return 0;
}

static int attach(struct runtime *r, const struct container_ref *ref, const struct exec_spec *spec, struct node_process *out,
                  struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "nothing runs here");
}

static int dial(struct runtime *r, const struct sandbox *sandbox, int port, int *fd, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "nothing listens here");
}

static int tmpfs(struct runtime *r, const char *path, const char *options, int *fd, struct err *err)
{
    if (fs_mkdir_p(path, 0755, err) < 0)
        return -1;
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd < 0 ? err_errno(err, "opening %s", path) : 0;
}

static int bind_sub(struct runtime *r, const char *base, const char *sub, const char *target, struct err *err)
{
    return fs_mkdir_p(target, 0755, err);
}

static int share_pids(struct runtime *r, const char *pod_dir, bool up, struct err *err) { return 0; }
static int remove_tree(struct runtime *r, const char *path, struct err *err) { return fs_rm_rf(path, err); }

static void stop(struct runtime *r, bool remove)
{
    struct scripted *s = of(r);
    {
        LOCK_GUARD(&s->lock);
        s->stopping = true;
        pthread_cond_signal(&s->changed);
    }
    if (s->started)
        pthread_join(s->clock, NULL);
    strmap_free(&s->acts);
    for (size_t i = 0; i < s->n_held; i++)
        close(s->held[i]);
    free(s->held);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct runtime_ops scripted_ops = {
    .ready = ready,
    .limits = limits,
    .unenforced = unenforced,
    .image = image,
    .user = user,
    .sandbox_up = sandbox_up,
    .sandbox_down = sandbox_down,
    .sandbox_adopt = sandbox_adopt,
    .create = create,
    .start = start,
    .signal = send_signal,
    .state = state,
    .remove = remove_container,
    .reopen_log = reopen_log,
    .exec = exec_script,
    .attach = attach,
    .dial = dial,
    .tmpfs = tmpfs,
    .bind_sub = bind_sub,
    .share_pids = share_pids,
    .remove_tree = remove_tree,
    .stop = stop,
};

struct runtime *runtime_scripted_new(void (*decide)(void *self, const struct container_spec *, struct script *out), void *self)
{
    struct scripted *s = xcalloc(1, sizeof *s);
    s->base.ops = &scripted_ops;
    s->decide = decide;
    s->self = self;
    s->acts = STRMAP_INIT(act_free);
    pthread_mutex_init(&s->lock, NULL);
    thread_cond_init(&s->changed);
    return &s->base;
}
