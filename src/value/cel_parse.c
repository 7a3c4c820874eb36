/* The parser: recursive descent over the grammar of the CEL specification, one function a level. Names are resolved as they
 * are met, so that an unknown variable or function is an error with its place, before anything is evaluated. */
#include "value/cel_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct local {
    const char *name;
    unsigned slot;
};
struct parser {
    struct cel_program *prog;
    struct cel_lex lex;
    struct err *err;
    unsigned depth;
    struct local locals[CEL_LOCALS_MAX];
    unsigned n_locals;
};

/* A growing list of argument nodes. */
struct args {
    struct cel_node **v;
    unsigned n, cap;
};

static struct cel_node *parse_expr(struct parser *p);
static struct cel_node *parse_unary(struct parser *p);

static struct cel_node *fail(struct parser *p, size_t pos, const char *fmt, ...) PRINTF_LIKE(3, 4);
static struct cel_node *fail(struct parser *p, size_t pos, const char *fmt, ...)
{
    BUF(b);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&b, fmt, ap);
    va_end(ap);
    cel_fail_at(p->lex.src, pos, p->err, "%s", buf_str(&b));
    return NULL;
}

static struct cel_node *unexpected(struct parser *p, const char *wanted)
{
    if (p->lex.tok == T_END)
        return fail(p, p->lex.pos, "the expression ends where %s should be", wanted);
    size_t n = p->lex.end - p->lex.pos;
    return fail(p, p->lex.pos, "unexpected '%.*s' where %s should be", (int)(n > 40 ? 40 : n), p->lex.src + p->lex.pos, wanted);
}

static bool advance(struct parser *p) { return cel_lex_next(&p->lex, p->err) == 0; }

static bool expect(struct parser *p, enum cel_tok tok, const char *what)
{
    if (p->lex.tok != tok) {
        unexpected(p, what);
        return false;
    }
    return advance(p);
}

static char *tok_text(struct parser *p) { return arena_strndup(&p->prog->arena, p->lex.src + p->lex.pos, p->lex.end - p->lex.pos); }

/* ---- nodes ---------------------------------------------------------------------------------------------------- */

static void args_add(struct parser *p, struct args *a, struct cel_node *n)
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

static struct cel_node *node(struct parser *p, enum cel_op op, size_t pos, struct args a)
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
        return fail(p, pos, "the expression is nested too deeply (at most %d levels)", CEL_HEIGHT_MAX);
    return n;
}

static struct cel_node *node1(struct parser *p, enum cel_op op, size_t pos, struct cel_node *x)
{
    struct args a = {0};
    args_add(p, &a, x);
    return node(p, op, pos, a);
}

static struct cel_node *node2(struct parser *p, enum cel_op op, size_t pos, struct cel_node *x, struct cel_node *y)
{
    struct args a = {0};
    args_add(p, &a, x);
    args_add(p, &a, y);
    return node(p, op, pos, a);
}

static struct cel_node *constant(struct parser *p, size_t pos, struct cel_value v)
{
    struct cel_node *n = node(p, N_CONST, pos, (struct args){0});
    struct cel_value *c = ARENA_NEW(&p->prog->arena, struct cel_value);
    *c = v;
    n->value = c;
    return n;
}

/* ---- literals ------------------------------------------------------------------------------------------------- */

static struct cel_node *parse_number(struct parser *p, bool neg)
{
    size_t pos = p->lex.pos;
    AUTOFREE char *text = xstrndup(p->lex.src + pos, p->lex.end - pos);
    struct cel_value v = {0};
    errno = 0;
    if (p->lex.tok == T_DOUBLE) {
        v.kind = CEL_DOUBLE;
        v.d = strtod(text, NULL) * (neg ? -1 : 1);
        return advance(p) ? constant(p, pos, v) : NULL;
    }
    bool hex = text[0] == '0' && (text[1] | 0x20) == 'x';
    unsigned long long u = strtoull(text, NULL, hex ? 16 : 10);
    if (p->lex.tok == T_UINT) {
        if (errno || neg)
            return fail(p, pos, "'%s%s' is no uint", neg ? "-" : "", text);
        v.kind = CEL_UINT;
        v.u = u;
    } else {
        if (errno || u > (1ULL << 63) || (u == 1ULL << 63 && !neg))
            return fail(p, pos, "'%s%s' is out of the range of int", neg ? "-" : "", text);
        v.kind = CEL_INT;
        v.i = (int64_t)(neg ? 0 - u : u);
    }
    return advance(p) ? constant(p, pos, v) : NULL;
}

