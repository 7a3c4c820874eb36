/* Two kubeconfig files, merged and picked from: no crash, and an access that was given out is whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kube/remote/kubeconfig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *cut = memchr(data, 0, size);
    size_t first = cut ? (size_t)(cut - text) : size;
    struct kubeconfig k;
    kubeconfig_init(&k);
    kubeconfig_add(&k, text, first, "/one", NULL, NULL);
    if (cut)
        kubeconfig_add(&k, cut + 1, size - first - 1, "/two", NULL, NULL);
    static const char *const contexts[] = {NULL, "x", ""};
    for (size_t i = 0; i < ARRAY_LEN(contexts); i++) {
        struct kube_access a;
        char *ca_file;
        ERR(e);
        if (kubeconfig_pick(&k, contexts[i], &a, &ca_file, &e) < 0) {
            ASSERT(*err_text(&e) && !a.server && !ca_file);
            continue;
        }
        ASSERT(a.server && a.user);
        ASSERT(!(a.cert_pem || a.cert_file) == !(a.key_pem || a.key_file));
        ASSERT(!ca_file || *ca_file == '/');
        kube_access_clear(&a);
        free(ca_file);
    }
    kubeconfig_clear(&k);
    return 0;
}
