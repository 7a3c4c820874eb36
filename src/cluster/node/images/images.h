/* images.h - the images of this node: what is here, what is being fetched, what goes when the disk fills up. The room's face.
 *
 *     struct images *im = images_open(&cfg, err);
 *     if (images_find(im, "busybox:1.36", &info, err) < 0) {        // ERR_NOT_FOUND: not here
 *         struct image_job *job = images_fetch(im, "busybox:1.36", &keys, pod_key);
 *         ... cfg.ended(self, pod_key) is called; image_job_look() tells how it went; image_job_drop()
 *     }
 *
 * Fetching never blocks the caller: at most three images are fetched at once, the same image for the same credentials once
 * whoever asks. Thread-safe. Every five minutes, when the disk is fuller than the high mark, unused images go, the least recently
 * used first, until the low mark. Source: kube.md 17. */
#ifndef TM_NODE_IMAGES_H
#define TM_NODE_IMAGES_H

#include "base/ctx.h"
#include "cluster/node/images/auth.h"
#include "cluster/node/images/registries.h"
#include "cluster/node/images/store.h"
#include "cluster/node/images/unpack.h"
#include "cluster/node/runtime/runtime.h"

struct images;
struct images_config {
    const char *data_dir;          /* <data>/images is ours */
    struct registries *registries; /* taken over, also on failure */
    const struct keyring *keys;    /* the machine's own credentials, tried after a pod's; copied; may be NULL */
    unpack_fn *unpack;             /* NULL: unpack_spawn */
    void *unpack_self;
    const struct clock *clock;
    unsigned (*percent_used)(const char *dir);  /* how full the disk is; NULL: asked of the machine */
    unsigned gc_high, gc_low;                   /* percent of the disk; 0: 85 and 80 */
    void (*ended)(void *self, const char *key); /* a fetch that key waits for is over; from any thread; may be NULL */
    void (*changed)(void *self);                /* the list of images is another one; may be NULL */
    void *self;
};
struct images *images_open(const struct images_config *cfg, struct err *err);
void images_close(struct images *im); /* fetches are given up; jobs must have been dropped */
struct image_store *images_store(struct images *im);
/* What flags and file say; file NULL: <data>/registries. Lists end with NULL and may be NULL. */
struct registries *images_registries(const char *data_dir, const char *file, const char *const *mirrors,
                                     const char *const *insecure, struct err *err);
/* Adds what a file like ~/.docker/config.json holds. */
int images_credentials(const char *path, struct keyring *out, struct err *err);

/* What is here under that name, as the runtime wants to know it. ERR_NOT_FOUND, or ERR_BAD_REQUEST for what is no name. */
int images_find(struct images *im, const char *name, struct image_info *out, struct err *err);
/* As images_find, of the container in this bundle, which said images_use. */
int images_recall(struct images *im, const char *bundle, struct image_info *out, struct err *err);
/* Notes that a container in this bundle uses the image. ERR_NOT_FOUND: it was removed a moment ago. */
int images_use(struct images *im, const char *id, const char *bundle, struct err *err);

struct image_job;
/* name must be one. keys are copied. key: for `ended`. */
struct image_job *images_fetch(struct images *im, const char *name, const struct keyring *keys, const char *key);
enum image_job_state { IMAGE_JOB_RUNS, IMAGE_JOB_DONE, IMAGE_JOB_FAILED };
struct image_job_view {
    int64_t done, total;        /* bytes; total 0: not known yet */
    int64_t took_ns, waited_ns; /* of the fetch itself; since it was asked for */
    int64_t size;               /* IMAGE_JOB_DONE */
};
/* err is filled when it failed. */
enum image_job_state image_job_look(struct image_job *j, struct image_job_view *out, struct err *err);
/* Nobody waits for it any more: it is given up. NULL is fine. */
void image_job_drop(struct image_job *j);

/* Removes what is not used until `percent` of the disk are used at most, whatever its age but for images younger than two
 * minutes. Done by itself every five minutes. */
int images_collect(struct images *im, struct err *err);

#endif
