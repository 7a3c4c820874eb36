/* schedules.h - a recurring run as a ScheduledWorkflow, and back. Pure functions of the mirror. */
#ifndef TM_PIPELINES_MIRROR_SCHEDULES_H
#define TM_PIPELINES_MIRROR_SCHEDULES_H

#include "pipelines/store/recurring.h"

/* spec of the object of this row. */
jmval *schedule_spec(struct db *db, struct jm *m, const struct recurring *r, struct err *err);
/* Its status; error: why the object's own spec was not taken over, NULL. next_s: INT64_MAX for none. */
jmval *schedule_status(struct jm *m, const struct recurring *r, int64_t next_s, const char *error);
/* The body of a call to the REST API that asks for what the object's spec says. */
struct json *schedule_body(jval *object);

#endif
