/* cel.h - the Common Expression Language: one engine for pipeline conditions and for Kubernetes validation rules.
 *
 * An expression is parsed and checked once (cel_compile) against an environment that names the variables, and then
 * evaluated any number of times, by any number of threads. Evaluation is bounded by a cost budget and by depth; its
 * values live in an arena. Source: github.com/google/cel-spec (langdef.md). */
#ifndef TM_VALUE_CEL_H
#define TM_VALUE_CEL_H

#include "base/arena.h"
#include "base/str.h"
#include "value/json.h"

enum cel_kind {
    CEL_NULL,
    CEL_BOOL,
    CEL_INT,
    CEL_UINT,
    CEL_DOUBLE,
    CEL_STRING,
    CEL_BYTES,
    CEL_LIST,
    CEL_MAP,
    CEL_TIMESTAMP,
    CEL_DURATION,
    CEL_TYPE,
    CEL_OPTIONAL,
    CEL_OPAQUE
};
struct cel_value; /* immutable, in the arena of the evaluation */

/* A format that format.named(name) finds. check adds what is wrong with the text; nothing when it is good. Pure, any thread. */
struct cel_format {
    const char *name;
    void (*check)(const char *text, struct strlist *faults);
};
struct cel_env {
    const char *const *variables;     /* NULL-terminated names of top-level variables */
    bool numbers_as_double;           /* JSON numbers are doubles (protobuf Value) rather than int where they are integers */
    bool kubernetes;                  /* adds the Kubernetes libraries and name escapes (__namespace__, x__dot__y) */
    bool pipelines;                   /* adds parseJson(string) -> dyn */
    const struct cel_format *formats; /* ends with an entry without a name; must outlive the program. NULL: none */
};
struct cel_program;
/* NULL with ERR_INVALID: the message holds the position ("1:7: ...") and the offending text. Depth and size are bounded. */
struct cel_program *cel_compile(const char *expression, const struct cel_env *env, struct err *err);
void cel_free(struct cel_program *p);

/* The values of the variables, in the order of env->variables; NULL means absent (reading it is an error). */
struct cel_input {
    jval *const *values;
    uint64_t cost_limit; /* 0: 1,000,000 */
};
/* NULL with ERR_INVALID on an evaluation error (no such key, no matching overload, cost limit). A value may point into the
 * documents of the input and into the program: both must live as long as it is looked at. */
const struct cel_value *cel_eval(const struct cel_program *p, const struct cel_input *in, struct arena *a, struct err *err);
/* Evaluates to a bool, else ERR_INVALID. */
int cel_eval_bool(const struct cel_program *p, const struct cel_input *in, bool *out, struct err *err);
enum cel_kind cel_kind_of(const struct cel_value *v);
/* JSON form of a value (lists and maps deeply); NULL with ERR_INVALID when it has none. The caller puts it into m. */
jmval *cel_to_json(const struct cel_value *v, struct jm *m, struct err *err);
const char *cel_string(const struct cel_value *v); /* CEL_STRING only, else NULL */

#endif
