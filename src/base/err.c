/* err.c - see err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    int status;
    const char *reason;
} code_table[] = {
    [ERR_OK] = {200, ""},
    [ERR_BAD_REQUEST] = {400, "BadRequest"},
    [ERR_UNAUTHENTICATED] = {401, "Unauthorized"},
    [ERR_FORBIDDEN] = {403, "Forbidden"},
    [ERR_NOT_FOUND] = {404, "NotFound"},
    [ERR_METHOD] = {405, "MethodNotAllowed"},
    [ERR_NOT_ACCEPTABLE] = {406, "NotAcceptable"},
    [ERR_TIMEOUT] = {504, "Timeout"},
    [ERR_EXISTS] = {409, "AlreadyExists"},
    [ERR_CONFLICT] = {409, "Conflict"},
    [ERR_GONE] = {410, "Expired"},
    [ERR_TOO_LARGE] = {413, "RequestEntityTooLarge"},
    [ERR_MEDIA_TYPE] = {415, "UnsupportedMediaType"},
    [ERR_INVALID] = {422, "Invalid"},
    [ERR_TOO_MANY] = {429, "TooManyRequests"},
    [ERR_PRECONDITION] = {400, "BadRequest"},
    [ERR_INTERNAL] = {500, "InternalError"},
    [ERR_UNIMPLEMENTED] = {501, "NotImplemented"},
    [ERR_UNAVAILABLE] = {503, "ServiceUnavailable"},
    [ERR_IO] = {500, "InternalError"},
    [ERR_CANCELLED] = {499, "ClientClosedRequest"},
};

int err_http_status(const struct err *e) { return e->http_status ? e->http_status : code_table[e->code].status; }
const char *err_reason(const struct err *e) { return e->reason ? e->reason : code_table[e->code].reason; }
const char *err_text(const struct err *e) { return e->message ? e->message : ""; }

void err_clear(struct err *e)
{
    if (!e)
        return;
    free(e->message);
    free(e->subject_kind);
    free(e->subject_group);
    free(e->subject_name);
    free(e->subject_uid);
    free(e->continue_token);
    for (size_t i = 0; i < e->n_causes; i++) {
        free(e->causes[i].field);
        free(e->causes[i].message);
    }
    free(e->causes);
    *e = ERR_INIT;
}

int err_setv(struct err *e, enum err_code code, const char *fmt, va_list ap)
{
    if (!e)
        return -1;
    ASSERT(code != ERR_OK);
    char *message = NULL;
    /* Formatted before the old error is cleared: an argument may be a part of it. */
    ASSERT(vasprintf(&message, fmt, ap) >= 0);
    err_clear(e);
    e->code = code;
    e->message = message;
    return -1;
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(e, code, fmt, ap);
    va_end(ap);
    return -1;
}

static void set_errno(struct err *e, enum err_code code, int saved, const char *fmt, va_list ap)
{
    if (!e)
        return;
    err_setv(e, code, fmt, ap);
    char text[128];
    char *with = xasprintf("%s: %s", e->message, strerror_r(saved, text, sizeof text));
    free(e->message);
    e->message = with;
    e->sys_errno = saved;
    errno = saved;
}

int err_errno(struct err *e, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;
    va_start(ap, fmt);
    set_errno(e, ERR_IO, saved, fmt, ap);
    va_end(ap);
    return -1;
}

int err_errno_asked(struct err *e, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;
    va_start(ap, fmt);
    set_errno(e, saved == ENOENT ? ERR_NOT_FOUND : ERR_IO, saved, fmt, ap);
    va_end(ap);
    return -1;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e || e->code == ERR_OK)
        return -1;
    va_list ap;
    char *prefix = NULL;
    va_start(ap, fmt);
    ASSERT(vasprintf(&prefix, fmt, ap) >= 0);
    va_end(ap);
    char *with = xasprintf("%s: %s", prefix, err_text(e));
    free(prefix);
    free(e->message);
    e->message = with;
    return -1;
}

int err_move(struct err *dst, struct err *src)
{
    if (!dst) {
        err_clear(src);
    } else if (dst != src) {
        err_clear(dst);
        *dst = *src;
        *src = ERR_INIT;
    }
    return -1;
}

void err_copy(struct err *dst, const struct err *src)
{
    if (!dst || dst == src)
        return;
    err_clear(dst);
    *dst = *src;
    dst->message = xstrdup(src->message);
    dst->subject_kind = xstrdup(src->subject_kind);
    dst->subject_group = xstrdup(src->subject_group);
    dst->subject_name = xstrdup(src->subject_name);
    dst->subject_uid = xstrdup(src->subject_uid);
    dst->continue_token = xstrdup(src->continue_token);
    dst->causes = NULL;
    dst->n_causes = 0;
    for (size_t i = 0; i < src->n_causes; i++)
        err_cause(dst, src->causes[i].reason, src->causes[i].field, "%s", src->causes[i].message);
}

static void replace(char **field, const char *value)
{
    if (!value)
        return;
    char *copy = xstrdup(value);
    free(*field);
    *field = copy;
}

void err_subject(struct err *e, const char *group, const char *kind, const char *name)
{
    if (!e)
        return;
    replace(&e->subject_group, group);
    replace(&e->subject_kind, kind);
    replace(&e->subject_name, name);
}

void err_cause(struct err *e, const char *reason, const char *field, const char *fmt, ...)
{
    if (!e)
        return;
    va_list ap;
    char *message = NULL;
    va_start(ap, fmt);
    ASSERT(vasprintf(&message, fmt, ap) >= 0);
    va_end(ap);
    e->causes = xreallocarray(e->causes, e->n_causes + 1, sizeof *e->causes);
    e->causes[e->n_causes++] = (struct err_cause){.reason = reason, .field = xstrdup(field), .message = message};
}
