#include "launch/task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "launch/internal.h"

/* More would be no task of ours; bounds memory before it is taken. */
#define MAX_ITEMS 100000

void launch_task_init(struct launch_task *t) { *t = (struct launch_task){.version = 1, .executor_input_at = -1}; }

static void outputs_free(struct launch_output *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(v[i].key);
        free(v[i].path);
        free(v[i].uri);
    }
    free(v);
}

static void stores_free(struct launch_task *t)
{
    for (size_t i = 0; i < t->n_stores; i++) {
        json_unref(t->stores[i].settings);
        free(t->stores[i].access_key_file);
        free(t->stores[i].secret_key_file);
        free(t->stores[i].token_file);
    }
    free(t->stores);
    for (size_t i = 0; i < t->n_downloads; i++) {
        free(t->downloads[i].uri);
        free(t->downloads[i].path);
    }
    free(t->downloads);
}

void launch_task_clear(struct launch_task *t)
{
    free(t->run_id);
    free(t->task_id);
    strlist_free(&t->argv);
    strlist_free(&t->clean);
    strlist_free(&t->dirs);
    strlist_free(&t->yield);
    free(t->executor_input);
    strlist_free(&t->requirements);
    free(t->executor_output_path);
    outputs_free(t->params, t->n_params);
    outputs_free(t->artifacts, t->n_artifacts);
    stores_free(t);
    free(t->setup_dir);
    free(t->log_path);
    free(t->log_uri);
    free(t->result_uri);
    free(t->task_uri);
    launch_task_init(t);
}

static void add_output(struct launch_output **v, size_t *n, const char *key, const char *path)
{
    *v = xreallocarray(*v, *n + 1, sizeof **v);
    (*v)[(*n)++] = (struct launch_output){.key = xstrdup(key), .path = xstrdup(path)};
}

void launch_task_add_param(struct launch_task *t, const char *key, const char *path)
{
    add_output(&t->params, &t->n_params, key, path);
}

void launch_task_add_artifact(struct launch_task *t, const char *key, const char *path)
{
    add_output(&t->artifacts, &t->n_artifacts, key, path);
}

void launch_task_send_artifact(struct launch_task *t, const char *uri, int store)
{
    struct launch_output *o = &t->artifacts[t->n_artifacts - 1];
    free(o->uri);
    o->uri = xstrdup(uri);
    o->store = store;
}

int launch_task_add_store(struct launch_task *t, jval *settings, const char *access_key_file, const char *secret_key_file,
                          const char *token_file)
{
    t->stores = xreallocarray(t->stores, t->n_stores + 1, sizeof *t->stores);
    t->stores[t->n_stores] =
        (struct launch_store){json_from(settings), xstrdup(access_key_file), xstrdup(secret_key_file), xstrdup(token_file)};
    return (int)t->n_stores++;
}

void launch_task_add_download(struct launch_task *t, const char *uri, const char *path, int store)
{
    t->downloads = xreallocarray(t->downloads, t->n_downloads + 1, sizeof *t->downloads);
    t->downloads[t->n_downloads++] = (struct launch_download){xstrdup(uri), xstrdup(path), store};
}

static void put_list(struct jm *m, jmval *obj, const char *field, const struct strlist *l)
{
    jmval *a = jm_arr(m);
    for (size_t i = 0; i < l->n; i++)
        jm_push(a, jm_str(m, l->v[i]));
    jm_put(m, obj, field, a);
}

/* A URI and the number of its store; nothing when there is no URI. */
static void put_place(struct jm *m, jmval *o, const char *name, const char *uri, const char *store_name, int store)
{
    if (!uri)
        return;
    jm_put(m, o, name, jm_str(m, uri));
    jm_put(m, o, store_name, jm_i64(m, store));
}

static void put_outputs(struct jm *m, jmval *obj, const char *field, const struct launch_output *v, size_t n)
{
    jmval *a = jm_arr(m);
    for (size_t i = 0; i < n; i++) {
        jmval *o = jm_obj(m);
        jm_put(m, o, "key", jm_str(m, v[i].key));
        jm_put(m, o, "path", jm_str(m, v[i].path));
        put_place(m, o, "uri", v[i].uri, "store", v[i].store);
        jm_push(a, o);
    }
    jm_put(m, obj, field, a);
}

