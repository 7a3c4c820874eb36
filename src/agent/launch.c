/* launch.c - one task from its file to its result; the order of steps is that of launch/task.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/ctx.h"
#include "base/fs.h"
#include "value/json.h"

#define SHIM_DIR  "/tmp/kfp/shim"
#define INPUT_ARG "@" LAUNCH_INPUT_FILE

/* Runs before the Python executor reads its arguments, gives it the executor input that no argument can hold, and makes way for
 * the sitecustomize that the image may have of its own. */
static const char shim_py[] = "import sys\n"
                              "sys.path[:] = [p for p in sys.path if p != '" SHIM_DIR "']\n"
                              "for _i, _a in enumerate(sys.argv):\n"
                              "    if _a == '" INPUT_ARG "':\n"
                              "        with open('" LAUNCH_INPUT_FILE "', encoding='utf-8') as _f:\n"
                              "            sys.argv[_i] = _f.read()\n"
                              "sys.modules.pop('sitecustomize', None)\n"
                              "try:\n"
                              "    import sitecustomize\n"
                              "except ImportError:\n"
                              "    pass\n";

/* Claims this attempt: only one process ever does. */
static int claim(const char *dir, bool *twice, struct err *err)
{
    AUTOFREE char *path = fs_join(dir, LAUNCH_STARTED);
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    *twice = fd < 0 && errno == EEXIST;
    if (fd < 0)
        return err_errno(err, "%s", path);
    if (fsync(fd) < 0)
        return err_errno(err, "%s", path);
    return 0;
}

static int make_dir(const char *path, struct err *err)
{
    mode_t old = umask(0022);
    int rc = fs_mkdir_p(path, 0755, err);
    umask(old);
    return rc;
}

static int write_file(const char *path, const char *text, size_t n, struct err *err)
{
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, "%s", path);
    return fs_write(fd, text, n, err);
}

/* An executor input that is too long for an argument goes through a file and a shim. */
static int big_input(struct launch_task *t, struct err *err)
{
    if (make_dir(SHIM_DIR, err) < 0 || write_file(LAUNCH_INPUT_FILE, t->executor_input, strlen(t->executor_input), err) < 0 ||
        write_file(SHIM_DIR "/sitecustomize.py", shim_py, sizeof shim_py - 1, err) < 0)
        return err_wrap(err, "passing the executor input through a file");
    const char *had = getenv("PYTHONPATH");
    AUTOFREE char *path = str_empty(had) ? xstrdup(SHIM_DIR) : xasprintf(SHIM_DIR ":%s", had);
    setenv("PYTHONPATH", path, 1);
    return 0;
}

static int prepare(struct launch_task *t, struct err *err)
{
    for (size_t i = 0; i < t->clean.n; i++)
        if (fs_rm_rf(t->clean.v[i], err) < 0)
            return -1;
    for (size_t i = 0; i < t->dirs.n; i++)
        if (make_dir(t->dirs.v[i], err) < 0)
            return -1;
    int at = t->executor_input_at;
    if (at < 0)
        return 0;
    if ((size_t)at >= t->argv.n || !t->executor_input)
        return err_set(err, ERR_BAD_REQUEST, "task file: executorInputAt is %d, but argv has %zu elements", at, t->argv.n);
    if (t->big_input && big_input(t, err) < 0)
        return -1;
    free(t->argv.v[at]);
    t->argv.v[at] = xstrdup(t->big_input ? INPUT_ARG : t->executor_input);
    return 0;
}

/* The image's own entry point before argv, its own arguments when there are none. The node has left them beside the task. */
static int add_image_command(struct launch_task *t, const char *dir, struct err *err)
{
    static const char *const parts[] = {"entrypoint", "cmd"};
    AUTOFREE char *path = xasprintf("%s/../" LAUNCH_IMAGE, dir);
    BUF(text);
    STRLIST(argv);
    ERR(e);
    if (fs_read(path, LAUNCH_OUTPUT_MAX, &text, &e) < 0)
        return err_set(
            err, ERR_PRECONDITION,
            "the component has no command, and what its image runs by itself is not known here (%s); give the component a "
            "command",
            err_text(&e));
    JSON_REF(image) = json_parse(buf_str(&text), text.len, NULL, err);
    if (!image)
        return err_wrap(err, "the image's command");
    for (size_t p = 0; p < ARRAY_LEN(parts); p++) {
        jval *list = jv_get(json_root(image), parts[p]);
        for (size_t i = 0; i < jv_len(list) && (p == 0 || t->argv.n == 0); i++)
            strlist_add(&argv, jv_str_or(jv_at(list, i), ""));
    }
    for (size_t i = 0; i < t->argv.n; i++)
        strlist_add(&argv, t->argv.v[i]);
    if (!argv.n)
        return err_set(err, ERR_PRECONDITION, "neither the component nor its image has a command");
    struct strlist had = t->argv;
    t->argv = argv;
    argv = had;
    return 0;
}

