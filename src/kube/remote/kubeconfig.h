/* kubeconfig.h - kubeconfig files: from files, contexts and names to how one cluster is reached.
 *
 *     struct kube_access a;
 *     if (kube_access_load(path, NULL, &a, err) < 0) ...        // path NULL: $KUBECONFIG, ~/.kube/config, in a pod
 *     struct kube *k = kube_remote_new(&(struct kube_remote_config){.access = &a}, err);
 *     kube_access_clear(&a);
 *
 * Files of one KUBECONFIG list are merged: the first definition of a name wins, as does the first current-context; files of the
 * list that are missing are passed over, a file that was named alone must be there. Relative paths are relative to their file.
 * Data in the file beats a file's name. What we do not read is left alone (extensions, preferences); what would change how a
 * server is trusted and is not understood is refused. Errors name the file and what is wrong in it, never a secret.
 * Source: specs kube.md 20 (client-go tools/clientcmd). Pure but for kube_access_load and kube_access_in_cluster. */
#ifndef TM_KUBE_REMOTE_KUBECONFIG_H
#define TM_KUBE_REMOTE_KUBECONFIG_H

#include "base/str.h"
#include "value/json.h"

enum kube_exec_stdin { KUBE_EXEC_NEVER, KUBE_EXEC_IF_AVAILABLE, KUBE_EXEC_ALWAYS };

/* A program that gives credentials (client.authentication.k8s.io). */
struct kube_exec {
    char *command; /* NULL: none */
    struct strlist args, env /* NAME=value */;
    char *api_version; /* ".../v1" or ".../v1beta1" */
    char *install_hint;
    bool cluster_info; /* provideClusterInfo */
    enum kube_exec_stdin stdin_mode;
    struct json *extension; /* the cluster's config for it; may be NULL */
};

/* The auth-provider "oidc": tokens of an OpenID Connect issuer. */
struct kube_oidc {
    char *issuer; /* NULL: none */
    char *client_id, *client_secret;
    char *id_token, *refresh_token;
    char *ca_pem, *ca_file; /* of the issuer; the file is read by kube_access_load */
    char *file;             /* the kubeconfig, where a replaced refresh-token is written back; NULL: nowhere */
    char *user;             /* its entry there */
};

/* How one cluster is reached. Owns everything; NULL is "not given". */
struct kube_access {
    char *server; /* https://host:port[/path] */
    char *ca_pem; /* NULL: the system's authorities */
    char *tls_server_name, *proxy_url;
    bool insecure;            /* insecure-skip-tls-verify */
    char *ns;                 /* the context's namespace */
    char *user;               /* name of the user entry, for messages */
    char *token, *token_file; /* the file wins and is read again each minute */
    char *cert_pem, *key_pem;
    char *cert_file, *key_file; /* read again when they change */
    char *username, *password;
    char *as, *as_uid; /* impersonation */
    struct strlist as_groups, as_extra /* key=value */;
    struct kube_exec exec;
    struct kube_oidc oidc;
};
void kube_access_clear(struct kube_access *a);

/* path: one file, NULL for the usual places. context: NULL for current-context. */
int kube_access_load(const char *path, const char *context, struct kube_access *out, struct err *err);
/* What a kubeconfig says now of a user's tokens, each NULL when it says nothing. */
void kube_oidc_reread(const struct kube_oidc *o, char **id_token, char **refresh_token);
/* From inside a pod: KUBERNETES_SERVICE_HOST and _PORT, and the service account's files below dir (NULL: the usual place).
 * ERR_PRECONDITION when this is no pod. */
int kube_access_in_cluster(const char *dir, struct kube_access *out, struct err *err);

/* ---- the parts, for tests and fuzzing ---- */

/* Several files merged. */
struct kubeconfig {
    struct strmap clusters, users, contexts; /* name -> struct kubeconfig_entry */
    char *current;
};
struct kubeconfig_entry {
    struct json *value; /* the member "cluster", "user" or "context" */
    char *dir;          /* what relative paths are relative to */
    char *file;         /* where it stands; may be NULL */
};
void kubeconfig_init(struct kubeconfig *k);
void kubeconfig_clear(struct kubeconfig *k);
/* Adds one file's text; dir is where it lies, file (may be NULL) its whole name. */
int kubeconfig_add(struct kubeconfig *k, const char *text, size_t len, const char *dir, const char *file, struct err *err);
/* What one context says. Reads no file: names of files are made absolute, and CA data is left in ca_pem or its name in *ca_file.
 */
int kubeconfig_pick(const struct kubeconfig *k, const char *context, struct kube_access *out, char **ca_file, struct err *err);

#endif
