/* schedule.h - starts the runs of recurring runs when they are due: a controller keyed by recurring run id.
 *
 * A turn looks at the row and at the clock, starts every slot that is due and allowed (each one transaction with its run), and
 * says when it wants to be called again. Nothing is held that the rows do not hold: after a crash the next start takes up every
 * enabled recurring run. A slot never runs twice. When max_concurrency stands in the way, the turn comes again as soon as one of
 * the active runs changes. Threads: all functions may be called from any thread. Source: pipelines-api spec 7.4. */
#ifndef TM_PIPELINES_SCHEDULE_SCHEDULE_H
#define TM_PIPELINES_SCHEDULE_SCHEDULE_H

#include "pipelines/store/store.h"

struct schedule;
struct schedule_config {
    const struct store *store;           /* with changes */
    const char *time_zone;               /* of cron expressions that name none; NULL: UTC */
    const char *default_service_account; /* of runs whose recurring run names none; NULL: "pipeline-runner" */
    void *self;
    void (*started)(void *self, const char *run_id);         /* a run was inserted */
    void (*moved)(void *self, const char *recurring_run_id); /* its row was changed by that; may be NULL */
    int64_t base_delay_ns;                                   /* of retried turns; 0: 5 ms */
};
/* Starts the controller and takes up every enabled recurring run. What the config points to must outlive it. */
struct schedule *schedule_start(const struct schedule_config *cfg, struct err *err);
/* Ends the turns that are being made; nothing is started any more, and being notified is still fine. */
void schedule_halt(struct schedule *s); /* NULL is fine */
void schedule_stop(struct schedule *s); /* halts and frees; NULL is fine */
/* A recurring run was made, edited, enabled, disabled or deleted. Cheap; NULL is fine. */
void schedule_notify(struct schedule *s, const char *recurring_run_id);

#endif
