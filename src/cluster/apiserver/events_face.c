/* events_face.c - events.k8s.io/v1: another face of the events that are stored as core/v1. Members have other names, nothing else differs. */
#include "cluster/apiserver/internal.h"

static const struct {
    const char *face, *core;
} names[] = {
    {"regarding", "involvedObject"},
    {"note", "message"},
    {"reportingController", "reportingComponent"},
    {"deprecatedSource", "source"},
    {"deprecatedFirstTimestamp", "firstTimestamp"},
    {"deprecatedLastTimestamp", "lastTimestamp"},
    {"deprecatedCount", "count"},
};

bool is_face(const struct resource *r)
{
    return !r->cv && r->coll && strcmp(r->kind->store_group, res_of(r)->group) != 0;
}

static const char *renamed(const char *name, bool to_core)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, to_core ? names[i].face : names[i].core) == 0)
            return to_core ? names[i].core : names[i].face;
    return name;
}

static void rename_members(struct jm *m, jval *was, const char *api_version, bool to_core)
{
    jmval *root = jm_obj(m);
    struct jiter it = jv_iter(was);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v))
        jm_put(m, root, renamed(key, to_core), strcmp(key, "apiVersion") == 0 ? jm_str(m, api_version) : jm_val(m, v));
    jm_set_root(m, root);
}

void face_to_store(const struct resource *r, struct jm *m)
{
    if (!is_face(r))
        return;
    JSON_REF(was) = jm_freeze(m);
    rename_members(m, json_root(was), r->kind->store_version, true);
}

/* Of a state of the store, as this face shows it: always there, whatever the other face leaves out. */
struct json *face_of(const struct resource *r, jval *stored)
{
    AUTOFREE char *api_version = kind_api_version(r->kind);
    JM_NEW(m);
    rename_members(m, stored, api_version, false);
    JSON_REF(d) = jm_freeze(m);
    struct json *full = decode_value(r->kind->type, json_root(d), NULL, NULL);
    return full ? full : TAKE(d);
}
