/* One attempt of a container task: argv, environment, resources, directories, mounts. */
#include "pipelines/engine/execinput.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "pipelines/engine/live.h"

struct scope {
    struct inst *i;
    struct json *doc; /* executor input */
    char *input;      /* its text */
};

/* ---- placeholders --------------------------------------------------------------------------------------------- */

static void put_mut(jmval *v, struct buf *out) { jmv_write(v, JW_COMPACT | JW_SORTED, out); }

static int in_param(const struct scope *sc, const char *key, struct buf *out)
{
    const struct inst *i = sc->i;
    int at = ir_param_at(i->c->in_params, i->c->n_in_params, key);
    if (at == IR_NONE) {
        JSON_REF(v) = undeclared_param(sc->i, key);
        if (v)
            value_as_text(json_root(v), out);
        return v != NULL;
    }
    if (i->in_params[at])
        value_as_text(json_root(i->in_params[at]), out);
    else if (i->c->in_params[at].dflt)
        value_as_text(i->c->in_params[at].dflt, out);
    return 1;
}

static int metadata_part(jval *metadata, const char *sub, struct buf *out)
{
    if (sub)
        value_as_text(jv_get(metadata, sub), out);
    else if (metadata)
        jv_write(metadata, JW_COMPACT | JW_SORTED, out);
    else
        buf_adds(out, "{}");
    return 1;
}

static int in_artifact(const struct scope *sc, const struct tmpl_seg *seg, struct buf *out)
{
    const struct inst *i = sc->i;
    int at = ir_artifact_at(i->c->in_artifacts, i->c->n_in_artifacts, seg->key);
    if (at == IR_NONE)
        return 0;
    struct artlist *l = i->in_artifacts[at];
    if (seg->kind == TMPL_IN_ARTIFACT) {
        JM_NEW(m);
        jmval *list = jm_arr(m);
        for (int k = 0; l && k < l->n; k++)
            jm_push(list, input_artifact_json(m, l->v[k]));
        put_mut(list, out);
        return 1;
    }
    if (!l || l->n == 0)
        return 1;
    const struct art *a = l->v[0];
    AUTOFREE char *path = artifact_path(a);
    switch (seg->kind) {
    case TMPL_IN_ARTIFACT_URI:
        buf_adds(out, a->a.uri);
        return 1;
    case TMPL_IN_ARTIFACT_PATH:
        buf_adds(out, path ? path : a->a.uri);
        return 1;
    case TMPL_IN_ARTIFACT_NAME:
        buf_addf(out, "%lld", (long long)a->a.id);
        return 1;
    default:
        return metadata_part(json_root(a->metadata), seg->sub, out);
    }
}

static int out_artifact(const struct scope *sc, const struct tmpl_seg *seg, struct buf *out)
{
    const struct inst *i = sc->i;
    int at = ir_artifact_at(i->c->out_artifacts, i->c->n_out_artifacts, seg->key);
    if (at == IR_NONE)
        return 0;
    const struct ir_artifact *a = &i->c->out_artifacts[at];
    AUTOFREE char *uri = output_uri(i, a->key);
    AUTOFREE char *path = local_path(uri);
    switch (seg->kind) {
    case TMPL_OUT_ARTIFACT_URI:
        buf_adds(out, uri);
        return 1;
    case TMPL_OUT_ARTIFACT_PATH:
        buf_adds(out, path ? path : uri);
        return 1;
    case TMPL_OUT_ARTIFACT_NAME:
        buf_adds(out, a->key);
        return 1;
    case TMPL_OUT_ARTIFACT_METADATA:
        return metadata_part(a->metadata, seg->sub, out);
    default: {
        JM_NEW(m);
        jmval *list = jm_arr(m);
        jm_push(list, output_artifact_json(m, i, a));
        put_mut(list, out);
        return 1;
    }
    }
}

