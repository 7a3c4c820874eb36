/* events_face.c - events.k8s.io/v1: another face of the events that are stored as core/v1 (kube/wire/convert.h). */
#include "cluster/apiserver/internal.h"
#include "kube/wire/convert.h"

bool is_face(const struct resource *r) { return !r->cv && r->coll && convert_needed(r->kind); }

void face_to_store(const struct resource *r, struct jm *m)
{
    if (!is_face(r))
        return;
    JSON_REF(was) = jm_freeze(m);
    JSON_REF(stored) = convert_to_stored(r->kind, json_root(was));
    jm_set_root(m, jm_val(m, json_root(stored)));
}

/* Of a state of the store, as this face shows it: always there, whatever the other face leaves out. */
struct json *face_of(const struct resource *r, jval *stored) { return convert_from_stored(r->kind, stored); }
