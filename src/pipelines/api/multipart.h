/* multipart.h - the one file of a multipart/form-data body. Source: RFC 7578, RFC 2046. */
#ifndef TM_PIPELINES_API_MULTIPART_H
#define TM_PIPELINES_API_MULTIPART_H

#include "base/buf.h"
#include "base/err.h"

/* Finds the first part with this field name that has a file name. *file_name: its last path component (caller frees); *data
 * points into the body. ERR_INVALID says what is missing or malformed. */
int multipart_file(const char *content_type, const char *body, size_t n, const char *field, char **file_name, const char **data,
                   size_t *data_len, struct err *err);

#endif
