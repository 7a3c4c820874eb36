/* CEL: expressions over a small object, with a small budget. */
#include "value/cel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json *vars;
    if (!vars)
        vars = json_parse_str(
            "{\"a\":1,\"s\":\"t\\u00e9xt\",\"l\":[1,2.5,\"x\",null,[true]],\"m\":{\"k\":{\"j\":\"{\\\"x\\\":1}\"}}}", NULL);
    static const char *const names[] = {"x", "inputs", NULL};
    jval *values[] = {json_root(vars), NULL};
    AUTOFREE char *text = xstrndup((const char *)data, size);
    struct cel_env env = {.variables = names, .numbers_as_double = size & 1, .kubernetes = true, .pipelines = true};
    ERR(e);
    struct cel_program *p = cel_compile(text, &env, &e);
    ASSERT(p || e.code == ERR_INVALID);
    if (!p)
        return 0;
    ARENA(a);
    struct cel_input in = {.values = values, .cost_limit = 20000};
    const struct cel_value *v = cel_eval(p, &in, &a, &e);
    ASSERT(v || e.code == ERR_INVALID);
    JM_NEW(m);
    if (v)
        (void)cel_to_json(v, m, &e);
    cel_free(p);
    return 0;
}
