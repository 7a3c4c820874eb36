/* json_priv.h - what json.c and json_mut.c share: the yyjson values behind jval and jmval. */
#ifndef TM_VALUE_JSON_PRIV_H
#define TM_VALUE_JSON_PRIV_H

#include <stdatomic.h>
#include <yyjson.h>

#include "value/json.h"

struct json {
    atomic_uint refs;
    yyjson_doc *doc;
    size_t bytes;
};
struct jm {
    yyjson_mut_doc *doc;
};

static inline yyjson_val *yv(jval *v) { return (yyjson_val *)(uintptr_t)v; }
static inline jval *jv_of(const yyjson_val *v) { return (jval *)v; }
static inline yyjson_mut_val *ym(jmval *v) { return (yyjson_mut_val *)v; }
static inline jmval *jmv_of(yyjson_mut_val *v) { return (jmval *)v; }

/* Numbers are kept as text everywhere: yyjson's RAW type is our number. */
enum jtype json_type_of_tag(yyjson_type t);
/* Takes ownership of doc. */
struct json *json_wrap(yyjson_doc *doc, size_t bytes);
bool json_num_to_i64(const char *text, int64_t *out);
bool json_num_equal(const char *a, const char *b);
/* malloc hooks that abort when there is no memory. */
extern const yyjson_alc json_alc;

#endif
