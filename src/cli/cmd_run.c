/* cmd_run.c - tidemill run: submits a compiled pipeline and, with --watch, follows it to its end. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "cli/cli.h"
#include "cli/runs.h"
#include "value/yaml.h"

#define POLL_NS (150 * NS_PER_MS)

/* The file's documents as the API takes them: the pipeline spec alone, or {pipeline_spec, platform_spec}. */
static struct json *read_spec(const char *file, struct err *err)
{
    BUF(text);
    struct json **docs;
    size_t n;
    if (fs_read(file, 32u << 20, &text, err) < 0)
        return NULL;
    if (yaml_parse(buf_str(&text), text.len, NULL, &docs, &n, err) < 0) {
        err_wrap(err, "%s", file);
        return NULL;
    }
    jval *pipeline = NULL, *platform = NULL;
    for (size_t i = 0; i < n; i++) {
        jval *d = json_root(docs[i]);
        if (jv_get(d, "pipelineInfo") || jv_get(d, "pipeline_info"))
            pipeline = d;
        else if (jv_get(d, "platforms"))
            platform = d;
    }
    struct json *out = NULL;
    if (!pipeline) {
        err_set(err, ERR_BAD_REQUEST,
                "%s: no document has pipelineInfo: this is not a compiled pipeline (kfp.compiler.Compiler().compile writes one)",
                file);
    } else if (platform) {
        JM_NEW(m);
        jm_set_root(m, jm_obj(m));
        jm_put(m, jm_root(m), "pipeline_spec", jm_val(m, pipeline));
        jm_put(m, jm_root(m), "platform_spec", jm_val(m, platform));
        out = jm_freeze(m);
    } else {
        out = json_from(pipeline);
    }
    for (size_t i = 0; i < n; i++)
        json_unref(docs[i]);
    free(docs);
    return out;
}

static jval *input_type(jval *spec, const char *name)
{
    jval *p = jv_get(spec, "pipeline_spec") ? jv_get(spec, "pipeline_spec") : spec;
    jval *def = jv_get(jv_path(p, "root", "inputDefinitions", "parameters", NULL), name);
    return jv_get(def, "parameterType") ? jv_get(def, "parameterType") : jv_get(def, "type");
}

/* A value from the command line, by the type that the pipeline declares: text as it is for a STRING, JSON for the rest. */
static int add_parameter(struct jm *m, jmval *params, jval *spec, const char *arg, struct err *err)
{
    const char *eq = strchr(arg, '=');
    if (!eq || eq == arg)
        return err_set(err, ERR_BAD_REQUEST, "-p %s: give name=value", arg);
    AUTOFREE char *name = xstrndup(arg, (size_t)(eq - arg));
    const char *type = jv_str(input_type(spec, name));
    if (!type || strcmp(type, "STRING") == 0) {
        jm_put(m, params, name, jm_str(m, eq + 1));
        return 0;
    }
    ERR(e);
    JSON_REF(v) = json_parse_str(eq + 1, &e);
    if (!v)
        return err_set(err, ERR_BAD_REQUEST, "-p %s: the pipeline wants a %s for '%s', written as JSON (%s)", arg, type, name,
                       err_text(&e));
    jm_put(m, params, name, jm_val(m, json_root(v)));
    return 0;
}

