/* Compiled pipelines, as uploaded by anybody. */
#include <stddef.h>
#include <stdint.h>

#include "pipelines/ir/ir.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ERR(e);
    IR_REF(p) = ir_parse((const char *)data, size, &e);
    if (p)
        ir_check_parameters(p, NULL, &e);
    return 0;
}
