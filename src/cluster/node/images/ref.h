/* ref.h - names of images, as Docker and every kubelet read them.
 *
 *     busybox                     docker.io/library/busybox:latest
 *     user/app:1.2                docker.io/user/app:1.2
 *     localhost:5000/app@sha256:  a digest wins over a tag
 *
 * Pure. Source: kube.md 17; the grammar of distribution/reference. */
#ifndef TM_NODE_IMAGE_REF_H
#define TM_NODE_IMAGE_REF_H

#include "base/err.h"

struct image_ref {
    char *domain; /* "docker.io", "localhost:5000" */
    char *path;   /* "library/busybox" */
    char *tag;    /* "latest" unless another or only a digest was given; then NULL */
    char *digest; /* "sha256:..." or NULL */
};
/* ERR_BAD_REQUEST with the sentence that a kubelet puts into the pod's status. */
int image_ref_parse(const char *text, struct image_ref *out, struct err *err);
void image_ref_free(struct image_ref *r);
#define IMAGE_REF(name) CLEANUP(image_ref_free) struct image_ref name = {0}
/* "docker.io/library/busybox"; "docker.io/library/busybox:latest" or "...@sha256:..."; as people write it ("busybox:latest"). The
 * caller frees. */
char *image_ref_repo(const struct image_ref *r);
char *image_ref_full(const struct image_ref *r);
char *image_ref_short(const struct image_ref *r);

/* "sha256:" and 64 hex digits in lower case: the only kind of digest that is stored. */
bool digest_is_sha256(const char *digest);

#endif
