#include "pipelines/api/matches.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PAGE_DEFAULT = 20, PAGE_MAX = 200, TOKEN_MAX = 128 << 10, METRIC_NAME_MAX = 128 };

static const char MISMATCH[] =
    "page token does not match the supplied sort by and/or filtering criteria. Either specify the same criteria or "
    "leave the latter empty if page token is specified";

void list_query_clear(struct list_query *q)
{
    free(q->metric);
    free(q->filter);
    free(q->next_token);
    json_unref(q->filter_doc);
    json_unref(q->token);
    *q = (struct list_query){0};
}

/* ---- sort_by ------------------------------------------------------------------------------------------------------ */

static int set_metric(struct list_query *q, const char *name, struct err *err)
{
    size_t n = strlen(name);
    bool good = n > 0 && n <= METRIC_NAME_MAX && isalpha((unsigned char)name[0]);
    for (size_t i = 0; good && i < n; i++)
        good = isalnum((unsigned char)name[i]) || name[i] == '_' || name[i] == '-';
    if (!good)
        return err_set(
            err, ERR_INVALID,
            "Invalid metric name in sort_by: \"%.140s\". It starts with a letter and has letters, digits, _ and - (at most %d)",
            name, METRIC_NAME_MAX);
    q->metric = xstrdup(name);
    return 0;
}