static struct cel_node *parse_text(struct parser *p)
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
    return advance(p) ? constant(p, pos, v) : NULL;
}

static struct cel_node *parse_list(struct parser *p)
{
    size_t pos = p->lex.pos;
    struct args a = {0};
    if (!advance(p))
        return NULL;
    while (p->lex.tok != T_RBRACKET) {
        size_t at = p->lex.pos;
        bool opt = p->lex.tok == T_QUESTION;
        if (opt && !advance(p))
            return NULL;
        struct cel_node *x = parse_expr(p);
        if (x && opt)
            x = node1(p, N_OPT_ELEM, at, x);
        if (!x)
            return NULL;
        args_add(p, &a, x);
        if (p->lex.tok != T_COMMA)
            break;
        if (!advance(p))
            return NULL;
    }
    return expect(p, T_RBRACKET, "',' or ']'") ? node(p, N_LIST, pos, a) : NULL;
}

static struct cel_node *parse_map(struct parser *p)
{
    size_t pos = p->lex.pos;
    struct args a = {0};
    if (!advance(p))
        return NULL;
    while (p->lex.tok != T_RBRACE) {
        size_t at = p->lex.pos;
        bool opt = p->lex.tok == T_QUESTION;
        if (opt && !advance(p))
            return NULL;
        struct cel_node *k = parse_expr(p);
        if (!k || !expect(p, T_COLON, "':'"))
            return NULL;
        struct cel_node *v = parse_expr(p);
        if (v && opt)
            v = node1(p, N_OPT_ELEM, at, v);
        if (!v)
            return NULL;
        args_add(p, &a, k);
        args_add(p, &a, v);
        if (p->lex.tok != T_COMMA)
            break;
        if (!advance(p))
            return NULL;
    }
    return expect(p, T_RBRACE, "',' or '}'") ? node(p, N_MAP, pos, a) : NULL;
}

/* ---- macros --------------------------------------------------------------------------------------------------- */

static bool bind_local(struct parser *p, const char *name, unsigned *slot)
{
    if (p->n_locals == CEL_LOCALS_MAX) {
        fail(p, p->lex.pos, "more than %d variables of macros are nested", CEL_LOCALS_MAX);
        return false;
    }
    *slot = p->n_locals;
    p->locals[p->n_locals++] = (struct local){name, *slot};
    if (p->n_locals > p->prog->n_locals)
        p->prog->n_locals = p->n_locals;
    return true;
}

/* "name ," at the current token: a variable of a macro. */
static char *macro_variable(struct parser *p)
{
    if (p->lex.tok != T_IDENT || cel_reserved(p->lex.src + p->lex.pos, p->lex.end - p->lex.pos)) {
        unexpected(p, "the name of the macro's variable");
        return NULL;
    }
    char *name = tok_text(p);
    return advance(p) && expect(p, T_COMMA, "','") ? name : NULL;
}

static const struct macro {
    const char *name;
    enum cel_macro kind;
    unsigned min, max; /* expressions after the variables */
    bool one, two;     /* with one variable, with two */
} macros[] = {
    {"all", M_ALL, 1, 1, true, true},
    {"exists", M_EXISTS, 1, 1, true, true},
    {"exists_one", M_EXISTS_ONE, 1, 1, true, true},
    {"existsOne", M_EXISTS_ONE, 1, 1, true, true},
    {"map", M_MAP, 1, 2, true, false},
    {"filter", M_FILTER, 1, 1, true, false},
    {"transformList", M_TRANSFORM_LIST, 1, 2, false, true},
    {"transformMap", M_TRANSFORM_MAP, 1, 2, false, true},
};

/* Whether the macro is called with two variables: "a, b, ..." and at least one expression more than one variable allows.
 * Looks ahead without moving. */
