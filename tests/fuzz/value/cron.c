/* Cron expressions, and the files of time zones: the first byte says which. */
#include <stdlib.h>

#include "base/str.h"
#include "value/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 'z') {
        struct tz *tz = tz_parse(data + 1, size - 1, NULL);
        int64_t t;
        for (int64_t s = -5000000000; tz && s < 5000000000; s += 1000000007)
            (void)tz_from_local(tz, s + tz_offset(tz, s), &t);
        tz_free(tz);
        return 0;
    }
    AUTOFREE char *text = xstrndup((const char *)data, size);
    struct cron *c = cron_parse(text, NULL, NULL);
    if (c)
        (void)cron_next(c, 1764072000);
    cron_free(c);
    return 0;
}
