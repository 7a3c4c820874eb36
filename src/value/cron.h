/* cron.h - when a cron expression matches, in the syntax of Kubeflow's schedules.
 *
 *   second minute hour day-of-month month [day-of-week]      FIVE fields start with the second, too
 *   @yearly @annually @monthly @weekly @daily @midnight @hourly @every <duration such as 1h30m>
 *   CRON_TZ=Area/City or TZ=Area/City in front: the time zone of this expression
 *
 * A field is a list of "*", "?" (the same), n, a-b, each with an optional /step (n/step goes to the end of the range); months and
 * days have names (JAN, mon), Sunday is 0. When both days are restricted, either may match. A local time that a change of the
 * clocks skips is skipped; one that comes twice matches once. Source: pipelines-api spec 7.4 (robfig/cron v1). */
#ifndef TM_VALUE_CRON_H
#define TM_VALUE_CRON_H

#include "value/tz.h"

struct cron;
/* zone: the name of the time zone when the expression names none; NULL or "": UTC. ERR_INVALID says which field is wrong. */
struct cron *cron_parse(const char *text, const char *zone, struct err *err);
void cron_free(struct cron *c);
/* The first match after a time; INT64_MAX when there is none within five years. Unix seconds. */
int64_t cron_next(const struct cron *c, int64_t after);
/* The last match of the series that starts after `after` which is not later than `limit`; INT64_MAX when the first one is. */
int64_t cron_last(const struct cron *c, int64_t after, int64_t limit);

#endif
