#include "kube/wire/convert.h"

#include <string.h>

#include "kube/wire/decode.h"

/* Top-level fields of Event that the two faces call differently. All others have one name. */
static const struct {
    const char *stored, *shown;
} event_names[] = {
    {"involvedObject", "regarding"},
    {"message", "note"},
    {"source", "deprecatedSource"},
    {"firstTimestamp", "deprecatedFirstTimestamp"},
    {"lastTimestamp", "deprecatedLastTimestamp"},
    {"count", "deprecatedCount"},
    {"reportingComponent", "reportingController"},
};

bool convert_needed(const struct kind *k)
{
    return strcmp(k->res.group, k->store_group) || strcmp(k->res.version, k->store_version);
}

static const char *renamed(const char *key, bool to_stored)
{
    for (size_t i = 0; i < ARRAY_LEN(event_names); i++)
        if (!strcmp(key, to_stored ? event_names[i].shown : event_names[i].stored))
            return to_stored ? event_names[i].stored : event_names[i].shown;
    return key;
}

static struct json *convert(const struct kind *to, jval *obj, bool to_stored)
{
    JM_NEW(m);
    jmval *out = jm_obj(m);
    struct jiter it = jv_iter(obj);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v))
        jm_put(m, out, renamed(key, to_stored), jm_val(m, v));
    AUTOFREE char *api_version = kind_api_version(to);
    jm_put(m, out, "apiVersion", jm_str(m, api_version));
    jm_set_root(m, out);
    JSON_REF(renamed_obj) = jm_freeze(m);
    struct json *d = decode_value(to->type, json_root(renamed_obj), NULL, NULL);
    ASSERT(d); /* both faces have the same types under other names */
    return d;
}

static const struct kind *stored_kind(const struct kind *k)
{
    const struct kind *s = kind_by_gvk(k->store_group, k->store_version, k->res.kind);
    ASSERT(s && !strcmp(k->res.kind, "Event"));
    return s;
}

struct json *convert_to_stored(const struct kind *k, jval *obj)
{
    return convert_needed(k) ? convert(stored_kind(k), obj, true) : json_from(obj);
}

struct json *convert_from_stored(const struct kind *k, jval *stored)
{
    return convert_needed(k) ? convert(k, stored, false) : json_from(stored);
}
