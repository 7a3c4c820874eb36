/* leader.h - of several processes that could do a job, one does: an election through a Lease.
 *
 * The holder renews every retry_ns; who has not seen the Lease change for as long as its holder said takes it over. All times are
 * measured on our own monotonic clock, so that clocks need not agree. A holder that could not renew for renew_ns stops at once:
 * lost() is called from the election's thread before anybody else can have taken over, and what it does not end by then is to be
 * ended with the process. Together with client-go's elections it may be used on the same Lease. Source: specs kube.md 20
 * (client-go tools/leaderelection). */
#ifndef TM_KUBE_LEADER_H
#define TM_KUBE_LEADER_H

#include "kube/kube.h"

struct leader_config {
    struct kube *kube;
    const char *ns, *name;                /* of the Lease */
    const char *identity;                 /* ours: unlike every other candidate's; NULL: host name and a random part */
    const struct clock *clock;            /* NULL: the system's */
    int64_t lease_ns, renew_ns, retry_ns; /* 0: 15 s, 10 s, 2 s */
    void (*lost)(void *self);             /* once, when it was held and is no more (not by leader_stop); may be NULL */
    void *self;
};
struct leader;
/* Strings are copied. */
struct leader *leader_start(const struct leader_config *cfg);
/* Blocks until we hold it. -1 when the context ends, or at once when it was lost. */
int leader_wait(struct leader *l, const struct ctx *ctx, struct err *err);
bool leader_is(struct leader *l);
/* Gives it back when we hold it, so that the next one need not wait; a server that does not answer is waited for as long as a
 * renewal would be, renew_ns. Frees. */
void leader_stop(struct leader *l);

#endif
