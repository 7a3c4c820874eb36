/* Manifests, indexes and configurations. */
#include <stdlib.h>
#include <string.h>

#include "cluster/node/images/manifest.h"
#include "cluster/node/images/ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(manifest_free) struct manifest m = {0};
    CLEANUP(image_config_free) struct image_config c = {0};
    if (manifest_parse((const char *)data, size, NULL, "amd64", &m, NULL) == 0) {
        ASSERT(digest_is_sha256(m.is_index ? m.chosen.digest : m.config.digest) && m.n_layers <= IMAGE_LAYERS_MAX);
        for (size_t i = 0; i < m.n_layers; i++)
            ASSERT(digest_is_sha256(m.layers[i].digest) && m.layers[i].size >= 0);
    }
    if (image_config_parse((const char *)data, size, &c, NULL) == 0) {
        ASSERT(c.diff_ids.n <= IMAGE_LAYERS_MAX);
        image_signal(c.stop_signal);
    }
    return 0;
}
