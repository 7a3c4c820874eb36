#include "data/blob_sigv4.h"

#include <stdlib.h>
#include <time.h>

#include "base/ctx.h"
#include "data/blob_crypto.h"

void sig_time(int64_t wall_ns, char out[17])
{
    time_t t = (time_t)(wall_ns / NS_PER_S);
    struct tm tm;
    gmtime_r(&t, &tm);
    if (strftime(out, 17, "%Y%m%dT%H%M%SZ", &tm) != 16)
        strcpy(out, "19700101T000000Z");
}

char *sig_encode(const char *s, bool path)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = xmalloc(3 * strlen(s) + 1), *o = out;
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        if (plain || (path && c == '/')) {
            *o++ = (char)c;
        } else {
            *o++ = '%';
            *o++ = hex[c >> 4];
            *o++ = hex[c & 15];
        }
    }
    *o = '\0';
    return out;
}

char *sig_query(const struct sig_pair *v, size_t n)
{
    STRLIST(parts);
    for (size_t i = 0; i < n; i++) {
        AUTOFREE char *name = sig_encode(v[i].name, false);
        AUTOFREE char *value = sig_encode(v[i].value, false);
        strlist_addf(&parts, "%s=%s", name, value);
    }
    strlist_sort(&parts);
    return strlist_join(&parts, "&");
}

/* host and the fields, sorted: "name:value\n"... and "name;name". */
static void canonical_fields(const struct sig_request *r, struct buf *lines, struct buf *names)
{
    STRLIST(l);
    strlist_addf(&l, "host:%s", r->host);
    for (size_t i = 0; i < r->n_fields; i++)
        strlist_addf(&l, "%s:%s", r->fields[i].name, r->fields[i].value);
    strlist_sort(&l);
    for (size_t i = 0; i < l.n; i++) {
        buf_addf(lines, "%s\n", l.v[i]);
        buf_addf(names, "%s%.*s", i ? ";" : "", (int)strcspn(l.v[i], ":"), l.v[i]);
    }
}

static char *scope_of(const struct sig_key *k, const char *time)
{
    return xasprintf("%.8s/%s/%s/%s", time, k->region, k->service, k->google ? "goog4_request" : "aws4_request");
}

static const char *algorithm(const struct sig_key *k)
{
    return k->rsa_pem ? "GOOG4-RSA-SHA256" : k->google ? "GOOG4-HMAC-SHA256" : "AWS4-HMAC-SHA256";
}

static char *string_to_sign(const struct sig_request *r, const struct sig_key *k, const char *time, const char *query,
                            const char *lines, const char *names)
{
    AUTOFREE char *canonical = xasprintf("%s\n%s\n%s\n%s\n%s\n%s", r->method, r->path, query, lines, names, r->payload);
    unsigned char digest[BLOB_SHA256_SIZE];
    blob_digest(BLOB_SHA256, canonical, strlen(canonical), digest);
    AUTOFREE char *hex = hex_encode(digest, sizeof digest);
    AUTOFREE char *scope = scope_of(k, time);
    return xasprintf("%s\n%s\n%s\n%s", algorithm(k), time, scope, hex);
}

static char *signature(const struct sig_key *k, const char *time, const char *text, struct err *err)
{
    if (k->rsa_pem) {
        unsigned char *sig;
        size_t n;
        if (blob_rsa_sha256(k->rsa_pem, text, strlen(text), &sig, &n, err) < 0)
            return NULL;
        char *hex = hex_encode(sig, n);
        free(sig);
        return hex;
    }
    unsigned char h[BLOB_SHA256_SIZE];
    AUTOFREE char *secret = xasprintf("%s%s", k->google ? "GOOG4" : "AWS4", k->secret);
    blob_hmac_sha256(secret, strlen(secret), time, 8, h);
    const char *const steps[] = {k->region, k->service, k->google ? "goog4_request" : "aws4_request", text};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        unsigned char next[BLOB_SHA256_SIZE];
        blob_hmac_sha256(h, sizeof h, steps[i], strlen(steps[i]), next);
        memcpy(h, next, sizeof h);
    }
    return hex_encode(h, sizeof h);
}

char *sig_authorization(const struct sig_request *r, const struct sig_key *k, const char *time)
{
    BUF(lines);
    BUF(names);
    canonical_fields(r, &lines, &names);
    AUTOFREE char *query = sig_query(r->params, r->n_params);
    AUTOFREE char *text = string_to_sign(r, k, time, query, buf_str(&lines), buf_str(&names));
    AUTOFREE char *sig = signature(k, time, text, NULL);
    AUTOFREE char *scope = scope_of(k, time);
    return xasprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s", algorithm(k), k->access, scope, buf_str(&names), sig);
}

char *sig_presign(const struct sig_request *r, const struct sig_key *k, const char *time, int64_t seconds, struct err *err)
{
    const char *x = k->google ? "X-Goog-" : "X-Amz-";
    AUTOFREE char *scope = scope_of(k, time);
    AUTOFREE char *who = xasprintf("%s/%s", k->access, scope);
    AUTOFREE char *expires = xasprintf("%lld", (long long)seconds);
    AUTOFREE char *n_alg = xasprintf("%sAlgorithm", x), *n_cred = xasprintf("%sCredential", x), *n_date = xasprintf("%sDate", x),
                  *n_exp = xasprintf("%sExpires", x), *n_fields = xasprintf("%sSignedHeaders", x),
                  *n_token = xasprintf("%sSecurity-Token", x);
    BUF(lines);
    BUF(names);
    canonical_fields(r, &lines, &names);
    struct sig_pair v[6 + 16] = {
        {n_alg, algorithm(k)}, {n_cred, who}, {n_date, time}, {n_exp, expires}, {n_fields, buf_str(&names)}, {n_token, k->token},
    };
    size_t n = k->token ? 6 : 5;
    ASSERT(r->n_params <= 16);
    for (size_t i = 0; i < r->n_params; i++)
        v[n++] = r->params[i];
    AUTOFREE char *query = sig_query(v, n);
    AUTOFREE char *text = string_to_sign(r, k, time, query, buf_str(&lines), buf_str(&names));
    AUTOFREE char *sig = signature(k, time, text, err);
    return sig ? xasprintf("%s&%sSignature=%s", query, x, sig) : NULL;
}
