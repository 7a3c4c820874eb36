/* Containers of the crun runtime: conmon, crun, and what they leave in the bundle (the list of files is in crun.c). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "cluster/node/helper/proc.h"
#include "cluster/node/runtime/crun_priv.h"
#include "cluster/node/runtime/imageroot.h"

enum { SYNC_TIMEOUT_MS = 60000, SYNC_MAX = 65536, STIR_EVERY_NS = 10000000 };

const char *crun_cgroup_arg(const struct crun *c)
{
    return c->machine.cgroup.mode == CGROUP_NONE ? "--cgroup-manager=disabled" : "--cgroup-manager=cgroupfs";
}

struct procs {
    pid_t pid, conmon;
    int64_t pid_start, conmon_start;
};

static pid_t read_pid(const char *bundle, const char *name)
{
    AUTOFREE char *path = fs_join(bundle, name);
    BUF(b);
    int64_t pid;
    if (fs_read(path, 64, &b, NULL) < 0)
        return 0;
    while (b.len && b.data[b.len - 1] == '\n')
        b.data[--b.len] = 0;
    return str_to_i64(buf_str(&b), &pid) ? (pid_t)pid : 0;
}

static bool procs_read(const char *bundle, struct procs *p)
{
    AUTOFREE char *path = fs_join(bundle, "procs");
    BUF(b);
    *p = (struct procs){0};
    return fs_read(path, 256, &b, NULL) == 0 &&
           sscanf(buf_str(&b), "%d %" SCNd64 " %d %" SCNd64, &p->pid, &p->pid_start, &p->conmon, &p->conmon_start) == 4;
}

/* No fsync: after a crash of the machine these processes are gone anyway. */
static int procs_write(const char *bundle, const struct procs *p, struct err *err)
{
    AUTOFREE char *path = fs_join(bundle, "procs"), *tmp = fs_join(bundle, "procs.new");
    char text[128];
    int n = snprintf(text, sizeof text, "%d %" PRId64 " %d %" PRId64 "\n", p->pid, p->pid_start, p->conmon, p->conmon_start);
    AUTOCLOSE int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, (size_t)n) != n || rename(tmp, path) < 0)
        return err_errno(err, "writing %s", path);
    return 0;
}

/* Reads conmon's one line: {"data": pid} or {"data": -1, "message": "..."}. */
static int read_sync(int fd, struct buf *line, struct err *err)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int rc = poll(&p, 1, SYNC_TIMEOUT_MS);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            return err_set(err, ERR_TIMEOUT, "conmon did not answer within %d s", SYNC_TIMEOUT_MS / 1000);
        buf_reserve(line, 4096);
        ssize_t n = read(fd, line->data + line->len, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        line->len += (size_t)n;
        line->data[line->len] = 0;
        if (memchr(line->data, '\n', line->len) || line->len > SYNC_MAX)
            return 0;
    }
}

/* crun's text says why (1.21: "... exists but it is not executable: Operation not permitted"); the code says what kubelet
 * would have said: 127 entry point missing, 126 not executable, 128 anything else. */
static int create_failed(const char *message, struct err *err)
{
    STRLIST(lines);
    str_split(message, '\n', &lines);
    const char *text = "container runtime said nothing";
    for (size_t i = 0; i < lines.n; i++)
        if (*lines.v[i])
            text = lines.v[i];
    /* "2026-11-25T13:20:01.000Z: executable file `x` not found ..." */
    const char *colon = strstr(text, "Z: ");
    if (colon && colon - text < 40)
        text = colon + 3;
    while (*text == ' ')
        text++;
    bool exec = strstr(text, "executable file") || strstr(text, "exec ") || strstr(text, "chdir");
    bool refused = strstr(text, "ermission denied") || strstr(text, "not executable");
    enum err_code code = exec && (strstr(text, "not found") || strstr(text, "No such file")) ? ERR_NOT_FOUND
                         : refused                                                           ? ERR_FORBIDDEN
                                                                                             : ERR_PRECONDITION;
    return err_set(err, code, "%s", text);
}

