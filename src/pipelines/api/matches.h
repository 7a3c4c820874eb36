/* matches.h - the rows that filters chose, kept for the next page and the next look at the same list.
 *
 * In a large table the question which rows a filter chooses, and how many they are, costs a look at every row. Its answer is kept
 * as a set of rowids, a bit a row; who asks again pays only for the rows that were written meanwhile (data/touched.h), each of
 * which is asked of the filter anew. Who asks first looks at packed columns (store/packed.h) where there are some. What is found
 * is exact in the snapshot of the asker.
 *
 *     uint64_t mark = matches_mark(m);                                  // before BEGIN
 *     int rc = matches_get(m, db, &cond, &tests, mark, &set, err);      // the snapshot is open, or opens here
 *     if (rc == 1) ... match_count(set), match_has(set, rowid) ...
 *     matches_put(m, set);
 *
 * A set belongs to one asker at a time: others with the same filter wait, and then find it filled. All sets together have at most
 * MATCHES_BYTES; those that were not asked for longest go first. Thread-safe. */
#ifndef TM_PIPELINES_API_MATCHES_H
#define TM_PIPELINES_API_MATCHES_H

#include "data/touched.h"
#include "pipelines/api/listing.h"
#include "pipelines/store/packed.h"

enum { MATCHES_BYTES = 16 << 20, MATCHES_FROM = 10000 };

struct match_set;
/* For tables of at least from_rows rows, by their counts. The log is the caller's and outlives it. */
struct matches *matches_new(const struct row_table *table, struct db_touched *log, int64_t from_rows);
void matches_free(struct matches *m); /* NULL is fine */
const struct row_table *matches_table(const struct matches *m);

uint64_t matches_mark(struct matches *m);
/* 1: *out is filled, and the caller's until matches_put. 0: the table is small, or its rowids are too large: ask it. -1. The
 * tests say the same as the condition, of packed columns (store/packed.h); NULL: the table alone is asked. */
int matches_get(struct matches *m, struct db *db, const struct list_sql *cond, const struct packed_tests *tests, uint64_t mark,
                struct match_set **out, struct err *err);
void matches_put(struct matches *m, struct match_set *s); /* NULL is fine */

size_t match_count(const struct match_set *s);
bool match_has(const struct match_set *s, int64_t rowid);
const uint64_t *match_bits(const struct match_set *s, size_t *words); /* a bit a rowid */
/* The rowids as a JSON array; for small sets. */
void match_list(const struct match_set *s, struct buf *out);
/* Where the first rows of a set stand in an order may be far from its beginning: the place (a page token's document) that was
 * found by walking there is kept until the set is looked at again after writes; one order a set. A reference, or NULL. */
struct json *match_start(const struct match_set *s, const char *order);
void match_keep_start(struct match_set *s, const char *order, struct json *token);

#endif
