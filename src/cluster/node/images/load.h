/* load.h - brings images from an archive or a directory into the store: `docker save` and `podman save` tars (manifest.json), OCI
 * layouts (index.json), compressed or not.
 *
 * The archive is somebody else's: it is unpacked as a layer is, by a process that is shut into a directory, and its parts are
 * looked up inside of that directory only. Blocks. Source: OCI image-layout; docker image specification 1.2. */
#ifndef TM_NODE_IMAGE_LOAD_H
#define TM_NODE_IMAGE_LOAD_H

#include "cluster/node/images/store.h"
#include "cluster/node/images/unpack.h"

struct image_load {
    struct image_store *store;
    unpack_fn *unpack;
    void *unpack_self;
    const char *name; /* instead of what the archive says; NULL: the archive's names */
    int64_t now_ns;
    void (*progress)(void *self, const char *what, int64_t done, int64_t total); /* may be NULL */
    void *self;
};
/* path: a file, a directory, or "-" for standard input. loaded gets a line for each image: its first name, or its id. */
int image_load(const struct image_load *l, const char *path, struct strlist *loaded, struct err *err);

#endif
