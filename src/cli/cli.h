/* cli.h - the frame of the command line: commands as declarative entries, options as tables.
 *
 * Each subcommand is one file cmd_<name>.c that ends with its `const struct command`; main.c lists them. A command returns the
 * process's exit code: 0 success, 1 it did not work, 2 wrong usage, 3 (run, status --wait) the run failed. */
#ifndef TM_CLI_CLI_H
#define TM_CLI_CLI_H

#include "base/err.h"
#include "base/str.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_RUN_FAILED = 3 };

struct command {
    const char *name;
    const char *summary;                                            /* one line for the list of commands */
    const char *usage;                                              /* "run FILE [-p name=value]... [--watch]" */
    const char *help;                                               /* paragraphs after the options; may be NULL */
    int (*main)(const struct command *self, int argc, char **argv); /* argv[0] is the command's name */
    bool hidden;
};
extern const struct command cmd_up, cmd_serve, cmd_down, cmd_status, cmd_run, cmd_runs, cmd_logs, cmd_artifacts, cmd_kubeconfig,
    cmd_doctor, cmd_version, cmd_node_helper, cmd_image, cmd_image_unpack;

enum opt_kind { OPT_FLAG /* bool */, OPT_TEXT /* const char * */, OPT_LIST /* struct strlist */ };
struct opt {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    enum opt_kind kind;
    void *to;
    const char *arg; /* name of the value in the help; NULL for flags */
    const char *help;
};
/* Reads options and positional arguments. Returns 0 to go on; else the exit code is in *code (help was shown, or the error was).
 */
int cli_options(const struct command *cmd, int argc, char **argv, const struct opt *opts, size_t n_opts,
                struct strlist *positional, size_t min_positional, size_t max_positional, int *code);
void cli_help(const struct command *cmd, const struct opt *opts, size_t n_opts);
/* Sets the log's threshold: debug, info, warn or error. */
int cli_log_level(const char *text, struct err *err);
/* Before threads are started. Each connection, watch and log needs a descriptor: as many as the system lets us have. And memory
 * that is free goes back to the system, or to the next who needs it. */
void cli_be_a_server(void);
/* Prints "tidemill <cmd>: <error>" and returns EXIT_FAILED. */
int cli_fail(const struct command *cmd, const struct err *e);

#endif
