/* out.c - answers: snake_case members, and none that is empty (spec 2.2). */
#include "base/timefmt.h"
#include "pipelines/api/internal.h"

void out_str(struct jm *m, jmval *obj, const char *key, const char *v)
{
    if (!str_empty(v))
        jm_put(m, obj, key, jm_str(m, v));
}

void out_i32(struct jm *m, jmval *obj, const char *key, int64_t v)
{
    if (v != 0)
        jm_put(m, obj, key, jm_i64(m, v));
}

void out_time(struct jm *m, jmval *obj, const char *key, int64_t ns)
{
    char text[TIME_TEXT_MAX];
    jm_put(m, obj, key, jm_str(m, time_format(text, ns, TIME_MILLIS_TRIMMED)));
}

void out_json(struct jm *m, jmval *obj, const char *key, const char *json_text)
{
    if (str_empty(json_text))
        return;
    JSON_REF(d) = json_parse_str(json_text, NULL);
    if (d && jv_len(json_root(d)) > 0)
        jm_put(m, obj, key, jm_val(m, json_root(d)));
}

void out_send(struct http_res *res, struct jm *m)
{
    BUF(b);
    jmv_write(jm_root(m), JW_COMPACT, &b);
    http_body_buf(res, "application/json", &b);
}

void out_empty(struct http_res *res) { http_body(res, "application/json", "{}", 2); }
