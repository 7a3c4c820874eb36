/* query.c - query parameters as upstream's gateway reads them: in either spelling, scalars once, strict booleans and numbers. */
#include <ctype.h>
#include <string.h>

#include "pipelines/api/internal.h"

/* Does name spell the same field as snake, in snake_case or lowerCamelCase? */
static bool same_field(const char *name, const char *snake)
{
    if (strcmp(name, snake) == 0)
        return true;
    for (; *snake; name++) {
        if (*snake == '_') {
            snake++;
            if (*name != toupper((unsigned char)*snake))
                return false;
        } else if (*name != *snake) {
            return false;
        }
        snake++;
    }
    return *name == '\0';
}

int query_text(const struct http_req *req, const char *snake, const char **out, struct err *err)
{
    *out = NULL;
    const char *name, *value;
    for (size_t i = 0; http_query_at(req, i, &name, &value); i++) {
        if (!same_field(name, snake))
            continue;
        if (*out)
            return err_set(err, ERR_BAD_REQUEST, "too many values for field \"%s\": give it once", snake);
        *out = value;
    }
    return 0;
}

int query_bool(const struct http_req *req, const char *snake, bool *out, struct err *err)
{
    static const char *const yes[] = {"1", "t", "T", "true", "True", "TRUE"};
    static const char *const no[] = {"0", "f", "F", "false", "False", "FALSE"};
    const char *v;
    if (query_text(req, snake, &v, err) < 0)
        return -1;
    *out = false;
    if (!v)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcmp(v, yes[i]) == 0) {
            *out = true;
            return 0;
        }
        if (strcmp(v, no[i]) == 0)
            return 0;
    }
    return err_set(err, ERR_BAD_REQUEST, "parsing field \"%s\": \"%s\" is no boolean: use true or false", snake, v);
}

int query_i32(const struct http_req *req, const char *snake, int32_t *out, struct err *err)
{
    const char *v;
    if (query_text(req, snake, &v, err) < 0)
        return -1;
    *out = 0;
    int64_t n;
    if (!v)
        return 0;
    if (!str_to_i64(v, &n))
        return err_set(err, ERR_BAD_REQUEST, "parsing field \"%s\": \"%s\" is no integer", snake, v);
    if (n < INT32_MIN || n > INT32_MAX)
        return err_set(err, ERR_BAD_REQUEST, "parsing field \"%s\": %s does not fit 32 bits", snake, v);
    *out = (int32_t)n;
    return 0;
}
