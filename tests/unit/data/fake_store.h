/* fake_store.h - a server that answers each request with the next line of a script, whatever was asked. */
#ifndef TM_TESTS_FAKE_STORE_H
#define TM_TESTS_FAKE_STORE_H

#include <pthread.h>

#include "base/buf.h"

struct fake_answer {
    const char *text;   /* the whole answer, head and body; NULL: say nothing until the client goes away */
    bool keep;          /* more requests come over the same connection */
    const char *expect; /* must be part of the request's head; NULL: anything */
};
struct fake_store {
    int listener, port;
    const struct fake_answer *script;
    size_t n, served;
    pthread_t thread;
    struct buf requests; /* all heads, one after the other */
    char missing[200];   /* what was expected and did not come */
};
void fake_start(struct fake_store *f, const struct fake_answer *script, size_t n);
/* Waits until the script is over or the server is told to end; returns how many answers were given. */
size_t fake_stop(struct fake_store *f);

#endif
