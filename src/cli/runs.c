/* runs.c - see runs.h. */
#include "cli/runs.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/timefmt.h"

#define EPOCH "1970-01-01T00:00:00Z"

struct json *runs_get(struct front *f, const char *run_id, struct err *err)
{
    AUTOFREE char *enc = url_encode(run_id);
    AUTOFREE char *path = xasprintf("/apis/v2beta1/runs/%s", enc);
    return front_call(f, HTTP_GET, path, NULL, err);
}

struct json *runs_find(struct front *f, const char *what, struct err *err)
{
    if (uuid_valid(what))
        return runs_get(f, what, err);
    JSON_REF(page) = front_call(f, HTTP_GET, "/apis/v2beta1/runs?page_size=200&sort_by=created_at%20desc", NULL, err);
    if (!page)
        return NULL;
    const char *found = NULL, *begins = NULL;
    int matches = 0;
    jval *r;
    for (struct jiter it = jv_iter(jv_get(json_root(page), "runs")); jv_next(&it, NULL, &r);) {
        const char *id = jv_str_or(jv_get(r, "run_id"), ""), *name = jv_str_or(jv_get(r, "display_name"), "");
        if (strcmp(name, what) == 0)
            return runs_get(f, id, err);
        if (str_starts(id, what)) {
            matches++;
            found = id;
        }
        if (!begins && str_starts(name, what)) /* runs that get no name are called after their pipeline and the time */
            begins = id;
    }
    if (matches == 1 || (!matches && begins && *what))
        return runs_get(f, matches ? found : begins, err);
    if (matches)
        err_set(err, ERR_NOT_FOUND, "%d runs have an id that begins with '%s': give more of it", matches, what);
    else
        err_set(err, ERR_NOT_FOUND, "no run has the id or the name '%s'; 'tidemill runs' lists them", what);
    return NULL;
}

const char *run_state_of(jval *run) { return jv_str_or(jv_get(run, "state"), "PENDING"); }

bool run_is_final(jval *run)
{
    static const char *const final[] = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"};
    for (size_t i = 0; i < ARRAY_LEN(final); i++)
        if (strcmp(run_state_of(run), final[i]) == 0)
            return true;
    return false;
}

static bool real_time(const char *s, int64_t *ns) { return s && strcmp(s, EPOCH) != 0 && time_parse(s, ns) && *ns > 0; }

char *runs_took(const char *start, const char *end)
{
    int64_t a, b;
    if (!real_time(start, &a))
        return xstrdup("");
    if (!real_time(end, &b))
        b = clock_system.wall_ns(&clock_system);
    int64_t ms = (b - a) / NS_PER_MS;
    if (ms < 0)
        ms = 0;
    if (ms < 10000)
        return xasprintf("%.2fs", (double)ms / 1000);
    if (ms < 60000)
        return xasprintf("%.1fs", (double)ms / 1000);
    return xasprintf("%lldm%llds", (long long)(ms / 60000), (long long)(ms / 1000 % 60));
}

static const char *colour_of(const char *state)
{
    if (strcmp(state, "SUCCEEDED") == 0)
        return "\033[32m";
    if (strcmp(state, "FAILED") == 0 || strcmp(state, "CANCELED") == 0)
        return "\033[31m";
    if (strcmp(state, "RUNNING") == 0 || strcmp(state, "CANCELING") == 0)
        return "\033[36m";
    return "\033[2m";
}

static void task_line(jval *t, const char *name, int depth, bool colour, struct buf *out)
{
    const char *state = jv_str_or(jv_get(t, "state"), "PENDING"), *message = jv_str(jv_path(t, "error", "message", NULL));
    AUTOFREE char *took = runs_took(jv_str(jv_get(t, "start_time")), jv_str(jv_get(t, "end_time")));
    int width = 34 - 2 * depth;
    buf_addf(out, "  %*s%-*.*s %s%-10s%s %8s", 2 * depth, "", width > 8 ? width : 8, 60, name, colour ? colour_of(state) : "",
             state, colour ? "\033[0m" : "", took);
    if (message)
        buf_addf(out, "  %.*s", (int)strcspn(message, "\n"), message);
    buf_addc(out, '\n');
}

/* In the order they started; what has not started comes last, as it came. */
static int by_start(const void *a, const void *b)
{
    const char *x = jv_str_or(jv_get(*(jval *const *)a, "start_time"), EPOCH),
               *y = jv_str_or(jv_get(*(jval *const *)b, "start_time"), EPOCH);
    bool x_started = strcmp(x, EPOCH) != 0, y_started = strcmp(y, EPOCH) != 0;
    return x_started != y_started ? y_started - x_started : strcmp(x, y);
}

static int children(jval *tasks, jval *parent, const struct task_names *names, int depth, bool colour, struct buf *out)
{
    const char *up = jv_str_or(jv_get(parent, "task_id"), "-");
    AUTOFREE jval **list = xreallocarray(NULL, jv_len(tasks) + 1, sizeof *list);
    size_t n = 0;
    int lines = 0;
    if (depth > 64)
        return 0;
    for (struct jiter it = jv_iter(tasks); jv_next(&it, NULL, &list[n]);)
        n += str_eq(jv_str(jv_get(list[n], "parent_task_id")), up);
    if (n > 1)
        qsort(list, n, sizeof *list, by_start);
    for (size_t i = 0; i < n; i++) {
        const char *name = task_name(names, list[i]), *last = strrchr(name, '/');
        task_line(list[i], last ? last + 1 : name, depth, colour, out);
        lines += 1 + children(tasks, list[i], names, depth + 1, colour, out);
    }
    return lines;
}

int runs_task_table(jval *run, const struct task_names *names, bool colour, struct buf *out)
{
    jval *tasks = jv_path(run, "run_details", "task_details", NULL), *t;
    /* The root's own line would only repeat the run. */
    for (struct jiter it = jv_iter(tasks); jv_next(&it, NULL, &t);)
        if (str_empty(jv_str(jv_get(t, "parent_task_id"))))
            return children(tasks, t, names, 0, colour, out);
    return 0;
}
