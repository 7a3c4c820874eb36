#include "kube/wire/protobuf.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/timefmt.h"

#define MAX_NESTING 100

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* What is left of a message. */
struct reader {
    const unsigned char *p, *end;
};
/* One field of a message: a number, or bytes. */
struct entry {
    unsigned number;
    enum wire wire;
    uint64_t value; /* varint and fixed */
    struct reader bytes;
};
struct decoder {
    struct jm *m;
    struct err *err;
};

static int bad(struct err *err, const char *what) { return err_set(err, ERR_BAD_REQUEST, "proto: %s", what); }

static int read_varint(struct reader *r, uint64_t *out, struct err *err)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->p == r->end)
            return bad(err, "unexpected EOF");
        unsigned char c = *r->p++;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            *out = v;
            return 0;
        }
    }
    return bad(err, "integer overflow");
}

static int read_fixed(struct reader *r, size_t n, uint64_t *out, struct err *err)
{
    if ((size_t)(r->end - r->p) < n)
        return bad(err, "unexpected EOF");
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)r->p[i] << (8 * i);
    r->p += n;
    *out = v;
    return 0;
}

/* 1: *e filled; 0: the message is over; -1: error. */
static int next_entry(struct reader *r, struct entry *e, struct err *err)
{
    uint64_t tag, len;
    if (r->p == r->end)
        return 0;
    if (read_varint(r, &tag, err) < 0)
        return -1;
    *e = (struct entry){.number = (unsigned)(tag >> 3), .wire = tag & 7};
    if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
        return bad(err, "illegal tag");
    switch (e->wire) {
    case WIRE_VARINT:
        return read_varint(r, &e->value, err) < 0 ? -1 : 1;
    case WIRE_FIXED64:
        return read_fixed(r, 8, &e->value, err) < 0 ? -1 : 1;
    case WIRE_FIXED32:
        return read_fixed(r, 4, &e->value, err) < 0 ? -1 : 1;
    case WIRE_BYTES:
        if (read_varint(r, &len, err) < 0)
            return -1;
        if (len > (size_t)(r->end - r->p))
            return bad(err, "unexpected EOF");
        e->bytes = (struct reader){r->p, r->p + len};
        r->p += len;
        return 1;
    default:
        return bad(err, "illegal wireType");
    }
}

static int want_wire(const struct entry *e, enum wire wire, struct err *err)
{
    return e->wire == wire ? 0 : bad(err, "wrong wireType for a field");
}

static int text_of(struct decoder *d, struct reader b, jmval **out)
{
    const char *s = (const char *)b.p;
    size_t n = (size_t)(b.end - b.p);
    if (!str_utf8_valid(s, n))
        return bad(d->err, "string field contains invalid UTF-8");
    *out = jm_strn(d->m, s, n);
    return 0;
}

static jmval *bytes_of(struct decoder *d, struct reader b)
{
    AUTOFREE char *text = base64_encode(b.p, (size_t)(b.end - b.p));
    return jm_str(d->m, text);
}

/* ---- messages that have a form of their own in JSON ---------------------------------------------------------------- */

static int decode_time(struct decoder *d, struct reader r, bool micro, jmval **out)
{
    struct entry e;
    int64_t s = 0, n = 0;
    int rc;
    char text[TIME_TEXT_MAX];
    if (r.p == r.end) {
        *out = jm_null(d->m); /* the zero time */
        return 0;
    }
    while ((rc = next_entry(&r, &e, d->err)) > 0) {
        if (e.number <= 2 && want_wire(&e, WIRE_VARINT, d->err) < 0)
            return -1;
        if (e.number == 1)
            s = (int64_t)e.value;
        else if (e.number == 2)
            n = (int32_t)e.value;
    }
    if (rc < 0)
        return -1;
    if (s == -62135596800 && !n) { /* 0001-01-01T00:00:00Z */
        *out = jm_null(d->m);
        return 0;
    }
    if (s > INT64_MAX / 1000000000 - 1 || s < INT64_MIN / 1000000000 + 1)
        return bad(d->err, "time is out of range");
    *out = jm_str(d->m, time_format(text, s * 1000000000 + n, micro ? TIME_MICROS : TIME_SECONDS));
    return 0;
}

