/* protobuf.h - Kubernetes' protobuf bodies to JSON documents, by the numbers in the kinds' tables.
 *
 * A body is the bytes "k8s\0" and a message Unknown{typeMeta=1{apiVersion=1, kind=2}, raw=2, contentEncoding=3, contentType=4};
 * raw is the object's own message. The result is a document as JSON would have brought it (kind and apiVersion from typeMeta), to
 * be given to decode_value: zeroes that Go always writes are left out here, bytes become base64. Fields that the tables do not
 * know are skipped. Refused with ERR_BAD_REQUEST: cut or overlong fields, wrong wire types, text that is no UTF-8, groups,
 * nesting beyond 100.
 *
 * Pure functions, any thread. Source: specs kube.md, appendix A. */
#ifndef TM_KUBE_PROTOBUF_H
#define TM_KUBE_PROTOBUF_H

#include "kube/kind.h"
#include "value/json.h"

/* True when it starts as an envelope does. */
bool protobuf_is_envelope(const char *body, size_t len);
/* A body that should be of kind k. Another kind that is known is decoded as that kind: the caller compares. */
struct json *protobuf_decode_kind(const struct kind *k, const char *body, size_t len, struct err *err);
/* A body that should be of a type that is no kind (DeleteOptions). */
struct json *protobuf_decode_type(const struct ktype *t, const char *body, size_t len, struct err *err);
/* One message without the envelope. */
struct json *protobuf_decode_message(const struct ktype *t, const char *msg, size_t len, struct err *err);

#endif
