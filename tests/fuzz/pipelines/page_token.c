/* Page tokens: the JSON inside, wrapped as clients would send it back; and sort_by. */
#include "lists.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct row_table *const kinds[] = {&PIPELINE_ROWS, &VERSION_ROWS,   &EXPERIMENT_ROWS,
                                                    &RUN_ROWS,      &RECURRING_ROWS, &TASK_ROWS};
    if (size == 0)
        return 0;
    const struct row_table *kind = kinds[data[0] % ARRAY_LEN(kinds)];
    AUTOFREE char *token = base64_encode(data + 1, size - 1);
    AUTOFREE char *raw = xstrndup((const char *)data + 1, size - 1);
    run_list(kind, token, NULL, NULL);
    run_list(kind, raw, NULL, NULL);
    run_list(kind, NULL, raw, NULL);
    return 0;
}
