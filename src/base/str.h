/* str.h - small helpers on C strings, string lists and string maps. No function keeps a pointer that it was given. */
#ifndef TM_BASE_STR_H
#define TM_BASE_STR_H

#include <string.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

static inline bool str_eq(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }
static inline bool str_empty(const char *s) { return !s || !*s; }
static inline bool str_starts(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }
bool str_ends(const char *s, const char *suffix);
/* Whole-string decimal int64; leading and trailing spaces are refused. False on garbage or overflow. */
bool str_to_i64(const char *s, int64_t *out);
bool str_to_f64(const char *s, double *out); /* C locale; no inf, nan or hex */
/* Shell-style match with * and ? over the whole string. */
bool str_glob(const char *pattern, const char *s);
/* Valid UTF-8 without surrogates, overlong forms or code points beyond U+10FFFF. */
bool str_utf8_valid(const char *s, size_t n);

/* A list of owned strings. v is NULL while nothing was added, then NULL-terminated: v[n] is NULL. */
struct strlist {
    char **v;
    size_t n, cap;
};
#define STRLIST(name) CLEANUP(strlist_free) struct strlist name = {0}
void strlist_add(struct strlist *l, const char *s);
void strlist_addf(struct strlist *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
void strlist_take(struct strlist *l, char *s); /* takes ownership of s */
bool strlist_has(const struct strlist *l, const char *s);
void strlist_sort(struct strlist *l);
void strlist_free(struct strlist *l);
/* Splits at sep; empty parts are kept ("" gives one empty part). Appends to out. */
void str_split(const char *s, char sep, struct strlist *out);
char *strlist_join(const struct strlist *l, const char *sep); /* caller frees */

/* A hash map string -> pointer. Keys are copied. Values are the caller's unless free_value is set. Iteration in
 * insertion order: `for (struct strmap_entry *e = strmap_first(m); e; e = strmap_next(e))`; removing the current entry
 * while iterating is not allowed. */
struct strmap_entry {
    const char *key;
    void *value;
};
struct strmap {
    struct strmap_node *head;
    void (*free_value)(void *);
};
#define STRMAP_INIT(fv) ((struct strmap){.free_value = (fv)})
void *strmap_get(const struct strmap *m, const char *key);
bool strmap_has(const struct strmap *m, const char *key);
void strmap_put(struct strmap *m, const char *key, void *value); /* an old value is freed by free_value */
bool strmap_del(struct strmap *m, const char *key);
void *strmap_take(struct strmap *m, const char *key); /* removes without freeing the value */
size_t strmap_count(const struct strmap *m);
struct strmap_entry *strmap_first(const struct strmap *m);
struct strmap_entry *strmap_next(struct strmap_entry *e);
void strmap_free(struct strmap *m);

/* Encodings. Results are malloc'd; decoders return -1 and leave *out NULL on bad input. */
char *base64_encode(const void *p, size_t n);
char *base64url_encode(const void *p, size_t n);                                     /* no padding */
int base64_decode(const char *s, size_t n, unsigned char **out, size_t *out_len);    /* standard, padded, strict */
int base64url_decode(const char *s, size_t n, unsigned char **out, size_t *out_len); /* padding optional */
char *hex_encode(const void *p, size_t n);
/* Percent-decoding of a URL part; '+' is a space when plus is set. -1 on bad %XX. A NUL byte is refused. */
int url_decode(const char *s, size_t n, bool plus, char **out);
char *url_encode(const char *s); /* everything but unreserved characters of RFC 3986 */

#endif
