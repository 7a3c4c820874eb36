/* ctx.c - see ctx.h. */
#include "base/ctx.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    ASSERT(clock_gettime(id, &ts) == 0);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}
static int64_t system_wall(const struct clock *c) { return read_clock(CLOCK_REALTIME); }
static int64_t system_mono(const struct clock *c) { return read_clock(CLOCK_MONOTONIC); }
const struct clock clock_system = {.wall_ns = system_wall, .mono_ns = system_mono};

static int64_t manual_wall(const struct clock *c) { return atomic_load(&((const struct clock_manual *)c)->wall); }
static int64_t manual_mono(const struct clock *c) { return atomic_load(&((const struct clock_manual *)c)->mono); }

void clock_manual_init(struct clock_manual *c, int64_t wall_ns)
{
    c->clock = (struct clock){.wall_ns = manual_wall, .mono_ns = manual_mono};
    atomic_init(&c->wall, wall_ns);
    atomic_init(&c->mono, NS_PER_S);
}

void clock_manual_advance(struct clock_manual *c, int64_t ns)
{
    atomic_fetch_add(&c->wall, ns);
    atomic_fetch_add(&c->mono, ns);
}

int cancel_init(struct cancel *c, struct err *err)
{
    atomic_init(&c->raised, false);
    c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return c->fd < 0 ? err_errno(err, "eventfd") : 0;
}

void cancel_raise(struct cancel *c)
{
    if (atomic_exchange(&c->raised, true) || c->fd < 0)
        return;
    uint64_t one = 1;
    ASSERT(write(c->fd, &one, sizeof one) == (ssize_t)sizeof one);
}

void cancel_close(struct cancel *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

bool identity_in_group(const struct identity *who, const char *group)
{
    if (!who || !who->groups)
        return false;
    for (const char *const *g = who->groups; *g; g++)
        if (strcmp(*g, group) == 0)
            return true;
    return false;
}

struct ctx ctx_background(void) { return (struct ctx){.clock = &clock_system}; }

struct ctx ctx_with_timeout(const struct ctx *parent, int64_t ns)
{
    struct ctx c = *parent;
    int64_t deadline = ctx_mono_ns(parent) + ns;
    if (!c.deadline_mono_ns || deadline < c.deadline_mono_ns)
        c.deadline_mono_ns = deadline;
    return c;
}

int ctx_check(const struct ctx *ctx, struct err *err)
{
    if (ctx->cancel && atomic_load(&ctx->cancel->raised))
        return err_set(err, ERR_CANCELLED, "cancelled");
    if (ctx->deadline_mono_ns && ctx_mono_ns(ctx) >= ctx->deadline_mono_ns)
        return err_set(err, ERR_TIMEOUT, "timed out");
    return 0;
}

int64_t ctx_now_ns(const struct ctx *ctx) { return ctx->clock->wall_ns(ctx->clock); }
int64_t ctx_mono_ns(const struct ctx *ctx) { return ctx->clock->mono_ns(ctx->clock); }

int64_t ctx_left_ns(const struct ctx *ctx)
{
    if (!ctx->deadline_mono_ns)
        return INT64_MAX;
    int64_t left = ctx->deadline_mono_ns - ctx_mono_ns(ctx);
    return left > 0 ? left : 0;
}

/* Nanoseconds to wait in one go: to the end, to the deadline, or until a cancel without a descriptor is to be looked at. */
static int64_t sleep_slice(const struct ctx *ctx, int64_t until)
{
    int64_t left = until - read_clock(CLOCK_MONOTONIC), end = ctx_left_ns(ctx), look = 50 * NS_PER_MS;
    left = left < end ? left : end;
    return ctx->cancel && ctx->cancel->fd < 0 && left > look ? look : left;
}

int ctx_sleep(const struct ctx *ctx, int64_t ns, struct err *err)
{
    int64_t until = read_clock(CLOCK_MONOTONIC) + ns;
    for (;;) {
        if (ctx_check(ctx, err) < 0)
            return -1;
        int64_t left = sleep_slice(ctx, until);
        if (until <= read_clock(CLOCK_MONOTONIC))
            return 0;
        struct timespec ts = {.tv_sec = left / NS_PER_S, .tv_nsec = left % NS_PER_S};
        struct pollfd p = {.fd = ctx->cancel ? ctx->cancel->fd : -1, .events = POLLIN};
        if (left > 0)
            ppoll(&p, 1, &ts, NULL);
    }
}