static int decode_quantity(struct decoder *d, struct reader r, jmval **out)
{
    struct entry e;
    int rc;
    *out = jm_str(d->m, "0");
    while ((rc = next_entry(&r, &e, d->err)) > 0)
        if (e.number == 1 && (want_wire(&e, WIRE_BYTES, d->err) < 0 || text_of(d, e.bytes, out) < 0))
            return -1;
    return rc;
}

static int decode_intorstring(struct decoder *d, struct reader r, jmval **out)
{
    struct entry e;
    int rc;
    uint64_t type = 0;
    int32_t n = 0;
    jmval *s = NULL;
    while ((rc = next_entry(&r, &e, d->err)) > 0) {
        if (e.number > 3)
            continue;
        if (want_wire(&e, e.number == 3 ? WIRE_BYTES : WIRE_VARINT, d->err) < 0)
            return -1;
        if (e.number == 1)
            type = e.value;
        else if (e.number == 2)
            n = (int32_t)e.value;
        else if (text_of(d, e.bytes, &s) < 0)
            return -1;
    }
    if (rc < 0)
        return -1;
    *out = type ? (s ? s : jm_str(d->m, "")) : jm_i64(d->m, n);
    return 0;
}

static int decode_duration(struct decoder *d, struct reader r, jmval **out)
{
    struct entry e;
    int rc;
    int64_t ns = 0;
    char text[TIME_TEXT_MAX];
    while ((rc = next_entry(&r, &e, d->err)) > 0) {
        if (e.number != 1)
            continue;
        if (want_wire(&e, WIRE_VARINT, d->err) < 0)
            return -1;
        ns = (int64_t)e.value;
    }
    *out = jm_str(d->m, duration_format(text, ns));
    return rc;
}

/* Bytes that are JSON themselves. */
static int decode_raw(struct decoder *d, struct reader r, jmval **out)
{
    struct entry e;
    int rc;
    *out = jm_null(d->m);
    while ((rc = next_entry(&r, &e, d->err)) > 0) {
        if (e.number != 1)
            continue;
        if (want_wire(&e, WIRE_BYTES, d->err) < 0)
            return -1;
        if (e.bytes.p == e.bytes.end)
            continue;
        struct json_opts opts = {.max_depth = 256};
        JSON_REF(doc) = json_parse((const char *)e.bytes.p, (size_t)(e.bytes.end - e.bytes.p), &opts, d->err);
        if (!doc)
            return -1;
        *out = jm_val(d->m, json_root(doc));
    }
    return rc;
}

static int decode_message(struct decoder *d, const struct ktype *t, struct reader r, jmval *into, unsigned depth);

/* JSON Schema's unions: a schema in field 1 (2 for "or bool"), else a bool or a list. */
static int decode_union(struct decoder *d, const struct kfield *f, struct reader r, unsigned depth, jmval **out)
{
    struct entry e;
    int rc;
    unsigned schema_at = f->form == KFORM_SCHEMAORBOOL ? 2 : 1;
    jmval *schema = NULL, *list = NULL, *s;
    bool allows = false;
    while ((rc = next_entry(&r, &e, d->err)) > 0) {
        if (e.number > 2)
            continue;
        if (want_wire(&e, schema_at == 2 && e.number == 1 ? WIRE_VARINT : WIRE_BYTES, d->err) < 0)
            return -1;
        if (e.number == schema_at) {
            schema = schema ? schema : jm_obj(d->m);
            if (decode_message(d, f->type, e.bytes, schema, depth + 1) < 0)
                return -1;
        } else if (schema_at == 2) {
            allows = e.value != 0;
        } else {
            list = list ? list : jm_arr(d->m);
            s = jm_obj(d->m);
            if (f->form == KFORM_SCHEMAORSTRINGS ? text_of(d, e.bytes, &s) : decode_message(d, f->type, e.bytes, s, depth + 1))
                return -1;
            jm_push(list, s);
        }
    }
    *out = schema ? schema : schema_at == 2 ? jm_bool(d->m, allows) : list ? list : jm_null(d->m);
    return rc;
}

