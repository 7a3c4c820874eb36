/* amounts.h - sums of quantities by name, and what a pod asks for or may take: for the scheduler, quotas and limit ranges.
 *
 * Pure functions on documents that the decoder has passed; a text that is no quantity counts nothing. Source: kube.md 11.1, 14.
 */
#ifndef TM_KUBE_AMOUNTS_H
#define TM_KUBE_AMOUNTS_H

#include "value/json.h"
#include "value/quantity.h"

/* Mostly few names, so a list; many are found by an index. Sums keep the form of their first part that is not zero. */
struct amounts {
    struct amount {
        char *name;
        struct quantity q;
    } * v;
    size_t n;
    struct strmap index; /* name -> place in v + 1; only of many */
};
void amounts_free(struct amounts *a);
void amounts_add_one(struct amounts *a, const char *name, const struct quantity *q);
void amounts_add(struct amounts *a, const struct amounts *b, int sign); /* entries that come to zero stay */
void amounts_add_map(struct amounts *a, jval *map);                     /* of names to texts */
__int128 amounts_get(const struct amounts *a, const char *name);        /* in 10^-9 units; 0 when it is not there */
const struct quantity *amounts_find(const struct amounts *a, const char *name);
void amounts_sort(struct amounts *a); /* by name */
/* A quantity of a map; false when there is none. */
bool amount_of(jval *map, const char *name, struct quantity *q);

/* What a pod asks for: the sum of its containers and side-cars, or what an init container needs beside the side-cars before it,
 * whichever is more; and its overhead. What is said for the pod as a whole counts instead of the sum. A limit without a request
 * is a request. */
void pod_requests(jval *pod, struct amounts *out);
/* The same of its limits; overhead counts where there is a limit. */
void pod_limits_sum(jval *pod, struct amounts *out);
/* "BestEffort", "Guaranteed" or "Burstable". */
const char *pod_qos_class(jval *spec);

#endif
