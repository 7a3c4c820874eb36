/* The formats of strings that schemas may ask for. What is not in the table is not looked at, as Kubernetes does. */
#include "kube/schema/schema_priv.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/timefmt.h"
#include "kube/names.h"

static bool digits(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)s[i]))
            return false;
    return true;
}

static bool is_date(const char *s)
{
    int64_t ns;
    if (strlen(s) != 10)
        return false;
    AUTOFREE char *full = xasprintf("%sT00:00:00Z", s);
    return time_parse(full, &ns);
}

static bool is_date_time(const char *s)
{
    int64_t ns;
    return time_parse(s, &ns);
}

static bool is_duration(const char *s)
{
    int64_t ns;
    if (duration_parse(s, &ns))
        return true;
    /* also "3 days", "1 hour", as go-openapi's strfmt has it */
    char unit[16];
    double n;
    int end = 0;
    if (sscanf(s, "%lf %15[a-z]%n", &n, unit, &end) != 2 || s[end])
        return false;
    static const char *const units[] = {"ns",          "nano", "nanosecond", "us",     "micro", "microsecond", "ms",     "milli",
                                        "millisecond", "s",    "sec",        "second", "m",     "min",         "minute", "h",
                                        "hr",          "hour", "d",          "day",    "w",     "wk",          "week"};
    size_t len = strlen(unit);
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (str_eq(unit, units[i]) ||
            (len > 1 && unit[len - 1] == 's' && strncmp(unit, units[i], len - 1) == 0 && strlen(units[i]) == len - 1))
            return true;
    return false;
}

static bool is_ipv4(const char *s)
{
    unsigned char b[16];
    return inet_pton(AF_INET, s, b) == 1;
}

static bool is_ipv6(const char *s)
{
    unsigned char b[16];
    return inet_pton(AF_INET6, s, b) == 1;
}

static bool is_ip(const char *s) { return is_ipv4(s) || is_ipv6(s); }

static bool is_cidr(const char *s)
{
    const char *slash = strchr(s, '/');
    int64_t bits;
    if (!slash || !str_to_i64(slash + 1, &bits) || bits < 0 || !isdigit((unsigned char)slash[1]))
        return false;
    AUTOFREE char *ip = xstrndup(s, (size_t)(slash - s));
    return is_ipv4(ip) ? bits <= 32 : is_ipv6(ip) && bits <= 128;
}

static bool is_mac(const char *s)
{
    size_t n = strlen(s);
    if (n != 17 && n != 23 && n != 59)
        return false;
    for (size_t i = 0; i < n; i++)
        if (i % 3 == 2 ? s[i] != s[2] || (s[i] != ':' && s[i] != '-') : !isxdigit((unsigned char)s[i]))
            return false;
    return true;
}

static bool is_uri(const char *s)
{
    if (*s == '/')
        return true;
    const char *colon = strchr(s, ':');
    if (!colon || !isalpha((unsigned char)*s) || !colon[1])
        return false;
    for (const char *p = s; p < colon; p++)
        if (!isalnum((unsigned char)*p) && !strchr("+-.", *p))
            return false;
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f)
            return false;
    return true;
}

static bool is_hostname(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > 255)
        return false;
    for (const char *part = s;; part++) {
        size_t len = strcspn(part, ".");
        if (len == 0 ? part[len] != '\0' || part == s : len > 63 || part[0] == '-' || part[len - 1] == '-')
            return false;
        for (size_t i = 0; i < len; i++)
            if (!isalnum((unsigned char)part[i]) && part[i] != '-' && !((unsigned char)part[i] & 0x80))
                return false;
        part += len;
        if (!*part)
            return true;
    }
}

static bool is_email(const char *s)
{
    const char *at = strrchr(s, '@');
    return at && at != s && at[1] && is_hostname(at + 1) && strcspn(s, " \t<>") == strlen(s);
}

