/* hash.h - SHA-256 as hex text, for names that are made of content. */
#ifndef TM_PIPELINES_STORE_HASH_H
#define TM_PIPELINES_STORE_HASH_H

#include "base/base.h"

#define HASH_TEXT 65
char *sha256_hex(const void *p, size_t n, char out[HASH_TEXT]); /* returns out */

#endif
