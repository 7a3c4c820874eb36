#include "pipelines/store/hash.h"

#include <openssl/sha.h>

char *sha256_hex(const void *p, size_t n, char out[HASH_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char md[SHA256_DIGEST_LENGTH];
    SHA256(p, n, md);
    for (size_t i = 0; i < sizeof md; i++) {
        out[2 * i] = digits[md[i] >> 4];
        out[2 * i + 1] = digits[md[i] & 15];
    }
    out[HASH_TEXT - 1] = 0;
    return out;
}
