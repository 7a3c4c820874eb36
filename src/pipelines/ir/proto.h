/* proto.h - proto3 JSON of a message described by a table, brought to one form: lowerCamelCase names, enums by name, 64-bit
 * integers as numbers, nulls left out. Unknown fields and wrong types are errors that name the path. */
#ifndef TM_PIPELINES_IR_PROTO_H
#define TM_PIPELINES_IR_PROTO_H

#include "base/err.h"
#include "value/json.h"

enum proto_type { P_STRING, P_BOOL, P_INT32, P_INT64, P_DOUBLE, P_ENUM, P_MESSAGE, P_STRUCT, P_VALUE, P_DURATION };
enum proto_card { P_ONE, P_LIST, P_MAP /* string keys */ };
struct proto_enum {
    const char *name;
    const char *const *values; /* by number, NULL-terminated */
};
struct proto_field {
    const char *name; /* lowerCamelCase */
    enum proto_type type;
    enum proto_card card;
    const void *of; /* struct proto_message or proto_enum */
    int oneof;      /* fields of one message with the same non-zero number exclude each other */
};
struct proto_message {
    const char *name;
    const struct proto_field *fields; /* ended by a NULL name */
};

/* A new value in m, or NULL with ERR_BAD_REQUEST. lenient: unknown fields are dropped instead. */
jmval *proto_normalize(struct jm *m, const struct proto_message *msg, jval *v, bool lenient, struct err *err);

extern const struct proto_message proto_pipeline_spec, proto_platform_spec, proto_deployment;

#endif