static void put_text(struct jm *m, jmval *o, const char *field, const char *text)
{
    if (text)
        jm_put(m, o, field, jm_str(m, text));
}

static void put_stores(struct jm *m, jmval *obj, const struct launch_task *t)
{
    jmval *stores = jm_arr(m), *downloads = jm_arr(m);
    for (size_t i = 0; i < t->n_stores; i++) {
        jmval *o = jm_obj(m);
        jm_put(m, o, "settings", jm_val(m, json_root(t->stores[i].settings)));
        put_text(m, o, "accessKeyFile", t->stores[i].access_key_file);
        put_text(m, o, "secretKeyFile", t->stores[i].secret_key_file);
        put_text(m, o, "tokenFile", t->stores[i].token_file);
        jm_push(stores, o);
    }
    for (size_t i = 0; i < t->n_downloads; i++) {
        jmval *o = jm_obj(m);
        put_place(m, o, "uri", t->downloads[i].uri, "store", t->downloads[i].store);
        jm_put(m, o, "path", jm_str(m, t->downloads[i].path));
        jm_push(downloads, o);
    }
    jm_put(m, obj, "stores", stores);
    jm_put(m, obj, "downloads", downloads);
    put_text(m, obj, "logPath", t->log_path);
    put_place(m, obj, "logUri", t->log_uri, "logStore", t->log_store);
    put_place(m, obj, "resultUri", t->result_uri, "resultStore", t->result_store);
    put_place(m, obj, "taskUri", t->task_uri, "taskStore", t->task_store);
}

void launch_task_text(const struct launch_task *t, struct buf *out)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    jm_put(m, o, "version", jm_i64(m, t->version));
    jm_put(m, o, "runId", jm_str(m, t->run_id));
    jm_put(m, o, "taskId", jm_str(m, t->task_id));
    jm_put(m, o, "attempt", jm_i64(m, t->attempt));
    put_list(m, o, "argv", &t->argv);
    if (t->image_command)
        jm_put(m, o, "imageCommand", jm_bool(m, true));
    put_list(m, o, "clean", &t->clean);
    put_list(m, o, "dirs", &t->dirs);
    if (t->yield.n)
        put_list(m, o, "yield", &t->yield);
    if (t->executor_input)
        jm_put(m, o, "executorInput", jm_str(m, t->executor_input));
    jm_put(m, o, "executorInputAt", jm_i64(m, t->executor_input_at));
    jm_put(m, o, "bigInput", jm_bool(m, t->big_input));
    jm_put(m, o, "preludeAt", jm_i64(m, t->prelude_at));
    put_list(m, o, "requirements", &t->requirements);
    put_text(m, o, "setupDir", t->setup_dir);
    if (t->executor_output_path)
        jm_put(m, o, "executorOutputPath", jm_str(m, t->executor_output_path));
    put_outputs(m, o, "outputParameters", t->params, t->n_params);
    put_outputs(m, o, "outputArtifacts", t->artifacts, t->n_artifacts);
    if (t->n_stores > 0 || t->log_path)
        put_stores(m, o, t);
    jmv_write(o, JW_COMPACT, out);
}

static int get_list(jval *v, const char *field, struct strlist *out, struct err *err)
{
    jval *a = jv_get(v, field);
    if (!a)
        return 0;
    if (!jv_is(a, J_ARRAY) || jv_len(a) > MAX_ITEMS)
        return err_set(err, ERR_BAD_REQUEST, "task file: %s must be a list", field);
    struct jiter it = jv_iter(a);
    jval *x;
    while (jv_next(&it, NULL, &x)) {
        if (!jv_str(x))
            return err_set(err, ERR_BAD_REQUEST, "task file: %s must hold strings, not %s", field, jtype_name(jv_type(x)));
        strlist_add(out, jv_str(x));
    }
    return 0;
}

/* The counterpart of put_place; the stores are known already. */
static int get_place(jval *v, const char *name, const char *store_name, const struct launch_task *t, char **uri, int *store,
                     struct err *err)
{
    *uri = xstrdup(jv_str(jv_get(v, name)));
    int64_t n = jv_i64_or(jv_get(v, store_name), -1);
    if (*uri && (n < 0 || n >= (int64_t)t->n_stores))
        return err_set(err, ERR_BAD_REQUEST, "task file: %s %lld is none of the %zu stores", store_name, (long long)n,
                       t->n_stores);
    *store = *uri ? (int)n : 0;
    return 0;
}

