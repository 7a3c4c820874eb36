/* cmd_down.c - tidemill down: stops the running tidemill and its pods; with --purge removes its data too. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/fs.h"
#include "cli/cli.h"
#include "cli/place.h"
#include "cluster/node/node.h"

#define STOP_LIMIT_S 180 /* 180 pods that do not heed SIGTERM took 64 s on two busy processors */

/* A process that has ended but whose parent has not asked for its exit code yet is gone, too. */
static bool is_gone(pid_t pid)
{
    if (kill(pid, 0) < 0 && errno == ESRCH)
        return true;
    AUTOFREE char *path = xasprintf("/proc/%d/stat", (int)pid);
    BUF(stat);
    if (fs_read(path, 4096, &stat, NULL) < 0)
        return false;
    const char *after_name = strrchr(buf_str(&stat), ')');
    return after_name && str_starts(after_name, ") Z");
}

static bool gone_within(pid_t pid, int64_t ns)
{
    int64_t until = clock_system.mono_ns(&clock_system) + ns;
    while (!is_gone(pid)) {
        if (clock_system.mono_ns(&clock_system) > until)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
    }
    return true;
}

static int stop(const struct command *self, struct json *run, bool keep)
{
    pid_t pid = (pid_t)jv_i64_or(jv_get(json_root(run), "pid"), 0);
    /* SIGINT takes pods down, SIGTERM leaves them for the next start. */
    if (kill(pid, keep ? SIGTERM : SIGINT) < 0) {
        fprintf(stderr, "tidemill down: process %d: %s\n", (int)pid,
                errno == EPERM ? "it belongs to another user: use sudo" : "it is gone");
        return EXIT_FAILED;
    }
    printf("Stopping tidemill (process %d)%s ...\n", (int)pid, keep ? ", pods go on" : " and its pods");
    fflush(stdout);
    if (!gone_within(pid, STOP_LIMIT_S * NS_PER_S)) {
        fprintf(stderr, "tidemill down: process %d is still there after %d seconds\n", (int)pid, STOP_LIMIT_S);
        return EXIT_FAILED;
    }
    return EXIT_OK;
}

/* The directory is ours only if it holds our database: --purge never removes anything else. */
static int purge(const struct command *self, const char *dir)
{
    ERR(e);
    AUTOFREE char *db = fs_join(dir, "kube.db");
    if (!fs_exists(dir))
        return EXIT_OK;
    if (!fs_exists(db)) {
        fprintf(stderr, "tidemill down: %s has no kube.db, so it is no data directory of tidemill: nothing was removed\n", dir);
        return EXIT_FAILED;
    }
    struct node_config cfg = {.data_dir = dir};
    if (node_sweep(&cfg, &e) < 0 || fs_rm_rf(dir, &e) < 0)
        return cli_fail(self, &e);
    printf("Removed %s\n", dir);
    return EXIT_OK;
}

static int down_main(const struct command *self, int argc, char **argv)
{
    const char *data = NULL;
    bool want_purge = false, keep = false;
    const struct opt opts[] = {
        {"data", 0, OPT_TEXT, &data, "DIR", "data directory of the tidemill to stop"},
        {"keep-pods", 0, OPT_FLAG, &keep, NULL, "leave pods running for the next 'tidemill up'"},
        {"purge", 0, OPT_FLAG, &want_purge, NULL, "remove the data directory as well: runs, artifacts, everything"}};
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 0, 0, &code) < 0)
        return code;
    ERR(e);
    if (want_purge && keep) {
        fprintf(stderr, "tidemill down: --purge and --keep-pods exclude each other\n");
        return EXIT_USAGE;
    }
    AUTOFREE char *dir = data ? place_data_dir(data, &e) : NULL;
    JSON_REF(run) = place_run_file(dir, &e);
    if (!run && !want_purge)
        return cli_fail(self, &e);
    AUTOFREE char *where = run ? xstrdup(jv_str(jv_get(json_root(run), "data"))) : dir ? xstrdup(dir) : place_data_dir(NULL, &e);
    code = run ? stop(self, run, keep) : EXIT_OK;
    if (code == EXIT_OK && want_purge && where)
        code = purge(self, where);
    return code;
}

const struct command cmd_down = {.name = "down",
                                 .summary = "Stop the running tidemill and its pods",
                                 .usage = "down [--keep-pods | --purge] [--data DIR]",
                                 .main = down_main};
