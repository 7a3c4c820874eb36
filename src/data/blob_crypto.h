/* blob_crypto.h - the hashes and signatures that object stores ask for. OpenSSL does them in tidemill (blob_crypto.c); the agent,
 * which has to be small, brings the same functions on its own library. Private to data/ and the agent. */
#ifndef TM_DATA_BLOB_CRYPTO_H
#define TM_DATA_BLOB_CRYPTO_H

#include "base/err.h"

enum blob_digest { BLOB_MD5, BLOB_SHA256 };
enum { BLOB_MD5_SIZE = 16, BLOB_SHA256_SIZE = 32 };

/* A digest in pieces. */
struct blob_hash;
struct blob_hash *blob_hash_new(enum blob_digest d);
void blob_hash_add(struct blob_hash *h, const void *p, size_t n);
void blob_hash_end(struct blob_hash *h, unsigned char *out); /* frees; out may be NULL */
/* In one go. */
void blob_digest(enum blob_digest d, const void *p, size_t n, unsigned char *out);
void blob_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n, unsigned char out[BLOB_SHA256_SIZE]);
/* RSASSA-PKCS1-v1_5 with SHA-256 by a private key in PEM. *sig is malloc'd. */
int blob_rsa_sha256(const char *pem, const void *p, size_t n, unsigned char **sig, size_t *len, struct err *err);

#endif
