/* kubeconfig.c - see kubeconfig.h. */
#include "kube/remote/kubeconfig.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "value/yaml.h"

enum { FILE_MAX = 8 << 20, PEM_MAX = 1 << 20 };
#define ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

static void entry_free(void *p)
{
    struct kubeconfig_entry *e = p;
    json_unref(e->value);
    free(e->dir);
    free(e->file);
    free(e);
}

void kubeconfig_init(struct kubeconfig *k)
{
    *k = (struct kubeconfig){
        .clusters = STRMAP_INIT(entry_free), .users = STRMAP_INIT(entry_free), .contexts = STRMAP_INIT(entry_free)};
}

void kubeconfig_clear(struct kubeconfig *k)
{
    strmap_free(&k->clusters);
    strmap_free(&k->users);
    strmap_free(&k->contexts);
    free(k->current);
    k->current = NULL;
}

void kube_access_clear(struct kube_access *a)
{
    char *const strings[] = {a->server,    a->ca_pem,       a->tls_server_name,  a->proxy_url,        a->ns,
                             a->user,      a->token,        a->token_file,       a->cert_pem,         a->key_pem,
                             a->cert_file, a->key_file,     a->username,         a->password,         a->as,
                             a->as_uid,    a->exec.command, a->exec.api_version, a->exec.install_hint};
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        free(strings[i]);
    strlist_free(&a->as_groups);
    struct kube_oidc *o = &a->oidc;
    char *const tokens[] = {o->issuer, o->client_id, o->client_secret, o->id_token, o->refresh_token,
                            o->ca_pem, o->ca_file,   o->file,          o->user};
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++)
        free(tokens[i]);
    strlist_free(&a->as_extra);
    strlist_free(&a->exec.args);
    strlist_free(&a->exec.env);
    json_unref(a->exec.extension);
    *a = (struct kube_access){0};
}

/* ---- merging ---- */

static int add_named(struct strmap *to, jval *list, const char *member, const char *what, const char *dir, const char *file,
                     struct err *err)
{
    if (jv_present(list) && !jv_is(list, J_ARRAY))
        return err_set(err, ERR_BAD_REQUEST, "%s must be a list, not %s", what, jtype_name(jv_type(list)));
    struct jiter it = jv_iter(list);
    jval *e;
    while (jv_next(&it, NULL, &e)) {
        const char *name = jv_str(jv_get(e, "name"));
        if (!name)
            return err_set(err, ERR_BAD_REQUEST, "an entry of %s has no name", what);
        if (strmap_has(to, name))
            continue;
        struct kubeconfig_entry *entry = xcalloc(1, sizeof *entry);
        jval *value = jv_get(e, member);
        entry->value = value ? json_from(value) : NULL;
        entry->dir = xstrdup(dir);
        entry->file = xstrdup(file);
        strmap_put(to, name, entry);
    }
    return 0;
}

int kubeconfig_add(struct kubeconfig *k, const char *text, size_t len, const char *dir, const char *file, struct err *err)
{
    size_t blank = 0;
    while (blank < len && strchr(" \t\r\n", text[blank]) && text[blank])
        blank++;
    if (blank == len)
        return 0; /* an empty file is one that says nothing */
    JSON_REF(d) = yaml_parse_one(text, len, NULL, err);
    if (!d)
        return -1;
    jval *root = json_root(d);
    if (jv_is(root, J_NULL))
        return 0;
    if (!jv_is(root, J_OBJECT))
        return err_set(err, ERR_BAD_REQUEST, "this is no kubeconfig: an object is expected, not %s", jtype_name(jv_type(root)));
    const char *kind = jv_str(jv_get(root, "kind")), *version = jv_str(jv_get(root, "apiVersion"));
    if (!str_empty(kind) && !str_eq(kind, "Config"))
        return err_set(err, ERR_BAD_REQUEST, "this is no kubeconfig: its kind is %s, not Config", kind);
    if (!str_empty(version) && !str_eq(version, "v1"))
        return err_set(err, ERR_BAD_REQUEST, "kubeconfig of version %s: only v1 is known", version);
    const char *current = jv_str(jv_get(root, "current-context"));
    if (!k->current && !str_empty(current))
        k->current = xstrdup(current);
    if (add_named(&k->clusters, jv_get(root, "clusters"), "cluster", "clusters", dir, file, err) < 0 ||
        add_named(&k->users, jv_get(root, "users"), "user", "users", dir, file, err) < 0 ||
        add_named(&k->contexts, jv_get(root, "contexts"), "context", "contexts", dir, file, err) < 0)
        return -1;
    return 0;
}

