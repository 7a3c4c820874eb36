/* blob_settings.c - how to reach a store: copied, as JSON, from a query string. */
#include <stdlib.h>
#include <strings.h>

#include "data/blob.h"

/* The texts of a blob_settings, by name. */
static const struct {
    const char *name;
    size_t at;
} texts[] = {
    {"provider", offsetof(struct blob_settings, provider)},    {"endpoint", offsetof(struct blob_settings, endpoint)},
    {"region", offsetof(struct blob_settings, region)},        {"accessKey", offsetof(struct blob_settings, access_key)},
    {"secretKey", offsetof(struct blob_settings, secret_key)}, {"sessionToken", offsetof(struct blob_settings, session_token)},
    {"token", offsetof(struct blob_settings, token)},          {"caPem", offsetof(struct blob_settings, ca_pem)},
};
static const struct {
    const char *name;
    size_t at;
} flags[] = {
    {"noTls", offsetof(struct blob_settings, no_tls)},
    {"virtualHost", offsetof(struct blob_settings, virtual_host)},
    {"anonymous", offsetof(struct blob_settings, anonymous)},
    {"fromEnv", offsetof(struct blob_settings, from_env)},
};

static char **text_of(struct blob_settings *s, size_t k) { return (char **)((char *)s + texts[k].at); }

static bool *flag_of(struct blob_settings *s, size_t k) { return (bool *)((char *)s + flags[k].at); }

void blob_settings_clear(struct blob_settings *s)
{
    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        free(*text_of(s, k));
    *s = (struct blob_settings){0};
}

void blob_settings_copy(struct blob_settings *to, const struct blob_settings *from)
{
    *to = *from;
    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        *text_of(to, k) = xstrdup(*text_of(to, k));
}

jmval *blob_settings_json(struct jm *m, const struct blob_settings *s)
{
    struct blob_settings *v = (struct blob_settings *)(uintptr_t)s;
    jmval *o = jm_obj(m);
    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        if (*text_of(v, k))
            jm_put(m, o, texts[k].name, jm_str(m, *text_of(v, k)));
    for (size_t k = 0; k < ARRAY_LEN(flags); k++)
        if (*flag_of(v, k))
            jm_put(m, o, flags[k].name, jm_bool(m, true));
    if (s->max_retries)
        jm_put(m, o, "maxRetries", jm_i64(m, s->max_retries));
    if (s->timeout_ns)
        jm_put(m, o, "timeoutNs", jm_i64(m, s->timeout_ns));
    if (s->part_size)
        jm_put(m, o, "partSize", jm_i64(m, (int64_t)s->part_size));
    return o;
}

int blob_settings_from_json(jval *v, struct blob_settings *out, struct err *err)
{
    *out = (struct blob_settings){0};
    if (!jv_is(v, J_OBJECT))
        return err_set(err, ERR_BAD_REQUEST, "settings of an object store must be a JSON object");
    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        *text_of(out, k) = xstrdup(jv_str(jv_get(v, texts[k].name)));
    for (size_t k = 0; k < ARRAY_LEN(flags); k++)
        *flag_of(out, k) = jv_bool(jv_get(v, flags[k].name), false);
    int64_t retries = jv_i64_or(jv_get(v, "maxRetries"), 0), part = jv_i64_or(jv_get(v, "partSize"), 0);
    out->max_retries = retries < -1 || retries > 100 ? 0 : (int)retries;
    out->part_size = part < 0 || part > (1 << 30) ? 0 : (size_t)part;
    out->timeout_ns = jv_i64_or(jv_get(v, "timeoutNs"), 0);
    return 0;
}

/* ---- query strings -------------------------------------------------------------------------------------------- */

static int set_flag(bool *flag, bool inverted, const char *name, const char *value, struct err *err)
{
    static const char *const yes[] = {"true", "t", "1"}, *const no[] = {"false", "f", "0"};
    for (size_t k = 0; k < ARRAY_LEN(yes); k++) {
        if (strcasecmp(value, yes[k]) == 0)
            return *flag = !inverted, 0;
        if (strcasecmp(value, no[k]) == 0)
            return *flag = inverted, 0;
    }
    return err_set(err, ERR_INVALID, "query parameter %s must be true or false, not \"%.40s\"", name, value);
}

static int set_text(char **text, const char *value)
{
    free(*text);
    *text = xstrdup(value);
    return 0;
}

static int one(struct blob_settings *s, const char *name, const char *value, struct err *err)
{
    if (str_eq(name, "region"))
        return set_text(&s->region, value);
    if (str_eq(name, "endpoint"))
        return set_text(&s->endpoint, value);
    if (str_eq(name, "disableSSL") || str_eq(name, "disable_https"))
        return set_flag(&s->no_tls, false, name, value, err);
    if (str_eq(name, "s3ForcePathStyle") || str_eq(name, "use_path_style"))
        return set_flag(&s->virtual_host, true, name, value, err);
    if (str_eq(name, "anonymous"))
        return set_flag(&s->anonymous, false, name, value, err);
    /* What says how Go's SDK is to be used, and nothing about the store. */
    static const char *const known[] = {
        "awssdk",    "profile",        "hostname_immutable",           "dualstack",
        "fips",      "accelerate",     "request_checksum_calculation", "response_checksum_validation",
        "access_id", "universe_domain"};
    for (size_t k = 0; k < ARRAY_LEN(known); k++)
        if (str_eq(name, known[k]))
            return 0;
    return err_set(err, ERR_INVALID,
                   "query parameter \"%.60s\" is unknown: region, endpoint, disableSSL, s3ForcePathStyle and anonymous are known",
                   name);
}

int blob_settings_query(struct blob_settings *s, const char *query, struct err *err)
{
    STRLIST(parts);
    str_split(query, '&', &parts);
    for (size_t k = 0; k < parts.n; k++) {
        char *part = parts.v[k], *eq = strchr(part, '=');
        AUTOFREE char *name = NULL;
        AUTOFREE char *value = NULL;
        if (!*part)
            continue;
        size_t n = eq ? (size_t)(eq - part) : strlen(part);
        if (url_decode(part, n, true, &name) < 0 || url_decode(eq ? eq + 1 : "", eq ? strlen(eq + 1) : 0, true, &value) < 0)
            return err_set(err, ERR_INVALID, "query string \"%.100s\" is badly encoded", query);
        if (one(s, name, value, err) < 0)
            return -1;
    }
    return 0;
}
