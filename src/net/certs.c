/* certs.c - our own authority and the certificates that it signs: ECDSA P-256, valid for ten years from an hour ago (a clock that
 * is a little off must not refuse a new certificate). RFC 5280; with the key identifiers that strict verifiers (Python 3.13)
 * insist on. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "net/tls.h"

#define VALID_SECONDS (10L * 365 * 24 * 3600)
#define CN_MAX        64 /* ub-common-name; longer names live in the alternative names */

static void free_cert(X509 **p) { X509_free(*p); }
static void free_key(EVP_PKEY **p) { EVP_PKEY_free(*p); }

static char *to_pem(X509 *cert, EVP_PKEY *key)
{
    BIO *out = BIO_new(BIO_s_mem());
    int ok = cert ? PEM_write_bio_X509(out, cert) : PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    char *bytes = NULL;
    long n = ok == 1 ? BIO_get_mem_data(out, &bytes) : 0;
    char *text = n > 0 ? xstrndup(bytes, (size_t)n) : NULL;
    BIO_free(out);
    return text;
}

static bool extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = e && X509_add_ext(cert, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

static bool set_name(X509 *cert, const char *cn, const char *const *orgs)
{
    X509_NAME *name = X509_get_subject_name(cert);
    for (; orgs && *orgs; orgs++)
        if (X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8, (unsigned char *)*orgs, -1, -1, 0) != 1)
            return false;
    return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (unsigned char *)cn, -1, -1, 0) == 1;
}

static bool set_serial(X509 *cert)
{
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and never shorter */
    BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
    BN_free(n);
    return ok;
}

/* Names go in as data, not through the configuration syntax of extensions, which gives commas a meaning. */
static bool set_alt_names(X509 *cert, const char *const *names)
{
    if (!names || !*names)
        return true;
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    bool ok = list != NULL;
    for (; ok && *names; names++) {
        GENERAL_NAME *n = GENERAL_NAME_new();
        ASN1_OCTET_STRING *ip = a2i_IPADDRESS(*names);
        ERR_clear_error();
        if (ip) {
            GENERAL_NAME_set0_value(n, GEN_IPADD, ip);
        } else {
            ASN1_IA5STRING *dns = ASN1_IA5STRING_new();
            ok = ASN1_STRING_set(dns, *names, -1) == 1;
            GENERAL_NAME_set0_value(n, GEN_DNS, dns);
        }
        ok = sk_GENERAL_NAME_push(list, n) > 0 && ok;
    }
    ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, list, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(list);
    return ok;
}

/* A certificate without name and extensions, for a new key. */
static bool blank(X509 *cert, EVP_PKEY *key)
{
    return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) && X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
           X509_gmtime_adj(X509_getm_notAfter(cert), VALID_SECONDS) && X509_set_pubkey(cert, key) == 1;
}

static int hand_out(X509 *cert, EVP_PKEY *key, char **cert_pem, char **key_pem, struct err *err)
{
    *cert_pem = to_pem(cert, NULL);
    *key_pem = to_pem(NULL, key);
    if (*cert_pem && *key_pem)
        return 0;
    free(TAKE(*cert_pem));
    free(TAKE(*key_pem));
    return tls_err(err, ERR_INTERNAL, "writing a certificate");
}

static int check_name(const char *cn, struct err *err)
{
    size_t n = strlen(cn);
    if (n == 0 || n > CN_MAX)
        return err_set(err, ERR_BAD_REQUEST, "the common name of a certificate has 1 to %d bytes, this one %zu: %s", CN_MAX, n,
                       cn);
    return 0;
}

int tls_make_ca(const char *common_name, char **cert_pem, char **key_pem, struct err *err)
{
    *cert_pem = *key_pem = NULL;
    if (check_name(common_name, err) < 0)
        return -1;
    ERR_clear_error();
    CLEANUP(free_key) EVP_PKEY *key = EVP_EC_gen("P-256");
    CLEANUP(free_cert) X509 *cert = X509_new();
    if (!key || !cert || !blank(cert, key) || !set_name(cert, common_name, NULL) ||
        X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
        !extend(cert, cert, NID_basic_constraints, "critical,CA:TRUE") ||
        !extend(cert, cert, NID_key_usage, "critical,digitalSignature,keyCertSign,cRLSign") ||
        !extend(cert, cert, NID_subject_key_identifier, "hash") || X509_sign(cert, key, EVP_sha256()) == 0)
        return tls_err(err, ERR_INTERNAL, "making a certificate authority");
    return hand_out(cert, key, cert_pem, key_pem, err);
}

static int read_ca(const char *cert_pem, const char *key_pem, X509 **cert, EVP_PKEY **key, struct err *err)
{
    BIO *in = BIO_new_mem_buf(cert_pem, -1);
    *cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
    BIO_free(in);
    in = BIO_new_mem_buf(key_pem, -1);
    *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    BIO_free(in);
    if (*cert && *key && X509_check_private_key(*cert, *key) == 1)
        return 0;
    return tls_err(err, ERR_BAD_REQUEST, "reading the certificate authority and its key");
}

int tls_make_cert(const char *ca_cert_pem, const char *ca_key_pem, const char *common_name, const char *const *orgs,
                  const char *const *names, bool client, char **cert_pem, char **key_pem, struct err *err)
{
    *cert_pem = *key_pem = NULL;
    CLEANUP(free_cert) X509 *ca = NULL;
    CLEANUP(free_key) EVP_PKEY *ca_key = NULL;
    if (check_name(common_name, err) < 0 || read_ca(ca_cert_pem, ca_key_pem, &ca, &ca_key, err) < 0)
        return -1;
    ERR_clear_error();
    CLEANUP(free_key) EVP_PKEY *key = EVP_EC_gen("P-256");
    CLEANUP(free_cert) X509 *cert = X509_new();
    if (!key || !cert || !blank(cert, key) || !set_name(cert, common_name, orgs) ||
        X509_set_issuer_name(cert, X509_get_subject_name(ca)) != 1 ||
        !extend(cert, ca, NID_basic_constraints, "critical,CA:FALSE") ||
        !extend(cert, ca, NID_key_usage, "critical,digitalSignature") ||
        !extend(cert, ca, NID_ext_key_usage, client ? "clientAuth" : "serverAuth") || !set_alt_names(cert, names) ||
        !extend(cert, ca, NID_subject_key_identifier, "hash") ||
        !extend(cert, ca, NID_authority_key_identifier, "keyid:always") || X509_sign(cert, ca_key, EVP_sha256()) == 0)
        return tls_err(err, ERR_INTERNAL, "making a certificate");
    return hand_out(cert, key, cert_pem, key_pem, err);
}
