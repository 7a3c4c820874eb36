/* listing.h - lists of every kind: page tokens, sorting and filters, turned into SQL by the kind's table (store/rows.h).
 *
 *     LIST_QUERY(q);
 *     if (list_parse(&RUN_ROWS, req, &q, err) < 0 || list_run(&q, db, "r.experiment_id = ?", ids, 1, row, self, err) < 0)
 *         return -1;
 *     list_finish(&q, m, root, "runs", items);              // with total_size, next_page_token
 *
 * Paging is by key, never by offset: a token holds the sort field, the direction, the filter and the sort key of the first row of
 * the next page. A token comes from outside like any other text: its field is looked up in the table, its filter is parsed as a
 * filter, and its values are bound. Names and SQL of columns come from the tables only. Text sorts without regard to case
 * (ASCII), ties by bytes, then by id. Source: pipelines-api spec 3. */
#ifndef TM_PIPELINES_API_LISTING_H
#define TM_PIPELINES_API_LISTING_H

#include "pipelines/api/internal.h"
#include "pipelines/store/rows.h"

/* A value bound to one ? of a piece of SQL. */
struct list_bind {
    char *text; /* NULL: the number; owned */
    int64_t number;
    double real;
    enum { BIND_TEXT, BIND_INT, BIND_REAL } type;
};
struct list_sql { /* SQL text with ? and its values, in order */
    struct buf text;
    struct list_bind *binds;
    size_t n, cap;
};

struct list_query {
    const struct row_table *kind;
    const struct row_field *sort;
    char *metric; /* LIST_METRIC */
    bool desc;
    int page_size;
    char *filter;            /* its text, NULL: none */
    struct json *filter_doc; /* decoded */
    struct json *token;      /* decoded; NULL: the first page */
    int64_t total;
    char *next_token;
};
void list_query_clear(struct list_query *q);
#define LIST_QUERY(name) CLEANUP(list_query_clear) struct list_query name = {0}

/* Reads page_token, page_size, sort_by and filter. ERR_BAD_REQUEST and ERR_INVALID. */
int list_parse(const struct row_table *kind, const struct http_req *req, struct list_query *q, struct err *err);
/* The same from texts, of which any may be NULL; size 0: the default. */
int list_open(const struct row_table *kind, int32_t size, const char *token, const char *sort, const char *filter,
              struct list_query *q, struct err *err);

typedef int list_row_fn(void *self, struct stmt *s, struct err *err);
/* Counts and selects. where: a condition of the caller's with n_values ? for texts, on counted columns alone where the kind
 * has counts; NULL: none. m: what filters of this kind chose before (matches.h); NULL: the database is asked anew. row is called
 * for each row of the page with the columns of row_select. */
struct matches;
int list_run(struct list_query *q, struct db *db, struct matches *m, const char *where, const char *const *values,
             size_t n_values, list_row_fn *row, void *self, struct err *err);
/* Writes items under key unless there are none, total_size and next_page_token. */
void list_finish(struct list_query *q, struct jm *m, jmval *root, const char *key, jmval *items);

/* For listing.c, listing_metric.c, filter.c and matches.c. */
/* The SQL of one part of a list that is sorted by a metric (the runs having it, then the others): its key, id, rowid, from the
 * token's row on. 1, 0 when the token lies behind this part, -1. */
int metric_sql(const struct list_query *q, bool having, const struct list_sql *cond, struct list_sql *sql, struct err *err);
void sql_add(struct list_sql *sql, const char *fmt, ...) PRINTF_LIKE(2, 3);
void sql_bind_text(struct list_sql *sql, const char *v);
void sql_bind_int(struct list_sql *sql, int64_t v);
void sql_bind_real(struct list_sql *sql, double v);
void sql_clear(struct list_sql *sql);
#define SQL_PIECE(name) CLEANUP(sql_clear) struct list_sql name = {0}
/* Appends a piece with its values. */
void sql_append(struct list_sql *sql, const struct list_sql *piece);
/* Binds the values from number `at` on; returns the number after them. */
int sql_bind_all(struct stmt *s, int at, const struct list_sql *sql);
/* The words of a column as a CASE expression. */
void sql_words(struct list_sql *sql, const struct row_field *f);
/* Parses a filter's text (URL-decoded once more unless it starts with a brace). *doc NULL when it is empty. */
int filter_parse(const char *text, struct json **doc, struct err *err);
/* Appends " AND ..." for each predicate. *counted becomes false when one is on a column that is not counted. */
int filter_sql(const struct row_table *kind, jval *filter, struct list_sql *sql, bool *counted, struct err *err);
/* The predicates of a filter that is right, as tests of packed columns; what cannot be said that way is left out, and
 * tests->exact false. */
struct packed_tests;
void filter_packed(const struct row_table *kind, jval *filter, struct packed_tests *tests);
/* Appends those that an index on this column, in its order, answers with one range; of a filter that is right. */
void filter_range_sql(const struct row_table *kind, jval *filter, const char *column, struct list_sql *sql);

#endif
