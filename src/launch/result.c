#include <stdlib.h>

#include "base/fs.h"
#include "launch/internal.h"

#define MAX_ITEMS 100000

static const char *const outcomes[] = {
    [LAUNCH_EXITED] = "exited", [LAUNCH_SIGNALED] = "signaled", [LAUNCH_NOT_FOUND] = "notFound",
    [LAUNCH_SETUP] = "setup",   [LAUNCH_COLLECT] = "collect",
};

void launch_result_init(struct launch_result *r) { *r = (struct launch_result){.version = 1}; }

void launch_result_clear(struct launch_result *r)
{
    free(r->message);
    free(r->log_tail);
    free(r->executor_output);
    for (size_t i = 0; i < r->n_params; i++) {
        free(r->params[i].key);
        free(r->params[i].text);
    }
    free(r->params);
    for (size_t i = 0; i < r->n_artifacts; i++)
        free(r->artifacts[i].key);
    free(r->artifacts);
    launch_result_init(r);
}

/* File contents are bytes; JSON wants UTF-8. What is none goes as base64 beside the text. */
static void put_bytes(struct jm *m, jmval *o, const char *field, const char *p, size_t n)
{
    if (str_utf8_valid(p, n)) {
        jm_put(m, o, field, jm_strn(m, p, n));
        return;
    }
    AUTOFREE char *b64 = base64_encode(p, n);
    AUTOFREE char *name = xasprintf("%sBase64", field);
    jm_put(m, o, name, jm_str(m, b64));
}

void launch_result_text(const struct launch_result *r, struct buf *out)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    jm_put(m, o, "version", jm_i64(m, r->version));
    jm_put(m, o, "attempt", jm_i64(m, r->attempt));
    jm_put(m, o, "outcome", jm_str(m, outcomes[r->outcome]));
    jm_put(m, o, "exitCode", jm_i64(m, r->exit_code));
    jm_put(m, o, "signal", jm_i64(m, r->signal));
    if (r->message)
        put_bytes(m, o, "message", r->message, strlen(r->message));
    if (r->log_tail)
        put_bytes(m, o, "logTail", r->log_tail, strlen(r->log_tail));
    jm_put(m, o, "startedNs", jm_i64(m, r->started_ns));
    jm_put(m, o, "finishedNs", jm_i64(m, r->finished_ns));
    jm_put(m, o, "preludeSkipped", jm_bool(m, r->prelude_skipped));
    if (r->setup_stale)
        jm_put(m, o, "setupStale", jm_bool(m, true));
    if (r->has_log) {
        jm_put(m, o, "hasLog", jm_bool(m, true));
        jm_put(m, o, "logSize", jm_i64(m, r->log_size));
    }
    if (r->executor_output)
        put_bytes(m, o, "executorOutput", r->executor_output, strlen(r->executor_output));
    jmval *params = jm_arr(m);
    for (size_t i = 0; i < r->n_params; i++) {
        const struct launch_result_param *p = &r->params[i];
        jmval *x = jm_obj(m);
        jm_put(m, x, "key", jm_str(m, p->key));
        jm_put(m, x, "len", jm_i64(m, (int64_t)p->len));
        if (p->too_big)
            jm_put(m, x, "tooBig", jm_bool(m, true));
        else if (p->text)
            put_bytes(m, x, "text", p->text, p->len);
        jm_push(params, x);
    }
    jm_put(m, o, "outputParameters", params);
    jmval *artifacts = jm_arr(m);
    for (size_t i = 0; i < r->n_artifacts; i++) {
        const struct launch_result_artifact *a = &r->artifacts[i];
        jmval *x = jm_obj(m);
        jm_put(m, x, "key", jm_str(m, a->key));
        jm_put(m, x, "exists", jm_bool(m, a->exists));
        jm_put(m, x, "isDir", jm_bool(m, a->is_dir));
        jm_put(m, x, "size", jm_i64(m, a->size));
        jm_push(artifacts, x);
    }
    jm_put(m, o, "outputArtifacts", artifacts);
    jmv_write(o, JW_COMPACT, out);
}

/* The bytes of a text field, NULL when absent. Caller frees. */
static char *get_bytes(jval *o, const char *field, size_t *len, struct err *err)
{
    jval *v = jv_get(o, field);
    *len = 0;
    if (jv_str(v)) {
        *len = jv_len(v);
        return xmemdup(jv_str(v), *len + 1);
    }
    AUTOFREE char *name = xasprintf("%sBase64", field);
    jval *b = jv_get(o, name);
    if (!jv_str(b))
        return NULL;
    unsigned char *p = NULL;
    if (base64_decode(jv_str(b), jv_len(b), &p, len) < 0) {
        err_set(err, ERR_BAD_REQUEST, "result file: %s is no base64", name);
        return NULL;
    }
    char *text = xmalloc(*len + 1);
    memcpy(text, p, *len);
    text[*len] = 0;
    free(p);
    return text;
}

