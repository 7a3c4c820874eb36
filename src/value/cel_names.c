/* What a name means, decided while parsing: variables, types, functions and macros. */
#include "value/cel_parse.h"

#include <stdlib.h>
#include <string.h>

/* ---- macros --------------------------------------------------------------------------------------------------- */

static bool bind_local(struct cel_parser *p, const char *name, unsigned *slot)
{
    if (p->n_locals == CEL_LOCALS_MAX) {
        cel_p_fail(p, p->lex.pos, "more than %d variables of macros are nested", CEL_LOCALS_MAX);
        return false;
    }
    *slot = p->n_locals;
    p->locals[p->n_locals++] = (struct cel_local){name, *slot};
    if (p->n_locals > p->prog->n_locals)
        p->prog->n_locals = p->n_locals;
    return true;
}

/* "name ," at the current token: a variable of a macro. */
static char *macro_variable(struct cel_parser *p)
{
    if (p->lex.tok != T_IDENT || cel_reserved(p->lex.src + p->lex.pos, p->lex.end - p->lex.pos)) {
        cel_p_unexpected(p, "the name of the macro's variable");
        return NULL;
    }
    char *name = cel_p_text(p);
    return cel_p_advance(p) && cel_p_expect(p, T_COMMA, "','") ? name : NULL;
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
static bool two_variables(struct cel_parser *p, const struct macro *m)
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
static struct cel_node *parse_macro(struct cel_parser *p, const struct macro *m, struct cel_node *target, size_t pos)
{
    unsigned outer = p->n_locals, slot, second;
    bool two = two_variables(p, m);
    struct cel_args a = {0};
    cel_p_add(p, &a, target);
    char *v1 = macro_variable(p), *v2 = v1 && two ? macro_variable(p) : NULL;
    if (!v1 || (two && !v2) || !bind_local(p, v1, &slot) || (two && !bind_local(p, v2, &second)))
        return NULL;
    for (;;) {
        struct cel_node *x = cel_p_expr(p);
        if (!x)
            return NULL;
        cel_p_add(p, &a, x);
        if (p->lex.tok != T_COMMA || a.n - 1 == m->max)
            break;
        if (!cel_p_advance(p))
            return NULL;
    }
    p->n_locals = outer;
    if (!cel_p_expect(p, T_RPAREN, "')'"))
        return NULL;
    struct cel_node *n = cel_p_node(p, N_MACRO, pos, a);
    if (!n)
        return NULL;
    n->sub = m->kind;
    n->slot = slot;
    n->two = two;
    return n;
}

/* optMap, optFlatMap: target.optMap(v, expr); cel.bind(v, init, expr) comes here with its init as target. */
static struct cel_node *parse_bound(struct cel_parser *p, enum cel_op op, struct cel_node *target, const char *name, size_t pos)
{
    unsigned slot;
    if (!bind_local(p, name, &slot))
        return NULL;
    struct cel_node *x = cel_p_expr(p);
    p->n_locals--;
    if (!x || !cel_p_expect(p, T_RPAREN, "')'"))
        return NULL;
    struct cel_node *n = cel_p_node2(p, op, pos, target, x);
    if (n)
        n->slot = slot;
    return n;
}

static struct cel_node *parse_bind(struct cel_parser *p, size_t pos)
{
    char *name = macro_variable(p);
    struct cel_node *init = name ? cel_p_expr(p) : NULL;
    return init && cel_p_expect(p, T_COMMA, "','") ? parse_bound(p, N_BIND, init, name, pos) : NULL;
}

static struct cel_node *parse_has(struct cel_parser *p, size_t pos)
{
    struct cel_node *x = cel_p_expr(p);
    if (!x || !cel_p_expect(p, T_RPAREN, "')'"))
        return NULL;
    if (x->op != N_FIELD || x->opt)
        return cel_p_fail(p, pos, "invalid argument to has() macro: it takes a field, has(a.b)");
    x->op = N_HAS;
    return x;
}

/* ---- calls ---------------------------------------------------------------------------------------------------- */

static bool parse_args(struct cel_parser *p, struct cel_args *a)
{
    while (p->lex.tok != T_RPAREN) {
        struct cel_node *x = cel_p_expr(p);
        if (!x)
            return false;
        cel_p_add(p, a, x);
        if (p->lex.tok != T_COMMA)
            break;
        if (!cel_p_advance(p))
            return false;
    }
    return cel_p_expect(p, T_RPAREN, "',' or ')'");
}

/* A constant pattern is compiled now: an error in it is an error of the expression. */
static bool precompile(struct cel_parser *p, struct cel_node *n)
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
        cel_p_fail(p, n->args[1]->pos, "%s", err_text(&e));
        return false;
    }
    struct cel_program *prog = p->prog;
    prog->regexes = xreallocarray(prog->regexes, prog->n_regexes + 1, sizeof(struct regex *));
    prog->regexes[prog->n_regexes++] = re;
    n->re = re;
    return true;
}