static int spawn_conmon(struct crun *c, const struct container_spec *spec, int sync, struct err *err)
{
    AUTOFREE char *pid = fs_join(spec->bundle, "pid"), *conmon_pid = fs_join(spec->bundle, "conmon.pid");
    AUTOFREE char *said = fs_join(spec->bundle, "stderr"), *log = xasprintf("k8s-file:%s", spec->log_path);
    const char *v[] = {"_OCI_SYNCPIPE=3",
                       said,
                       c->conmon,
                       "--api-version",
                       "1",
                       "-c",
                       spec->id,
                       "-u",
                       spec->id,
                       "-n",
                       spec->name,
                       "-r",
                       c->crun_run,
                       "-b",
                       spec->bundle,
                       "-p",
                       pid,
                       "-P",
                       conmon_pid,
                       "--exit-dir",
                       c->exits,
                       "--persist-dir",
                       spec->bundle,
                       "--full-attach",
                       "-l",
                       log,
                       "--no-sync-log",
                       "--runtime-arg",
                       c->root_arg,
                       "--runtime-arg",
                       crun_cgroup_arg(c),
                       spec->tty          ? "-t"
                       : spec->stdin_open ? "-i"
                                          : NULL,
                       spec->stdin_open && !spec->stdin_once ? "--leave-stdin-open" : NULL,
                       NULL};
    return helper_call(c->helper, HELPER_SPAWN, v, &sync, 1, NULL, err);
}

void crun_stir(struct crun *c)
{
    int64_t now = clock_system.mono_ns(&clock_system);
    if (c->machine.cgroup.mode == CGROUP_NONE || now - c->stirred_ns < STIR_EVERY_NS)
        return;
    c->stirred_ns = now;
    /* A failure costs the start some milliseconds, no more. */
    helper_ask(c->helper, HELPER_CGROUP_STIR, NULL, NULL, NULL);
}

/* config.json; a process namespace to be joined is named by a process that is in it. */
static int write_config(const struct crun *c, const struct container_spec *spec, struct err *err)
{
    struct container_spec joining = *spec;
    struct procs p;
    if (!spec->pids_of)
        return oci_write(&c->machine, spec, err);
    if (!procs_read(spec->pids_of, &p) || !proc_alive(p.pid, p.pid_start))
        return err_set(err, ERR_PRECONDITION, "the target container does not run any more");
    AUTOFREE char *path = xasprintf("/proc/%d/ns/pid", (int)p.pid);
    joining.pid_path = path;
    return oci_write(&c->machine, &joining, err);
}

int crun_create(struct runtime *r, const struct container_spec *spec, struct err *err)
{
    struct crun *c = crun_of(r);
    crun_stir(c);
    if ((spec->own_image && imageroot_make(c->helper, spec, err) < 0) || write_config(c, spec, err) < 0)
        return -1;
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_errno(err, "pipe");
    AUTOCLOSE int sync = p[0];
    int rc = spawn_conmon(c, spec, p[1], err);
    close(p[1]);
    BUF(line);
    if (rc < 0 || read_sync(sync, &line, err) < 0)
        return -1;
    JSON_REF(answer) = json_parse(buf_str(&line), line.len, NULL, NULL);
    int64_t pid = jv_i64_or(jv_get(json_root(answer), "data"), -1);
    if (pid > 1) {
        struct procs procs = {
            .pid = (pid_t)pid, .pid_start = proc_start_time((pid_t)pid), .conmon = read_pid(spec->bundle, "conmon.pid")};
        procs.conmon_start = proc_start_time(procs.conmon);
        return procs_write(spec->bundle, &procs, err);
    }
    AUTOFREE char *said_path = fs_join(spec->bundle, "stderr");
    BUF(said);
    const char *message = jv_str(jv_get(json_root(answer), "message"));
    if (str_empty(message)) {
        fs_read(said_path, 65536, &said, NULL);
        message = buf_str(&said);
    }
    return create_failed(message, err);
}

/* What `crun start` does, without starting a program for it (4 ms): the workload's first process reads a byte from this fifo and
 * goes on. crun unlinks it before it writes; here the byte goes first, so that a fifo that is there always means "maybe not
 * started yet": nobody reads it any more (ENXIO) once the byte was taken. False: crun itself must do it. */
static bool start_by_fifo(const char *fifo)
{
    struct stat st;
    AUTOCLOSE int fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 ? errno != ENXIO : fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode) || write(fd, "", 1) != 1)
        return false;
    return unlink(fifo) == 0;
}

