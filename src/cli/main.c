/* main.c - finds the subcommand. */
#include <signal.h>
#include <stdio.h>

#include "cli/cli.h"

static const struct command *const commands[] = {&cmd_up,     &cmd_serve,   &cmd_down,        &cmd_status,      &cmd_run,
                                                 &cmd_runs,   &cmd_logs,    &cmd_artifacts,   &cmd_kubeconfig,  &cmd_image,
                                                 &cmd_doctor, &cmd_version, &cmd_node_helper, &cmd_image_unpack};

static void usage(FILE *f)
{
    fprintf(f, "tidemill - machine learning pipelines, training and serving in one program\n\n"
               "usage: tidemill COMMAND [OPTIONS]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (!commands[i]->hidden)
            fprintf(f, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(f, "\n'tidemill COMMAND --help' tells more. Start with 'tidemill doctor', then 'tidemill up'.\n");
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return EXIT_OK;
    }
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i]->main(commands[i], argc - 1, argv + 1);
    fprintf(stderr, "tidemill: there is no command '%s'\n\n", argv[1]);
    usage(stderr);
    return EXIT_USAGE;
}
