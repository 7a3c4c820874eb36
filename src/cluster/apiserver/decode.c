/* decode.c - bodies to objects of the kind that was asked for: built-in kinds by their tables, custom ones by their schema. */
#include <stdlib.h>

#include "cluster/apiserver/internal.h"
#include "kube/rules/defaults.h"
#include "kube/rules/validate.h"
#include "kube/schema/schema.h"

static enum field_validation strictness(const struct op *op)
{
    const char *v = op->o->field_validation;
    return str_eq(v, "Strict") ? FIELDS_STRICT : str_eq(v, "Ignore") ? FIELDS_IGNORE : FIELDS_WARN;
}

/* Unknown fields: an error, warnings, or nothing. */
int report_unknown(struct op *op, const struct strlist *texts, struct err *err)
{
    if (!texts->n || strictness(op) == FIELDS_IGNORE)
        return 0;
    if (strictness(op) == FIELDS_STRICT) {
        AUTOFREE char *all = strlist_join(texts, ", ");
        return err_set(err, ERR_BAD_REQUEST, "strict decoding error: %s", all);
    }
    for (size_t i = 0; i < texts->n; i++)
        op_warn(op, "%s", texts->v[i]);
    return 0;
}

/* ---- custom kinds ------------------------------------------------------------------------------------------------ */

