/* status.c - errors as Kubernetes' Status objects. */
#include <stdio.h>

#include "cluster/apiserver/face.h"

int fail_method(struct err *err)
{
    return err_set(err, ERR_METHOD, "the server does not allow this method on the requested resource");
}

int fail_no_resource(struct err *err) { return err_set(err, ERR_NOT_FOUND, "the server could not find the requested resource"); }

static void put(struct jm *m, jmval *o, const char *name, const char *value)
{
    if (!str_empty(value))
        jm_put(m, o, name, jm_str(m, value));
}

static jmval *causes_of(struct jm *m, const struct err *e)
{
    jmval *list = jm_arr(m);
    for (size_t i = 0; i < e->n_causes; i++) {
        jmval *c = jm_obj(m);
        put(m, c, "reason", e->causes[i].reason);
        put(m, c, "message", e->causes[i].message);
        put(m, c, "field", e->causes[i].field);
        jm_push(list, c);
    }
    return list;
}

/* Kinds of failure whose details are there even when there is nothing to say. */
static bool always_details(enum err_code code)
{
    return code == ERR_NOT_FOUND || code == ERR_METHOD || code == ERR_FORBIDDEN || code == ERR_CONFLICT || code == ERR_EXISTS ||
           code == ERR_INVALID;
}

struct json *status_of(const struct err *e)
{
    JM_NEW(m);
    jmval *root = jm_obj(m);
    jm_set_root(m, root);
    jm_put(m, root, "kind", jm_str(m, "Status"));
    jm_put(m, root, "apiVersion", jm_str(m, "v1"));
    put(m, jm_obj_at(m, root, "metadata"), "continue", e->continue_token);
    jm_put(m, root, "status", jm_str(m, "Failure"));
    put(m, root, "message", e->code == ERR_UNAUTHENTICATED ? "Unauthorized" : err_text(e));
    put(m, root, "reason", err_reason(e));
    jmval *details = jm_obj(m);
    put(m, details, "name", e->subject_name);
    put(m, details, "group", e->subject_group);
    put(m, details, "kind", e->subject_kind);
    put(m, details, "uid", e->subject_uid);
    if (e->n_causes)
        jm_put(m, details, "causes", causes_of(m, e));
    if (e->retry_after_s)
        jm_put(m, details, "retryAfterSeconds", jm_i64(m, e->retry_after_s));
    if (jmv_len(details) || always_details(e->code))
        jm_put(m, root, "details", details);
    jm_put(m, root, "code", jm_i64(m, err_http_status(e)));
    return jm_freeze(m);
}

void status_write(struct http_res *res, const struct err *e)
{
    JSON_REF(d) = status_of(e);
    http_status(res, err_http_status(e));
    http_body_json(res, json_root(d));
    if (e->retry_after_s) {
        char text[16];
        snprintf(text, sizeof(text), "%d", e->retry_after_s);
        http_set_header(res, "Retry-After", text);
    }
}