static bool two_variables(struct parser *p, const struct macro *m)
{
    if (!m->two || !m->one)
        return m->two;
    struct cel_lex saved = p->lex;
    ERR(ignored);
    bool two = p->lex.tok == T_IDENT && cel_lex_next(&p->lex, &ignored) == 0 && p->lex.tok == T_COMMA &&
               cel_lex_next(&p->lex, &ignored) == 0 && p->lex.tok == T_IDENT && cel_lex_next(&p->lex, &ignored) == 0 &&
               p->lex.tok == T_COMMA;
    p->lex = saved;
    return two;
}

/* After "target.name(". */
static struct cel_node *parse_macro(struct parser *p, const struct macro *m, struct cel_node *target, size_t pos)
{
    unsigned outer = p->n_locals, slot, second;
    bool two = two_variables(p, m);
    struct args a = {0};
    args_add(p, &a, target);
    char *v1 = macro_variable(p), *v2 = v1 && two ? macro_variable(p) : NULL;
    if (!v1 || (two && !v2) || !bind_local(p, v1, &slot) || (two && !bind_local(p, v2, &second)))
        return NULL;
    for (;;) {
        struct cel_node *x = parse_expr(p);
        if (!x)
            return NULL;
        args_add(p, &a, x);
        if (p->lex.tok != T_COMMA || a.n - 1 == m->max)
            break;
        if (!advance(p))
            return NULL;
    }
    p->n_locals = outer;
    if (!expect(p, T_RPAREN, "')'"))
        return NULL;
    struct cel_node *n = node(p, N_MACRO, pos, a);
    if (!n)
        return NULL;
    n->sub = m->kind;
    n->slot = slot;
    n->two = two;
    return n;
}

/* optMap, optFlatMap: target.optMap(v, expr); cel.bind(v, init, expr) comes here with its init as target. */
static struct cel_node *parse_bound(struct parser *p, enum cel_op op, struct cel_node *target, const char *name, size_t pos)
{
    unsigned slot;
    if (!bind_local(p, name, &slot))
        return NULL;
    struct cel_node *x = parse_expr(p);
    p->n_locals--;
    if (!x || !expect(p, T_RPAREN, "')'"))
        return NULL;
    struct cel_node *n = node2(p, op, pos, target, x);
    if (n)
        n->slot = slot;
    return n;
}

static struct cel_node *parse_bind(struct parser *p, size_t pos)
{
    char *name = macro_variable(p);
    struct cel_node *init = name ? parse_expr(p) : NULL;
    return init && expect(p, T_COMMA, "','") ? parse_bound(p, N_BIND, init, name, pos) : NULL;
}

static struct cel_node *parse_has(struct parser *p, size_t pos)
{
    struct cel_node *x = parse_expr(p);
    if (!x || !expect(p, T_RPAREN, "')'"))
        return NULL;
    if (x->op != N_FIELD || x->opt)
        return fail(p, pos, "invalid argument to has() macro: it takes a field, has(a.b)");
    x->op = N_HAS;
    return x;
}

/* ---- calls ---------------------------------------------------------------------------------------------------- */

static bool parse_args(struct parser *p, struct args *a)
{
    while (p->lex.tok != T_RPAREN) {
        struct cel_node *x = parse_expr(p);
        if (!x)
            return false;
        args_add(p, a, x);
        if (p->lex.tok != T_COMMA)
            break;
        if (!advance(p))
            return false;
    }
    return expect(p, T_RPAREN, "',' or ')'");
}

/* A constant pattern is compiled now: an error in it is an error of the expression. */
static bool precompile(struct parser *p, struct cel_node *n)
{
    static const char *const names[] = {"matches", "find", "findAll"};
    bool takes = false;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        takes |= str_eq(n->name, names[i]);
    if (!takes || n->n < 2 || n->args[1]->op != N_CONST || n->args[1]->value->kind != CEL_STRING)
        return true;
    ERR(e);
    struct regex *re = regex_compile(n->args[1]->value->s, &e);
    if (!re) {
        fail(p, n->args[1]->pos, "%s", err_text(&e));
        return false;
    }
    struct cel_program *prog = p->prog;
    prog->regexes = xreallocarray(prog->regexes, prog->n_regexes + 1, sizeof(struct regex *));
    prog->regexes[prog->n_regexes++] = re;
    n->re = re;
    return true;
}

