/* The parser: recursive descent over the grammar of the CEL specification, one function a level. Names are resolved as they
 * are met, so that an unknown variable or function is an error with its place, before anything is evaluated. */
#include "value/cel_parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct cel_node *parse_unary(struct cel_parser *p);

struct cel_node *cel_p_fail(struct cel_parser *p, size_t pos, const char *fmt, ...)
{
    BUF(b);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&b, fmt, ap);
    va_end(ap);
    cel_fail_at(p->lex.src, pos, p->err, "%s", buf_str(&b));
    return NULL;
}

struct cel_node *cel_p_unexpected(struct cel_parser *p, const char *wanted)
{
    if (p->lex.tok == T_END)
        return cel_p_fail(p, p->lex.pos, "the expression ends where %s should be", wanted);
    size_t n = p->lex.end - p->lex.pos;
    return cel_p_fail(p, p->lex.pos, "unexpected '%.*s' where %s should be", (int)(n > 40 ? 40 : n), p->lex.src + p->lex.pos,
                      wanted);
}

bool cel_p_advance(struct cel_parser *p) { return cel_lex_next(&p->lex, p->err) == 0; }

bool cel_p_expect(struct cel_parser *p, enum cel_tok tok, const char *what)
{
    if (p->lex.tok != tok) {
        cel_p_unexpected(p, what);
        return false;
    }
    return cel_p_advance(p);
}

char *cel_p_text(struct cel_parser *p)
{
    return arena_strndup(&p->prog->arena, p->lex.src + p->lex.pos, p->lex.end - p->lex.pos);
}

/* ---- nodes ---------------------------------------------------------------------------------------------------- */

void cel_p_add(struct cel_parser *p, struct cel_args *a, struct cel_node *n)
{
    if (a->n == a->cap) {
        unsigned cap = a->cap ? a->cap * 2 : 4;
        struct cel_node **v = arena_alloc(&p->prog->arena, cap * sizeof(struct cel_node *));
        if (a->n)
            memcpy(v, a->v, a->n * sizeof *v);
        a->v = v;
        a->cap = cap;
    }
    a->v[a->n++] = n;
}

struct cel_node *cel_p_node(struct cel_parser *p, enum cel_op op, size_t pos, struct cel_args a)
{
    struct cel_node *n = ARENA_NEW(&p->prog->arena, struct cel_node);
    n->op = op;
    n->pos = (unsigned)pos;
    n->args = a.v;
    n->n = a.n;
    n->height = 1;
    for (unsigned i = 0; i < a.n; i++)
        if (a.v[i]->height >= n->height)
            n->height = a.v[i]->height + 1;
    if (n->height > CEL_HEIGHT_MAX)
        return cel_p_fail(p, pos, "the expression is nested too deeply (at most %d levels)", CEL_HEIGHT_MAX);
    return n;
}

static struct cel_node *node1(struct cel_parser *p, enum cel_op op, size_t pos, struct cel_node *x)
{
    struct cel_args a = {0};
    cel_p_add(p, &a, x);
    return cel_p_node(p, op, pos, a);
}

struct cel_node *cel_p_node2(struct cel_parser *p, enum cel_op op, size_t pos, struct cel_node *x, struct cel_node *y)
{
    struct cel_args a = {0};
    cel_p_add(p, &a, x);
    cel_p_add(p, &a, y);
    return cel_p_node(p, op, pos, a);
}

struct cel_node *cel_p_constant(struct cel_parser *p, size_t pos, struct cel_value v)
{
    struct cel_node *n = cel_p_node(p, N_CONST, pos, (struct cel_args){0});
    struct cel_value *c = ARENA_NEW(&p->prog->arena, struct cel_value);
    *c = v;
    n->value = c;
    return n;
}

/* ---- literals ------------------------------------------------------------------------------------------------- */

