/* rows.h - a table of the database, described once: its rows as structs, how they are read and written, what lists of them are
 * sorted and filtered by, and what of them answers show.
 *
 *     static const struct row_field FIELDS[] = {
 *         {"pipeline_id", "p.pipeline_id", ROW_TEXT, ROW_AT(struct pipeline, pipeline_id), ROW_SHOWN},
 *         {"id", "p.pipeline_id", ROW_TEXT, ROW_ALIAS},
 *     };
 *     ROW_TABLE(PIPELINE_ROWS, "Pipeline", "pipelines", "p", "p.pipeline_id", struct pipeline, FIELDS);
 *
 * A field with a place in the struct is a column that is read and written; one without (ROW_ALIAS) is only another name or an
 * expression for lists. The structs own their strings. The SQL is made of the table alone, once, and prepared once a connection:
 * no text from outside is in it. Functions that write run inside a transaction of the writer. */
#ifndef TM_PIPELINES_STORE_ROWS_H
#define TM_PIPELINES_STORE_ROWS_H

#include <stddef.h>

#include "data/sql.h"

enum row_type {
    ROW_TEXT,   /* char *; NULL and "" are both stored as '' */
    ROW_OPT,    /* char *; NULL stays NULL */
    ROW_JSON,   /* char *, JSON text or NULL; shown as the value it is */
    ROW_TAGS,   /* the same, an object of strings: lists filter by tags.<key>, and do not sort */
    ROW_INT,    /* int64_t; shown as a number */
    ROW_ID,     /* int64_t; shown as a string, as int64 is in proto-JSON */
    ROW_SMALL,  /* int or an enum; with words, shown and compared as them */
    ROW_FLAG,   /* bool; likewise */
    ROW_TIME,   /* int64_t, Unix nanoseconds, 0: not yet; compared with filters as whole seconds */
    ROW_STAMP,  /* int64_t, of tables with a `state`: row_put writes it only when the state differs from the row's */
    ROW_METRIC, /* lists only: sorts runs by metric:<name> */
};
enum {
    ROW_SHOWN = 1,     /* answers carry it under its name */
    ROW_NO_SORT = 2,   /* lists do not sort by it */
    ROW_NO_FILTER = 4, /* nor filter */
    ROW_HIDDEN = ROW_NO_SORT | ROW_NO_FILTER,
    ROW_FIXED = 8,    /* row_put leaves it as it is when the row is there */
    ROW_COUNTED = 16, /* the table of counts has it, under the same name */
};
#define ROW_ALIAS         (-1)
#define ROW_AT(s, member) ((int)offsetof(s, member))

/* A word for a number. The first one of a number is what is shown and sorted by; the others are further spellings for filters
 * (any case). */
struct row_word {
    const char *word;
    int number;
};
struct row_field {
    const char *name;   /* in lists and answers; hidden ones have one all the same */
    const char *column; /* "p.name", or an expression for an alias */
    enum row_type type;
    int at; /* place in the struct, or ROW_ALIAS */
    unsigned flags;
    const struct row_word *words; /* ends with a NULL word */
};
struct row_sql;
struct row_table {
    const char *what;  /* "Pipeline", for messages and page tokens */
    const char *table; /* "pipelines" */
    const char *alias; /* "p" */
    const char *id;    /* "p.pipeline_id": text, unique */
    size_t size;       /* of the struct */
    const struct row_field *fields;
    size_t n;
    const char *counts;  /* a table with the number of rows for each combination of the ROW_COUNTED fields; NULL: none */
    struct row_sql *sql; /* made when first used */
};
struct row_sql {
    _Atomic(char *) text[4];
};
#define ROW_TABLE(var, what_, table_, alias_, id_, struct_, list)                                                                \
    ROW_TABLE_COUNTED(var, what_, table_, alias_, id_, struct_, list, NULL)
#define ROW_TABLE_COUNTED(var, what_, table_, alias_, id_, struct_, list, counts_)                                               \
    static struct row_sql var##_SQL;                                                                                             \
    const struct row_table var = {.what = (what_),                                                                               \
                                  .table = (table_),                                                                             \
                                  .alias = (alias_),                                                                             \
                                  .id = (id_),                                                                                   \
                                  .size = sizeof(struct_),                                                                       \
                                  .fields = (list),                                                                              \
                                  .n = ARRAY_LEN(list),                                                                          \
                                  .counts = (counts_),                                                                           \
                                  .sql = &var##_SQL}

/* The first spelling of a number; NULL when it has none. */
const char *row_word(const struct row_word *words, int number);
/* A number that is larger than every one before, also of the process before this one: what was changed when. */
int64_t row_stamp(void);
/* The field of this name without any of these flags; NULL. */
const struct row_field *row_field(const struct row_table *t, const char *name, unsigned without);

/* "SELECT <columns> FROM <table> <alias>", for queries that go on with " WHERE ...", and the same with " WHERE <id> = ?1". Live
 * for ever. */
const char *row_select(const struct row_table *t);
const char *row_select_one(const struct row_table *t);
/* Fills the struct from a row of row_select. Strings are copied. */
void row_read(const struct row_table *t, struct stmt *s, void *out);
void row_clear(const struct row_table *t, void *row); /* frees the strings; all zero afterwards */
/* 1, 0 when there is none, -1. */
int row_find(const struct row_table *t, struct db *db, const char *id, void *out, struct err *err);
/* 0, or ERR_NOT_FOUND "<what> <id> not found". */
int row_get(const struct row_table *t, struct db *db, const char *id, void *out, struct err *err);
/* The first row of "<row_select> <tail>", where tail is a literal with ?1.. for texts. 1, 0, -1. */
int row_first(const struct row_table *t, struct db *db, const char *tail, const char *const *values, size_t n, void *out,
              struct err *err);
/* Called with each row of "<row_select> <tail>"; what it leaves in the row is freed. Non-zero ends the walk and is returned. */
typedef int row_fn(void *self, void *row, struct err *err);
int row_each(const struct row_table *t, struct db *db, const char *tail, const char *const *values, size_t n, row_fn *fn,
             void *self, struct err *err);
int row_insert(const struct row_table *t, struct db *db, const void *row, struct err *err); /* ERR_EXISTS */
/* Inserts, or replaces what is not ROW_FIXED of the row with that id. */
int row_put(const struct row_table *t, struct db *db, const void *row, struct err *err);

#endif
