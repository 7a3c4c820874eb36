/* Patches: a document and a patch with a zero byte between them; applied both ways, the document stays as it was. */
#include "value/patch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = memchr(data, 0, size);
    if (!zero)
        return 0;
    size_t n = (size_t)(zero - data);
    JSON_REF(doc) = json_parse((const char *)data, n, NULL, NULL);
    JSON_REF(patch) = json_parse((const char *)zero + 1, size - n - 1, NULL, NULL);
    if (!doc || !patch)
        return 0;
    JSON_REF(before) = json_from(json_root(doc));
    JSON_REF(a) = json_patch(json_root(doc), json_root(patch), 100, NULL);
    JSON_REF(b) = json_merge_patch(json_root(doc), json_root(patch), NULL);
    (void)a;
    (void)b;
    ASSERT(jv_equal(json_root(before), json_root(doc)));
    return 0;
}