static struct cel_node *parse_number(struct cel_parser *p, bool neg)
{
    size_t pos = p->lex.pos;
    AUTOFREE char *text = xstrndup(p->lex.src + pos, p->lex.end - pos);
    struct cel_value v = {0};
    errno = 0;
    if (p->lex.tok == T_DOUBLE) {
        v.kind = CEL_DOUBLE;
        v.d = strtod(text, NULL) * (neg ? -1 : 1);
        return cel_p_advance(p) ? cel_p_constant(p, pos, v) : NULL;
    }
    bool hex = text[0] == '0' && (text[1] | 0x20) == 'x';
    unsigned long long u = strtoull(text, NULL, hex ? 16 : 10);
    if (p->lex.tok == T_UINT) {
        if (errno || neg)
            return cel_p_fail(p, pos, "'%s%s' is no uint", neg ? "-" : "", text);
        v.kind = CEL_UINT;
        v.u = u;
    } else {
        if (errno || u > (1ULL << 63) || (u == 1ULL << 63 && !neg))
            return cel_p_fail(p, pos, "'%s%s' is out of the range of int", neg ? "-" : "", text);
        v.kind = CEL_INT;
        v.i = (int64_t)(neg ? 0 - u : u);
    }
    return cel_p_advance(p) ? cel_p_constant(p, pos, v) : NULL;
}

static struct cel_node *parse_text(struct cel_parser *p)
{
    size_t pos = p->lex.pos;
    BUF(b);
    if (cel_lex_text(&p->lex, &b, p->err) < 0)
        return NULL;
    struct cel_value v = {.kind = p->lex.tok == T_BYTES ? CEL_BYTES : CEL_STRING};
    char *s = arena_alloc(&p->prog->arena, b.len + 1);
    memcpy(s, buf_str(&b), b.len);
    v.s = s;
    v.n = b.len;
    return cel_p_advance(p) ? cel_p_constant(p, pos, v) : NULL;
}

static struct cel_node *parse_list(struct cel_parser *p)
{
    size_t pos = p->lex.pos;
    struct cel_args a = {0};
    if (!cel_p_advance(p))
        return NULL;
    while (p->lex.tok != T_RBRACKET) {
        size_t at = p->lex.pos;
        bool opt = p->lex.tok == T_QUESTION;
        if (opt && !cel_p_advance(p))
            return NULL;
        struct cel_node *x = cel_p_expr(p);
        if (x && opt)
            x = node1(p, N_OPT_ELEM, at, x);
        if (!x)
            return NULL;
        cel_p_add(p, &a, x);
        if (p->lex.tok != T_COMMA)
            break;
        if (!cel_p_advance(p))
            return NULL;
    }
    return cel_p_expect(p, T_RBRACKET, "',' or ']'") ? cel_p_node(p, N_LIST, pos, a) : NULL;
}

static struct cel_node *parse_map(struct cel_parser *p)
{
    size_t pos = p->lex.pos;
    struct cel_args a = {0};
    if (!cel_p_advance(p))
        return NULL;
    while (p->lex.tok != T_RBRACE) {
        size_t at = p->lex.pos;
        bool opt = p->lex.tok == T_QUESTION;
        if (opt && !cel_p_advance(p))
            return NULL;
        struct cel_node *k = cel_p_expr(p);
        if (!k || !cel_p_expect(p, T_COLON, "':'"))
            return NULL;
        struct cel_node *v = cel_p_expr(p);
        if (v && opt)
            v = node1(p, N_OPT_ELEM, at, v);
        if (!v)
            return NULL;
        cel_p_add(p, &a, k);
        cel_p_add(p, &a, v);
        if (p->lex.tok != T_COMMA)
            break;
        if (!cel_p_advance(p))
            return NULL;
    }
    return cel_p_expect(p, T_RBRACE, "',' or '}'") ? cel_p_node(p, N_MAP, pos, a) : NULL;
}

/* ---- levels of the grammar ------------------------------------------------------------------------------------ */

static struct cel_node *parse_primary(struct cel_parser *p)
{
    size_t pos = p->lex.pos;
    struct cel_node *x;
    switch (p->lex.tok) {
    case T_INT:
    case T_UINT:
    case T_DOUBLE:
        return parse_number(p, false);
    case T_STRING:
    case T_BYTES:
        return parse_text(p);
    case T_TRUE:
    case T_FALSE:
        x = cel_p_constant(p, pos, (struct cel_value){.kind = CEL_BOOL, .b = p->lex.tok == T_TRUE});
        return cel_p_advance(p) ? x : NULL;
    case T_NULL:
        x = cel_p_constant(p, pos, (struct cel_value){.kind = CEL_NULL});
        return cel_p_advance(p) ? x : NULL;
    case T_LBRACKET:
        return parse_list(p);
    case T_LBRACE:
        return parse_map(p);
    case T_LPAREN:
        if (!cel_p_advance(p))
            return NULL;
        x = cel_p_expr(p);
        return x && cel_p_expect(p, T_RPAREN, "')'") ? x : NULL;
    case T_DOT:
        if (!cel_p_advance(p))
            return NULL;
        return p->lex.tok == T_IDENT ? cel_p_name(p) : cel_p_unexpected(p, "a name");
    case T_IDENT:
        return cel_p_name(p);
    default:
        return cel_p_unexpected(p, "an operand");
    }
}

