/* Label selectors: the string form's lexer and parser, LabelSelector objects, matching. */
#include "kube/selector.h"

#include <stdlib.h>

#include "base/str.h"
#include "kube/names.h"

enum op { OP_EXISTS, OP_NOT_EXISTS, OP_IN, OP_NOT_IN, OP_GT, OP_LT };

struct requirement {
    char *key;
    enum op op;
    struct strlist values; /* sorted, without repetition */
    int64_t number;        /* OP_GT, OP_LT */
    bool single;           /* written with =, ==, != */
};
struct label_selector {
    struct requirement *req;
    size_t n, cap;
    bool nothing;
};

enum { MAX_REQUIREMENTS = 1000 };

void label_selector_free(struct label_selector *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        free(s->req[i].key);
        strlist_free(&s->req[i].values);
    }
    free(s->req);
    free(s);
}

static void label_selector_freep(struct label_selector **s) { label_selector_free(*s); }

static struct requirement *add_requirement(struct label_selector *s, const char *key, enum op op)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4;
        s->req = xreallocarray(s->req, s->cap, sizeof *s->req);
    }
    struct requirement *r = &s->req[s->n++];
    *r = (struct requirement){.key = xstrdup(key), .op = op};
    return r;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* A body may hold a hundred thousand values: they are sorted, and looked for by halves. */
static bool has_value(const struct requirement *r, const char *v)
{
    return r->values.n && bsearch(&v, r->values.v, r->values.n, sizeof *r->values.v, by_text);
}

static void sort_values(struct strlist *l)
{
    size_t n = 0;
    strlist_sort(l);
    for (size_t i = 0; i < l->n; i++)
        if (n > 0 && strcmp(l->v[i], l->v[n - 1]) == 0)
            free(l->v[i]);
        else
            l->v[n++] = l->v[i];
    l->n = n;
}

/* ---- the string form ------------------------------------------------------------------------------------------------ */

enum tok { T_END, T_ERROR, T_IDENT, T_OPEN, T_CLOSE, T_COMMA, T_NOT, T_EQ, T_EQEQ, T_NEQ, T_GT, T_LT, T_IN, T_NOTIN };

struct lexer {
    const char *p;
    enum tok tok;
    struct buf text; /* of the current token */
};

static bool is_special(char c) { return c && strchr("=!(),><", c); }

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static void lex(struct lexer *l)
{
    static const struct {
        const char *text;
        enum tok tok;
    } symbols[] = {{"==", T_EQEQ}, {"!=", T_NEQ},  {"=", T_EQ}, {"!", T_NOT}, {"(", T_OPEN},
                   {")", T_CLOSE}, {",", T_COMMA}, {">", T_GT}, {"<", T_LT}};
    buf_reset(&l->text);
    while (is_space(*l->p))
        l->p++;
    if (!*l->p) {
        l->tok = T_END;
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
        if (str_starts(l->p, symbols[i].text)) {
            buf_adds(&l->text, symbols[i].text);
            l->p += strlen(symbols[i].text);
            l->tok = symbols[i].tok;
            return;
        }
    }
    const char *start = l->p;
    while (*l->p && !is_special(*l->p) && !is_space(*l->p))
        l->p++;
    buf_add(&l->text, start, (size_t)(l->p - start));
    l->tok = str_eq(buf_str(&l->text), "in") ? T_IN : str_eq(buf_str(&l->text), "notin") ? T_NOTIN : T_IDENT;
}

/* Where a value or key is expected, "in" and "notin" are words like others. */
static enum tok value_tok(const struct lexer *l) { return l->tok == T_IN || l->tok == T_NOTIN ? T_IDENT : l->tok; }

static int expected(const struct lexer *l, const char *what, struct err *err)
{
    return err_set(err, ERR_BAD_REQUEST, "found '%s', expected: %s", buf_str(&l->text), what);
}

static int check_text(const char *path, const char *value, struct name_faults f, struct err *err)
{
    if (f.n == 0)
        return 0;
    BUF(b);
    json_quote(&b, value, strlen(value));
    for (size_t i = 0; i < f.n; i++)
        buf_addf(&b, "%s%s", i ? "; " : ": ", f.text[i]);
    return err_set(err, ERR_BAD_REQUEST, "%s: Invalid value: %s", path, buf_str(&b));
}

