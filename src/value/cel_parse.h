/* cel_parse.h - private to the parser of CEL: cel_parse.c (the grammar) and cel_names.c (what names mean: variables, types,
 * functions, macros). Every parse function starts at the current token, leaves the one behind what it took, and returns NULL with
 * p->err set. */
#ifndef TM_VALUE_CEL_PARSE_H
#define TM_VALUE_CEL_PARSE_H

#include "value/cel_priv.h"

struct cel_local {
    const char *name;
    unsigned slot;
};
struct cel_parser {
    struct cel_program *prog;
    struct cel_lex lex;
    struct err *err;
    unsigned depth;
    struct cel_local locals[CEL_LOCALS_MAX];
    unsigned n_locals;
};

/* A growing list of argument nodes. */
struct cel_args {
    struct cel_node **v;
    unsigned n, cap;
};

struct cel_node *cel_p_fail(struct cel_parser *p, size_t pos, const char *fmt, ...) PRINTF_LIKE(3, 4);
struct cel_node *cel_p_unexpected(struct cel_parser *p, const char *wanted);
bool cel_p_advance(struct cel_parser *p);
bool cel_p_expect(struct cel_parser *p, enum cel_tok tok, const char *what);
char *cel_p_text(struct cel_parser *p); /* of the current token */

void cel_p_add(struct cel_parser *p, struct cel_args *a, struct cel_node *n);
struct cel_node *cel_p_node(struct cel_parser *p, enum cel_op op, size_t pos, struct cel_args a);
struct cel_node *cel_p_node2(struct cel_parser *p, enum cel_op op, size_t pos, struct cel_node *x, struct cel_node *y);
struct cel_node *cel_p_constant(struct cel_parser *p, size_t pos, struct cel_value v);

struct cel_node *cel_p_expr(struct cel_parser *p);
/* A name where an operand stands: variable, type, call, macro. */
struct cel_node *cel_p_name(struct cel_parser *p);
/* "target.name(" with the parenthesis as the current token. */
struct cel_node *cel_p_member_call(struct cel_parser *p, struct cel_node *target, const char *name, size_t pos);

#endif