static struct cel_node *finish_call(struct parser *p, const char *name, enum cel_how how, struct args a, size_t pos)
{
    const struct cel_fn *fns[CEL_OVERLOADS] = {0};
    if (!cel_find_fns(p->prog, name, how, a.n, fns)) {
        if (!cel_fn_known(p->prog, name, how))
            return fail(p, pos, "undeclared reference to '%s': there is no such %s", name, how == CEL_MEMBER ? "method" : "function");
        return fail(p, pos, "found no matching overload for '%s' with %u argument%s", name, a.n - (how == CEL_MEMBER),
                    a.n - (how == CEL_MEMBER) == 1 ? "" : "s");
    }
    struct cel_node *n = node(p, N_CALL, pos, a);
    if (!n)
        return NULL;
    n->name = name;
    memcpy(n->fns, fns, sizeof fns);
    return precompile(p, n) ? n : NULL;
}

/* At '(' behind a name that stands alone (or a name of a namespace: "optional.of"). */
static struct cel_node *parse_global_call(struct parser *p, const char *name, size_t pos)
{
    if (!advance(p))
        return NULL;
    if (str_eq(name, "has"))
        return parse_has(p, pos);
    if (str_eq(name, "cel.bind"))
        return parse_bind(p, pos);
    struct args a = {0};
    return parse_args(p, &a) ? finish_call(p, name, CEL_GLOBAL, a, pos) : NULL;
}

static struct cel_node *parse_member_call(struct parser *p, struct cel_node *target, const char *name, size_t pos)
{
    if (!advance(p))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(macros); i++)
        if (str_eq(macros[i].name, name))
            return parse_macro(p, &macros[i], target, pos);
    if (str_eq(name, "optMap") || str_eq(name, "optFlatMap")) {
        char *v = macro_variable(p);
        return v ? parse_bound(p, str_eq(name, "optMap") ? N_OPT_MAP : N_OPT_FLAT_MAP, target, v, pos) : NULL;
    }
    struct args a = {0};
    args_add(p, &a, target);
    return parse_args(p, &a) ? finish_call(p, name, CEL_MEMBER, a, pos) : NULL;
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

static const char *const type_names[] = {
    "int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "optional_type", "google.protobuf.Timestamp",
    "google.protobuf.Duration", "net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.URL",
};

static bool is_type_name(const char *s)
{
    for (size_t i = 0; i < ARRAY_LEN(type_names); i++)
        if (str_eq(type_names[i], s))
            return true;
    return false;
}

static struct cel_node *variable(struct parser *p, const char *name, size_t pos)
{
    for (unsigned i = p->n_locals; i-- > 0;) {
        if (!str_eq(p->locals[i].name, name))
            continue;
        struct cel_node *n = node(p, N_LOCAL, pos, (struct args){0});
        n->slot = p->locals[i].slot;
        n->name = name;
        return n;
    }
    for (unsigned i = 0; i < p->prog->n_variables; i++) {
        if (!str_eq(p->prog->variables[i], name))
            continue;
        struct cel_node *n = node(p, N_VAR, pos, (struct args){0});
        n->slot = i;
        n->name = p->prog->variables[i];
        return n;
    }
    return NULL;
}

static struct cel_node *type_value(struct parser *p, const char *name, size_t pos)
{
    return constant(p, pos, (struct cel_value){.kind = CEL_TYPE, .s = name, .n = strlen(name)});
}

/* A dotted name that is a type or a function of a namespace ("google.protobuf.Timestamp", "optional.of("). The current token is
 * behind the first part. Leaves the parser as it was when it is none. */
