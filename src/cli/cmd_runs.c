/* cmd_runs.c - tidemill runs: the list, or one run with its tasks. */
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/runs.h"

static void list_line(jval *r)
{
    AUTOFREE char *took = runs_took(jv_str(jv_get(r, "created_at")), jv_str(jv_get(r, "finished_at")));
    printf("%-36s  %-10s %8s  %-24s %s\n", jv_str_or(jv_get(r, "run_id"), ""), run_state_of(r), took,
           jv_str_or(jv_get(r, "created_at"), ""), jv_str_or(jv_get(r, "display_name"), ""));
}

static int list(const struct command *self, struct front *f, const char *limit)
{
    ERR(e);
    int64_t n;
    if (!str_to_i64(limit, &n) || n < 1 || n > 200) {
        fprintf(stderr, "tidemill runs: --limit %s: give a number from 1 to 200\n", limit);
        return EXIT_USAGE;
    }
    AUTOFREE char *path = xasprintf("/apis/v2beta1/runs?page_size=%lld&sort_by=created_at%%20desc", (long long)n);
    JSON_REF(page) = front_call(f, HTTP_GET, path, NULL, &e);
    if (!page)
        return cli_fail(self, &e);
    jval *runs = jv_get(json_root(page), "runs"), *r;
    if (!jv_len(runs)) {
        printf("No runs yet. Try: tidemill run pipeline.yaml --watch\n");
        return EXIT_OK;
    }
    printf("%-36s  %-10s %8s  %-24s %s\n", "RUN", "STATE", "TOOK", "CREATED", "NAME");
    for (struct jiter it = jv_iter(runs); jv_next(&it, NULL, &r);)
        list_line(r);
    if (jv_get(json_root(page), "next_page_token"))
        printf("(more: --limit)\n");
    return EXIT_OK;
}

static int one(const struct command *self, struct front *f, const char *what)
{
    ERR(e);
    JSON_REF(run) = runs_find(f, what, &e);
    if (!run)
        return cli_fail(self, &e);
    jval *r = json_root(run);
    printf("%s  %s  %s\n", jv_str_or(jv_get(r, "run_id"), ""), run_state_of(r), jv_str_or(jv_get(r, "display_name"), ""));
    BUF(table);
    TASK_NAMES(names);
    if (task_names_load(&names, f, jv_str_or(jv_get(r, "run_id"), ""), &e) < 0)
        return cli_fail(self, &e);
    runs_task_table(r, &names, isatty(STDOUT_FILENO), &table);
    fputs(buf_str(&table), stdout);
    const char *message = jv_str(jv_path(r, "error", "message", NULL));
    if (message)
        printf("error: %s\n", message);
    jval *t;
    printf("task ids:\n");
    for (struct jiter it = jv_iter(jv_path(r, "run_details", "task_details", NULL)); jv_next(&it, NULL, &t);)
        printf("  %s  %s\n", jv_str_or(jv_get(t, "task_id"), ""), task_name(&names, t));
    return EXIT_OK;
}

static int runs_main(const struct command *self, int argc, char **argv)
{
    struct front_where w = {0};
    const char *limit = "20";
    const struct opt opts[] = {{"limit", 'n', OPT_TEXT, &limit, "N", "how many of the newest to list [20]"}, FRONT_OPTIONS(w)};
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 0, 1, &code) < 0)
        return code;
    ERR(e);
    struct front f;
    code = front_open(&f, &w, &e) < 0 ? cli_fail(self, &e) : rest.n ? one(self, &f, rest.v[0]) : list(self, &f, limit);
    front_close(&f);
    strlist_free(&rest);
    return code;
}

const struct command cmd_runs = {
    .name = "runs", .summary = "List runs, or show one with its tasks", .usage = "runs [RUN] [--limit N]", .main = runs_main};