static struct cel_node *finish_call(struct cel_parser *p, const char *name, enum cel_how how, struct cel_args a, size_t pos)
{
    const struct cel_fn *fns[CEL_OVERLOADS] = {0};
    if (!cel_find_fns(p->prog, name, how, a.n, fns)) {
        if (!cel_fn_known(p->prog, name, how))
            return cel_p_fail(p, pos, "undeclared reference to '%s': there is no such %s", name,
                              how == CEL_MEMBER ? "method" : "function");
        return cel_p_fail(p, pos, "found no matching overload for '%s' with %u argument%s", name, a.n - (how == CEL_MEMBER),
                          a.n - (how == CEL_MEMBER) == 1 ? "" : "s");
    }
    struct cel_node *n = cel_p_node(p, N_CALL, pos, a);
    if (!n)
        return NULL;
    n->name = name;
    memcpy(n->fns, fns, sizeof fns);
    return precompile(p, n) ? n : NULL;
}

/* At '(' behind a name that stands alone (or a name of a namespace: "optional.of"). */
static struct cel_node *parse_global_call(struct cel_parser *p, const char *name, size_t pos)
{
    if (!cel_p_advance(p))
        return NULL;
    if (str_eq(name, "has"))
        return parse_has(p, pos);
    if (str_eq(name, "cel.bind"))
        return parse_bind(p, pos);
    struct cel_args a = {0};
    return parse_args(p, &a) ? finish_call(p, name, CEL_GLOBAL, a, pos) : NULL;
}

struct cel_node *cel_p_member_call(struct cel_parser *p, struct cel_node *target, const char *name, size_t pos)
{
    if (!cel_p_advance(p))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(macros); i++)
        if (str_eq(macros[i].name, name))
            return parse_macro(p, &macros[i], target, pos);
    if (str_eq(name, "optMap") || str_eq(name, "optFlatMap")) {
        char *v = macro_variable(p);
        return v ? parse_bound(p, str_eq(name, "optMap") ? N_OPT_MAP : N_OPT_FLAT_MAP, target, v, pos) : NULL;
    }
    struct cel_args a = {0};
    cel_p_add(p, &a, target);
    return parse_args(p, &a) ? finish_call(p, name, CEL_MEMBER, a, pos) : NULL;
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

static const char *const type_names[] = {
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "optional_type",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "net.IP",
    "net.CIDR",
    "kubernetes.NamedFormat",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.URL",
};

static bool is_type_name(const char *s)
{
    for (size_t i = 0; i < ARRAY_LEN(type_names); i++)
        if (str_eq(type_names[i], s))
            return true;
    return false;
}

static struct cel_node *variable(struct cel_parser *p, const char *name, size_t pos)
{
    for (unsigned i = p->n_locals; i-- > 0;) {
        if (!str_eq(p->locals[i].name, name))
            continue;
        struct cel_node *n = cel_p_node(p, N_LOCAL, pos, (struct cel_args){0});
        n->slot = p->locals[i].slot;
        n->name = name;
        return n;
    }
    for (unsigned i = 0; i < p->prog->n_variables; i++) {
        if (!str_eq(p->prog->variables[i], name))
            continue;
        struct cel_node *n = cel_p_node(p, N_VAR, pos, (struct cel_args){0});
        n->slot = i;
        n->name = p->prog->variables[i];
        return n;
    }
    return NULL;
}

static struct cel_node *type_value(struct cel_parser *p, const char *name, size_t pos)
{
    return cel_p_constant(p, pos, (struct cel_value){.kind = CEL_TYPE, .s = name, .n = strlen(name)});
}

/* A dotted name that is a type or a function of a namespace ("google.protobuf.Timestamp", "optional.of("). The current token is
 * behind the first part. Leaves the parser as it was when it is none. */
static struct cel_node *parse_qualified(struct cel_parser *p, const char *first, size_t pos, bool *matched)
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

struct cel_node *cel_p_name(struct cel_parser *p)
{
    size_t pos = p->lex.pos;
    if (cel_reserved(p->lex.src + pos, p->lex.end - pos))
        return cel_p_fail(p, pos, "'%.*s' is a reserved word", (int)(p->lex.end - pos), p->lex.src + pos);
    char *name = cel_p_text(p);
    if (!cel_p_advance(p))
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
    return cel_p_fail(p, pos, "undeclared reference to '%s'", name);
}
