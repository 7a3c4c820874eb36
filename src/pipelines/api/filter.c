/* filter.c - filter documents, turned into conditions (spec 3.3). Everything from outside is bound; columns come from the kind's
 * table. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/timefmt.h"
#include "pipelines/api/listing.h"
#include "pipelines/api/proto_json.h"
#include "pipelines/store/packed.h"

enum op { OP_NONE, OP_EQ, OP_NE, OP_GT, OP_GE = 5, OP_LT, OP_LE, OP_IN, OP_SUBSTRING };
enum { FILTER_MAX = 64 << 10, PREDICATES_MAX = 100, VALUES_MAX = 1000 };
/* Whole seconds that still fit into 64 bits as nanoseconds, with room for one more. */
static const int64_t SECONDS_MAX = 9223372030LL;

struct predicate {
    enum op op;
    const char *key;
    const struct row_field *field;
    const char *tag;        /* ROW_TAGS: the key of the tag */
    const char *value_name; /* "string_value", "int_values", ... */
    jval *value;            /* a scalar, or the array of values (NULL when it is empty) */
    bool list, text, time;
};

static const char *op_sql(enum op op)
{
    switch (op) {
    case OP_EQ:
        return "=";
    case OP_NE:
        return "<>";
    case OP_GT:
        return ">";
    case OP_GE:
        return ">=";
    case OP_LT:
        return "<";
    case OP_LE:
        return "<=";
    default:
        return NULL;
    }
}

int filter_parse(const char *text, struct json **doc, struct err *err)
{
    *doc = NULL;
    if (str_empty(text))
        return 0;
    size_t len = strlen(text);
    if (len > FILTER_MAX)
        return err_set(err, ERR_INVALID, "filter has %zu bytes, at most %d are allowed", len, FILTER_MAX);
    /* The UI encodes twice; a text that is JSON already must not be touched (it may hold % or +). */
    AUTOFREE char *again = NULL;
    if (text[0] != '{' && url_decode(text, len, true, &again) == 0)
        text = again;
    *doc = pj_decode(&PJ_FILTER, text, strlen(text), err);
    if (!*doc)
        return err_wrap(err, "failed to parse valid filter from \"%.200s\"", text);
    return 0;
}

/* ---- reading a predicate ---------------------------------------------------------------------------------------- */

static int read_value(jval *in, struct predicate *p, struct err *err)
{
    static const struct {
        const char *name;
        bool list, text, time;
    } kinds[] = {
        {"string_value", .text = true},
        {"int_value"},
        {"long_value"},
        {"timestamp_value", .time = true},
        {"string_values", .list = true, .text = true},
        {"int_values", .list = true},
        {"long_values", .list = true},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        jval *v = jv_get(in, kinds[i].name);
        if (!v)
            continue;
        p->value_name = kinds[i].name;
        p->list = kinds[i].list;
        p->text = kinds[i].text;
        p->time = kinds[i].time;
        p->value = p->list ? jv_get(v, "values") : v;
        return 0;
    }
    return err_set(
        err, ERR_INVALID,
        "predicate on \"%s\" has no value: give string_value, int_value, long_value, timestamp_value or a list of them", p->key);
}

static int read_key(const struct row_table *kind, struct predicate *p, struct err *err)
{
    if (str_empty(p->key))
        return err_set(err, ERR_INVALID, "Predicate key cannot be empty");
    const struct row_field *f;
    if (str_starts(p->key, "tags.")) {
        f = row_field(kind, "tags", ROW_NO_FILTER);
        p->tag = p->key + 5;
    } else {
        f = row_field(kind, p->key, ROW_NO_FILTER);
        if (f && f->type == ROW_TAGS)
            f = NULL; /* "tags" alone names no tag */
    }
    if (!f)
        return err_set(err, ERR_INVALID, "no support for filtering on unrecognized field \"%.80s\"", p->key);
    p->field = f;
    return 0;
}

