/* cmd_logs.c - tidemill logs: what the steps of a run printed. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/terminal.h"
#include "cli/cli.h"
#include "cli/runs.h"

#define PODS_NAMESPACE "kubeflow"

struct logs {
    const struct command *self;
    struct front f;
    struct task_names names;
    const char *run_id;
    bool follow, head_lines, tty;
    struct terminal_filter filter;
};

static char *stored_path(const struct logs *l, const char *pod)
{
    return xasprintf("/apis/v2beta1/runs/%s/nodes/%s/log", l->run_id, pod);
}

/* Pods of runs that are over go after a while: what they printed was stored, and the front door knows where. It is asked as well
 * where nothing is known of the Kubernetes API, or it does not let us. */
static struct http_body *open_log(struct logs *l, const struct ctx *ctx, const char *pod, bool *whole, struct err *err)
{
    ERR(e);
    AUTOFREE char *path =
        xasprintf("/api/v1/namespaces/%s/pods/%s/log?container=main%s", PODS_NAMESPACE, pod, l->follow ? "&follow=true" : "");
    struct http_body *b = front_kube_open(&l->f, ctx, path, &e);
    *whole = !b && e.code != ERR_NOT_FOUND; /* what is there, and nobody says when there is more */
    if (b)
        return b;
    if (e.code != ERR_NOT_FOUND && e.code != ERR_PRECONDITION && e.code != ERR_FORBIDDEN && e.code != ERR_UNAUTHENTICATED) {
        err_move(err, &e);
        return NULL;
    }
    AUTOFREE char *stored = stored_path(l, pod);
    return front_body(&l->f, ctx, stored, err);
}

/* On a terminal a step's output is no order to it; elsewhere it is what the step wrote. */
static int print(struct logs *l, const char *p, size_t n, struct err *err)
{
    BUF(tamed);
    if (!l->tty)
        return fs_write(STDOUT_FILENO, p, n, err);
    terminal_filter(&l->filter, p, n, &tamed);
    return fs_write(STDOUT_FILENO, tamed.data, tamed.len, err);
}

/* Prints a body but for its first *shown bytes, and counts on. */
static int print_body(struct logs *l, struct http_body *b, const struct ctx *ctx, size_t *shown, struct err *err)
{
    char chunk[16384];
    size_t at = 0;
    ssize_t n;
    while ((n = http_body_read(b, ctx, chunk, sizeof chunk, err)) > 0) {
        size_t old = at < *shown ? *shown - at : 0;
        at += (size_t)n;
        if (old < (size_t)n && print(l, chunk + old, (size_t)n - old, err) < 0)
            return -1;
    }
    if (at > *shown)
        *shown = at;
    return n < 0 ? -1 : 0;
}

static bool is_over(struct logs *l, const char *task_id)
{
    JSON_REF(run) = runs_get(&l->f, l->run_id, NULL);
    jval *t;
    if (!run || run_is_final(json_root(run)))
        return true;
    for (struct jiter it = jv_iter(jv_path(json_root(run), "run_details", "task_details", NULL)); jv_next(&it, NULL, &t);)
        if (str_eq(jv_str(jv_get(t, "task_id")), task_id))
            return run_is_final(t);
    return true;
}

/* Without the Kubernetes API: the log is asked for once a second until its step is over, and once more. */
static void follow_by_asking(struct logs *l, const struct ctx *ctx, jval *t, size_t shown)
{
    AUTOFREE char *path = stored_path(l, jv_str_or(jv_get(t, "pod_name"), ""));
    for (bool over = false; !over;) {
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        over = is_over(l, jv_str_or(jv_get(t, "task_id"), ""));
        struct http_body *b = front_body(&l->f, ctx, path, NULL);
        if (b) {
            print_body(l, b, ctx, &shown, NULL);
            http_body_close(b);
        }
    }
}

