#include "data/blob_crypto.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

static const EVP_MD *md_of(enum blob_digest d) { return d == BLOB_MD5 ? EVP_md5() : EVP_sha256(); }

struct blob_hash *blob_hash_new(enum blob_digest d)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    ASSERT(c && EVP_DigestInit_ex(c, md_of(d), NULL) == 1);
    return (struct blob_hash *)c;
}

void blob_hash_add(struct blob_hash *h, const void *p, size_t n) { ASSERT(EVP_DigestUpdate((EVP_MD_CTX *)h, p, n) == 1); }

void blob_hash_end(struct blob_hash *h, unsigned char *out)
{
    unsigned char rest[EVP_MAX_MD_SIZE];
    if (h)
        ASSERT(EVP_DigestFinal_ex((EVP_MD_CTX *)h, out ? out : rest, NULL) == 1);
    EVP_MD_CTX_free((EVP_MD_CTX *)h);
}

void blob_digest(enum blob_digest d, const void *p, size_t n, unsigned char *out)
{
    ASSERT(EVP_Digest(p, n, out, NULL, md_of(d), NULL) == 1);
}

void blob_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n, unsigned char out[BLOB_SHA256_SIZE])
{
    unsigned len = BLOB_SHA256_SIZE;
    ASSERT(HMAC(EVP_sha256(), key, (int)key_len, p, n, out, &len));
}

static int sign(EVP_MD_CTX *c, EVP_PKEY *key, const void *p, size_t n, unsigned char **sig, size_t *len)
{
    if (EVP_DigestSignInit(c, NULL, EVP_sha256(), NULL, key) != 1 || EVP_DigestSign(c, NULL, len, p, n) != 1)
        return -1;
    *sig = xmalloc(*len);
    return EVP_DigestSign(c, *sig, len, p, n) == 1 ? 0 : -1;
}

int blob_rsa_sha256(const char *pem, const void *p, size_t n, unsigned char **sig, size_t *len, struct err *err)
{
    *sig = NULL;
    BIO *in = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, (void *)"") : NULL;
    BIO_free(in);
    if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
        EVP_PKEY_free(key);
        ERR_clear_error();
        return err_set(err, ERR_INVALID, "the private key is no RSA key in PEM");
    }
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    int rc = c ? sign(c, key, p, n, sig, len) : -1;
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(key);
    if (rc == 0)
        return 0;
    ERR_clear_error();
    free(*sig);
    *sig = NULL;
    return err_set(err, ERR_INTERNAL, "signing failed");
}
