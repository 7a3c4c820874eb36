/* Result files: they come from inside containers. */
#include <stddef.h>
#include <stdint.h>

#include "launch/task.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ERR(e);
    struct launch_result r;
    if (launch_result_parse((const char *)data, size, &r, &e) == 0)
        launch_result_clear(&r);
    struct launch_task t;
    if (launch_task_parse((const char *)data, size, &t, &e) == 0)
        launch_task_clear(&t);
    return 0;
}
