/* place.h - where the bytes of an artifact lie, and reading them: the embedded store, or the one that its run was told of.
 * Private to api/. */
#ifndef TM_PIPELINES_API_PLACE_H
#define TM_PIPELINES_API_PLACE_H

#include "pipelines/api/internal.h"

struct place {
    char *uri, *scheme, *bucket, *key;
    struct blob_store *store;
    bool elsewhere; /* the store is not the embedded one, and opened for this place alone */
};
void place_clear(struct place *p);
#define PLACE(name) CLEANUP(place_clear) struct place name = {0}
/* run_id: of the run whose artifact it is; NULL or gone: only the embedded store is known then. ERR_UNIMPLEMENTED: it is in no
 * store that can be read here. Asks the cluster when keys are needed, but not the store. */
int place_find(struct pipelines_api *api, const struct ctx *ctx, const char *run_id, const char *uri, struct place *p,
               struct err *err);
/* Sends n bytes from offset; they are never in memory together. */
int place_send(struct pipelines_api *api, const struct place *p, const struct ctx *ctx, struct http_res *res, const char *type,
               int64_t from, int64_t n, struct err *err);

#endif
