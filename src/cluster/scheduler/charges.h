/* charges.h - what is taken on each node, and by whom. Not thread-safe: the owner has a lock. */
#ifndef TM_SCHEDULER_CHARGES_H
#define TM_SCHEDULER_CHARGES_H

#include "base/str.h"
#include "cluster/scheduler/fit.h"

/* What one pod takes on its node. Made when it is bound (or about to be), gone when it ended or went. */
struct charge {
    char *node;
    struct json *pod; /* a reference: who else is there, for affinities */
    struct amounts need;
    struct strlist ports;
    bool looks; /* it has rules about other pods */
};
void charge_free(void *charge);
void usage_free(void *usage);

struct charges {
    struct strmap of_pods;  /* pod uid -> struct charge */
    struct strmap on_nodes; /* node name -> struct usage: the sums of these */
};
#define CHARGES_INIT ((struct charges){.of_pods = STRMAP_INIT(charge_free), .on_nodes = STRMAP_INIT(usage_free)})
void charges_free(struct charges *cs);

/* The sums of a node, all zero when nothing is there; they live as long as the charges do. */
struct usage *charges_on(struct charges *cs, const char *node);
/* The pod (a reference is kept) takes what it asks for on the node. One that is charged already stays where it is: its document
 * is replaced by this one. */
void charges_put(struct charges *cs, struct json *doc, const char *node);
/* True when there was one. */
bool charges_drop(struct charges *cs, const char *uid);

#endif
