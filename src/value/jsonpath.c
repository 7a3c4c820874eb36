#include "value/jsonpath.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define TEXT_MAX  4096
#define STEPS_MAX 64

enum filter_op { F_EXISTS, F_EQ, F_NE, F_LT, F_LE, F_GT, F_GE };
struct step {
    enum { S_FIELD, S_INDEX, S_ALL, S_FILTER } kind;
    char *name;            /* S_FIELD */
    int64_t index;         /* S_INDEX: from the end when negative */
    struct jsonpath *left; /* S_FILTER: the path behind @ */
    enum filter_op op;
    struct json *right; /* the literal; NULL for F_EXISTS */
};
struct jsonpath {
    struct step *steps;
    size_t n;
};

struct parser {
    const char *text, *p;
    struct err *err;
};

/* ---- compiling ------------------------------------------------------------------------------------------------ */

static int refuse(struct parser *c, const char *what)
{
    return err_set(c->err, ERR_INVALID, "JSONPath '%.200s': at %zu: %s", c->text, (size_t)(c->p - c->text) + 1, what);
}

static void spaces(struct parser *c)
{
    while (*c->p == ' ' || *c->p == '\t')
        c->p++;
}

static struct step *add_step(struct jsonpath *path, int kind)
{
    path->steps = xreallocarray(path->steps, path->n + 1, sizeof *path->steps);
    struct step *s = &path->steps[path->n++];
    *s = (struct step){.kind = kind};
    return s;
}

/* A quoted string; the quote is at c->p. NULL when it is not closed. */
static char *quoted(struct parser *c)
{
    char q = *c->p;
    const char *s = c->p + 1;
    BUF(b);
    buf_adds(&b, "");
    for (; *s && *s != q; s++) {
        if (*s == '\\' && s[1])
            s++;
        buf_addc(&b, *s);
    }
    if (!*s) {
        refuse(c, "a string is not closed");
        return NULL;
    }
    c->p = s + 1;
    return buf_steal(&b, NULL);
}

/* ".name", with \. for a dot inside; c->p is behind the dot. */
static int parse_field(struct parser *c, struct jsonpath *path)
{
    BUF(b);
    while (*c->p && !strchr(".[]{}()=!<>\"' \t", *c->p)) {
        if (*c->p == '\\' && c->p[1])
            c->p++;
        buf_addc(&b, *c->p++);
    }
    if (!b.len)
        return *c->p == '.' ? refuse(c, "recursive descent (..) is not served") : refuse(c, "the name of a field should be here");
    if (str_eq(b.data, "*"))
        add_step(path, S_ALL);
    else
        add_step(path, S_FIELD)->name = buf_steal(&b, NULL);
    return 0;
}

static int parse_steps(struct parser *c, struct jsonpath *path, bool nested);

static bool parse_op(struct parser *c, enum filter_op *op)
{
    static const struct {
        const char *text;
        enum filter_op op;
    } ops[] = {{"==", F_EQ}, {"!=", F_NE}, {"<=", F_LE}, {">=", F_GE}, {"<", F_LT}, {">", F_GT}};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (!str_starts(c->p, ops[i].text))
            continue;
        *op = ops[i].op;
        c->p += strlen(ops[i].text);
        return true;
    }
    return false;
}

/* A string, number, true, false or null. */
static int parse_literal(struct parser *c, struct json **out)
{
    BUF(b);
    if (*c->p == '"' || *c->p == '\'') {
        AUTOFREE char *s = quoted(c);
        if (!s)
            return -1;
        json_quote(&b, s, strlen(s));
    } else {
        const char *s = c->p;
        while (isalnum((unsigned char)*c->p) || *c->p == '.' || *c->p == '-' || *c->p == '+')
            c->p++;
        buf_add(&b, s, (size_t)(c->p - s));
    }
    *out = json_parse(buf_str(&b), b.len, NULL, NULL);
    return *out ? 0 : refuse(c, "a string, a number, true or false should be here");
}

/* "?(@.path op literal)" behind '['. */
static int parse_filter(struct parser *c, struct jsonpath *path)
{
    c->p++;
    if (*c->p != '(')
        return refuse(c, "'(' should be here");
    c->p++;
    spaces(c);
    if (*c->p != '@')
        return refuse(c, "a filter begins with @");
    c->p++;
    struct step *s = add_step(path, S_FILTER);
    s->left = xcalloc(1, sizeof *s->left);
    if (parse_steps(c, s->left, true) < 0)
        return -1;
    spaces(c);
    if (parse_op(c, &s->op)) {
        spaces(c);
        if (parse_literal(c, &s->right) < 0)
            return -1;
        spaces(c);
    }
    if (*c->p != ')')
        return refuse(c, "')' should be here (a filter is one comparison)");
    c->p++;
    return 0;
}

