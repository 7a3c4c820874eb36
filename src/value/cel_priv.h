/* cel_priv.h - private to the CEL engine (cel_*.c): its values, its tree, and the table of its functions.
 *
 * Text -> cel_lex -> cel_parse (names are resolved and macros expanded while parsing) -> tree of cel_node -> cel_eval.
 * A program is immutable after cel_compile; all that changes lives in the struct cel_run of one evaluation. */
#ifndef TM_VALUE_CEL_PRIV_H
#define TM_VALUE_CEL_PRIV_H

#include "base/arena.h"
#include "base/str.h"
#include "value/cel.h"
#include "value/regex.h"

#define CEL_SOURCE_MAX (100u << 10) /* bytes of an expression */
#define CEL_NEST_MAX   100          /* nesting while parsing; a level takes up to 2 KiB of stack */
#define CEL_HEIGHT_MAX 300          /* height of the tree, which bounds recursion when evaluating */
#define CEL_LOCALS_MAX 64           /* comprehension variables in scope at once */

/* ---- values --------------------------------------------------------------------------------------------------- */

struct cel_pair {
    const struct cel_value *key, *val;
};
struct cel_opaque {
    const char *name;
    bool (*equal)(const void *a, const void *b);
    int (*compare)(const void *a, const void *b); /* NULL: no order */
};
struct cel_value {
    enum cel_kind kind;
    union {
        bool b;
        int64_t i; /* CEL_INT, and nanoseconds of CEL_DURATION */
        uint64_t u;
        double d;
        struct { /* CEL_STRING, CEL_BYTES, CEL_TYPE (its name) */
            const char *s;
            size_t n;
        };
        struct { /* CEL_LIST and CEL_MAP: j is set for what came from JSON and is not taken apart yet */
            jval *j;
            const struct cel_value **items;
            const struct cel_pair *pairs;
            size_t len;
        };
        struct { /* CEL_TIMESTAMP */
            int64_t sec;
            int32_t nsec;
        };
        const struct cel_value *inner; /* CEL_OPTIONAL: NULL is none */
        struct {                       /* CEL_OPAQUE */
            const struct cel_opaque *type;
            const void *p;
        };
    };
};

/* ---- the tree ------------------------------------------------------------------------------------------------- */

enum cel_op {
    N_CONST,
    N_VAR,
    N_LOCAL,
    N_FIELD,
    N_HAS,
    N_INDEX,
    N_CALL,
    N_BINARY,
    N_NOT,
    N_NEG,
    N_AND,
    N_OR,
    N_COND,
    N_LIST,
    N_MAP,
    N_OPT_ELEM,
    N_MACRO,
    N_OPT_MAP,
    N_OPT_FLAT_MAP,
    N_BIND
};
enum cel_binary { B_ADD, B_SUB, B_MUL, B_DIV, B_MOD, B_EQ, B_NE, B_LT, B_LE, B_GT, B_GE, B_IN };
enum cel_macro { M_ALL, M_EXISTS, M_EXISTS_ONE, M_MAP, M_FILTER, M_TRANSFORM_LIST, M_TRANSFORM_MAP };

#define CEL_OVERLOADS 4
struct cel_fn;
struct cel_node {
    enum cel_op op;
    unsigned sub; /* enum cel_binary, enum cel_macro */
    bool opt;     /* N_FIELD, N_INDEX: .? and [?] */
    bool two;     /* N_MACRO: with two variables */
    unsigned pos; /* byte offset in the source */
    unsigned height;
    unsigned slot; /* N_VAR, N_LOCAL; the (first) variable of a macro */
    unsigned n;
    struct cel_node **args;
    const char *name;                        /* N_FIELD, N_HAS, N_CALL */
    const struct cel_value *value;           /* N_CONST */
    const struct cel_fn *fns[CEL_OVERLOADS]; /* N_CALL: what the name may mean, by the kind of the first argument */
    struct regex *re;                        /* N_CALL with a constant pattern: compiled once */
};

