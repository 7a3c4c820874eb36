/* What the helper process reads from its socket. */
#include <stdlib.h>
#include <string.h>

#include "cluster/node/helper/helper_proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct helper_packet p;
    if (size > sizeof p.bytes)
        return 0;
    memcpy(p.bytes, data, size);
    if (helper_packet_parse(&p, size, NULL) == 0)
        for (uint32_t i = 0; i < p.h.n; i++)
            ASSERT(strlen(p.v[i]) < size);
    return 0;
}
