#include "pipelines/store/hash.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "base/str.h"

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

char *uuid5(const char *name_space, const char *text, char *out)
{
    BUF(b);
    unsigned char md[SHA_DIGEST_LENGTH];
    for (const char *p = name_space; *p; p++) {
        unsigned byte;
        if (*p == '-')
            continue;
        ASSERT(sscanf(p, "%2x", &byte) == 1);
        buf_addc(&b, (char)byte);
        p++;
    }
    ASSERT(b.len == 16);
    buf_adds(&b, text);
    SHA1((const unsigned char *)b.data, b.len, md);
    md[6] = (md[6] & 0x0f) | 0x50;
    md[8] = (md[8] & 0x3f) | 0x80;
    snprintf(out, UUID_TEXT, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", md[0], md[1], md[2], md[3],
             md[4], md[5], md[6], md[7], md[8], md[9], md[10], md[11], md[12], md[13], md[14], md[15]);
    return out;
}

uint32_t fnv32a(const char *text)
{
    uint32_t h = 2166136261u;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 16777619u;
    return h;
}
