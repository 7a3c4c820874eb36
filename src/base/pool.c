/* pool.c - worker threads on demand; see thread.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/thread.h"

#define IDLE_LIFE_NS (10 * NS_PER_S)

struct job {
    struct job *next;
    void (*fn)(void *);
    void *arg;
};

struct pool {
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t work, gone;
    struct job *head, **tail;
    size_t queued, max_queue;
    unsigned threads, idle, max_threads;
    bool stopping;
    char name[16];
};

struct pool *pool_new(const char *name, unsigned max_threads, size_t max_queue)
{
    ASSERT(max_threads > 0);
    struct pool *p = xcalloc(1, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    thread_cond_init(&p->work);
    thread_cond_init(&p->gone);
    p->tail = &p->head;
    p->max_threads = max_threads;
    p->max_queue = max_queue;
    strncpy(p->name, name, sizeof p->name - 1);
    return p;
}

/* Takes the next job, waiting for one; NULL when this thread should end. Called with the lock held. */
static struct job *next_job(struct pool *p)
{
    while (!p->head) {
        if (p->stopping)
            return NULL;
        int64_t until = clock_system.mono_ns(&clock_system) + IDLE_LIFE_NS;
        p->idle++;
        bool woken = thread_cond_wait_until(&p->work, &p->lock, until);
        p->idle--;
        if (!woken && !p->head)
            return NULL;
    }
    struct job *j = p->head;
    p->head = j->next;
    if (!p->head)
        p->tail = &p->head;
    p->queued--;
    return j;
}

static void *worker(void *arg)
{
    struct pool *p = arg;
    pthread_detach(pthread_self());
    pthread_mutex_lock(&p->lock);
    struct job *j;
    while ((j = next_job(p))) {
        pthread_mutex_unlock(&p->lock);
        j->fn(j->arg);
        free(j);
        pthread_mutex_lock(&p->lock);
    }
    if (--p->threads == 0)
        pthread_cond_broadcast(&p->gone);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

bool pool_submit(struct pool *p, void (*fn)(void *), void *arg)
{
    LOCK_GUARD(&p->lock);
    if (p->stopping || p->queued >= p->max_queue)
        return false;
    struct job *j = xmalloc(sizeof *j);
    *j = (struct job){.fn = fn, .arg = arg};
    *p->tail = j;
    p->tail = &j->next;
    p->queued++;
    /* An idle thread may have been woken for an earlier job that it has not taken yet, hence the comparison with the queue. */
    if (p->idle < p->queued && p->threads < p->max_threads) {
        p->threads++;
        thread_start(p->name, worker, p);
    } else {
        pthread_cond_signal(&p->work);
    }
    return true;
}

void pool_stop(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    while (p->threads)
        pthread_cond_wait(&p->gone, &p->lock);
    ASSERT(!p->head);
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->gone);
    free(p);
}