/* Any variant of a UUID; hyphens may be left out. */
static bool is_uuid_version(const char *s, char version)
{
    char hex[33];
    size_t n = 0;
    for (; *s; s++) {
        if (*s == '-')
            continue;
        if (!isxdigit((unsigned char)*s) || n == 32)
            return false;
        hex[n++] = *s;
    }
    return n == 32 && (!version || hex[12] == version);
}

static bool is_uuid(const char *s) { return is_uuid_version(s, 0); }
static bool is_uuid3(const char *s) { return is_uuid_version(s, '3'); }
static bool is_uuid4(const char *s) { return is_uuid_version(s, '4'); }
static bool is_uuid5(const char *s) { return is_uuid_version(s, '5'); }

static bool is_byte(const char *s)
{
    unsigned char *out;
    size_t n;
    if (base64_decode(s, strlen(s), &out, &n) < 0)
        return false;
    free(out);
    return true;
}

static bool is_hex(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isxdigit((unsigned char)s[i]))
            return false;
    return s[n] == '\0';
}

static bool is_bson(const char *s) { return strlen(s) == 24 && is_hex(s, 24); }

/* The digits of a text that may be broken by spaces or hyphens; -1 when there is something else, or too many. */
static int plain_digits(const char *s, char *out, size_t max)
{
    size_t n = 0;
    for (; *s; s++) {
        if (*s == ' ' || *s == '-')
            continue;
        if (n == max || (!isdigit((unsigned char)*s) && *s != 'X'))
            return -1;
        out[n++] = *s;
    }
    return (int)n;
}

static bool is_isbn10(const char *s)
{
    char d[10];
    if (plain_digits(s, d, 10) != 10 || !digits(d, 9))
        return false;
    int sum = 0;
    for (int i = 0; i < 10; i++)
        sum += (10 - i) * (d[i] == 'X' ? 10 : d[i] - '0');
    return sum % 11 == 0;
}

static bool is_isbn13(const char *s)
{
    char d[13];
    if (plain_digits(s, d, 13) != 13 || !digits(d, 13))
        return false;
    int sum = 0;
    for (int i = 0; i < 13; i++)
        sum += (d[i] - '0') * (i % 2 ? 3 : 1);
    return sum % 10 == 0;
}

static bool is_isbn(const char *s) { return is_isbn10(s) || is_isbn13(s); }

static bool is_creditcard(const char *s)
{
    char d[19];
    int n = plain_digits(s, d, 19), sum = 0;
    if (n < 13 || !digits(d, (size_t)n))
        return false;
    for (int i = 0; i < n; i++) {
        int x = d[n - 1 - i] - '0';
        sum += i % 2 ? (2 * x > 9 ? 2 * x - 9 : 2 * x) : x;
    }
    return sum % 10 == 0;
}

static bool is_ssn(const char *s)
{
    return strlen(s) == 11 && digits(s, 3) && strchr("- ", s[3]) && digits(s + 4, 2) && strchr("- ", s[6]) && digits(s + 7, 4);
}

static bool is_hexcolor(const char *s)
{
    s += *s == '#';
    size_t n = strlen(s);
    return (n == 3 || n == 6) && is_hex(s, n);
}

static bool is_rgbcolor(const char *s)
{
    int r, g, b, end = 0;
    return sscanf(s, "rgb(%3d,%3d,%3d)%n", &r, &g, &b, &end) == 3 && end > 0 && !s[end] && r >= 0 && r < 256 && g >= 0 &&
           g < 256 && b >= 0 && b < 256;
}

static bool is_short_name(const char *s) { return name_dns1123_label(s).n == 0; }

static bool is_long_name(const char *s) { return name_dns1123_subdomain(s).n == 0; }

