/* YAML: what is read is written as YAML that reads back as the same value. */
#include <stdlib.h>

#include "value/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json **docs;
    size_t n;
    if (yaml_parse((const char *)data, size, NULL, &docs, &n, NULL) < 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        BUF(text);
        yaml_write(json_root(docs[i]), &text);
        ERR(e);
        JSON_REF(again) = yaml_parse_one(text.data, text.len, NULL, &e);
        ASSERT(again && jv_equal(json_root(docs[i]), json_root(again)));
        json_unref(docs[i]);
    }
    free(docs);
    return 0;
}
