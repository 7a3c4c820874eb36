/* Protobuf bodies of every kind: no crash, and what is accepted decodes to a stable object. */
#include <stdlib.h>

#include "kube/wire/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const struct kind *k = &kube_builtin_kinds[data[0] % kube_n_builtin_kinds];
    BUF(body); /* the envelope is put around it, so that the fuzzer works on the message */
    AUTOFREE char *api_version = kind_api_version(k);
    size_t a = strlen(api_version), n = strlen(k->res.kind);
    buf_addf(&body, "k8s%c\x0a%c\x0a%c%s\x12%c%s\x12%c%c%c", 0, (int)(a + n + 4), (int)a, api_version, (int)n, k->res.kind,
             (int)((size - 1) & 0x7f) | 0x80, (int)((size - 1) >> 7 & 0x7f) | 0x80, (int)((size - 1) >> 14 & 0x7f));
    buf_add(&body, data + 1, size - 1);
    JSON_REF(d) = decode_body(k, DECODE_PROTOBUF, FIELDS_WARN, body.data, body.len, NULL, NULL);
    if (d) {
        JSON_REF(again) = decode_value(k->type, json_root(d), NULL, NULL);
        ASSERT(again && jv_equal(json_root(d), json_root(again)));
    }
    JSON_REF(raw) = decode_body(k, DECODE_PROTOBUF, FIELDS_WARN, (const char *)data, size, NULL, NULL);
    return 0;
}