static int check_shape(const struct predicate *p, struct err *err)
{
    bool known = op_sql(p->op) || p->op == OP_IN || p->op == OP_SUBSTRING;
    if (!known)
        return err_set(err, ERR_INVALID,
                       "predicate on \"%s\" has no operation: use EQUALS, NOT_EQUALS, GREATER_THAN, GREATER_THAN_EQUALS, "
                       "LESS_THAN, LESS_THAN_EQUALS, IN or IS_SUBSTRING",
                       p->key);
    if (p->op == OP_IN && !p->list)
        return err_set(err, ERR_INVALID, "cannot use IN operator with the scalar %s", p->value_name);
    if (p->op == OP_SUBSTRING && (!p->text || p->list))
        return err_set(err, ERR_INVALID, "cannot use IS_SUBSTRING with %s: it takes a string_value", p->value_name);
    if (p->op != OP_IN && p->list)
        return err_set(err, ERR_INVALID, "cannot use a scalar operator on the list %s: use IN", p->value_name);
    if (p->tag && (p->op != OP_EQ || !p->text))
        return err_set(err, ERR_INVALID, "tags are filtered by EQUALS with a string_value only: \"%.80s\"", p->key);
    return 0;
}

/* ---- conditions --------------------------------------------------------------------------------------------------- */

/* The value as text, whatever it came as. Caller frees. */
static char *value_text(const struct predicate *p, jval *v)
{
    int64_t n = 0;
    if (p->time && time_parse(jv_str_or(v, ""), &n))
        return xasprintf("%lld", (long long)(n / NS_PER_S - (n % NS_PER_S < 0)));
    if (jv_str(v))
        return xstrdup(jv_str(v));
    return xasprintf("%lld", (long long)(jv_i64(v, &n) ? n : 0));
}

static void bind_value(const struct predicate *p, jval *v, struct list_sql *sql)
{
    AUTOFREE char *text = value_text(p, v);
    sql_bind_text(sql, text);
}

/* The value as whole Unix seconds; false when it is a text that is no time. */
static bool value_seconds(const struct predicate *p, jval *v, int64_t *out)
{
    int64_t n;
    if (p->time || p->text) {
        if (!time_parse(jv_str_or(v, ""), &n))
            return false;
        *out = n / NS_PER_S - (n % NS_PER_S < 0);
    } else if (!jv_i64(v, out)) {
        return false;
    }
    if (*out > SECONDS_MAX)
        *out = SECONDS_MAX;
    if (*out < -SECONDS_MAX)
        *out = -SECONDS_MAX;
    return true;
}

/* Column and value compare as whole seconds, written as conditions on the column itself so that an index serves. */
static void seconds_sql(const char *column, enum op op, int64_t s, struct list_sql *sql)
{
    int64_t from = s * NS_PER_S, to = (s + 1) * NS_PER_S;
    switch (op) {
    case OP_EQ:
        sql_add(sql, "(%s >= ? AND %s < ?)", column, column);
        break;
    case OP_NE:
        sql_add(sql, "(%s < ? OR %s >= ?)", column, column);
        break;
    default:
        sql_add(sql, "%s %s ?", column, op == OP_GT || op == OP_GE ? ">=" : "<");
        sql_bind_int(sql, op == OP_GT || op == OP_LE ? to : from);
        return;
    }
    sql_bind_int(sql, from);
    sql_bind_int(sql, to);
}

static void time_sql(const struct predicate *p, jval *v, enum op op, struct list_sql *sql)
{
    int64_t s;
    if (op != OP_SUBSTRING && value_seconds(p, v, &s)) {
        seconds_sql(p->field->column, op, s, sql);
        return;
    }
    /* A text that is no time: compared with the seconds as text, as upstream's database does. */
    if (op == OP_SUBSTRING)
        sql_add(sql, "instr(CAST(%s / 1000000000 AS TEXT), ?) > 0", p->field->column);
    else
        sql_add(sql, "CAST(%s / 1000000000 AS TEXT) %s ?", p->field->column, op_sql(op));
    bind_value(p, v, sql);
}

/* Equality of words goes by their numbers, in any spelling; what is no word of ours equals nothing. */
static void same_word_sql(const struct row_field *f, const char *text, enum op op, struct list_sql *sql)
{
    const char *comma = op == OP_EQ ? " IN (" : " NOT IN (";
    sql_add(sql, "%s", f->column);
    for (const struct row_word *w = f->words; w->word; w++) {
        if (strcasecmp(w->word, text) != 0)
            continue;
        sql_add(sql, "%s?", comma);
        sql_bind_int(sql, w->number);
        comma = ", ";
    }
    sql_add(sql, comma[0] == ',' ? ")" : op == OP_EQ ? " IN ()" : " NOT IN ()");
}