/* ---- by the tables --------------------------------------------------------------------------------------------------- */

static enum wire wire_of(const struct kfield *f)
{
    switch ((enum kform)f->form) {
    case KFORM_INT32:
    case KFORM_INT64:
    case KFORM_BOOL:
        return WIRE_VARINT;
    case KFORM_DOUBLE:
        return WIRE_FIXED64;
    default:
        return WIRE_BYTES;
    }
}

static jmval *number_of(struct decoder *d, const struct kfield *f, uint64_t v)
{
    double x;
    switch ((enum kform)f->form) {
    case KFORM_BOOL:
        return jm_bool(d->m, v != 0);
    case KFORM_INT32:
        return jm_i64(d->m, (int32_t)v);
    case KFORM_DOUBLE:
        memcpy(&x, &v, sizeof x);
        return jm_f64(d->m, x);
    default:
        return jm_i64(d->m, (int64_t)v);
    }
}

/* One value. For a struct, prev is what an earlier occurrence left: they are merged, as protobuf wants it. */
static int decode_value_of(struct decoder *d, const struct kfield *f, const struct entry *e, unsigned depth, jmval *prev,
                           jmval **out)
{
    if (want_wire(e, wire_of(f), d->err) < 0)
        return -1;
    switch ((enum kform)f->form) {
    case KFORM_STRING:
        return text_of(d, e->bytes, out);
    case KFORM_INT32:
    case KFORM_INT64:
    case KFORM_BOOL:
    case KFORM_DOUBLE:
        *out = number_of(d, f, e->value);
        return 0;
    case KFORM_BYTES:
        *out = bytes_of(d, e->bytes);
        return 0;
    case KFORM_QUANTITY:
        return decode_quantity(d, e->bytes, out);
    case KFORM_INTORSTRING:
        return decode_intorstring(d, e->bytes, out);
    case KFORM_TIME:
    case KFORM_MICROTIME:
        return decode_time(d, e->bytes, f->form == KFORM_MICROTIME, out);
    case KFORM_DURATION:
        return decode_duration(d, e->bytes, out);
    case KFORM_RAW:
        return decode_raw(d, e->bytes, out);
    case KFORM_EMPTY:
        *out = jm_obj(d->m);
        return 0;
    case KFORM_SCHEMAORBOOL:
    case KFORM_SCHEMAORARRAY:
    case KFORM_SCHEMAORSTRINGS:
        return decode_union(d, f, e->bytes, depth, out);
    case KFORM_STRUCT:
        *out = prev ? prev : jm_obj(d->m);
        return decode_message(d, f->type, e->bytes, *out, depth + 1);
    }
    ASSERT(!"form of a field");
    return -1;
}

/* A repeated number may come packed into one run of bytes. */
static int decode_packed(struct decoder *d, const struct kfield *f, struct reader r, jmval *arr)
{
    while (r.p != r.end) {
        uint64_t v = 0;
        if (wire_of(f) == WIRE_VARINT ? read_varint(&r, &v, d->err) : read_fixed(&r, 8, &v, d->err))
            return -1;
        jm_push(arr, number_of(d, f, v));
    }
    return 0;
}

static int decode_repeated(struct decoder *d, const struct kfield *f, const struct entry *e, unsigned depth, jmval *into)
{
    jmval *arr = jm_arr_at(d->m, into, f->name), *x;
    if (e->wire == WIRE_BYTES && wire_of(f) != WIRE_BYTES)
        return decode_packed(d, f, e->bytes, arr);
    if (decode_value_of(d, f, e, depth, NULL, &x) < 0)
        return -1;
    jm_push(arr, x);
    return 0;
}

