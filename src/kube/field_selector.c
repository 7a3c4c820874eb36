/* Field selectors, and the table of the fields that each built-in kind can be selected by. */
#include "kube/selector.h"

#include <stdlib.h>

#include "base/str.h"

/* A field's value comes from a path of the object; some fields have a value when the path leads nowhere. */
struct field {
    const char *label;
    const char *path;   /* members joined by '.'; NULL: always empty (recorded for status.podIPs) */
    const char *other;  /* tried when path leads nowhere; may be NULL */
    const char *absent; /* value then; NULL is "" */
};
struct field_labels {
    const struct field *fields;
    size_t n;
    bool table;          /* unknown fields are refused in the words of a kind with a table of its own */
    struct field *owned; /* field_labels_new */
};

#define NAME_FIELDS                                                                                                              \
    {"metadata.name", "metadata.name", NULL, NULL}, { "metadata.namespace", "metadata.namespace", NULL, NULL }
#define PLAIN(path)                                                                                                              \
    {                                                                                                                            \
        path, path, NULL, NULL                                                                                                   \
    }

static const struct field name_fields[] = {NAME_FIELDS};
static const struct field pod_fields[] = {
    NAME_FIELDS,
    PLAIN("spec.nodeName"),
    PLAIN("spec.restartPolicy"),
    PLAIN("spec.schedulerName"),
    PLAIN("spec.serviceAccountName"),
    {"spec.hostNetwork", "spec.hostNetwork", NULL, "false"},
    PLAIN("status.phase"),
    PLAIN("status.podIP"),
    {"status.podIPs", NULL, NULL, NULL},
    PLAIN("status.nominatedNodeName"),
};
/* An Event is stored with one face and asked for with two. */
static const struct field core_event_fields[] = {
    NAME_FIELDS,
    {"involvedObject.kind", "involvedObject.kind", "regarding.kind", NULL},
    {"involvedObject.namespace", "involvedObject.namespace", "regarding.namespace", NULL},
    {"involvedObject.name", "involvedObject.name", "regarding.name", NULL},
    {"involvedObject.uid", "involvedObject.uid", "regarding.uid", NULL},
    {"involvedObject.apiVersion", "involvedObject.apiVersion", "regarding.apiVersion", NULL},
    {"involvedObject.resourceVersion", "involvedObject.resourceVersion", "regarding.resourceVersion", NULL},
    {"involvedObject.fieldPath", "involvedObject.fieldPath", "regarding.fieldPath", NULL},
    PLAIN("reason"),
    {"reportingComponent", "reportingComponent", "reportingController", NULL},
    {"source", "source.component", "deprecatedSource.component", NULL},
    PLAIN("type"),
};
static const struct field event_fields[] = {
    NAME_FIELDS,
    {"regarding.kind", "regarding.kind", "involvedObject.kind", NULL},
    {"regarding.namespace", "regarding.namespace", "involvedObject.namespace", NULL},
    {"regarding.name", "regarding.name", "involvedObject.name", NULL},
    {"regarding.uid", "regarding.uid", "involvedObject.uid", NULL},
    {"regarding.apiVersion", "regarding.apiVersion", "involvedObject.apiVersion", NULL},
    {"regarding.resourceVersion", "regarding.resourceVersion", "involvedObject.resourceVersion", NULL},
    {"regarding.fieldPath", "regarding.fieldPath", "involvedObject.fieldPath", NULL},
    PLAIN("reason"),
    {"reportingController", "reportingController", "reportingComponent", NULL},
    PLAIN("type"),
};
static const struct field node_fields[] = {NAME_FIELDS, {"spec.unschedulable", "spec.unschedulable", NULL, "false"}};
static const struct field namespace_fields[] = {NAME_FIELDS, PLAIN("status.phase")};
static const struct field secret_fields[] = {NAME_FIELDS, PLAIN("type")};
static const struct field service_fields[] = {NAME_FIELDS, PLAIN("spec.clusterIP"), PLAIN("spec.type")};
static const struct field job_fields[] = {NAME_FIELDS, {"status.successful", "status.succeeded", NULL, "0"}};
static const struct field rc_fields[] = {NAME_FIELDS, {"status.replicas", "status.replicas", NULL, "0"}};
static const struct field csr_fields[] = {NAME_FIELDS, PLAIN("spec.signerName")};

static const struct {
    const char *group, *kind;
    struct field_labels labels;
} kinds[] = {
#define KIND(group, kind, f)                                                                                                     \
    {                                                                                                                            \
        group, kind, { f, ARRAY_LEN(f), true, NULL }                                                                             \
    }
    KIND("", "Pod", pod_fields),
    KIND("", "Event", core_event_fields),
    KIND("events.k8s.io", "Event", event_fields),
    KIND("", "Node", node_fields),
    KIND("", "Namespace", namespace_fields),
    KIND("", "Secret", secret_fields),
    KIND("", "Service", service_fields),
    KIND("batch", "Job", job_fields),
    KIND("", "ReplicationController", rc_fields),
    KIND("certificates.k8s.io", "CertificateSigningRequest", csr_fields),
};
static const struct field_labels only_names = {name_fields, ARRAY_LEN(name_fields), false, NULL};

const struct field_labels *field_labels_of(const char *group, const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eq(kinds[i].group, group) && str_eq(kinds[i].kind, kind))
            return &kinds[i].labels;
    return &only_names;
}

