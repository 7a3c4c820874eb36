/* yaml_scalar.h - private to this room: what type a YAML scalar has. */
#ifndef TM_VALUE_YAML_SCALAR_H
#define TM_VALUE_YAML_SCALAR_H

#include "base/buf.h"
#include "base/err.h"

struct yaml_scalar {
    enum { YS_NULL, YS_BOOL, YS_NUMBER, YS_STRING, YS_NONFINITE } kind;
    const char *text; /* JSON text, or the string itself for YS_STRING and YS_NONFINITE ("Infinity", "-Infinity", "NaN") */
    size_t len;
};

/* tag is the full tag or NULL; plain is false for quoted and block scalars. text may point into scratch. */
int yaml_scalar_resolve(const char *s, size_t n, const char *tag, bool plain, struct yaml_scalar *out, struct buf *scratch,
                        struct err *err);
/* Whether a plain scalar of this text is a string for every YAML 1.1 reader that we know of (go-yaml, PyYAML, libyaml's
 * users), which is stricter than what yaml_scalar_resolve takes for one. */
bool yaml_plain_is_string(const char *s, size_t n);

#endif
