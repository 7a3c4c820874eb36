/* store.h - where the API server keeps objects: memory is the database, SQLite its journal (kube.md 19).
 *
 * A collection (group, plural) is an ordered map from key ("ns/name", or "name" when cluster-scoped; byte order) to an immutable,
 * shared object. All changes go through one writer thread: it takes what is queued, compares-and-swaps against memory, commits
 * one transaction, and only then publishes to readers and watchers and answers. Revisions are one sequence over all collections;
 * none is ever used twice, whatever happens to the process: a high mark is stored ahead in steps.
 *
 * Soft writes (Event, Lease, node heartbeats) are published at once and journalled with the next durable commit or after 50 ms,
 * without a sync. After an unclean stop a watch that resumes from beyond the last durable revision gets ERR_GONE.
 *
 * Errors: ERR_EXISTS (create of what is there), ERR_NOT_FOUND (change of what is not), ERR_CONFLICT (another revision than
 * expected), ERR_GONE (revision no longer in the log), ERR_IO (the journal could not be written: nothing has changed). Everything
 * is thread-safe. Objects are reference-counted: store_obj_unref what you get. */
#ifndef TM_CLUSTER_APISERVER_STORE_H
#define TM_CLUSTER_APISERVER_STORE_H

#include <stdatomic.h>

#include "base/ctx.h"
#include "value/json.h"

struct store;
struct store_coll;

/* One state of one object. The document starts with the members kind and apiVersion; bytes + tail is what follows them, without
 * the opening brace: `"metadata":{...}}`, for lists of built-in kinds and for other versions of the same object. */
struct store_obj {
    atomic_int refs;
    int64_t rv;
    struct json *doc;
    char *bytes; /* compact JSON, NUL-terminated */
    size_t len, tail;
    size_t mem; /* approximate bytes held */
    char key[];
};
/* An object outside the store, as readers expect it. Takes the document. */
struct store_obj *store_obj_new(const char *key, int64_t rv, struct json *take_doc);
struct store_obj *store_obj_ref(struct store_obj *o);
void store_obj_unref(struct store_obj *o); /* NULL is fine */
static inline void store_obj_unrefp(struct store_obj **o) { store_obj_unref(*o); }
#define OBJ_REF(name) CLEANUP(store_obj_unrefp) struct store_obj *name
static inline jval *obj_root(const struct store_obj *o) { return o ? json_root(o->doc) : NULL; }

struct store_limits {
    size_t log_entries; /* 0: 100,000 */
    int64_t log_age_ns; /* 0: 10 minutes */
    size_t log_bytes;   /* 0: 32 MiB of objects held only for the log */
    size_t soft;        /* 0: 10,000 soft changes that wait for the disk; the next one waits for it as any other write does */
    size_t queue;       /* 0: 1000 events that a watcher may lag behind */
};
struct store *store_open(const char *path, const struct clock *clock, const struct store_limits *limits, struct err *err);
/* Ends all watches, finishes queued writes, marks the journal clean. */
void store_close(struct store *s);
int64_t store_rev(struct store *s); /* of the last published change */

/* Collections live as long as the store; the same pair gives the same pointer. */
struct store_coll *store_coll(struct store *s, const char *group, const char *plural);
size_t store_count(struct store_coll *c);
int64_t store_coll_rev(struct store_coll *c); /* of its last published change; for caches of what is made from its objects */

struct store_obj *store_get(struct store_coll *c, const char *key); /* a reference or NULL */

typedef bool store_match_fn(void *arg, const struct store_obj *o);
struct store_query {
    const char *ns;        /* only keys "ns/..."; NULL: all */
    const char *after;     /* only keys after this one; NULL: from the start */
    size_t limit;          /* 0: none */
    int64_t at;            /* the state at that revision; 0: now */
    store_match_fn *match; /* NULL: all. Called under the store's read lock: quick, and no store calls */
    void *arg;
};
struct store_list {
    struct store_obj **v;
    size_t n;
    int64_t rv;
    bool more;         /* keys are left, whether or not they match: a following page may be empty */
    int64_t remaining; /* keys left after the page, when there is no match function */
};
int store_list(struct store_coll *c, const struct store_query *q, struct store_list *out, struct err *err);
void store_list_free(struct store_list *l);

struct store_write {
    struct store_coll *coll;
    const char *key;
    int64_t expect; /* 0: there must be none; else the revision that is to be replaced or removed */
    struct jm *doc; /* the new state (of a removal: the last state). Its metadata.resourceVersion is set by the writer */
    bool remove, soft;
};
/* Blocks until the change is published, and durable unless soft. *out (may be NULL) gets a reference to the new state. */
int store_write(struct store *s, const struct store_write *w, struct store_obj **out, struct err *err);

/* ---- watches -------------------------------------------------------------------------------------------------- */

enum store_event_type { STORE_ADDED, STORE_MODIFIED, STORE_DELETED };
struct store_event {
    enum store_event_type type;
    struct store_obj *obj; /* a reference; of DELETED the last state that matched */
    int64_t rv;            /* of the change: differs from obj->rv when an object left by the match function */
};
struct store_watch;
struct store_watch_opts {
    const char *ns, *name; /* NULL: all */
    int64_t from;          /* changes after this revision (which may be yet to come); < 0: the present state first, as ADDED */
    store_match_fn *match; /* may be NULL */
    void *arg;
    void (*free_arg)(void *arg);
    /* Called from any thread when there is something to take; must not block and not call the store. May be NULL. */
    void (*notify)(void *arg);
    void *notify_arg;
};
/* On failure arg is not freed. */
struct store_watch *store_watch(struct store_coll *c, const struct store_watch_opts *o, struct err *err);
enum store_next { STORE_NEXT_EVENT, STORE_NEXT_INITIAL_END, STORE_NEXT_NONE, STORE_NEXT_OVER };
/* Never blocks. EVENT: *ev filled. INITIAL_END: once, after the present state (from < 0), ev->rv is its revision. NONE: nothing
 * now, ev->rv is a revision at or below which nothing is still to come. OVER: the watch was ended (too slow, collection closed,
 * server stopping). */
enum store_next store_watch_next(struct store_watch *w, struct store_event *ev);
void store_watch_close(struct store_watch *w);  /* notify is not called any more once this has returned */
void store_watch_end_all(struct store_coll *c); /* what is served there has changed: watchers start again */

#endif
