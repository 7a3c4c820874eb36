/* service_range.h - the range of addresses that a cluster gives to its Services, and the two in it that are known beforehand: the
 * first is the API's, the tenth the name server's. Source: kube.md 13.10, 18. */
#ifndef TM_KUBE_SERVICE_RANGE_H
#define TM_KUBE_SERVICE_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SERVICE_RANGE_USUAL "10.96.0.0/16"

struct service_range {
    char cidr[20];         /* "10.96.0.0/16" */
    char api[16], dns[16]; /* "10.96.0.1", "10.96.0.10" */
    uint32_t base, size;   /* host byte order; number of addresses */
};
/* NULL is the usual one. ERR_BAD_REQUEST for what is no IPv4 range of /12 to /24. */
int service_range_parse(const char *cidr, struct service_range *out, struct err *err);
bool service_range_has(const struct service_range *r, const char *ip);

#endif
