/* internal.h - what the files of the store share. Nobody else includes it.
 *
 * Locks, in the order in which they are taken: store.lock (rwlock: maps, log, list of watches, revision; written by the writer
 * thread alone but for watches coming and going), then watch.lock (the queue of one watch). store.queue_lock guards the writer's
 * queue only. */
#ifndef TM_CLUSTER_APISERVER_STORE_INTERNAL_H
#define TM_CLUSTER_APISERVER_STORE_INTERNAL_H

#include "base/thread.h"
#include "cluster/apiserver/store/map.h"
#include "cluster/apiserver/store/store.h"
#include "data/sql.h"

#define SOFT_DELAY_NS (50 * NS_PER_MS)
#define MARK_STEP     1000
#define MARK_MARGIN   500
#define BATCH_MAX     256
#define COMPACT_STEP  1000
#define COMPACT_LAG   256 /* log rows that may be overdue before a turn is spent on them */

struct store_coll {
    struct store *store;
    char *group, *plural;
    char *prefix; /* "group/plural/" of the journal's keys */
    struct map map;
    _Atomic int64_t rev; /* of the last published change here */
    struct store_watch *watches;
    struct store_coll *next;
};

/* One change, shared by the log, the queues of watches and the writer. */
struct change {
    int64_t rv, at_ns;
    struct store_coll *coll;
    bool removed, soft;
    bool prev_unknown;     /* refilled from the journal, which does not go back far enough */
    struct store_obj *obj; /* new state; last state of a removal */
    struct store_obj *prev;
};

struct write_req {
    struct write_req *next;
    const struct store_write *w;
    struct change *change;
    struct store_obj *out;
    int rc;
    bool done;
    struct err err;
    pthread_cond_t cond;
};

/* Revisions in (from, to] may have been seen by somebody, and what was seen may be gone. */
struct lost {
    int64_t from, to;
};

struct store {
    const struct clock *clock;
    struct store_limits limits;
    struct db *db; /* writer thread only, once it runs */

    pthread_rwlock_t lock;
    struct store_coll *colls;
    _Atomic int64_t rev; /* of the last published change */
    struct lost *lost;   /* one for each unclean stop that the log goes back to; fixed after open */
    size_t n_lost;
    /* The log: a ring of changes, oldest first, rv ascending. Everything after floor is in it. */
    struct change **ring;
    size_t ring_cap, ring_head, ring_n, ring_bytes;
    int64_t floor;

    pthread_mutex_t queue_lock;
    pthread_cond_t queue_cond;
    struct write_req *queue, **queue_tail;
    bool stopping;
    pthread_t writer;
    bool writer_runs;

    /* Writer thread only. */
    int64_t next_rv;   /* next revision to give */
    int64_t high_mark; /* durable: no revision above it was ever given */
    int64_t mark_wanted;
    struct change **soft; /* published, not yet in the journal; owned copies of the ring's changes */
    size_t n_soft, cap_soft;
    int64_t soft_deadline;
    int64_t journal_floor; /* log rows at or below it are deleted */
};

struct queued {
    enum store_event_type type;
    struct store_obj *obj;
    int64_t rv;
};
struct store_watch {
    struct store *store;
    struct store_coll *coll;
    struct store_watch *next, **prev_link; /* store.lock */
    struct store_watch_opts o;
    char *prefix, *exact; /* "ns/" and "ns/name" or "name" */
    pthread_mutex_t lock;
    struct store_obj **initial;
    size_t n_initial, initial_at;
    bool initial_end;
    int64_t initial_rv;
    struct queued *q; /* ring */
    size_t q_cap, q_head, q_n, q_limit;
    bool over;
};

/* store.c */
void change_free(struct change *c);
struct change *change_new(const struct change *from);  /* with references of its own */
void log_append(struct store *s, struct change *take); /* under the write lock */
void log_trim(struct store *s, int64_t now_ns);        /* under the write lock */
size_t log_after(const struct store *s, int64_t rv);   /* index of the first change with a greater revision */
static inline struct change *log_at(const struct store *s, size_t i) { return s->ring[(s->ring_head + i) & (s->ring_cap - 1)]; }
int check_rev_locked(struct store *s, int64_t rev, struct err *err);
/* journal.c */
int journal_load(struct store *s, struct err *err);
int journal_commit(struct store *s, struct change *const *c, size_t n, bool durable, struct err *err);
int journal_close(struct store *s, struct err *err);
bool journal_compact(struct store *s); /* true: there may be more to do */
extern const struct migration journal_migrations[];
extern const size_t journal_n_migrations;
/* writer.c */
void *writer_main(void *arg);
/* watch.c */
void watch_publish(struct store_coll *c, const struct change *ch); /* under the write lock */
void watch_end(struct store_watch *w);

#endif