/* ---- picking ---- */

/* A string member; NULL when absent or empty. */
static char *text_of(jval *o, const char *name)
{
    const char *s = jv_str(jv_get(o, name));
    return str_empty(s) ? NULL : xstrdup(s);
}

static char *path_of(jval *o, const char *name, const char *dir)
{
    const char *s = jv_str(jv_get(o, name));
    if (str_empty(s))
        return NULL;
    return *s == '/' ? xstrdup(s) : fs_join(dir, s);
}

/* A base64 member. 0 with *out NULL when absent. */
static int data_of(jval *o, const char *name, char **out, struct err *err)
{
    const char *s = jv_str(jv_get(o, name));
    *out = NULL;
    if (str_empty(s))
        return 0;
    BUF(clean); /* YAML folds long texts, which leaves blanks */
    for (const char *p = s; *p; p++)
        if (!strchr(" \t\r\n", *p))
            buf_addc(&clean, *p);
    unsigned char *bytes;
    size_t n;
    if (base64_decode(buf_str(&clean), clean.len, &bytes, &n) < 0)
        return err_set(err, ERR_BAD_REQUEST, "%s is not base64", name);
    bool whole = !memchr(bytes, 0, n);
    *out = whole ? xstrndup((char *)bytes, n) : NULL;
    free(bytes);
    return whole ? 0 : err_set(err, ERR_BAD_REQUEST, "%s is not PEM text", name);
}

static int pick_cluster(jval *c, const char *dir, struct kube_access *a, char **ca_file, struct err *err)
{
    a->server = text_of(c, "server");
    if (!a->server)
        return err_set(err, ERR_BAD_REQUEST, "it has no server");
    if (!str_starts(a->server, "https://") && !str_starts(a->server, "http://"))
        return err_set(err, ERR_BAD_REQUEST, "server \"%.200s\" must begin with https:// or http://", a->server);
    for (size_t n = strlen(a->server); n && a->server[n - 1] == '/'; n--)
        a->server[n - 1] = '\0';
    a->insecure = jv_bool(jv_get(c, "insecure-skip-tls-verify"), false);
    a->tls_server_name = text_of(c, "tls-server-name");
    a->proxy_url = text_of(c, "proxy-url");
    if (data_of(c, "certificate-authority-data", &a->ca_pem, err) < 0)
        return -1;
    if (!a->ca_pem)
        *ca_file = path_of(c, "certificate-authority", dir);
    if (a->insecure && (a->ca_pem || *ca_file))
        return err_set(err, ERR_BAD_REQUEST,
                       "it has a certificate authority and insecure-skip-tls-verify: only one of them can be meant");
    struct jiter it = jv_iter(jv_get(c, "extensions"));
    jval *e;
    while (jv_next(&it, NULL, &e))
        if (str_eq(jv_str(jv_get(e, "name")), "client.authentication.k8s.io/exec") && !a->exec.extension)
            a->exec.extension = json_from(jv_get(e, "extension"));
    return 0;
}

static int strings_of(jval *list, const char *what, struct strlist *out, struct err *err)
{
    struct jiter it = jv_iter(list);
    jval *v;
    while (jv_next(&it, NULL, &v)) {
        if (!jv_str(v))
            return err_set(err, ERR_BAD_REQUEST, "%s must be a list of strings", what);
        strlist_add(out, jv_str(v));
    }
    return 0;
}