/* The experiment that --experiment names: an id, or a display name. NULL with an error when there is none. */
static char *find_experiment(struct front *f, const char *what, struct err *err)
{
    if (uuid_valid(what))
        return xstrdup(what);
    JM_NEW(m);
    jmval *predicate = jm_obj(m);
    jm_set_root(m, jm_obj(m));
    jm_push(jm_arr_at(m, jm_root(m), "predicates"), predicate);
    jm_put(m, predicate, "key", jm_str(m, "display_name"));
    jm_put(m, predicate, "operation", jm_str(m, "EQUALS"));
    jm_put(m, predicate, "string_value", jm_str(m, what));
    BUF(filter);
    jmv_write(jm_root(m), JW_COMPACT, &filter);
    AUTOFREE char *enc = url_encode(buf_str(&filter));
    AUTOFREE char *path = xasprintf("/apis/v2beta1/experiments?page_size=2&filter=%s", enc);
    JSON_REF(page) = front_call(f, HTTP_GET, path, NULL, err);
    if (!page)
        return NULL;
    jval *first = jv_at(jv_get(json_root(page), "experiments"), 0);
    if (first)
        return xstrdup(jv_str_or(jv_get(first, "experiment_id"), ""));
    JSON_REF(all) = front_call(f, HTTP_GET, "/apis/v2beta1/experiments?page_size=20", NULL, NULL);
    BUF(names);
    jval *e;
    for (struct jiter it = jv_iter(jv_get(json_root(all), "experiments")); jv_next(&it, NULL, &e);)
        buf_addf(&names, "%s'%s'", names.len ? ", " : "", jv_str_or(jv_get(e, "display_name"), ""));
    err_set(err, ERR_NOT_FOUND, "--experiment %s: no experiment has this id or name; there are: %s", what, buf_str(&names));
    return NULL;
}

static struct json *submit(struct front *f, const char *file, const struct strlist *params, const char *name,
                           const char *experiment, struct err *err)
{
    JSON_REF(spec) = read_spec(file, err);
    if (!spec)
        return NULL;
    JM_NEW(m);
    jmval *body = jm_obj(m);
    jm_set_root(m, body);
    jval *info = jv_get(json_root(spec), "pipeline_spec") ? jv_path(json_root(spec), "pipeline_spec", "pipelineInfo", NULL)
                                                          : jv_get(json_root(spec), "pipelineInfo");
    const char *pipeline = jv_str_or(jv_get(info, "name"), "run");
    jm_put(m, body, "display_name", name ? jm_str(m, name) : jm_strf(m, "%s %lld", pipeline, (long long)time(NULL)));
    jm_put(m, body, "pipeline_spec", jm_val(m, json_root(spec)));
    AUTOFREE char *experiment_id = experiment ? find_experiment(f, experiment, err) : NULL;
    if (experiment && !experiment_id)
        return NULL;
    if (experiment)
        jm_put(m, body, "experiment_id", jm_str(m, experiment_id));
    jmval *p = jm_obj_at(m, jm_obj_at(m, body, "runtime_config"), "parameters");
    for (size_t i = 0; i < params->n; i++)
        if (add_parameter(m, p, json_root(spec), params->v[i], err) < 0)
            return NULL;
    JSON_REF(frozen) = jm_freeze(m);
    return front_call(f, HTTP_POST, "/apis/v2beta1/runs", json_root(frozen), err);
}

/* ---- watching ---- */

/* On a terminal: the table is drawn over itself. */
static void draw(jval *run, const struct task_names *names, int *lines)
{
    BUF(out);
    if (*lines)
        buf_addf(&out, "\033[%dA\033[J", *lines);
    AUTOFREE char *took = runs_took(jv_str(jv_get(run, "created_at")), jv_str(jv_get(run, "finished_at")));
    buf_addf(&out, "%s  %s\n", run_state_of(run), took);
    *lines = 1 + runs_task_table(run, names, true, &out);
    fputs(buf_str(&out), stdout);
    fflush(stdout);
}

/* Elsewhere: a line for each change of a task's state. */
static void print_changes(jval *run, const struct task_names *names, struct strmap *seen)
{
    jval *t;
    for (struct jiter it = jv_iter(jv_path(run, "run_details", "task_details", NULL)); jv_next(&it, NULL, &t);) {
        const char *id = jv_str_or(jv_get(t, "task_id"), ""), *state = jv_str_or(jv_get(t, "state"), "PENDING");
        if (str_eq(strmap_get(seen, id), state) || strcmp(state, "PENDING") == 0 ||
            str_empty(jv_str(jv_get(t, "parent_task_id"))))
            continue;
        strmap_put(seen, id, xstrdup(state));
        AUTOFREE char *took =
            run_is_final(t) ? runs_took(jv_str(jv_get(t, "start_time")), jv_str(jv_get(t, "end_time"))) : xstrdup("");
        const char *message = jv_str(jv_path(t, "error", "message", NULL));
        printf("%-10s %-32s %s%s%s\n", state, task_name(names, t), took, message ? "  " : "", message ? message : "");
    }
    fflush(stdout);
}