/* The list of strings that is the value of a map. */
static int decode_string_list(struct decoder *d, struct reader r, jmval **out)
{
    struct entry e;
    int rc;
    jmval *s = NULL;
    *out = jm_arr(d->m);
    while ((rc = next_entry(&r, &e, d->err)) > 0) {
        if (e.number != 1)
            continue;
        if (want_wire(&e, WIRE_BYTES, d->err) < 0 || text_of(d, e.bytes, &s) < 0)
            return -1;
        jm_push(*out, s);
    }
    return rc;
}

static int decode_map_entry(struct decoder *d, const struct kfield *f, struct reader r, unsigned depth, jmval *map)
{
    struct entry e;
    int rc;
    jmval *key = NULL, *val = NULL;
    while ((rc = next_entry(&r, &e, d->err)) > 0) {
        if (e.number == 1) {
            if (want_wire(&e, WIRE_BYTES, d->err) < 0 || text_of(d, e.bytes, &key) < 0)
                return -1;
        } else if (e.number == 2 && f->shape == KSHAPE_MAPLIST) {
            if (want_wire(&e, WIRE_BYTES, d->err) < 0 || decode_string_list(d, e.bytes, &val) < 0)
                return -1;
        } else if (e.number == 2 && decode_value_of(d, f, &e, depth, NULL, &val) < 0) {
            return -1;
        }
    }
    if (rc < 0)
        return -1;
    jm_add(d->m, map, key ? jmv_str(key) : "", val ? val : jm_null(d->m));
    return 0;
}

/* Map entries are added without looking; a key that came twice keeps its last value. */
static void drop_repeated_keys(struct decoder *d, jmval *map)
{
    struct strmap seen = STRMAP_INIT(NULL);
    struct jmiter it = jmv_iter(map);
    const char *key;
    jmval *v;
    size_t n = jmv_len(map);
    while (jmv_next(&it, &key, &v))
        strmap_put(&seen, key, v);
    if (strmap_count(&seen) < n) {
        jm_clear(map);
        for (struct strmap_entry *e = strmap_first(&seen); e; e = strmap_next(e))
            jm_add(d->m, map, e->key, e->value);
    }
    strmap_free(&seen);
}

static int decode_entry(struct decoder *d, const struct ktype *t, const struct entry *e, jmval *into, unsigned depth)
{
    for (size_t i = 0; i < t->n_embeds; i++)
        if (t->embeds[i].number == e->number)
            return want_wire(e, WIRE_BYTES, d->err) < 0 ? -1 : decode_message(d, t->embeds[i].type, e->bytes, into, depth + 1);
    const struct kfield *f = ktype_field_number(t, e->number);
    if (!f)
        return 0;
    if (f->shape == KSHAPE_LIST)
        return decode_repeated(d, f, e, depth, into);
    if (f->shape != KSHAPE_ONE)
        return want_wire(e, WIRE_BYTES, d->err) < 0 ? -1
                                                    : decode_map_entry(d, f, e->bytes, depth, jm_obj_at(d->m, into, f->name));
    jmval *prev = f->form == KFORM_STRUCT ? jmv_get(into, f->name) : NULL, *v;
    if (decode_value_of(d, f, e, depth, prev, &v) < 0)
        return -1;
    if (!prev)
        jm_put(d->m, into, f->name, v);
    return 0;
}

static int decode_message(struct decoder *d, const struct ktype *t, struct reader r, jmval *into, unsigned depth)
{
    struct entry e;
    int rc;
    if (depth > MAX_NESTING)
        return bad(d->err, "messages are nested too deeply");
    while ((rc = next_entry(&r, &e, d->err)) > 0)
        if (decode_entry(d, t, &e, into, depth) < 0)
            return -1;
    for (size_t i = 0; rc == 0 && i < t->n_fields; i++)
        if (t->fields[i].shape == KSHAPE_MAP || t->fields[i].shape == KSHAPE_MAPLIST) {
            jmval *map = jmv_get(into, t->fields[i].name);
            if (jmv_len(map) > 1)
                drop_repeated_keys(d, map);
        }
    return rc;
}

