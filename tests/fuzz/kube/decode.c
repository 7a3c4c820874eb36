/* JSON and YAML bodies of every kind, with defaults: no crash, and the result is stable. */
#include <stdlib.h>

#include "kube/rules/defaults.h"
#include "kube/wire/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    STRLIST(warnings);
    const struct kind *k = &kube_builtin_kinds[(data[0] & 0x3f) % kube_n_builtin_kinds];
    enum field_validation fields = data[0] & 0x40 ? FIELDS_STRICT : FIELDS_WARN;
    enum decode_format format = data[0] & 0x80 ? DECODE_YAML : DECODE_JSON;
    JSON_REF(d) = decode_body(k, format, fields, (const char *)data + 1, size - 1, &warnings, NULL);
    if (!d)
        return 0;
    JM(m, json_root(d));
    defaults_apply(k, m, jm_root(m));
    JSON_REF(full) = jm_freeze(m);
    JSON_REF(again) = decode_value(k->type, json_root(full), NULL, NULL);
    ASSERT(again && jv_equal(json_root(full), json_root(again)));
    return 0;
}
