/* registry.h - the distribution API of one repository: manifests and blobs, with authentication, mirrors, retries and resumption.
 *
 * A session asks the endpoints of an image in turn (mirrors, then the registry) and stays with the one that had the manifest. It
 * answers challenges with the credentials of the keyring, then as nobody; follows redirects, without credentials to another host;
 * waits and tries again when the network or the server fails (429 as long as the server asks for). Bytes are checked against the
 * digest while they stream. Any number of threads may use a session. Source: OCI distribution-spec 1.1; kube.md 17. */
#ifndef TM_NODE_IMAGE_REGISTRY_H
#define TM_NODE_IMAGE_REGISTRY_H

#include "base/ctx.h"
#include "cluster/node/images/auth.h"
#include "cluster/node/images/registries.h"

struct session;
/* The registries must outlive it; the rest is copied. */
struct session *session_new(const struct registries *r, const struct image_ref *ref, const struct keyring *keys);
void session_free(struct session *s);

/* The digest that a tag has now, without fetching anything (HEAD). *digest NULL when the registry does not say. */
int session_resolve(struct session *s, const struct ctx *ctx, char **digest, struct err *err);
/* The manifest with this digest; NULL: of the tag or digest of the reference. *digest is what the bytes have. */
int session_manifest(struct session *s, const struct ctx *ctx, const char *want, struct buf *out, char **media_type,
                     char **digest, struct err *err);
/* Streams a blob into a function, which may fail. After a cut it goes on where it was. ERR_INVALID when the bytes are others than
 * the digest says: then the receiver has been given rubbish. */
typedef int blob_sink(void *self, const void *p, size_t n, struct err *err);
int session_blob(struct session *s, const struct ctx *ctx, const char *digest, int64_t size, blob_sink *sink, void *self,
                 struct err *err);

#endif
