/* Bytes of a SPDY peer in two pieces. Whatever they are, nothing may crash, and what is told must be about streams that are
 * open. */
#include <stdint.h>
#include <string.h>

#include "net/upgrade/spdy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_open(struct spdy *s, void *state, uint32_t id, const struct spdy_header *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *(size_t *)state += strlen(h[i].name) + strlen(h[i].value);
    if (n & 1)
        spdy_accept(s, id);
    else
        spdy_reset(s, id, SPDY_REFUSED_STREAM);
}

static void on_data(struct spdy *s, void *state, uint32_t id, const char *p, size_t n)
{
    (void)state;
    spdy_data(s, id, p, n);
}

static void on_end(struct spdy *s, void *state, uint32_t id)
{
    (void)state;
    spdy_end(s, id);
}

static void on_reset(struct spdy *s, void *state, uint32_t id)
{
    (void)state;
    spdy_end(s, id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct spdy_ops ops = {on_open, on_data, on_end, on_reset};
    size_t seen = 0, cut = size ? data[0] % size : 0;
    ERR(e);
    struct spdy *s = spdy_new(8, &ops, &seen);
    if (size && data[0] & 1) /* as a client */
        spdy_open(s, &(struct spdy_header){"streamtype", "data"}, 1);
    if (spdy_feed(s, (const char *)data, cut, &e) == 0)
        spdy_feed(s, (const char *)data + cut, size - cut, &e);
    spdy_free(s);
    return 0;
}
