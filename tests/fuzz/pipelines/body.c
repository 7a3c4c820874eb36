/* Request bodies against the tables of messages. */
#include "base/buf.h"
#include "pipelines/api/proto_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pj_message *const messages[] = {&PJ_PIPELINE, &PJ_CREATE_PIPELINE, &PJ_EXPERIMENT,
                                                        &PJ_RUN,      &PJ_RECURRING_RUN,   &PJ_FILTER};
    if (size == 0)
        return 0;
    json_unref(pj_decode(messages[data[0] % ARRAY_LEN(messages)], (const char *)data + 1, size - 1, NULL));
    return 0;
}
