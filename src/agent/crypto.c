/* crypto.c - data/blob_crypto.h by Mbed TLS. */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/md.h>
#include <mbedtls/pk.h>
#include <mbedtls/version.h>
#include <stdlib.h>
#include <string.h>

#include "data/blob_crypto.h"

static const mbedtls_md_info_t *md_of(enum blob_digest d)
{
    return mbedtls_md_info_from_type(d == BLOB_MD5 ? MBEDTLS_MD_MD5 : MBEDTLS_MD_SHA256);
}

struct blob_hash *blob_hash_new(enum blob_digest d)
{
    mbedtls_md_context_t *c = xcalloc(1, sizeof *c);
    mbedtls_md_init(c);
    ASSERT(mbedtls_md_setup(c, md_of(d), 0) == 0 && mbedtls_md_starts(c) == 0);
    return (struct blob_hash *)c;
}

void blob_hash_add(struct blob_hash *h, const void *p, size_t n)
{
    ASSERT(mbedtls_md_update((mbedtls_md_context_t *)h, p, n) == 0);
}

void blob_hash_end(struct blob_hash *h, unsigned char *out)
{
    unsigned char rest[MBEDTLS_MD_MAX_SIZE];
    if (!h)
        return;
    ASSERT(mbedtls_md_finish((mbedtls_md_context_t *)h, out ? out : rest) == 0);
    mbedtls_md_free((mbedtls_md_context_t *)h);
    free(h);
}

void blob_digest(enum blob_digest d, const void *p, size_t n, unsigned char *out)
{
    ASSERT(mbedtls_md(md_of(d), p, n, out) == 0);
}

void blob_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n, unsigned char out[BLOB_SHA256_SIZE])
{
    ASSERT(mbedtls_md_hmac(md_of(BLOB_SHA256), key, key_len, p, n, out) == 0);
}

static int parse(mbedtls_pk_context *key, const char *pem, mbedtls_ctr_drbg_context *random)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_pk_parse_key(key, (const unsigned char *)pem, strlen(pem) + 1, NULL, 0, mbedtls_ctr_drbg_random, random);
#else
    return mbedtls_pk_parse_key(key, (const unsigned char *)pem, strlen(pem) + 1, NULL, 0);
#endif
}

static int sign(mbedtls_pk_context *key, const unsigned char *hash, unsigned char *sig, size_t *len,
                mbedtls_ctr_drbg_context *random)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_pk_sign(key, MBEDTLS_MD_SHA256, hash, BLOB_SHA256_SIZE, sig, MBEDTLS_PK_SIGNATURE_MAX_SIZE, len,
                           mbedtls_ctr_drbg_random, random);
#else
    return mbedtls_pk_sign(key, MBEDTLS_MD_SHA256, hash, BLOB_SHA256_SIZE, sig, len, mbedtls_ctr_drbg_random, random);
#endif
}

int blob_rsa_sha256(const char *pem, const void *p, size_t n, unsigned char **sig, size_t *len, struct err *err)
{
    mbedtls_pk_context key;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_pk_init(&key);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    unsigned char hash[BLOB_SHA256_SIZE];
    blob_digest(BLOB_SHA256, p, n, hash);
    *sig = xmalloc(MBEDTLS_PK_SIGNATURE_MAX_SIZE);
    int rc = mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0);
    if (rc == 0 && (rc = parse(&key, pem, &random)) == 0 && !mbedtls_pk_can_do(&key, MBEDTLS_PK_RSA))
        rc = -1;
    if (rc == 0)
        rc = sign(&key, hash, *sig, len, &random);
    mbedtls_pk_free(&key);
    mbedtls_ctr_drbg_free(&random);
    mbedtls_entropy_free(&entropy);
    if (rc == 0)
        return 0;
    free(*sig);
    *sig = NULL;
    return err_set(err, ERR_INVALID, "the private key is no RSA key in PEM, or it cannot sign");
}
