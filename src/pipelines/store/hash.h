/* hash.h - names that are made of content. */
#ifndef TM_PIPELINES_STORE_HASH_H
#define TM_PIPELINES_STORE_HASH_H

#include "base/base.h"

#define HASH_TEXT 65                                            /* SHA-256 as hex text */
char *sha256_hex(const void *p, size_t n, char out[HASH_TEXT]); /* returns out */
/* The UUID of version 5 of a text in a name space, which is a UUID itself (RFC 9562); out has UUID_TEXT bytes. Returns out. */
char *uuid5(const char *name_space, const char *text, char *out);
uint32_t fnv32a(const char *text);

#endif
