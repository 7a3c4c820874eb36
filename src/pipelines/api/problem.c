/* problem.c - errors as clients of the API expect them: google.rpc.Status objects (spec 2.3).
 *
 * An error's message is the whole chain of what was tried; the innermost text alone is what people want to read. api_wrap keeps
 * it as a cause before it puts anything in front. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOG_ROOM "pipelines"
#include "base/log.h"
#include "pipelines/api/internal.h"

static const char SHORT_TEXT[] = "ShortText";

/* kind: the word that upstream puts before the innermost text. */
static const struct problem {
    enum err_code code;
    int rpc, http;
    const char *kind;
} PROBLEMS[] = {
    {ERR_BAD_REQUEST, 3, 400, NULL},
    {ERR_INVALID, 3, 400, "Invalid input error"},
    {ERR_TOO_LARGE, 3, 413, "Invalid input error"},
    {ERR_MEDIA_TYPE, 3, 400, "Invalid input error"},
    {ERR_NOT_ACCEPTABLE, 3, 400, "Invalid input error"},
    {ERR_UNAUTHENTICATED, 16, 401, "UnauthenticatedError"},
    {ERR_FORBIDDEN, 7, 403, "PermissionDenied"},
    {ERR_NOT_FOUND, 5, 404, "ResourceNotFoundError"},
    {ERR_GONE, 5, 404, "ResourceNotFoundError"},
    {ERR_EXISTS, 6, 409, "Already exist error"},
    {ERR_CONFLICT, 10, 409, "BadRequestError"},
    {ERR_PRECONDITION, 9, 400, "FailedPreconditionError"},
    {ERR_METHOD, 12, 501, NULL},
    {ERR_UNIMPLEMENTED, 12, 501, NULL},
    {ERR_TOO_MANY, 14, 503, "UnavailableError"},
    {ERR_UNAVAILABLE, 14, 503, "UnavailableError"},
    {ERR_TIMEOUT, 14, 503, "UnavailableError"},
    {ERR_CANCELLED, 1, 499, NULL},
};
static const struct problem OUR_FAULT = {ERR_INTERNAL, 13, 500, "InternalServerError"};

/* An upload that is too large is as bad as one that cannot be read: its clients know one status for both. */
static const struct problem UPLOAD_TOO_LARGE = {ERR_TOO_LARGE, 3, 400, "Invalid input error"};

/* A full disk is nobody's mistake here: free some space, and the same request succeeds. */
static const struct problem DISK_FULL = {ERR_IO, 14, 503, "UnavailableError"};

static const struct problem *problem_of(const struct err *err)
{
    if (err->code == ERR_IO && err->sys_errno == ENOSPC)
        return &DISK_FULL;
    for (size_t i = 0; i < ARRAY_LEN(PROBLEMS); i++) {
        if (PROBLEMS[i].code == err->code)
            return &PROBLEMS[i];
    }
    return &OUR_FAULT;
}

static const char *short_text(const struct err *err)
{
    for (size_t i = 0; i < err->n_causes; i++) {
        if (err->causes[i].reason == SHORT_TEXT)
            return err->causes[i].message;
    }
    return NULL;
}

static void adopt(struct err *err)
{
    if (err->code == ERR_OK || short_text(err))
        return;
    const struct problem *p = problem_of(err);
    err_cause(err, SHORT_TEXT, NULL, "%s", err_text(err));
    if (p->kind)
        err_wrap(err, "%s", p->kind);
}

int api_wrap(struct err *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    adopt(err);
    va_list ap;
    va_start(ap, fmt);
    BUF(text);
    buf_addv(&text, fmt, ap);
    va_end(ap);
    return err_wrap(err, "%s", buf_str(&text));
}

/* The endpoints that upstream wrote by hand answer error_message and error_details; clients of either shape are served. */
static bool hand_written(const struct http_req *req)
{
    return strstr(req->path, "/pipelines/upload") || str_ends(req->path, ":read") || str_ends(req->path, "/log");
}

static void challenge(struct http_res *res, const char *message)
{
    AUTOFREE char *line = xstrdup(message);
    for (char *p = line; *p; p++) {
        if ((unsigned char)*p < ' ')
            *p = ' ';
    }
    http_set_header(res, "WWW-Authenticate", line);
}

void api_write_error(void *self, struct http_req *req, struct http_res *res, const struct err *err)
{
    ERR(e);
    err_copy(&e, err);
    const struct problem *p = problem_of(&e);
    const char *message, *text;
    if (e.code == ERR_TOO_LARGE && req->route && req->route->stream_body)
        p = &UPLOAD_TOO_LARGE;
    if (!req->route && e.code == ERR_NOT_FOUND) {
        message = text = "Not Found";
    } else if (e.code == ERR_METHOD) {
        message = text = "Method Not Allowed";
    } else {
        adopt(&e);
        message = err_text(&e);
        text = p->http == 500 ? "Internal Server Error" : short_text(&e);
    }
    if (p->http == 500 || p == &DISK_FULL)
        log_error("request=%s %s %s: %s", req->request_id, req->method_text, req->path, message);
    if (p->http == 401)
        challenge(res, message);

    JM_NEW(m);
    jmval *root = jm_obj(m), *details = jm_arr(m), *detail = jm_obj(m);
    jm_set_root(m, root);
    jm_put(m, root, "code", jm_i64(m, p->rpc));
    jm_put(m, root, "message", jm_str(m, message));
    jm_put(m, detail, "@type", jm_str(m, "type.googleapis.com/google.rpc.Status"));
    jm_put(m, detail, "code", jm_i64(m, p->rpc));
    jm_put(m, detail, "message", jm_str(m, text));
    jm_push(details, detail);
    jm_put(m, root, "details", details);
    if (hand_written(req)) {
        jm_put(m, root, "error_message", jm_str(m, text));
        jm_put(m, root, "error_details", jm_str(m, message));
    }
    http_status(res, p->http);
    out_send(res, m);
}
