/* regex.h - regular expressions of RE2's syntax on PCRE2, with match and heap limits; what RE2 refuses (back
 * references, look-around, possessive and atomic groups, \C ...) is refused. Compiled patterns are immutable and may be shared by
 * threads. */
#ifndef TM_VALUE_REGEX_H
#define TM_VALUE_REGEX_H

#include "base/buf.h"
#include "base/err.h"

struct regex;
struct regex *regex_compile(const char *pattern, struct err *err);
void regex_free(struct regex *r);
/* 1 if some part of the text matches (anchors are the pattern's), 0 if not, -1 on a limit. */
int regex_match(const struct regex *r, const char *text, size_t len, struct err *err);
/* First match at or after `from`: offsets in *start, *end. 1, 0 or -1 as above. */
int regex_find(const struct regex *r, const char *text, size_t len, size_t from, size_t *start, size_t *end, struct err *err);

/* Processor time that this thread has spent on matching so far. One match is bounded (half a second); who matches many for
 * somebody else takes the difference, and stops. */
int64_t regex_spent_ns(void);

#endif
