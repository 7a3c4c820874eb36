/* options.c - option tables; see cli.h. */
#include <malloc.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/terminal.h"
#include "cli/cli.h"

void cli_help(const struct command *cmd, const struct opt *opts, size_t n)
{
    printf("usage: tidemill %s\n\n%s.\n", cmd->usage, cmd->summary);
    if (n)
        printf("\noptions:\n");
    for (size_t i = 0; i < n; i++) {
        char left[64], letter[8] = "";
        if (opts[i].letter)
            snprintf(letter, sizeof letter, "-%c, ", opts[i].letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, opts[i].name, opts[i].arg ? " " : "", opts[i].arg ? opts[i].arg : "");
        printf("  %-28s %s\n", left, opts[i].help);
    }
    printf("  %-28s %s\n", "-h, --help", "this text");
    if (cmd->help)
        printf("\n%s\n", cmd->help);
}

int cli_log_level(const char *text, struct err *err)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (strcmp(levels[i], text) == 0) {
            log_threshold = (enum log_level)i;
            return 0;
        }
    return err_set(err, ERR_BAD_REQUEST, "--log-level %s: use debug, info, warn or error", text);
}

void cli_be_a_server(void)
{
    /* What lives for minutes lies between what lives for a request: with an arena for each of a hundred threads, and large blocks
     * among the small, free memory would be kept in many pieces. */
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    mallopt(M_ARENA_MAX, processors > 2 ? (int)processors : 2);
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

int cli_fail(const struct command *cmd, const struct err *e)
{
    /* Servers, registries and images have a say in it. */
    AUTOFREE char *text = xstrdup(err_text(e));
    terminal_tame(text, strlen(text));
    fprintf(stderr, "tidemill %s: %s\n", cmd->name, text);
    return EXIT_FAILED;
}

static const struct opt *find(const struct opt *opts, size_t n, const char *name, size_t len, char letter)
{
    for (size_t i = 0; i < n; i++)
        if (letter ? opts[i].letter == letter : strlen(opts[i].name) == len && strncmp(opts[i].name, name, len) == 0)
            return &opts[i];
    return NULL;
}

static int wrong(const struct command *cmd, const char *text, const char *what)
{
    fprintf(stderr, "tidemill %s: %s%s%s\nusage: tidemill %s\n", cmd->name, text, what ? " " : "", what ? what : "", cmd->usage);
    return EXIT_USAGE;
}

static void store(const struct opt *o, const char *value)
{
    if (o->kind == OPT_FLAG)
        *(bool *)o->to = true;
    else if (o->kind == OPT_TEXT)
        *(const char **)o->to = value;
    else
        strlist_add(o->to, value);
}

int cli_options(const struct command *cmd, int argc, char **argv, const struct opt *opts, size_t n, struct strlist *positional,
                size_t min, size_t max, int *code)
{
    bool only_positional = false;
    for (int i = 1; i < argc; i++) {
        char *a = argv[i];
        if (only_positional || a[0] != '-' || !a[1]) {
            strlist_add(positional, a);
            continue;
        }
        if (strcmp(a, "--") == 0) {
            only_positional = true;
            continue;
        }
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
            cli_help(cmd, opts, n);
            *code = EXIT_OK;
            return -1;
        }
        bool is_long = a[1] == '-';
        const char *eq = is_long ? strchr(a, '=') : NULL;
        size_t len = eq ? (size_t)(eq - a - 2) : strlen(a + 1) - 1;
        const struct opt *o = is_long ? find(opts, n, a + 2, len, 0) : find(opts, n, NULL, 0, a[1]);
        if (!o) {
            *code = wrong(cmd, "there is no option", a);
            return -1;
        }
        const char *value = is_long ? (eq ? eq + 1 : NULL) : (a[2] ? a + 2 : NULL);
        if (o->kind == OPT_FLAG && value) {
            *code = wrong(cmd, "this option takes no value:", a);
            return -1;
        }
        if (o->kind != OPT_FLAG && !value && i + 1 >= argc) {
            *code = wrong(cmd, "a value is missing after", a);
            return -1;
        }
        store(o, o->kind == OPT_FLAG ? NULL : value ? value : argv[++i]);
    }
    if (positional->n < min || positional->n > max) {
        *code = positional->n < min ? wrong(cmd, "an argument is missing", NULL)
                                    : wrong(cmd, "too many arguments:", positional->v[max]);
        return -1;
    }
    return 0;
}