int crun_start(struct runtime *r, const struct container_ref *ref, struct err *err)
{
    struct crun *c = crun_of(r);
    AUTOFREE char *fifo = xasprintf("%s/%s/exec.fifo", c->crun_root, ref->id);
    HELPER_ANSWER(a);
    if (start_by_fifo(fifo))
        return 0;
    if (helper_ask(c->helper, HELPER_RUN, &a, err, c->crun_run, c->root_arg, crun_cgroup_arg(c), "start", ref->id, NULL) < 0)
        return -1;
    return a.rc == 0 ? 0 : create_failed(a.text, err);
}

int crun_signal(struct runtime *r, const struct container_ref *ref, int sig, struct err *err)
{
    struct procs p;
    char pid[16], begun[24], number[16];
    if (!procs_read(ref->bundle, &p) || p.pid_start == 0)
        return 0;
    snprintf(pid, sizeof pid, "%d", (int)p.pid);
    snprintf(begun, sizeof begun, "%" PRId64, p.pid_start);
    snprintf(number, sizeof number, "%d", sig);
    return helper_ask(crun_of(r)->helper, HELPER_KILL, NULL, err, pid, begun, number, NULL);
}

static int64_t mtime_ns(const struct stat *st) { return st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec; }

/* True when conmon has put the exit code down. */
static bool read_exit(struct crun *c, const struct container_ref *ref, struct container_state *out)
{
    AUTOFREE char *path = fs_join(c->exits, ref->id), *oom = fs_join(ref->bundle, "oom");
    BUF(b);
    struct stat st;
    int64_t code;
    if (fs_read(path, 64, &b, NULL) < 0)
        return false;
    while (b.len && b.data[b.len - 1] == '\n')
        b.data[--b.len] = 0;
    out->run = RUN_EXITED;
    out->exit_code = str_to_i64(buf_str(&b), &code) ? (int)code : 128;
    out->oom = fs_exists(oom);
    out->finished_ns = stat(path, &st) == 0 ? mtime_ns(&st) : 0;
    return true;
}

int crun_state(struct runtime *r, const struct container_ref *ref, struct container_state *out, struct err *err)
{
    struct crun *c = crun_of(r);
    AUTOFREE char *fifo = xasprintf("%s/%s/exec.fifo", c->crun_root, ref->id);
    struct procs p;
    *out = (struct container_state){0};
    if (read_exit(c, ref, out))
        return 0;
    bool known = procs_read(ref->bundle, &p);
    if (!known) {
        /* Killed between conmon's start and its answer: what conmon noted down itself tells as much. */
        p = (struct procs){.pid = read_pid(ref->bundle, "pid"), .conmon = read_pid(ref->bundle, "conmon.pid")};
        p.pid_start = proc_start_time(p.pid);
        p.conmon_start = proc_start_time(p.conmon);
        if (p.pid_start && p.conmon_start && fs_exists(fifo) && procs_write(ref->bundle, &p, err) < 0)
            return -1;
    }
    bool alive = proc_alive(p.conmon, p.conmon_start);
    if (alive && p.pid)
        out->run = fs_exists(fifo) ? RUN_CREATED : RUN_RUNNING;
    else if (!read_exit(c, ref, out) && known) /* looked for again: conmon may have written it and left in between */
        out->run = RUN_LOST;
    return 0;
}

int crun_remove(struct runtime *r, const struct container_ref *ref, struct err *err)
{
    struct crun *c = crun_of(r);
    AUTOFREE char *exit_path = fs_join(c->exits, ref->id), *own = fs_join(c->crun_root, ref->id);
    HELPER_ANSWER(a);
    if (fs_exists(own)) {
        if (helper_ask(c->helper, HELPER_RUN, &a, err, c->crun_run, c->root_arg, crun_cgroup_arg(c), "delete", "--force", ref->id,
                       NULL) < 0)
            return -1;
        if (a.rc != 0 && !strstr(a.text, "does not exist"))
            return err_set(err, ERR_INTERNAL, "crun delete: %s", a.text);
    }
    /* conmon writes the exit file of what was just killed; the file must not come after we looked. */
    struct procs p;
    if (procs_read(ref->bundle, &p))
        for (int i = 0; i < 500 && proc_alive(p.conmon, p.conmon_start); i++)
            usleep(2000);
    unlink(exit_path);
    return 0;
}

int crun_reopen_log(struct runtime *r, const struct container_ref *ref, struct err *err)
{
    AUTOFREE char *ctl = fs_join(ref->bundle, "ctl");
    AUTOCLOSE int fd = open(ctl, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "opening %s", ctl);
    return fs_write(fd, "2 0 0\n", 6, err);
}
