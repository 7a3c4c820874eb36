#include "cluster/node/logs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/thread.h"
#include "base/timefmt.h"
#include "cluster/node/logs_read.h"
#include "kube/fields.h"
#include "kube/object.h"

#define LOG_ROOM "node"
#include "base/log.h"

/* How soon to look again: soon while something grows fast (or has just begun), so that one that floods its log stays within a few
 * files' size. */
#define ROTATE_SLOW NS_PER_S
#define ROTATE_FAST (NS_PER_S / 10)

/* A container that writes now. */
struct writer {
    char *path, *cid, *bundle;
    int64_t seen; /* size at the last look; -1: not looked at yet */
    ino_t left;   /* the file that it was asked to leave for a new one; 0: none */
};

struct reader {
    struct node_log base;
    struct log_reader log;
    struct logs *logs;
    struct reader *next; /* followers */
    char *key, *dir;     /* key "<uid>/<container>" */
    int watch;
    bool follow;
    void (*notify)(void *arg);
    void *arg;
};

struct logs {
    struct logs_config cfg;
    char *dir;
    pthread_mutex_t lock;  /* all below */
    struct strmap writers; /* key -> struct writer */
    struct reader *followers;
    int inotify, wake;
    pthread_t thread;
    bool has_thread;
};

static void writer_free(void *p)
{
    struct writer *w = p;
    free(w->path);
    free(w->cid);
    free(w->bundle);
    free(w);
}

