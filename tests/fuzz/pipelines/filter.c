/* Filters. */
#include "lists.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct row_table *const kinds[] = {&PIPELINE_ROWS, &VERSION_ROWS,   &EXPERIMENT_ROWS,
                                                    &RUN_ROWS,      &RECURRING_ROWS, &TASK_ROWS};
    if (size == 0)
        return 0;
    AUTOFREE char *filter = xstrndup((const char *)data + 1, size - 1);
    run_list(kinds[data[0] % ARRAY_LEN(kinds)], NULL, NULL, filter);
    return 0;
}