static int placeholder(void *self, const struct tmpl_seg *seg, struct buf *out, struct err *err)
{
    const struct scope *sc = self;
    switch (seg->kind) {
    case TMPL_TEXT:
        return 0;
    case TMPL_INPUT:
        buf_adds(out, sc->input);
        return 1;
    case TMPL_IN_PARAM:
        return in_param(sc, seg->key, out);
    case TMPL_IN_ARTIFACT:
    case TMPL_IN_ARTIFACT_URI:
    case TMPL_IN_ARTIFACT_PATH:
    case TMPL_IN_ARTIFACT_NAME:
    case TMPL_IN_ARTIFACT_METADATA:
        return in_artifact(sc, seg, out);
    case TMPL_OUT_PARAM_FILE:
        if (ir_param_at(sc->i->c->out_params, sc->i->c->n_out_params, seg->key) == IR_NONE)
            return 0;
        buf_addf(out, "/tmp/kfp/outputs/%s", seg->key);
        return 1;
    case TMPL_OUT_ARTIFACT:
    case TMPL_OUT_ARTIFACT_URI:
    case TMPL_OUT_ARTIFACT_PATH:
    case TMPL_OUT_ARTIFACT_NAME:
    case TMPL_OUT_ARTIFACT_METADATA:
        return out_artifact(sc, seg, out);
    case TMPL_OUTPUT_FILE: {
        AUTOFREE char *file = executor_output_file(sc->i);
        buf_adds(out, file);
        return 1;
    }
    default:
        return job_placeholder(sc->i, seg->kind, out);
    }
}

static bool input_present(void *self, const char *input)
{
    const struct inst *i = ((struct scope *)self)->i;
    int at = ir_param_at(i->c->in_params, i->c->n_in_params, input);
    if (at != IR_NONE)
        return i->in_params[at] && jv_present(json_root(i->in_params[at]));
    at = ir_artifact_at(i->c->in_artifacts, i->c->n_in_artifacts, input);
    return at != IR_NONE && i->in_artifacts[at] && i->in_artifacts[at]->n > 0;
}

/* ---- argv ----------------------------------------------------------------------------------------------------- */

/* An element that is {{$}} alone is left empty and told apart, so that the text is in the task file once. */
static int add_args(struct scope *sc, const struct tmpl_scope *ts, const struct tmpl_arg *v, int n, struct launch_task *t,
                    struct err *err)
{
    size_t len = 0;
    for (int k = 0; k < n; k++) {
        size_t before = t->argv.n;
        bool whole = v[k].kind == TMPL_STRING && v[k].string.n == 1 && v[k].string.segs[0].kind == TMPL_INPUT;
        if (whole && t->executor_input_at < 0) {
            t->executor_input_at = (int)t->argv.n;
            strlist_add(&t->argv, "");
        } else if (tmpl_arg_eval(&v[k], ts, &t->argv, err) < 0) {
            return -1;
        }
        for (; before < t->argv.n; before++)
            len += strlen(t->argv.v[before]);
        if (len > TMPL_TEXT_MAX)
            return tmpl_too_long(err);
    }
    return 0;
}

static bool runs_python_executor(const struct strlist *argv)
{
    for (size_t k = 0; k < argv->n; k++)
        if (strstr(argv->v[k], "kfp.dsl.executor_main"))
            return true;
    return false;
}

/* Inputs are too much together: says so, and which of the parameters has most of it. */
static int too_much(const struct inst *i, size_t n, struct err *err)
{
    const char *key = NULL;
    size_t most = 0;
    for (int k = 0; k < i->c->n_in_params; k++) {
        BUF(text);
        if (i->in_params[k])
            value_as_text(json_root(i->in_params[k]), &text);
        if (text.len > most) {
            most = text.len;
            key = i->c->in_params[k].key;
        }
    }
    err_set(err, ERR_INVALID, "the inputs have %zu bytes together; at most %u are allowed, pass larger data as artifacts", n,
            EXECUTOR_INPUT_MAX);
    return key ? err_wrap(err, "input parameter \"%s\" has %zu bytes", key, most) : -1;
}

static int check_sizes(struct scope *sc, struct launch_task *t, struct err *err)
{
    size_t n = strlen(sc->input);
    if (n > EXECUTOR_INPUT_MAX)
        return too_much(sc->i, n, err);
    for (size_t k = 0; k < t->argv.n; k++)
        if (strlen(t->argv.v[k]) > ARGV_ELEMENT_MAX)
            return err_set(
                err, ERR_INVALID,
                "argument %zu of the command has %zu bytes; Linux takes at most 128 KiB: pass the value as an artifact", k,
                strlen(t->argv.v[k]));
    if (t->executor_input_at < 0 || n <= ARGV_ELEMENT_MAX)
        return 0;
    int at = t->executor_input_at;
    t->big_input = at > 0 && str_eq(t->argv.v[at - 1], "--executor_input") && runs_python_executor(&t->argv);
    if (!t->big_input)
        return err_set(err, ERR_INVALID,
                       "the executor input has %zu bytes, more than an argument may have (%u); pass larger values as artifacts",
                       n, ARGV_ELEMENT_MAX);
    return 0;
}

