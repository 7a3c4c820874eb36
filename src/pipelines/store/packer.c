/* packer.c - packs blocks of runs that nobody writes any more (packed.h). */
#include <pthread.h>
#include <stdlib.h>

#define LOG_ROOM "packer"
#include "base/log.h"
#include "base/thread.h"
#include "pipelines/store/packed.h"

/* A look at the log of writes is all that an idle process pays. Packing takes at most a fifth of a processor. */
#define LOOK      (10 * NS_PER_S)
#define PAUSE_MIN (2 * NS_PER_MS)
enum { BLOCKS_FROM = 8, BLOCKS_MAX = 1 << 20, REST = 4 };

struct packer {
    const struct store *st;
    int64_t quiet_ns;
    pthread_t thread;
    pthread_mutex_t lock; /* over stop */
    pthread_cond_t wake;
    bool stop;
    /* The thread's own: */
    uint64_t seen;  /* position in the log at the pass before */
    bool left_over; /* that pass left blocks that were written shortly before it */
};

/* False when it is time to end. */
static bool rest(struct packer *p, int64_t ns)
{
    int64_t until = clock_system.mono_ns(&clock_system) + ns;
    LOCK_GUARD(&p->lock);
    while (!p->stop && thread_cond_wait_until(&p->wake, &p->lock, until))
        ;
    return !p->stop;
}

/* ---- a pass --------------------------------------------------------------------------------------------------------- */

/* Marks the blocks that are packed. *n: those before the last, which is not full yet. */
static int find_packed(struct db *db, bool **packed, size_t *n, struct err *err)
{
    static const char LAST[] = "SELECT coalesce(max(rowid), 0) FROM runs";
    static const char PACKED[] = "SELECT block FROM run_packed";
    STMT(last, db, LAST, err);
    if (!last || stmt_step(last, err) < 0)
        return -1;
    int64_t rowid = stmt_i64(last, 0);
    *n = rowid < 0 || rowid >> PACKED_SHIFT > BLOCKS_MAX ? 0 : (size_t)(rowid >> PACKED_SHIFT);
    *packed = xcalloc(*n + 1, sizeof **packed);
    STMT(s, db, PACKED, err);
    if (!s)
        return -1;
    int rc;
    while ((rc = stmt_step(s, err)) == 1) {
        int64_t block = stmt_i64(s, 0);
        if (block >= 0 && block < (int64_t)*n)
            (*packed)[block] = true;
    }
    return rc;
}

/* Blocks that were written since the pass before are left alone: as good as packed, for now. */
static void leave_written(struct packer *p, bool *packed, size_t n, uint64_t mark)
{
    AUTOFREE int64_t *rowids = NULL;
    size_t count;
    p->left_over = !db_touched_since(p->st->touched, p->seen, &rowids, &count);
    for (size_t i = 0; i < n && p->left_over; i++)
        packed[i] = true; /* so many writes that nothing is at rest */
    for (size_t i = 0; !p->left_over && i < count; i++) {
        int64_t block = rowids[i] >> PACKED_SHIFT;
        if (block >= 0 && block < (int64_t)n)
            packed[block] = true;
    }
    p->left_over = p->left_over || count > 0;
    p->seen = mark;
}

static int pack_all(struct packer *p, const bool *packed, size_t n, struct err *err)
{
    struct ctx ctx = ctx_background();
    size_t made = 0;
    int64_t began = clock_system.mono_ns(&clock_system);
    for (size_t i = 0; i < n; i++) {
        if (packed[i])
            continue;
        bool done;
        int64_t from = clock_system.mono_ns(&clock_system);
        if (packed_pack(p->st, &ctx, (int64_t)i, &done, err) < 0)
            return -1;
        made += done;
        int64_t took = clock_system.mono_ns(&clock_system) - from;
        if (!rest(p, took * REST > PAUSE_MIN ? took * REST : PAUSE_MIN))
            return 0;
    }
    if (made > 0)
        log_info("blocks=%zu ms=%lld columns of runs packed for filters", made,
                 (long long)((clock_system.mono_ns(&clock_system) - began) / NS_PER_MS));
    return 0;
}

static int pass(struct packer *p, struct err *err)
{
    uint64_t mark = db_touched_settled(p->st->touched);
    AUTOFREE bool *packed = NULL;
    size_t n = 0;
    struct db *db = db_reader_get(p->st->readers, err);
    int rc = db ? find_packed(db, &packed, &n, err) : -1;
    db_reader_put(p->st->readers, db);
    if (rc < 0)
        return -1;
    leave_written(p, packed, n, mark);
    return n < BLOCKS_FROM ? 0 : pack_all(p, packed, n, err);
}

static void *packer_main(void *arg)
{
    struct packer *p = arg;
    bool first = true;
    do {
        if (!first && !p->left_over && db_touched_settled(p->st->touched) == p->seen)
            continue;
        first = false;
        ERR(e);
        if (pass(p, &e) < 0)
            log_warn("packing columns of runs: %s", err_text(&e));
    } while (rest(p, p->quiet_ns));
    return NULL;
}

struct packer *packer_start(const struct store *st, int64_t quiet_ns)
{
    ASSERT(st->touched);
    struct packer *p = xcalloc(1, sizeof *p);
    p->st = st;
    p->quiet_ns = quiet_ns ? quiet_ns : LOOK;
    p->seen = db_touched_settled(st->touched);
    ASSERT(pthread_mutex_init(&p->lock, NULL) == 0);
    thread_cond_init(&p->wake);
    p->thread = thread_start("packer", packer_main, p);
    return p;
}

void packer_stop(struct packer *p)
{
    if (!p)
        return;
    {
        LOCK_GUARD(&p->lock);
        p->stop = true;
        pthread_cond_signal(&p->wake);
    }
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
