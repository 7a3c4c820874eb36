/* What the API server reads of a request's head before it knows who asks: Accept clauses and bearer tokens. */
#include <stdlib.h>

#include "cluster/apiserver/face.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct token_signer *signer(void)
{
    static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2\n"
                              "OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r\n"
                              "1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G\n"
                              "-----END PRIVATE KEY-----\n";
    static struct token_signer *s;
    if (!s)
        s = token_signer_new(key, NULL);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    AUTOFREE char *text = xstrndup((const char *)data + 1, size - 1);
    if (data[0] & 1) {
        struct media m[16];
        size_t n = media_split(text, m, ARRAY_LEN(m));
        for (size_t i = 0; i < n; i++)
            media_param(&m[i], "as");
        return 0;
    }
    ERR(e);
    JSON_REF(claims) = token_verify(signer(), text, NULL, 0, &e);
    ASSERT(!claims); /* nobody has signed anything with this key */
    return 0;
}
