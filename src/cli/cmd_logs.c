/* cmd_logs.c - tidemill logs: what the steps of a run printed. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "cli/cli.h"
#include "cli/runs.h"

#define PODS_NAMESPACE "kubeflow"

struct logs {
    const struct command *self;
    struct front f;
    struct task_names names;
    const char *run_id;
    bool follow, head_lines;
};

/* Pods of runs that are over go after a while: what they printed was stored, and the front door knows where. */
static struct http_body *open_log(struct logs *l, const struct ctx *ctx, const char *pod, struct err *err)
{
    ERR(e);
    AUTOFREE char *path =
        xasprintf("/api/v1/namespaces/%s/pods/%s/log?container=main%s", PODS_NAMESPACE, pod, l->follow ? "&follow=true" : "");
    struct http_body *b = front_kube_open(&l->f, ctx, path, &e);
    if (b)
        return b;
    if (e.code != ERR_NOT_FOUND) {
        err_move(err, &e);
        return NULL;
    }
    AUTOFREE char *stored = xasprintf("/apis/v2beta1/runs/%s/nodes/%s/log", l->run_id, pod);
    return front_body(&l->f, ctx, stored, err);
}

static int one_pod(struct logs *l, const char *pod)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    struct http_body *b = open_log(l, &ctx, pod, &e);
    if (!b) {
        fprintf(stderr, "tidemill logs: pod %s: %s\n", pod, err_text(&e));
        return EXIT_FAILED;
    }
    char chunk[16384];
    ssize_t n;
    while ((n = http_body_read(b, &ctx, chunk, sizeof chunk, &e)) > 0)
        if (fs_write(STDOUT_FILENO, chunk, (size_t)n, &e) < 0)
            break;
    http_body_close(b);
    return n < 0 ? cli_fail(l->self, &e) : EXIT_OK;
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
    return one_pod(l, pod);
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
    struct logs l = {.self = self, .names = {.by_id = STRMAP_INIT(free)}};
    const char *url = NULL, *data = NULL;
    const struct opt opts[] = {{"follow", 'f', OPT_FLAG, &l.follow, NULL, "go on until the step ends"},
                               {"data", 0, OPT_TEXT, &data, "DIR", "data directory of the tidemill to ask"},
                               {"url", 0, OPT_TEXT, &url, "URL", "front door of the tidemill to ask"}};
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 1, 2, &code) < 0)
        return code;
    ERR(e);
    JSON_REF(run) = front_open(&l.f, url, data, &e) < 0 ? NULL : runs_find(&l.f, rest.v[0], &e);
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
    .help = "RUN is an id, the beginning of one, or a display name; TASK a name (of a loop: all of that name), the end of\n"
            "a path as 'tidemill runs RUN' shows it (for-loop-2[0]/train), or a task id.",
    .main = logs_main};
