/* credential.h - what is sent to prove who we are, kept fresh. Private to remote/.
 *
 * Tokens in files are read again each minute, certificates when their files change, and what a plugin or an OpenID Connect issuer
 * gave is kept until shortly before it expires. One that fails, or whose answer is refused by the API server, is asked again
 * after a second, then two, up to a minute; until then callers are told at once what came of it. Thread-safe; a plugin runs once
 * however many callers wait for it. */
#ifndef TM_KUBE_REMOTE_CREDENTIAL_H
#define TM_KUBE_REMOTE_CREDENTIAL_H

#include "base/ctx.h"
#include "kube/remote/kubeconfig.h"

/* What a plugin printed (ExecCredential's status). */
struct exec_credential {
    char *token, *cert_pem, *key_pem;
    int64_t expires_ns; /* Unix; 0: never */
};
void exec_credential_clear(struct exec_credential *c);
/* Reads an ExecCredential; api_version is the one that the kubeconfig asked for. Errors never quote the text: it is a secret. */
int exec_credential_parse(const char *text, size_t len, const char *api_version, struct exec_credential *out, struct err *err);
/* Runs the plugin, at most for a minute, without a terminal. */
int exec_plugin_run(const struct kube_access *a, const struct ctx *ctx, struct exec_credential *out, struct err *err);

struct credentials;
struct credentials *credentials_new(const struct kube_access *a, const struct clock *clock); /* a outlives it */
void credentials_free(struct credentials *c);

/* A copy of what holds now. */
struct credential {
    char *authorization;      /* value of the header; NULL: none */
    char *cert_pem, *key_pem; /* NULL: none */
    unsigned cert_serial;     /* changes with the certificate */
    unsigned serial;          /* changes with anything */
};
void credential_clear(struct credential *c);
int credentials_get(struct credentials *c, const struct ctx *ctx, struct credential *out, struct err *err);
/* The server answered 401 to what had this serial: it is not used again. False when nothing else can be had. */
bool credentials_refused(struct credentials *c, unsigned serial);

#endif
