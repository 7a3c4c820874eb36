#include "data/blob_aws.h"

#include <ctype.h>
#include <stdlib.h>
#include <time.h>

#include "base/fs.h"
#include "data/blob_sigv4.h"
#include "data/blob_xml.h"

enum { FILE_MAX = 1 << 20 };

void aws_keys_clear(struct aws_keys *k)
{
    free(k->access);
    free(k->secret);
    free(k->token);
    *k = (struct aws_keys){0};
}

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return str_empty(v) ? NULL : v;
}

/* ---- the credentials file ------------------------------------------------------------------------------------- */

static char *trimmed(const char *p, size_t n)
{
    while (n > 0 && isspace((unsigned char)*p))
        p++, n--;
    while (n > 0 && isspace((unsigned char)p[n - 1]))
        n--;
    return xstrndup(p, n);
}

static void ini_line(const char *line, struct aws_keys *out)
{
    const char *eq = strchr(line, '=');
    if (!eq)
        return;
    AUTOFREE char *name = trimmed(line, (size_t)(eq - line));
    char **to = str_eq(name, "aws_access_key_id")       ? &out->access
                : str_eq(name, "aws_secret_access_key") ? &out->secret
                : str_eq(name, "aws_session_token")     ? &out->token
                                                        : NULL;
    if (!to)
        return;
    free(*to);
    *to = trimmed(eq + 1, strlen(eq + 1));
}

bool aws_keys_from_ini(const char *text, const char *profile, struct aws_keys *out)
{
    *out = (struct aws_keys){0};
    bool mine = false;
    STRLIST(lines);
    str_split(text, '\n', &lines);
    for (size_t i = 0; i < lines.n; i++) {
        AUTOFREE char *line = trimmed(lines.v[i], strlen(lines.v[i]));
        size_t n = strlen(line);
        if (*line == '[' && n > 1 && line[n - 1] == ']') {
            AUTOFREE char *section = trimmed(line + 1, n - 2);
            mine = str_eq(section, profile);
        } else if (mine && *line != '#' && *line != ';') {
            ini_line(line, out);
        }
    }
    if (!str_empty(out->access) && !str_empty(out->secret))
        return true;
    aws_keys_clear(out);
    return false;
}

static bool from_file(struct aws_keys *out)
{
    const char *home = env("HOME"), *given = env("AWS_SHARED_CREDENTIALS_FILE"), *profile = env("AWS_PROFILE");
    AUTOFREE char *path = given ? xstrdup(given) : home ? xasprintf("%s/.aws/credentials", home) : NULL;
    BUF(text);
    return path && fs_read(path, FILE_MAX, &text, NULL) == 0 &&
           aws_keys_from_ini(buf_str(&text), profile ? profile : "default", out);
}

/* ---- web identity --------------------------------------------------------------------------------------------- */

struct sts {
    char *url, *form;
};

static int prepare_sts(void *self, const struct ctx *ctx, struct blob_req *r, struct err *err)
{
    const struct sts *s = self;
    r->method = HTTP_POST;
    r->url = xstrdup(s->url);
    r->body = s->form;
    r->body_len = strlen(s->form);
    blob_req_field(r, "content-type", "application/x-www-form-urlencoded");
    return 0;
}

static int64_t time_of(const char *text)
{
    struct tm tm = {0};
    return text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) * NS_PER_S : 0;
}

static int ask_sts(const struct blob_http *h, const struct ctx *ctx, const struct sts *s, struct aws_keys *out, struct err *err)
{
    struct http_answer a;
    S3_ANSWER(x);
    if (blob_http_call(h, ctx, prepare_sts, (void *)(uintptr_t)s, &a, NULL, err) < 0)
        return -1;
    int rc = s3_answer_parse(buf_str(&a.body), a.body.len, &x, err);
    if (a.status != 200)
        rc = blob_http_status(err, a.status, x.code, x.message);
    else if (rc == 0 && (!x.access_key || !x.secret_key || !x.session_token))
        rc = err_set(err, ERR_IO, "the answer has no credentials");
    http_answer_free(&a);
    if (rc < 0)
        return err_wrap(err, "exchanging the web identity token for keys");
    *out = (struct aws_keys){TAKE(x.access_key), TAKE(x.secret_key), TAKE(x.session_token), time_of(x.expiration)};
    return 0;
}

static int from_web_identity(const struct blob_http *h, const struct ctx *ctx, const char *region, const char *file,
                             const char *role, struct aws_keys *out, struct err *err)
{
    BUF(token);
    if (fs_read(file, FILE_MAX, &token, err) < 0)
        return err_wrap(err, "AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *name = env("AWS_ROLE_SESSION_NAME"), *endpoint = env("AWS_ENDPOINT_URL_STS");
    const struct sig_pair form[] = {{"Action", "AssumeRoleWithWebIdentity"},
                                    {"Version", "2011-06-15"},
                                    {"RoleArn", role},
                                    {"RoleSessionName", name ? name : "tidemill"},
                                    {"WebIdentityToken", buf_str(&token)}};
    AUTOFREE char *text = sig_query(form, ARRAY_LEN(form));
    AUTOFREE char *url = endpoint ? xasprintf("%s/", endpoint) : xasprintf("https://sts.%s.amazonaws.com/", region);
    struct sts s = {url, text};
    return ask_sts(h, ctx, &s, out, err);
}

int aws_keys_from_env(const struct blob_http *h, const struct ctx *ctx, const char *region, struct aws_keys *out, struct err *err)
{
    const char *access = env("AWS_ACCESS_KEY_ID"), *secret = env("AWS_SECRET_ACCESS_KEY");
    *out = (struct aws_keys){0};
    if (access && secret) {
        *out = (struct aws_keys){xstrdup(access), xstrdup(secret), xstrdup(env("AWS_SESSION_TOKEN")), 0};
        return 0;
    }
    const char *file = env("AWS_WEB_IDENTITY_TOKEN_FILE"), *role = env("AWS_ROLE_ARN");
    if (file && role)
        return from_web_identity(h, ctx, region, file, role, out, err);
    if (from_file(out))
        return 0;
    return err_set(err, ERR_UNAUTHENTICATED,
                   "the environment has no keys for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_ROLE_ARN and "
                   "AWS_WEB_IDENTITY_TOKEN_FILE, or a credentials file");
}
