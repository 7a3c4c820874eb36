/* pause.c - a step that stays where it is until somebody has looked at it: what the SDK's set_debug_pause asks for.
 *
 * The SDK says it in the step's environment: ARGO_DEBUG_PAUSE_BEFORE, _AFTER, or _ON_ERROR (after a command that failed) is
 * "true". People are used to make a file in MARKS to let it go on; where the container's user cannot write there, and has no such
 * file, it is one below /tmp, and the log says which. Outputs are collected after the pause, so they can be mended. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/fs.h"

#define MARKS     "/var/run/argo/ctr/main"
#define MARKS_TOO "/tmp/kfp/pause"

static bool wanted(enum agent_pause when)
{
    if (when == PAUSE_BEFORE)
        return str_eq(getenv("ARGO_DEBUG_PAUSE_BEFORE"), "true");
    return str_eq(getenv("ARGO_DEBUG_PAUSE_AFTER"), "true") ||
           (when == PAUSE_FAILED && str_eq(getenv("ARGO_DEBUG_PAUSE_ON_ERROR"), "true"));
}

static const char *marks(struct err *err)
{
    static const char *const dirs[] = {MARKS, MARKS_TOO};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        if (fs_mkdir_p(dirs[i], 0755, NULL) == 0 && access(dirs[i], W_OK) == 0)
            return dirs[i];
    err_set(err, ERR_IO, "the step cannot pause: the container's user can write neither to %s nor to %s", MARKS, MARKS_TOO);
    return NULL;
}

/* The number of the signal that ended it, 0: the mark is there. Signals are blocked after a command, and must not be before it.
 */
static int wait_for(const char *path)
{
    static const int stops[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    const struct timespec often = {.tv_nsec = 250 * 1000 * 1000};
    sigset_t stop, old;
    int sig = 0;
    sigemptyset(&stop);
    for (size_t i = 0; i < ARRAY_LEN(stops); i++)
        sigaddset(&stop, stops[i]);
    sigprocmask(SIG_BLOCK, &stop, &old);
    while (sig <= 0 && access(path, F_OK) < 0)
        sig = sigtimedwait(&stop, NULL, &often);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return sig > 0 ? sig : 0;
}

int agent_pause(enum agent_pause when, struct err *err)
{
    if (!wanted(when))
        return 0;
    const char *name = when == PAUSE_BEFORE ? "before" : "after", *pod = getenv("KFP_POD_NAME"), *dir = marks(err);
    if (!dir)
        return -1;
    AUTOFREE char *path = fs_join(dir, name);
    fprintf(stderr, "tidemill-agent: paused %s the command; it goes on after: kubectl exec %s -c main -- touch %s\n", name,
            str_empty(pod) ? "POD" : pod, path);
    int sig = wait_for(path);
    return sig ? err_set(err, ERR_CANCELLED, "ended by signal %d (%s) while it was paused %s the command", sig, strsignal(sig),
                         name)
               : 0;
}
