/* Regular expressions: a pattern and a text with a newline between them. */
#include "value/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nl = memchr(data, '\n', size);
    if (!nl)
        return 0;
    AUTOFREE char *pattern = xstrndup((const char *)data, (size_t)(nl - data));
    struct regex *r = regex_compile(pattern, NULL);
    if (!r)
        return 0;
    size_t start, end, len = size - (size_t)(nl - data) - 1;
    if (regex_find(r, (const char *)nl + 1, len, 0, &start, &end, NULL) == 1)
        ASSERT(start <= end && end <= len);
    regex_free(r);
    return 0;
}
