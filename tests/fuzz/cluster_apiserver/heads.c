/* What the API server reads of a request's head before it knows who asks: Accept clauses and bearer tokens. */
#include <stdlib.h>

#include "cluster/apiserver/face.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct token_signer *signer(void)
{
    static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MIICeQIBADANBgkqhkiG9w0BAQEFAASCAmMwggJfAgEAAoGBAMjdgQ7jclp24e5e\n"
                              "pnGvZKl/+DRnwV5SkrPrP/XbUiTXfSTh0pKA5b3ZC3pe8wRMaaeI8mmcYDaJLMlm\n"
                              "yXLtR4tQO1TThL8ZUX3rZKt/2eM9+EBLNnzK0js1sCdA5AJrIrjT6GeWU0oMySfo\n"
                              "m6ZBxlfcDfDGJs1aWyuy95KRxjabAgMBAAECgYEAxUE5Z0yXVR2gO/15SPVsTkRc\n"
                              "k+I8dAt1A/kHY8KRBZsUy2504uhwNSL7cZ3i2xrLOvpyzKIDnirR76rgM9uuv/KE\n"
                              "FSOaE/Oe/Xa6vNYj6+6Pv0w9S0/wkL4+7f2slR2uvPYdmWtzXw6wUjX4d5EOiqPJ\n"
                              "hOboahLH6duGlef5X2ECQQD5tEZcUMc9Z8zWmJtB1cr4+otFQvQUFdCA7DOYssVg\n"
                              "q5XF7izYL3bHmdAf+mfL8/W7ptTk+3lN3apw+dJAXJlrAkEAze3/F9dPSzVzTxHH\n"
                              "M1EldB+6lYgTGcHNyoNEBAz/od1da3eAKUB/l2Xz9mT51MPKVjJGRqqpgTESM/XM\n"
                              "UgkzkQJBAKG3i0oGVsMCErt4ojSFDasqOEBnGERZzGtyjgf637G37ov9sLViJ/8l\n"
                              "MpFDTy3ble4uIfsaknlHcjcw1GYyknkCQQDNtOJPNHs3C6ul3oJ4VqTtPQyrdoRu\n"
                              "BFTH6Rw2V628SV6ajYLusklCOUvcY73UtcgXFp1w1eYA8b3XPb/eauahAkEAz8fY\n"
                              "KOv3l9a1cGBRdNYdWQm/980Zg/Tz4q5eet4Zk/3ee4eO+SYnr/xnGQE6jSd/67MQ\n"
                              "jdjk13YLQCafSv11bA==\n"
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
