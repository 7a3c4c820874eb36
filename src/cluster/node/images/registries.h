/* registries.h - where images come from: mirrors, registries that may be spoken to without TLS or proof, certificates of our own.
 *
 * Out of the file `registries` (one setting a line, '#' begins a comment) and the flags of `tidemill up` and `tidemill image`:
 *
 *     mirror docker.io https://mirror.example.com        asked first; a path becomes the front of the repository's name
 *     mirror * harbor.example.com/cache                  for every registry
 *     insecure registry.local:5000                       plain HTTP or a certificate that nobody vouches for
 *     ca registry.example.com /etc/ssl/registry.pem      trust these certificates there
 *
 * localhost and 127.0.0.0/8 may always speak plain HTTP. Immutable once filled; any thread. Source: kube.md 17. */
#ifndef TM_NODE_IMAGE_REGISTRIES_H
#define TM_NODE_IMAGE_REGISTRIES_H

#include "cluster/node/images/ref.h"
#include "net/client.h"

struct registries;
struct registries *registries_new(void);
void registries_free(struct registries *r);
/* A setting as in the file, without its first word for the two that are flags: "docker.io=https://..." and "host:port". */
int registries_add_mirror(struct registries *r, const char *setting, struct err *err);
int registries_add_insecure(struct registries *r, const char *host, struct err *err);
/* A missing file is fine. */
int registries_add_file(struct registries *r, const char *path, struct err *err);

/* One place to ask for an image. */
struct endpoint {
    char *scheme;        /* "https", "http"; NULL: to be found out (TLS first) */
    char *host;          /* "registry-1.docker.io", "127.0.0.1:5000" */
    struct image_ref as; /* what the image is called there; credentials are chosen by it */
    bool insecure;       /* TLS is not verified */
    char *ca_pem;        /* NULL: the system's */
};
/* Mirrors first, the registry itself last. The caller frees with endpoints_free. */
struct endpoint *registries_endpoints(const struct registries *r, const struct image_ref *ref, size_t *n);
void endpoints_free(struct endpoint *v, size_t n);

#endif
