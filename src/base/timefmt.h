/* timefmt.h - RFC 3339 times and Go-style durations. All times are Unix nanoseconds in UTC. */
#ifndef TM_BASE_TIMEFMT_H
#define TM_BASE_TIMEFMT_H

#include "base/base.h"

#define TIME_TEXT_MAX 48
enum time_form { TIME_SECONDS, TIME_MILLIS_TRIMMED /* .123 only when not zero */, TIME_MICROS, TIME_NANOS_TRIMMED };
/* "2026-11-25T13:07:00Z"; out has TIME_TEXT_MAX bytes. Returns out. */
char *time_format(char *out, int64_t unix_ns, enum time_form form);
/* Any offset, up to 9 fractional digits ('t'/'z' in lower case refused). False when not RFC 3339 or out of int64 range. */
bool time_parse(const char *s, int64_t *unix_ns);
/* Go's time.ParseDuration: "1h2m3.5s", "-1.5h", "300ms", "0". */
bool duration_parse(const char *s, int64_t *ns);
char *duration_format(char *out, int64_t ns); /* Go's Duration.String(); out has TIME_TEXT_MAX bytes */
/* Days since 1970-01-01 of a civil date and back (proleptic Gregorian). */
int64_t days_from_civil(int y, unsigned m, unsigned d);

#endif
