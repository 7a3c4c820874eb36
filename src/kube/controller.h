/* controller.h - the shape of every controller: one struct, one function.
 *
 *     const struct controller namespace_controller = { .name = "namespace", .sources = ..., .workers = 2, .reconcile =
 * ns_reconcile };
 *
 * reconcile(key) reads what is, decides, writes what should be, and says when to be called again. It is level-triggered and
 * idempotent: killed anywhere and run again, it ends in the same state. A key is never handled by two workers at once. Errors are
 * retried with back-off (5 ms doubling to 1000 s; embedded 1 ms), not before an error's retry_after_s is over, conflicts at once.
 */
#ifndef TM_KUBE_CONTROLLER_H
#define TM_KUBE_CONTROLLER_H

#include "kube/informer.h"

struct workqueue;
struct workqueue *workqueue_new(const struct clock *clock, int64_t base_delay_ns);
void workqueue_add(struct workqueue *q, const char *key);
void workqueue_add_after(struct workqueue *q, const char *key, int64_t ns);
void workqueue_add_rate_limited(struct workqueue *q, const char *key);
void workqueue_retry(struct workqueue *q, const char *key, int64_t at_least_ns); /* the same, but not sooner than that */
/* Said by the worker that has the key: it went well. Failures are forgotten, and it comes again after that time (0: not by
 * itself) instead of when its turns before wanted; what workqueue_add_after asked for stays. So an object that is gone leaves no
 * key. */
void workqueue_done(struct workqueue *q, const char *key, int64_t again_ns);
unsigned workqueue_failures(struct workqueue *q, const char *key); /* rate-limited adds since it went well */
size_t workqueue_keys(struct workqueue *q);                        /* known for any reason */
/* Blocks; NULL once the queue was shut down. The caller frees the key after workqueue_finish. */
char *workqueue_take(struct workqueue *q);
void workqueue_finish(struct workqueue *q, const char *key);
void workqueue_shutdown(struct workqueue *q);
void workqueue_free(struct workqueue *q); /* after all workers have returned */

/* What a reconcile wants next. */
struct reconcile_result {
    int64_t again_after_ns; /* 0: only when something changes; from 1 s on it counts from the beginning of the reconcile */
};
typedef int reconcile_fn(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err);

/* Where keys come from: objects of a kind (map gives their key, default "ns/name"), or the owner of objects of a kind. */
struct controller_source {
    struct informer *informer;
    /* Puts zero or more keys for a change; NULL: the object's own key. */
    void (*map)(void *self, struct json *old, struct json *now, struct workqueue *q);
};
struct controller {
    const char *name;
    const struct controller_source *sources;
    size_t n_sources;
    unsigned workers;
    reconcile_fn *reconcile;
};
/* Runs a controller: its workers call reconcile with self. Call before the informers are started; notifiers get the queue with
 * controller_queue. Stop it before its informers: controller_stop cancels the calls that workers are in, takes its handlers off
 * the informers and waits for the workers. sources need not outlive the call of controller_start; the informers must outlive the
 * run. */
struct controller_run;
struct controller_run *controller_start(const struct controller *c, void *self, const struct clock *clock, int64_t base_delay_ns);
struct workqueue *controller_queue(struct controller_run *r);
/* Cancels the calls that workers are in and waits for the workers; the queue stays, and takes nothing any more. For controllers
 * with informers of their own: halt, stop those, controller_stop. */
void controller_halt(struct controller_run *r);
void controller_stop(struct controller_run *r);

#endif
