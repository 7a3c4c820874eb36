/* buf.h - a byte buffer that grows, always NUL-terminated beyond its length once anything was added. */
#ifndef TM_BASE_BUF_H
#define TM_BASE_BUF_H

#include <stdarg.h>
#include <string.h>

#include "base/base.h"

struct buf {
    char *data; /* NULL while empty */
    size_t len, cap;
};

#define BUF_INIT  ((struct buf){0})
#define BUF(name) CLEANUP(buf_free) struct buf name = BUF_INIT

void buf_free(struct buf *b);                  /* frees and empties */
void buf_reset(struct buf *b);                 /* length 0, memory kept */
void buf_reserve(struct buf *b, size_t extra); /* room for extra more bytes (and the NUL) */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_addv(struct buf *b, const char *fmt, va_list ap);
void buf_consume(struct buf *b, size_t n); /* drops the first n bytes */
/* Hands the bytes (NUL-terminated, never NULL) to the caller, who frees them; the buffer is empty afterwards. */
char *buf_steal(struct buf *b, size_t *len_out);
/* The text so far; "" while empty. */
static inline const char *buf_str(const struct buf *b) { return b->data ? b->data : ""; }

#endif