static int make_argv(struct scope *sc, const struct tmpl_scope *ts, struct launch_task *t, struct err *err)
{
    const struct ir_container *k = sc->i->c->container;
    if (add_args(sc, ts, k->command, k->n_command, t, err) < 0 || add_args(sc, ts, k->args, k->n_args, t, err) < 0)
        return -1;
    t->image_command = k->n_command == 0;
    t->executor_input = t->executor_input_at >= 0 ? xstrdup(sc->input) : NULL;
    if (!t->image_command)
        t->prelude_at = prelude_find(&t->argv, &t->requirements);
    return check_sizes(sc, t, err);
}

/* ---- environment and resources -------------------------------------------------------------------------------- */

static int make_env(const struct scope *sc, const struct tmpl_scope *ts, struct json **out, struct err *err)
{
    const struct ir_container *k = sc->i->c->container;
    JM_NEW(m);
    jmval *list = jm_arr(m);
    jm_set_root(m, list);
    size_t len = 0;
    for (int n = 0; n < k->n_env; n++) {
        BUF(b);
        if (tmpl_eval(&k->env[n].value, ts, &b, err) < 0)
            return -1;
        if ((len += b.len) > TMPL_TEXT_MAX)
            return tmpl_too_long(err);
        jmval *e = jm_obj(m);
        jm_put(m, e, "name", jm_str(m, k->env[n].name));
        jm_put(m, e, "value", jm_str(m, buf_str(&b)));
        jm_push(list, e);
    }
    *out = jm_freeze(m);
    return 0;
}

static int put_quantity(struct jm *m, jmval *res, const char *side, const char *name, const struct tmpl *t,
                        const struct tmpl_scope *ts, struct err *err)
{
    BUF(b);
    if (tmpl_is_empty(t))
        return 0;
    if (tmpl_eval(t, ts, &b, err) < 0)
        return -1;
    if (b.len > 0)
        jm_put(m, jm_obj_at(m, res, side), name, jm_str(m, buf_str(&b)));
    return 0;
}

static int make_resources(const struct scope *sc, const struct tmpl_scope *ts, struct json **out, struct err *err)
{
    const struct ir_container *k = sc->i->c->container;
    JM_NEW(m);
    jmval *res = jm_obj(m);
    jm_set_root(m, res);
    BUF(gpu);
    if (!tmpl_is_empty(&k->gpu_type) && tmpl_eval(&k->gpu_type, ts, &gpu, err) < 0)
        return -1;
    if (put_quantity(m, res, "limits", "cpu", &k->cpu_limit, ts, err) < 0 ||
        put_quantity(m, res, "limits", "memory", &k->memory_limit, ts, err) < 0 ||
        put_quantity(m, res, "requests", "cpu", &k->cpu_request, ts, err) < 0 ||
        put_quantity(m, res, "requests", "memory", &k->memory_request, ts, err) < 0)
        return -1;
    if (gpu.len > 0 && put_quantity(m, res, "limits", buf_str(&gpu), &k->gpu_count, ts, err) < 0)
        return -1;
    *out = jm_freeze(m);
    return 0;
}

/* ---- directories and mounts ----------------------------------------------------------------------------------- */

static void add_mount(struct execution *x, char *host, char *container, bool read_only, bool is_file)
{
    for (size_t k = 0; k < x->n_mounts; k++)
        if (str_eq(x->mounts[k].container_path, container)) {
            free(host);
            free(container);
            return;
        }
    x->mounts = xreallocarray(x->mounts, x->n_mounts + 1, sizeof *x->mounts);
    x->mounts[x->n_mounts++] = (struct task_mount){host, container, read_only, is_file};
}

