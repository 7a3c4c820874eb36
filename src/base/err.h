/* err.h - errors as values.
 *
 * A function that can fail returns int (0 or -1) or a pointer (NULL on failure) and takes, as its last argument,
 * a `struct err *` that it fills. The code says what kind of failure it is and is mapped once to an HTTP status;
 * the message is for a person: what was wrong, with which value, and what would be right. Callers add context as
 * the error rises: err_wrap(e, "starting pod %s", name) gives "starting pod a/b: pulling image x: ...".
 *
 *     ERR(e);                                   // an empty error that is cleared at scope end
 *     if (file_read(path, &buf, &e) < 0)
 *         return err_move(err, &e);
 *
 * Passing NULL as `struct err *` is allowed everywhere: the failure is then only the return value.
 * A struct err is owned by one thread at a time. */
#ifndef TM_BASE_ERR_H
#define TM_BASE_ERR_H

#include <stdarg.h>

#include "base/base.h"

enum err_code {
    ERR_OK = 0,
    ERR_BAD_REQUEST,     /* 400 malformed or impossible input */
    ERR_UNAUTHENTICATED, /* 401 */
    ERR_FORBIDDEN,       /* 403 */
    ERR_NOT_FOUND,       /* 404 */
    ERR_METHOD,          /* 405 */
    ERR_NOT_ACCEPTABLE,  /* 406 */
    ERR_TIMEOUT,         /* 504 our time is up, or the caller's */
    ERR_EXISTS,          /* 409 name taken */
    ERR_CONFLICT,        /* 409 somebody else wrote first, or the state forbids it */
    ERR_GONE,            /* 410 revision or token too old */
    ERR_TOO_LARGE,       /* 413 */
    ERR_MEDIA_TYPE,      /* 415 */
    ERR_INVALID,         /* 422 well formed, but not valid; see causes */
    ERR_TOO_MANY,        /* 429 try again after retry_after_s */
    ERR_PRECONDITION,    /* 400/412 the object is not in the state that this needs */
    ERR_INTERNAL,        /* 500 our own fault */
    ERR_UNIMPLEMENTED,   /* 501 */
    ERR_UNAVAILABLE,     /* 503 try again */
    ERR_IO,              /* 500 a system call failed; sys_errno says which way */
    ERR_CANCELLED,       /* 499 the caller went away, or we are stopping */
};

/* One of several things that are wrong with an object (the `causes` of a Kubernetes Status). */
struct err_cause {
    const char *reason; /* static string, "FieldValueRequired" and the like */
    char *field;        /* "spec.containers[0].image"; may be NULL */
    char *message;
};

struct err {
    enum err_code code;
    char *message;      /* NULL only when code is ERR_OK */
    int sys_errno;      /* errno of a failed system call, else 0 */
    int retry_after_s;  /* 0: do not say */
    const char *reason; /* static string that overrides the reason derived from the code; else NULL */
    int http_status;    /* overrides the status derived from the code; else 0 */
    char *subject_kind, *subject_group, *subject_name, *subject_uid; /* what it is about; may be NULL */
    struct err_cause *causes;
    size_t n_causes;
    char *continue_token; /* a list that expired in the middle: how to go on; else NULL */
};

#define ERR_INIT  ((struct err){0})
#define ERR(name) CLEANUP(err_clear) struct err name = ERR_INIT

/* Sets the error, replacing what was there. Always returns -1, so that `return err_set(...)` reads well. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
int err_setv(struct err *e, enum err_code code, const char *fmt, va_list ap);
/* As err_set with ": <strerror(errno)>" appended and sys_errno kept. code is ERR_IO whatever errno is: a file of ours that is
 * missing is our fault, and no 404 for a client who never named it. */
int err_errno(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same where what was not found is what the caller asked for: ENOENT is ERR_NOT_FOUND. */
int err_errno_asked(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Prepends "<text>: " to the message. Returns -1. Does nothing to an empty error. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Moves src into dst (dst may be NULL: src is then cleared). Returns -1. */
int err_move(struct err *dst, struct err *src);
void err_copy(struct err *dst, const struct err *src);
/* Says what the error is about; NULL arguments leave the field as it is. Strings are copied. */
void err_subject(struct err *e, const char *group, const char *kind, const char *name);
/* Adds a cause and keeps code and message as they are. Strings are copied, reason must be static. */
void err_cause(struct err *e, const char *reason, const char *field, const char *fmt, ...) PRINTF_LIKE(4, 5);
void err_clear(struct err *e);
/* HTTP status and Kubernetes reason ("NotFound", "Invalid", ...) of an error. Never fail. */
int err_http_status(const struct err *e);
const char *err_reason(const struct err *e);
/* The message, or "" for an empty error. Lives as long as the error is not changed. */
const char *err_text(const struct err *e);

#endif
