/* discovery.h - the documents that tell clients what is served: /api, /apis, their groups and versions, old form and aggregated.
 *
 * A struct discovery stands for one set of kinds: when a definition comes or goes, make a new one. Documents are made when
 * first asked for and kept. Thread-safe but for discovery_free. Source: specs kube.md 2.2. */
#ifndef TM_KUBE_DISCOVERY_H
#define TM_KUBE_DISCOVERY_H

#include "kube/kind.h"

/* A document as it is sent. Lives as long as the set it was made for. */
struct kube_doc {
    char *body; /* JSON; of openapi_v2 maybe protobuf */
    size_t len;
    char *etag; /* hash of the body in hexadecimal, without quotes */
};

struct discovery;
/* The kinds must stay while it lives; the array is copied. Kinds (and subresources) that are not served are left out. */
struct discovery *discovery_new(const struct kind *const *kinds, size_t n);
void discovery_free(struct discovery *d);

const struct kube_doc *discovery_api(struct discovery *d);            /* GET /api: APIVersions */
const struct kube_doc *discovery_apis(struct discovery *d);           /* GET /apis: APIGroupList */
const struct kube_doc *discovery_api_aggregated(struct discovery *d); /* the same as APIGroupDiscoveryList */
const struct kube_doc *discovery_apis_aggregated(struct discovery *d);
/* GET /apis/{group}: APIGroup; GET /api/v1, /apis/{group}/{version}: APIResourceList. NULL: there is no such group or version. */
const struct kube_doc *discovery_group(struct discovery *d, const char *group);
const struct kube_doc *discovery_version(struct discovery *d, const char *group, const char *version);

#endif