static int pick_exec(jval *x, const char *dir, struct kube_exec *out, struct err *err)
{
    if (!jv_present(x))
        return 0;
    const char *command = jv_str(jv_get(x, "command")), *mode = jv_str(jv_get(x, "interactiveMode"));
    out->api_version = text_of(x, "apiVersion");
    out->install_hint = text_of(x, "installHint");
    out->cluster_info = jv_bool(jv_get(x, "provideClusterInfo"), false);
    if (str_empty(command))
        return err_set(err, ERR_BAD_REQUEST, "exec has no command");
    if (!str_eq(out->api_version, "client.authentication.k8s.io/v1") &&
        !str_eq(out->api_version, "client.authentication.k8s.io/v1beta1"))
        return err_set(err, ERR_BAD_REQUEST,
                       "exec has apiVersion \"%.100s\": client.authentication.k8s.io/v1 and v1beta1 are known",
                       out->api_version ? out->api_version : "");
    /* A name is looked up in PATH, a path is relative to the file. */
    out->command = strchr(command, '/') && *command != '/' ? fs_join(dir, command) : xstrdup(command);
    out->stdin_mode = KUBE_EXEC_IF_AVAILABLE;
    if (str_eq(mode, "Never"))
        out->stdin_mode = KUBE_EXEC_NEVER;
    else if (str_eq(mode, "Always"))
        out->stdin_mode = KUBE_EXEC_ALWAYS;
    else if (!str_empty(mode) && !str_eq(mode, "IfAvailable"))
        return err_set(err, ERR_BAD_REQUEST, "exec has interactiveMode \"%.100s\": Never, IfAvailable and Always are known",
                       mode);
    if (strings_of(jv_get(x, "args"), "exec.args", &out->args, err) < 0)
        return -1;
    struct jiter it = jv_iter(jv_get(x, "env"));
    jval *v;
    while (jv_next(&it, NULL, &v)) {
        const char *name = jv_str(jv_get(v, "name"));
        if (str_empty(name) || strchr(name, '='))
            return err_set(err, ERR_BAD_REQUEST, "an entry of exec.env has no usable name");
        strlist_addf(&out->env, "%s=%s", name, jv_str_or(jv_get(v, "value"), ""));
    }
    return 0;
}

/* Providers of old. "oidc" is served; those of clouds have become plugins long ago, whose names people look for. */
static int pick_provider(jval *p, const char *dir, const char *file, struct kube_access *a, struct err *err)
{
    if (!jv_present(p))
        return 0;
    const char *name = jv_str_or(jv_get(p, "name"), "");
    if (str_eq(name, "gcp") || str_eq(name, "azure"))
        return err_set(err, ERR_BAD_REQUEST, "auth-provider \"%s\" is no more: use the exec plugin %s", name,
                       str_eq(name, "gcp") ? "gke-gcloud-auth-plugin" : "kubelogin");
    if (!str_eq(name, "oidc"))
        return err_set(err, ERR_BAD_REQUEST, "auth-provider \"%.100s\" is not known: use an exec plugin", name);
    jval *config = jv_get(p, "config");
    struct kube_oidc *o = &a->oidc;
    *o = (struct kube_oidc){.issuer = text_of(config, "idp-issuer-url"),
                            .client_id = text_of(config, "client-id"),
                            .client_secret = text_of(config, "client-secret"),
                            .id_token = text_of(config, "id-token"),
                            .refresh_token = text_of(config, "refresh-token"),
                            .file = xstrdup(file),
                            .user = xstrdup(a->user)};
    if (!o->issuer || !o->client_id)
        return err_set(err, ERR_BAD_REQUEST, "auth-provider oidc has no %s", o->issuer ? "client-id" : "idp-issuer-url");
    if (!str_starts(o->issuer, "https://") && !str_starts(o->issuer, "http://"))
        return err_set(err, ERR_BAD_REQUEST, "auth-provider oidc: idp-issuer-url \"%.200s\" must begin with https://", o->issuer);
    if (data_of(config, "idp-certificate-authority-data", &o->ca_pem, err) < 0)
        return -1;
    if (!o->ca_pem)
        o->ca_file = path_of(config, "idp-certificate-authority", dir);
    return 0;
}

static int pick_impersonation(jval *u, struct kube_access *a, struct err *err)
{
    a->as = text_of(u, "as");
    a->as_uid = text_of(u, "as-uid");
    if (strings_of(jv_get(u, "as-groups"), "as-groups", &a->as_groups, err) < 0)
        return -1;
    struct jiter it = jv_iter(jv_get(u, "as-user-extra"));
    const char *key;
    jval *values;
    while (jv_next(&it, &key, &values)) {
        struct jiter each = jv_iter(values);
        jval *v;
        while (key && jv_next(&each, NULL, &v))
            strlist_addf(&a->as_extra, "%s=%s", key, jv_str_or(v, ""));
    }
    if (!a->as && (a->as_uid || a->as_groups.n || a->as_extra.n))
        return err_set(err, ERR_BAD_REQUEST, "it impersonates groups, a uid or extras, but no user (as)");
    return 0;
}

