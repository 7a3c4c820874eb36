/* cmd_kubeconfig.c - tidemill kubeconfig: prints (or names) the administrator's kubeconfig. */
#include <stdio.h>

#include "base/fs.h"
#include "cli/cli.h"
#include "cli/place.h"

static int kubeconfig_main(const struct command *self, int argc, char **argv)
{
    const char *data = NULL;
    bool path_only = false;
    const struct opt opts[] = {{"data", 0, OPT_TEXT, &data, "DIR", "data directory of the tidemill to ask"},
                               {"path", 0, OPT_FLAG, &path_only, NULL, "print the file's path instead of its content"}};
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 0, 0, &code) < 0)
        return code;
    ERR(e);
    JSON_REF(run) = place_run_file(data, &e);
    const char *path = jv_str(jv_get(json_root(run), "kubeconfig"));
    if (!path)
        return cli_fail(self, &e);
    if (path_only) {
        puts(path);
        return EXIT_OK;
    }
    BUF(text);
    if (fs_read(path, 1 << 20, &text, &e) < 0)
        return cli_fail(self, &e);
    fputs(buf_str(&text), stdout);
    return EXIT_OK;
}

const struct command cmd_kubeconfig = {.name = "kubeconfig",
                                       .summary = "Print the kubeconfig of the running tidemill",
                                       .usage = "kubeconfig [--path] [--data DIR]",
                                       .help = "export KUBECONFIG=$(tidemill kubeconfig --path) makes kubectl talk to it.",
                                       .main = kubeconfig_main};
