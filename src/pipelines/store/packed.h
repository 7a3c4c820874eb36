/* packed.h - columns of runs beside their table, packed by blocks of 1,024 rowids, so that a filter which no index answers looks
 * at a few bytes a run and at each text once a block, and not at every row.
 *
 * What is packed is exactly what the table has, in every snapshot: a trigger takes a block's mark away in the transaction that
 * writes one of its runs (metadata/schema_packed.c), and blocks without a mark are asked of the table. packer.c packs what nobody
 * wrote for a while. Nothing breaks when no block is packed: questions take longer.
 *
 * Texts are the block's distinct values and a number a row; times are whole seconds, as filters compare them; a history is kept
 * with its times taken out, of which then few are left. */
#ifndef TM_PIPELINES_STORE_PACKED_H
#define TM_PIPELINES_STORE_PACKED_H

#include "pipelines/store/store.h"

enum { PACKED_SHIFT = 10, PACKED_ROWS = 1 << PACKED_SHIFT, PACKED_WORDS = PACKED_ROWS / 64 };

/* ---- asking ------------------------------------------------------------------------------------------------------- */

enum packed_op { PACKED_EQ, PACKED_NE, PACKED_GT, PACKED_GE, PACKED_LT, PACKED_LE, PACKED_CONTAINS };
struct packed_value {
    char *text;     /* of texts and histories; owned */
    int64_t number; /* of times: Unix seconds */
};
/* One condition on one column: true when it is of any of the values. */
struct packed_test {
    int column; /* packed_column */
    enum packed_op op;
    struct packed_value *values;
    size_t n;
    uint64_t numbers; /* of words instead of values: bit i, rows with the number i */
};
struct packed_tests {
    struct packed_test *v;
    size_t n;
    bool exact; /* whoever fulfils them fulfils the whole condition; else it has to be asked of those rows */
};
void packed_tests_clear(struct packed_tests *t);
#define PACKED_TESTS(name) CLEANUP(packed_tests_clear) struct packed_tests name = {.exact = true}

/* The number of a packed column ("r.display_name"), or -1. */
int packed_column(const char *column);
const char *packed_column_name(int column);
enum packed_type { PACKED_TEXT, PACKED_HISTORY, PACKED_SECONDS, PACKED_WORD };
enum packed_type packed_type(int column);
/* Adds a test on this column; its values are added to what comes back. */
struct packed_test *packed_add(struct packed_tests *t, int column, enum packed_op op);
void packed_add_value(struct packed_test *t, const char *text, int64_t number);
void packed_drop_last(struct packed_tests *t);

/* The answer: a bit a rowid, of blocks that are packed, and which those are. */
struct packed_answer {
    uint64_t *bits; /* PACKED_WORDS a block */
    bool *packed;   /* a block */
    size_t blocks;  /* up to that of the last run */
    size_t n_packed;
    bool exact;
};
void packed_answer_clear(struct packed_answer *a);
#define PACKED_ANSWER(name) CLEANUP(packed_answer_clear) struct packed_answer name = {0}
/* In the caller's snapshot. Tests that cannot be answered from what is packed are left out, and the answer is not exact: too
 * many rows, never too few. 1; 0 when less than half of the blocks are packed, no test could be answered, or rowids are larger
 * than max_rowid: ask the table; -1. */
int packed_scan(struct db *db, const struct packed_tests *t, int64_t max_rowid, struct packed_answer *out, struct err *err);

/* Of the rows with these bits, the earliest or latest whole second of a column of times, or one that lies further out. 1; 0: it
 * cannot be told in short time; -1. */
int packed_extreme(struct db *db, int column, bool highest, const uint64_t *bits, size_t words, int64_t *seconds,
                   struct err *err);

/* ---- packing ------------------------------------------------------------------------------------------------------ */

/* Packs a block of the table as the reader's snapshot has it, and stores it unless one of its runs was written meanwhile.
 * *done says whether it is. */
int packed_pack(const struct store *st, const struct ctx *ctx, int64_t block, bool *done, struct err *err);

struct packer;
/* Packs, in a thread of its own, blocks that nobody wrote for `quiet_ns` (0: ten seconds), with pauses. What it is given must
 * outlive it. */
struct packer *packer_start(const struct store *st, int64_t quiet_ns);
void packer_stop(struct packer *p); /* NULL is fine */

/* Whether an order (as of strcmp) is what the operator asks for; PACKED_CONTAINS: never. */
bool packed_compares(int order, enum packed_op op);

/* For packed.c and packed_scan.c: the row of run_columns, its data, and what is done to a text first. */
static inline int64_t packed_id(int column, int64_t block) { return (int64_t)column << 40 | block; }
/* A history without its times: each "2025-11-25T12:00:05Z" becomes one byte \1. In place. */
void packed_take_times_out(char *text);

#endif