static const struct {
    const char *name;
    bool (*ok)(const char *);
} formats[] = {
    {"date", is_date},
    {"date-time", is_date_time},
    {"datetime", is_date_time},
    {"duration", is_duration},
    {"ipv4", is_ipv4},
    {"ipv6", is_ipv6},
    {"ip", is_ip},
    {"cidr", is_cidr},
    {"mac", is_mac},
    {"uri", is_uri},
    {"hostname", is_hostname},
    {"email", is_email},
    {"uuid", is_uuid},
    {"uuid3", is_uuid3},
    {"uuid4", is_uuid4},
    {"uuid5", is_uuid5},
    {"byte", is_byte},
    {"bsonobjectid", is_bson},
    {"isbn", is_isbn},
    {"isbn10", is_isbn10},
    {"isbn13", is_isbn13},
    {"creditcard", is_creditcard},
    {"ssn", is_ssn},
    {"hexcolor", is_hexcolor},
    {"rgbcolor", is_rgbcolor},
    {"k8s-short-name", is_short_name},
    {"k8s-long-name", is_long_name},
};

bool schema_format_ok(const char *format, const char *text)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (str_eq(formats[i].name, format))
            return formats[i].ok(text);
    return true;
}

/* ---- the formats of CEL's format.named() --------------------------------------------------------------------------------------
 */

static void add_faults(struct name_faults f, struct strlist *out)
{
    for (size_t i = 0; i < f.n; i++)
        strlist_add(out, f.text[i]);
}

/* What generateName makes of a prefix is good although the prefix ends with a dash. */
static void check_prefix(struct name_faults (*rule)(const char *), const char *s, struct strlist *out)
{
    size_t n = strlen(s);
    if (n < 2 || s[n - 1] != '-') {
        add_faults(rule(s), out);
        return;
    }
    AUTOFREE char *masked = xasprintf("%.*sa", (int)(n - 2), s);
    add_faults(rule(masked), out);
}

static void named_label(const char *s, struct strlist *out) { add_faults(name_dns1123_label(s), out); }
static void named_subdomain(const char *s, struct strlist *out) { add_faults(name_dns1123_subdomain(s), out); }
static void named_dns1035(const char *s, struct strlist *out) { add_faults(name_dns1035_label(s), out); }
static void named_label_prefix(const char *s, struct strlist *out) { check_prefix(name_dns1123_label, s, out); }
static void named_subdomain_prefix(const char *s, struct strlist *out) { check_prefix(name_dns1123_subdomain, s, out); }
static void named_dns1035_prefix(const char *s, struct strlist *out) { check_prefix(name_dns1035_label, s, out); }
static void named_qualified(const char *s, struct strlist *out) { add_faults(name_qualified(s), out); }
static void named_label_value(const char *s, struct strlist *out) { add_faults(name_label_value(s), out); }

static void named_uri(const char *s, struct strlist *out)
{
    if (!is_uri(s))
        strlist_addf(out, "parse \"%s\": invalid URI for request", s);
}

static void named_uuid(const char *s, struct strlist *out)
{
    if (!is_uuid(s))
        strlist_add(out, "does not match the UUID format");
}

static void named_byte(const char *s, struct strlist *out)
{
    if (!is_byte(s))
        strlist_add(out, "invalid base64");
}

static void named_date(const char *s, struct strlist *out)
{
    if (!is_date(s))
        strlist_add(out, "invalid date");
}

static void named_datetime(const char *s, struct strlist *out)
{
    if (!is_date_time(s))
        strlist_add(out, "invalid datetime");
}

const struct cel_format schema_named_formats[] = {
    {"dns1123Label", named_label},
    {"dns1123Subdomain", named_subdomain},
    {"dns1035Label", named_dns1035},
    {"qualifiedName", named_qualified},
    {"dns1123LabelPrefix", named_label_prefix},
    {"dns1123SubdomainPrefix", named_subdomain_prefix},
    {"dns1035LabelPrefix", named_dns1035_prefix},
    {"labelValue", named_label_value},
    {"uri", named_uri},
    {"uuid", named_uuid},
    {"byte", named_byte},
    {"date", named_date},
    {"datetime", named_datetime},
    {0},
};
