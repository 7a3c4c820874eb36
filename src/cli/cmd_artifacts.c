/* cmd_artifacts.c - tidemill artifacts: what a run left behind, and where. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/runs.h"

/* Where the bytes of an embedded artifact lie on this machine, when the server says where it keeps them. Caller frees. */
static char *local_path(struct front *f, const char *uri)
{
    const char *dir = jv_str(jv_get(json_root(f->run_file), "artifacts"));
    const char *rest = strstr(uri, "://");
    return dir && rest && str_starts(uri, "minio://") ? xasprintf("%s/%s", dir, rest + 3) : xstrdup("");
}

static void show(struct front *f, jval *a)
{
    const char *uri = jv_str_or(jv_get(a, "uri"), "");
    AUTOFREE char *path = local_path(f, uri);
    BUF(meta);
    if (jv_len(jv_get(a, "metadata")))
        jv_write(jv_get(a, "metadata"), JW_COMPACT, &meta);
    printf("%-20s %-16s %-26s %s\n", jv_str_or(jv_get(a, "task"), ""), jv_str_or(jv_get(a, "name"), ""),
           jv_str_or(jv_get(a, "type"), ""), uri);
    if (*path)
        printf("    %s\n", path);
    if (meta.len)
        printf("    %.*s%s\n", 300, meta.data, meta.len > 300 ? "..." : "");
}

static int artifacts_main(const struct command *self, int argc, char **argv)
{
    struct front_where w = {0};
    bool as_json = false;
    const struct opt opts[] = {{"json", 0, OPT_FLAG, &as_json, NULL, "one JSON document instead of a table"}, FRONT_OPTIONS(w)};
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 1, 1, &code) < 0)
        return code;
    ERR(e);
    struct front f;
    JSON_REF(run) = front_open(&f, &w, &e) < 0 ? NULL : runs_find(&f, rest.v[0], &e);
    AUTOFREE char *path = xasprintf("/api/tidemill/v1/runs/%s/artifacts", jv_str_or(jv_get(json_root(run), "run_id"), ""));
    JSON_REF(list) = run ? front_call(&f, HTTP_GET, path, NULL, &e) : NULL;
    if (!list) {
        code = cli_fail(self, &e);
    } else if (as_json) {
        AUTOFREE char *text = jv_text(json_root(list), JW_PRETTY);
        puts(text);
        code = EXIT_OK;
    } else {
        jval *a, *all = jv_get(json_root(list), "artifacts");
        if (!jv_len(all))
            printf("The run has no artifacts%s.\n", run_is_final(json_root(run)) ? "" : " yet");
        for (struct jiter it = jv_iter(all); jv_next(&it, NULL, &a);)
            show(&f, a);
        code = EXIT_OK;
    }
    front_close(&f);
    return code;
}

const struct command cmd_artifacts = {.name = "artifacts",
                                      .summary = "List the artifacts that a run made, and where they lie",
                                      .usage = "artifacts RUN [--json]",
                                      .main = artifacts_main};
