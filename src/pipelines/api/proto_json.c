#include "pipelines/api/proto_json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/timefmt.h"

enum { DEPTH_MAX = 200 }; /* of the body as JSON, which bounds the recursion here too */

static int decode_message(const struct pj_message *msg, jval *in, struct jm *m, jmval **out, struct err *err);

/* "displayName" is the camelCase spelling of "display_name". */
static bool camel_of(const char *name, const char *snake)
{
    for (; *snake; snake++, name++) {
        if (*snake == '_') {
            snake++;
            if (*name != toupper((unsigned char)*snake))
                return false;
        } else if (*name != *snake) {
            return false;
        }
    }
    return !*name;
}

static const struct pj_field *field_named(const struct pj_message *msg, const char *name)
{
    for (size_t i = 0; i < msg->n; i++) {
        const struct pj_field *f = &msg->fields[i];
        if (strcmp(f->name, name) == 0 || camel_of(name, f->name))
            return f;
    }
    return NULL;
}

static int wrong_value(const struct pj_field *f, const char *type, jval *in, struct err *err)
{
    AUTOFREE char *text = jv_text(in, JW_COMPACT);
    return err_set(err, ERR_BAD_REQUEST, "invalid value for %s field %s: %.80s", type, f->name, text);
}

static int decode_int(const struct pj_field *f, jval *in, struct jm *m, jmval **out, struct err *err)
{
    const char *type = f->type == PJ_INT32 ? "int32" : "int64";
    int64_t n;
    bool good = jv_is(in, J_STRING) ? str_to_i64(jv_str(in), &n) : jv_i64(in, &n);
    if (!good || (f->type == PJ_INT32 && (n < INT32_MIN || n > INT32_MAX)))
        return wrong_value(f, type, in, err);
    *out = jm_i64(m, n);
    return 0;
}

static int decode_enum(const struct pj_field *f, jval *in, struct jm *m, jmval **out, struct err *err)
{
    int64_t n = 0;
    const char *name = jv_str(in);
    const struct pj_word *w = f->words;
    if (name) {
        while (w->name && strcmp(w->name, name) != 0)
            w++;
        if (!w->name)
            return wrong_value(f, "enum", in, err);
        n = w->number;
    } else if (!jv_i64(in, &n) || n < INT32_MIN || n > INT32_MAX) {
        return wrong_value(f, "enum", in, err);
    }
    *out = jm_i64(m, n);
    return 0;
}

static int decode_text(const struct pj_field *f, jval *in, struct jm *m, jmval **out, struct err *err)
{
    const char *s = jv_str(in);
    int64_t ns;
    if (!s)
        return wrong_value(f, f->type == PJ_TIME ? "google.protobuf.Timestamp" : "string", in, err);
    if (strlen(s) != jv_len(in))
        return err_set(err, ERR_BAD_REQUEST, "invalid value for string field %s: it holds a NUL character", f->name);
    if (f->type == PJ_TIME && !time_parse(s, &ns))
        return err_set(err, ERR_BAD_REQUEST,
                       "invalid google.protobuf.Timestamp value \"%.80s\" for field %s: use 2006-01-02T15:04:05Z", s, f->name);
    *out = jm_str(m, s);
    return 0;
}

static int decode_value(const struct pj_field *f, jval *in, struct jm *m, jmval **out, struct err *err)
{
    switch (f->type) {
    case PJ_STRING:
    case PJ_TIME:
        return decode_text(f, in, m, out, err);
    case PJ_BOOL:
        if (!jv_is(in, J_BOOL))
            return wrong_value(f, "bool", in, err);
        *out = jm_bool(m, jv_bool(in, false));
        return 0;
    case PJ_INT32:
    case PJ_INT64:
        return decode_int(f, in, m, out, err);
    case PJ_ENUM:
        return decode_enum(f, in, m, out, err);
    case PJ_STRUCT:
        if (!jv_is(in, J_OBJECT))
            return wrong_value(f, "object", in, err);
        *out = jm_val(m, in);
        return 0;
    case PJ_MESSAGE:
        if (!jv_is(in, J_OBJECT))
            return wrong_value(f, "object", in, err);
        return decode_message(f->message, in, m, out, err);
    }
    return err_set(err, ERR_INTERNAL, "field %s has no type", f->name);
}

