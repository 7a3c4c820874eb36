/* storage.c - what the server does for claims and volumes: protection, the default class, who may grow (kube.md 11.1, 13.13). */
#include <stdlib.h>

#include "cluster/apiserver/internal.h"
#include "kube/fields.h"
#include "value/quantity.h"

#define CLAIM_PROTECTION  "kubernetes.io/pvc-protection"
#define VOLUME_PROTECTION "kubernetes.io/pv-protection"
#define DEFAULT_CLASS     "storageclass.kubernetes.io/is-default-class"

static bool is_kind(const struct op *op, const char *full) { return str_eq(op->res->full, full); }

/* Of several default classes the newest one; of equally old ones the first by name. The caller frees. */
static char *default_class(struct op *op)
{
    struct store_list all = {0};
    char *name = NULL;
    int64_t newest = -1;
    if (store_list(op->a->storage_classes, &(struct store_query){0}, &all, NULL) < 0)
        return NULL;
    for (size_t i = 0; i < all.n; i++) {
        jval *o = obj_root(all.v[i]);
        if (!str_eq(obj_annotation(o, DEFAULT_CLASS), "true") || obj_creation_ns(o) <= newest)
            continue;
        newest = obj_creation_ns(o);
        free(name);
        name = xstrdup(obj_name(o));
    }
    store_list_free(&all);
    return name;
}

void storage_admit_create(struct op *op, struct jm *m)
{
    bool claim = is_kind(op, "persistentvolumeclaims");
    if (!claim && !is_kind(op, "persistentvolumes"))
        return;
    obj_add_finalizer(m, jm_root(m), claim ? CLAIM_PROTECTION : VOLUME_PROTECTION);
    if (!claim)
        return;
    jmval *spec = persistent_volume_claim_make_spec(m, jm_root(m));
    JSON_REF(now) = jm_freeze(m);
    if (persistent_volume_claim_spec_storage_class_name(persistent_volume_claim_spec(json_root(now))) ||
        obj_annotation(json_root(now), "volume.beta.kubernetes.io/storage-class"))
        return;
    AUTOFREE char *class = default_class(op);
    if (class)
        persistent_volume_claim_spec_set_storage_class_name(m, spec, class);
}

static bool request_of(jval *claim, struct quantity *q)
{
    jval *requests =
        volume_resource_requirements_requests(persistent_volume_claim_spec_resources(persistent_volume_claim_spec(claim)));
    const char *text = jv_str(jv_get(requests, "storage"));
    return text && quantity_parse(text, q, NULL) == 0;
}

/* A claim grows when its class lets it. */
int storage_admit_update(struct op *op, jval *old, jval *now, struct err *err)
{
    struct quantity was, wanted;
    if (!is_kind(op, "persistentvolumeclaims") || op->sub || !request_of(old, &was) || !request_of(now, &wanted) ||
        quantity_cmp(&wanted, &was) <= 0)
        return 0;
    if (!str_eq(persistent_volume_claim_status_phase(persistent_volume_claim_status(old)), "Bound"))
        return 0; /* refused by the rules of claims */
    const char *class = persistent_volume_claim_spec_storage_class_name(persistent_volume_claim_spec(old));
    OBJ_REF(c) = str_empty(class) ? NULL : store_get(op->a->storage_classes, class);
    if (c && storage_class_allow_volume_expansion(obj_root(c), false))
        return 0;
    return fail_forbidden(err, op->res, obj_name(old),
                          "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                          "support resize");
}