/* What of argv is left out: the prelude, when it would install nothing. */
static size_t skip_prelude(const struct launch_task *t, struct launch_result *r)
{
    if (t->prelude_at <= 0 || (size_t)t->prelude_at >= t->argv.n)
        return 0;
    r->prelude_skipped = agent_requirements_met(&t->requirements) ||
                         (t->setup_dir && agent_setup_use(t->setup_dir, &t->requirements, &r->setup_stale));
    return r->prelude_skipped ? (size_t)t->prelude_at : 0;
}

/* Replaces bytes that are no UTF-8, so that the tail can stand in JSON. */
static char *utf8_clean(const struct buf *b)
{
    BUF(out);
    for (size_t i = 0; i < b->len;) {
        size_t n = 1;
        while (n < 4 && i + n < b->len && ((unsigned char)b->data[i + n] & 0xc0) == 0x80)
            n++;
        if (b->data[i] && str_utf8_valid(b->data + i, n)) {
            buf_add(&out, b->data + i, n);
            i += n;
        } else {
            buf_adds(&out, "\xef\xbf\xbd");
            i++;
        }
    }
    return buf_steal(&out, NULL);
}

static void judge(const char *program, const struct run_outcome *o, struct launch_result *r)
{
    char text[128];
    if (!o->started) {
        r->outcome = LAUNCH_NOT_FOUND;
        r->exit_code = o->exec_errno == ENOENT ? 127 : 126;
        const char *path = getenv("PATH");
        if (o->exec_errno == ENOENT && !strchr(program, '/'))
            r->message = xasprintf("%s: command not found in PATH (%s) of the image", program, path ? path : "unset");
        else
            r->message = xasprintf("cannot run %s: %s", program, strerror_r(o->exec_errno, text, sizeof text));
    } else if (WIFSIGNALED(o->wait_status)) {
        r->outcome = LAUNCH_SIGNALED;
        r->signal = WTERMSIG(o->wait_status);
        r->exit_code = 128 + r->signal;
        r->message = xasprintf("ended by signal %d (%s)", r->signal, strsignal(r->signal));
    } else {
        r->outcome = LAUNCH_EXITED;
        r->exit_code = WEXITSTATUS(o->wait_status);
        if (r->exit_code)
            r->message = xasprintf("exit status %d", r->exit_code);
    }
}

static void failed_before(struct launch_result *r, enum launch_outcome outcome, const struct err *e)
{
    r->outcome = outcome;
    r->exit_code = 1;
    free(r->message);
    r->message = xstrdup(err_text(e));
}

