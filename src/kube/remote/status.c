/* status.c - see status.h. Source: specs kube.md 7. */
#include "kube/remote/status.h"

#include <string.h>

#include "base/str.h"

/* By reason first: the number alone cannot tell a taken name from a conflict. Reasons are kept as they came where the code alone
 * would give another. */
static const struct {
    const char *reason;
    enum err_code code;
} reasons[] = {
    {"BadRequest", ERR_BAD_REQUEST},
    {"Unauthorized", ERR_UNAUTHENTICATED},
    {"Forbidden", ERR_FORBIDDEN},
    {"NotFound", ERR_NOT_FOUND},
    {"MethodNotAllowed", ERR_METHOD},
    {"NotAcceptable", ERR_NOT_ACCEPTABLE},
    {"Timeout", ERR_TIMEOUT},
    {"ServerTimeout", ERR_UNAVAILABLE},
    {"AlreadyExists", ERR_EXISTS},
    {"Conflict", ERR_CONFLICT},
    {"Gone", ERR_GONE},
    {"Expired", ERR_GONE},
    {"RequestEntityTooLarge", ERR_TOO_LARGE},
    {"UnsupportedMediaType", ERR_MEDIA_TYPE},
    {"Invalid", ERR_INVALID},
    {"TooManyRequests", ERR_TOO_MANY},
    {"InternalError", ERR_INTERNAL},
    {"StorageReadError", ERR_INTERNAL},
    {"ServiceUnavailable", ERR_UNAVAILABLE},
};
static const struct {
    int status;
    enum err_code code;
} numbers[] = {
    {400, ERR_BAD_REQUEST},    {401, ERR_UNAUTHENTICATED}, {403, ERR_FORBIDDEN},   {404, ERR_NOT_FOUND}, {405, ERR_METHOD},
    {406, ERR_NOT_ACCEPTABLE}, {408, ERR_TIMEOUT},         {409, ERR_CONFLICT},    {410, ERR_GONE},      {412, ERR_PRECONDITION},
    {413, ERR_TOO_LARGE},      {415, ERR_MEDIA_TYPE},      {422, ERR_INVALID},     {429, ERR_TOO_MANY},  {500, ERR_INTERNAL},
    {501, ERR_UNIMPLEMENTED},  {502, ERR_UNAVAILABLE},     {503, ERR_UNAVAILABLE}, {504, ERR_TIMEOUT},
};
/* The reasons of causes that there are; an err_cause holds static strings only. */
static const char *const cause_reasons[] = {
    "FieldValueNotFound",      "FieldValueRequired",   "FieldValueDuplicate",      "FieldValueInvalid",
    "FieldValueNotSupported",  "FieldValueForbidden",  "FieldValueTooLong",        "FieldValueTooMany",
    "FieldValueTypeInvalid",   "InternalError",        "UnexpectedServerResponse", "FieldManagerConflict",
    "ResourceVersionTooLarge", "NamespaceTerminating", "DisruptionBudget",
};

static enum err_code code_of(int http_status, const char *reason)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (str_eq(reasons[i].reason, reason))
            return reasons[i].code;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (numbers[i].status == http_status)
            return numbers[i].code;
    return http_status >= 500 ? ERR_INTERNAL : ERR_BAD_REQUEST;
}

static void keep_reason(struct err *err, const char *reason)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (str_eq(reasons[i].reason, reason) && !str_eq(err_reason(err), reason))
            err->reason = reasons[i].reason;
    if (str_empty(reason) && err->code == ERR_INTERNAL)
        err->reason = "";
}

static void add_causes(struct err *err, jval *list)
{
    enum { CAUSES_MAX = 1000 };
    struct jiter it = jv_iter(list);
    jval *c;
    while (err->n_causes < CAUSES_MAX && jv_next(&it, NULL, &c)) {
        const char *reason = jv_str_or(jv_get(c, "reason"), ""), *known = "";
        for (size_t i = 0; i < ARRAY_LEN(cause_reasons); i++)
            if (str_eq(cause_reasons[i], reason))
                known = cause_reasons[i];
        err_cause(err, known, jv_str(jv_get(c, "field")), "%s", jv_str_or(jv_get(c, "message"), ""));
    }
}

static char *copy_or_null(jval *v)
{
    const char *s = jv_str(v);
    return str_empty(s) ? NULL : xstrdup(s);
}

int status_error_json(int http_status, jval *status, struct err *err)
{
    const char *reason = jv_str_or(jv_get(status, "reason"), ""), *message = jv_str(jv_get(status, "message"));
    jval *details = jv_get(status, "details");
    int64_t code = jv_i64_or(jv_get(status, "code"), http_status);
    if (code < 400 || code > 599)
        code = http_status;
    ERR(e);
    err_set(&e, code_of((int)code, reason), "%s", str_empty(message) ? "the API server gave no reason" : message);
    keep_reason(&e, reason);
    if (err_http_status(&e) != code && code >= 400)
        e.http_status = (int)code;
    e.subject_kind = copy_or_null(jv_get(details, "kind"));
    e.subject_group = copy_or_null(jv_get(details, "group"));
    e.subject_name = copy_or_null(jv_get(details, "name"));
    e.subject_uid = copy_or_null(jv_get(details, "uid"));
    e.continue_token = copy_or_null(jv_path(status, "metadata", "continue", NULL));
    int64_t after = jv_i64_or(jv_get(details, "retryAfterSeconds"), 0);
    e.retry_after_s = after > 0 && after < 86400 ? (int)after : 0;
    add_causes(&e, jv_get(details, "causes"));
    return err_move(err, &e);
}

int status_error(int http_status, const char *body, size_t len, struct err *err)
{
    JSON_REF(d) = len ? json_parse(body, len, NULL, NULL) : NULL;
    if (d && str_eq(jv_str(jv_get(json_root(d), "kind")), "Status"))
        return status_error_json(http_status, json_root(d), err);
    char text[201];
    size_t n = 0;
    while (n < len && n < sizeof text - 1 && body[n]) {
        text[n] = (unsigned char)body[n] < ' ' || (unsigned char)body[n] >= 0x7f ? ' ' : body[n];
        n++;
    }
    text[n] = '\0';
    ERR(e);
    err_set(&e, code_of(http_status, ""), "the server answered %d%s%s", http_status, n ? ": " : "", text);
    if (err_http_status(&e) != http_status && http_status >= 400 && http_status <= 599)
        e.http_status = http_status;
    return err_move(err, &e);
}
