/* References, challenges, credentials and the file of registries: text from anywhere. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cluster/node/images/auth.h"
#include "cluster/node/images/registries.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    AUTOFREE char *text = xstrndup((const char *)data + 1, size - 1);
    IMAGE_REF(ref);
    KEYRING(keys);
    KEYRING(own);
    CLEANUP(challenge_free) struct challenge c = {0};
    struct registries *r = registries_new();
    bool ok = image_ref_parse(text, &ref, NULL) == 0;
    if (ok) { /* what a name means is a name, and means the same */
        IMAGE_REF(again);
        AUTOFREE char *full = image_ref_full(&ref);
        ASSERT(image_ref_parse(full, &again, NULL) == 0 && str_eq(ref.path, again.path) && str_eq(ref.domain, again.domain));
    }
    if (challenge_parse(text, &c, NULL) == 0)
        ASSERT(!c.bearer || c.realm);
    keyring_add(&keys, (const char *)data + 1, size - 1, data[0] & 1, NULL);
    registries_add_mirror(r, text, NULL);
    registries_add_insecure(r, text, NULL);
    IMAGE_REF(some);
    ASSERT(image_ref_parse(ok ? text : "registry.example.com:5000/a/b", &some, NULL) == 0);
    keyring_select(&keys, &some, &own);
    ASSERT(own.n <= keys.n);
    size_t n;
    endpoints_free(registries_endpoints(r, &some, &n), n);
    registries_free(r);
    return 0;
}
