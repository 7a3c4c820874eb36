/* informer.h - a cache of one collection, kept by list and watch, shared by all that read it.
 *
 * Objects are keyed "ns/name" ("name" when cluster-scoped) and immutable. Handlers are called from the informer's own thread,
 * one at a time, after the cache was updated; they only enqueue. */
#ifndef TM_KUBE_INFORMER_H
#define TM_KUBE_INFORMER_H

#include "kube/kube.h"

struct informer;
struct informer_config {
    struct kube *kube;
    const struct kube_res *res;
    const char *ns;                              /* NULL: all */
    const char *label_selector, *field_selector; /* may be NULL */
    const struct clock *clock;
    bool metadata_only; /* see struct kube_opts */
};
struct informer_handler {
    /* old is NULL for an add, now is NULL for a delete. Borrowed for the call. */
    void (*changed)(void *self, struct json *old, struct json *now);
    void *self;
};
struct informer *informer_new(const struct informer_config *cfg);
/* Once the informer runs, the new handler is told first, from the caller's thread, what is in the cache, as adds; a change that
 * comes meanwhile may be told twice, and a delete of something that was never added. Not from a handler. */
void informer_add_handler(struct informer *i, struct informer_handler h);
/* Once this has returned no handler with that self runs or will run. Any thread but the informer's own. */
void informer_remove_handler(struct informer *i, void *self);
void informer_start(struct informer *i);
void informer_stop(struct informer *i); /* joins the thread, frees */
/* Waits until the first list is in the cache (or the context ends: -1). */
int informer_wait_synced(struct informer *i, const struct ctx *ctx, struct err *err);
struct json *informer_get(struct informer *i, const char *key); /* a reference or NULL */
struct json **informer_list(struct informer *i, size_t *n);     /* references; caller unrefs each and frees */
/* Objects whose controller owner reference (or any owner reference) has this uid. */
struct json **informer_by_owner(struct informer *i, const char *uid, size_t *n);
/* After a write of ours: waits until the cache is at least at that resourceVersion for the key. */
int informer_wait_rv(struct informer *i, const char *key, const char *rv, const struct ctx *ctx, struct err *err);

#endif