static int pick_user(jval *u, const char *dir, const char *file, struct kube_access *a, struct err *err)
{
    a->token = text_of(u, "token");
    a->token_file = path_of(u, "tokenFile", dir);
    a->username = text_of(u, "username");
    a->password = text_of(u, "password");
    if (data_of(u, "client-certificate-data", &a->cert_pem, err) < 0 || data_of(u, "client-key-data", &a->key_pem, err) < 0)
        return -1;
    if (!a->cert_pem)
        a->cert_file = path_of(u, "client-certificate", dir);
    if (!a->key_pem)
        a->key_file = path_of(u, "client-key", dir);
    bool cert = a->cert_pem || a->cert_file, key = a->key_pem || a->key_file;
    if (cert != key)
        return err_set(err, ERR_BAD_REQUEST, "it has a client %s without its %s", cert ? "certificate" : "key",
                       cert ? "key" : "certificate");
    if (pick_exec(jv_get(u, "exec"), dir, &a->exec, err) < 0 || pick_provider(jv_get(u, "auth-provider"), dir, file, a, err) < 0)
        return -1;
    return pick_impersonation(u, a, err);
}

static int pick(const struct kubeconfig *k, const char *context, struct kube_access *a, char **ca_file, struct err *err)
{
    const char *name = str_empty(context) ? k->current : context;
    if (str_empty(name))
        return err_set(err, ERR_BAD_REQUEST, "kubeconfig: there is no current-context: say which with --context");
    struct kubeconfig_entry *c = strmap_get(&k->contexts, name);
    if (!c)
        return err_set(err, ERR_BAD_REQUEST, "kubeconfig: there is no context \"%.200s\"", name);
    jval *v = json_root(c->value);
    const char *cluster = jv_str_or(jv_get(v, "cluster"), ""), *user = jv_str_or(jv_get(v, "user"), "");
    struct kubeconfig_entry *ce = strmap_get(&k->clusters, cluster), *ue = strmap_get(&k->users, user);
    if (!ce)
        return err_set(err, ERR_BAD_REQUEST, "kubeconfig: context \"%.200s\" is of cluster \"%.200s\", which is not there", name,
                       cluster);
    if (!ue && *user)
        return err_set(err, ERR_BAD_REQUEST, "kubeconfig: context \"%.200s\" is of user \"%.200s\", who is not there", name,
                       user);
    a->ns = text_of(v, "namespace");
    a->user = xstrdup(user);
    if (pick_cluster(json_root(ce->value), ce->dir, a, ca_file, err) < 0)
        return err_wrap(err, "kubeconfig: cluster \"%.200s\"", cluster);
    if (ue && pick_user(json_root(ue->value), ue->dir, ue->file, a, err) < 0)
        return err_wrap(err, "kubeconfig: user \"%.200s\"", user);
    return 0;
}

int kubeconfig_pick(const struct kubeconfig *k, const char *context, struct kube_access *out, char **ca_file, struct err *err)
{
    *out = (struct kube_access){0};
    *ca_file = NULL;
    if (pick(k, context, out, ca_file, err) == 0)
        return 0;
    kube_access_clear(out);
    free(TAKE(*ca_file));
    return -1;
}

/* ---- files ---- */

static int read_text(const char *path, char **out, struct err *err)
{
    BUF(text);
    if (fs_read(path, PEM_MAX, &text, err) < 0)
        return -1;
    *out = buf_steal(&text, NULL);
    return 0;
}

static int add_file(struct kubeconfig *k, const char *path, bool must_be, struct err *err)
{
    BUF(text);
    if (!must_be && !fs_exists(path))
        return 0;
    if (fs_read(path, FILE_MAX, &text, err) < 0)
        return err_wrap(err, "kubeconfig");
    AUTOFREE char *real = realpath(path, NULL);
    if (!real)
        return err_errno(err, "kubeconfig %s", path);
    char *slash = strrchr(path, '/');
    AUTOFREE char *cwd = getcwd(NULL, 0);
    AUTOFREE char *own = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup("");
    AUTOFREE char *dir = *own == '/' ? xstrdup(own) : fs_join(cwd ? cwd : "/", own);
    if (kubeconfig_add(k, buf_str(&text), text.len, dir, real, err) < 0)
        return err_wrap(err, "kubeconfig %s", path);
    return 0;
}