static int one_pod(struct logs *l, jval *t)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    const char *pod = jv_str_or(jv_get(t, "pod_name"), "");
    bool whole = false;
    size_t shown = 0;
    struct http_body *b = open_log(l, &ctx, pod, &whole, &e);
    int rc = b ? print_body(l, b, &ctx, &shown, &e) : -1;
    if (b)
        http_body_close(b);
    if (whole && l->follow && !is_over(l, jv_str_or(jv_get(t, "task_id"), ""))) {
        follow_by_asking(l, &ctx, t, shown);
        return EXIT_OK;
    }
    if (rc < 0)
        err_wrap(&e, "pod %s", pod);
    return rc < 0 ? cli_fail(l->self, &e) : EXIT_OK;
}

static int task_logs(struct logs *l, jval *t)
{
    const char *pod = jv_str(jv_get(t, "pod_name"));
    if (str_empty(pod))
        return EXIT_OK;
    if (l->head_lines) {
        printf("==> %s (%s) <==\n", task_name(&l->names, t), jv_str_or(jv_get(t, "state"), ""));
        fflush(stdout);
    }
    return one_pod(l, t);
}

/* Those that TASK names, or all of them. A name that several iterations have means all of these. */
static int run_logs(struct logs *l, jval *run, const char *what)
{
    jval *t, *only = NULL;
    jval *tasks = jv_path(run, "run_details", "task_details", NULL);
    int n = 0, n_pods = 0, code = EXIT_OK;
    l->run_id = jv_str_or(jv_get(run, "run_id"), "RUN");
    for (struct jiter it = jv_iter(tasks); what && jv_next(&it, NULL, &t);)
        if (task_name_means(&l->names, t, what)) {
            only = t;
            n++;
            n_pods += !str_empty(jv_str(jv_get(t, "pod_name")));
        }
    if (what && !n_pods) {
        if (n)
            fprintf(stderr, "tidemill logs: task '%s' has had no pod (%s)\n", what, jv_str_or(jv_get(only, "state"), "PENDING"));
        else
            fprintf(stderr, "tidemill logs: the run has no task '%s'; 'tidemill runs %s' lists them\n", what, l->run_id);
        return EXIT_FAILED;
    }
    l->head_lines = !what || n_pods > 1;
    for (struct jiter it = jv_iter(tasks); jv_next(&it, NULL, &t);)
        if ((!what || task_name_means(&l->names, t, what)) && task_logs(l, t) != EXIT_OK)
            code = EXIT_FAILED;
    return code;
}

static int logs_main(const struct command *self, int argc, char **argv)
{
    struct logs l = {.self = self, .tty = isatty(STDOUT_FILENO), .names = {.by_id = STRMAP_INIT(free)}};
    struct front_where w = {0};
    const struct opt opts[] = {{"follow", 'f', OPT_FLAG, &l.follow, NULL, "go on until the step ends"}, FRONT_OPTIONS(w)};
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 1, 2, &code) < 0)
        return code;
    ERR(e);
    JSON_REF(run) = front_open(&l.f, &w, &e) < 0 ? NULL : runs_find(&l.f, rest.v[0], &e);
    if (!run || task_names_load(&l.names, &l.f, jv_str_or(jv_get(json_root(run), "run_id"), ""), &e) < 0)
        code = cli_fail(self, &e);
    else
        code = run_logs(&l, json_root(run), rest.n == 2 ? rest.v[1] : NULL);
    task_names_free(&l.names);
    front_close(&l.f);
    return code;
}

const struct command cmd_logs = {
    .name = "logs",
    .summary = "Print what the steps of a run wrote",
    .usage = "logs RUN [TASK] [-f]",
    .help = "RUN is an id or a display name, or the beginning of either (the newest run of a name counts).\n"
            "TASK is a name (of a loop: all of that name), the end of a path as 'tidemill runs RUN' shows it "
            "(for-loop-2[0]/train), or a task id.",
    .main = logs_main};
