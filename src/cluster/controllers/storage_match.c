/* Which volume fits which claim. */
#include <stdlib.h>

#include "base/str.h"
#include "cluster/controllers/storage.h"
#include "kube/fields.h"
#include "kube/object.h"
#include "kube/selector.h"

static bool amount(jval *map, struct quantity *out)
{
    const char *text = jv_str(jv_get(map, "storage"));
    return text && quantity_parse(text, out, NULL) == 0;
}

bool storage_request(jval *claim, struct quantity *out)
{
    return amount(
        volume_resource_requirements_requests(persistent_volume_claim_spec_resources(persistent_volume_claim_spec(claim))), out);
}

const char *storage_class_of(jval *claim)
{
    const char *old = obj_annotation(claim, "volume.beta.kubernetes.io/storage-class");
    const char *name = persistent_volume_claim_spec_storage_class_name(persistent_volume_claim_spec(claim));
    return old ? old : name ? name : "";
}

bool storage_is_for(jval *volume, jval *claim)
{
    jval *ref = persistent_volume_spec_claim_ref(persistent_volume_spec(volume));
    const char *uid = object_reference_uid(ref);
    return ref && str_eq(object_reference_namespace(ref), obj_namespace(claim)) &&
           str_eq(object_reference_name(ref), obj_name(claim)) && (str_empty(uid) || str_eq(uid, obj_uid(claim)));
}

static bool has_modes(jval *volume_modes, jval *wanted)
{
    for (size_t i = 0; i < jv_len(wanted); i++) {
        bool found = false;
        for (size_t k = 0; k < jv_len(volume_modes); k++)
            found |= str_eq(jv_str(jv_at(volume_modes, k)), jv_str(jv_at(wanted, i)));
        if (!found)
            return false;
    }
    return true;
}

static bool selects(jval *claim, jval *volume)
{
    jval *selector = persistent_volume_claim_spec_selector(persistent_volume_claim_spec(claim));
    if (!jv_is(selector, J_OBJECT))
        return true;
    struct label_selector *s = label_selector_from(selector, NULL);
    bool yes = s && label_selector_matches(s, obj_labels(volume));
    label_selector_free(s);
    return yes;
}

static const char *mode_or(const char *mode) { return str_empty(mode) ? "Filesystem" : mode; }

static bool fits(jval *claim, jval *volume, const struct quantity *wanted, struct quantity *size)
{
    jval *spec = persistent_volume_spec(volume), *c = persistent_volume_claim_spec(claim);
    const char *class = persistent_volume_spec_storage_class_name(spec);
    return !obj_deleting(volume) && amount(persistent_volume_spec_capacity(spec), size) && quantity_cmp(size, wanted) >= 0 &&
           str_eq(class ? class : "", storage_class_of(claim)) &&
           str_eq(mode_or(persistent_volume_spec_volume_mode(spec)), mode_or(persistent_volume_claim_spec_volume_mode(c))) &&
           has_modes(persistent_volume_spec_access_modes(spec), persistent_volume_claim_spec_access_modes(c)) &&
           selects(claim, volume);
}

jval *storage_match(jval *claim, struct json *const *volumes, size_t n, bool only_set_aside)
{
    struct quantity wanted, size, best_size;
    jval *best = NULL;
    if (!storage_request(claim, &wanted))
        return NULL;
    for (size_t i = 0; i < n; i++) {
        jval *v = json_root(volumes[i]), *ref = persistent_volume_spec_claim_ref(persistent_volume_spec(v));
        if (ref && !storage_is_for(v, claim))
            continue;
        if ((!ref && only_set_aside) || !fits(claim, v, &wanted, &size))
            continue;
        if (ref)
            return v;
        if (!best || quantity_cmp(&size, &best_size) < 0) {
            best = v;
            best_size = size;
        }
    }
    return best;
}

char *storage_claim_name(jval *pod, jval *volume)
{
    const char *name = persistent_volume_claim_volume_source_claim_name(volume_persistent_volume_claim(volume));
    if (name)
        return xstrdup(name);
    return volume_ephemeral(volume) ? xasprintf("%s-%s", obj_name(pod), volume_name(volume)) : NULL;
}