static int set_sort_field(struct list_query *q, const char *word, struct err *err)
{
    AUTOFREE char *name = xstrdup(word);
    if (strncasecmp(name, "metric:", 7) == 0) {
        q->sort = row_field(q->kind, "metric", ROW_NO_SORT);
        if (q->sort)
            return set_metric(q, name + 7, err);
    } else {
        for (char *p = name; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        q->sort = row_field(q->kind, name, ROW_NO_SORT);
        if (q->sort && q->sort->type == ROW_METRIC)
            q->sort = NULL;
    }
    if (!q->sort)
        return err_set(err, ERR_INVALID, "Invalid sorting field: \"%.80s\" on listable type %s", word, q->kind->what);
    return 0;
}

/* "field", "field asc", "field desc". */
static int parse_sort(struct list_query *q, const char *text, struct err *err)
{
    AUTOFREE char *copy = xstrdup(text);
    char *save = NULL, *field = strtok_r(copy, " \t", &save), *way = strtok_r(NULL, " \t", &save),
         *more = strtok_r(NULL, " \t", &save);
    if (way && !more && strcasecmp(way, "desc") == 0)
        q->desc = true;
    else if (more || (way && strcasecmp(way, "asc") != 0))
        return err_set(err, ERR_INVALID,
                       "Received invalid sort by format \"%.200s\". Supported format: \"field_name\", \"field_name desc\", or "
                       "\"field_name asc\"",
                       text);
    return field ? set_sort_field(q, field, err) : 0;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------- */

/* A token: base64 of {"kind", "sort", "desc", "metric"?, "filter"?, "key": [sort key], "id"}. */
static int open_token(struct list_query *q, const char *text, struct err *err)
{
    size_t n = strlen(text), len;
    unsigned char *raw = NULL;
    if (n > TOKEN_MAX || base64_decode(text, n, &raw, &len) < 0)
        return err_set(err, ERR_INVALID, "Invalid page token: it is no base64 text of ours");
    ERR(e);
    q->token = json_parse((char *)raw, len, NULL, &e);
    free(raw);
    jval *t = json_root(q->token);
    if (!q->token || !str_eq(jv_str(jv_get(t, "kind")), q->kind->what) || !jv_str(jv_get(t, "sort")) ||
        !jv_str(jv_get(t, "id")) || jv_len(jv_get(t, "key")) == 0)
        return err_set(err, ERR_INVALID, "Invalid page token: take next_page_token of an earlier answer to the same list");
    return 0;
}

static int use_token(struct list_query *q, bool sort_given, bool filter_given, struct err *err)
{
    jval *t = json_root(q->token);
    const struct list_query asked = *q;
    const char *metric = jv_str(jv_get(t, "metric")), *filter = jv_str(jv_get(t, "filter"));
    const char *sort = jv_str(jv_get(t, "sort"));
    q->sort = row_field(q->kind, sort, ROW_NO_SORT);
    if (!q->sort || (q->sort->type == ROW_METRIC) != (metric != NULL))
        return err_set(err, ERR_INVALID, "Invalid page token: it sorts by \"%.80s\"", sort);
    q->desc = jv_bool(jv_get(t, "desc"), false);
    if (sort_given && (asked.sort->column != q->sort->column || asked.desc != q->desc || !str_eq(asked.metric, metric)))
        return err_set(err, ERR_INVALID, "%s", MISMATCH);
    if (metric && !q->metric && set_metric(q, metric, err) < 0)
        return -1;
    JSON_REF(token_filter) = NULL;
    if (filter_parse(filter, &token_filter, err) < 0)
        return err_wrap(err, "Invalid page token");
    if (filter_given && !jv_equal(json_root(token_filter), json_root(q->filter_doc)))
        return err_set(err, ERR_INVALID, "%s", MISMATCH);
    if (!filter_given) {
        q->filter = xstrdup(filter);
        q->filter_doc = TAKE(token_filter);
    }
    return 0;
}

int list_open(const struct row_table *kind, int32_t size, const char *token, const char *sort, const char *filter,
              struct list_query *q, struct err *err)
{
    q->kind = kind;
    if (size < 0)
        return err_set(err, ERR_INVALID, "The page size should be greater than 0. Got %d", size);
    q->page_size = size == 0 ? PAGE_DEFAULT : size > PAGE_MAX ? PAGE_MAX : size;
    q->sort = row_field(kind, "created_at", ROW_NO_SORT);
    ASSERT(q->sort);
    if (filter_parse(filter, &q->filter_doc, err) < 0 || parse_sort(q, sort ? sort : "", err) < 0)
        return -1;
    if (q->filter_doc)
        q->filter = xstrdup(filter);
    bool sort_given = sort && sort[strspn(sort, " \t")] != '\0';
    if (!str_empty(token))
        return open_token(q, token, err) < 0 ? -1 : use_token(q, sort_given, q->filter_doc != NULL, err);
    return 0;
}

int list_parse(const struct row_table *kind, const struct http_req *req, struct list_query *q, struct err *err)
{
    const char *token, *sort, *filter;
    int32_t size;
    if (query_i32(req, "page_size", &size, err) < 0 || query_text(req, "page_token", &token, err) < 0 ||
        query_text(req, "sort_by", &sort, err) < 0 || query_text(req, "filter", &filter, err) < 0)
        return -1;
    if (!sort && query_text(req, "order_by", &sort, err) < 0)
        return -1;
    return list_open(kind, size, token, sort, filter, q, err);
}

/* ---- selecting ---------------------------------------------------------------------------------------------------- */

/* The expressions that rows are ordered by, most important first; the id comes after them. All go in the query's direction, so
 * that one row-value comparison says "from here on". */
struct sort_key {
    struct list_sql part[2];
    size_t n;
    bool desc;
};
static void sort_key_clear(struct sort_key *k)
{
    for (size_t i = 0; i < k->n; i++)
        sql_clear(&k->part[i]);
}

/* Ids are sorted by bytes; a constant sorts nothing. */
static bool by_id(const struct list_query *q) { return strcmp(q->sort->column, q->kind->id) == 0 || q->sort->column[0] == '\''; }

static void make_sort_key(const struct list_query *q, struct sort_key *k)
{
    k->desc = q->desc;
    k->n = 1;
    if (q->sort->words) {
        sql_words(&k->part[0], q->sort);
        return;
    }
    if (by_id(q)) {
        sql_add(&k->part[0], "%s", q->kind->id);
        return;
    }
    switch (q->sort->type) {
    case ROW_TEXT:
    case ROW_OPT:
    case ROW_JSON:
        sql_add(&k->part[0], q->sort->type == ROW_TEXT ? "%s COLLATE NOCASE" : "coalesce(%s, '') COLLATE NOCASE",
                q->sort->column);
        sql_add(&k->part[1], q->sort->type == ROW_TEXT ? "%s" : "coalesce(%s, '')", q->sort->column);
        k->n = 2;
        return;
    default:
        sql_add(&k->part[0], "%s", q->sort->column);
    }
}

/* Adds the key's expressions, separated by commas, with their own values. */
static void add_key(struct list_sql *sql, const struct sort_key *k, const char *behind)
{
    for (size_t i = 0; i < k->n; i++) {
        sql_add(sql, "%s", i ? ", " : "");
        sql_append(sql, &k->part[i]);
        sql_add(sql, "%s", behind);
    }
}

static int bind_token_value(struct list_sql *sql, jval *v, struct err *err)
{
    int64_t n;
    double d;
    if (jv_str(v))
        sql_bind_text(sql, jv_str(v));
    else if (jv_i64(v, &n))
        sql_bind_int(sql, n);
    else if (jv_f64(v, &d))
        sql_bind_real(sql, d);
    else
        return err_set(err, ERR_INVALID, "Invalid page token: its key holds a %s", jtype_name(jv_type(v)));
    return 0;
}

/* " AND first >= ? AND (key, id) >= (?, ?, ?)": the row that the token names, and what comes after it. The first condition
 * follows from the second; SQLite needs it to start in the middle of an index. */
static int add_start(struct list_sql *sql, const struct list_query *q, const struct sort_key *k, struct err *err)
{
    jval *key = jv_get(json_root(q->token), "key");
    const char *op = k->desc ? "<=" : ">=";
    if (jv_len(key) != k->n)
        return err_set(err, ERR_INVALID, "Invalid page token: its key does not fit the sort field");
    if (k->part[0].n == 0) {
        sql_add(sql, " AND %s %s ?", buf_str(&k->part[0].text), op);
        if (bind_token_value(sql, jv_at(key, 0), err) < 0)
            return -1;
    }
    sql_add(sql, " AND (");
    add_key(sql, k, "");
    sql_add(sql, ", %s) %s (", q->kind->id, op);
    for (size_t i = 0; i < k->n; i++) {
        sql_add(sql, "?, ");
        if (bind_token_value(sql, jv_at(key, i), err) < 0)
            return -1;
    }
    sql_add(sql, "?)");
    sql_bind_text(sql, jv_str(jv_get(json_root(q->token), "id")));
    return 0;
}

static void add_order(struct list_sql *sql, const struct list_query *q, const struct sort_key *k)
{
    sql_add(sql, " ORDER BY ");
    add_key(sql, k, k->desc ? " DESC" : "");
    sql_add(sql, ", %s%s", q->kind->id, k->desc ? " DESC" : "");
}

static bool is_number(const struct row_field *f) { return !f->words && f->type >= ROW_INT && f->type <= ROW_TIME; }

/* The token of the page that starts with this row, before it is base64: columns 0.. are the key, then the id. */
static void token_text(const struct list_query *q, struct stmt *s, size_t n_key, struct buf *out)
{
    JM_NEW(m);
    jmval *root = jm_obj(m), *key = jm_arr(m);
    jm_set_root(m, root);
    jm_put(m, root, "kind", jm_str(m, q->kind->what));
    jm_put(m, root, "sort", jm_str(m, q->sort->name));
    jm_put(m, root, "desc", jm_bool(m, q->desc));
    if (q->metric)
        jm_put(m, root, "metric", jm_str(m, q->metric));
    if (q->filter)
        jm_put(m, root, "filter", jm_str(m, q->filter));
    for (size_t i = 0; i < n_key; i++) {
        int col = (int)i;
        if (is_number(q->sort) || (q->sort->type == ROW_METRIC && i == 0))
            jm_push(key, jm_i64(m, stmt_i64(s, col)));
        else if (q->sort->type == ROW_METRIC)
            jm_push(key, jm_f64(m, stmt_f64(s, col)));
        else
            jm_push(key, jm_str(m, stmt_text(s, col) ? stmt_text(s, col) : ""));
    }
    jm_put(m, root, "key", key);
    jm_put(m, root, "id", jm_str(m, stmt_text(s, (int)n_key)));
    jmv_write(root, JW_COMPACT, out);
}

static char *make_token(const struct list_query *q, struct stmt *s, size_t n_key)
{
    BUF(text);
    token_text(q, s, n_key, &text);
    return base64_encode(text.data, text.len);
}

/* A condition on nothing but counted columns is asked of the table of counts. */
static int count_all(struct list_query *q, struct db *db, const struct list_sql *where, bool counted, struct err *err)
{
    bool sum = counted && q->kind->counts;
    AUTOFREE char *text = xasprintf("SELECT %s FROM %s %s WHERE %s", sum ? "coalesce(sum(n), 0)" : "count(*)",
                                    sum ? q->kind->counts : q->kind->table, q->kind->alias, buf_str(&where->text));
    STMT_DYNAMIC(s, db, text, err);
    if (!s)
        return -1;
    sql_bind_all(s, 1, where);
    if (stmt_step(s, err) < 0)
        return -1;
    q->total = stmt_i64(s, 0);
    return 0;
}

/* The order that a query asks for, as a text. Caller frees. */
static char *order_name(const struct list_query *q)
{
    return xasprintf("%s %d %s", q->sort->name, q->desc, q->metric ? q->metric : "");
}

static void keep_start(const struct list_query *q, struct stmt *s, size_t n_key, struct match_set *set)
{
    BUF(text);
    token_text(q, s, n_key, &text);
    AUTOFREE char *order = order_name(q);
    JSON_REF(token) = json_parse(text.data, text.len, NULL, NULL);
    match_keep_start(set, order, token);
}

/* A page that is being filled. */
struct page {
    struct list_query *q;
    struct db *db;
    struct match_set *set; /* NULL: every row that comes is one of the list */
    list_row_fn *row;
    void *self;
    int n, passed; /* rows taken, and passed over because they are not in the set */
    int patience;  /* when this many were passed over before the first was taken, the walk ends; 0: it goes on */
    bool full;     /* the one behind the page has come */
    bool far;      /* patience came to its end */
};

/* Two queries for a page: the keys and ids in order, of which the one behind the page makes the token, and each row by its id.
 * Rows are narrow to sort that way, and the kind's columns keep their numbers. */
static int take_row(struct page *p, struct stmt *keys, size_t n_key, struct err *err)
{
    enum { FAR = 1000 };
    if (p->set && !match_has(p->set, stmt_i64(keys, (int)n_key + 1))) {
        p->passed++;
        p->far = p->patience && p->n == 0 && p->passed >= p->patience;
        return 0;
    }
    if (p->n == 0 && p->passed >= FAR && !p->q->token)
        keep_start(p->q, keys, n_key, p->set);
    if (p->n == p->q->page_size) {
        p->q->next_token = make_token(p->q, keys, n_key);
        p->full = true;
        return 0;
    }
    p->n++;
    STMT(s, p->db, row_select_one(p->q->kind), err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, stmt_text(keys, (int)n_key));
    int got = stmt_step(s, err);
    return got < 0 || (got == 1 && p->row(p->self, s, err) < 0) ? -1 : 0;
}

/* Walks rows of key, id and rowid. Without a set, no more than a page of them is asked for. */
static int walk(struct page *p, struct list_sql *sql, size_t n_key, struct err *err)
{
    if (!p->set)
        sql_add(sql, " LIMIT %d", p->q->page_size + 1);
    STMT_DYNAMIC(keys, p->db, buf_str(&sql->text), err);
    if (!keys)
        return -1;
    sql_bind_all(keys, 1, sql);
    int rc;
    while (!p->full && !p->far && (rc = stmt_step(keys, err)) != 0) {
        if (rc < 0 || take_row(p, keys, n_key, err) < 0)
            return -1;
    }
    return 0;
}

/* "SELECT key, id, rowid FROM ... WHERE cond", from the token's row on, in order. */
static int page_sql(const struct list_query *q, const struct sort_key *key, const struct list_sql *cond, struct list_sql *sql,
                    struct err *err)
{
    sql_add(sql, "SELECT ");
    add_key(sql, key, "");
    sql_add(sql, ", %s", q->kind->id);
    if (q->kind->counts) /* other tables may have no rowid */
        sql_add(sql, ", %s.rowid", q->kind->alias);
    sql_add(sql, " FROM %s %s WHERE ", q->kind->table, q->kind->alias);
    sql_append(sql, cond);
    if (q->token && add_start(sql, q, key, err) < 0)
        return -1;
    add_order(sql, q, key);
    return 0;
}

static int fill_by_metric(struct page *p, const struct list_sql *cond, struct err *err)
{
    for (int having = 1; having >= 0 && !p->full; having--) {
        SQL_PIECE(sql);
        int rc = metric_sql(p->q, having, cond, &sql, err);
        if (rc < 0 || (rc == 1 && walk(p, &sql, 2, err) < 0))
            return -1;
    }
    return 0;
}

static int fill_page(struct page *p, const struct list_sql *cond, struct err *err)
{
    if (p->q->sort->type == ROW_METRIC)
        return fill_by_metric(p, cond, err);
    CLEANUP(sort_key_clear) struct sort_key key = {0};
    make_sort_key(p->q, &key);
    SQL_PIECE(sql);
    return page_sql(p->q, &key, cond, &sql, err) < 0 ? -1 : walk(p, &sql, key.n, err);
}

/* The order's first row that is in the set lies far from its beginning: packed columns tell from where on it can be. */
static int add_first(struct page *p, int column, struct list_sql *cond, struct err *err)
{
    const struct list_query *q = p->q;
    size_t words;
    const uint64_t *bits = match_bits(p->set, &words);
    int64_t seconds;
    int rc = packed_extreme(p->db, column, q->desc, bits, words, &seconds, err);
    if (rc == 1) {
        sql_add(cond, q->desc ? " AND %s < ?" : " AND %s >= ?", q->sort->column);
        sql_bind_int(cond, (seconds + q->desc) * NS_PER_S);
    }
    return rc < 0 ? -1 : 0;
}

/* Many rows: the order's index is walked until the page is full, from where the set lets it start. */
static int page_of_many(struct page *p, struct err *err)
{
    enum { PATIENCE = 5000 };
    struct list_query *q = p->q;
    SQL_PIECE(cond);
    sql_add(&cond, "1");
    filter_range_sql(q->kind, json_root(q->filter_doc), q->sort->column, &cond);
    AUTOFREE char *order = order_name(q);
    if (!q->token)
        q->token = match_start(p->set, order);
    int column = q->sort->type == ROW_TIME && !q->token ? packed_column(q->sort->column) : -1;
    p->patience = column >= 0 ? PATIENCE : 0;
    if (fill_page(p, &cond, err) < 0)
        return -1;
    if (!p->far)
        return 0;
    p->far = false;
    p->patience = 0;
    return add_first(p, column, &cond, err) < 0 ? -1 : fill_page(p, &cond, err);
}

/* A page of rows that are in a set. Of few rows, each is looked up and they are sorted. */
static int page_of_set(struct page *p, struct err *err)
{
    enum { FEW = 2000 };
    if (match_count(p->set) > FEW)
        return page_of_many(p, err);
    BUF(list);
    SQL_PIECE(cond);
    match_list(p->set, &list);
    sql_add(&cond, "%s.rowid IN (SELECT value FROM json_each(?))", p->q->kind->alias);
    sql_bind_text(&cond, buf_str(&list));
    return fill_page(p, &cond, err);
}

/* Counts answer what nothing but counted columns ask, and an index answers pages by age: no set is needed. */
static bool wants_set(const struct list_query *q, bool counted)
{
    return q->filter_doc && !(counted && str_eq(q->sort->name, "created_at"));
}

static int run_in_snapshot(struct page *p, struct matches *m, uint64_t mark, const struct list_sql *cond,
                           const struct packed_tests *tests, bool counted, struct err *err)
{
    struct list_query *q = p->q;
    if (m && wants_set(q, counted) && matches_get(m, p->db, cond, tests, mark, &p->set, err) < 0)
        return -1;
    if (!p->set)
        return count_all(q, p->db, cond, counted, err) < 0 ? -1 : fill_page(p, cond, err);
    q->total = (int64_t)match_count(p->set);
    int rc = q->total ? page_of_set(p, err) : 0;
    matches_put(m, p->set);
    return rc;
}

/* A list's scope, "r.experiment_id = ?", as a test. */
static void scope_test(const char *where, const char *value, struct packed_tests *tests)
{
    static const char EQUALS[] = " = ?";
    size_t n = strlen(where);
    AUTOFREE char *column = xstrdup(where);
    if (str_ends(where, EQUALS))
        column[n - strlen(EQUALS)] = '\0';
    int number = packed_column(column);
    if (number < 0)
        tests->exact = false;
    else
        packed_add_value(packed_add(tests, number, PACKED_EQ), value, 0);
}

int list_run(struct list_query *q, struct db *db, struct matches *m, const char *where, const char *const *values,
             size_t n_values, list_row_fn *row, void *self, struct err *err)
{
    ASSERT(!m || matches_table(m) == q->kind);
    SQL_PIECE(cond);
    sql_add(&cond, "%s", where ? where : "1");
    for (size_t i = 0; i < n_values; i++)
        sql_bind_text(&cond, values[i]);
    bool counted = true;
    if (filter_sql(q->kind, json_root(q->filter_doc), &cond, &counted, err) < 0)
        return -1;
    PACKED_TESTS(tests);
    if (m && where)
        scope_test(where, values[0], &tests);
    if (m)
        filter_packed(q->kind, json_root(q->filter_doc), &tests);
    /* One snapshot for the number and the page. */
    uint64_t mark = m ? matches_mark(m) : 0;
    if (db_exec(db, "BEGIN", err) < 0)
        return -1;
    struct page p = {.q = q, .db = db, .row = row, .self = self};
    int rc = run_in_snapshot(&p, m, mark, &cond, &tests, counted, err);
    db_rollback(db);
    return rc;
}

void list_finish(struct list_query *q, struct jm *m, jmval *root, const char *key, jmval *items)
{
    if (jmv_len(items) > 0)
        jm_put(m, root, key, items);
    out_i32(m, root, "total_size", q->total);
    out_str(m, root, "next_page_token", q->next_token);
}