/* The files that are meant when none is named. *found: there is one. */
static int add_usual(struct kubeconfig *k, bool *found, struct err *err)
{
    const char *env = getenv("KUBECONFIG"), *home = getenv("HOME");
    STRLIST(paths);
    if (!str_empty(env))
        str_split(env, ':', &paths);
    else if (!str_empty(home))
        strlist_addf(&paths, "%s/.kube/config", home);
    *found = false;
    for (size_t i = 0; i < paths.n; i++) {
        if (!*paths.v[i] || !fs_exists(paths.v[i]))
            continue;
        *found = true;
        if (add_file(k, paths.v[i], false, err) < 0)
            return -1;
    }
    return 0;
}

static int load(const char *path, const char *context, struct kubeconfig *k, struct kube_access *out, struct err *err)
{
    bool found = true;
    if ((path ? add_file(k, path, true, err) : add_usual(k, &found, err)) < 0)
        return -1;
    if (!found) {
        ERR(e);
        if (kube_access_in_cluster(NULL, out, &e) == 0)
            return 0;
        return err_set(err, ERR_NOT_FOUND,
                       "no kubeconfig was found ($KUBECONFIG, ~/.kube/config) and this is no pod: use --kubeconfig FILE");
    }
    AUTOFREE char *ca_file = NULL;
    if (kubeconfig_pick(k, context, out, &ca_file, err) < 0)
        return -1;
    if ((ca_file && read_text(ca_file, &out->ca_pem, err) < 0) ||
        (out->oidc.ca_file && read_text(out->oidc.ca_file, &out->oidc.ca_pem, err) < 0) ||
        (out->cert_file && read_text(out->cert_file, &out->cert_pem, err) < 0) ||
        (out->key_file && read_text(out->key_file, &out->key_pem, err) < 0)) {
        kube_access_clear(out);
        return err_wrap(err, "kubeconfig");
    }
    return 0;
}

int kube_access_load(const char *path, const char *context, struct kube_access *out, struct err *err)
{
    struct kubeconfig k;
    *out = (struct kube_access){0};
    kubeconfig_init(&k);
    int rc = load(path, context, &k, out, err);
    kubeconfig_clear(&k);
    return rc;
}

void kube_oidc_reread(const struct kube_oidc *o, char **id_token, char **refresh_token)
{
    struct kubeconfig k;
    kubeconfig_init(&k);
    *id_token = *refresh_token = NULL;
    if (o->file && o->user && add_file(&k, o->file, true, NULL) == 0) {
        struct kubeconfig_entry *e = strmap_get(&k.users, o->user);
        jval *config = e ? jv_path(json_root(e->value), "auth-provider", "config", NULL) : NULL;
        *id_token = text_of(config, "id-token");
        *refresh_token = text_of(config, "refresh-token");
    }
    kubeconfig_clear(&k);
}

int kube_access_in_cluster(const char *dir, struct kube_access *out, struct err *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    *out = (struct kube_access){0};
    dir = dir ? dir : ACCOUNT_DIR;
    if (str_empty(host) || str_empty(port))
        return err_set(err, ERR_PRECONDITION,
                       "this is no pod of a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
    AUTOFREE char *ca = fs_join(dir, "ca.crt"), *ns = fs_join(dir, "namespace");
    struct kube_access a = {.token_file = fs_join(dir, "token"), .user = xstrdup("service account of this pod")};
    a.server = xasprintf(strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port);
    if (!fs_exists(a.token_file)) {
        err_set(err, ERR_PRECONDITION, "the pod has no service account token at %s", a.token_file);
        goto fail;
    }
    if (fs_exists(ca) && read_text(ca, &a.ca_pem, err) < 0)
        goto fail;
    if (fs_exists(ns) && read_text(ns, &a.ns, err) < 0)
        goto fail;
    for (size_t n = a.ns ? strlen(a.ns) : 0; n && strchr(" \n", a.ns[n - 1]); n--)
        a.ns[n - 1] = '\0';
    *out = a;
    return 0;
fail:
    kube_access_clear(&a);
    return -1;
}
