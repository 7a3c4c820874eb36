/* thread.c - see thread.h. */
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/ctx.h"

struct starter {
    void *(*fn)(void *);
    void *arg;
};

static void *starter_run(void *p)
{
    struct starter s = *(struct starter *)p;
    free(p);
    return s.fn(s.arg);
}

pthread_t thread_start(const char *name, void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    sigset_t all, old;
    pthread_t t;
    struct starter *s = xmalloc(sizeof *s);
    *s = (struct starter){fn, arg};
    ASSERT(pthread_attr_init(&attr) == 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    /* A document of the deepest nesting that is let in takes some 350 KiB to walk, beside what its caller needs. Only what is
     * touched costs memory. */
    ASSERT(pthread_attr_setstacksize(&attr, 1024 * 1024) == 0);
#endif
    /* Signals belong to the main thread, but for those that a thread's own fault raises: blocked, they would end the process
     * before anybody (a sanitizer, a core handler) could say where. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    ASSERT(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
    ASSERT(pthread_create(&t, &attr, starter_run, s) == 0);
    ASSERT(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    pthread_attr_destroy(&attr);
    char shortname[16];
    strncpy(shortname, name, sizeof shortname - 1);
    shortname[sizeof shortname - 1] = '\0';
    pthread_setname_np(t, shortname);
    return t;
}

void thread_cond_init(pthread_cond_t *c)
{
    pthread_condattr_t a;
    ASSERT(pthread_condattr_init(&a) == 0);
    ASSERT(pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_cond_init(c, &a) == 0);
    pthread_condattr_destroy(&a);
}

bool thread_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t mono_ns)
{
    struct timespec ts = {.tv_sec = mono_ns / NS_PER_S, .tv_nsec = mono_ns % NS_PER_S};
    int rc = pthread_cond_timedwait(c, m, &ts);
    ASSERT(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}
