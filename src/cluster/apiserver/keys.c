/* keys.c - the authority, certificates, the key that signs tokens, and the administrator's token, kept in the data directory. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/id.h"
#include "cluster/apiserver/internal.h"

#define MAX_PEM 65536

static int read_text(const char *dir, const char *name, char **out, struct err *err)
{
    AUTOFREE char *path = fs_join(dir, name);
    BUF(b);
    *out = NULL;
    if (!fs_exists(path))
        return 0;
    if (fs_read(path, MAX_PEM, &b, err) < 0)
        return -1;
    *out = buf_steal(&b, NULL);
    return 0;
}

static int write_text(const char *dir, const char *name, const char *text, struct err *err)
{
    AUTOFREE char *path = fs_join(dir, name);
    return fs_write_atomic(path, text, strlen(text), 0600, err);
}

static int load_ca(struct keys *k, const char *dir, struct err *err)
{
    if (read_text(dir, "ca.crt", &k->ca_cert, err) < 0 || read_text(dir, "ca.key", &k->ca_key, err) < 0)
        return -1;
    if (k->ca_cert && k->ca_key)
        return 0;
    free(k->ca_cert);
    free(k->ca_key);
    k->ca_cert = k->ca_key = NULL;
    if (tls_make_ca("tidemill-ca", &k->ca_cert, &k->ca_key, err) < 0)
        return -1;
    return write_text(dir, "ca.key", k->ca_key, err) < 0 || write_text(dir, "ca.crt", k->ca_cert, err) < 0 ? -1 : 0;
}

/* The names that the certificate is for are kept beside it, so that it is made anew when they change. */
static int load_server_cert(struct keys *k, const char *dir, const char *const *more, struct err *err)
{
    STRLIST(names);
    static const char *const always[] = {"localhost",
                                         "127.0.0.1",
                                         "::1",
                                         "kubernetes",
                                         "kubernetes.default",
                                         "kubernetes.default.svc",
                                         "kubernetes.default.svc.cluster.local"};
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        strlist_add(&names, always[i]);
    for (; more && *more; more++)
        if (!strlist_has(&names, *more))
            strlist_add(&names, *more);
    AUTOFREE char *want = strlist_join(&names, "\n"), *have = NULL;
    if (read_text(dir, "server.names", &have, err) < 0 || read_text(dir, "server.crt", &k->server_cert, err) < 0 ||
        read_text(dir, "server.key", &k->server_key, err) < 0)
        return -1;
    if (k->server_cert && k->server_key && str_eq(want, have))
        return 0;
    free(k->server_cert);
    free(k->server_key);
    k->server_cert = k->server_key = NULL;
    const char **list = xcalloc(names.n + 1, sizeof(*list));
    for (size_t i = 0; i < names.n; i++)
        list[i] = names.v[i];
    int rc = tls_make_cert(k->ca_cert, k->ca_key, "kube-apiserver", NULL, list, false, &k->server_cert, &k->server_key, err);
    free(list);
    if (rc < 0 || write_text(dir, "server.key", k->server_key, err) < 0 || write_text(dir, "server.crt", k->server_cert, err) < 0)
        return -1;
    return write_text(dir, "server.names", want, err);
}

static char *make_signing_key(struct err *err)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL, *pem = NULL;
    if (key && bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1) {
        long n = BIO_get_mem_data(bio, &text);
        pem = xstrndup(text, (size_t)n);
    } else {
        err_set(err, ERR_INTERNAL, "a key that signs tokens could not be made");
    }
    BIO_free(bio);
    EVP_PKEY_free(key);
    return pem;
}

static bool is_rsa(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    bool rsa = key && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
    BIO_free(bio);
    EVP_PKEY_free(key);
    return rsa;
}

char *keys_make_signing_key(const char *data_dir, struct err *err)
{
    AUTOFREE char *dir = fs_join(data_dir, "pki");
    char *pem = make_signing_key(err);
    if (pem && write_text(dir, "sa.key", pem, err) < 0)
        free(TAKE(pem));
    return pem;
}

/* A key of another kind is that of an earlier tidemill: it is replaced, and its tokens end. The node asks for new ones. */
static int load_signing_key(struct keys *k, const char *dir, struct err *err)
{
    if (read_text(dir, "sa.key", &k->sa_key, err) < 0)
        return -1;
    if (k->sa_key && !is_rsa(k->sa_key))
        free(TAKE(k->sa_key));
    return 0;
}

static int load_admin_token(struct keys *k, const char *data_dir, struct err *err)
{
    if (read_text(data_dir, "admin.token", &k->admin_token, err) < 0)
        return -1;
    if (k->admin_token && strlen(k->admin_token) >= 32)
        return 0;
    free(k->admin_token);
    k->admin_token = xcalloc(1, 65);
    random_hex(k->admin_token, 32);
    return write_text(data_dir, "admin.token", k->admin_token, err);
}

int keys_load(struct apiserver *a, const char *const *cert_names, struct err *err)
{
    struct keys *k = &a->keys;
    AUTOFREE char *dir = fs_join(a->data_dir, "pki");
    if (fs_mkdir_p(dir, 0700, err) < 0 || load_ca(k, dir, err) < 0 || load_server_cert(k, dir, cert_names, err) < 0 ||
        load_signing_key(k, dir, err) < 0 || load_admin_token(k, a->data_dir, err) < 0)
        return err_wrap(err, "keys in %s", dir);
    return 0;
}

void keys_free(struct keys *k)
{
    free(k->ca_cert);
    free(k->ca_key);
    free(k->server_cert);
    free(k->server_key);
    free(k->sa_key);
    free(k->admin_token);
    *k = (struct keys){0};
}
