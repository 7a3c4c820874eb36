#include "kube/wire/decode.h"

#include <stdlib.h>

#include "kube/wire/decode_priv.h"
#include "kube/wire/gotext.h"
#include "kube/wire/protobuf.h"
#include "value/yaml.h"

/* Kubernetes' name of the registry of its types, which its messages show. */
#define SCHEME "pkg/api/legacyscheme/scheme.go:30"

int decode_refuse(const struct kind *want, const char *kind, const char *version, const char *text, struct err *err)
{
    return err_set(err, ERR_BAD_REQUEST, "%s in version \"%s\" cannot be handled as a %s: %s", kind, version, want->res.kind,
                   text);
}

static void on_duplicate(void *self, const char *path) { strlist_addf(self, "duplicate field \"%s\"", path); }

struct json *decode_parse(enum decode_format format, const char *body, size_t len, struct strlist *dups, struct err *err)
{
    struct json_opts opts = {.on_duplicate = dups ? on_duplicate : NULL, .self = dups};
    opts.short_bools = true;
    if (format == DECODE_YAML)
        return yaml_parse_one(body, len, &opts, err);
    struct json *d = json_parse(body, len, &opts, err);
    BUF(fault);
    if (!d && gotext_json_fault(body, len, &fault))
        err_set(err, ERR_BAD_REQUEST, "%s", buf_str(&fault));
    return d;
}

/* As much of an unreadable body as helps to recognise it. */
static char *summary(const char *body, size_t len)
{
    if (!len)
        return xstrdup("<empty>");
    size_t n = len < 30 ? len : 30;
    if (*body == '{' && str_utf8_valid(body, n))
        return len > 30 ? xasprintf("%.*s ...", (int)n, body) : xstrndup(body, n);
    AUTOFREE char *hex = hex_encode(body, n);
    return xasprintf("%s%s", hex, len > 30 ? " ..." : "");
}

static struct json *unrecognized(const struct kind *k, const char *body, size_t len, const char *text, struct err *err)
{
    AUTOFREE char *some = summary(body, len);
    err_set(err, ERR_BAD_REQUEST,
            "the object provided is unrecognized (must be of type %s): couldn't get version/kind; json parse error: %s (%s)",
            k->res.kind, text, some);
    return NULL;
}

/* The part of an apiVersion before (after) the slash; "v1" has no group. */
static const char *version_of(const char *api_version)
{
    const char *slash = strrchr(api_version, '/');
    return slash ? slash + 1 : api_version;
}

static char *group_of(const char *api_version)
{
    const char *slash = strrchr(api_version, '/');
    return slash ? xstrndup(api_version, (size_t)(slash - api_version)) : xstrdup("");
}

/* Kubernetes' internal package of a group, which its messages show. */
static char *package_of(const struct kind *k)
{
    const char *g = k->res.group;
    if (!*g || !strcmp(g, "events.k8s.io"))
        return xstrdup("core");
    return xstrndup(g, strcspn(g, "."));
}

/* Older versions of a group are known to Kubernetes, so that it names the mismatch; of others it knows nothing. */
static bool other_version_known(const struct kind *k, const char *api_version)
{
    AUTOFREE char *group = group_of(api_version);
    const char *v = version_of(api_version);
    if (strcmp(group, k->res.group) || !*group)
        return false;
    return kind_by_gvk(group, v, k->res.kind) || str_starts(v, "v1beta") || str_starts(v, "v2beta") || str_starts(v, "v1alpha");
}

/* Whether a body that says what it is may be read as k. api_version and kind are those of the body, or k's own. */
static int check_gvk(const struct kind *k, const char *api_version, const char *kind, struct err *err)
{
    AUTOFREE char *own = kind_api_version(k);
    if (!strcmp(own, api_version) && !strcmp(kind, k->res.kind))
        return 0;
    const char *version = version_of(api_version);
    const struct kind *other = kind_by_api_version(api_version, kind);
    if (!strcmp(kind, k->res.kind) && other_version_known(k, api_version))
        return err_set(err, ERR_BAD_REQUEST, "the API version in the data (%s) does not match the expected API version (%s)",
                       api_version, own);
    AUTOFREE char *pkg = package_of(k);
    AUTOFREE char *text =
        other ? xasprintf("converting (%s.%s) to (%s.%s): unknown conversion", version, kind, pkg, k->res.kind)
              : xasprintf("no kind \"%s\" is registered for version \"%s\" in scheme \"%s\"", kind, api_version, SCHEME);
    return decode_refuse(k, kind, version, text, err);
}

