/* id.h - random identifiers, from getrandom(2). Thread-safe; never fail. */
#ifndef TM_BASE_ID_H
#define TM_BASE_ID_H

#include "base/base.h"

#define UUID_TEXT 37
char *uuid4(char out[UUID_TEXT]); /* "8c0e..."; returns out */
bool uuid_valid(const char *s);   /* canonical lower- or upper-case text form */
/* n characters of the alphabet that Kubernetes uses for generated names, plus NUL. */
char *random_suffix(char *out, size_t n);
char *random_hex(char *out, size_t bytes); /* 2*bytes characters plus NUL */
void random_bytes(void *p, size_t n);
uint64_t random_u64(void);

#endif