static void words_sql(const struct predicate *p, jval *v, enum op op, struct list_sql *sql)
{
    AUTOFREE char *text = value_text(p, v);
    if (op == OP_EQ || op == OP_NE) {
        same_word_sql(p->field, text, op, sql);
        return;
    }
    if (op == OP_SUBSTRING)
        sql_add(sql, "instr(");
    sql_words(sql, p->field);
    sql_add(sql, op == OP_SUBSTRING ? ", upper(?)) > 0" : " %s upper(?)", op_sql(op));
    sql_bind_text(sql, text);
}

/* LIKE with its wild cards taken away; it ignores case (ASCII). */
static void substring_sql(const char *column, const char *v, struct list_sql *sql)
{
    BUF(pattern);
    buf_addc(&pattern, '%');
    for (; *v; v++) {
        if (strchr("%_\\", *v))
            buf_addc(&pattern, '\\');
        buf_addc(&pattern, *v);
    }
    buf_addc(&pattern, '%');
    sql_add(sql, "%s LIKE ? ESCAPE '\\'", column);
    sql_bind_text(sql, buf_str(&pattern));
}

static void one_value(const struct predicate *p, jval *v, enum op op, struct list_sql *sql)
{
    if (p->tag) {
        sql_add(sql, "EXISTS (SELECT 1 FROM json_each(%s) tag WHERE tag.key = ? AND tag.value = ?)", p->field->column);
        sql_bind_text(sql, p->tag);
        bind_value(p, v, sql);
    } else if (p->field->type == ROW_TIME) {
        time_sql(p, v, op, sql);
    } else if (p->field->words) {
        words_sql(p, v, op, sql);
    } else if (op == OP_SUBSTRING) {
        substring_sql(p->field->column, jv_str_or(v, ""), sql);
    } else {
        /* Text has indexes that ignore case: the first condition follows from the second, and lets one serve. */
        if (op == OP_EQ && p->field->type == ROW_TEXT) {
            sql_add(sql, "%s = ? COLLATE NOCASE AND ", p->field->column);
            bind_value(p, v, sql);
        }
        sql_add(sql, "%s %s ?", p->field->column, op_sql(op));
        bind_value(p, v, sql);
    }
}

static void predicate_sql(const struct predicate *p, struct list_sql *sql)
{
    sql_add(sql, " AND (");
    if (p->op != OP_IN) {
        one_value(p, p->value, p->op, sql);
    } else if (jv_len(p->value) == 0) {
        sql_add(sql, "0"); /* in nothing */
    } else {
        for (size_t i = 0; i < jv_len(p->value); i++) {
            sql_add(sql, i ? " OR (" : "(");
            one_value(p, jv_at(p->value, i), OP_EQ, sql);
            sql_add(sql, ")");
        }
    }
    sql_add(sql, ")");
}

static int read_predicate(const struct row_table *kind, jval *in, struct predicate *p, struct err *err)
{
    *p = (struct predicate){.op = (enum op)jv_i64_or(jv_get(in, "operation"), 0), .key = jv_str_or(jv_get(in, "key"), "")};
    return read_key(kind, p, err) < 0 || read_value(in, p, err) < 0 || check_shape(p, err) < 0 ? -1 : 0;
}

int filter_sql(const struct row_table *kind, jval *filter, struct list_sql *sql, bool *counted, struct err *err)
{
    jval *predicates = jv_get(filter, "predicates");
    if (jv_len(predicates) > PREDICATES_MAX)
        return err_set(err, ERR_INVALID, "filter has %zu predicates, at most %d are allowed", jv_len(predicates), PREDICATES_MAX);
    size_t values = 0;
    for (size_t i = 0; i < jv_len(predicates); i++) {
        struct predicate p;
        if (read_predicate(kind, jv_at(predicates, i), &p, err) < 0)
            return -1;
        values += p.list ? jv_len(p.value) : 1;
        if (values > VALUES_MAX)
            return err_set(err, ERR_INVALID, "filter has more than %d values", VALUES_MAX);
        *counted = *counted && (p.field->flags & ROW_COUNTED);
        predicate_sql(&p, sql);
    }
    return 0;
}

