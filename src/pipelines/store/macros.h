/* macros.h - macros in string parameters of a run (pipelines-api spec 7.5).
 *
 *   [[RunUUID]]                                   the run's id
 *   [[ScheduledTime]], [[CurrentTime]]            YYYYMMDDhhmmss, UTC
 *   [[ScheduledTime.L]], [[CurrentTime.L]]        in the layout L, written as Go writes the reference time (2006-01-02T15-04-05)
 *   {{$.scheduledTime.strftime('F')}}, {{$.currentTime.strftime('F')}}   as strftime(3) of F, %s: Unix seconds
 *   [[Index]]                                     the number of a recurring run's run
 *
 * Everything else stays as it is. The row keeps the parameters as given; what a run is started with is made of the row's values
 * alone, so that it is the same whenever it is made. */
#ifndef TM_PIPELINES_STORE_MACROS_H
#define TM_PIPELINES_STORE_MACROS_H

#include "value/json.h"

struct macro_values {
    const char *run_id;
    int64_t scheduled_ns, current_ns; /* Unix time */
    int64_t index;                    /* below 0: not a run of a recurring run, [[Index]] stays */
};
/* Caller frees. */
char *macros_text(const char *text, const struct macro_values *v);
/* The parameters (an object) with macros in its string values replaced. A new reference. */
struct json *macros_parameters(jval *parameters, const struct macro_values *v);

#endif
