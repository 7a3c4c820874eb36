/* cmd_version.c - tidemill version. */
#include <stdio.h>

#include "cli/cli.h"

static int version_main(const struct command *self, int argc, char **argv)
{
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, NULL, 0, &rest, 0, 0, &code) < 0)
        return code;
    printf("tidemill %s (Kubernetes API v1.34, Pipelines API v2beta1)\n", TIDEMILL_VERSION);
    return EXIT_OK;
}

const struct command cmd_version = {.name = "version", .summary = "Print the version", .usage = "version", .main = version_main};
