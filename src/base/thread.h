/* thread.h - locks with cleanup, named threads, and a pool of workers. */
#ifndef TM_BASE_THREAD_H
#define TM_BASE_THREAD_H

#include <pthread.h>

#include "base/base.h"
#include "base/err.h"

/* LOCK_GUARD(&m); holds the lock until the block is left, also by return, break or goto. One in a block. */
static inline void thread_unlockp(pthread_mutex_t **m)
{
    if (*m)
        pthread_mutex_unlock(*m);
}
#define LOCK_GUARD(m)                                                                                                            \
    CLEANUP(thread_unlockp) pthread_mutex_t *lock_guard__ UNUSED = (m);                                                          \
    ASSERT(pthread_mutex_lock(lock_guard__) == 0)

/* A joinable thread with a name of at most 15 characters, all signals blocked, and a small stack (512 KiB). Aborts if the
 * system has no thread to give. */
pthread_t thread_start(const char *name, void *(*fn)(void *), void *arg);

/* Condition variable on the monotonic clock. thread_cond_wait_until returns false when the time was reached. */
void thread_cond_init(pthread_cond_t *c);
bool thread_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t mono_ns);

/* Workers that take jobs in the order they came. Threads are started when there is work, up to max, and end after being
 * idle for a while, so that an idle process is a small one. */
struct pool;
struct pool *pool_new(const char *name, unsigned max_threads, size_t max_queue);
/* False when the queue is full or the pool is stopping: the job will not run. Any thread. */
bool pool_submit(struct pool *p, void (*job)(void *), void *arg) MUST_CHECK;
/* Waits for queued and running jobs, then frees the pool. */
void pool_stop(struct pool *p);

#endif
