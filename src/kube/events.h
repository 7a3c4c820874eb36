/* events.h - Kubernetes Events about what we did to an object: `kubectl describe` shows them.
 *
 * event_record() never blocks and never fails: it puts a copy into a bounded queue, and one thread, started when there is
 * something to write and gone when there is not, writes core/v1 Events. Same source, object, reason and message within ten
 * minutes are one Event whose count grows. Each source and object has a burst of 25, then one in five minutes; what is beyond is
 * dropped, as is everything when the queue is full. Source: specs kube.md 13.12 and 20. */
#ifndef TM_KUBE_EVENTS_H
#define TM_KUBE_EVENTS_H

#include "kube/kube.h"

struct event_recorder;
/* component and host become source.component and source.host; host may be NULL. Strings are copied. */
struct event_recorder *event_recorder_new(struct kube *kube, const char *component, const char *host, const struct clock *clock);
/* type is "Normal" or "Warning". The object is read during the call only. res gives kind and apiVersion. r may be NULL: nothing
 * happens. */
void event_record(struct event_recorder *r, jval *object, const struct kube_res *res, const char *type, const char *reason,
                  const char *fmt, ...) PRINTF_LIKE(6, 7);
/* As above about a part of it, as in "spec.containers{main}". */
void event_record_field(struct event_recorder *r, jval *object, const struct kube_res *res, const char *field_path,
                        const char *type, const char *reason, const char *fmt, ...) PRINTF_LIKE(7, 8);
/* As the scheduler says it: what was done about what, with the other object (of the same resource; NULL: none) that it was done
 * for. Such an Event has a time and a series in the place of times and a count, and no source. */
void event_record_action(struct event_recorder *r, jval *object, const struct kube_res *res, jval *related, const char *action,
                         const char *type, const char *reason, const char *fmt, ...) PRINTF_LIKE(8, 9);
/* Waits at most ms until what was recorded so far has been written (or dropped). For tests and shutdown. */
bool event_recorder_flush(struct event_recorder *r, int ms);
void event_recorder_free(struct event_recorder *r); /* drops what is still queued; NULL is fine */

#endif