/* Times compare in every way, texts by equality alone: their order in an index ignores case, that of predicates does not. */
static bool is_range(const struct predicate *p)
{
    if (p->field->type == ROW_TIME)
        return op_sql(p->op) && p->op != OP_NE;
    return p->field->type == ROW_TEXT && p->op == OP_EQ;
}

void filter_range_sql(const struct row_table *kind, jval *filter, const char *column, struct list_sql *sql)
{
    jval *predicates = jv_get(filter, "predicates");
    for (size_t i = 0; i < jv_len(predicates); i++) {
        struct predicate p;
        if (read_predicate(kind, jv_at(predicates, i), &p, NULL) == 0 && strcmp(p.field->column, column) == 0 && is_range(&p))
            predicate_sql(&p, sql);
    }
}

/* ---- tests of packed columns -------------------------------------------------------------------------------------------- */

static const enum packed_op PACKED_OPS[] = {
    [OP_EQ] = PACKED_EQ, [OP_NE] = PACKED_NE, [OP_GT] = PACKED_GT, [OP_GE] = PACKED_GE,
    [OP_LT] = PACKED_LT, [OP_LE] = PACKED_LE, [OP_IN] = PACKED_EQ, [OP_SUBSTRING] = PACKED_CONTAINS,
};

/* Words, as words_sql has it. */
static bool word_fits(const struct row_field *f, int number, enum packed_op op, const char *v, const char *upper)
{
    if (op == PACKED_EQ || op == PACKED_NE) {
        bool same = false;
        for (const struct row_word *w = f->words; w->word; w++)
            same = same || (w->number == number && strcasecmp(w->word, v) == 0);
        return same == (op == PACKED_EQ);
    }
    const char *word = row_word(f->words, number);
    word = word ? word : "";
    return op == PACKED_CONTAINS ? strstr(word, upper) != NULL : packed_compares(strcmp(word, upper), op);
}

static void add_words(const struct predicate *p, jval *v, struct packed_test *t)
{
    AUTOFREE char *text = value_text(p, v);
    AUTOFREE char *upper = xstrdup(text);
    for (char *c = upper; *c; c++)
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    for (int i = 0; i < 64; i++)
        t->numbers |= (uint64_t)word_fits(p->field, i, t->op, text, upper) << i;
}

/* False when the value is none that the column's packed form compares with. */
static bool add_packed_value(const struct predicate *p, jval *v, struct packed_test *t)
{
    enum { LONG = 1000 }; /* SQL has a limit of its own, and says so */
    int64_t seconds;
    switch (packed_type(t->column)) {
    case PACKED_WORD:
        add_words(p, v, t);
        return true;
    case PACKED_SECONDS:
        if (t->op == PACKED_CONTAINS || !value_seconds(p, v, &seconds))
            return false;
        packed_add_value(t, NULL, seconds);
        return true;
    default:
        break;
    }
    AUTOFREE char *text = value_text(p, v);
    if (strlen(text) > LONG)
        return false;
    packed_add_value(t, text, 0);
    return true;
}

static bool add_test(const struct predicate *p, struct packed_tests *tests)
{
    int column = packed_column(p->field->column);
    if (column < 0 || p->tag)
        return false;
    struct packed_test *t = packed_add(tests, column, PACKED_OPS[p->op]);
    if (p->op != OP_IN)
        return add_packed_value(p, p->value, t);
    for (size_t i = 0; i < jv_len(p->value); i++) {
        if (!add_packed_value(p, jv_at(p->value, i), t))
            return false;
    }
    return true;
}

void filter_packed(const struct row_table *kind, jval *filter, struct packed_tests *tests)
{
    jval *predicates = jv_get(filter, "predicates");
    for (size_t i = 0; i < jv_len(predicates); i++) {
        struct predicate p;
        size_t before = tests->n;
        if (read_predicate(kind, jv_at(predicates, i), &p, NULL) == 0 && add_test(&p, tests))
            continue;
        tests->exact = false;
        if (tests->n > before)
            packed_drop_last(tests);
    }
}
