/* Two documents, an object and a patch of it: no crash, and a result that decodes (or an error). */
#include <stdlib.h>
#include <string.h>

#include "kube/apply/strategic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const struct kind *k = &kube_builtin_kinds[data[0] % kube_n_builtin_kinds];
    const char *text = (const char *)data + 1, *cut = memchr(text, '\n', size - 1);
    if (!cut)
        return 0;
    struct json_opts opts = {.max_depth = 64};
    JSON_REF(original) = json_parse(text, (size_t)(cut - text), &opts, NULL);
    JSON_REF(patch) = json_parse(cut + 1, size - 2 - (size_t)(cut - text), &opts, NULL);
    if (!original || !patch)
        return 0;
    ERR(e);
    STRLIST(unknown);
    JSON_REF(d) = strategic_patch(k->type, json_root(original), json_root(patch), &unknown, &e);
    ASSERT(d || e.code != ERR_OK);
    return 0;
}
