/* slots.c - when the next run of a recurring run is due (spec 7.4). All times here are Unix seconds. */
#include "pipelines/store/recurring.h"
#include "value/cron.h"

#define NEVER INT64_MAX

static int64_t seconds(int64_t ns) { return ns / NS_PER_S; }

/* What the first slot is counted from. */
static int64_t base_of(const struct recurring *r)
{
    return r->last_ns ? seconds(r->last_ns) : r->start_ns ? seconds(r->start_ns) : seconds(r->created_ns);
}

static int64_t periodic_next(const struct recurring *r, int64_t now)
{
    int64_t base = base_of(r), start = seconds(r->start_ns), end = r->end_ns ? seconds(r->end_ns) : NEVER;
    if (base > NEVER - r->interval_s)
        return NEVER;
    int64_t next = start > base ? start : base + r->interval_s;
    if (next > end)
        return NEVER;
    /* Of a backlog one run is started: now. */
    if (r->no_catchup && now - r->interval_s >= next)
        next = now < end ? now : end;
    return next;
}

static int64_t cron_slot(const struct recurring *r, const struct cron *c, int64_t now)
{
    int64_t base = base_of(r), start = seconds(r->start_ns), end = r->end_ns ? seconds(r->end_ns) : NEVER;
    if (start > base)
        base = start;
    int64_t next = cron_next(c, base);
    if (next > end)
        return NEVER;
    int64_t limit = now < end ? now : end;
    if (r->no_catchup && next < limit)
        next = cron_last(c, base, limit);
    return next;
}

static int64_t slot_of(const struct recurring *r, const struct cron *c, int64_t now)
{
    switch (r->trigger) {
    case TRIGGER_CRON:
        return cron_slot(r, c, now);
    case TRIGGER_PERIODIC:
        return periodic_next(r, now);
    default:
        return r->last_ns ? NEVER : seconds(r->created_ns);
    }
}

static struct cron *open_cron(const struct recurring *r, const char *zone, struct err *err)
{
    return cron_parse(r->cron ? r->cron : "", str_empty(r->time_zone) ? zone : r->time_zone, err);
}

int recurring_preview(const struct recurring *r, const char *zone, int64_t now_s, int64_t *slots, int max, struct err *err)
{
    struct cron *c = NULL;
    if (r->trigger == TRIGGER_CRON && !(c = open_cron(r, zone, err)))
        return -1;
    struct recurring at = *r; /* only looked at: owns nothing */
    int n = 0;
    while (n < max) {
        int64_t slot = slot_of(&at, c, now_s);
        if (slot == NEVER || slot > NEVER / NS_PER_S)
            break;
        slots[n++] = slot;
        at.last_ns = slot * NS_PER_S;
    }
    cron_free(c);
    return n;
}

int recurring_next(const struct recurring *r, const char *zone, int64_t now_s, int64_t *slot, struct err *err)
{
    int n = recurring_preview(r, zone, now_s, slot, 1, err);
    if (n == 0)
        *slot = NEVER;
    return n < 0 ? -1 : 0;
}
