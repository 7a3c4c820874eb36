/* pull.h - brings an image from a registry into the store.
 *
 * Manifest, configuration, then the layers that are not here yet, some at once, each in one pass: the bytes are hashed on their
 * way into the process that unpacks them; a layer takes its place only when both digests, of what was sent and of what came out,
 * are those that the manifest and the configuration say. Blocks; any thread; two that want the same layer fetch it once. Source:
 * kube.md 17. */
#ifndef TM_NODE_IMAGE_PULL_H
#define TM_NODE_IMAGE_PULL_H

#include <stdatomic.h>

#include "base/ctx.h"
#include "cluster/node/images/registry.h"
#include "cluster/node/images/store.h"
#include "cluster/node/images/unpack.h"

struct puller;
/* store and registries must outlive it. */
struct puller *puller_new(struct image_store *store, const struct registries *registries, unpack_fn *unpack, void *self);
void puller_free(struct puller *p);

/* Bytes of the image so far; total 0 while it is not known. Read from any thread meanwhile. */
struct pull_progress {
    _Atomic int64_t done, total;
};
/* Fills out with what is in the store afterwards. When the registry's tag still means what is here, nothing is fetched. */
int image_pull(struct puller *p, const struct ctx *ctx, const struct image_ref *ref, const struct keyring *keys,
               struct pull_progress *progress, struct image_record *out, struct err *err);

/* Feeds a layer through the process that unpacks it into a new tmp directory of the store and puts it in its place. feed writes
 * the bytes to fd, and fails when they are not what they should be. For archives as well. diff_id: what must come out. */
typedef int layer_feed(void *self, int fd, struct err *err);
int image_layer_make(struct image_store *store, unpack_fn *unpack, void *unpack_self, const char *diff_id, layer_feed *feed,
                     void *self, struct err *err);

#endif
