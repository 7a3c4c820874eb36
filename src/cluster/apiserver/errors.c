/* errors.c - the texts of common failures. */
#include "cluster/apiserver/internal.h"

static void subject(struct err *err, const struct resource *r, const char *name)
{
    err_subject(err, res_of(r)->group, res_of(r)->plural, name && *name ? name : NULL);
}

int fail_not_found(struct err *err, const struct resource *r, const char *name)
{
    err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", r->full, name);
    subject(err, r, name);
    return -1;
}

int fail_exists(struct err *err, const struct resource *r, const char *name)
{
    err_set(err, ERR_EXISTS, "%s \"%s\" already exists", r->full, name);
    subject(err, r, name);
    return -1;
}

int fail_conflict(struct err *err, const struct resource *r, const char *name, const char *why)
{
    err_set(err, ERR_CONFLICT, "Operation cannot be fulfilled on %s \"%s\": %s", r->full, name, why);
    subject(err, r, name);
    return -1;
}

int fail_forbidden(struct err *err, const struct resource *r, const char *name, const char *fmt, ...)
{
    BUF(text);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&text, fmt, ap);
    va_end(ap);
    if (name && *name)
        err_set(err, ERR_FORBIDDEN, "%s \"%s\" is forbidden: %s", r->full, name, buf_str(&text));
    else
        err_set(err, ERR_FORBIDDEN, "%s is forbidden: %s", r->full, buf_str(&text));
    subject(err, r, name);
    return -1;
}

int fail_internal(struct err *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(err, ERR_INTERNAL, fmt, ap);
    va_end(ap);
    if (err)
        err->reason = "";
    return -1;
}
