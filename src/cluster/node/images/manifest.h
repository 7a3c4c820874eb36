/* manifest.h - what registries and archives say about an image: indexes, manifests, configurations; OCI's and Docker's forms.
 *
 * Untrusted text: sizes, counts and digests are checked here, so that nobody else has to. Pure. Source: OCI image-spec 1.1,
 * Docker image manifest version 2 schema 2. */
#ifndef TM_NODE_IMAGE_MANIFEST_H
#define TM_NODE_IMAGE_MANIFEST_H

#include "base/err.h"
#include "base/str.h"
#include "value/json.h"

#define MANIFEST_MAX     (4u << 20)
#define IMAGE_CONFIG_MAX (8u << 20)
#define IMAGE_LAYERS_MAX 127
#define MANIFEST_ACCEPT                                                                                                          \
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "                                      \
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

struct blob_ref {
    char *digest; /* sha256 */
    int64_t size;
};
struct manifest {
    bool is_index;
    struct blob_ref chosen;  /* index: the manifest for this machine */
    struct blob_ref config;  /* manifest */
    struct blob_ref *layers; /* bottom first */
    size_t n_layers;
};
void manifest_free(struct manifest *m);
/* media_type (may be NULL) is what the server said; the document's own mediaType must agree. arch: "amd64" or "arm64" as Go names
 * them. ERR_NOT_FOUND when an index has nothing for this machine. */
int manifest_parse(const char *text, size_t len, const char *media_type, const char *arch, struct manifest *out, struct err *err);

/* The defaults of an image. */
struct image_config {
    struct strlist entrypoint, cmd, env, volumes;
    char *cwd, *user, *stop_signal; /* "" when not given */
    char *arch, *os;
    struct strlist diff_ids; /* bottom first, sha256 */
    char *created;
};
void image_config_free(struct image_config *c);
int image_config_parse(const char *text, size_t len, struct image_config *out, struct err *err);
/* Go's name of this machine's architecture. */
const char *image_arch(void);
/* SIGTERM for "", "SIGTERM", "TERM" and "15"; 0 for what is no signal. */
int image_signal(const char *name);
/* "sha256:..." of some bytes; the caller frees. */
char *digest_of(const void *p, size_t n);

#endif
