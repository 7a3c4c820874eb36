/* proto_json.h - request bodies in the JSON mapping of protobuf, described by tables of fields.
 *
 * A body is decoded by its message's table into a document with snake_case names only, in which what was null is absent, int32
 * and int64 are numbers, enums are numbers and times are RFC 3339 texts that parse. Handlers then read it with jv_get. Input may
 * spell a field in snake_case or lowerCamelCase, int64 as number or string, enums by name or number. Refused with ERR_BAD_REQUEST
 * that names the field: unknown fields, fields given twice (in either spelling), two fields of a oneof, wrong types, unknown enum
 * names, texts that hold a NUL. An empty body is {}. Source: pipelines-api spec 2.2. */
#ifndef TM_PIPELINES_API_PROTO_JSON_H
#define TM_PIPELINES_API_PROTO_JSON_H

#include "value/json.h"

enum pj_type { PJ_STRING, PJ_BOOL, PJ_INT32, PJ_INT64, PJ_ENUM, PJ_TIME, PJ_STRUCT /* any JSON object */, PJ_MESSAGE };
enum pj_shape { PJ_ONE, PJ_LIST, PJ_MAP /* string keys */ };

struct pj_word {
    const char *name;
    int number;
};
struct pj_message;
struct pj_field {
    const char *name; /* snake_case */
    enum pj_type type;
    enum pj_shape shape;
    const struct pj_message *message; /* PJ_MESSAGE */
    const struct pj_word *words;      /* PJ_ENUM: ends with a NULL name */
    int oneof;                        /* fields with the same number above 0 exclude each other */
};
struct pj_message {
    const char *name;
    const struct pj_field *fields;
    size_t n;
};

struct json *pj_decode(const struct pj_message *message, const char *text, size_t len, struct err *err);

/* The messages of the API. */
extern const struct pj_message PJ_PIPELINE, PJ_PIPELINE_VERSION, PJ_CREATE_PIPELINE, PJ_EXPERIMENT, PJ_RUN, PJ_RECURRING_RUN,
    PJ_FILTER, PJ_FIND_CACHED;

#endif
