/* tz.h - time zones of the IANA database (tzdata), read from the machine's files, without the process's own TZ.
 *
 * A zone is immutable once loaded and may be used by any thread. Names are looked up below /usr/share/zoneinfo (or TZDIR) only; a
 * name with "..", a leading slash or other signs is refused. "UTC" and "" need no file; "Local" is the machine's /etc/localtime.
 * Times are Unix seconds. Source: RFC 8536 (TZif), POSIX TZ rules for times behind the last transition. */
#ifndef TM_VALUE_TZ_H
#define TM_VALUE_TZ_H

#include "base/base.h"
#include "base/err.h"

struct tz;
/* ERR_INVALID for a name that is no zone, ERR_INTERNAL for a damaged file. */
struct tz *tz_load(const char *name, struct err *err);
/* The same from the bytes of a file. */
struct tz *tz_parse(const void *p, size_t n, struct err *err);
void tz_free(struct tz *tz);
/* Seconds east of UTC at a time. NULL is UTC. */
int64_t tz_offset(const struct tz *tz, int64_t unix_s);
/* The first time at which clocks of the zone show this local time (seconds since 1970 as if it were UTC). False when they never
 * do: it was skipped by a change. */
bool tz_from_local(const struct tz *tz, int64_t local_s, int64_t *unix_s);

#endif
