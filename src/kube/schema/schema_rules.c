/* x-kubernetes-validations: CEL rules, compiled with the schema and run on what has passed it. */
#include "kube/schema/schema_priv.h"

#include <ctype.h>
#include <stdlib.h>

/* What one rule may cost. */
#define RULE_COST 10000000ULL

static const char *const variables[] = {"self", "oldSelf", NULL};

/* ---- compiling ------------------------------------------------------------------------------------------------------------ */

static bool word_char(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* Length of the string literal at p (its quotes included); 0 when there is none. */
static size_t literal_len(const char *p)
{
    if (*p != '"' && *p != '\'')
        return 0;
    size_t n = 1;
    while (p[n] && p[n] != p[0])
        n += p[n] == '\\' && p[n + 1] ? 2 : 1;
    return p[n] ? n + 1 : n;
}

/* Copies a rule with each `oldSelf` replaced (NULL: as it is); returns how many there were. */
static size_t replace_old(const char *rule, const char *by, struct buf *out)
{
    static const char word[] = "oldSelf";
    size_t found = 0;
    for (const char *p = rule; *p;) {
        size_t literal = literal_len(p), n = literal ? literal : 1;
        if (!literal && str_starts(p, word) && !word_char(p[sizeof word - 1]) &&
            (p == rule || (!word_char(p[-1]) && p[-1] != '.'))) {
            found++;
            n = sizeof word - 1;
            if (by) {
                buf_adds(out, by);
                p += n;
                continue;
            }
        }
        buf_add(out, p, n);
        p += n;
    }
    return found;
}

bool schema_rule_uses_old(const char *rule)
{
    BUF(b);
    return replace_old(rule, NULL, &b) > 0;
}

static const char *reason_of(const char *text)
{
    static const char *const reasons[] = {"FieldValueRequired", "FieldValueForbidden", "FieldValueDuplicate"};
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (str_eq(text, reasons[i]))
            return reasons[i];
    return "FieldValueInvalid";
}

static int compile_rule(struct schema_rule *r, jval *v, struct err *err)
{
    const struct cel_env env = {.variables = variables, .kubernetes = true, .formats = schema_named_formats};
    const char *message_expression = jv_str(jv_get(v, "messageExpression"));
    r->rule = jv_str_or(jv_get(v, "rule"), "");
    r->message = jv_str(jv_get(v, "message"));
    r->field_path = jv_str(jv_get(v, "fieldPath"));
    r->reason = reason_of(jv_str(jv_get(v, "reason")));
    r->optional_old = jv_bool(jv_get(v, "optionalOldSelf"), false);
    r->uses_old = schema_rule_uses_old(r->rule);
    if (r->optional_old && r->uses_old) {
        BUF(with);
        BUF(without);
        replace_old(r->rule, "optional.of(oldSelf)", &with);
        replace_old(r->rule, "optional.none()", &without);
        if (!(r->program = cel_compile(buf_str(&with), &env, err)) ||
            !(r->without_old = cel_compile(buf_str(&without), &env, err)))
            return -1;
    } else if (!(r->program = cel_compile(r->rule, &env, err))) {
        return -1;
    }
    if (!str_empty(message_expression) && !(r->message_program = cel_compile(message_expression, &env, err)))
        return err_wrap(err, "messageExpression compilation failed");
    return 0;
}

int schema_rules_compile(struct schema_node *n, jval *rules, struct err *err)
{
    size_t len = jv_is(rules, J_ARRAY) ? jv_len(rules) : 0;
    n->rules = len ? xcalloc(len, sizeof *n->rules) : NULL;
    n->n_rules = len;
    for (size_t i = 0; i < len; i++)
        if (compile_rule(&n->rules[i], jv_at(rules, i), err) < 0)
            return -1;
    return 0;
}

void schema_rules_free(struct schema_node *n)
{
    for (size_t i = 0; i < n->n_rules; i++) {
        cel_free(n->rules[i].program);
        cel_free(n->rules[i].without_old);
        cel_free(n->rules[i].message_program);
    }
    free(n->rules);
}

/* ---- running -------------------------------------------------------------------------------------------------------------- */

/* Extends the path by a rule's fieldPath: ".a.b['c d']". */
static void push_field_path(struct faults *f, const char *p)
{
    while (*p) {
        if (*p == '[' && (p[1] == '\'' || p[1] == '"')) {
            const char *end = strchr(p + 2, p[1]);
            if (!end)
                return;
            AUTOFREE char *key = xstrndup(p + 2, (size_t)(end - p - 2));
            fault_push_key(f, key);
            p = end + (end[1] == ']' ? 2 : 1);
        } else {
            p += *p == '.';
            size_t n = strcspn(p, ".[");
            AUTOFREE char *member = xstrndup(p, n);
            if (n)
                fault_push(f, member);
            p += n ? n : *p != '\0';
        }
    }
}

/* The rule's words for a failure; the caller frees. */
static char *message_of(const struct schema_rule *r, const struct cel_input *in)
{
    if (r->message_program) {
        ARENA(a);
        const struct cel_value *v = cel_eval(r->message_program, in, &a, NULL);
        const char *text = v && cel_kind_of(v) == CEL_STRING ? cel_string(v) : NULL;
        if (!str_empty(text) && !strchr(text, '\n'))
            return xstrdup(text);
    }
    if (!str_empty(r->message)) {
        const char *start = r->message;
        while (isspace((unsigned char)*start))
            start++;
        size_t n = strlen(start);
        while (n > 0 && isspace((unsigned char)start[n - 1]))
            n--;
        return xstrndup(start, n);
    }
    return xasprintf("failed rule: %s", r->rule);
}

static void say_failed(struct faults *f, const struct schema_node *n, const struct schema_rule *r, const char *message)
{
    size_t at = f->path.len;
    if (!str_empty(r->field_path))
        push_field_path(f, r->field_path);
    const char *type = n->int_or_string ? "" : schema_type_text(n);
    if (str_eq(r->reason, "FieldValueRequired"))
        fault_required(f, NULL, message);
    else if (str_eq(r->reason, "FieldValueForbidden"))
        fault_forbidden(f, NULL, "%s", message);
    else if (str_eq(r->reason, "FieldValueDuplicate"))
        fault_duplicate_str(f, NULL, type);
    else
        fault_invalid_str(f, NULL, type, "%s", message);
    fault_pop(f, at);
}

static void run_rule(struct faults *f, const struct schema_node *n, const struct schema_rule *r, jval *v, jval *old)
{
    bool same = old && jv_equal(v, old);
    if (r->uses_old ? !old && !r->optional_old : same)
        return; /* a transition needs two states; a state that did not change is not judged again */
    jval *const values[] = {v, old};
    struct cel_input in = {.values = values, .cost_limit = RULE_COST};
    bool holds = false;
    ERR(e);
    if (cel_eval_bool(old || !r->without_old ? r->program : r->without_old, &in, &holds, &e) < 0) {
        AUTOFREE char *message = xasprintf("%s evaluating rule: %s", err_text(&e), r->rule);
        fault_invalid_str(f, NULL, n->int_or_string ? "" : schema_type_text(n), "%s", message);
    } else if (!holds) {
        AUTOFREE char *message = message_of(r, &in);
        say_failed(f, n, r, message);
    }
}

static void run_node(struct faults *f, const struct schema_node *n, jval *v, jval *old)
{
    if (jv_is(v, J_NULL))
        return;
    for (size_t i = 0; i < n->n_rules; i++)
        run_rule(f, n, &n->rules[i], v, old);
    jval *x;
    if (jv_is(v, J_OBJECT)) {
        JFINDER(before, old);
        struct jiter it = jv_iter(v);
        const char *k;
        while (jv_next(&it, &k, &x)) {
            const struct schema_node *child = schema_child(n, k);
            if (!child)
                continue;
            size_t at = schema_push(f, n, k);
            run_node(f, child, x, jfind(&before, k));
            fault_pop(f, at);
        }
    } else if (jv_is(v, J_ARRAY) && n->items) {
        SCHEMA_OLDS(olds, n, old);
        struct jiter it = jv_iter(v);
        for (size_t i = 0; jv_next(&it, NULL, &x); i++) {
            size_t at = fault_push_index(f, i);
            run_node(f, n->items, x, schema_olds_find(&olds, x));
            fault_pop(f, at);
        }
    }
}

void schema_rules_run(const struct schema *s, struct faults *f, jval *obj, jval *old) { run_node(f, s->root, obj, old); }
