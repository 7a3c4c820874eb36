/* collect.c - reads what a command left in the places that the task names. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/fs.h"
#include "value/json.h"

/* Opens a regular file without ever blocking (a command may leave a FIFO). 1: open; 0: not there; -1: error. */
static int open_regular(const char *path, int *fd, int64_t *size, struct err *err)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_errno(err, "%s", path);
    if (fstat(*fd, &st) < 0)
        return err_errno(err, "%s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s: is not a regular file", path);
    *size = st.st_size;
    return 1;
}

static int read_open(int fd, int64_t size, const char *path, struct buf *out, struct err *err)
{
    buf_reserve(out, (size_t)size);
    while (out->len < (size_t)size) {
        ssize_t n = read(fd, out->data + out->len, (size_t)size - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "%s", path);
        if (n == 0)
            break;
        out->len += (size_t)n;
    }
    out->data[out->len] = '\0';
    return 0;
}

static int collect_param(const struct launch_output *o, struct launch_result_param *p, struct err *err)
{
    AUTOCLOSE int fd = -1;
    int64_t size;
    p->key = xstrdup(o->key);
    int rc = open_regular(o->path, &fd, &size, err);
    if (rc <= 0)
        return rc < 0 ? err_wrap(err, "output parameter %s", o->key) : 0;
    if (size > LAUNCH_PARAM_MAX) {
        p->too_big = true;
        p->len = (size_t)size;
        return 0;
    }
    BUF(text);
    if (read_open(fd, size, o->path, &text, err) < 0)
        return err_wrap(err, "output parameter %s", o->key);
    p->text = buf_steal(&text, &p->len);
    return 0;
}

static int collect_executor_output(const struct launch_task *t, struct launch_result *r, struct err *err)
{
    AUTOCLOSE int fd = -1;
    int64_t size;
    if (!t->executor_output_path)
        return 0;
    int rc = open_regular(t->executor_output_path, &fd, &size, err);
    if (rc <= 0)
        return rc < 0 ? err_wrap(err, "executor output") : 0;
    if (size > LAUNCH_OUTPUT_MAX)
        return err_set(err, ERR_TOO_LARGE, "executor output %s has %lld bytes, more than the %u allowed", t->executor_output_path,
                       (long long)size, LAUNCH_OUTPUT_MAX);
    BUF(text);
    if (read_open(fd, size, t->executor_output_path, &text, err) < 0)
        return err_wrap(err, "executor output");
    r->executor_output = buf_steal(&text, NULL);
    return 0;
}

/* ---- bytes that the command put elsewhere ---- */

static int copy_file(const char *from, const char *to, mode_t mode, struct err *err)
{
    AUTOCLOSE int in = open(from, O_RDONLY | O_CLOEXEC);
    AUTOCLOSE int out = in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (in < 0 || out < 0)
        return err_errno(err, "copying %s to %s", from, to);
    for (;;) {
        ssize_t n = copy_file_range(in, NULL, out, NULL, 1 << 30, 0);
        if (n == 0)
            return 0;
        if (n < 0)
            break;
    }
    char chunk[65536];
    ssize_t n;
    while ((n = read(in, chunk, sizeof chunk)) > 0)
        if (fs_write(out, chunk, (size_t)n, err) < 0)
            return err_wrap(err, "copying %s to %s", from, to);
    return n < 0 ? err_errno(err, "%s", from) : 0;
}

/* Moves a file; across file systems the bytes are copied. Directories across file systems go through cp, which any image that can
 * run a shell has. */
static int bring(const char *from, const char *to, struct err *err)
{
    struct stat st;
    if (stat(from, &st) < 0)
        return errno == ENOENT ? 0 : err_errno(err, "%s", from);
    if (strcmp(from, to) == 0)
        return 0;
    if (fs_rm_rf(to, err) < 0)
        return -1;
    if (rename(from, to) == 0)
        return 0;
    if (errno != EXDEV)
        return err_errno(err, "moving %s to %s", from, to);
    if (!S_ISDIR(st.st_mode))
        return copy_file(from, to, st.st_mode & 0777, err);
    char *argv[] = {(char *)"cp", (char *)"-a", (char *)from, (char *)to, NULL};
    struct run_outcome o = {0};
    int rc = agent_run(argv, &o, err);
    buf_free(&o.tail);
    if (rc == 0 && (!o.started || o.wait_status))
        rc = err_set(err, ERR_IO, "copying directory %s to %s: cp failed", from, to);
    return rc;
}

/* artifacts.<key>.artifacts[0].custom_path of the executor output. */
static char *custom_path(const struct launch_result *r, const char *key)
{
    if (!r->executor_output)
        return NULL;
    struct json_opts lax = {.allow_nan = true};
    JSON_REF(d) = json_parse(r->executor_output, strlen(r->executor_output), &lax, NULL);
    jval *first = jv_at(jv_get(jv_get(jv_get(json_root(d), "artifacts"), key), "artifacts"), 0);
    const char *p = jv_str(jv_get(first, "customPath"));
    p = p ? p : jv_str(jv_get(first, "custom_path"));
    return str_empty(p) ? NULL : xstrdup(p);
}

static int collect_artifact(const struct launch_output *o, const struct launch_result *r, struct launch_result_artifact *a,
                            struct err *err)
{
    struct stat st;
    a->key = xstrdup(o->key);
    AUTOFREE char *elsewhere = custom_path(r, o->key);
    if (elsewhere && bring(elsewhere, o->path, err) < 0)
        return err_wrap(err, "output artifact %s", o->key);
    a->exists = stat(o->path, &st) == 0;
    if (!a->exists)
        return 0;
    a->is_dir = S_ISDIR(st.st_mode);
    a->size = a->is_dir ? fs_du(o->path) : st.st_size;
    return 0;
}

int agent_collect(const struct launch_task *t, struct launch_result *r, struct err *err)
{
    r->params = xcalloc(t->n_params, sizeof *r->params);
    r->artifacts = xcalloc(t->n_artifacts, sizeof *r->artifacts);
    /* Counted before they are filled: a failed one is freed with the rest. */
    while (r->n_params < t->n_params) {
        size_t i = r->n_params++;
        if (collect_param(&t->params[i], &r->params[i], err) < 0)
            return -1;
    }
    if (collect_executor_output(t, r, err) < 0)
        return -1;
    while (r->n_artifacts < t->n_artifacts) {
        size_t i = r->n_artifacts++;
        if (collect_artifact(&t->artifacts[i], r, &r->artifacts[i], err) < 0)
            return -1;
    }
    return 0;
}
