/* retention.h - old runs are archived, and archived ones deleted, when somebody asks for it.
 *
 * A pass archives finished runs that nobody archived and whose end is older than `finished`, then deletes archived runs whose end
 * and archiving are both older than `archived`, in batches with pauses, so that nobody else waits. Unarchiving clears the clock.
 * Source: pipelines-api spec 15. */
#ifndef TM_PIPELINES_SCHEDULE_RETENTION_H
#define TM_PIPELINES_SCHEDULE_RETENTION_H

#include "pipelines/store/store.h"

struct retention;
struct retention_config {
    const struct store *store;
    int64_t finished_ns, archived_ns; /* ages; 0: such runs are kept for ever */
    int64_t interval_ns;              /* between passes; 0: 6 h. The first one is at the start */
    int batch;                        /* 0: 100; at most 1000 */
    void *self;
    int (*remove)(void *self, const struct ctx *ctx, const char *run_id, struct err *err); /* a run, its pods and rows */
};
/* Reads RUNS_RETENTION_TIME, ARCHIVED_RUNS_RETENTION_TIME, RUNS_GC_INTERVAL (Go durations) and RUNS_GC_BATCH_SIZE. ERR_INVALID
 * names the one that cannot be read. */
int retention_from_env(struct retention_config *cfg, struct err *err);
/* NULL when there is nothing to do, ever. What the config points to must outlive it. */
struct retention *retention_start(const struct retention_config *cfg);
void retention_stop(struct retention *r); /* NULL is fine */

#endif