static struct cel_node *parse_qualified(struct parser *p, const char *first, size_t pos, bool *matched)
{
    struct cel_lex saved = p->lex;
    BUF(name);
    buf_adds(&name, first);
    ERR(ignored);
    *matched = true;
    while (p->lex.tok == T_DOT && cel_lex_next(&p->lex, &ignored) == 0 && p->lex.tok == T_IDENT) {
        buf_addf(&name, ".%.*s", (int)(p->lex.end - p->lex.pos), p->lex.src + p->lex.pos);
        if (cel_lex_next(&p->lex, &ignored) < 0)
            break;
        char *text = arena_strndup(&p->prog->arena, name.data, name.len);
        if (p->lex.tok == T_LPAREN && (str_eq(text, "cel.bind") || cel_fn_known(p->prog, text, CEL_GLOBAL)))
            return parse_global_call(p, text, pos);
        if (is_type_name(text) && p->lex.tok != T_LPAREN)
            return type_value(p, text, pos);
    }
    *matched = false;
    p->lex = saved;
    return NULL;
}

static struct cel_node *parse_name(struct parser *p)
{
    size_t pos = p->lex.pos;
    if (cel_reserved(p->lex.src + pos, p->lex.end - pos))
        return fail(p, pos, "'%.*s' is a reserved word", (int)(p->lex.end - pos), p->lex.src + pos);
    char *name = tok_text(p);
    if (!advance(p))
        return NULL;
    if (p->lex.tok == T_LPAREN)
        return parse_global_call(p, name, pos);
    struct cel_node *v = variable(p, name, pos);
    if (v)
        return v;
    bool matched = false;
    v = parse_qualified(p, name, pos, &matched);
    if (matched)
        return v;
    if (is_type_name(name))
        return type_value(p, name, pos);
    return fail(p, pos, "undeclared reference to '%s'", name);
}

/* ---- levels of the grammar ------------------------------------------------------------------------------------ */

static struct cel_node *parse_primary(struct parser *p)
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
        x = constant(p, pos, (struct cel_value){.kind = CEL_BOOL, .b = p->lex.tok == T_TRUE});
        return advance(p) ? x : NULL;
    case T_NULL:
        x = constant(p, pos, (struct cel_value){.kind = CEL_NULL});
        return advance(p) ? x : NULL;
    case T_LBRACKET:
        return parse_list(p);
    case T_LBRACE:
        return parse_map(p);
    case T_LPAREN:
        if (!advance(p))
            return NULL;
        x = parse_expr(p);
        return x && expect(p, T_RPAREN, "')'") ? x : NULL;
    case T_DOT:
        if (!advance(p))
            return NULL;
        return p->lex.tok == T_IDENT ? parse_name(p) : unexpected(p, "a name");
    case T_IDENT:
        return parse_name(p);
    default:
        return unexpected(p, "an operand");
    }
}

