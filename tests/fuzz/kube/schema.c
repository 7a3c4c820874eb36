/* A schema and an object, one a line: what the check lets pass compiles or says why, and runs on any object without a crash. */
#include <stdlib.h>
#include <string.h>

#include "kube/schema/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *cut = size ? memchr(text, '\n', size) : NULL;
    struct json_opts opts = {.max_depth = 64};
    if (!cut)
        return 0;
    JSON_REF(schema) = json_parse(text, (size_t)(cut - text), &opts, NULL);
    JSON_REF(object) = json_parse(cut + 1, size - 1 - (size_t)(cut - text), &opts, NULL);
    if (!schema || !object)
        return 0;
    FAULTS(f);
    schema_check_structural(&f, json_root(schema));
    if (faults_any(&f))
        return 0;
    struct schema *s = schema_compile(json_root(schema), NULL);
    if (!s)
        return 0;
    FAULTS(g);
    JM(m, json_root(object));
    schema_prune(s, m, jm_root(m), NULL);
    schema_default(s, m, jm_root(m));
    JSON_REF(now) = jm_freeze(m);
    schema_validate(s, &g, json_root(now), NULL);
    schema_validate(s, &g, json_root(now), json_root(object));
    schema_free(s);
    return 0;
}
