/* JSONPath: any text as a path over a small object. */
#include "value/jsonpath.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json *doc;
    if (!doc)
        doc = json_parse_str("{\"a\":{\"b\":[1,2,{\"type\":\"Ready\",\"n\":5}]},\"a.b\":null}", NULL);
    AUTOFREE char *text = xstrndup((const char *)data, size);
    struct jsonpath *p = jsonpath_compile(text, NULL);
    if (p)
        (void)jsonpath_first(p, json_root(doc));
    jsonpath_free(p);
    return 0;
}
