/* JSON: what is read is written and reads back as the same value. */
#include "value/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_opts o = {.allow_nan = size & 1};
    JSON_REF(d) = json_parse((const char *)data, size, &o, NULL);
    if (!d)
        return 0;
    BUF(text);
    jv_write(json_root(d), size & 2 ? JW_PRETTY : JW_COMPACT, &text);
    JSON_REF(again) = json_parse(text.data, text.len, NULL, NULL);
    ASSERT(again && jv_equal(json_root(d), json_root(again)));
    JM(m, json_root(d));
    JSON_REF(copy) = jm_freeze(m);
    ASSERT(jv_equal(json_root(d), json_root(copy)));
    return 0;
}