static int parse_bracket(struct parser *c, struct jsonpath *path, bool nested)
{
    if (*c->p == '*') {
        c->p++;
        add_step(path, S_ALL);
    } else if (*c->p == '\'' || *c->p == '"') {
        char *name = quoted(c);
        if (!name)
            return -1;
        add_step(path, S_FIELD)->name = name;
    } else if (*c->p == '?') {
        if (nested)
            return refuse(c, "a filter inside of a filter is not served");
        if (parse_filter(c, path) < 0)
            return -1;
    } else {
        size_t n = (*c->p == '-') + strspn(c->p + (*c->p == '-'), "0123456789");
        AUTOFREE char *digits = xstrndup(c->p, n);
        int64_t i;
        if (!str_to_i64(digits, &i))
            return refuse(c, "an index, a quoted name, * or a filter should be here");
        c->p += n;
        add_step(path, S_INDEX)->index = i;
    }
    if (*c->p != ']')
        return refuse(c, "']' should be here (lists and slices of indexes are not served)");
    c->p++;
    return 0;
}

static int parse_steps(struct parser *c, struct jsonpath *path, bool nested)
{
    for (;;) {
        int rc;
        if (path->n >= STEPS_MAX)
            return refuse(c, "too many steps");
        if (*c->p == '.') {
            c->p++;
            rc = parse_field(c, path);
        } else if (*c->p == '[') {
            c->p++;
            rc = parse_bracket(c, path, nested);
        } else {
            return 0;
        }
        if (rc < 0)
            return -1;
    }
}

static int parse_whole(struct parser *c, struct jsonpath *path)
{
    bool braces = *c->p == '{';
    c->p += braces;
    spaces(c);
    if (*c->p == '$')
        c->p++;
    /* kubectl's form: a name without a dot in front. */
    int rc = *c->p && *c->p != '.' && *c->p != '[' && *c->p != '}' ? parse_field(c, path) : 0;
    if (rc < 0 || parse_steps(c, path, false) < 0)
        return -1;
    spaces(c);
    if (braces && *c->p != '}')
        return refuse(c, "'}' should be here");
    c->p += braces;
    return *c->p ? refuse(c, "nothing should follow here") : 0;
}

struct jsonpath *jsonpath_compile(const char *text, struct err *err)
{
    struct parser c = {.text = text, .p = text, .err = err};
    if (!*text || strlen(text) > TEXT_MAX)
        return refuse(&c, *text ? "it is too long" : "it is empty"), NULL;
    struct jsonpath *path = xcalloc(1, sizeof *path);
    if (parse_whole(&c, path) < 0) {
        jsonpath_free(path);
        return NULL;
    }
    return path;
}

void jsonpath_free(struct jsonpath *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++) {
        free(p->steps[i].name);
        jsonpath_free(p->steps[i].left); /* filters do not nest */
        json_unref(p->steps[i].right);
    }
    free(p->steps);
    free(p);
}

/* ---- evaluating ----------------------------------------------------------------------------------------------- */

typedef bool found_fn(void *self, jval *v);

static bool compare(jval *have, enum filter_op op, jval *want)
{
    double x, y;
    int c;
    if (op == F_EQ || op == F_NE)
        return jv_equal(have, want) == (op == F_EQ);
    if (jv_f64(have, &x) && jv_f64(want, &y))
        c = (x > y) - (x < y);
    else if (jv_str(have) && jv_str(want))
        c = strcmp(jv_str(have), jv_str(want));
    else
        return false;
    return op == F_LT ? c < 0 : op == F_LE ? c <= 0 : op == F_GT ? c > 0 : c >= 0;
}

static bool passes(const struct step *s, jval *v)
{
    jval *have = jsonpath_first(s->left, v);
    if (!have)
        return false;
    return s->op == F_EXISTS || compare(have, s->op, json_root(s->right));
}

/* False when fn wants no more. Recursion is bounded by STEPS_MAX. */
static bool walk(const struct jsonpath *p, size_t at, jval *v, found_fn *fn, void *self)
{
    if (at == p->n)
        return fn(self, v);
    const struct step *s = &p->steps[at];
    jval *x;
    if (s->kind == S_FIELD) {
        x = jv_get(v, s->name);
        return x ? walk(p, at + 1, x, fn, self) : true;
    }
    if (s->kind == S_INDEX) {
        int64_t i = s->index < 0 ? (int64_t)jv_len(v) + s->index : s->index;
        x = jv_is(v, J_ARRAY) && i >= 0 ? jv_at(v, (size_t)i) : NULL;
        return x ? walk(p, at + 1, x, fn, self) : true;
    }
    struct jiter it = jv_iter(v);
    while (jv_next(&it, NULL, &x)) {
        if (s->kind == S_FILTER && !passes(s, x))
            continue;
        if (!walk(p, at + 1, x, fn, self))
            return false;
    }
    return true;
}

void jsonpath_eval(const struct jsonpath *p, jval *root, bool (*fn)(void *self, jval *v), void *self)
{
    if (root)
        walk(p, 0, root, fn, self);
}

static bool keep_first(void *self, jval *v)
{
    *(jval **)self = v;
    return false;
}

jval *jsonpath_first(const struct jsonpath *p, jval *root)
{
    jval *v = NULL;
    jsonpath_eval(p, root, keep_first, &v);
    return v;
}
