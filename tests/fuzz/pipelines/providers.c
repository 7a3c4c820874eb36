/* The ConfigMap kfp-launcher: anybody who may write to a namespace writes it. First line: scheme, bucket, key, query; the rest:
 * providers. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "pipelines/engine/providers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ERR(e);
    AUTOFREE char *text = xstrndup((const char *)data, size);
    char *rest = strchr(text, '\n');
    if (!rest)
        return 0;
    *rest++ = '\0';
    STRLIST(f);
    str_split(text, ' ', &f);
    JSON_REF(d) = providers_parse(rest, strlen(rest), &e);
    struct provider_choice c;
    if (d && f.n >= 4 && providers_pick(json_root(d), f.v[0], f.v[1], f.v[2], f.v[3], &c, &e) == 0)
        provider_choice_clear(&c);
    return 0;
}
