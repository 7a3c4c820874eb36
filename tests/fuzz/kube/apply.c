/* An object and what is applied to it, as a kind or as anything: no crash, what is applied is there, and applied again changes
 * nothing. */
#include <string.h>

#include "kube/apply/apply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const struct kind *k = &kube_builtin_kinds[data[0] % kube_n_builtin_kinds];
    struct ftype t = data[0] & 0x80 ? ftype_of(NULL, NULL) : ftype_of(k->type, NULL);
    const char *text = (const char *)data + 1, *cut = memchr(text, '\n', size - 1);
    if (!cut)
        return 0;
    struct json_opts opts = {.max_depth = 64};
    JSON_REF(live) = json_parse(text, (size_t)(cut - text), &opts, NULL);
    JSON_REF(config) = json_parse(cut + 1, size - 2 - (size_t)(cut - text), &opts, NULL);
    if (!live || !config || !jv_is(json_root(live), J_OBJECT) || !jv_is(json_root(config), J_OBJECT))
        return 0;
    FSET(parsed) = fset_parse(json_root(live));
    if (apply_check(&t, json_root(config), NULL) < 0 || apply_check(&t, json_root(live), NULL) < 0)
        return 0;
    FSET(last) = apply_set(&t, json_root(live));
    FSET(said) = apply_set(&t, json_root(config));
    JSON_REF(once) = apply_merge(&t, json_root(live), json_root(config));
    JSON_REF(twice) = apply_merge(&t, json_root(once), json_root(config));
    FSET(changed) = fset_new();
    FSET(removed) = fset_new();
    apply_compare(&t, json_root(once), json_root(twice), changed, removed);
    ASSERT(fset_empty(changed) && fset_empty(removed));
    JSON_REF(pruned) = apply_prune(&t, json_root(once), last, said);
    ASSERT(jv_is(json_root(pruned), J_OBJECT));
    return 0;
}
