#include "cluster/node/images/auth.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <strings.h>

#include "base/str.h"
#include "value/json.h"

enum { CREDENTIALS_MAX = 1000, FILE_MAX = 1 << 20, HEADER_MAX = 16384 };

/* ---- credentials ---------------------------------------------------------------------------------------------------- */

static void credential_clear(struct credential *c)
{
    free(c->place);
    free(c->user);
    free(c->password);
    free(c->identity_token);
}

void keyring_free(struct keyring *k)
{
    for (size_t i = 0; i < k->n; i++)
        credential_clear(&k->v[i]);
    free(k->v);
    *k = (struct keyring){0};
}

static void push(struct keyring *k, const struct credential *c)
{
    k->v = xreallocarray(k->v, k->n + 1, sizeof *k->v);
    k->v[k->n++] = (struct credential){.place = xstrdup(c->place),
                                       .user = xstrdup(c->user),
                                       .password = xstrdup(c->password),
                                       .identity_token = xstrdup(c->identity_token)};
}

/* "https://index.docker.io/v1/" -> "docker.io" */
static char *place_of(const char *key)
{
    const char *scheme = strstr(key, "://");
    char *place = xstrdup(scheme ? scheme + 3 : key);
    static const char *const tails[] = {"/", "/v1", "/v2"};
    for (size_t i = 0; i < ARRAY_LEN(tails); i++)
        if (str_ends(place, tails[i]))
            place[strlen(place) - strlen(tails[i])] = 0;
    static const char *const docker[] = {"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"};
    for (size_t i = 0; i < ARRAY_LEN(docker); i++)
        if (str_eq(place, docker[i])) {
            free(place);
            return xstrdup("docker.io");
        }
    return place;
}

/* "auth" is base64 of user:password, and wins over the two fields. */
static int read_entry(const char *key, jval *entry, struct credential *c, struct err *err)
{
    const char *auth = jv_str(jv_get(entry, "auth"));
    c->place = place_of(key);
    c->user = xstrdup(jv_str_or(jv_get(entry, "username"), ""));
    c->password = xstrdup(jv_str_or(jv_get(entry, "password"), ""));
    c->identity_token =
        str_empty(jv_str(jv_get(entry, "identitytoken"))) ? NULL : xstrdup(jv_str(jv_get(entry, "identitytoken")));
    if (str_empty(auth))
        return 0;
    AUTOFREE unsigned char *text = NULL;
    size_t n;
    if (base64_decode(auth, strlen(auth), &text, &n) < 0)
        return err_set(err, ERR_BAD_REQUEST, "the auth of \"%s\" is not base64", key);
    AUTOFREE char *both = xstrndup((const char *)text, n);
    char *colon = strchr(both, ':');
    if (!colon)
        return err_set(err, ERR_BAD_REQUEST, "the auth of \"%s\" is not of the form user:password", key);
    *colon = 0;
    free(c->user);
    free(c->password);
    c->user = xstrdup(both);
    c->password = xstrdup(colon + 1);
    return 0;
}

