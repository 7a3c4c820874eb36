#include "pipelines/engine/providers.h"

#include <stdlib.h>

#include "value/yaml.h"

/* What the manifests of Kubeflow install, for minio:// without a section. */
#define MINIO_ENDPOINT "seaweedfs.kubeflow:9000"
#define MINIO_REGION   "minio"
#define MINIO_SECRET   "mlpipeline-minio-artifact"

void provider_choice_clear(struct provider_choice *c)
{
    blob_settings_clear(&c->set);
    free(c->secret);
    free(c->access_key_key);
    free(c->secret_key_key);
    free(c->token_key);
    *c = (struct provider_choice){0};
}

struct json *providers_parse(const char *text, size_t n, struct err *err)
{
    static const struct json_opts opts = {.max_depth = 16};
    struct json *d = yaml_parse_one(text, n, &opts, err);
    if (d && (jv_is(json_root(d), J_OBJECT) || jv_is(json_root(d), J_NULL)))
        return d;
    if (d)
        err_set(err, ERR_INVALID, "it must be a map with the sections s3, minio and gs, not %s",
                jtype_name(jv_type(json_root(d))));
    json_unref(d);
    err_wrap(err, "invalid provider config");
    if (err)
        err->code = ERR_INVALID;
    return NULL;
}

bool providers_have(jval *providers, const char *scheme) { return jv_present(jv_get(providers, scheme)); }

/* YAML writes flags as booleans or, by people who have been bitten, as strings. */
static bool flag(jval *v, bool dflt)
{
    const char *s = jv_str(v);
    return s ? str_eq(s, "true") : jv_bool(v, dflt);
}

static int take_text(jval *v, const char *name, char **to, struct err *err)
{
    jval *x = jv_get(v, name);
    if (!jv_present(x))
        return 0;
    if (!jv_str(x))
        return err_set(err, ERR_INVALID, "invalid provider config: %s must be a string, not %s", name, jtype_name(jv_type(x)));
    free(*to);
    *to = str_empty(jv_str(x)) ? NULL : xstrdup(jv_str(x));
    return 0;
}

static int take_place(jval *section, struct blob_settings *s, struct err *err)
{
    if (take_text(section, "endpoint", &s->endpoint, err) < 0 || take_text(section, "region", &s->region, err) < 0)
        return -1;
    if (jv_present(jv_get(section, "disableSSL")))
        s->no_tls = flag(jv_get(section, "disableSSL"), false);
    if (jv_present(jv_get(section, "forcePathStyle")))
        s->virtual_host = !flag(jv_get(section, "forcePathStyle"), true);
    int64_t retries = 0;
    jval *r = jv_get(section, "maxRetries");
    if (jv_i64(r, &retries) || (jv_str(r) && str_to_i64(jv_str(r), &retries)))
        s->max_retries = retries <= 0 ? -1 : retries > 100 ? 100 : (int)retries;
    else if (jv_present(r))
        return err_set(err, ERR_INVALID, "invalid provider config: maxRetries must be a number");
    return 0;
}

static int take_credentials(jval *credentials, bool gs, struct provider_choice *c, struct err *err)
{
    if (flag(jv_get(credentials, "fromEnv"), false)) {
        c->set.from_env = true;
        free(TAKE(c->secret));
        return 0;
    }
    jval *ref = jv_get(credentials, "secretRef");
    c->set.from_env = false;
    if (take_text(ref, "secretName", &c->secret, err) < 0 || take_text(ref, "accessKeyKey", &c->access_key_key, err) < 0 ||
        take_text(ref, "secretKeyKey", &c->secret_key_key, err) < 0 || take_text(ref, "tokenKey", &c->token_key, err) < 0)
        return -1;
    /* Google Cloud Storage takes a key file, or the HMAC keys of its S3 face. */
    bool hmac = c->access_key_key && c->secret_key_key;
    if (c->secret && (gs ? c->token_key || hmac : hmac))
        return 0;
    return err_set(err, ERR_INVALID, "invalid provider config: %s",
                   gs ? "secretRef needs secretName and tokenKey" : "secretRef needs secretName, accessKeyKey and secretKeyKey");
}

/* The first override for this bucket whose prefix the key begins with. */
static jval *override_for(jval *section, const char *bucket, const char *key)
{
    jval *list = jv_get(section, "Overrides"), *o;
    if (!list)
        list = jv_get(section, "overrides");
    for (struct jiter it = jv_iter(list); jv_is(list, J_ARRAY) && jv_next(&it, NULL, &o);) {
        const char *b = jv_str_or(jv_get(o, "bucketName"), ""), *p = jv_str_or(jv_get(o, "keyPrefix"), "");
        while (*p == '/')
            p++;
        size_t n = strlen(p);
        while (n > 0 && p[n - 1] == '/')
            n--;
        if (str_eq(b, bucket) && strncmp(key, p, n) == 0 && (n == 0 || key[n] == '/' || key[n] == '\0'))
            return o;
    }
    return NULL;
}

static int from_section(jval *section, const char *bucket, const char *key, struct provider_choice *c, struct err *err)
{
    bool gs = str_eq(c->set.provider, "gs");
    jval *dflt = jv_get(section, "default"), *o = override_for(section, bucket, key);
    if (!jv_present(jv_get(dflt, "credentials")))
        return err_set(err, ERR_INVALID, "invalid provider config: missing default credentials");
    if (take_place(dflt, &c->set, err) < 0)
        return -1;
    if (!o)
        return take_credentials(jv_get(dflt, "credentials"), gs, c, err);
    if (!jv_present(jv_get(o, "credentials")))
        return err_set(err, ERR_INVALID, "invalid provider config: missing override credentials for bucket %s", bucket);
    return take_place(o, &c->set, err) < 0 ? -1 : take_credentials(jv_get(o, "credentials"), gs, c, err);
}

static void kubeflows_own(struct provider_choice *c)
{
    c->set.endpoint = xstrdup(MINIO_ENDPOINT);
    c->set.region = xstrdup(MINIO_REGION);
    c->set.no_tls = true;
    c->secret = xstrdup(MINIO_SECRET);
    c->access_key_key = xstrdup("accesskey");
    c->secret_key_key = xstrdup("secretkey");
}

static int pick(jval *providers, const char *bucket, const char *key, const char *query, struct provider_choice *c,
                struct err *err)
{
    if (!str_empty(query)) {
        c->set.from_env = true;
        if (blob_settings_query(&c->set, query, err) < 0)
            return err_wrap(err, "pipeline root");
        c->set.from_env = !c->set.anonymous;
        return 0;
    }
    if (providers_have(providers, c->set.provider))
        return from_section(jv_get(providers, c->set.provider), bucket, key, c, err);
    if (str_eq(c->set.provider, "minio"))
        kubeflows_own(c);
    else
        c->set.from_env = true;
    return 0;
}

int providers_pick(jval *providers, const char *scheme, const char *bucket, const char *key, const char *query,
                   struct provider_choice *out, struct err *err)
{
    *out = (struct provider_choice){0};
    if (!str_eq(scheme, "s3") && !str_eq(scheme, "minio") && !str_eq(scheme, "gs"))
        return err_set(err, ERR_INVALID, "%s://%s: unsupported Cloud bucket; gs://, s3:// and minio:// are served", scheme,
                       bucket);
    out->set.provider = xstrdup(scheme);
    if (pick(providers, bucket, key, query, out, err) == 0)
        return 0;
    provider_choice_clear(out);
    return -1;
}
