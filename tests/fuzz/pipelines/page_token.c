/* Page tokens: the JSON inside, wrapped as clients would send it back; and sort_by. */
#include "lists.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct list_kind *const kinds[] = {&PIPELINE_LIST, &VERSION_LIST, &EXPERIMENT_LIST, &RUN_LIST};
    if (size == 0)
        return 0;
    const struct list_kind *kind = kinds[data[0] % ARRAY_LEN(kinds)];
    AUTOFREE char *token = base64_encode(data + 1, size - 1);
    AUTOFREE char *raw = xstrndup((const char *)data + 1, size - 1);
    run_list(kind, token, NULL, NULL);
    run_list(kind, raw, NULL, NULL);
    run_list(kind, NULL, raw, NULL);
    return 0;
}