int keyring_add(struct keyring *k, const char *text, size_t len, bool legacy, struct err *err)
{
    if (len > FILE_MAX)
        return err_set(err, ERR_TOO_LARGE, "credentials of %zu bytes", len);
    JSON_REF(doc) = json_parse(text, len, NULL, err);
    if (!doc)
        return -1;
    jval *auths = legacy ? json_root(doc) : jv_get(json_root(doc), "auths");
    if (!jv_is(json_root(doc), J_OBJECT) || (auths && !jv_is(auths, J_OBJECT)))
        return err_set(err, ERR_BAD_REQUEST, "credentials must be an object of registries%s", legacy ? "" : " in \"auths\"");
    struct jiter it = jv_iter(auths);
    const char *key;
    jval *entry;
    while (jv_next(&it, &key, &entry)) {
        struct credential c = {0};
        int rc = k->n >= CREDENTIALS_MAX ? err_set(err, ERR_TOO_LARGE, "more than %d credentials", CREDENTIALS_MAX)
                                         : read_entry(key, entry, &c, err);
        if (rc == 0 && (*c.user || c.identity_token))
            push(k, &c);
        credential_clear(&c);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* Label for label, each a glob; the port must be the same. */
static bool host_matches(const char *pattern, const char *host)
{
    const char *port = strrchr(pattern, ':'), *own = strrchr(host, ':');
    if (port ? !str_eq(port, own) : own != NULL)
        return false;
    AUTOFREE char *p = xstrndup(pattern, port ? (size_t)(port - pattern) : strlen(pattern));
    AUTOFREE char *h = xstrndup(host, own ? (size_t)(own - host) : strlen(host));
    STRLIST(a);
    STRLIST(b);
    str_split(p, '.', &a);
    str_split(h, '.', &b);
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (!str_glob(a.v[i], b.v[i]))
            return false;
    return true;
}

static bool is_for(const struct credential *c, const struct image_ref *ref)
{
    size_t n = strcspn(c->place, "/");
    AUTOFREE char *host = xstrndup(c->place, n);
    const char *prefix = c->place[n] ? c->place + n + 1 : "";
    size_t len = strlen(prefix);
    return host_matches(host, ref->domain) && strncmp(prefix, ref->path, len) == 0 &&
           (!len || ref->path[len] == 0 || ref->path[len] == '/');
}

static int longest_first(const void *a, const void *b)
{
    size_t x = strlen(((const struct credential *)a)->place), y = strlen(((const struct credential *)b)->place);
    return x > y ? -1 : x < y;
}

void keyring_select(const struct keyring *k, const struct image_ref *ref, struct keyring *out)
{
    for (size_t i = 0; i < k->n; i++)
        if (is_for(&k->v[i], ref))
            push(out, &k->v[i]);
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, longest_first);
}

char *keyring_id(const struct keyring *k)
{
    BUF(b);
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    for (size_t i = 0; i < k->n; i++) {
        const char *const parts[] = {k->v[i].place, k->v[i].user, k->v[i].password,
                                     k->v[i].identity_token ? k->v[i].identity_token : ""};
        for (size_t p = 0; p < ARRAY_LEN(parts); p++)
            buf_add(&b, parts[p], strlen(parts[p]) + 1);
    }
    ASSERT(EVP_Digest(buf_str(&b), b.len, sum, &len, EVP_sha256(), NULL) == 1);
    return hex_encode(sum, len);
}

/* ---- challenges ------------------------------------------------------------------------------------------------------ */

void challenge_free(struct challenge *c)
{
    free(c->realm);
    free(c->service);
    free(c->scope);
    free(c->error);
    *c = (struct challenge){0};
}

#define TOKEN_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

/* name = token or quoted text. Returns the place behind it, NULL when there is no parameter at s. */
static const char *parameter(const char *s, char **name, char **value)
{
    size_t n = strspn(s, TOKEN_CHARS);
    const char *eq = s + n + strspn(s + n, " \t");
    if (!n || *eq != '=')
        return NULL;
    const char *at = eq + 1 + strspn(eq + 1, " \t");
    BUF(text);
    if (*at == '"') {
        for (at++; *at && *at != '"'; at++) {
            if (*at == '\\' && at[1])
                at++;
            buf_addc(&text, *at);
        }
        if (*at != '"')
            return NULL;
        at++;
    } else {
        size_t len = strcspn(at, ", \t\"");
        buf_add(&text, at, len);
        at += len;
    }
    *name = xstrndup(s, n);
    *value = buf_steal(&text, NULL);
    return at;
}

static void keep(struct challenge *c, const char *name, char **value)
{
    const struct {
        const char *name;
        char **to;
    } known[] = {{"realm", &c->realm}, {"service", &c->service}, {"scope", &c->scope}, {"error", &c->error}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcasecmp(name, known[i].name) == 0) {
            free(*known[i].to);
            *known[i].to = TAKE(*value);
        }
}

/* One scheme with its parameters. Returns the place behind it. */
static const char *one(const char *s, char **scheme, struct challenge *c)
{
    size_t n = strspn(s, TOKEN_CHARS);
    *scheme = xstrndup(s, n);
    s += n;
    for (;;) {
        AUTOFREE char *name = NULL, *value = NULL;
        const char *at = s + strspn(s, " \t,"), *next = parameter(at, &name, &value);
        if (!next)
            return at;
        keep(c, name, &value);
        s = next;
    }
}

/* Our client knows sockets of this machine as well: no registry has us talk to them. */
static bool is_http(const char *url)
{
    return url && (strncasecmp(url, "https://", 8) == 0 || strncasecmp(url, "http://", 7) == 0);
}

int challenge_parse(const char *header, struct challenge *out, struct err *err)
{
    *out = (struct challenge){0};
    bool found = false;
    const char *s = header && strlen(header) <= HEADER_MAX ? header + strspn(header, " \t,") : "";
    while (*s && !out->bearer) {
        AUTOFREE char *scheme = NULL;
        struct challenge c = {0};
        s = one(s, &scheme, &c);
        bool bearer = strcasecmp(scheme, "Bearer") == 0 && is_http(c.realm), basic = strcasecmp(scheme, "Basic") == 0;
        if (bearer || (basic && !found)) {
            challenge_free(out);
            *out = c;
            out->bearer = bearer;
            found = true;
        } else {
            challenge_free(&c);
        }
        if (!*scheme)
            break; /* something that no header has */
    }
    return found
               ? 0
               : err_set(err, ERR_UNAUTHENTICATED,
                         "the registry wants a kind of authentication that is not known here: \"%.200s\"", header ? header : "");
}