static int parse_value_list(struct lexer *l, struct requirement *r, struct err *err)
{
    if (l->tok != T_OPEN)
        return err_set(err, ERR_BAD_REQUEST, "found '%s' expected: '('", buf_str(&l->text));
    lex(l);
    if (l->tok == T_CLOSE) {
        lex(l);
        return 0;
    }
    if (value_tok(l) != T_IDENT && l->tok != T_COMMA)
        return expected(l, "',', ')' or identifier", err);
    for (;;) {
        if (value_tok(l) == T_IDENT) {
            strlist_add(&r->values, buf_str(&l->text));
            lex(l);
            if (l->tok == T_CLOSE)
                break;
            if (l->tok != T_COMMA)
                return expected(l, "',' or ')'", err);
            lex(l);
            if (l->tok == T_CLOSE || l->tok == T_COMMA)
                strlist_add(&r->values, ""); /* "(a,)" and "(a,,b)" hold the empty value */
        } else if (l->tok == T_COMMA) {
            strlist_add(&r->values, "");
            lex(l);
            if (l->tok == T_CLOSE)
                strlist_add(&r->values, "");
        } else if (l->tok != T_CLOSE) {
            return expected(l, "',', or identifier", err);
        }
        if (l->tok == T_CLOSE)
            break;
    }
    lex(l);
    return 0;
}

static int parse_single_value(struct lexer *l, struct requirement *r, struct err *err)
{
    r->single = true;
    if (l->tok == T_END || l->tok == T_COMMA) {
        strlist_add(&r->values, "");
        return 0;
    }
    if (value_tok(l) != T_IDENT)
        return expected(l, "identifier", err);
    strlist_add(&r->values, buf_str(&l->text));
    lex(l);
    return 0;
}

static int check_values(struct requirement *r, struct err *err)
{
    sort_values(&r->values);
    if (r->op == OP_EXISTS || r->op == OP_NOT_EXISTS)
        return 0;
    if (r->values.n == 0)
        return err_set(err, ERR_BAD_REQUEST, "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
    if ((r->op == OP_GT || r->op == OP_LT) && !str_to_i64(r->values.v[0], &r->number)) {
        BUF(b);
        json_quote(&b, r->values.v[0], strlen(r->values.v[0]));
        return err_set(err, ERR_BAD_REQUEST,
                       "values[0]: Invalid value: %s: for 'Gt', 'Lt' operators, the value must be an integer", buf_str(&b));
    }
    for (size_t i = 0; i < r->values.n; i++) {
        AUTOFREE char *path = xasprintf("values[%zu][%s]", i, r->key);
        if (check_text(path, r->values.v[i], name_label_value(r->values.v[i]), err) < 0)
            return -1;
    }
    return 0;
}

static int parse_requirement(struct lexer *l, struct label_selector *s, struct err *err)
{
    bool negated = l->tok == T_NOT;
    if (negated)
        lex(l);
    if (value_tok(l) != T_IDENT)
        return expected(l, "identifier", err);
    struct requirement *r = add_requirement(s, buf_str(&l->text), OP_EXISTS);
    if (check_text("<nil>", r->key, name_qualified(r->key), err) < 0)
        return -1;
    lex(l);
    if (negated || l->tok == T_END || l->tok == T_COMMA) {
        r->op = negated ? OP_NOT_EXISTS : OP_EXISTS;
        return 0;
    }
    int rc;
    enum tok op = l->tok;
    switch (op) {
    case T_IN:
    case T_NOTIN:
        r->op = op == T_IN ? OP_IN : OP_NOT_IN;
        lex(l);
        rc = parse_value_list(l, r, err);
        break;
    case T_EQ:
    case T_EQEQ:
    case T_NEQ:
    case T_GT:
    case T_LT:
        r->op = op == T_NEQ ? OP_NOT_IN : op == T_GT ? OP_GT : op == T_LT ? OP_LT : OP_IN;
        lex(l);
        rc = parse_single_value(l, r, err);
        break;
    default:
        return expected(l, "in, notin, =, ==, !=, gt, lt", err);
    }
    return rc < 0 ? rc : check_values(r, err);
}

static int by_key(const void *a, const void *b)
{
    const struct requirement *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static int parse_all(struct lexer *l, struct label_selector *s, struct err *err)
{
    lex(l);
    while (l->tok != T_END) {
        if (value_tok(l) != T_IDENT && l->tok != T_NOT)
            return expected(l, "!, identifier, or 'end of string'", err);
        if (s->n == MAX_REQUIREMENTS)
            return err_set(err, ERR_BAD_REQUEST, "a label selector may have at most %d requirements", MAX_REQUIREMENTS);
        if (parse_requirement(l, s, err) < 0)
            return err_wrap(err, "unable to parse requirement");
        if (l->tok == T_END)
            break;
        if (l->tok != T_COMMA)
            return expected(l, "',' or 'end of string'", err);
        lex(l);
        if (value_tok(l) != T_IDENT && l->tok != T_NOT)
            return expected(l, "identifier after ','", err);
    }
    if (s->n)
        qsort(s->req, s->n, sizeof *s->req, by_key);
    return 0;
}

struct label_selector *label_selector_parse(const char *text, struct err *err)
{
    CLEANUP(label_selector_freep) struct label_selector *s = xcalloc(1, sizeof *s);
    struct lexer l = {.p = text ? text : ""};
    int rc = parse_all(&l, s, err);
    buf_free(&l.text);
    return rc < 0 ? NULL : TAKE(s);
}

/* ---- objects ---------------------------------------------------------------------------------------------------------- */

struct label_selector *label_selector_from_map(jval *map)
{
    struct label_selector *s = xcalloc(1, sizeof *s);
    s->nothing = jv_len(map) == 0;
    struct jiter it = jv_iter(jv_is(map, J_OBJECT) ? map : NULL);
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v)) {
        struct requirement *r = add_requirement(s, k, OP_IN);
        r->single = true;
        strlist_add(&r->values, jv_str_or(v, ""));
    }
    if (s->n)
        qsort(s->req, s->n, sizeof *s->req, by_key);
    return s;
}