/* An artifact that is a container image: its path is /oci/<name>/models. */
static int add_image(struct execution *x, const struct art *a, struct err *err)
{
    const char *reference = a->a.uri + strlen("oci://");
    if (!*reference)
        return err_set(err, ERR_INVALID, "the input artifact %s names no container image", a->a.uri);
    for (size_t k = 0; k < x->n_images; k++)
        if (str_eq(x->images[k].reference, reference))
            return 0;
    x->images = xreallocarray(x->images, x->n_images + 1, sizeof *x->images);
    x->images[x->n_images++] = (struct task_image){xstrdup(reference), artifact_path(a)};
    return 0;
}

static int mount_inputs(struct inst *i, struct execution *x, struct err *err)
{
    for (int k = 0; k < i->c->n_in_artifacts; k++) {
        const struct artlist *l = i->in_artifacts[k];
        for (int n = 0; l && n < l->n; n++) {
            ERR(e);
            if (str_starts(l->v[n]->a.uri, "oci://")) {
                if (add_image(x, l->v[n], err) < 0)
                    return -1;
                continue;
            }
            if (!live_is_mounted(i->live, l->v[n]->a.uri)) {
                if (stores_bring(i, x, l->v[n], err) < 0)
                    return -1;
                continue;
            }
            char *host = host_path(i->live, l->v[n]->a.uri, false, &e);
            char *inside = artifact_path(l->v[n]);
            struct stat st;
            /* An artifact without bytes is fine: it is its metadata. */
            if (host && inside && lstat(host, &st) == 0 && (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode))) {
                add_mount(x, host, inside, true, S_ISREG(st.st_mode));
            } else {
                free(host);
                free(inside);
            }
        }
    }
    return 0;
}

static int mount_outputs(struct inst *i, struct execution *x, struct err *err)
{
    AUTOFREE char *root = output_uri(i, "");
    ERR(e);
    char *host = host_path(i->live, root, true, &e);
    char *inside = local_path(root);
    if (!host || !inside) {
        free(host);
        free(inside);
        return e.code ? err_move(err, &e) : 0;
    }
    if (fs_mkdir_p(host, 0755, err) < 0 || (chmod(host, 0777) < 0 && err_errno(err, "making %s writable", host) < 0)) {
        free(host);
        free(inside);
        return -1;
    }
    add_mount(x, host, inside, false, false);
    return 0;
}

static bool uses_workspace(const struct inst *i)
{
    for (int k = 0; k < i->c->n_in_params; k++)
        if (i->in_params[k]) {
            AUTOFREE char *text = jv_text(json_root(i->in_params[k]), JW_COMPACT);
            if (strstr(text, WORKSPACE_PATH))
                return true;
        }
    for (int k = 0; k < i->c->n_in_artifacts; k++)
        for (int n = 0; i->in_artifacts[k] && n < i->in_artifacts[k]->n; n++)
            if (jv_bool(jv_get(json_root(i->in_artifacts[k]->v[n]->metadata), ART_IN_WORKSPACE), false))
                return true;
    return false;
}

int workspace_of(const struct inst *i, char **host, struct err *err)
{
    *host = NULL;
    if (!jv_get(i->live->ir->pipeline_config, "workspace") || !uses_workspace(i))
        return 0;
    AUTOFREE char *dir = xasprintf("%s/workspaces/%s", i->live->e->cfg.data_dir, i->live->run.run_id);
    if (fs_mkdir_p(dir, 0755, err) < 0 || (chmod(dir, 0777) < 0 && err_errno(err, "making %s writable", dir) < 0))
        return -1;
    *host = TAKE(dir);
    return 0;
}

static int mount_workspace(struct inst *i, struct execution *x, struct err *err)
{
    char *host;
    if (hands_on(i, IR_CONFIG_VOLUMES))
        return 0;
    if (workspace_of(i, &host, err) < 0)
        return -1;
    if (!host)
        return 0;
    add_mount(x, host, xstrdup(WORKSPACE_PATH), false, false);
    strlist_add(&x->task.yield, WORKSPACE_PATH);
    return 0;
}

static void add_parent(struct strlist *dirs, const char *path)
{
    const char *slash = strrchr(path, '/');
    AUTOFREE char *dir = xstrndup(path, slash ? (size_t)(slash - path) : 0);
    if (*dir && !strlist_has(dirs, dir))
        strlist_add(dirs, dir);
}

