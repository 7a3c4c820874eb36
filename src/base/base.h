/* base.h - compiler attributes, asserts and small macros that every room uses. */
#ifndef TM_BASE_BASE_H
#define TM_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define MUST_CHECK        __attribute__((warn_unused_result))
#define CLEANUP(fn)       __attribute__((cleanup(fn)))
#define UNUSED            __attribute__((unused))
#define NORETURN          __attribute__((noreturn))
#define ARRAY_LEN(a)      (sizeof(a) / sizeof((a)[0]))

/* The enclosing struct of a member. */
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Moves a pointer out of a scope-cleaned variable: `return TAKE(buf);`. */
#define TAKE(p)                                                                                                                  \
    ({                                                                                                                           \
        __typeof__(p) tk__ = (p);                                                                                                \
        (p) = NULL;                                                                                                              \
        tk__;                                                                                                                    \
    })

/* An invariant of ours. Stays on in release builds; bad input is never an assert. */
#define ASSERT(cond) ((cond) ? (void)0 : base_assert_failed(#cond, __FILE__, __LINE__, __func__))
NORETURN void base_assert_failed(const char *cond, const char *file, int line, const char *func);

/* Memory: these abort when there is none. Sizes that come from outside are bounded by the caller first.
 * The caller frees with free(). xmalloc(0) returns a unique pointer. */
void *xmalloc(size_t size) __attribute__((malloc));
void *xcalloc(size_t n, size_t size) __attribute__((malloc));
void *xrealloc(void *p, size_t size);
void *xreallocarray(void *p, size_t n, size_t size);
char *xstrdup(const char *s) __attribute__((malloc)); /* NULL gives NULL */
char *xstrndup(const char *s, size_t n) __attribute__((malloc));
void *xmemdup(const void *p, size_t n) __attribute__((malloc));
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((malloc));

/* Scope cleanup: `AUTOFREE char *p = ...;` frees p when it goes out of scope; AUTOCLOSE closes an fd >= 0. */
static inline void base_freep(void *p)
{
    void **pp = p;
    __builtin_free(*pp);
}
void base_closep(int *fd);
#define AUTOFREE  CLEANUP(base_freep)
#define AUTOCLOSE CLEANUP(base_closep)

#endif
