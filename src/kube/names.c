#include "kube/names.h"

#include <ctype.h>
#include <string.h>

#define SUBDOMAIN_TEXT                                                                                                           \
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "     \
    "with "                                                                                                                      \
    "an alphanumeric character (e.g. 'example.com', regex used for validation is "                                               \
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define QUALIFIED_TEXT                                                                                                           \
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "     \
    "'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"

static void add(struct name_faults *f, const char *text)
{
    ASSERT(f->n < ARRAY_LEN(f->text));
    f->text[f->n++] = text;
}

static bool lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

static bool alnum(char c) { return lower_alnum(c) || (c >= 'A' && c <= 'Z'); }

/* [a-z0-9]([-a-z0-9]*[a-z0-9])? over n bytes. */
static bool is_label(const char *s, size_t n)
{
    if (n == 0 || !lower_alnum(s[0]) || !lower_alnum(s[n - 1]))
        return false;
    for (size_t i = 1; i + 1 < n; i++)
        if (!lower_alnum(s[i]) && s[i] != '-')
            return false;
    return true;
}

static bool is_subdomain(const char *s, size_t n)
{
    for (;;) {
        const char *dot = memchr(s, '.', n);
        size_t part = dot ? (size_t)(dot - s) : n;
        if (!is_label(s, part))
            return false;
        if (!dot)
            return true;
        s += part + 1;
        n -= part + 1;
    }
}

/* ([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9] */
static bool is_qualified(const char *s, size_t n)
{
    if (n == 0 || !alnum(s[0]) || !alnum(s[n - 1]))
        return false;
    for (size_t i = 1; i + 1 < n; i++)
        if (!alnum(s[i]) && s[i] != '-' && s[i] != '_' && s[i] != '.')
            return false;
    return true;
}

struct name_faults name_dns1123_label(const char *s)
{
    struct name_faults f = {0};
    size_t n = strlen(s);
    if (n > 63)
        add(&f, "must be no more than 63 characters");
    if (is_label(s, n))
        return f;
    add(&f,
        is_subdomain(s, n)
            ? "must not contain dots"
            : "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
              "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
              "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')");
    return f;
}

struct name_faults name_dns1123_subdomain(const char *s)
{
    struct name_faults f = {0};
    size_t n = strlen(s);
    if (n > 253)
        add(&f, "must be no more than 253 characters");
    if (!is_subdomain(s, n))
        add(&f, SUBDOMAIN_TEXT);
    return f;
}

struct name_faults name_dns1035_label(const char *s)
{
    struct name_faults f = {0};
    size_t n = strlen(s);
    if (n > 63)
        add(&f, "must be no more than 63 characters");
    if (!is_label(s, n) || !(s[0] >= 'a' && s[0] <= 'z'))
        add(&f,
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and "
            "end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
            "'[a-z]([-a-z0-9]*[a-z0-9])?')");
    return f;
}

struct name_faults name_path_segment(const char *s)
{
    struct name_faults f = {0};
    if (strcmp(s, ".") == 0) {
        add(&f, "may not be '.'");
        return f;
    }
    if (strcmp(s, "..") == 0) {
        add(&f, "may not be '..'");
        return f;
    }
    if (strchr(s, '/'))
        add(&f, "may not contain '/'");
    if (strchr(s, '%'))
        add(&f, "may not contain '%'");
    return f;
}

struct name_faults name_qualified(const char *s)
{
    struct name_faults f = {0};
    const char *slash = strchr(s, '/');
    if (slash && strchr(slash + 1, '/')) {
        add(&f, "a qualified name " QUALIFIED_TEXT " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')");
        return f;
    }
    if (slash) {
        size_t prefix = (size_t)(slash - s);
        if (prefix == 0)
            add(&f, "prefix part must be non-empty");
        else {
            if (prefix > 253)
                add(&f, "prefix part must be no more than 253 characters");
            if (!is_subdomain(s, prefix))
                add(&f, "prefix part " SUBDOMAIN_TEXT);
        }
        s = slash + 1;
    }
    size_t n = strlen(s);
    if (n == 0)
        add(&f, "name part must be non-empty");
    else if (n > 63)
        add(&f, "name part must be no more than 63 characters");
    if (!is_qualified(s, n))
        add(&f, "name part " QUALIFIED_TEXT);
    return f;
}

struct name_faults name_label_value(const char *s)
{
    struct name_faults f = {0};
    size_t n = strlen(s);
    if (n > 63)
        add(&f, "must be no more than 63 characters");
    if (n > 0 && !is_qualified(s, n))
        add(&f, "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
                "and end "
                "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
                "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')");
    return f;
}

struct name_faults name_port(const char *s)
{
    struct name_faults f = {0};
    size_t n = strlen(s);
    bool charset = n > 0, letter = false;
    for (size_t i = 0; i < n; i++) {
        charset &= lower_alnum(s[i]) || s[i] == '-';
        letter |= s[i] >= 'a' && s[i] <= 'z';
    }
    if (n > 15)
        add(&f, "must be no more than 15 characters");
    if (!charset)
        add(&f, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    if (!letter)
        add(&f, "must contain at least one letter (a-z)");
    if (strstr(s, "--"))
        add(&f, "must not contain consecutive hyphens");
    if (n > 0 && (s[0] == '-' || s[n - 1] == '-'))
        add(&f, "must not begin or end with a hyphen");
    return f;
}

struct name_faults name_env_var(const char *s)
{
    struct name_faults f = {0};
    bool good = *s != '\0';
    for (const char *p = s; *p; p++)
        good &= *p >= ' ' && *p <= '~' && *p != '=';
    if (!good)
        add(&f, "a valid environment variable name must consist only of printable ASCII characters other than '='");
    return f;
}

struct name_faults name_config_key(const char *s)
{
    struct name_faults f = {0};
    size_t n = strlen(s);
    bool good = n > 0;
    for (size_t i = 0; i < n; i++)
        good &= alnum(s[i]) || s[i] == '-' || s[i] == '_' || s[i] == '.';
    if (n > 253)
        add(&f, "must be no more than 253 characters");
    if (!good)
        add(&f,
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
            "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')");
    if (strcmp(s, ".") == 0)
        add(&f, "must not be '.'");
    else if (strcmp(s, "..") == 0)
        add(&f, "must not be '..'");
    else if (strncmp(s, "..", 2) == 0)
        add(&f, "must not start with '..'");
    return f;
}

struct name_faults name_http_header(const char *s)
{
    struct name_faults f = {0};
    bool good = *s != '\0';
    for (const char *p = s; *p; p++)
        good &= alnum(*p) || *p == '-';
    if (!good)
        add(&f,
            "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation "
            "is '[-A-Za-z0-9]+')");
    return f;
}

struct name_faults name_dns_search(const char *s)
{
    struct name_faults f = {0};
    size_t n = strlen(s), start = 0;
    bool good = n > 0;
    AUTOFREE char *plain = xstrdup(s); /* underscores may stand where hyphens may, and before a part */
    n -= n > 1 && s[n - 1] == '.';
    for (size_t i = 0; i <= n && good; i++) {
        if (i < n && s[i] != '.') {
            plain[i] = s[i] == '_' ? '-' : s[i];
            continue;
        }
        size_t skip = s[start] == '_';
        good = i > start && is_label(plain + start + skip, i - start - skip);
        start = i + 1;
    }
    if (n > 253)
        add(&f, "must be no more than 253 characters");
    if (!good)
        add(&f, "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must "
                "start and "
                "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
                "'_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')");
    return f;
}