static int get_outputs(jval *v, const char *field, const struct launch_task *t, struct launch_output **out, size_t *n,
                       struct err *err)
{
    jval *a = jv_get(v, field);
    if (a && (!jv_is(a, J_ARRAY) || jv_len(a) > MAX_ITEMS))
        return err_set(err, ERR_BAD_REQUEST, "task file: %s must be a list", field);
    struct jiter it = jv_iter(a);
    jval *x;
    while (jv_next(&it, NULL, &x)) {
        const char *key = jv_str(jv_get(x, "key")), *path = jv_str(jv_get(x, "path"));
        if (!key || !path)
            return err_set(err, ERR_BAD_REQUEST, "task file: an element of %s lacks key or path", field);
        add_output(out, n, key, path);
        struct launch_output *o = &(*out)[*n - 1];
        if (get_place(x, "uri", "store", t, &o->uri, &o->store, err) < 0)
            return -1;
    }
    return 0;
}

static int get_stores(jval *v, struct launch_task *t, struct err *err)
{
    jval *stores = jv_get(v, "stores"), *downloads = jv_get(v, "downloads"), *x;
    if (jv_len(stores) > MAX_ITEMS || jv_len(downloads) > MAX_ITEMS)
        return err_set(err, ERR_BAD_REQUEST, "task file: more than %d stores or downloads", MAX_ITEMS);
    for (struct jiter it = jv_iter(stores); jv_is(stores, J_ARRAY) && jv_next(&it, NULL, &x);) {
        if (!jv_is(jv_get(x, "settings"), J_OBJECT))
            return err_set(err, ERR_BAD_REQUEST, "task file: a store without settings");
        launch_task_add_store(t, jv_get(x, "settings"), jv_str(jv_get(x, "accessKeyFile")), jv_str(jv_get(x, "secretKeyFile")),
                              jv_str(jv_get(x, "tokenFile")));
    }
    for (struct jiter it = jv_iter(downloads); jv_is(downloads, J_ARRAY) && jv_next(&it, NULL, &x);) {
        const char *path = jv_str(jv_get(x, "path"));
        char *uri = NULL;
        int store, rc = get_place(x, "uri", "store", t, &uri, &store, err);
        if (rc == 0 && (!uri || !path))
            rc = err_set(err, ERR_BAD_REQUEST, "task file: a download lacks uri or path");
        if (rc == 0)
            launch_task_add_download(t, uri, path, store);
        free(uri);
        if (rc < 0)
            return -1;
    }
    t->log_path = xstrdup(jv_str(jv_get(v, "logPath")));
    if (get_place(v, "logUri", "logStore", t, &t->log_uri, &t->log_store, err) < 0)
        return -1;
    if (get_place(v, "resultUri", "resultStore", t, &t->result_uri, &t->result_store, err) < 0)
        return -1;
    return get_place(v, "taskUri", "taskStore", t, &t->task_uri, &t->task_store, err);
}

