/* ctx.h - what every call carries: who asks, until when, whether it was given up, and the time.
 *
 * A struct ctx is small, lives on the caller's stack and is passed by pointer; a callee derives a narrower one by
 * copying it and changing a field. Nothing in it is owned. Time is read only through ctx->clock, so that tests can
 * turn it. */
#ifndef TM_BASE_CTX_H
#define TM_BASE_CTX_H

#include <stdatomic.h>

#include "base/base.h"
#include "base/err.h"

/* Two clocks: wall (Unix time, may jump) and monotonic, both in nanoseconds. */
struct clock {
    int64_t (*wall_ns)(const struct clock *);
    int64_t (*mono_ns)(const struct clock *);
};
extern const struct clock clock_system;

/* A clock that stands still until it is moved. Thread-safe. */
struct clock_manual {
    struct clock clock;
    _Atomic int64_t wall, mono;
};
void clock_manual_init(struct clock_manual *c, int64_t wall_ns);
void clock_manual_advance(struct clock_manual *c, int64_t ns);

/* A flag that is raised once, and can be waited for through an fd (readable once raised). */
struct cancel {
    atomic_bool raised;
    int fd; /* eventfd, -1 when nobody needs to wait */
};
int cancel_init(struct cancel *c, struct err *err);
void cancel_raise(struct cancel *c); /* any thread, idempotent */
void cancel_close(struct cancel *c);

/* Who asks. Immutable while shared; the strings live as long as the identity. */
struct identity {
    const char *user;          /* "system:serviceaccount:ns:name", "admin", ... */
    const char *uid;           /* may be "" */
    const char *const *groups; /* NULL-terminated */
    /* extra attributes (authentication.kubernetes.io/pod-name and the like): key, value pairs, NULL-terminated; may be NULL */
    const char *const *extra;
};
bool identity_in_group(const struct identity *who, const char *group);

struct ctx {
    const struct clock *clock;  /* never NULL */
    int64_t deadline_mono_ns;   /* 0: none */
    struct cancel *cancel;      /* may be NULL */
    const struct identity *who; /* NULL: nobody has been established */
    const char *request_id;     /* for logs; may be NULL */
};
/* A context of the process itself: system clock, no deadline, no identity. */
struct ctx ctx_background(void);
struct ctx ctx_with_timeout(const struct ctx *parent, int64_t ns); /* the earlier of the two deadlines */

/* 0, or -1 with ERR_CANCELLED or ERR_TIMEOUT. Long loops ask now and then. */
int ctx_check(const struct ctx *ctx, struct err *err);
int64_t ctx_now_ns(const struct ctx *ctx); /* wall clock, Unix nanoseconds */
int64_t ctx_mono_ns(const struct ctx *ctx);
/* Nanoseconds left, INT64_MAX without a deadline, 0 when it is over. */
int64_t ctx_left_ns(const struct ctx *ctx);
/* Waits that long on the system's clock. 0, or -1 as ctx_check as soon as the context ends. */
int ctx_sleep(const struct ctx *ctx, int64_t ns, struct err *err);

#define NS_PER_S  1000000000LL
#define NS_PER_MS 1000000LL

#endif
