/* cmd_doctor.c - tidemill doctor: can this machine run pods, and if not, what helps. */
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "cli/cli.h"
#include "cli/place.h"
#include "cluster/node/node.h"
#include "net/server.h"

static int problems;

static void say(bool ok, const char *what, const char *detail, const char *cure)
{
    bool colour = isatty(STDOUT_FILENO);
    printf("%s%-4s%s %-22s %s\n", colour ? (ok ? "\033[32m" : "\033[31m") : "", ok ? "ok" : "FAIL", colour ? "\033[0m" : "", what,
           detail ? detail : "");
    if (!ok && cure)
        printf("     %-22s -> %s\n", "", cure);
    problems += !ok;
}

static void check_disk(const char *dir)
{
    AUTOFREE char *at = xstrdup(dir);
    struct statvfs v;
    while (statvfs(at, &v) < 0) {
        char *slash = strrchr(at, '/');
        if (!slash || slash == at)
            return;
        *slash = '\0';
    }
    double gib = (double)v.f_bavail * (double)v.f_frsize / (1 << 30);
    AUTOFREE char *detail = xasprintf("%.1f GiB free at %s", gib, at);
    say(gib >= 1, "disk", detail, "free some space, or put the data elsewhere with --data DIR");
}

static void check_port(const char *flag, const char *addr)
{
    ERR(e);
    struct http_server *s = http_server_new(NULL, &e);
    struct listener_config cfg = {.address = addr, .flag = flag};
    int port, rc = s ? http_server_listen(s, &cfg, &port, &e) : -1;
    AUTOFREE char *what = xasprintf("address %s", addr);
    say(rc == 0, what, rc == 0 ? "free" : err_text(&e), "stop that process, or choose another address with the flag");
    http_server_stop(s, 0);
}

static int doctor_main(const struct command *self, int argc, char **argv)
{
    const char *data = NULL, *listen = "127.0.0.1:8080", *kube_listen = "127.0.0.1:6443";
    STRLIST(host_env);
    const struct opt opts[] = {
        {"data", 0, OPT_TEXT, &data, "DIR", "data directory that 'up' will use"},
        {"listen", 0, OPT_TEXT, &listen, "ADDR:PORT", "front door that 'up' will open"},
        {"kube-listen", 0, OPT_TEXT, &kube_listen, "ADDR:PORT", "Kubernetes API that 'up' will open"},
        {"host-env", 0, OPT_LIST, &host_env, "PREFIX", "a Python environment that pods of image 'host' will see"}};
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 0, 0, &code) < 0)
        return code;
    ERR(e);
    AUTOFREE char *dir = place_data_dir(data, &e);
    if (!dir)
        return cli_fail(self, &e);
    strlist_take(&host_env, NULL);
    struct node_config cfg = {.data_dir = dir, .host_envs = (const char *const *)host_env.v};
    struct node_checks checks = {0};
    node_check(&cfg, &checks);
    for (size_t i = 0; i < checks.n; i++)
        say(checks.v[i].ok, checks.v[i].what, checks.v[i].detail, checks.v[i].cure);
    node_checks_free(&checks);
    check_disk(dir);
    JSON_REF(running) = place_run_file(data ? dir : NULL, &e);
    if (running) {
        AUTOFREE char *detail = xasprintf("tidemill is running at %s", jv_str_or(jv_get(json_root(running), "url"), "?"));
        say(true, "addresses", detail, NULL);
    } else {
        check_port("--listen", listen);
        check_port("--kube-listen", kube_listen);
    }
    if (problems)
        printf("\n%d thing%s to mend before pods can run here.\n", problems, problems == 1 ? "" : "s");
    else
        printf("\nThis machine can run pods. Next: tidemill up\n");
    return problems ? EXIT_FAILED : EXIT_OK;
}

const struct command cmd_doctor = {.name = "doctor",
                                   .summary = "Check what this machine has and say what is missing",
                                   .usage = "doctor [OPTIONS]",
                                   .main = doctor_main};