/* A copy of the output where the task wants one. A log that cannot be kept is no reason to fail: 0. */
static int open_log(const struct launch_task *t)
{
    if (!t->log_path)
        return 0;
    const char *slash = strrchr(t->log_path, '/');
    AUTOFREE char *dir = xstrndup(t->log_path, slash ? (size_t)(slash - t->log_path) : 0);
    if (*dir && make_dir(dir, NULL) < 0)
        return 0;
    int fd = open(t->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return fd > 0 ? fd : 0;
}

/* Closes the log and sends it where it belongs. */
static void keep_log(const struct launch_task *t, struct run_outcome *o, struct launch_result *r)
{
    struct stat st;
    ERR(e);
    if (o->log_fd <= 0)
        return;
    bool ok = !o->log_ended && fstat(o->log_fd, &st) == 0;
    close(o->log_fd);
    o->log_fd = 0;
    if (ok && t->log_uri && agent_send_log(t, &e) < 0) {
        fprintf(stderr, "tidemill-agent: %s\n", err_text(&e));
        ok = false;
    }
    r->has_log = ok;
    r->log_size = ok ? st.st_size : 0;
}

static void run_and_collect(struct launch_task *t, struct launch_result *r)
{
    ERR(e);
    struct run_outcome o = {.log_fd = open_log(t)};
    char **argv = t->argv.v + skip_prelude(t, r);
    int rc = agent_run(argv, &o, &e);
    keep_log(t, &o, r);
    if (rc < 0) {
        failed_before(r, LAUNCH_SETUP, &e);
        return;
    }
    r->started_ns = o.started_ns;
    r->finished_ns = o.finished_ns;
    judge(argv[0], &o, r);
    if (o.tail.len)
        r->log_tail = utf8_clean(&o.tail);
    buf_free(&o.tail);
    if (agent_pause(r->exit_code ? PAUSE_FAILED : PAUSE_AFTER, &e) < 0) {
        failed_before(r, LAUNCH_COLLECT, &e);
        return;
    }
    if (r->outcome == LAUNCH_EXITED && r->exit_code == 0 &&
        (agent_collect(t, r, &e) < 0 || (t->n_stores > 0 && agent_send_outputs(t, r, &e) < 0)))
        failed_before(r, LAUNCH_COLLECT, &e);
}

/* A task that is too long for a file of the pod's own lies in a store. */
static int read_task(const char *from, const char *dir, struct launch_task *t, struct err *err)
{
    AUTOFREE char *in = fs_join(from, LAUNCH_TASK), *path = fs_join(dir, LAUNCH_TASK);
    BUF(text);
    /* A file that a kubelet writes is a link to where it is now; where others can write, links are not followed. */
    if (str_eq(from, dir))
        return launch_task_read(dir, t, err);
    if (fs_read(in, LAUNCH_FILE_MAX, &text, err) < 0 || launch_task_parse(buf_str(&text), text.len, t, err) < 0)
        return -1;
    if (!t->task_uri)
        return 0;
    if (agent_bring_task(t, path, err) < 0)
        return -1;
    launch_task_clear(t);
    return launch_task_read(dir, t, err);
}

int agent_launch(const char *from, const char *dir)
{
    ERR(e);
    struct launch_task t;
    struct launch_result r;
    bool twice = false;
    launch_task_init(&t);
    launch_result_init(&r);
    int code = 1;
    if (read_task(from, dir, &t, &e) < 0) {
        fprintf(stderr, "tidemill-agent: %s\n", err_text(&e));
        goto out;
    }
    if (claim(dir, &twice, &e) < 0) {
        fprintf(stderr, "tidemill-agent: %s\n", twice ? "this attempt has been started before" : err_text(&e));
        code = twice ? LAUNCH_EXIT_TWICE : 1;
        goto out;
    }
    r.attempt = t.attempt;
    r.started_ns = r.finished_ns = clock_system.wall_ns(&clock_system);
    if (prepare(&t, &e) < 0 || (t.image_command && add_image_command(&t, dir, &e) < 0) ||
        (t.n_downloads > 0 && agent_bring_inputs(&t, &e) < 0) || agent_pause(PAUSE_BEFORE, &e) < 0)
        failed_before(&r, LAUNCH_SETUP, &e);
    else
        run_and_collect(&t, &r);
    for (size_t i = 0; i < t.yield.n; i++)
        agent_yield(t.yield.v[i]);
    /* A command that did not start has written nothing: its own log says why. */
    if (r.message && r.outcome != LAUNCH_EXITED && r.outcome != LAUNCH_SIGNALED)
        fprintf(stderr, "tidemill-agent: %s\n", r.message);
    code = r.exit_code;
    err_clear(&e);
    if (launch_result_write(&r, dir, &e) < 0) {
        fprintf(stderr, "tidemill-agent: writing the result: %s\n", err_text(&e));
        code = code ? code : 1;
    } else if (t.result_uri) {
        AUTOFREE char *path = fs_join(dir, LAUNCH_RESULT);
        if (agent_send_result(&t, path, &e) < 0) {
            fprintf(stderr, "tidemill-agent: %s\n", err_text(&e));
            code = code ? code : 1;
        }
    }
out:
    launch_result_clear(&r);
    launch_task_clear(&t);
    return code;
}
