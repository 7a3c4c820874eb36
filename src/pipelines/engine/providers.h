/* providers.h - which object store a URI is in, and how it is reached: the rules of the ConfigMap kfp-launcher.
 *
 * Nothing here asks anybody: the configuration is a document, read once when a run starts and kept with it. Source:
 * pipelines-runtime spec 15. */
#ifndef TM_PIPELINES_ENGINE_PROVIDERS_H
#define TM_PIPELINES_ENGINE_PROVIDERS_H

#include "data/blob.h"
#include "value/json.h"

/* How a store is reached. Keys are named, not held: a Secret of the run's namespace, or the pod's environment. */
struct provider_choice {
    struct blob_settings set;                          /* without keys */
    char *secret;                                      /* NULL: from the environment, or anonymous */
    char *access_key_key, *secret_key_key, *token_key; /* names within the Secret; tokenKey for gs, the other two for S3 */
};
void provider_choice_clear(struct provider_choice *c);

/* Reads the text of the key `providers` (YAML; "" is an empty configuration) and checks that each section can be used. */
struct json *providers_parse(const char *text, size_t n, struct err *err);
/* What counts for this bucket and key. scheme: "s3", "minio" or "gs". query: of the pipeline root ("" for none): with one, the
 * configuration is not asked and keys come from the environment. ERR_INVALID with upstream's words when a section lacks
 * credentials. */
int providers_pick(jval *providers, const char *scheme, const char *bucket, const char *key, const char *query,
                   struct provider_choice *out, struct err *err);
/* Is there a section for this scheme? Without one, minio:// is the embedded store where there is one. */
bool providers_have(jval *providers, const char *scheme);

#endif