struct field_labels *field_labels_new(jval *selectable_fields)
{
    size_t extra = jv_is(selectable_fields, J_ARRAY) ? jv_len(selectable_fields) : 0;
    struct field_labels *l = xcalloc(1, sizeof *l);
    l->owned = xcalloc(ARRAY_LEN(name_fields) + extra, sizeof *l->owned);
    memcpy(l->owned, name_fields, sizeof name_fields);
    l->n = ARRAY_LEN(name_fields);
    l->table = true;
    l->fields = l->owned;
    for (size_t i = 0; i < extra; i++) {
        const char *path = jv_str_or(jv_get(jv_at(selectable_fields, i), "jsonPath"), "");
        const char *own = xstrdup(*path == '.' ? path + 1 : path);
        l->owned[l->n++] = (struct field){own, own, NULL, NULL};
    }
    return l;
}

void field_labels_free(struct field_labels *l)
{
    if (!l)
        return;
    for (size_t i = ARRAY_LEN(name_fields); i < l->n; i++)
        free((char *)l->owned[i].label);
    free(l->owned);
    free(l);
}

/* ---- parsing ------------------------------------------------------------------------------------------------------------ */

struct term {
    const struct field *field;
    bool equal;
    char *value;
};
struct field_selector {
    struct term *terms;
    size_t n;
};

void field_selector_free(struct field_selector *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        free(s->terms[i].value);
    free(s->terms);
    free(s);
}

static void field_selector_freep(struct field_selector **s) { field_selector_free(*s); }

static const struct field *find_field(const struct field_labels *l, const char *label)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->fields[i].label, label))
            return &l->fields[i];
    return NULL;
}

static int unescape(const char *s, size_t n, struct buf *out, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\\') {
            if (i + 1 == n || !strchr("\\,=", s[i + 1]))
                return err_set(err, ERR_BAD_REQUEST, "invalid field selector: invalid escape sequence: %.*s", i + 1 == n ? 1 : 2,
                               s + i);
            i++;
        } else if (s[i] == ',' || s[i] == '=') {
            return err_set(err, ERR_BAD_REQUEST, "invalid field selector: unescaped character in value: %c", s[i]);
        }
        buf_addc(out, s[i]);
    }
    return 0;
}

/* Length of the operator at s: "!=", "==", "="; else 0. */
static size_t operator_len(const char *s, size_t left)
{
    if (left >= 2 && s[1] == '=' && (s[0] == '!' || s[0] == '='))
        return 2;
    return left >= 1 && s[0] == '=' ? 1 : 0;
}

static int parse_term(struct field_selector *s, const char *whole, const char *part, size_t n, const struct field_labels *labels,
                      struct err *err)
{
    size_t at = 0, op = 0;
    while (at < n && !(op = operator_len(part + at, n - at)))
        at += part[at] == '\\' && at + 1 < n ? 2 : 1;
    if (!op)
        return err_set(err, ERR_BAD_REQUEST, "invalid selector: '%s'; can't understand '%.*s'", whole, (int)n, part);
    AUTOFREE char *label = xstrndup(part, at);
    BUF(value);
    if (unescape(part + at + op, n - at - op, &value, err) < 0)
        return -1;
    const struct field *field = find_field(labels, label);
    if (!field && labels->table)
        return err_set(err, ERR_BAD_REQUEST, "field label not supported: %s", label);
    if (!field)
        return err_set(err, ERR_BAD_REQUEST,
                       "\"%s\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", label);
    s->terms = xreallocarray(s->terms, s->n + 1, sizeof *s->terms);
    s->terms[s->n++] = (struct term){field, part[at] != '!', buf_steal(&value, NULL)};
    return 0;
}

struct field_selector *field_selector_parse(const char *text, const struct field_labels *labels, struct err *err)
{
    CLEANUP(field_selector_freep) struct field_selector *s = xcalloc(1, sizeof *s);
    const char *p = text ? text : "";
    while (*p) {
        size_t n = 0;
        while (p[n] && p[n] != ',')
            n += p[n] == '\\' && p[n + 1] ? 2 : 1;
        if (n > 0 && parse_term(s, text, p, n, labels, err) < 0)
            return NULL;
        p += n + (p[n] == ',');
    }
    return TAKE(s);
}

/* ---- matching ----------------------------------------------------------------------------------------------------------- */

static jval *walk(jval *v, const char *path)
{
    while (v && *path) {
        size_t n = strcspn(path, ".");
        v = jv_getn(v, path, n);
        path += n + (path[n] == '.');
    }
    return v;
}

/* The text of a scalar, NULL for what has none. */
static const char *scalar_text(jval *v)
{
    switch (jv_type(v)) {
    case J_STRING:
        return jv_str(v);
    case J_NUMBER:
        return jv_num_text(v);
    case J_BOOL:
        return jv_bool(v, false) ? "true" : "false";
    default:
        return NULL;
    }
}

static const char *field_value(const struct field *f, jval *object)
{
    const char *text = f->path ? scalar_text(walk(object, f->path)) : NULL;
    if (!text && f->other)
        text = scalar_text(walk(object, f->other));
    return text ? text : f->absent ? f->absent : "";
}

bool field_selector_all(const struct field_selector *s) { return !s || s->n == 0; }

bool field_selector_matches(const struct field_selector *s, jval *object)
{
    for (size_t i = 0; s && i < s->n; i++)
        if (str_eq(field_value(s->terms[i].field, object), s->terms[i].value) != s->terms[i].equal)
            return false;
    return true;
}

const char *field_selector_exact(const struct field_selector *s, const char *field)
{
    for (size_t i = 0; s && i < s->n; i++)
        if (s->terms[i].equal && str_eq(s->terms[i].field->label, field))
            return s->terms[i].value;
    return NULL;
}