/* Kubernetes' names of fields that CEL's grammar has no room for: __dot__ and the like, and __namespace__ for reserved words. */
static char *unescape_field(struct cel_parser *p, char *name)
{
    static const struct {
        const char *from, *to;
    } parts[] = {{"__underscores__", "__"}, {"__dot__", "."}, {"__dash__", "-"}, {"__slash__", "/"}};
    size_t n = strlen(name);
    if (!p->prog->kubernetes || !strstr(name, "__"))
        return name;
    if (n > 4 && str_starts(name, "__") && str_ends(name, "__")) {
        const char *word = name + 2;
        size_t len = n - 4;
        bool literal = (len == 4 && (!memcmp(word, "true", 4) || !memcmp(word, "null", 4))) ||
                       (len == 5 && !memcmp(word, "false", 5)) || (len == 2 && !memcmp(word, "in", 2));
        if (literal || cel_reserved(word, len))
            return arena_strndup(&p->prog->arena, word, len);
    }
    BUF(b);
    buf_adds(&b, "");
    for (const char *s = name; *s;) {
        size_t i;
        for (i = 0; i < ARRAY_LEN(parts) && !str_starts(s, parts[i].from); i++) {}
        if (i < ARRAY_LEN(parts)) {
            buf_adds(&b, parts[i].to);
            s += strlen(parts[i].from);
        } else {
            buf_addc(&b, *s++);
        }
    }
    return arena_strndup(&p->prog->arena, b.data, b.len);
}

/* ".name", ".?name", ".name(args)" behind x; the current token is behind the dot. */
static struct cel_node *parse_select(struct cel_parser *p, struct cel_node *x)
{
    size_t pos = p->lex.pos;
    bool opt = p->lex.tok == T_QUESTION;
    if (opt && !cel_p_advance(p))
        return NULL;
    bool quoted = p->lex.tok == T_QUOTED_IDENT;
    if (p->lex.tok != T_IDENT && !quoted)
        return cel_p_unexpected(p, "the name of a field");
    char *name =
        quoted ? arena_strndup(&p->prog->arena, p->lex.src + p->lex.pos + 1, p->lex.end - p->lex.pos - 2) : cel_p_text(p);
    if (!cel_p_advance(p))
        return NULL;
    if (p->lex.tok == T_LPAREN && !opt && !quoted)
        return cel_p_member_call(p, x, name, pos);
    struct cel_node *n = node1(p, N_FIELD, pos, x);
    if (!n)
        return NULL;
    n->name = quoted ? name : unescape_field(p, name);
    n->opt = opt;
    return n;
}

static struct cel_node *parse_index(struct cel_parser *p, struct cel_node *x)
{
    size_t pos = p->lex.pos;
    if (!cel_p_advance(p))
        return NULL;
    bool opt = p->lex.tok == T_QUESTION;
    if (opt && !cel_p_advance(p))
        return NULL;
    struct cel_node *i = cel_p_expr(p);
    if (!i || !cel_p_expect(p, T_RBRACKET, "']'"))
        return NULL;
    struct cel_node *n = cel_p_node2(p, N_INDEX, pos, x, i);
    if (n)
        n->opt = opt;
    return n;
}

static struct cel_node *parse_postfix(struct cel_parser *p, struct cel_node *x)
{
    while (x) {
        if (p->lex.tok == T_DOT)
            x = cel_p_advance(p) ? parse_select(p, x) : NULL;
        else if (p->lex.tok == T_LBRACKET)
            x = parse_index(p, x);
        else if (p->lex.tok == T_LBRACE)
            return cel_p_fail(p, p->lex.pos, "messages cannot be built here ('{' behind a name)");
        else
            break;
    }
    return x;
}

