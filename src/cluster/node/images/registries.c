#include "cluster/node/images/registries.h"

#include <stdlib.h>

#include "base/fs.h"
#include "base/str.h"

enum { FILE_MAX = 1 << 20, SETTINGS_MAX = 1000 };

struct mirror {
    char *of;            /* domain or "*" */
    char *scheme;        /* NULL: by the host */
    char *host, *prefix; /* prefix "" or "cache/" */
};
struct registries {
    struct mirror *mirrors;
    size_t n_mirrors;
    struct strlist insecure;
    struct strmap ca; /* host -> PEM text */
};

struct registries *registries_new(void)
{
    struct registries *r = xcalloc(1, sizeof *r);
    r->ca = STRMAP_INIT(free);
    return r;
}

void registries_free(struct registries *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_mirrors; i++) {
        free(r->mirrors[i].of);
        free(r->mirrors[i].scheme);
        free(r->mirrors[i].host);
        free(r->mirrors[i].prefix);
    }
    free(r->mirrors);
    strlist_free(&r->insecure);
    strmap_free(&r->ca);
    free(r);
}

static bool is_host(const char *s)
{
    return *s && strlen(s) < 256 && s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]")] == 0;
}

static int add_mirror(struct registries *r, const char *of, const char *url, struct err *err)
{
    const char *rest = strstr(url, "://");
    AUTOFREE char *scheme = rest ? xstrndup(url, (size_t)(rest - url)) : NULL;
    rest = rest ? rest + 3 : url;
    size_t n = strcspn(rest, "/");
    AUTOFREE char *host = xstrndup(rest, n), *path = xstrdup(rest[n] ? rest + n + 1 : "");
    while (*path && path[strlen(path) - 1] == '/')
        path[strlen(path) - 1] = 0;
    bool known = !scheme || str_eq(scheme, "http") || str_eq(scheme, "https");
    if (!known || !is_host(host) || (!is_host(of) && !str_eq(of, "*")) || strpbrk(path, " ?#\"\\") || strstr(path, ".."))
        return err_set(
            err, ERR_BAD_REQUEST,
            "mirror \"%s\" of \"%s\": use DOMAIN=https://HOST[:PORT][/PATH], as in docker.io=https://mirror.example.com", url,
            of);
    if (r->n_mirrors >= SETTINGS_MAX)
        return err_set(err, ERR_TOO_LARGE, "more than %d mirrors", SETTINGS_MAX);
    r->mirrors = xreallocarray(r->mirrors, r->n_mirrors + 1, sizeof *r->mirrors);
    r->mirrors[r->n_mirrors++] = (struct mirror){
        .of = xstrdup(of), .scheme = TAKE(scheme), .host = TAKE(host), .prefix = *path ? xasprintf("%s/", path) : xstrdup("")};
    return 0;
}

int registries_add_mirror(struct registries *r, const char *setting, struct err *err)
{
    const char *eq = strchr(setting, '=');
    AUTOFREE char *of = eq ? xstrndup(setting, (size_t)(eq - setting)) : xstrdup("*");
    return add_mirror(r, of, eq ? eq + 1 : setting, err);
}

int registries_add_insecure(struct registries *r, const char *host, struct err *err)
{
    if (!is_host(host))
        return err_set(err, ERR_BAD_REQUEST, "insecure registry \"%s\": use HOST or HOST:PORT", host);
    strlist_add(&r->insecure, host);
    return 0;
}

static int add_line(struct registries *r, const struct strlist *w, struct err *err)
{
    if (w->n == 3 && str_eq(w->v[0], "mirror"))
        return add_mirror(r, w->v[1], w->v[2], err);
    if (w->n == 2 && str_eq(w->v[0], "insecure"))
        return registries_add_insecure(r, w->v[1], err);
    if (w->n == 3 && str_eq(w->v[0], "ca")) {
        BUF(pem);
        if (fs_read(w->v[2], FILE_MAX, &pem, err) < 0)
            return -1;
        strmap_put(&r->ca, w->v[1], buf_steal(&pem, NULL));
        return 0;
    }
    return err_set(err, ERR_BAD_REQUEST, "use \"mirror DOMAIN URL\", \"insecure HOST\" or \"ca HOST FILE\"");
}

int registries_add_file(struct registries *r, const char *path, struct err *err)
{
    BUF(text);
    STRLIST(lines);
    if (!fs_exists(path))
        return 0;
    if (fs_read(path, FILE_MAX, &text, err) < 0)
        return -1;
    str_split(buf_str(&text), '\n', &lines);
    for (size_t i = 0; i < lines.n; i++) {
        STRLIST(words);
        lines.v[i][strcspn(lines.v[i], "#\r")] = 0;
        for (char *s = lines.v[i]; *s;) {
            s += strspn(s, " \t");
            size_t n = strcspn(s, " \t");
            if (n)
                strlist_take(&words, xstrndup(s, n));
            s += n;
        }
        if (words.n && add_line(r, &words, err) < 0)
            return err_wrap(err, "%s, line %zu", path, i + 1);
    }
    return 0;
}

/* ---- endpoints ---------------------------------------------------------------------------------------------------------- */

static bool is_loopback(const char *host)
{
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    AUTOFREE char *name = xstrndup(host, n);
    return str_eq(name, "localhost") || str_starts(name, "127.") || str_eq(name, "[::1]");
}

static bool is_insecure(const struct registries *r, const char *host)
{
    AUTOFREE char *name = xstrndup(host, strcspn(host, ":"));
    return strlist_has(&r->insecure, host) || strlist_has(&r->insecure, name);
}

static struct endpoint make(const struct registries *r, const char *scheme, const char *host, const char *domain,
                            const char *prefix, const struct image_ref *ref)
{
    bool insecure = is_insecure(r, host), maybe_plain = insecure || is_loopback(host);
    const char *pem = strmap_get(&r->ca, host);
    return (struct endpoint){.scheme = xstrdup(scheme        ? scheme
                                               : maybe_plain ? NULL
                                                             : "https"),
                             .host = xstrdup(host),
                             .insecure = insecure,
                             .ca_pem = xstrdup(pem),
                             .as = {.domain = xstrdup(domain),
                                    .path = xasprintf("%s%s", prefix, ref->path),
                                    .tag = xstrdup(ref->tag),
                                    .digest = xstrdup(ref->digest)}};
}

struct endpoint *registries_endpoints(const struct registries *r, const struct image_ref *ref, size_t *n)
{
    struct endpoint *v = xcalloc(r->n_mirrors + 1, sizeof *v);
    *n = 0;
    for (size_t i = 0; i < r->n_mirrors; i++) {
        const struct mirror *m = &r->mirrors[i];
        if (str_eq(m->of, "*") || str_eq(m->of, ref->domain))
            v[(*n)++] = make(r, m->scheme, m->host, m->host, m->prefix, ref);
    }
    v[(*n)++] = make(r, NULL, str_eq(ref->domain, "docker.io") ? "registry-1.docker.io" : ref->domain, ref->domain, "", ref);
    return v;
}

void endpoints_free(struct endpoint *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(v[i].scheme);
        free(v[i].host);
        free(v[i].ca_pem);
        image_ref_free(&v[i].as);
    }
    free(v);
}