static int task_from(jval *v, struct launch_task *t, struct err *err)
{
    if (!jv_is(v, J_OBJECT))
        return err_set(err, ERR_BAD_REQUEST, "task file: not a JSON object");
    t->version = (int)jv_i64_or(jv_get(v, "version"), 0);
    if (t->version != 1)
        return err_set(err, ERR_BAD_REQUEST, "task file: version %d is unknown to this agent, which reads version 1", t->version);
    t->run_id = xstrdup(jv_str_or(jv_get(v, "runId"), ""));
    t->task_id = xstrdup(jv_str_or(jv_get(v, "taskId"), ""));
    t->attempt = (int)jv_i64_or(jv_get(v, "attempt"), 0);
    if (get_list(v, "argv", &t->argv, err) < 0 || get_list(v, "clean", &t->clean, err) < 0 ||
        get_list(v, "dirs", &t->dirs, err) < 0 || get_list(v, "yield", &t->yield, err) < 0 ||
        get_list(v, "requirements", &t->requirements, err) < 0)
        return -1;
    t->image_command = jv_bool(jv_get(v, "imageCommand"), false);
    if (t->argv.n == 0 && !t->image_command && !jv_str(jv_get(v, "taskUri")))
        return err_set(err, ERR_BAD_REQUEST, "task file: argv is empty");
    t->executor_input = xstrdup(jv_str(jv_get(v, "executorInput")));
    int64_t at = jv_i64_or(jv_get(v, "executorInputAt"), -1), prelude = jv_i64_or(jv_get(v, "preludeAt"), 0);
    if (at < -1 || at >= (int64_t)t->argv.n || (at >= 0 && !t->executor_input))
        return err_set(err, ERR_BAD_REQUEST, "task file: executorInputAt %lld points nowhere", (long long)at);
    if (prelude < 0 || (prelude > 0 && prelude >= (int64_t)t->argv.n))
        return err_set(err, ERR_BAD_REQUEST, "task file: preludeAt %lld points nowhere", (long long)prelude);
    t->executor_input_at = (int)at;
    t->prelude_at = (int)prelude;
    t->setup_dir = xstrdup(jv_str(jv_get(v, "setupDir")));
    t->big_input = jv_bool(jv_get(v, "bigInput"), false);
    t->executor_output_path = xstrdup(jv_str(jv_get(v, "executorOutputPath")));
    if (get_stores(v, t, err) < 0 || get_outputs(v, "outputParameters", t, &t->params, &t->n_params, err) < 0)
        return -1;
    return get_outputs(v, "outputArtifacts", t, &t->artifacts, &t->n_artifacts, err);
}

static int task_from_doc(struct json *doc, struct launch_task *out, struct err *err)
{
    launch_task_init(out);
    if (task_from(json_root(doc), out, err) == 0)
        return 0;
    launch_task_clear(out);
    return -1;
}

int launch_task_parse(const char *text, size_t len, struct launch_task *out, struct err *err)
{
    JSON_REF(doc) = json_parse(text, len, NULL, err);
    return doc ? task_from_doc(doc, out, err) : -1;
}

struct json *launch_read_doc(const char *dir, const char *name, struct err *err)
{
    AUTOFREE char *path = fs_join(dir, name);
    BUF(b);
    if (fs_read_plain(path, LAUNCH_FILE_MAX, &b, err) < 0)
        return NULL;
    struct json *doc = json_parse(buf_str(&b), b.len, NULL, err);
    if (!doc)
        err_wrap(err, "%s", path);
    return doc;
}

int launch_task_read(const char *dir, struct launch_task *out, struct err *err)
{
    JSON_REF(doc) = launch_read_doc(dir, LAUNCH_TASK, err);
    return doc ? task_from_doc(doc, out, err) : -1;
}

/* Not synced to disk: the pod that reads it comes after it, and after a power cut the engine writes it again before any pod
 * starts. */
int launch_task_write(const struct launch_task *t, const char *dir, struct err *err)
{
    BUF(b);
    launch_task_text(t, &b);
    AUTOFREE char *path = fs_join(dir, LAUNCH_TASK);
    AUTOFREE char *tmp = xasprintf("%s.new", path);
    /* The directory belongs to the step, which may be running already when a task is written again after a crash. */
    if (unlink(tmp) < 0 && errno != ENOENT)
        return err_errno(err, "%s", tmp);
    AUTOCLOSE int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, "%s", tmp);
    if (fs_write(fd, b.data, b.len, err) < 0)
        return err_wrap(err, "%s", tmp);
    if (fchmod(fd, 0644) < 0 || rename(tmp, path) < 0)
        return err_errno(err, "%s", path);
    return 0;
}

/* ---- how the filling of a set-up ended ---- */

static const char *const setup_words[] = {
    [LAUNCH_SETUP_NONE] = "", [LAUNCH_SETUP_MADE] = "made", [LAUNCH_SETUP_NEEDLESS] = "needless", [LAUNCH_SETUP_NOT] = "not"};

const char *launch_setup_word(enum launch_setup s) { return setup_words[s]; }

enum launch_setup launch_setup_parse(const char *word)
{
    for (size_t i = 1; i < ARRAY_LEN(setup_words); i++)
        if (str_eq(word, setup_words[i]))
            return (enum launch_setup)i;
    return LAUNCH_SETUP_NONE;
}