/* ---- the envelope ------------------------------------------------------------------------------------------------------ */

struct envelope {
    char *api_version, *kind;
    struct reader raw;
};
static void envelope_clear(struct envelope *e)
{
    free(e->api_version);
    free(e->kind);
}

static int read_type_meta(struct reader r, struct envelope *env, struct err *err)
{
    struct entry e;
    int rc;
    while ((rc = next_entry(&r, &e, err)) > 0) {
        if (e.number != 1 && e.number != 2)
            continue;
        size_t n = (size_t)(e.bytes.end - e.bytes.p);
        if (want_wire(&e, WIRE_BYTES, err) < 0)
            return -1;
        if (!str_utf8_valid((const char *)e.bytes.p, n) || (n && memchr(e.bytes.p, 0, n)))
            return bad(err, "apiVersion and kind are text");
        char **to = e.number == 1 ? &env->api_version : &env->kind;
        free(*to);
        *to = xstrndup(n ? (const char *)e.bytes.p : "", n);
    }
    return rc;
}

bool protobuf_is_envelope(const char *body, size_t len) { return len >= 4 && !memcmp(body, "k8s", 4); }

static int read_envelope(const char *body, size_t len, struct envelope *env, struct err *err)
{
    struct entry e;
    int rc;
    if (!protobuf_is_envelope(body, len))
        return err_set(err, ERR_BAD_REQUEST,
                       "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
    struct reader r = {(const unsigned char *)body + 4, (const unsigned char *)body + len};
    while ((rc = next_entry(&r, &e, err)) > 0) {
        if (e.number < 1 || e.number > 4)
            continue;
        if (want_wire(&e, WIRE_BYTES, err) < 0)
            return -1;
        if (e.number == 1 && read_type_meta(e.bytes, env, err) < 0)
            return -1;
        if (e.number == 2)
            env->raw = e.bytes;
        if (e.number == 3 && e.bytes.p != e.bytes.end)
            return bad(err, "an encoded message inside the envelope");
    }
    return rc;
}

static struct json *decode_typed(const struct ktype *t, const struct envelope *env, struct reader r, struct err *err)
{
    JM_NEW(m);
    struct decoder d = {m, err};
    jmval *obj = jm_obj(m);
    if (env && env->kind)
        jm_put(m, obj, "kind", jm_str(m, env->kind));
    if (env && env->api_version)
        jm_put(m, obj, "apiVersion", jm_str(m, env->api_version));
    if (decode_message(&d, t, r, obj, 0) < 0)
        return NULL;
    jm_set_root(m, obj);
    return jm_freeze(m);
}

struct json *protobuf_decode_message(const struct ktype *t, const char *msg, size_t len, struct err *err)
{
    return decode_typed(t, NULL, (struct reader){(const unsigned char *)msg, (const unsigned char *)msg + len}, err);
}

struct json *protobuf_decode_type(const struct ktype *t, const char *body, size_t len, struct err *err)
{
    CLEANUP(envelope_clear) struct envelope env = {0};
    if (read_envelope(body, len, &env, err) < 0)
        return NULL;
    return decode_typed(t, &env, env.raw, err);
}

struct json *protobuf_decode_kind(const struct kind *k, const char *body, size_t len, struct err *err)
{
    CLEANUP(envelope_clear) struct envelope env = {0};
    if (read_envelope(body, len, &env, err) < 0)
        return NULL;
    if (!env.api_version || !env.kind) {
        err_set(err, ERR_BAD_REQUEST, "the body says neither apiVersion nor kind");
        return NULL;
    }
    const struct kind *own = kind_by_api_version(env.api_version, env.kind);
    if (!own) /* the caller's message names both */
        return decode_typed(k->type, &env, (struct reader){NULL, NULL}, err);
    return decode_typed(own->type, &env, env.raw, err);
}
