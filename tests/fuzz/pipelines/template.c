/* Strings with placeholders and structures. */
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "pipelines/ir/template.h"

static int value(void *self, const struct tmpl_seg *seg, struct buf *out, struct err *err)
{
    buf_adds(out, seg->key ? seg->key : "v");
    return seg->sub ? 0 : 1;
}

static bool present(void *self, const char *input) { return input[0] & 1; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct tmpl_scope sc = {.value = value, .present = present};
    ARENA(a);
    ERR(e);
    STRLIST(out);
    struct tmpl_arg arg;
    if (tmpl_arg_parse(&a, (const char *)data, size, &arg, &e) == 0)
        tmpl_arg_eval(&arg, &sc, &out, &e);
    return 0;
}
