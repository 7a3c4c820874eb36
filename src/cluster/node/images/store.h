/* store.h - the images that this machine has, on disk.
 *
 *   <dir>/index.json               what there is: names, digests, layers (replaced as a whole)
 *   <dir>/blobs/<hex>              manifests and configurations
 *   <dir>/layers/<hex>/diff        a layer as the overlay wants it, by the digest of its tar; `info` beside it
 *   <dir>/tmp/<random>             in the making: renamed once complete, removed by whoever finds it left behind
 *   <dir>/lock, <dir>/pulling      see below
 *
 * The server and the commands of `tidemill image` use it at the same time: who changes the index holds `lock`; who makes layers
 * holds `pulling` shared, and only who gets it alone removes what nobody needs. An image is in use while a container's bundle has
 * a file `image` that names it: that file is written under the lock before the image is mounted. Killed at any instant, what the
 * index names is complete. Thread-safe. Source: kube.md 17. */
#ifndef TM_NODE_IMAGE_STORE_H
#define TM_NODE_IMAGE_STORE_H

#include "cluster/node/images/manifest.h"
#include "cluster/node/images/ref.h"

struct image_record {
    char *id;                  /* digest of the configuration */
    struct strlist names;      /* "docker.io/library/busybox:1.36" */
    struct strlist digests;    /* "docker.io/library/busybox@sha256:..." of index and manifest, as the registry had them */
    struct strlist layers;     /* diff ids, bottom first */
    int64_t size;              /* bytes as they were fetched */
    int64_t since_ns, used_ns; /* wall clock: when it came, when it was used last */
};
void image_record_free(struct image_record *r);
#define IMAGE_RECORD(name) CLEANUP(image_record_free) struct image_record name = {0}
struct image_list {
    struct image_record *v;
    size_t n;
};
void image_list_free(struct image_list *l);

struct image_store;
/* dir is made when missing. pods_dir: where bundles are (<node>/pods/<uid>/containers/<name>/<attempt>). */
struct image_store *image_store_open(const char *dir, const char *pods_dir, struct err *err);
void image_store_close(struct image_store *s);

int image_store_list(struct image_store *s, struct image_list *out, struct err *err);
/* By name, by repository and digest, or by id. ERR_NOT_FOUND. */
int image_store_find(struct image_store *s, const struct image_ref *ref, struct image_record *out, struct err *err);
int image_store_find_id(struct image_store *s, const char *id_or_prefix, struct image_record *out, struct err *err);
int image_store_config(struct image_store *s, const struct image_record *r, struct image_config *out, struct err *err);
char *image_store_layer_dir(struct image_store *s, const char *diff_id); /* .../diff; the caller frees */
bool image_store_has_layer(struct image_store *s, const char *diff_id);

/* ---- making ---- */

/* Held while layers are made that no image names yet. -1 or an fd to be closed. */
int image_store_hold(struct image_store *s, struct err *err);
/* A new directory tmp/<random> with an empty `diff`; the caller frees the name, and removes it unless it became a layer. */
char *image_store_tmp(struct image_store *s, struct err *err);
int image_store_put_layer(struct image_store *s, const char *tmp, const char *diff_id, int64_t bytes, struct err *err);
int image_store_put_blob(struct image_store *s, const char *digest, const void *p, size_t n, struct err *err);
/* Makes the image known, durably; names that others had are its own from now on. Its layers and configuration are there. */
int image_store_put(struct image_store *s, const struct image_record *r, int64_t now_ns, struct err *err);
/* Writes <bundle>/image: from now on the image is in use. ERR_NOT_FOUND when it is gone. */
int image_store_use(struct image_store *s, const char *id, const char *bundle, int64_t now_ns, struct err *err);

/* ---- removing ---- */

/* Takes a name away (NULL: all), and the image with the last. ERR_CONFLICT while a container uses it. */
int image_store_remove(struct image_store *s, const char *id, const char *name, struct err *err);
/* Removes unused images, the least recently used first, until enough is free as `enough` says; none that came or was used after
 * not_after_ns. *removed counts them. */
int image_store_collect(struct image_store *s, bool (*enough)(void *self), void *self, int64_t not_after_ns, size_t *removed,
                        struct err *err);
/* Layers and blobs that no image needs, and what was left in tmp; nothing while somebody makes layers. keep_fresh: layers that
 * are whole for sure stay, so that a fetch that was killed finds them again. */
int image_store_sweep(struct image_store *s, bool keep_fresh, struct err *err);

#endif
