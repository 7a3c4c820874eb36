/* cel_check.h - tables of CEL cases: an expression and the JSON of its result, or a part of the error's message. */
#ifndef TM_TESTS_CEL_CHECK_H
#define TM_TESTS_CEL_CHECK_H

#include "unit.h"
#include "value/cel.h"

struct cel_case {
    const char *expr;
    const char *json;  /* NULL: it must fail ... */
    const char *error; /* ... with this in the message */
};
enum { CHECK_KUBERNETES = 1, CHECK_PIPELINES = 2, CHECK_DOUBLES = 4 };
/* A format with rules of its own; those of Kubernetes are of the room kube/. */
static inline void cel_check_short(const char *s, struct strlist *faults)
{
    if (strlen(s) > 3)
        strlist_add(faults, "too long");
    if (strchr(s, ' '))
        strlist_add(faults, "has a space");
}
static const struct cel_format cel_check_formats[] = {{"dns1123Label", cel_check_short}, {0}};

/* data: a JSON object whose members are the variables. */
static inline void cel_check(const struct cel_case *cases, size_t n, const char *data, int env_flags)
{
    ERR(de);
    JSON_REF(d) = json_parse_str(data, &de);
    if (!d)
        fail_msg("%s: %s", data, err_text(&de));
    const char *names[16] = {0};
    jval *values[16] = {0};
    struct jiter it = jv_iter(json_root(d));
    for (size_t i = 0; i < 15 && jv_next(&it, &names[i], &values[i]); i++) {}
    struct cel_env env = {.variables = names,
                          .numbers_as_double = env_flags & CHECK_DOUBLES,
                          .kubernetes = env_flags & CHECK_KUBERNETES,
                          .pipelines = env_flags & CHECK_PIPELINES,
                          .formats = cel_check_formats};
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        ERR(e);
        ARENA(a);
        BUF(got);
        struct cel_program *p = cel_compile(cases[i].expr, &env, &e);
        struct cel_input in = {.values = values};
        const struct cel_value *v = p ? cel_eval(p, &in, &a, &e) : NULL;
        JM_NEW(m);
        jmval *out = v ? cel_to_json(v, m, &e) : NULL;
        if (out)
            jmv_write(out, JW_COMPACT, &got);
        bool ok;
        if (cases[i].json) {
            JSON_REF(want) = json_parse_str(cases[i].json, NULL);
            assert_non_null(want);
            ok = out && jmv_equal(out, json_root(want));
        } else {
            ok = !out && e.code == ERR_INVALID && strstr(err_text(&e), cases[i].error);
        }
        if (!ok) {
            print_error("%s\n    gives  %s\n    wanted %s\n", cases[i].expr, out ? got.data : err_text(&e),
                        cases[i].json ? cases[i].json : cases[i].error);
            bad++;
        }
        cel_free(p);
    }
    assert_int_equal(bad, 0);
}

#endif
