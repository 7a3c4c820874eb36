#include "cluster/node/images/ref.h"

#include <stdlib.h>

#include "base/str.h"

enum { NAME_MAX_LEN = 255, TAG_MAX = 128, TEXT_MAX = 1024, SHA256_HEX = 64, DIGEST_HEX_MIN = 32 };
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"
#define HEX   "0123456789abcdef"

void image_ref_free(struct image_ref *r)
{
    free(r->domain);
    free(r->path);
    free(r->tag);
    free(r->digest);
    *r = (struct image_ref){0};
}

char *image_ref_repo(const struct image_ref *r) { return xasprintf("%s/%s", r->domain, r->path); }

char *image_ref_full(const struct image_ref *r)
{
    return xasprintf("%s/%s%s%s%s%s", r->domain, r->path, r->tag ? ":" : "", r->tag ? r->tag : "", r->digest ? "@" : "",
                     r->digest ? r->digest : "");
}

char *image_ref_short(const struct image_ref *r)
{
    AUTOFREE char *full = image_ref_full(r);
    const char *s = full;
    if (str_starts(s, "docker.io/"))
        s += strlen("docker.io/");
    if (s != full && str_starts(s, "library/"))
        s += strlen("library/");
    return xstrdup(s);
}

bool digest_is_sha256(const char *d)
{
    return d && str_starts(d, "sha256:") && strlen(d) == 7 + SHA256_HEX && strspn(d + 7, HEX) == SHA256_HEX;
}

/* ---- grammar ------------------------------------------------------------------------------------------------------- */

/* algorithm ":" hex, where an algorithm is letters and digits with single separators between. */
static bool is_digest(const char *d)
{
    size_t n = strcspn(d, ":");
    if (!n || !d[n] || !strchr(LOWER UPPER, d[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!strchr(LOWER UPPER DIGIT, d[i]) && (!strchr("+._-", d[i]) || i + 1 == n || strchr("+._-", d[i + 1])))
            return false;
    const char *hex = d + n + 1;
    return strlen(hex) >= DIGEST_HEX_MIN && hex[strspn(hex, HEX)] == 0 && (!str_starts(d, "sha256:") || digest_is_sha256(d));
}

static bool is_tag(const char *t)
{
    size_t n = strlen(t);
    return n > 0 && n <= TAG_MAX && strchr(LOWER UPPER DIGIT "_", t[0]) && strspn(t, LOWER UPPER DIGIT "_.-") == n;
}

/* Letters and digits with '.', '_', '__' or any number of '-' between. */
static bool is_component(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t word = strspn(s + i, LOWER DIGIT);
        if (!word)
            return false;
        i += word;
        if (i >= n)
            return i == n;
        size_t dashes = strspn(s + i, "-"), lines = strspn(s + i, "_");
        i += s[i] == '.' ? 1 : dashes ? dashes : lines == 1 || lines == 2 ? lines : n + 1;
    }
    return false;
}

static bool is_path(const char *path)
{
    for (const char *at = path;; at++) {
        size_t n = strcspn(at, "/");
        if (!is_component(at, n))
            return false;
        at += n;
        if (!*at)
            return true;
    }
}

static bool is_domain(const char *d)
{
    const char *port = d;
    if (*d == '[') {
        port = strchr(d, ']');
        if (!port || port == d + 1 || strspn(d + 1, HEX "ABCDEF:") != (size_t)(port - d - 1))
            return false;
        port++;
    } else {
        size_t n = strcspn(d, ":");
        for (size_t i = 0; i < n; i++) {
            bool edge = i == 0 || i + 1 == n || d[i - 1] == '.' || d[i + 1] == '.';
            if (!strchr(LOWER UPPER DIGIT, d[i]) && ((d[i] != '-' && d[i] != '.') || edge))
                return false;
        }
        if (!n)
            return false;
        port = d + n;
    }
    return !*port || (*port == ':' && port[1] && strlen(port) <= 6 && port[1 + strspn(port + 1, DIGIT)] == 0);
}

/* The first part is a host if it looks like one. */
static void split_domain(const char *name, struct image_ref *out)
{
    const char *slash = strchr(name, '/');
    size_t n = slash ? (size_t)(slash - name) : 0;
    AUTOFREE char *first = xstrndup(name, n);
    if (slash && (strpbrk(first, ".:") || str_eq(first, "localhost") || strpbrk(first, UPPER))) {
        out->domain = xstrdup(str_eq(first, "index.docker.io") ? "docker.io" : first);
        out->path = xstrdup(slash + 1);
    } else {
        out->domain = xstrdup("docker.io");
        out->path = xstrdup(name);
    }
    if (str_eq(out->domain, "docker.io") && !strchr(out->path, '/')) {
        char *whole = xasprintf("library/%s", out->path);
        free(out->path);
        out->path = whole;
    }
}

static const char *wrong(const char *text, struct image_ref *out)
{
    if (!*text || strlen(text) > TEXT_MAX)
        return "invalid reference format";
    if (strlen(text) == SHA256_HEX && strspn(text, HEX) == SHA256_HEX)
        return "invalid repository name, cannot specify 64-byte hexadecimal strings";
    AUTOFREE char *name = xstrdup(text);
    char *at = strchr(name, '@');
    if (at) {
        *at = 0;
        if (!is_digest(at + 1))
            return "invalid reference format";
        out->digest = xstrdup(at + 1);
    }
    char *slash = strrchr(name, '/'), *colon = strrchr(name, ':');
    if (colon && (!slash || colon > slash)) {
        *colon = 0;
        if (!is_tag(colon + 1))
            return "invalid reference format";
        out->tag = xstrdup(colon + 1);
    }
    split_domain(name, out);
    if (strpbrk(out->path, UPPER))
        return "invalid reference format: repository name must be lowercase";
    if (!is_path(out->path) || !is_domain(out->domain))
        return "invalid reference format";
    if (strlen(out->path) > NAME_MAX_LEN)
        return "invalid reference format: repository name must not be more than 255 characters";
    return NULL;
}

int image_ref_parse(const char *text, struct image_ref *out, struct err *err)
{
    *out = (struct image_ref){0};
    const char *why = wrong(text, out);
    if (why) {
        image_ref_free(out);
        return err_set(err, ERR_BAD_REQUEST, "Failed to apply default image tag \"%s\": couldn't parse image name \"%s\": %s",
                       text, text, why);
    }
    if (!out->tag && !out->digest)
        out->tag = xstrdup("latest");
    return 0;
}