/* Kubernetes' names of fields that CEL's grammar has no room for: __dot__ and the like, and __namespace__ for reserved words. */
static char *unescape_field(struct parser *p, char *name)
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
        bool literal = (len == 4 && (!memcmp(word, "true", 4) || !memcmp(word, "null", 4))) || (len == 5 && !memcmp(word, "false", 5)) ||
                       (len == 2 && !memcmp(word, "in", 2));
        if (literal || cel_reserved(word, len))
            return arena_strndup(&p->prog->arena, word, len);
    }
    BUF(b);
    buf_adds(&b, "");
    for (const char *s = name; *s;) {
        size_t i;
        for (i = 0; i < ARRAY_LEN(parts) && !str_starts(s, parts[i].from); i++) {
        }
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
static struct cel_node *parse_select(struct parser *p, struct cel_node *x)
{
    size_t pos = p->lex.pos;
    bool opt = p->lex.tok == T_QUESTION;
    if (opt && !advance(p))
        return NULL;
    bool quoted = p->lex.tok == T_QUOTED_IDENT;
    if (p->lex.tok != T_IDENT && !quoted)
        return unexpected(p, "the name of a field");
    char *name = quoted ? arena_strndup(&p->prog->arena, p->lex.src + p->lex.pos + 1, p->lex.end - p->lex.pos - 2) : tok_text(p);
    if (!advance(p))
        return NULL;
    if (p->lex.tok == T_LPAREN && !opt && !quoted)
        return parse_member_call(p, x, name, pos);
    struct cel_node *n = node1(p, N_FIELD, pos, x);
    if (!n)
        return NULL;
    n->name = quoted ? name : unescape_field(p, name);
    n->opt = opt;
    return n;
}

static struct cel_node *parse_index(struct parser *p, struct cel_node *x)
{
    size_t pos = p->lex.pos;
    if (!advance(p))
        return NULL;
    bool opt = p->lex.tok == T_QUESTION;
    if (opt && !advance(p))
        return NULL;
    struct cel_node *i = parse_expr(p);
    if (!i || !expect(p, T_RBRACKET, "']'"))
        return NULL;
    struct cel_node *n = node2(p, N_INDEX, pos, x, i);
    if (n)
        n->opt = opt;
    return n;
}

static struct cel_node *parse_postfix(struct parser *p, struct cel_node *x)
{
    while (x) {
        if (p->lex.tok == T_DOT)
            x = advance(p) ? parse_select(p, x) : NULL;
        else if (p->lex.tok == T_LBRACKET)
            x = parse_index(p, x);
        else if (p->lex.tok == T_LBRACE)
            return fail(p, p->lex.pos, "messages cannot be built here ('{' behind a name)");
        else
            break;
    }
    return x;
}

static struct cel_node *parse_unary(struct parser *p)
{
    size_t pos = p->lex.pos;
    enum cel_tok op = p->lex.tok;
    if (op != T_NOT && op != T_MINUS)
        return parse_postfix(p, parse_primary(p));
    unsigned count = 0;
    while (p->lex.tok == op) {
        if (!advance(p))
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
            return unexpected(p, "an operand");
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

static struct cel_node *parse_binary(struct parser *p, int level)
{
    struct cel_node *x = level < 0 ? parse_unary(p) : parse_binary(p, level - 1);
    const struct level *op;
    while (x && level >= 0 && (op = operator_at(p->lex.tok, level))) {
        size_t pos = p->lex.pos;
        if (!advance(p))
            return NULL;
        struct cel_node *y = parse_binary(p, level - 1);
        x = y ? node2(p, N_BINARY, pos, x, y) : NULL;
        if (x)
            x->sub = op->op;
    }
    return x;
}

/* a && b && c is one node, so that long chains stay flat. */
static struct cel_node *parse_logic(struct parser *p, enum cel_tok tok)
{
    size_t pos = p->lex.pos;
    struct args a = {0};
    for (;;) {
        struct cel_node *x = tok == T_OR ? parse_logic(p, T_AND) : parse_binary(p, 2);
        if (!x)
            return NULL;
        args_add(p, &a, x);
        if (p->lex.tok != tok)
            break;
        if (!advance(p))
            return NULL;
    }
    return a.n == 1 ? a.v[0] : node(p, tok == T_OR ? N_OR : N_AND, pos, a);
}

static struct cel_node *parse_cond(struct parser *p)
{
    struct cel_node *c = parse_logic(p, T_OR);
    if (!c || p->lex.tok != T_QUESTION)
        return c;
    size_t pos = p->lex.pos;
    if (!advance(p))
        return NULL;
    struct args a = {0};
    args_add(p, &a, c);
    struct cel_node *yes = parse_logic(p, T_OR);
    if (!yes || !expect(p, T_COLON, "':'"))
        return NULL;
    struct cel_node *no = parse_expr(p);
    if (!no)
        return NULL;
    args_add(p, &a, yes);
    args_add(p, &a, no);
    return node(p, N_COND, pos, a);
}

static struct cel_node *parse_expr(struct parser *p)
{
    if (p->depth >= CEL_NEST_MAX)
        return fail(p, p->lex.pos, "the expression is nested too deeply (at most %d levels)", CEL_NEST_MAX);
    p->depth++;
    struct cel_node *x = parse_cond(p);
    p->depth--;
    return x;
}

int cel_parse(struct cel_program *prog, struct err *err)
{
    struct parser p = {.prog = prog, .err = err, .lex = {.src = prog->source, .len = strlen(prog->source)}};
    if (!advance(&p))
        return -1;
    if (p.lex.tok == T_END)
        return cel_fail_at(prog->source, 0, err, "the expression is empty");
    prog->root = parse_expr(&p);
    if (!prog->root)
        return -1;
    if (p.lex.tok != T_END) {
        unexpected(&p, "an operator or the end");
        return -1;
    }
    return 0;
}
