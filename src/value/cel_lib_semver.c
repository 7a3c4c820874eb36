/* Kubernetes' semver library: versions as semver.org 2.0.0 writes them, and the loose forms that normalising allows. */
#include <string.h>

#include "value/cel_priv.h"

typedef const struct cel_value *val;

struct semver {
    uint64_t part[3]; /* major, minor, patch */
    const char *pre;  /* identifiers between dots, not terminated; n_pre 0: a release */
    size_t n_pre;
};

/* ---- order ---------------------------------------------------------------------------------------------------- */

static bool all_digits(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return n > 0;
}

static int sign(bool less, bool more) { return less ? -1 : more; }

/* Numbers have no leading zeros: the longer one is the larger one. They sort before words. */
static int compare_identifiers(const char *a, size_t na, const char *b, size_t nb)
{
    bool da = all_digits(a, na), db = all_digits(b, nb);
    if (da != db)
        return da ? -1 : 1;
    if (da && na != nb)
        return sign(na<nb, na> nb);
    int cmp = memcmp(a, b, na < nb ? na : nb);
    return cmp ? sign(cmp<0, cmp> 0) : sign(na<nb, na> nb);
}

static size_t identifier_len(const char *s, const char *end)
{
    const char *dot = memchr(s, '.', (size_t)(end - s));
    return (size_t)((dot ? dot : end) - s);
}

static int compare_pre(const struct semver *x, const struct semver *y)
{
    if (!x->n_pre || !y->n_pre)
        return sign(x->n_pre && !y->n_pre, !x->n_pre && y->n_pre);
    const char *a = x->pre, *b = y->pre, *ea = a + x->n_pre, *eb = b + y->n_pre;
    for (;;) {
        size_t na = identifier_len(a, ea), nb = identifier_len(b, eb);
        int cmp = compare_identifiers(a, na, b, nb);
        a += na;
        b += nb;
        if (cmp || a == ea || b == eb)
            return cmp ? cmp : sign(a == ea && b != eb, a != ea && b == eb);
        a++;
        b++;
    }
}

static int compare(const void *a, const void *b)
{
    const struct semver *x = a, *y = b;
    for (size_t i = 0; i < 3; i++)
        if (x->part[i] != y->part[i])
            return x->part[i] < y->part[i] ? -1 : 1;
    return compare_pre(x, y);
}

static bool equal(const void *a, const void *b) { return compare(a, b) == 0; } /* whatever the builds */
static const struct cel_opaque type = {.name = "kubernetes.Semver", .equal = equal, .compare = compare};

/* ---- parsing -------------------------------------------------------------------------------------------------- */

static bool identifier_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

static bool parse_number(const char **s, const char *end, bool loose, uint64_t *out, struct err *err)
{
    const char *p = *s;
    uint64_t v = 0;
    if (p == end || *p < '0' || *p > '9')
        return err_set(err, ERR_INVALID, "a version has numbers between its dots: MAJOR.MINOR.PATCH"), false;
    if (!loose && *p == '0' && p + 1 < end && p[1] >= '0' && p[1] <= '9')
        return err_set(err, ERR_INVALID, "a number of a version must not begin with a zero"), false;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return err_set(err, ERR_INVALID, "a number of a version is too large"), false;
    *s = p;
    *out = v;
    return true;
}

/* "alpha.1" behind '-', "build.5" behind '+': numbers of the first kind must not begin with a zero. */
static bool parse_identifiers(const char **s, const char *end, bool pre, struct err *err)
{
    for (const char *p = *s;; p++) {
        const char *from = p;
        while (p < end && identifier_char(*p))
            p++;
        if (p == from)
            return err_set(err, ERR_INVALID, "%s of a version is empty or has a character beside letters, digits and '-'",
                           pre ? "the pre-release" : "the build"),
                   false;
        if (pre && p - from > 1 && *from == '0' && all_digits(from, (size_t)(p - from)))
            return err_set(err, ERR_INVALID, "a number of a version's pre-release must not begin with a zero"), false;
        if (p == end || *p != '.') {
            *s = p;
            return true;
        }
    }
}

/* loose: "v" before it, leading zeros, and 1 or 1.2 for 1.0.0 and 1.2.0. The result points into the text. */
static bool parse(const char *s, size_t n, bool loose, struct semver *out, struct err *err)
{
    const char *end = s + n;
    *out = (struct semver){0};
    if (loose && s < end && *s == 'v')
        s++;
    size_t parts = 0;
    for (;;) {
        if (!parse_number(&s, end, loose, &out->part[parts], err))
            return false;
        if (++parts == 3 || s == end || *s != '.')
            break;
        s++;
    }
    if (parts < 3 && !(loose && s == end))
        return err_set(err, ERR_INVALID, "a version has three numbers: MAJOR.MINOR.PATCH"), false;
    if (s < end && *s == '-') {
        out->pre = ++s;
        if (!parse_identifiers(&s, end, true, err))
            return false;
        out->n_pre = (size_t)(s - out->pre);
    }
    if (s < end && *s == '+') {
        s++;
        if (!parse_identifiers(&s, end, false, err))
            return false;
    }
    return s == end || (err_set(err, ERR_INVALID, "something stands behind the version"), false);
}

/* ---- functions ------------------------------------------------------------------------------------------------ */

/* The arguments of semver and isSemver. False: the second one is no bool. */
static bool parse_args(struct cel_call *c, struct semver *v, bool *ok, struct err *err)
{
    if (c->n == 2 && !cel_arg_is(c, 1, CEL_BOOL))
        return false;
    *ok = parse(c->args[0]->s, c->args[0]->n, c->n == 2 && c->args[1]->b, v, err);
    return true;
}

static val make(struct cel_call *c)
{
    struct semver *v = ARENA_NEW(c->run->a, struct semver);
    bool ok;
    ERR(e);
    if (cel_charge_bytes(c->run, c->args[0]->n) < 0)
        return NULL;
    if (!parse_args(c, v, &ok, &e))
        return cel_no_overload(c);
    return ok ? cel_mk_opaque(c->run, &type, v) : cel_error(c->run, "%s", err_text(&e));
}

static val is_semver(struct cel_call *c)
{
    struct semver v;
    bool ok;
    if (cel_charge_bytes(c->run, c->args[0]->n) < 0)
        return NULL;
    return parse_args(c, &v, &ok, NULL) ? cel_mk_bool(ok) : cel_no_overload(c);
}

static val part(struct cel_call *c)
{
    if (c->args[0]->type != &type)
        return cel_no_overload(c);
    const struct semver *v = c->args[0]->p;
    uint64_t n = v->part[str_eq(c->node->name, "major") ? 0 : str_eq(c->node->name, "minor") ? 1 : 2];
    return n <= INT64_MAX ? cel_mk_int(c->run, (int64_t)n) : cel_error(c->run, "integer overflow");
}

/* isLessThan, isGreaterThan and compareTo stand in cel_lib_quantity.c for all types that have an order. */
const struct cel_fn cel_lib_semver[] = {
    {"semver", CEL_GLOBAL, 1, 2, KIND(CEL_STRING), make}, {"isSemver", CEL_GLOBAL, 1, 2, KIND(CEL_STRING), is_semver},
    {"major", CEL_MEMBER, 1, 1, KIND(CEL_OPAQUE), part},  {"minor", CEL_MEMBER, 1, 1, KIND(CEL_OPAQUE), part},
    {"patch", CEL_MEMBER, 1, 1, KIND(CEL_OPAQUE), part},  {0},
};