struct logs *logs_new(const struct logs_config *cfg)
{
    struct logs *l = xcalloc(1, sizeof *l);
    l->cfg = *cfg;
    l->dir = xstrdup(cfg->dir);
    l->writers = STRMAP_INIT(writer_free);
    l->inotify = l->wake = -1;
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

/* ---- who writes, who follows --------------------------------------------------------------------------------------------- */

void logs_running(struct logs *l, const char *pod_uid, const char *container, const char *path, const char *cid,
                  const char *bundle, bool runs)
{
    AUTOFREE char *key = xasprintf("%s/%s", pod_uid, container);
    LOCK_GUARD(&l->lock);
    if (runs) {
        struct writer *w = xcalloc(1, sizeof *w);
        w->path = xstrdup(path);
        w->cid = xstrdup(cid);
        w->bundle = xstrdup(bundle);
        w->seen = -1;
        strmap_put(&l->writers, key, w);
        return;
    }
    strmap_del(&l->writers, key);
    for (struct reader *r = l->followers; r; r = r->next)
        if (str_eq(r->key, key))
            r->notify(r->arg);
}

static bool still_written(struct logs *l, const struct reader *r)
{
    LOCK_GUARD(&l->lock);
    const struct writer *w = strmap_get(&l->writers, r->key);
    return w && str_eq(w->path, r->log.path);
}

static void *watch_main(void *arg)
{
    struct logs *l = arg;
    int in = l->inotify, wake = l->wake; /* set before this thread began, closed after it was joined */
    for (;;) {
        struct pollfd p[] = {{.fd = in, .events = POLLIN}, {.fd = wake, .events = POLLIN}};
        char events[8192] __attribute__((aligned(8)));
        if (poll(p, ARRAY_LEN(p), -1) < 0 && errno != EINTR)
            return NULL;
        if (p[1].revents)
            return NULL;
        ssize_t n = read(in, events, sizeof events);
        LOCK_GUARD(&l->lock);
        for (char *at = events; n > 0 && at < events + n;) {
            struct inotify_event e;
            memcpy(&e, at, sizeof e);
            for (struct reader *r = l->followers; r; r = r->next)
                if (r->watch == e.wd)
                    r->notify(r->arg);
            at += sizeof e + e.len;
        }
    }
}

static int follow_start(struct logs *l, struct reader *r, struct err *err)
{
    LOCK_GUARD(&l->lock);
    if (!l->has_thread) {
        l->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        l->wake = eventfd(0, EFD_CLOEXEC);
        if (l->inotify < 0 || l->wake < 0)
            return err_errno(err, "watching logs");
        l->thread = thread_start("node-logs", watch_main, l);
        l->has_thread = true;
    }
    r->watch = inotify_add_watch(l->inotify, r->dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO);
    if (r->watch < 0)
        return err_errno(err, "watching %s", r->dir);
    r->next = l->followers;
    l->followers = r;
    return 0;
}

static void follow_stop(struct logs *l, struct reader *r)
{
    LOCK_GUARD(&l->lock);
    bool shared = false;
    for (struct reader **p = &l->followers; *p; p = &(*p)->next)
        if (*p == r) {
            *p = r->next;
            break;
        }
    for (struct reader *o = l->followers; o; o = o->next)
        shared |= o->watch == r->watch;
    if (r->watch >= 0 && !shared)
        inotify_rm_watch(l->inotify, r->watch);
}

void logs_free(struct logs *l)
{
    if (!l)
        return;
    if (l->has_thread) {
        uint64_t one = 1;
        ASSERT(write(l->wake, &one, sizeof one) == sizeof one);
        pthread_join(l->thread, NULL);
    }
    if (l->inotify >= 0)
        close(l->inotify);
    if (l->wake >= 0)
        close(l->wake);
    strmap_free(&l->writers);
    pthread_mutex_destroy(&l->lock);
    free(l->dir);
    free(l);
}

/* ---- reading --------------------------------------------------------------------------------------------------------------- */

static int log_read(struct node_log *log, size_t max, struct buf *out, struct err *err)
{
    struct reader *r = CONTAINER_OF(log, struct reader, base);
    /* Asked before reading: what is written until the container ends is in the file by then. */
    bool written = r->follow && still_written(r->logs, r);
    int rc = log_reader_read(&r->log, r->follow, max, out, err);
    return rc == 0 && !written ? 2 : rc;
}

static void log_close(struct node_log *log)
{
    struct reader *r = CONTAINER_OF(log, struct reader, base);
    if (r->follow)
        follow_stop(r->logs, r);
    log_reader_close(&r->log);
    free(r->key);
    free(r->dir);
    free(r);
}

static jval *named(jval *list, const char *name)
{
    for (size_t i = 0; i < jv_len(list); i++)
        if (str_eq(jv_str(jv_get(jv_at(list, i), "name")), name))
            return jv_at(list, i);
    return NULL;
}

/* Which attempt's log is asked for; -1 with Kubernetes' text when there is none. */
static int which_attempt(jval *pod, const struct kube_log_opts *opts, int64_t *attempt, struct err *err)
{
    jval *spec = pod_spec(pod), *status = pod_status(pod);
    if (!named(pod_spec_containers(spec), opts->container) && !named(pod_spec_init_containers(spec), opts->container) &&
        !named(pod_spec_ephemeral_containers(spec), opts->container))
        return err_set(err, ERR_BAD_REQUEST, "container %s is not valid for pod %s", opts->container, obj_name(pod));
    jval *st = named(pod_status_container_statuses(status), opts->container);
    if (!st)
        st = named(pod_status_init_container_statuses(status), opts->container);
    if (!st)
        st = named(pod_status_ephemeral_container_statuses(status), opts->container);
    jval *state = container_status_state(st), *waiting = container_state_waiting(state);
    bool before = container_state_terminated(container_status_last_state(st)) != NULL;
    *attempt = container_status_restart_count(st, 0);
    bool has = container_state_running(state) || container_state_terminated(state);
    if (opts->previous) {
        if (!before || (has && *attempt < 1))
            return err_set(err, ERR_BAD_REQUEST, "previous terminated container \"%s\" in pod \"%s\" not found", opts->container,
                           obj_name(pod));
        *attempt -= has;
        return 0;
    }
    /* One that waits for its next attempt shows the last one. */
    if (has || before)
        return 0;
    const char *reason = container_state_waiting_reason(waiting);
    return err_set(err, ERR_BAD_REQUEST, "container \"%s\" in pod \"%s\" is waiting to start: %s", opts->container, obj_name(pod),
                   reason ? reason : "ContainerCreating");
}

/* 0: from the beginning; so is more than there ever was. */
static int64_t since(const struct ctx *ctx, int64_t seconds)
{
    int64_t now = ctx_now_ns(ctx);
    return seconds > 0 && seconds < now / NS_PER_S ? now - seconds * NS_PER_S : 0;
}

struct node_log *logs_open(struct logs *l, const struct ctx *ctx, jval *pod, const struct kube_log_opts *opts,
                           void (*notify)(void *arg), void *arg, struct err *err)
{
    int64_t attempt = 0;
    if (which_attempt(pod, opts, &attempt, err) < 0)
        return NULL;
    struct reader *r = xcalloc(1, sizeof *r);
    r->base = (struct node_log){.read = log_read, .close = log_close};
    r->logs = l;
    r->follow = opts->follow && notify && !opts->previous;
    r->notify = notify;
    r->arg = arg;
    r->watch = -1;
    r->key = xasprintf("%s/%s", obj_uid(pod), opts->container);
    r->dir = xasprintf("%s/pods/%s_%s_%s/%s", l->dir, obj_namespace(pod), obj_name(pod), obj_uid(pod), opts->container);
    r->log = (struct log_reader){.path = xasprintf("%s/%lld.log", r->dir, (long long)attempt),
                                 .timestamps = opts->timestamps,
                                 .since_ns = opts->since_time_ns ? opts->since_time_ns : since(ctx, opts->since_seconds),
                                 .left = opts->limit_bytes > 0 ? opts->limit_bytes : -1,
                                 .fd = -1};
    int rc = log_reader_open(&r->log, opts->tail_lines, err);
    if (rc < 0)
        err_wrap(err, "container %s", opts->container);
    if (rc == 0 && r->follow && fs_is_dir(r->dir) && (rc = follow_start(l, r, err)) == 0)
        return &r->base;
    r->follow = false;
    if (rc < 0) {
        log_close(&r->base);
        return NULL;
    }
    return &r->base;
}

/* ---- rotation
 * ---------------------------------------------------------------------------------------------------------------------- */

static void remove_log(const char *path)
{
    AUTOFREE char *unready = xasprintf("%s" LOG_UNREADY, path);
    unlink(unready);
    unlink(path);
}

/* Older files of one log: those beyond the number that is kept, of which the log itself is one, go; the others are packed but for
 * the newest, unless logs grow fast: packing takes longer than they take to fill. */
static void drop_old(const struct logs *l, const char *path, bool pack)
{
    STRLIST(old);
    log_rotated(path, &old);
    for (size_t i = 0; i < old.n; i++)
        if (old.n - i >= l->cfg.max_files)
            remove_log(old.v[i]);
        else if (pack && i + 1 < old.n && !str_ends(old.v[i], ".gz"))
            logs_gzip(old.v[i]);
}

void logs_remove(const char *path)
{
    STRLIST(old);
    log_rotated(path, &old);
    for (size_t i = 0; i < old.n; i++)
        remove_log(old.v[i]);
    remove_log(path);
}

/* The log gets a second name, and conmon puts a new file over its first: at every instant there is one that it writes to. Who
 * was killed in between finds the second name, and only has to ask again. */
static int rotate(struct logs *l, const struct writer *w, bool pack)
{
    char stamp[TIME_TEXT_MAX];
    ERR(e);
    STRLIST(old);
    AUTOFREE char *to = xasprintf("%s.%s", w->path, time_format(stamp, l->cfg.clock->wall_ns(l->cfg.clock), TIME_MICROS));
    log_rotated(w->path, &old);
    bool has_name = old.n && log_same_file(old.v[old.n - 1], w->path);
    if (!has_name && link(w->path, to) < 0) {
        log_warn("rotating %s: %s", w->path, strerror(errno));
        return -1;
    }
    FAULT("node.log.named");
    if (l->cfg.reopen(l->cfg.self, w->cid, w->bundle, &e) < 0) {
        log_warn("rotating %s: %s", w->path, err_text(&e));
        unlink(has_name ? old.v[old.n - 1] : to);
        return -1;
    }
    FAULT("node.log.rotated");
    drop_old(l, w->path, pack);
    return 0;
}

/* It still writes to the file that it could not be told to leave. */
static void stays(struct logs *l, const char *path)
{
    LOCK_GUARD(&l->lock);
    for (struct strmap_entry *e = strmap_first(&l->writers); e; e = strmap_next(e)) {
        struct writer *w = e->value;
        if (str_eq(w->path, path))
            w->left = 0;
    }
}

int64_t logs_rotate(struct logs *l)
{
    struct writer *due = NULL;
    size_t n = 0;
    bool fast = false, any = false;
    {
        LOCK_GUARD(&l->lock);
        for (struct strmap_entry *e = strmap_first(&l->writers); e; e = strmap_next(e)) {
            struct writer *w = e->value;
            struct stat st;
            any = true;
            fast |= w->seen < 0;
            if (stat(w->path, &st) < 0)
                continue;
            fast |= st.st_size - w->seen > l->cfg.max_bytes / 50;
            w->seen = st.st_size;
            if (st.st_size <= l->cfg.max_bytes || st.st_ino == w->left)
                continue; /* asked twice, conmon would put a new file over one that has lines */
            w->seen = 0;
            w->left = st.st_ino;
            due = xreallocarray(due, n + 1, sizeof *due);
            due[n++] = (struct writer){.path = xstrdup(w->path), .cid = xstrdup(w->cid), .bundle = xstrdup(w->bundle)};
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (rotate(l, &due[i], !fast) < 0)
            stays(l, due[i].path);
        free(due[i].path);
        free(due[i].cid);
        free(due[i].bundle);
    }
    free(due);
    return !any ? 0 : fast ? ROTATE_FAST : ROTATE_SLOW;
}
