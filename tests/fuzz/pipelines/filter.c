/* Filters. */
#include "lists.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct list_kind *const kinds[] = {&PIPELINE_LIST, &VERSION_LIST, &EXPERIMENT_LIST, &RUN_LIST};
    if (size == 0)
        return 0;
    AUTOFREE char *filter = xstrndup((const char *)data + 1, size - 1);
    run_list(kinds[data[0] % ARRAY_LEN(kinds)], NULL, NULL, filter);
    return 0;
}