static int add_expression(struct label_selector *s, jval *e, struct err *err)
{
    static const struct {
        const char *text;
        enum op op;
    } ops[] = {{"In", OP_IN}, {"NotIn", OP_NOT_IN}, {"Exists", OP_EXISTS}, {"DoesNotExist", OP_NOT_EXISTS}};
    const char *key = jv_str_or(jv_get(e, "key"), ""), *op = jv_str_or(jv_get(e, "operator"), "");
    size_t i = 0;
    while (i < ARRAY_LEN(ops) && !str_eq(ops[i].text, op))
        i++;
    if (i == ARRAY_LEN(ops))
        return err_set(err, ERR_INVALID, "\"%s\" is not a valid label selector operator", op);
    ERR(e2);
    if (check_text("key", key, name_qualified(key), &e2) < 0)
        return err_set(err, ERR_INVALID, "%s", err_text(&e2));
    struct requirement *r = add_requirement(s, key, ops[i].op);
    struct jiter it = jv_iter(jv_get(e, "values"));
    jval *v;
    while (jv_next(&it, NULL, &v))
        strlist_add(&r->values, jv_str_or(v, ""));
    if ((r->op == OP_EXISTS || r->op == OP_NOT_EXISTS) && r->values.n > 0)
        return err_set(err, ERR_INVALID, "values: Invalid value: values set must be empty for exists and does not exist");
    if (check_values(r, &e2) < 0)
        return err_set(err, ERR_INVALID, "%s", err_text(&e2));
    return 0;
}

struct label_selector *label_selector_from(jval *obj, struct err *err)
{
    jval *labels = jv_get(obj, "matchLabels"), *expressions = jv_get(obj, "matchExpressions");
    CLEANUP(label_selector_freep) struct label_selector *s = label_selector_from_map(labels);
    s->nothing = !jv_present(obj);
    struct jiter it = jv_iter(expressions);
    jval *e;
    while (jv_next(&it, NULL, &e))
        if (add_expression(s, e, err) < 0)
            return NULL;
    if (s->n)
        qsort(s->req, s->n, sizeof *s->req, by_key);
    return TAKE(s);
}

/* ---- use --------------------------------------------------------------------------------------------------------------- */

bool label_selector_all(const struct label_selector *s) { return !s || (s->n == 0 && !s->nothing); }

static bool requirement_matches(const struct requirement *r, const char *value)
{
    int64_t n;
    switch (r->op) {
    case OP_EXISTS:
        return value != NULL;
    case OP_NOT_EXISTS:
        return value == NULL;
    case OP_IN:
        return value && has_value(r, value);
    case OP_NOT_IN:
        return !value || !has_value(r, value);
    case OP_GT:
        return value && str_to_i64(value, &n) && n > r->number;
    case OP_LT:
        return value && str_to_i64(value, &n) && n < r->number;
    }
    return false;
}

bool label_selector_matches(const struct label_selector *s, jval *labels)
{
    if (!s)
        return true;
    if (s->nothing)
        return false;
    for (size_t i = 0; i < s->n; i++)
        if (!requirement_matches(&s->req[i], jv_str(jv_get(labels, s->req[i].key))))
            return false;
    return true;
}

static void requirement_text(const struct requirement *r, struct buf *b)
{
    if (r->op == OP_NOT_EXISTS)
        buf_addc(b, '!');
    buf_adds(b, r->key);
    if (r->op == OP_EXISTS || r->op == OP_NOT_EXISTS)
        return;
    if (r->single) {
        buf_adds(b, r->op == OP_NOT_IN ? "!=" : r->op == OP_GT ? ">" : r->op == OP_LT ? "<" : "=");
        buf_adds(b, r->values.v[0]);
        return;
    }
    AUTOFREE char *values = strlist_join(&r->values, ",");
    /* The list that holds only the empty value is written as a comma: without one it would be no list. */
    buf_addf(b, " %s (%s)", r->op == OP_IN ? "in" : "notin", *values ? values : ",");
}

char *label_selector_text(const struct label_selector *s)
{
    BUF(b);
    for (size_t i = 0; s && i < s->n; i++) {
        if (i)
            buf_addc(&b, ',');
        requirement_text(&s->req[i], &b);
    }
    return buf_steal(&b, NULL);
}