/* Strict: all that was found is the error. Warn: it goes to the warnings. */
static int report_fields(const struct kind *k, enum field_validation fields, struct strlist *found, struct strlist *warnings,
                         struct err *err)
{
    if (!found->n || fields == FIELDS_IGNORE)
        return 0;
    if (fields == FIELDS_WARN) {
        for (size_t i = 0; warnings && i < found->n; i++)
            strlist_add(warnings, found->v[i]);
        return 0;
    }
    AUTOFREE char *all = strlist_join(found, ", ");
    AUTOFREE char *text = xasprintf("strict decoding error: %s", all);
    return decode_refuse(k, k->res.kind, k->res.version, text, err);
}

static struct json *with_gvk(const struct kind *k, jval *v)
{
    AUTOFREE char *api_version = kind_api_version(k);
    JM_NEW(m);
    jm_set_root(m, jv_is(v, J_OBJECT) ? jm_val(m, v) : jm_obj(m));
    jm_put(m, jm_root(m), "kind", jm_str(m, k->res.kind));
    jm_put(m, jm_root(m), "apiVersion", jm_str(m, api_version));
    return jm_freeze(m);
}

/* What the body says it is, with k's own where it says nothing. False: not text. */
static bool body_gvk(const struct kind *k, jval *v, const char **kind, char **api_version)
{
    jval *jk = jv_get(v, "kind"), *ja = jv_get(v, "apiVersion");
    if ((jv_present(jk) && !jv_str(jk)) || (jv_present(ja) && !jv_str(ja)))
        return false;
    const char *a = jv_str_or(ja, "");
    *kind = jv_str_or(jk, "");
    *kind = **kind ? *kind : k->res.kind;
    *api_version = *a ? xstrdup(a) : kind_api_version(k);
    return true;
}

void decode_name_lines(struct strlist *found, const char *body, size_t len)
{
    char *lines = decode_yaml_repeated(body, len);
    if (!lines)
        return;
    strlist_free(found);
    strlist_take(found, lines);
}

struct json *decode_body(const struct kind *k, enum decode_format format, enum field_validation fields, const char *body,
                         size_t len, struct strlist *warnings, struct err *err)
{
    ASSERT(k->type);
    STRLIST(found);
    ERR(e);
    JSON_REF(doc) =
        format == DECODE_PROTOBUF ? protobuf_decode_kind(k, body, len, &e) : decode_parse(format, body, len, &found, &e);
    if (!doc) {
        if (format != DECODE_PROTOBUF)
            return unrecognized(k, body, len, err_text(&e), err);
        err_move(err, &e);
        return NULL;
    }
    jval *v = json_root(doc);
    const char *kind;
    AUTOFREE char *api_version = NULL;
    if (jv_present(v) && !jv_is(v, J_OBJECT))
        return unrecognized(k, body, len, "json: cannot unmarshal into an object with apiVersion and kind", err);
    if (!body_gvk(k, v, &kind, &api_version))
        return unrecognized(k, body, len, "json: apiVersion and kind are strings", err);
    if (check_gvk(k, api_version, kind, err) < 0)
        return NULL;
    if (format == DECODE_YAML && fields == FIELDS_STRICT && found.n)
        decode_name_lines(&found, body, len);
    JSON_REF(out) = decode_value(k->type, v, fields == FIELDS_IGNORE ? NULL : &found, &e);
    if (!out) {
        decode_refuse(k, k->res.kind, k->res.version, err_text(&e), err);
        return NULL;
    }
    if (report_fields(k, fields, &found, warnings, err) < 0)
        return NULL;
    return with_gvk(k, json_root(out));
}

struct json *decode_options(const char *kind, enum decode_format format, const char *body, size_t len, struct err *err)
{
    AUTOFREE char *schema = xasprintf("io.k8s.apimachinery.pkg.apis.meta.v1.%s", kind);
    const struct ktype *t = ktype_find(schema);
    ASSERT(t);
    if (!len)
        return decode_value(t, NULL, NULL, err);
    ERR(e);
    JSON_REF(doc) =
        format == DECODE_PROTOBUF ? protobuf_decode_type(t, body, len, &e) : decode_parse(format, body, len, NULL, &e);
    if (!doc) {
        err_wrap(&e, "couldn't get version/kind; json parse error");
        err_move(err, &e);
        return NULL;
    }
    const char *given = jv_str_or(jv_get(json_root(doc), "kind"), kind);
    if (strcmp(given, kind) && *given) {
        err_set(err, ERR_BAD_REQUEST, "%s in version \"%s\" cannot be handled as a %s", given,
                version_of(jv_str_or(jv_get(json_root(doc), "apiVersion"), "v1")), kind);
        return NULL;
    }
    return decode_value(t, json_root(doc), NULL, err);
}
