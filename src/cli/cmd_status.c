/* cmd_status.c - tidemill status: is it running, and how does it do. */
#include <stdio.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/runs.h"

static void show(jval *s)
{
    jval *p, *r;
    printf("tidemill %s, process %s, up %s\n", jv_str_or(jv_get(s, "version"), "?"),
           jv_num_text(jv_get(s, "pid")) ? jv_num_text(jv_get(s, "pid")) : "?", jv_str_or(jv_get(s, "uptime"), "?"));
    for (struct jiter it = jv_iter(jv_get(s, "parts")); jv_next(&it, NULL, &p);)
        printf("  %-18s %-9s %s\n", jv_str_or(jv_get(p, "name"), ""), jv_str_or(jv_get(p, "state"), ""),
               jv_str_or(jv_get(p, "detail"), ""));
    printf("  %-18s %-9s %s\n", "Front door", "", jv_str_or(jv_get(s, "url"), ""));
    printf("  %-18s %-9s %s\n", "Kubeconfig", "", jv_str_or(jv_get(s, "kubeconfig"), ""));
    for (struct jiter it = jv_iter(jv_get(s, "runs")); jv_next(&it, NULL, &r);)
        printf("  run %.8s  %-10s %8s  %s\n", jv_str_or(jv_get(r, "id"), ""), jv_str_or(jv_get(r, "state"), ""),
               jv_str_or(jv_get(r, "took"), ""), jv_str_or(jv_get(r, "name"), ""));
}

static bool all_ok(jval *s)
{
    jval *p;
    for (struct jiter it = jv_iter(jv_get(s, "parts")); jv_next(&it, NULL, &p);)
        if (!jv_bool(jv_get(p, "ok"), false))
            return false;
    return true;
}

static int status_main(const struct command *self, int argc, char **argv)
{
    struct front_where w = {0};
    const char *timeout = "60";
    bool wait = false;
    const struct opt opts[] = {{"wait", 0, OPT_FLAG, &wait, NULL, "until everything runs and the Node is Ready"},
                               {"timeout", 0, OPT_TEXT, &timeout, "SECONDS", "how long to wait at most [60]"},
                               FRONT_OPTIONS(w)};
    STRLIST(rest);
    int code;
    int64_t seconds;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 0, 0, &code) < 0)
        return code;
    if (!str_to_i64(timeout, &seconds) || seconds < 0) {
        fprintf(stderr, "tidemill status: --timeout %s: give a number of seconds\n", timeout);
        return EXIT_USAGE;
    }
    int64_t until = clock_system.mono_ns(&clock_system) + seconds * NS_PER_S;
    for (;;) {
        ERR(e);
        struct front f;
        JSON_REF(s) = front_open(&f, &w, &e) < 0 ? NULL : front_call(&f, HTTP_GET, "/api/tidemill/v1/status", NULL, &e);
        front_close(&f);
        bool over = clock_system.mono_ns(&clock_system) >= until;
        if (s && (!wait || all_ok(json_root(s)) || over)) {
            show(json_root(s));
            return wait && !all_ok(json_root(s)) ? EXIT_FAILED : EXIT_OK;
        }
        if (!s && (!wait || over))
            return cli_fail(self, &e);
        nanosleep(&(struct timespec){.tv_nsec = 50 * NS_PER_MS}, NULL);
    }
}

const struct command cmd_status = {
    .name = "status", .summary = "Say what is running", .usage = "status [--wait] [--timeout SECONDS]", .main = status_main};