static struct cel_node *parse_unary(struct cel_parser *p)
{
    size_t pos = p->lex.pos;
    enum cel_tok op = p->lex.tok;
    if (op != T_NOT && op != T_MINUS)
        return parse_postfix(p, parse_primary(p));
    unsigned count = 0;
    while (p->lex.tok == op) {
        if (!cel_p_advance(p))
            return NULL;
        count++;
    }
    struct cel_node *x;
    bool number = p->lex.tok == T_INT || p->lex.tok == T_DOUBLE;
    if (op == T_MINUS && number) {
        x = parse_postfix(p, parse_number(p, true));
        count--;
    } else {
        if (p->lex.tok == T_NOT || p->lex.tok == T_MINUS)
            return cel_p_unexpected(p, "an operand");
        x = parse_postfix(p, parse_primary(p));
    }
    /* Pairs cancel, but one pair must stay so that the operand's type is still looked at. */
    for (count = count > 2 ? 2 - count % 2 : count; x && count > 0; count--)
        x = node1(p, op == T_NOT ? N_NOT : N_NEG, pos, x);
    return x;
}

/* Binary levels from tight to loose. */
static const struct level {
    enum cel_tok tok;
    enum cel_binary op;
    int level;
} operators[] = {
    {T_STAR, B_MUL, 0}, {T_SLASH, B_DIV, 0}, {T_PERCENT, B_MOD, 0}, {T_PLUS, B_ADD, 1}, {T_MINUS, B_SUB, 1}, {T_EQ, B_EQ, 2},
    {T_NE, B_NE, 2},    {T_LT, B_LT, 2},     {T_LE, B_LE, 2},       {T_GT, B_GT, 2},    {T_GE, B_GE, 2},     {T_IN, B_IN, 2},
};

static const struct level *operator_at(enum cel_tok tok, int level)
{
    for (size_t i = 0; i < ARRAY_LEN(operators); i++)
        if (operators[i].tok == tok && operators[i].level == level)
            return &operators[i];
    return NULL;
}

static struct cel_node *parse_binary(struct cel_parser *p, int level)
{
    struct cel_node *x = level < 0 ? parse_unary(p) : parse_binary(p, level - 1);
    const struct level *op;
    while (x && level >= 0 && (op = operator_at(p->lex.tok, level))) {
        size_t pos = p->lex.pos;
        if (!cel_p_advance(p))
            return NULL;
        struct cel_node *y = parse_binary(p, level - 1);
        x = y ? cel_p_node2(p, N_BINARY, pos, x, y) : NULL;
        if (x)
            x->sub = op->op;
    }
    return x;
}

/* a && b && c is one node, so that long chains stay flat. */
static struct cel_node *parse_logic(struct cel_parser *p, enum cel_tok tok)
{
    size_t pos = p->lex.pos;
    struct cel_args a = {0};
    for (;;) {
        struct cel_node *x = tok == T_OR ? parse_logic(p, T_AND) : parse_binary(p, 2);
        if (!x)
            return NULL;
        cel_p_add(p, &a, x);
        if (p->lex.tok != tok)
            break;
        if (!cel_p_advance(p))
            return NULL;
    }
    return a.n == 1 ? a.v[0] : cel_p_node(p, tok == T_OR ? N_OR : N_AND, pos, a);
}

static struct cel_node *parse_cond(struct cel_parser *p)
{
    struct cel_node *c = parse_logic(p, T_OR);
    if (!c || p->lex.tok != T_QUESTION)
        return c;
    size_t pos = p->lex.pos;
    if (!cel_p_advance(p))
        return NULL;
    struct cel_args a = {0};
    cel_p_add(p, &a, c);
    struct cel_node *yes = parse_logic(p, T_OR);
    if (!yes || !cel_p_expect(p, T_COLON, "':'"))
        return NULL;
    struct cel_node *no = cel_p_expr(p);
    if (!no)
        return NULL;
    cel_p_add(p, &a, yes);
    cel_p_add(p, &a, no);
    return cel_p_node(p, N_COND, pos, a);
}

struct cel_node *cel_p_expr(struct cel_parser *p)
{
    if (p->depth >= CEL_NEST_MAX)
        return cel_p_fail(p, p->lex.pos, "the expression is nested too deeply (at most %d levels)", CEL_NEST_MAX);
    p->depth++;
    struct cel_node *x = parse_cond(p);
    p->depth--;
    return x;
}

int cel_parse(struct cel_program *prog, struct err *err)
{
    struct cel_parser p = {.prog = prog, .err = err, .lex = {.src = prog->source, .len = strlen(prog->source)}};
    if (!cel_p_advance(&p))
        return -1;
    if (p.lex.tok == T_END)
        return cel_fail_at(prog->source, 0, err, "the expression is empty");
    prog->root = cel_p_expr(&p);
    if (!prog->root)
        return -1;
    if (p.lex.tok != T_END) {
        cel_p_unexpected(&p, "an operator or the end");
        return -1;
    }
    return 0;
}