struct cel_program {
    struct arena arena;
    struct cel_node *root;
    const char *source;
    const char *const *variables;
    unsigned n_variables, n_locals;
    bool numbers_as_double, kubernetes, pipelines;
    const struct cel_format *formats;
    struct regex **regexes; /* to free */
    size_t n_regexes;
};

/* ---- lexing --------------------------------------------------------------------------------------------------- */

enum cel_tok {
    T_END,
    T_IDENT,
    T_QUOTED_IDENT,
    T_INT,
    T_UINT,
    T_DOUBLE,
    T_STRING,
    T_BYTES,
    T_TRUE,
    T_FALSE,
    T_NULL,
    T_IN,
    T_LPAREN,
    T_RPAREN,
    T_LBRACKET,
    T_RBRACKET,
    T_LBRACE,
    T_RBRACE,
    T_DOT,
    T_COMMA,
    T_COLON,
    T_QUESTION,
    T_PLUS,
    T_MINUS,
    T_STAR,
    T_SLASH,
    T_PERCENT,
    T_NOT,
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE,
    T_AND,
    T_OR
};
struct cel_lex {
    const char *src;
    size_t len, next; /* next: where the following token is looked for */
    enum cel_tok tok; /* the current token, and its place */
    size_t pos, end;
};
/* Moves to the next token; -1 with a message that has the position. Copying a struct cel_lex saves the place. */
int cel_lex_next(struct cel_lex *l, struct err *err);
/* The content of a string or bytes token, escapes resolved. */
int cel_lex_text(const struct cel_lex *l, struct buf *out, struct err *err);
bool cel_reserved(const char *s, size_t n);
/* Sets ERR_INVALID "line:column: message" for a byte offset of the source. Returns -1. */
int cel_fail_at(const char *src, size_t pos, struct err *err, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Parses into p->root; p->arena owns the tree. */
int cel_parse(struct cel_program *p, struct err *err);

/* ---- evaluation ----------------------------------------------------------------------------------------------- */

struct cel_run {
    const struct cel_program *prog;
    struct arena *a;
    jval *const *vars;
    const struct cel_value **locals;
    uint64_t left; /* cost budget */
    bool fatal;    /* the error is the budget's: && and || do not swallow it */
    struct err *err;
};
/* Takes from the budget; -1 when it is used up. */
int cel_charge(struct cel_run *r, uint64_t cost);
/* For n bytes that are read or made. */
static inline int cel_charge_bytes(struct cel_run *r, size_t n) { return cel_charge(r, n / 16 + 1); }
/* Sets an evaluation error and returns NULL. */
const struct cel_value *cel_error(struct cel_run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
const struct cel_value *cel_run_node(struct cel_run *r, const struct cel_node *n);
const struct cel_value *cel_run_macro(struct cel_run *r, const struct cel_node *n);
const struct cel_value *cel_binary(struct cel_run *r, const struct cel_node *n, const struct cel_value *x,
                                   const struct cel_value *y);

/* Making values, in the arena of the run. Strings are not copied by cel_mk_string. */
struct cel_value *cel_mk(struct cel_run *r, enum cel_kind kind);
const struct cel_value *cel_mk_bool(bool b);
const struct cel_value *cel_mk_int(struct cel_run *r, int64_t i);
const struct cel_value *cel_mk_double(struct cel_run *r, double d);
const struct cel_value *cel_mk_string(struct cel_run *r, const char *s, size_t n);
const struct cel_value *cel_mk_copy(struct cel_run *r, enum cel_kind kind, const char *s, size_t n);
const struct cel_value *cel_mk_list(struct cel_run *r, const struct cel_value **items, size_t n);
const struct cel_value *cel_mk_optional(struct cel_run *r, const struct cel_value *inner);
const struct cel_value *cel_mk_opaque(struct cel_run *r, const struct cel_opaque *type, const void *p);
const struct cel_value *cel_mk_type(struct cel_run *r, const struct cel_value *of);
const struct cel_value *cel_null(void);
/* A value of JSON; not NULL. */
const struct cel_value *cel_from_json(struct cel_run *r, jval *j);

/* A list's elements, taken apart when they come from JSON. NULL when the budget is used up. */
const struct cel_value *const *cel_items(struct cel_run *r, const struct cel_value *list);
/* A map's keys and values likewise. */
const struct cel_pair *cel_pairs(struct cel_run *r, const struct cel_value *map);
/* The value of a key, NULL when there is none (no error is set). */
const struct cel_value *cel_map_get(struct cel_run *r, const struct cel_value *map, const struct cel_value *key);
bool cel_is_number(const struct cel_value *v);
/* Heterogeneous equality: 1, 0; -1 when the budget is used up. */
int cel_equal(struct cel_run *r, const struct cel_value *a, const struct cel_value *b);
enum { CEL_UNORDERED = 2, CEL_NO_ORDER = 3 };
/* -1, 0, 1, CEL_UNORDERED (a NaN), CEL_NO_ORDER (kinds that do not compare). */
int cel_compare(const struct cel_value *a, const struct cel_value *b);
const char *cel_kind_name(enum cel_kind k);
/* Text of numbers as string() makes it. */
void cel_double_text(double d, struct buf *out);

/* ---- functions ------------------------------------------------------------------------------------------------ */

struct cel_call {
    struct cel_run *run;
    const struct cel_node *node;
    const struct cel_value **args; /* args[0] is the target of a member call */
    unsigned n;
};
#define KIND(k)  (1u << (k))
#define ANY_KIND 0u
enum cel_how { CEL_GLOBAL = 1, CEL_MEMBER = 2, CEL_BOTH = 3 };
struct cel_fn {
    const char *name;
    enum cel_how how;
    unsigned min, max; /* number of arguments, the target among them */
    unsigned first;    /* kinds that the first argument may have */
    const struct cel_value *(*fn)(struct cel_call *c);
};
/* Each library ends with an entry without a name. */
extern const struct cel_fn cel_lib_std[], cel_lib_time[], cel_lib_optional[], cel_lib_strings[], cel_lib_lists[],
    cel_lib_format[], cel_lib_regex[], cel_lib_quantity[], cel_lib_url[], cel_lib_net[], cel_lib_sets[], cel_lib_pipelines[],
    cel_lib_semver[], cel_lib_named[];
/* The overloads of a name; their number. */
unsigned cel_find_fns(const struct cel_program *p, const char *name, enum cel_how how, unsigned n, const struct cel_fn **out);
/* Whether some function has the name, whatever its arguments (for the message, and for namespaces). */
bool cel_fn_known(const struct cel_program *p, const char *name, enum cel_how how);
/* "no such overload: size(int)"; returns NULL. */
const struct cel_value *cel_no_overload(struct cel_call *c);
bool cel_arg_is(const struct cel_call *c, unsigned i, enum cel_kind kind);
/* The regex of a call whose pattern is argument i: precompiled, or compiled into *own (to free). NULL on error. */
const struct regex *cel_regex_arg(struct cel_call *c, unsigned i, struct regex **own);
/* regex_find on the first argument; the time it takes is charged. -1: the run has an error. */
int cel_regex_find(struct cel_call *c, const struct regex *re, size_t at, size_t *from, size_t *to);

/* Times (cel_lib_time.c). */
bool cel_time_parse(const char *s, size_t n, int64_t *sec, int32_t *nsec);
void cel_time_text(int64_t sec, int32_t nsec, struct buf *out);
void cel_duration_text(int64_t ns, struct buf *out);
/* sec/nsec normalised and within the years 1 to 9999, else an error. */
const struct cel_value *cel_mk_time(struct cel_run *r, int64_t sec, int64_t nsec);
const struct cel_value *cel_mk_duration(struct cel_run *r, int64_t ns);

/* UTF-8 (cel_value.c): valid text only. */
size_t cel_utf8_len(const char *s, size_t n);                       /* code points */
size_t cel_utf8_offset(const char *s, size_t n, size_t codepoints); /* byte offset, n when beyond the end */

#endif
