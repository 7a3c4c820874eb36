/* negotiate.c - media types: what the client accepts, what it sent. */
#include <ctype.h>

#include "cluster/apiserver/face.h"

#define MAX_CLAUSES 16

static char *trim(char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    size_t n = strlen(s);
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
        s[--n] = '\0';
    return s;
}

static void lower(char *s)
{
    for (; *s; s++)
        *s = (char)tolower((unsigned char)*s);
}

static void parse_clause(char *text, struct media *m)
{
    char *save = NULL;
    *m = (struct media){.type = ""};
    char *t = strtok_r(text, ";", &save);
    if (!t)
        return;
    m->type = trim(t);
    lower(t);
    while ((t = strtok_r(NULL, ";", &save)) && m->n_params < ARRAY_LEN(m->params)) {
        char *eq = strchr(t, '=');
        if (eq)
            *eq = '\0';
        char *value = eq ? trim(eq + 1) : t + strlen(t);
        size_t n = strlen(value);
        if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
            value[n - 1] = '\0';
            value++;
        }
        m->params[m->n_params++] = (struct http_header){trim(t), value};
    }
}

size_t media_split(char *text, struct media *out, size_t max)
{
    char *save = NULL;
    size_t n = 0;
    for (char *t = strtok_r(text, ",", &save); t && n < max; t = strtok_r(NULL, ",", &save))
        parse_clause(t, &out[n++]);
    return n;
}

const char *media_param(const struct media *m, const char *name)
{
    for (size_t i = 0; i < m->n_params; i++)
        if (strcmp(m->params[i].name, name) == 0)
            return m->params[i].value;
    return NULL;
}

/* True when this clause can be answered. An unknown form of an object makes it one that cannot. */
static bool clause_fits(const struct media *m, struct accept *out)
{
    bool json = strcmp(m->type, "application/json") == 0 || strcmp(m->type, "*/*") == 0;
    bool yaml = strcmp(m->type, "application/yaml") == 0;
    if (!json && !yaml)
        return false;
    *out = (struct accept){.yaml = yaml};
    const char *as = media_param(m, "as"), *group = media_param(m, "g"), *version = media_param(m, "v");
    const char *pretty = media_param(m, "pretty");
    out->pretty = pretty && (*pretty == '1' || *pretty == 't');
    if (!as)
        return true;
    if (!str_eq(group, "meta.k8s.io") || (!str_eq(version, "v1") && !str_eq(version, "v1beta1")))
        return false;
    out->form_version = strcmp(version, "v1") == 0 ? "meta.k8s.io/v1" : "meta.k8s.io/v1beta1";
    if (strcmp(as, "Table") == 0)
        out->as = AS_TABLE;
    else if (strcmp(as, "PartialObjectMetadata") == 0)
        out->as = AS_PARTIAL;
    else if (strcmp(as, "PartialObjectMetadataList") == 0)
        out->as = AS_PARTIAL_LIST;
    else
        return false;
    return true;
}

int accept_parse(const struct http_req *req, struct accept *out, struct err *err)
{
    *out = (struct accept){0};
    const char *header = http_header_get(req, "accept");
    const char *pretty = http_query(req, "pretty");
    bool want_pretty = pretty && http_query_bool(req, "pretty");
    bool found = str_empty(header), form = false;
    if (!found) {
        AUTOFREE char *text = xstrdup(header);
        struct media m[MAX_CLAUSES];
        size_t n = media_split(text, m, MAX_CLAUSES);
        for (size_t i = 0; i < n && !found; i++) {
            found = clause_fits(&m[i], out);
            form |= media_param(&m[i], "as") != NULL;
        }
    }
    if (!found && form)
        return err_set(err, ERR_NOT_ACCEPTABLE,
                       "only the following media types are accepted: application/json, application/yaml");
    if (!found)
        return err_set(err, ERR_NOT_ACCEPTABLE,
                       "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml");
    out->pretty |= want_pretty;
    if (table_include_parse(http_query(req, "includeObject"), &out->include) < 0)
        return err_set(err, ERR_BAD_REQUEST,
                       "Unable to convert to Table as requested: includeObject: Invalid value: \"%s\": must be 'Metadata', "
                       "'Object', 'None', or empty",
                       http_query(req, "includeObject"));
    return 0;
}

static bool content_type(const struct http_req *req, char out[128])
{
    const char *header = http_header_get(req, "content-type");
    if (str_empty(header))
        return false;
    size_t n = strcspn(header, ";");
    if (n >= 128)
        n = 127;
    memcpy(out, header, n);
    out[n] = '\0';
    char *t = trim(out);
    memmove(out, t, strlen(t) + 1);
    lower(out);
    return true;
}

int body_format(const struct http_req *req, bool builtin, enum decode_format *out, struct err *err)
{
    char type[128];
    *out = DECODE_JSON;
    if (!content_type(req, type) || strcmp(type, "application/json") == 0)
        return 0;
    if (strcmp(type, "application/yaml") == 0)
        *out = DECODE_YAML;
    else if (builtin && strcmp(type, "application/vnd.kubernetes.protobuf") == 0)
        *out = DECODE_PROTOBUF;
    else
        return err_set(err, ERR_MEDIA_TYPE,
                       "the body of the request was in an unknown format - accepted media types include: application/json, "
                       "application/yaml%s",
                       builtin ? ", application/vnd.kubernetes.protobuf" : "");
    return 0;
}

int patch_type(const struct http_req *req, enum kube_patch *out, struct err *err)
{
    static const struct {
        const char *type;
        enum kube_patch patch;
    } types[] = {{"application/json-patch+json", KUBE_PATCH_JSON},
                 {"application/merge-patch+json", KUBE_PATCH_MERGE},
                 {"application/strategic-merge-patch+json", KUBE_PATCH_STRATEGIC},
                 {"application/apply-patch+yaml", KUBE_PATCH_APPLY}};
    char type[128];
    if (content_type(req, type))
        for (size_t i = 0; i < ARRAY_LEN(types); i++)
            if (strcmp(types[i].type, type) == 0) {
                *out = types[i].patch;
                return 0;
            }
    return err_set(err, ERR_MEDIA_TYPE, "415: Unsupported Media Type");
}