/* Lists and maps: their values, one by one. */
static int decode_many(const struct pj_field *f, jval *in, struct jm *m, jmval **out, struct err *err)
{
    bool list = f->shape == PJ_LIST;
    if (!jv_is(in, list ? J_ARRAY : J_OBJECT))
        return wrong_value(f, list ? "repeated" : "map", in, err);
    *out = list ? jm_arr(m) : jm_obj(m);
    struct jiter it = jv_iter(in);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        jmval *one = NULL;
        if (jv_is(v, J_NULL))
            return wrong_value(f, list ? "repeated" : "map", v, err);
        if (decode_value(f, v, m, &one, err) < 0)
            return -1;
        if (list)
            jm_push(*out, one);
        else
            jm_put(m, *out, key, one);
    }
    return 0;
}

static int check_oneof(const struct pj_message *msg, const struct pj_field *f, jmval *sofar, struct err *err)
{
    for (size_t i = 0; f->oneof > 0 && i < msg->n; i++) {
        const struct pj_field *other = &msg->fields[i];
        if (other->oneof == f->oneof && other != f && jmv_get(sofar, other->name))
            return err_set(err, ERR_BAD_REQUEST, "fields %s and %s of %s exclude each other: give one", other->name, f->name,
                           msg->name);
    }
    return 0;
}

static int decode_message(const struct pj_message *msg, jval *in, struct jm *m, jmval **out, struct err *err)
{
    *out = jm_obj(m);
    jmval *seen = jm_obj(m); /* also those that are null */
    struct jiter it = jv_iter(in);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        const struct pj_field *f = field_named(msg, key);
        if (!f)
            return err_set(err, ERR_BAD_REQUEST, "unknown field \"%.80s\" in %s", key, msg->name);
        if (jmv_get(seen, f->name))
            return err_set(err, ERR_BAD_REQUEST, "duplicate field \"%s\" in %s", key, msg->name);
        jm_put(m, seen, f->name, jm_bool(m, true));
        if (jv_is(v, J_NULL))
            continue;
        jmval *value = NULL;
        if (check_oneof(msg, f, *out, err) < 0 || (f->shape == PJ_ONE ? decode_value : decode_many)(f, v, m, &value, err) < 0)
            return -1;
        jm_put(m, *out, f->name, value);
    }
    return 0;
}

static void note_duplicate(void *self, const char *path)
{
    char **first = self;
    if (!*first)
        *first = xstrdup(path);
}

struct json *pj_decode(const struct pj_message *message, const char *text, size_t len, struct err *err)
{
    AUTOFREE char *duplicate = NULL;
    const struct json_opts opts = {.max_depth = DEPTH_MAX, .on_duplicate = note_duplicate, .self = &duplicate};
    JSON_REF(in) = len ? json_parse(text, len, &opts, err) : json_parse("{}", 2, NULL, err);
    if (!in)
        return NULL;
    if (duplicate) {
        err_set(err, ERR_BAD_REQUEST, "duplicate field \"%s\"", duplicate);
        return NULL;
    }
    if (!jv_is(json_root(in), J_OBJECT)) {
        err_set(err, ERR_BAD_REQUEST, "unexpected %s: a %s is a JSON object", jtype_name(jv_type(json_root(in))), message->name);
        return NULL;
    }
    JM_NEW(m);
    jmval *out = NULL;
    if (decode_message(message, json_root(in), m, &out, err) < 0)
        return NULL;
    return jm_freeze_val(out);
}