static int strip_unknown_meta(struct jm *m, struct strlist *texts, struct err *err)
{
    const struct ktype *t = ktype_find("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    jmval *meta = jmv_get(jm_root(m), "metadata");
    if (!t || !meta || jmv_type(meta) == J_NULL)
        return 0;
    JSON_REF(was) = jm_freeze_val(meta);
    STRLIST(unknown);
    JSON_REF(now) = decode_value(t, json_root(was), &unknown, err);
    if (!now)
        return -1;
    for (size_t i = 0; i < unknown.n; i++) {
        const char *quote = strchr(unknown.v[i], '"');
        strlist_addf(texts, "unknown field \"metadata.%s", quote ? quote + 1 : unknown.v[i]);
    }
    jm_put(m, jm_root(m), "metadata", jm_val(m, json_root(now)));
    return 0;
}

static struct json *custom_normal(struct op *op, jval *obj, const struct strlist *dups, struct err *err)
{
    JM(m, obj);
    STRLIST(paths);
    STRLIST(texts);
    for (size_t i = 0; dups && i < dups->n; i++)
        strlist_add(&texts, dups->v[i]);
    if (op->res->cv->schema)
        schema_prune(op->res->cv->schema, m, jm_root(m), &paths);
    for (size_t i = 0; i < paths.n; i++)
        strlist_addf(&texts, "unknown field \"%s\"", paths.v[i]);
    if (strip_unknown_meta(m, &texts, err) < 0 || report_unknown(op, &texts, err) < 0)
        return NULL;
    return jm_freeze(m);
}

static struct json *custom_body(struct op *op, enum decode_format format, const char *body, size_t len, struct err *err)
{
    const struct kube_res *k = res_of(op->res);
    STRLIST(dups);
    ERR(e);
    JSON_REF(d) = decode_parse(format, body, len, &dups, &e);
    if (!d || !jv_is(json_root(d), J_OBJECT)) {
        err_set(err, ERR_BAD_REQUEST,
                "the object provided is unrecognized (must be of type %s): couldn't get version/kind; json parse error: %s",
                k->kind, d ? "it is no object" : err_text(&e));
        return NULL;
    }
    AUTOFREE char *want = kind_api_version(op->res->kind);
    const char *have = obj_api_version(json_root(d)), *kind = obj_kind(json_root(d));
    if (!*kind) {
        AUTOFREE char *text = jv_text(json_root(d), JW_COMPACT);
        err_set(err, ERR_BAD_REQUEST, "Object 'Kind' is missing in '%s'", text);
        return NULL;
    }
    if (strcmp(have, want) != 0) {
        err_set(err, ERR_BAD_REQUEST, "the API version in the data (%s) does not match the expected API version (%s)", have,
                want);
        return NULL;
    }
    if (strcmp(kind, k->kind) != 0) {
        FAULTS(f);
        fault_invalid_str(&f, "kind", kind, "must be %s", k->kind);
        faults_done(&f, k->group, kind, obj_name(json_root(d)), err);
        return NULL;
    }
    if (format == DECODE_YAML && strictness(op) == FIELDS_STRICT && dups.n)
        decode_name_lines(&dups, body, len);
    struct json *out = custom_normal(op, json_root(d), &dups, &e);
    if (!out)
        decode_refuse(op->res->kind, k->kind, k->version, err_text(&e), err);
    return out;
}

static struct json *builtin_body(struct op *op, const struct kind *k, enum decode_format format, const char *body, size_t len,
                                 struct err *err)
{
    STRLIST(warnings);
    struct json *d = decode_body(k, format, strictness(op), body, len, &warnings, err);
    for (size_t i = 0; i < warnings.n; i++)
        op_warn(op, "%s", warnings.v[i]);
    return d;
}

/* ---- doors -------------------------------------------------------------------------------------------------------- */

struct json *decode_request(struct op *op, enum decode_format format, const char *body, size_t len, struct err *err)
{
    if (op_is_scale(op))
        return decode_body(kind_by_gvk("autoscaling", "v1", "Scale"), format, strictness(op), body, len, NULL, err);
    if (op->res->cv)
        return custom_body(op, format, body, len, err);
    return builtin_body(op, op->res->kind, format, body, len, err);
}

struct json *decode_sub(struct op *op, enum decode_format format, const char *body, size_t len, struct err *err)
{
    const struct kube_sub *s = kind_sub(op->res->kind, op->sub);
    const struct kind *k = kind_by_gvk(*s->version ? s->group : res_of(op->res)->group,
                                       *s->version ? s->version : res_of(op->res)->version, s->kind);
    return k ? builtin_body(op, k, format, body, len, err) : decode_parse(format, body, len, NULL, err);
}

struct json *decode_inproc(struct op *op, jval *obj, struct err *err)
{
    if (op_is_scale(op))
        return json_from(obj);
    if (op->res->cv)
        return custom_normal(op, obj, NULL, err);
    CLEANUP(jm_freep) struct jm *m = object_ordered(obj);
    if (op->res->coll)
        object_put_header(m, op->res);
    JSON_REF(d) = jm_freeze(m);
    ERR(e);
    struct json *out = decode_value(op->res->kind->type, json_root(d), NULL, &e);
    if (!out)
        decode_refuse(op->res->kind, res_of(op->res)->kind, res_of(op->res)->version, err_text(&e), err);
    return out;
}

struct json *decode_patched(struct op *op, jval *obj, bool strategic, struct err *err)
{
    const struct kube_res *k = res_of(op->res);
    AUTOFREE char *want = kind_api_version(op->res->kind);
    if (!str_eq(obj_kind(obj), k->kind) || !str_eq(obj_api_version(obj), want)) {
        const char *slash = strrchr(obj_api_version(obj), '/');
        if (op->res->cv)
            err_set(err, ERR_BAD_REQUEST, "the patch changes apiVersion or kind");
        else if (str_eq(obj_api_version(obj), want) && kind_by_api_version(want, obj_kind(obj)))
            err_set(err, ERR_BAD_REQUEST, "converting (%s.%s) to (%s.%s): unknown conversion",
                    slash ? slash + 1 : obj_api_version(obj), obj_kind(obj), *k->group ? k->group : "core", k->kind);
        else
            err_set(err, ERR_BAD_REQUEST,
                    "no kind \"%s\" is registered for version \"%s\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
                    obj_kind(obj), obj_api_version(obj));
        return NULL;
    }
    if (op->res->cv)
        return custom_normal(op, obj, NULL, err);
    STRLIST(unknown);
    struct json *out = (strategic ? decode_merged : decode_value)(op->res->kind->type, obj, &unknown, err);
    if (out && report_unknown(op, &unknown, err) < 0) {
        json_unref(out);
        return NULL;
    }
    return out;
}

int object_default(struct op *op, struct jm *m, struct err *err)
{
    (void)err;
    if (!op->res->cv)
        defaults_apply(op->res->kind, m, jm_root(m));
    else if (op->res->cv->schema)
        schema_default(op->res->cv->schema, m, jm_root(m));
    return 0;
}