static void list_outputs(struct inst *i, struct launch_task *t)
{
    for (int k = 0; k < i->c->n_out_params; k++) {
        AUTOFREE char *path = xasprintf("/tmp/kfp/outputs/%s", i->c->out_params[k].key);
        launch_task_add_param(t, i->c->out_params[k].key, path);
        strlist_add(&t->clean, path);
        add_parent(&t->dirs, path);
    }
    for (int k = 0; k < i->c->n_out_artifacts; k++) {
        AUTOFREE char *uri = output_uri(i, i->c->out_artifacts[k].key);
        AUTOFREE char *path = local_path(uri);
        if (!path)
            continue;
        launch_task_add_artifact(t, i->c->out_artifacts[k].key, path);
        strlist_add(&t->clean, path);
        add_parent(&t->dirs, path);
    }
    AUTOFREE char *log = log_uri(i);
    if (!i->live->e->cfg.no_logs)
        t->log_path = local_path(log);
    t->executor_output_path = executor_output_file(i);
    strlist_add(&t->clean, t->executor_output_path);
    add_parent(&t->dirs, t->executor_output_path);
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

static int make_machine(struct scope *sc, const struct tmpl_scope *ts, struct execution *x, struct err *err)
{
    if (make_env(sc, ts, &x->env, err) < 0 || make_resources(sc, ts, &x->resources, err) < 0)
        return -1;
    return resolve_kubernetes(sc->i, &x->kubernetes, err);
}

static int make_all(struct scope *sc, struct execution *x, struct err *err)
{
    struct inst *i = sc->i;
    struct tmpl_scope ts = {.self = sc, .value = placeholder, .present = input_present};
    BUF(image);
    if (make_argv(sc, &ts, &x->task, err) < 0 || make_machine(sc, &ts, x, err) < 0 ||
        tmpl_eval(&i->c->container->image, &ts, &image, err) < 0)
        return -1;
    strip_task_config(i, x);
    x->image = buf_steal(&image, NULL);
    if (str_starts(x->image, "argostub/"))
        return err_set(err, ERR_INVALID,
                       "image %s stands for something that the engine does; it knows argostub/createpvc and "
                       "argostub/deletepvc",
                       x->image);
    list_outputs(i, &x->task);
    return 0;
}

int execution_machine(struct inst *i, struct execution *x, struct err *err)
{
    *x = (struct execution){0};
    launch_task_init(&x->task);
    struct scope sc = {.i = i, .input = (char[]){""}};
    struct tmpl_scope ts = {.self = &sc, .value = placeholder, .present = input_present};
    return make_machine(&sc, &ts, x, err);
}

int execution_make(struct inst *i, struct execution *x, struct err *err)
{
    *x = (struct execution){0};
    launch_task_init(&x->task);
    x->task.run_id = xstrdup(i->live->run.run_id);
    x->task.task_id = xstrdup(i->row.task_id);
    x->task.attempt = i->row.attempt;
    x->dir = attempt_dir(i);
    struct scope sc = {.i = i, .doc = executor_input(i, err)};
    if (!sc.doc)
        return -1;
    sc.input = jv_text(json_root(sc.doc), JW_COMPACT);
    int rc = make_all(&sc, x, err);
    json_unref(sc.doc);
    free(sc.input);
    if (rc == 0)
        rc = mount_outputs(i, x, err);
    if (rc == 0)
        rc = stores_send(i, x, err);
    if (rc == 0)
        rc = mount_inputs(i, x, err);
    if (rc == 0)
        rc = setup_prepare(i, x, err);
    return rc == 0 ? mount_workspace(i, x, err) : rc;
}

void execution_clear(struct execution *x)
{
    launch_task_clear(&x->task);
    json_unref(x->env);
    json_unref(x->resources);
    json_unref(x->kubernetes);
    json_unref(x->fill_env);
    free(x->setup);
    free(x->image);
    free(x->dir);
    for (size_t k = 0; k < x->n_mounts; k++) {
        free(x->mounts[k].host_path);
        free(x->mounts[k].container_path);
    }
    free(x->mounts);
    for (size_t k = 0; k < x->n_secrets; k++) {
        free(x->secrets[k].name);
        free(x->secrets[k].path);
    }
    free(x->secrets);
    for (size_t k = 0; k < x->n_images; k++) {
        free(x->images[k].reference);
        free(x->images[k].path);
    }
    free(x->images);
    strlist_free(&x->stores);
    *x = (struct execution){0};
}