/* Whether all tasks have names: those of iterations come with time. */
static bool all_named(jval *run, const struct task_names *names)
{
    jval *t;
    for (struct jiter it = jv_iter(jv_path(run, "run_details", "task_details", NULL)); jv_next(&it, NULL, &t);)
        if (!strmap_get(&names->by_id, jv_str_or(jv_get(t, "task_id"), "")))
            return false;
    return true;
}

static int watch(const struct command *self, struct front *f, const char *id)
{
    bool tty = isatty(STDOUT_FILENO);
    int lines = 0;
    struct strmap seen = STRMAP_INIT(free);
    TASK_NAMES(names);
    for (;;) {
        ERR(e);
        JSON_REF(run) = runs_get(f, id, &e);
        if (!run) {
            strmap_free(&seen);
            return cli_fail(self, &e);
        }
        jval *r = json_root(run);
        /* Without names the tasks' own do. */
        if (!all_named(r, &names) && task_names_load(&names, f, id, &e) < 0)
            err_clear(&e);
        if (tty)
            draw(r, &names, &lines);
        else
            print_changes(r, &names, &seen);
        if (run_is_final(r)) {
            const char *message = jv_str(jv_path(r, "error", "message", NULL));
            AUTOFREE char *took = runs_took(jv_str(jv_get(r, "created_at")), jv_str(jv_get(r, "finished_at")));
            printf("Run %s: %s after %s%s%s\n", id, run_state_of(r), took, message ? "\n" : "", message ? message : "");
            strmap_free(&seen);
            return strcmp(run_state_of(r), "SUCCEEDED") == 0 ? EXIT_OK : EXIT_RUN_FAILED;
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
    }
}

static int run_main(const struct command *self, int argc, char **argv)
{
    struct front_where w = {0};
    const char *name = NULL, *experiment = NULL;
    bool follow = false;
    STRLIST(params);
    const struct opt opts[] = {
        {"param", 'p', OPT_LIST, &params, "NAME=VALUE",
         "a parameter of the pipeline (JSON unless it is a STRING); repeat for more"},
        {"watch", 'w', OPT_FLAG, &follow, NULL, "follow the run to its end; the exit code is 3 when it fails"},
        {"name", 0, OPT_TEXT, &name, "NAME", "display name of the run"},
        {"experiment", 0, OPT_TEXT, &experiment, "NAME", "experiment to put it in, by its name or id"},
        FRONT_OPTIONS(w)};
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 1, 1, &code) < 0)
        return code;
    ERR(e);
    struct front f;
    if (front_open(&f, &w, &e) < 0) {
        front_close(&f);
        return cli_fail(self, &e);
    }
    JSON_REF(run) = submit(&f, rest.v[0], &params, name, experiment, &e);
    if (run) {
        const char *id = jv_str_or(jv_get(json_root(run), "run_id"), "");
        printf("Run %s (%s)\n", id, jv_str_or(jv_get(json_root(run), "display_name"), ""));
        fflush(stdout);
        if (follow)
            code = watch(self, &f, id);
        else
            printf("Follow it with: tidemill runs %s\n", id), code = EXIT_OK;
    } else {
        code = cli_fail(self, &e);
    }
    front_close(&f);
    return code;
}

const struct command cmd_run = {.name = "run",
                                .summary = "Run a compiled pipeline",
                                .usage = "run FILE [-p NAME=VALUE]... [--watch]",
                                .help = "FILE is what kfp.compiler.Compiler().compile() writes (YAML or JSON).",
                                .main = run_main};