static int get_params(jval *v, struct launch_result *r, struct err *err)
{
    jval *a = jv_get(v, "outputParameters");
    if (a && (!jv_is(a, J_ARRAY) || jv_len(a) > MAX_ITEMS))
        return err_set(err, ERR_BAD_REQUEST, "result file: outputParameters must be a list");
    r->params = xcalloc(jv_len(a) + 1, sizeof *r->params);
    struct jiter it = jv_iter(a);
    jval *x;
    while (jv_next(&it, NULL, &x)) {
        const char *key = jv_str(jv_get(x, "key"));
        if (!key)
            return err_set(err, ERR_BAD_REQUEST, "result file: an output parameter without key");
        struct launch_result_param *p = &r->params[r->n_params++];
        p->key = xstrdup(key);
        p->too_big = jv_bool(jv_get(x, "tooBig"), false);
        if (p->too_big)
            p->len = (size_t)jv_i64_or(jv_get(x, "len"), 0);
        else
            p->text = get_bytes(x, "text", &p->len, err);
    }
    return 0;
}

static int get_artifacts(jval *v, struct launch_result *r, struct err *err)
{
    jval *a = jv_get(v, "outputArtifacts");
    if (a && (!jv_is(a, J_ARRAY) || jv_len(a) > MAX_ITEMS))
        return err_set(err, ERR_BAD_REQUEST, "result file: outputArtifacts must be a list");
    r->artifacts = xcalloc(jv_len(a) + 1, sizeof *r->artifacts);
    struct jiter it = jv_iter(a);
    jval *x;
    while (jv_next(&it, NULL, &x)) {
        const char *key = jv_str(jv_get(x, "key"));
        if (!key)
            return err_set(err, ERR_BAD_REQUEST, "result file: an output artifact without key");
        r->artifacts[r->n_artifacts++] = (struct launch_result_artifact){
            .key = xstrdup(key),
            .exists = jv_bool(jv_get(x, "exists"), false),
            .is_dir = jv_bool(jv_get(x, "isDir"), false),
            .size = jv_i64_or(jv_get(x, "size"), 0),
        };
    }
    return 0;
}

static int result_from(jval *v, struct launch_result *r, struct err *err)
{
    if (!jv_is(v, J_OBJECT) || jv_i64_or(jv_get(v, "version"), 0) != 1)
        return err_set(err, ERR_BAD_REQUEST, "result file: not a result of version 1");
    const char *outcome = jv_str_or(jv_get(v, "outcome"), "");
    size_t i = 0;
    while (i < ARRAY_LEN(outcomes) && !str_eq(outcome, outcomes[i]))
        i++;
    if (i == ARRAY_LEN(outcomes))
        return err_set(err, ERR_BAD_REQUEST, "result file: outcome \"%.40s\" is unknown", outcome);
    r->outcome = (enum launch_outcome)i;
    r->attempt = (int)jv_i64_or(jv_get(v, "attempt"), 0);
    r->exit_code = (int)jv_i64_or(jv_get(v, "exitCode"), 0);
    r->signal = (int)jv_i64_or(jv_get(v, "signal"), 0);
    r->started_ns = jv_i64_or(jv_get(v, "startedNs"), 0);
    r->finished_ns = jv_i64_or(jv_get(v, "finishedNs"), 0);
    r->prelude_skipped = jv_bool(jv_get(v, "preludeSkipped"), false);
    r->setup_stale = jv_bool(jv_get(v, "setupStale"), false);
    r->has_log = jv_bool(jv_get(v, "hasLog"), false);
    r->log_size = jv_i64_or(jv_get(v, "logSize"), 0);
    size_t len;
    ERR(e);
    r->message = get_bytes(v, "message", &len, &e);
    r->log_tail = get_bytes(v, "logTail", &len, &e);
    r->executor_output = get_bytes(v, "executorOutput", &len, &e);
    if (get_params(v, r, &e) < 0 || get_artifacts(v, r, &e) < 0 || e.code)
        return err_move(err, &e);
    return 0;
}

static int result_from_doc(struct json *doc, struct launch_result *out, struct err *err)
{
    launch_result_init(out);
    if (result_from(json_root(doc), out, err) == 0)
        return 0;
    launch_result_clear(out);
    return -1;
}

int launch_result_parse(const char *text, size_t len, struct launch_result *out, struct err *err)
{
    JSON_REF(doc) = json_parse(text, len, NULL, err);
    return doc ? result_from_doc(doc, out, err) : -1;
}

int launch_result_read(const char *dir, struct launch_result *out, struct err *err)
{
    JSON_REF(doc) = launch_read_doc(dir, LAUNCH_RESULT, err);
    return doc ? result_from_doc(doc, out, err) : -1;
}

int launch_result_write(const struct launch_result *r, const char *dir, struct err *err)
{
    BUF(b);
    launch_result_text(r, &b);
    AUTOFREE char *path = fs_join(dir, LAUNCH_RESULT);
    return fs_write_atomic(path, b.data, b.len, 0644, err);
}
